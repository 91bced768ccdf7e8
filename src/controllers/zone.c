/* SPDX-License-Identifier: Apache-2.0 */
/*
 * zone.c - time zones from the tz database's compiled files (TZif, RFC 9636).
 *
 * A file has a table of changes and, for the time after the last one, a rule in the words of POSIX's TZ variable ("EST5EDT,M3.2.0,M11.1.0").
 * Both are read here, since the C library keeps one zone a process.
 */
#include "controllers/cron.h"

#include "base/file.h"

#define ZONE_FILE_MAX ((size_t)256 * 1024)
#define NAME_MAX_BYTES 64
#define DAY_SEC 86400

struct rule { /* of a change between standard and summer time */
	char form;            /* 'M': month, week, day; 'J': day 1..365 without leap days; 'D': day 0..365 */
	int month, week, day;
	int64_t time;         /* seconds after local midnight */
};
struct zone {
	const uint8_t *times;   /* n big-endian int64 */
	const uint8_t *indexes; /* n */
	const uint8_t *types;   /* type_count of 6 bytes */
	size_t n, type_count;
	bool footer, summer; /* a rule for later times; it has summer time */
	int64_t standard_offset, summer_offset;
	struct rule start, end;
};

/* ---- the rule of the footer -------------------------------------------------------------------------------------------- */

static bool digits_take(struct str *s, int64_t *ret) {
	size_t n = 0;
	int64_t v = 0;

	while (n < s->len && n < 6 && s->ptr[n] >= '0' && s->ptr[n] <= '9') {
		v = v * 10 + (s->ptr[n] - '0');
		n++;
	}
	*s = str_from(*s, n);
	*ret = v;
	return n > 0;
}

static bool char_take(struct str *s, char c) {
	bool is = s->len && s->ptr[0] == c;

	*s = is ? str_from(*s, 1) : *s;
	return is;
}

/* [+-]hh[:mm[:ss]] */
static bool time_take(struct str *s, int64_t *ret) {
	int64_t h = 0, m = 0, sec = 0;
	bool negative = char_take(s, '-');

	if (!negative) {
		(void)char_take(s, '+');
	}
	if (!digits_take(s, &h) || (char_take(s, ':') && (!digits_take(s, &m) || (char_take(s, ':') && !digits_take(s, &sec))))) {
		return false;
	}
	*ret = (h * 3600 + m * 60 + sec) * (negative ? -1 : 1);
	return h <= 167 && m < 60 && sec < 60;
}

static bool name_skip(struct str *s) {
	ptrdiff_t end = 0;

	if (char_take(s, '<')) {
		end = str_index(*s, '>');
		*s = end < 0 ? *s : str_from(*s, (size_t)end + 1);
		return end > 0;
	}
	while ((size_t)end < s->len && ((s->ptr[end] | 0x20) >= 'a' && (s->ptr[end] | 0x20) <= 'z')) {
		end++;
	}
	*s = str_from(*s, (size_t)end);
	return end >= 3;
}

static bool rule_take(struct str *s, struct rule *ret) {
	struct rule r = { .time = 7200 };
	int64_t a = 0, b = 0, c = 0;

	if (char_take(s, 'M')) {
		if (!digits_take(s, &a) || !char_take(s, '.') || !digits_take(s, &b) || !char_take(s, '.') || !digits_take(s, &c) || a < 1 || a > 12 || b < 1 ||
			b > 5 || c > 6) {
			return false;
		}
		r.form = 'M';
		r.month = (int)a;
		r.week = (int)b;
		r.day = (int)c;
	} else {
		r.form = char_take(s, 'J') ? 'J' : 'D';
		if (!digits_take(s, &a) || a > 365) {
			return false;
		}
		r.day = (int)a;
	}
	if (char_take(s, '/') && !time_take(s, &r.time)) {
		return false;
	}
	*ret = r;
	return true;
}

static bool footer_parse(struct zone *z, struct str s) {
	if (!name_skip(&s) || !time_take(&s, &z->standard_offset)) {
		return false;
	}
	z->standard_offset = -z->standard_offset; /* POSIX counts westward */
	if (!s.len) {
		return true;
	}
	z->summer = true;
	z->summer_offset = z->standard_offset + 3600;
	if (!name_skip(&s)) {
		return false;
	}
	if (s.len && s.ptr[0] != ',') {
		if (!time_take(&s, &z->summer_offset)) {
			return false;
		}
		z->summer_offset = -z->summer_offset;
	}
	return char_take(&s, ',') && rule_take(&s, &z->start) && char_take(&s, ',') && rule_take(&s, &z->end) && s.len == 0;
}

static bool is_leap(int64_t y) {
	return (y % 4 == 0 && y % 100 != 0) || y % 400 == 0;
}

static int64_t year_start(int64_t y) { /* days since 1970-01-01 */
	int64_t p = y - 1;

	return p * 365 + p / 4 - p / 100 + p / 400 - 719162;
}

/* Local seconds since 1970 at which the rule applies in a year. */
static int64_t rule_at(const struct rule *r, int64_t year) {
	static const int before[] = { 0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334, 365 };
	int64_t day = year_start(year);

	if (r->form == 'J') {
		day += r->day - 1 + (is_leap(year) && r->day >= 60);
	} else if (r->form == 'D') {
		day += r->day;
	} else {
		int64_t first = day + before[r->month - 1] + (is_leap(year) && r->month > 2);
		int64_t len = before[r->month] - before[r->month - 1] + (is_leap(year) && r->month == 2);
		int64_t weekday = (first % 7 + 11) % 7;
		int64_t of_month = (r->day - weekday + 7) % 7 + 7 * (r->week - 1);
		day = first + (of_month >= len ? of_month - 7 : of_month);
	}
	return day * DAY_SEC + r->time;
}

