/* SPDX-License-Identifier: Apache-2.0 */
/*
 * table.c - objects as rows of a meta.k8s.io/v1 Table, which is what `kubectl get` shows. Called by the API server's
 * get, list and watch. The columns come from the tables, the cells from the printers in table_<family>.c; ages are told against
 * the caller's clock. Any thread.
 */
#include "schema/table.h"

static const struct table_printer *const families[] = { table_core, table_workloads, table_network, table_storage, table_policy };

/* ---- helpers of the printers ----------------------------------------------------------------------------------- */
struct str human_span(struct arena *a, int64_t s) {
	int64_t minutes = s / 60, hours = s / 3600, days = hours / 24;

	if (s < -1) {
		return S("<invalid>");
	}
	if (s < 0) {
		return S("0s");
	}
	if (s < 120) {
		return arena_printf(a, "%llds", (long long)s);
	}
	if (minutes < 10) {
		return s % 60 ? arena_printf(a, "%lldm%llds", (long long)minutes, (long long)(s % 60)) : arena_printf(a, "%lldm", (long long)minutes);
	}
	if (minutes < 180) {
		return arena_printf(a, "%lldm", (long long)minutes);
	}
	if (hours < 8) {
		return minutes % 60 ? arena_printf(a, "%lldh%lldm", (long long)hours, (long long)(minutes % 60)) : arena_printf(a, "%lldh", (long long)hours);
	}
	if (hours < 48) {
		return arena_printf(a, "%lldh", (long long)hours);
	}
	if (hours < 24 * 8) {
		return hours % 24 ? arena_printf(a, "%lldd%lldh", (long long)days, (long long)(hours % 24)) : arena_printf(a, "%lldd", (long long)days);
	}
	if (days < 365 * 2) {
		return arena_printf(a, "%lldd", (long long)days);
	}
	if (days < 365 * 8 && days % 365) {
		return arena_printf(a, "%lldy%lldd", (long long)(days / 365), (long long)(days % 365));
	}
	return arena_printf(a, "%lldy", (long long)(days / 365));
}

struct str table_age(struct arena *a, struct str rfc3339, int64_t now) {
	struct err ignored = { 0 };
	int64_t sec;
	int32_t nsec;

	if (rfc3339.len == 0 || !go_time_parse(rfc3339, &sec, &nsec, &ignored)) {
		return S("<unknown>");
	}
	return human_span(a, now - sec);
}

struct str since(struct row *r, const struct value *time) {
	return table_age(r->a, value_as_str(time), r->now);
}

void cell_name(struct row *r) {
	cell(r, value_str_at(r->o, N_metadata, N_name));
}

void cell_age(struct row *r) {
	cell(r, since(r, value_at(r->o, N_metadata, N_creationTimestamp)));
}

void cells_containers(struct row *r, const struct value *pod_spec) {
	static const enum name_id what[] = { N_name, N_image };

	for (size_t w = 0; w < ARRAY_LEN(what); w++) {
		auto_buf struct buf b = BUF_INIT(1 << 20);
		const struct value *containers = value_get(pod_spec, N_containers);

		for (size_t i = 0; i < value_len(containers); i++) {
			buf_c(&b, i ? "," : "");
			buf_str(&b, value_str_at(value_item(containers, i), what[w]));
		}
		cell(r, buf_view(&b));
	}
}

struct str labels_text(struct arena *a, const struct value *labels) {
	auto_buf struct buf b = BUF_INIT(1 << 20);
	struct value *sorted = value_copy_shallow(a, labels);

	if (value_len(labels) == 0) {
		return S("<none>");
	}
	value_sort_keys(sorted);
	for (size_t i = 0; i < value_len(sorted); i++) {
		buf_c(&b, i ? "," : "");
		buf_str(&b, value_key(sorted, i));
		buf_char(&b, '=');
		buf_str(&b, value_as_str(value_item(sorted, i)));
	}
	return arena_str(a, buf_view(&b));
}

struct requirement {
	struct str key, text;
	size_t at;
};

static int requirement_cmp(const void *a, const void *b) {
	const struct requirement *x = a, *y = b;
	int c = str_cmp(x->key, y->key);

	return c ? c : x->at < y->at ? -1 : 1;
}

