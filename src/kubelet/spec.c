/* SPDX-License-Identifier: Apache-2.0 */
/* spec.c - small readers of pod specs that several files need. No state; any thread. */
#include <signal.h>
#include <stdarg.h>

#include "kubelet/internal.h"

struct str pod_full_name(struct arena *a, const struct value *pod) {
	return arena_printf(a, "%.*s_%.*s(%.*s)", STR_ARG(value_str_at(pod, N_metadata, N_name)), STR_ARG(value_str_at(pod, N_metadata, N_namespace)),
		STR_ARG(value_str_at(pod, N_metadata, N_uid)));
}

const char *ctr_field_array(enum ctr_kind k) {
	switch (k) {
	case CTR_APP:
		return "spec.containers";
	case CTR_INIT:
	case CTR_SIDECAR:
		return "spec.initContainers";
	case CTR_EPHEMERAL:
		return "spec.ephemeralContainers";
	}
	return "";
}

struct str ctr_field_path(struct arena *a, enum ctr_kind k, struct str name) {
	return arena_printf(a, "%s{%.*s}", ctr_field_array(k), STR_ARG(name));
}

bool pod_host_network(const struct value *pod) {
	return value_bool_at(pod, N_spec, N_hostNetwork);
}

bool value_is_set(const struct value *v, enum name_id name) {
	const struct value *m = value_get(v, name);

	return m && m->type != VALUE_NULL;
}

bool ctr_is_sidecar(const struct value *init_container) {
	return str_eq(value_str_at(init_container, N_restartPolicy), S("Always"));
}

/* A rule of a container's restartPolicyRules that fits the exit code decides before its policy. */
static bool rule_fits(const struct value *rule, int exit_code) {
	const struct value *codes = value_get(rule, N_exitCodes);
	struct str op = value_str_at(codes, N_operator);
	bool in = false;

	VALUE_EACH(value_get(codes, N_values), v) {
		in = in || value_as_int(v) == exit_code;
	}
	return str_eq(op, S("In")) ? in : str_eq(op, S("NotIn")) ? !in : false;
}

bool ctr_restarts(const struct value *pod, enum ctr_kind kind, const struct value *spec, int exit_code) {
	struct str policy = value_str_at(pod, N_spec, N_restartPolicy);

	if (kind == CTR_EPHEMERAL) {
		return false;
	}
	if (kind == CTR_SIDECAR) {
		return true;
	}
	VALUE_EACH(value_get(spec, N_restartPolicyRules), rule) {
		if (rule_fits(rule, exit_code)) {
			return str_eq(value_str_at(rule, N_action), S("Restart"));
		}
	}
	if (value_is_set(spec, N_restartPolicy)) {
		policy = value_str_at(spec, N_restartPolicy);
	}
	if (str_eq(policy, S("Never"))) {
		return false;
	}
	if (str_eq(policy, S("OnFailure")) || kind == CTR_INIT) {
		return exit_code != 0;
	}
	return true;
}

const struct value *pod_container(const struct value *pod, struct str name, enum ctr_kind *ret_kind) {
	const struct value *spec = value_get(pod, N_spec);
	const struct value *c = value_find_by(value_get(spec, N_containers), N_name, name);

	*ret_kind = CTR_APP;
	if (!c) {
		c = value_find_by(value_get(spec, N_initContainers), N_name, name);
		*ret_kind = c && ctr_is_sidecar(c) ? CTR_SIDECAR : CTR_INIT;
	}
	if (!c) {
		c = value_find_by(value_get(spec, N_ephemeralContainers), N_name, name);
		*ret_kind = CTR_EPHEMERAL;
	}
	return c;
}

struct str list_text(struct arena *a, const struct str *at, size_t n) {
	return arena_printf(a, "[%.*s]", STR_ARG(arena_join(a, at, n, S(" "))));
}

int64_t pod_grace_seconds(const struct value *pod) {
	const struct value *v = value_at(pod, N_metadata, N_deletionGracePeriodSeconds);

	if (!v) {
		v = value_at(pod, N_spec, N_terminationGracePeriodSeconds);
	}
	return MAX(value_as_int_or(v, 30), 1);
}

const char *pod_path_fmt(struct arena *a, const char *fmt, ...) {
	char text[4096];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	return arena_cstr(a, str_c(text));
}

int signal_number(struct str name) {
	static const struct {
		const char *name;
		int number;
	} signals[] = {
		{ "HUP", SIGHUP },   { "INT", SIGINT },   { "QUIT", SIGQUIT }, { "ILL", SIGILL },   { "TRAP", SIGTRAP },     { "ABRT", SIGABRT },
		{ "BUS", SIGBUS },   { "FPE", SIGFPE },   { "KILL", SIGKILL }, { "USR1", SIGUSR1 }, { "SEGV", SIGSEGV },     { "USR2", SIGUSR2 },
		{ "PIPE", SIGPIPE }, { "ALRM", SIGALRM }, { "TERM", SIGTERM }, { "CHLD", SIGCHLD }, { "CONT", SIGCONT },     { "STOP", SIGSTOP },
		{ "TSTP", SIGTSTP }, { "TTIN", SIGTTIN }, { "TTOU", SIGTTOU }, { "URG", SIGURG },   { "XCPU", SIGXCPU },     { "XFSZ", SIGXFSZ },
		{ "PROF", SIGPROF }, { "WINCH", SIGWINCH }, { "IO", SIGIO },   { "PWR", SIGPWR },   { "VTALRM", SIGVTALRM }, { "SYS", SIGSYS },
		{ "STKFLT", SIGSTKFLT },
	};
	int n = 0;

	if (str_to_int(name, 1, 64, &n)) {
		return n;
	}
	if (str_starts(name, S("SIG"))) {
		name = str_from(name, 3);
	}
	for (size_t i = 0; i < ARRAY_LEN(signals); i++) {
		if (str_eqc(name, signals[i].name)) {
			return signals[i].number;
		}
	}
	if (str_eq(name, S("RTMIN"))) {
		return SIGRTMIN;
	}
	if (str_eq(name, S("RTMAX"))) {
		return SIGRTMAX;
	}
	if (str_starts(name, S("RTMIN+")) && str_to_int(str_from(name, 6), 0, 15, &n)) {
		return SIGRTMIN + n;
	}
	if (str_starts(name, S("RTMAX-")) && str_to_int(str_from(name, 6), 0, 14, &n)) {
		return SIGRTMAX - n;
	}
	return 0;
}
