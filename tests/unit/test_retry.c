/*
 * The retry matrix as a table, and the budget with a clock of its own.
 */
#include "proxy/exchange/retry.h"

#include "shared/units.h"
#include "tests/unit/check.h"

#define DEFAULT (RETRY_ON_CONNECT | RETRY_ON_STALE | RETRY_ON_RESET)
#define CONNECTING (RETRY_ON_CONNECT | RETRY_ON_STALE)
#define EVERYTHING (DEFAULT | RETRY_ON_FIRST_BYTE | RETRY_ON_STATUSES)

static const enum http_method idempotent[] = {
	HTTP_GET, HTTP_HEAD, HTTP_OPTIONS, HTTP_PUT, HTTP_DELETE};
static const enum http_method unsafe[] = {HTTP_POST, HTTP_PATCH, HTTP_OTHER};

static bool allowed(unsigned on, bool opted_in, struct retry_case what)
{
	const struct retry_conf conf = {2, on, opted_in};

	return retry_allowed(&conf, &what);
}

/* A row: what failed, with which words it is listed; then whether it is tried again by methods:
 * idempotent, unsafe, unsafe with the opt-in. */
static const struct row {
	const char *name;
	enum retry_failure failure;
	uint16_t status;
	bool sent;
	unsigned on;
	bool idempotent, unsafe, opted_in;
} rows[] = {
	{"not connected", RETRY_UNCONNECTED, 0, false, DEFAULT, true, true, true},
	{"not connected, not listed", RETRY_UNCONNECTED, 0, false, EVERYTHING & ~RETRY_ON_CONNECT,
		false, false, false},
	{"stale, nothing left us", RETRY_WENT_STALE, 0, false, DEFAULT, true, true, true},
	{"stale, something left us", RETRY_WENT_STALE, 0, true, CONNECTING, true, false, false},
	{"stale, not listed", RETRY_WENT_STALE, 0, true, RETRY_ON_CONNECT, false, false, false},
	{"stale, nothing left us, not listed", RETRY_WENT_STALE, 0, false, RETRY_ON_FIRST_BYTE,
		false, false, false},
	{"stale, only resets listed", RETRY_WENT_STALE, 0, true, RETRY_ON_RESET, true, false, true},
	{"stale, both listed", RETRY_WENT_STALE, 0, true, DEFAULT, true, false, true},
	{"reset", RETRY_BROKE, 0, true, RETRY_ON_RESET, true, false, true},
	{"reset, not listed", RETRY_BROKE, 0, true, EVERYTHING & ~RETRY_ON_RESET, false, false,
		false},
	{"reset, nothing left us", RETRY_BROKE, 0, false, RETRY_ON_CONNECT, true, true, true},
	{"reset, nothing left us, not listed", RETRY_BROKE, 0, false,
		EVERYTHING & ~(RETRY_ON_CONNECT | RETRY_ON_RESET), false, false, false},
	{"no answer in time", RETRY_TOO_SLOW, 0, true, RETRY_ON_FIRST_BYTE, true, false, true},
	{"no answer in time, not listed", RETRY_TOO_SLOW, 0, true,
		EVERYTHING & ~RETRY_ON_FIRST_BYTE, false, false, false},
	{"429", RETRY_STATUS, 429, true, RETRY_ON_429, true, false, true},
	{"500", RETRY_STATUS, 500, true, RETRY_ON_500, true, false, true},
	{"502", RETRY_STATUS, 502, true, RETRY_ON_502, true, false, true},
	{"503", RETRY_STATUS, 503, true, RETRY_ON_503, true, false, true},
	{"504", RETRY_STATUS, 504, true, RETRY_ON_504, true, false, true},
	{"503 before anything left us", RETRY_STATUS, 503, false, RETRY_ON_503, true, false, true},
	{"503, not listed", RETRY_STATUS, 503, true, EVERYTHING & ~RETRY_ON_503, false, false,
		false},
	{"200", RETRY_STATUS, 200, true, EVERYTHING, false, false, false},
	{"404", RETRY_STATUS, 404, true, EVERYTHING, false, false, false},
	{"501", RETRY_STATUS, 501, true, EVERYTHING, false, false, false},
};

static void check_row(const struct row *r, enum http_method m, bool opted_in, bool expected)
{
	struct retry_case what = {r->failure, r->status, m, r->sent, true, 0};

	if (allowed(r->on, opted_in, what) != expected)
		fprintf(stderr, "\n%s, method %d, opted in %d: not %d\n", r->name, (int)m, opted_in,
			expected);
	CHECK(allowed(r->on, opted_in, what) == expected);
	what.held = false; /* without the content there is nothing to send */
	CHECK(!allowed(r->on, opted_in, what));
	what.held = true;
	what.others = 1;
	CHECK(allowed(r->on, opted_in, what) == expected);
	what.others = 2; /* that was the last */
	CHECK(!allowed(r->on, opted_in, what));
}