struct str table_selector_text(struct arena *a, const struct value *selector) {
	const struct value *labels = value_get(selector, N_matchLabels), *expressions = value_get(selector, N_matchExpressions);
	size_t n = value_len(labels) + value_len(expressions), at = 0;
	auto_free struct requirement *all = xcalloc(n + 1, sizeof(*all));
	auto_buf struct buf b = BUF_INIT(1 << 20);

	if (n == 0) {
		return S("<none>");
	}
	for (size_t i = 0; i < value_len(labels); i++, at++) {
		struct str key = value_key(labels, i), v = value_as_str(value_item(labels, i));

		all[at] = (struct requirement){ key, arena_printf(a, "%.*s=%.*s", STR_ARG(key), STR_ARG(v)), at };
	}
	for (size_t i = 0; i < value_len(expressions); i++, at++) {
		const struct value *e = value_item(expressions, i);
		struct str key = value_str_at(e, N_key), op = value_str_at(e, N_operator), values;

		values = joined(a, value_get(e, N_values), ",");
		if (str_eq(op, S("In")) || str_eq(op, S("NotIn"))) {
			values = arena_printf(a, "%.*s %s (%.*s)", STR_ARG(key), str_eq(op, S("In")) ? "in" : "notin", STR_ARG(values));
		} else {
			values = str_eq(op, S("DoesNotExist")) ? arena_printf(a, "!%.*s", STR_ARG(key)) : key;
		}
		all[at] = (struct requirement){ key, values, at };
	}
	qsort(all, n, sizeof(*all), requirement_cmp);
	for (size_t i = 0; i < n; i++) {
		buf_c(&b, i ? "," : "");
		buf_str(&b, all[i].text);
	}
	return arena_str(a, buf_view(&b));
}

struct str joined(struct arena *a, const struct value *strings, const char *between) {
	auto_buf struct buf b = BUF_INIT(1 << 20);

	for (size_t i = 0; i < value_len(strings); i++) {
		buf_c(&b, i ? between : "");
		buf_str(&b, value_as_str(value_item(strings, i)));
	}
	return arena_str(a, buf_view(&b));
}

struct str condition_status(const struct value *conditions, struct str type) {
	return value_str_at(value_find_by(conditions, N_type, type), N_status);
}

void few_add(struct few *f, struct str s) {
	if (f->count++ < 3) {
		buf_c(&f->text, f->count > 1 ? "," : "");
		buf_str(&f->text, s);
	}
}

struct str few_text(struct arena *a, struct few *f) {
	struct str ret = arena_str(a, buf_view(&f->text));

	if (f->count > 3) {
		ret = arena_printf(a, "%.*s + %zu more...", STR_ARG(ret), f->count - 3);
	}
	buf_release(&f->text);
	return ret;
}

struct str lower(struct arena *a, struct str s) {
	char *copy = arena_cstr(a, s);

	for (size_t i = 0; i < s.len; i++) {
		copy[i] = (char)(copy[i] >= 'A' && copy[i] <= 'Z' ? copy[i] + 32 : copy[i]);
	}
	return (struct str){ copy, s.len };
}

static int str_cmp_p(const void *a, const void *b) {
	return str_cmp(*(const struct str *)a, *(const struct str *)b);
}

struct str balancer_text(struct arena *a, const struct value *status) {
	const struct value *ingress = value_get(status, N_ingress);
	size_t n = value_len(ingress), out = 0;
	struct str *all = arena_array(a, struct str, n + 1);

	for (size_t i = 0; i < n; i++) {
		struct str ip = value_str_at(value_item(ingress, i), N_ip), host = value_str_at(value_item(ingress, i), N_hostname);

		if (ip.len || host.len) {
			all[out++] = ip.len ? ip : host;
		}
	}
	qsort(all, out, sizeof(*all), str_cmp_p);
	n = 0;
	for (size_t i = 0; i < out; i++) {
		if (i == 0 || !str_eq(all[i], all[i - 1])) {
			all[n++] = all[i];
		}
	}
	return arena_join(a, all, n, S(","));
}

