/*
 * Durations, sizes, rates and percentages as people write them, and the clocks. Exact: a fraction
 * that does not come out as a whole number of nanoseconds or bytes is refused rather than rounded.
 */
#include "shared/units.h"

#include <stdio.h>
#include <time.h>

#include "shared/assert.h"

#define NS_PER_DAY (86400 * NS_PER_S)
#define DURATION_MAX_NS (3650 * NS_PER_DAY)
enum { FRACTION_DIGITS_MAX = 9 };

struct unit {
	const char *name;
	uint64_t factor;
};

static const struct unit durations[] = {{"d", NS_PER_DAY}, {"h", 3600 * NS_PER_S},
	{"m", 60 * NS_PER_S}, {"s", NS_PER_S}, {"ms", NS_PER_MS}, {"us", NS_PER_US}, {"ns", 1}};
static const struct unit sizes[] = {{"B", 1}, {"kB", 1000}, {"MB", 1000000}, {"GB", 1000000000},
	{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}};
static const struct unit periods[] = {
	{"s", NS_PER_S}, {"m", 60 * NS_PER_S}, {"h", 3600 * NS_PER_S}, {"d", NS_PER_DAY}};

static const struct unit *unit_find(const struct unit *units, size_t count, struct span name)
{
	for (size_t i = 0; i < count; i++)
		if (span_eq(name, span_of(units[i].name)))
			return &units[i];
	return NULL;
}

enum scan { SCAN_OK, SCAN_BAD, SCAN_HUGE };

/* Number, optional fraction, unit: value = number x factor. */
static enum scan scan_scaled(
	struct span text, const struct unit *units, size_t count, uint64_t *ret_value)
{
	size_t i = 0, whole_len, fraction_len = 0;
	uint64_t whole = 0, fraction = 0, scale = 1;
	const struct unit *unit;
	unsigned __int128 total, part;

	while (i < text.len && text.ptr[i] >= '0' && text.ptr[i] <= '9')
		i++;
	whole_len = i;
	if (i < text.len && text.ptr[i] == '.') {
		for (i++; i < text.len && text.ptr[i] >= '0' && text.ptr[i] <= '9'; i++) {
			fraction = fraction * 10 + (uint64_t)(text.ptr[i] - '0');
			scale *= 10;
			if (++fraction_len > FRACTION_DIGITS_MAX)
				return SCAN_BAD;
		}
		if (fraction_len == 0)
			return SCAN_BAD;
	}
	unit = unit_find(units, count, span_from(text, i));
	if (whole_len == 0)
		return SCAN_BAD;
	if (span_eq(text, SPAN("0"))) {
		*ret_value = 0;
		return SCAN_OK;
	}
	if (!unit)
		return SCAN_BAD;
	if (span_to_u64(span_make(text.ptr, whole_len), UINT64_MAX, &whole) < 0)
		return SCAN_HUGE;
	part = (unsigned __int128)fraction * unit->factor;
	if (part % scale != 0)
		return SCAN_BAD;
	total = (unsigned __int128)whole * unit->factor + part / scale;
	if (total > UINT64_MAX)
		return SCAN_HUGE;
	*ret_value = (uint64_t)total;
	return SCAN_OK;
}

int duration_parse(struct span text, uint64_t *ret_ns, struct err *err)
{
	uint64_t ns = 0;
	enum scan rc = scan_scaled(text, durations, countof(durations), &ns);

	if (rc == SCAN_BAD)
		return err_set(err,
			"'%.*s' is not a duration: write a number and a unit, such as 500ms, 2s or "
			"5m",
			SPAN_ARG(text));
	if (rc == SCAN_HUGE || ns > DURATION_MAX_NS)
		return err_set(err, "'%.*s' is longer than 10 years", SPAN_ARG(text));
	*ret_ns = ns;
	return 0;
}

int size_parse(struct span text, uint64_t *ret_bytes, struct err *err)
{
	uint64_t bytes = 0;
	enum scan rc = scan_scaled(text, sizes, countof(sizes), &bytes);

	if (rc == SCAN_BAD)
		return err_set(err,
			"'%.*s' is not a size: write a number and a unit, such as 512B, 64KiB or "
			"1MiB",
			SPAN_ARG(text));
	if (rc == SCAN_HUGE)
		return err_set(err, "'%.*s' is too large", SPAN_ARG(text));
	*ret_bytes = bytes;
	return 0;
}

