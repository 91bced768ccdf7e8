/* SPDX-License-Identifier: Apache-2.0 */
/*
 * files.c - what a pod's programs read about names: /etc/hosts (ours, mounted), and the resolv.conf
 * settings that the runtime writes. Called by passes.
 *
 * Source: Kubernetes "DNS for Services and Pods", "Adding entries to Pod /etc/hosts with HostAliases".
 */
#include "base/file.h"
#include "kubelet/internal.h"

#define SEARCHES_MAX 32
#define SERVERS_MAX 3

void pod_hostname(struct arena *a, const struct value *pod, struct str cluster_domain, struct str *ret_host, struct str *ret_domain) {
	const struct value *spec = value_get(pod, N_spec);
	struct str host = value_str_at(spec, N_hostname), sub = value_str_at(spec, N_subdomain), override = value_str_at(spec, N_hostnameOverride);

	*ret_domain = S("");
	if (override.len > 0) {
		*ret_host = override;
		return;
	}
	if (host.len == 0) {
		host = str_sub(value_str_at(pod, N_metadata, N_name), 0, 63);
		while (host.len > 0 && (host.ptr[host.len - 1] == '-' || host.ptr[host.len - 1] == '.')) {
			host.len--;
		}
	}
	*ret_host = host;
	if (sub.len > 0) {
		*ret_domain = arena_printf(a, "%.*s.%.*s.svc.%.*s", STR_ARG(sub), STR_ARG(value_str_at(pod, N_metadata, N_namespace)),
			STR_ARG(cluster_domain));
	}
}

bool pod_hosts_write(struct pod *p, const struct value *pod, struct err *err) {
	auto_arena struct arena a = { 0 };
	auto_buf struct buf b = BUF_INIT(1 << 20);
	const struct value *aliases = value_at(pod, N_spec, N_hostAliases);
	struct str host, domain;

	if (pod_host_network(pod)) {
		auto_buf struct buf own = BUF_INIT(1 << 20);
		struct err ignore = { 0 };
		buf_c(&b, "# Kubernetes-managed hosts file (host network).\n");
		if (file_read("/etc/hosts", &own, &ignore)) {
			buf_str(&b, buf_view(&own));
		}
	} else {
		pod_hostname(&a, pod, str_c(p->k->o.cluster_domain), &host, &domain);
		buf_c(&b, "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"
			"fe00::\tip6-localnet\nfe00::\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n");
		for (size_t i = 0; i < p->ips.len; i++) {
			if (domain.len > 0) {
				buf_printf(&b, "%s\t%.*s.%.*s\t%.*s\n", p->ips.at[i], STR_ARG(host), STR_ARG(domain), STR_ARG(host));
			} else {
				buf_printf(&b, "%s\t%.*s\n", p->ips.at[i], STR_ARG(host));
			}
		}
	}
	if (value_len(aliases) > 0) {
		buf_c(&b, "\n# Entries added by HostAliases.\n");
		VALUE_EACH(aliases, alias) {
			buf_str(&b, value_str_at(alias, N_ip));
			VALUE_EACH(value_get(alias, N_hostnames), name) {
				buf_printf(&b, "\t%.*s", STR_ARG(value_as_str(name)));
			}
			buf_char(&b, '\n');
		}
	}
	/* in place: containers that run hold this file as a mount */
	const char *path = pod_path_fmt(&a, "%s/etc-hosts", p->dir);
	if (file_exists(path)) {
		FILE *f = fopen(path, "we");
		if (!f) {
			return err_sys(err, "open %s", path);
		}
		bool ok = fwrite(b.ptr, 1, b.len, f) == b.len;
		ok = fclose(f) == 0 && ok;
		return ok || err_sys(err, "write %s", path);
	}
	return file_write(path, buf_view(&b), 0644, err);
}

/* ---- DNS ----------------------------------------------------------------------------------------------------- */

struct dns_lists {
	VEC(struct str) servers, searches, options;
};

static void add_unique(struct dns_lists *d, struct str s) {
	VEC_EACH(&d->searches, have) {
		if (str_eq(*have, s)) {
			return;
		}
	}
	if (d->searches.len < SEARCHES_MAX) {
		VEC_PUSH(&d->searches, s);
	}
}