static void every_row_of_the_matrix_holds(void)
{
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		for (unsigned m = 0; m < sizeof(idempotent) / sizeof(idempotent[0]); m++) {
			check_row(&rows[i], idempotent[m], false, rows[i].idempotent);
			check_row(&rows[i], idempotent[m], true, rows[i].idempotent);
		}
		for (unsigned m = 0; m < sizeof(unsafe) / sizeof(unsafe[0]); m++) {
			check_row(&rows[i], unsafe[m], false, rows[i].unsafe);
			check_row(&rows[i], unsafe[m], true, rows[i].opted_in);
		}
	}
}

static void without_further_attempts_nothing_is_tried_again(void)
{
	const struct retry_conf conf = {0, EVERYTHING, true};
	const struct retry_case what = {.failure = RETRY_UNCONNECTED, .held = true};

	CHECK(!retry_allowed(&conf, &what));
	CHECK(!retry_may_resend(&conf, HTTP_PUT));
}

static void content_is_held_only_where_it_could_be_sent_again(void)
{
	const struct retry_conf usual = {2, DEFAULT, false}, careful = {2, RETRY_ON_CONNECT, true},
				bold = {2, DEFAULT | RETRY_ON_503, true},
				shy = {2, RETRY_ON_STALE, true};

	CHECK(retry_may_resend(&usual, HTTP_PUT));
	CHECK(!retry_may_resend(&usual, HTTP_POST));
	CHECK(!retry_may_resend(&careful, HTTP_PUT));
	CHECK(retry_may_resend(&bold, HTTP_POST));
	CHECK(!retry_may_resend(&shy, HTTP_POST));
}

static unsigned take_all(struct budget *b, uint64_t now_ns)
{
	unsigned n = 0;

	while (n < 1000 && budget_take_retry(b, now_ns))
		n++;
	return n;
}

static void a_pool_without_traffic_may_retry_three_times_in_ten_seconds(void)
{
	struct budget b = {0};

	CHECK_INT(take_all(&b, 0), 3);
	CHECK_INT(take_all(&b, 9 * NS_PER_S + NS_PER_S - 1), 0);
	CHECK_INT(take_all(&b, 10 * NS_PER_S), 3);
}

static void a_fifth_of_the_requests_of_ten_seconds_may_be_retries(void)
{
	struct budget b = {0};

	for (unsigned i = 0; i < 100; i++) /* ten a second */
		budget_count_request(&b, 77 * NS_PER_S + i * (NS_PER_S / 10));
	CHECK_INT(take_all(&b, 86 * NS_PER_S), 20);
	CHECK_INT(take_all(&b, 87 * NS_PER_S), 0); /* 90 requests, 20 retries */
	CHECK_INT(take_all(&b, 96 * NS_PER_S), 3); /* no request is left of these */
	CHECK_INT(take_all(&b, 1000 * NS_PER_S), 3);
}

static void fewer_than_fifteen_requests_do_not_lower_the_three(void)
{
	struct budget b = {0};

	for (unsigned i = 0; i < 10; i++)
		budget_count_request(&b, NS_PER_S);
	CHECK_INT(take_all(&b, NS_PER_S), 3);
	for (unsigned i = 0; i < 10; i++)
		budget_count_request(&b, NS_PER_S);
	CHECK_INT(take_all(&b, NS_PER_S), 1); /* 20 requests: the fourth */
}

static void a_clock_reading_that_is_a_little_old_is_counted_all_the_same(void)
{
	struct budget b = {0};

	budget_count_request(&b, 15 * NS_PER_S);
	for (unsigned i = 0; i < 19; i++)
		budget_count_request(&b, 5 * NS_PER_S); /* the same slot, ten seconds before */
	CHECK_INT(take_all(&b, 15 * NS_PER_S), 4);
}

int main(void)
{
	static const struct test_case cases[] = {
		TEST(every_row_of_the_matrix_holds),
		TEST(without_further_attempts_nothing_is_tried_again),
		TEST(content_is_held_only_where_it_could_be_sent_again),
		TEST(a_pool_without_traffic_may_retry_three_times_in_ten_seconds),
		TEST(a_fifth_of_the_requests_of_ten_seconds_may_be_retries),
		TEST(fewer_than_fifteen_requests_do_not_lower_the_three),
		TEST(a_clock_reading_that_is_a_little_old_is_counted_all_the_same),
	};

	return tests_run("retry", cases, sizeof(cases) / sizeof(cases[0]));
}