int byte_rate_parse(struct span text, uint64_t *ret_bytes, struct err *err)
{
	size_t slash = span_find(text, '/', 0);

	if (!span_eq(span_from(text, slash), SPAN("/s")) ||
		size_parse(span_make(text.ptr, slash), ret_bytes, NULL) < 0)
		return err_set(err,
			"'%.*s' is not a number of bytes a second: write such as 500B/s or 64KiB/s",
			SPAN_ARG(text));
	return 0;
}

int rate_parse(struct span text, struct rate *ret_rate, struct err *err)
{
	size_t slash = span_find(text, '/', 0), space = span_find(text, ' ', 0);
	const struct unit *unit = NULL;
	uint64_t count, per_ns;

	if (span_starts(span_from(text, space), SPAN(" per ")) &&
		duration_parse(span_from(text, space + 5), &per_ns, NULL) == 0 && per_ns > 0 &&
		span_to_u64(span_make(text.ptr, space), UINT32_MAX, &count) == 0) {
		*ret_rate = (struct rate){count, per_ns};
		return 0;
	}
	if (slash < text.len)
		unit = unit_find(periods, countof(periods), span_from(text, slash + 1));
	if (!unit || span_to_u64(span_make(text.ptr, slash), UINT32_MAX, &count) < 0)
		return err_set(err,
			"'%.*s' is not a rate: write a number and a time, such as 50/s, 1000/m, "
			"5/h or 1 per 5m",
			SPAN_ARG(text));
	*ret_rate = (struct rate){count, unit->factor};
	return 0;
}

int percent_parse(struct span text, double *ret_pct, struct err *err)
{
	static const struct unit millionths[] = {{"%", 1000000}};
	uint64_t value = 0;

	if (text.len == 0 || text.ptr[text.len - 1] != '%' ||
		scan_scaled(text, millionths, countof(millionths), &value) != SCAN_OK)
		return err_set(err,
			"'%.*s' is not a percentage: write a number and %%, such as 50%%",
			SPAN_ARG(text));
	*ret_pct = (double)value / 1e6;
	return 0;
}

size_t duration_format(uint64_t ns, char *out, size_t size)
{
	size_t i = 0;
	int n;

	while (ns % durations[i].factor != 0)
		i++;
	ASSERT(i < countof(durations));
	n = ns == 0 ? snprintf(out, size, "0")
		    : snprintf(out, size, "%llu%s", (unsigned long long)(ns / durations[i].factor),
			      durations[i].name);
	ASSERT(n > 0 && (size_t)n < size);
	return (size_t)n;
}

size_t size_format(uint64_t bytes, char *out, size_t size)
{
	static const struct unit binary[] = {
		{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}};
	size_t i = 0;
	int n;

	while (bytes == 0 ? i < 3 : bytes % binary[i].factor != 0)
		i++;
	ASSERT(i < countof(binary));
	n = snprintf(out, size, "%llu%s", (unsigned long long)(bytes / binary[i].factor),
		binary[i].name);
	ASSERT(n > 0 && (size_t)n < size);
	return (size_t)n;
}

void time_format(uint64_t realtime_ns, char out[25])
{
	time_t seconds = (time_t)(realtime_ns / NS_PER_S);
	unsigned ms = (unsigned)(realtime_ns % NS_PER_S / NS_PER_MS);
	struct tm tm;
	size_t n;

	ASSERT(gmtime_r(&seconds, &tm));
	n = strftime(out, 25, "%Y-%m-%dT%H:%M:%S", &tm);
	ASSERT(n == 19);
	out[19] = '.';
	out[20] = (char)('0' + ms / 100);
	out[21] = (char)('0' + ms / 10 % 10);
	out[22] = (char)('0' + ms % 10);
	out[23] = 'Z';
	out[24] = '\0';
}

static uint64_t clock_ns(clockid_t id)
{
	struct timespec ts;

	ASSERT(clock_gettime(id, &ts) == 0);
	return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

uint64_t monotonic_ns(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

uint64_t realtime_ns(void)
{
	return clock_ns(CLOCK_REALTIME);
}