static void of_node(struct kubelet *k, struct arena *a, struct dns_lists *d) {
	auto_buf struct buf b = BUF_INIT(64 << 10);
	struct err err = { 0 };
	struct str rest, line;

	if (!file_read(k->o.resolv_conf, &b, &err)) {
		return;
	}
	rest = arena_str(a, buf_view(&b));
	while (str_next(&rest, '\n', &line)) {
		struct str word, words = str_trim(line);
		str_cut(words, ' ', &word, &words);
		words = str_trim(words);
		if (str_eq(word, S("nameserver")) && d->servers.len < SERVERS_MAX) {
			VEC_PUSH(&d->servers, words);
		} else if (str_eq(word, S("search")) || str_eq(word, S("options"))) {
			bool search = word.ptr[0] == 's';
			struct str piece;
			if (search) {
				VEC_CLEAR(&d->searches); /* the last line counts */
			}
			while (str_next(&words, ' ', &piece)) {
				piece = str_trim(piece);
				if (piece.len == 0 || str_eq(piece, S("."))) {
					continue;
				}
				if (search) {
					add_unique(d, piece);
				} else {
					VEC_PUSH(&d->options, piece);
				}
			}
		}
	}
}

static void of_cluster(struct kubelet *k, struct arena *a, struct str ns, struct dns_lists *d) {
	struct dns_lists node = { 0 };
	struct str rest = str_c(k->o.cluster_dns), piece, domain = str_c(k->o.cluster_domain);

	while (str_next(&rest, ',', &piece) && d->servers.len < SERVERS_MAX) {
		VEC_PUSH(&d->servers, str_trim(piece));
	}
	add_unique(d, arena_printf(a, "%.*s.svc.%.*s", STR_ARG(ns), STR_ARG(domain)));
	add_unique(d, arena_printf(a, "svc.%.*s", STR_ARG(domain)));
	add_unique(d, domain);
	of_node(k, a, &node);
	VEC_EACH(&node.searches, s) {
		add_unique(d, *s);
	}
	VEC_PUSH(&d->options, S("ndots:5"));
	VEC_RELEASE(&node.servers);
	VEC_RELEASE(&node.searches);
	VEC_RELEASE(&node.options);
}

static struct str option_name(struct str o) {
	struct str name, rest;

	str_cut(o, ':', &name, &rest);
	return name;
}

static void of_config(struct arena *a, const struct value *config, struct dns_lists *d) {
	VALUE_EACH(value_get(config, N_nameservers), s) {
		if (d->servers.len < SERVERS_MAX) {
			VEC_PUSH(&d->servers, value_as_str(s));
		}
	}
	VALUE_EACH(value_get(config, N_searches), s) {
		add_unique(d, value_as_str(s));
	}
	VALUE_EACH(value_get(config, N_options), o) {
		struct str name = value_str_at(o, N_name), value = value_str_at(o, N_value);
		struct str text = value.len ? arena_printf(a, "%.*s:%.*s", STR_ARG(name), STR_ARG(value)) : name;
		bool found = false;
		VEC_EACH(&d->options, have) {
			if (str_eq(option_name(*have), name)) {
				*have = text;
				found = true;
			}
		}
		if (!found) {
			VEC_PUSH(&d->options, text);
		}
	}
}

static struct cri_strs take(struct arena *a, struct str *at, size_t n) {
	struct str *copy = arena_array(a, struct str, n);

	for (size_t i = 0; i < n; i++) {
		copy[i] = at[i];
	}
	return (struct cri_strs){ copy, n };
}

void pod_dns(struct kubelet *k, struct arena *a, const struct value *pod, struct dns_config *ret) {
	struct str policy = value_str_at(pod, N_spec, N_dnsPolicy);
	const struct value *config = value_at(pod, N_spec, N_dnsConfig);
	struct dns_lists d = { 0 };
	bool cluster = str_eq(policy, S("ClusterFirstWithHostNet")) ||
		(!str_eq(policy, S("Default")) && !str_eq(policy, S("None")) && !pod_host_network(pod));

	if (cluster && k->o.cluster_dns && k->o.cluster_dns[0]) {
		of_cluster(k, a, value_str_at(pod, N_metadata, N_namespace), &d);
	} else if (!str_eq(policy, S("None"))) {
		of_node(k, a, &d);
	}
	of_config(a, config, &d);
	ret->servers = take(a, d.servers.at, d.servers.len);
	ret->searches = take(a, d.searches.at, d.searches.len);
	ret->options = take(a, d.options.at, d.options.len);
	VEC_RELEASE(&d.servers);
	VEC_RELEASE(&d.searches);
	VEC_RELEASE(&d.options);
}