/* ---- columns and rows -------------------------------------------------------------------------------------------- */
static void add_column(struct arena *a, struct value *columns, struct str name, struct str type, struct str format, struct str help, bool wide) {
	struct value *c = value_new_object(a);

	value_set_str(a, c, N_name, name);
	value_set_str(a, c, N_type, type);
	value_set_str(a, c, N_format, format);
	value_set_str(a, c, N_description, help);
	value_set_int(a, c, N_priority, wide);
	value_push(a, columns, c);
}

struct value *table_columns(struct arena *a, const struct schema_resource *r) {
	struct value *columns = value_new_array(a);

	for (size_t i = 0; r && i < r->columns_len; i++) {
		const struct schema_column *c = &schema_columns[r->columns_at + i];
		struct str help = schema_text(c->help), name = schema_text(c->name);

		if (help.len == 0) {
			help = str_eq(name, S("Name")) ? S("The object's name.") : str_eq(name, S("Age")) ? S("Time since it was created.") : name;
		}
		add_column(a, columns, name, schema_text(c->type), schema_text(c->format), help, c->wide);
	}
	if (!r || r->columns_len == 0) {
		add_column(a, columns, S("Name"), S("string"), S("name"), S("The object's name."), false);
		add_column(a, columns, S("Created At"), S("date"), S(""), S("Time at which it was created."), false);
	}
	return columns;
}

static const struct table_printer *printer_of(const struct schema_resource *r) {
	for (size_t f = 0; r && f < ARRAY_LEN(families); f++) {
		for (const struct table_printer *p = families[f]; p->print; p++) {
			if (p->type == r->type) {
				return p;
			}
		}
	}
	return NULL;
}

/* Kinds without a printer: what any object has. */
static void print_plain(struct row *row, const struct schema_resource *r) {
	for (size_t i = 0; r && i < r->columns_len; i++) {
		struct str name = schema_text(schema_columns[r->columns_at + i].name);

		if (str_eq(name, S("Name"))) {
			cell_name(row);
		} else if (str_eq(name, S("Age"))) {
			cell_age(row);
		} else {
			cell(row, S("<unknown>"));
		}
	}
	if (!r || r->columns_len == 0) {
		cell_name(row);
		cell(row, value_str_at(row->o, N_metadata, N_creationTimestamp));
	}
}

struct value *table_row(struct arena *a, const struct schema_resource *r, const struct value *object, enum table_include include, int64_t now) {
	struct row row = { .a = a, .o = object, .now = now, .cells = value_new_array(a) };
	const struct table_printer *p = printer_of(r);
	struct value *ret = value_new_object(a);

	if (p) {
		p->print(&row);
		assert(row.cells->len == r->columns_len);
	} else {
		print_plain(&row, r);
	}
	value_set(a, ret, N_cells, row.cells);
	if (row.conditions) {
		value_set(a, ret, N_conditions, row.conditions);
	}
	switch (include) {
	case TABLE_METADATA:
		value_set(a, ret, N_object, schema_meta_only(a, object));
		break;
	case TABLE_OBJECT:
		value_set(a, ret, N_object, object);
		break;
	case TABLE_NONE:
		value_set(a, ret, N_object, NULL);
		break;
	}
	return ret;
}

struct value *table_of(struct arena *a, const struct schema_resource *r, const struct value *object_or_list, enum table_include include, int64_t now) {
	struct value *ret = value_new_object(a), *meta = value_new_object(a), *rows = value_new_array(a);
	const struct value *items = value_get(object_or_list, N_items), *from = value_get(object_or_list, N_metadata);
	static const enum name_id list_meta[] = { N_resourceVersion, N_continue, N_remainingItemCount };

	value_set_str(a, ret, N_kind, S("Table"));
	value_set_str(a, ret, N_apiVersion, S("meta.k8s.io/v1"));
	for (size_t i = 0; i < ARRAY_LEN(list_meta); i++) {
		if (value_get(from, list_meta[i])) {
			value_set(a, meta, list_meta[i], value_get(from, list_meta[i]));
		}
	}
	value_set(a, ret, N_metadata, meta);
	value_set(a, ret, N_columnDefinitions, table_columns(a, r));
	if (items) {
		for (size_t i = 0; i < value_len(items); i++) {
			value_push(a, rows, table_row(a, r, value_item(items, i), include, now));
		}
	} else {
		value_push(a, rows, table_row(a, r, object_or_list, include, now));
	}
	value_set(a, ret, N_rows, rows);
	return ret;
}