static int64_t footer_offset(const struct zone *z, int64_t sec) {
	if (!z->summer) {
		return z->standard_offset;
	}
	int64_t local = sec + z->standard_offset, year = 1970 + local / 31556952;
	while (year_start(year) * DAY_SEC > local) {
		year--;
	}
	while (year_start(year + 1) * DAY_SEC <= local) {
		year++;
	}
	int64_t start = rule_at(&z->start, year) - z->standard_offset, end = rule_at(&z->end, year) - z->summer_offset;
	bool summer = start < end ? sec >= start && sec < end : sec >= start || sec < end;
	return summer ? z->summer_offset : z->standard_offset;
}

/* ---- the file ------------------------------------------------------------------------------------------------------------ */

static uint32_t be32(const uint8_t *p) {
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}
static int64_t be64(const uint8_t *p) {
	return (int64_t)((uint64_t)be32(p) << 32 | be32(p + 4));
}

#define HEADER 44
struct counts {
	size_t is_ut, is_std, leap, time, type, chars;
};
static bool header_read(struct str file, struct counts *ret) {
	const uint8_t *p = (const uint8_t *)file.ptr;

	if (file.len < HEADER || !str_starts(file, S("TZif"))) {
		return false;
	}
	*ret = (struct counts){ be32(p + 20), be32(p + 24), be32(p + 28), be32(p + 32), be32(p + 36), be32(p + 40) };
	return ret->is_ut <= ZONE_FILE_MAX && ret->is_std <= ZONE_FILE_MAX && ret->leap <= ZONE_FILE_MAX && ret->time <= ZONE_FILE_MAX && ret->type <= 256 &&
		ret->type > 0 && ret->chars <= ZONE_FILE_MAX;
}

static size_t body_size(const struct counts *c, size_t time_bytes) {
	return c->time * (time_bytes + 1) + c->type * 6 + c->chars + c->leap * (time_bytes + 4) + c->is_std + c->is_ut;
}

bool zone_parse(struct arena *a, struct str tzif, const struct zone **ret, struct err *err) {
	struct counts c;
	struct zone *z = arena_new(a, struct zone);

	if (!header_read(tzif, &c) || tzif.ptr[4] < '2' || tzif.len - HEADER < body_size(&c, 4)) {
		return err_set(err, ERR_BAD_REQUEST, "malformed time zone information");
	}
	struct str second = str_from(tzif, HEADER + body_size(&c, 4));
	if (!header_read(second, &c) || second.len - HEADER < body_size(&c, 8)) {
		return err_set(err, ERR_BAD_REQUEST, "malformed time zone information");
	}
	second = arena_str(a, second);
	z->times = (const uint8_t *)second.ptr + HEADER;
	z->indexes = z->times + c.time * 8;
	z->types = z->indexes + c.time;
	z->n = c.time;
	z->type_count = c.type;
	for (size_t i = 0; i < z->n; i++) {
		if (z->indexes[i] >= c.type) {
			return err_set(err, ERR_BAD_REQUEST, "malformed time zone information");
		}
	}
	struct str footer = str_trim(str_from(second, HEADER + body_size(&c, 8)));
	if (footer.len) {
		z->footer = footer_parse(z, footer);
		if (!z->footer) {
			return err_set(err, ERR_BAD_REQUEST, "malformed time zone information");
		}
	}
	*ret = z;
	return true;
}

static bool name_ok(struct str name) {
	for (size_t i = 0; i < name.len; i++) {
		char c = name.ptr[i];
		bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '+' || c == '-';
		if (!letter && !(c == '/' && i > 0)) {
			return false;
		}
	}
	return name.len > 0 && name.len <= NAME_MAX_BYTES;
}

bool zone_load(struct arena *a, struct str name, const struct zone **ret, struct err *err) {
	static const char *const folders[] = { "/usr/share/zoneinfo", "/usr/lib/zoneinfo", "/usr/share/lib/zoneinfo", "/etc/zoneinfo" };

	if (!name.len || str_eqc(name, "UTC") || str_eqc(name, "Etc/UTC")) {
		*ret = NULL;
		return true;
	}
	for (size_t i = 0; i < ARRAY_LEN(folders) && name_ok(name); i++) {
		struct str path = arena_printf(a, "%s/%.*s", folders[i], STR_ARG(name));
		struct buf file = BUF_INIT(ZONE_FILE_MAX);
		struct err ignored = { 0 };
		bool ok = file_read(path.ptr, &file, &ignored) && zone_parse(a, buf_view(&file), ret, &ignored);
		buf_release(&file);
		if (ok) {
			return true;
		}
	}
	return err_set(err, ERR_NOT_FOUND, "unknown time zone %.*s", STR_ARG(name));
}

int64_t zone_offset(const struct zone *z, int64_t sec) {
	if (!z) {
		return 0;
	}
	size_t low = 0, high = z->n; /* the first change after sec */
	while (low < high) {
		size_t mid = low + (high - low) / 2;
		if (be64(z->times + mid * 8) <= sec) {
			low = mid + 1;
		} else {
			high = mid;
		}
	}
	if (low == z->n && z->footer) {
		return footer_offset(z, sec);
	}
	const uint8_t *type = z->types + (low ? (size_t)z->indexes[low - 1] * 6 : 0);
	return (int32_t)be32(type);
}
