/*
 * The lines of agents.
 */
#include "proxy/pool/agent_word.h"

#include "shared/assert.h"
#include "tests/unit/check.h"

static void each_line_says_state_weight_and_reason(void)
{
	static const struct {
		const char *line;
		enum agent_state state;
		unsigned pct;
		const char *reason;
	} tries[] = {
		{"75%", AGENT_UP, 75, ""},
		{"", AGENT_UP, 100, ""},
		{"up 100%\r", AGENT_UP, 100, ""},
		{"READY", AGENT_UP, 100, ""},
		{"0%", AGENT_DRAIN, 1, ""},
		{"drain,20%", AGENT_DRAIN, 20, ""},
		{"maint", AGENT_MAINT, 100, ""},
		{"down#no disk\r", AGENT_DOWN, 100, "no disk"},
		{"up fail # a\x01\xff", AGENT_DOWN, 100, "a??"},
		{"stopped 0% drain", AGENT_DOWN, 1, ""},
		{"# only a reason", AGENT_UP, 100, "only a reason"},
	};

	for (unsigned i = 0; i < countof(tries); i++) {
		struct agent_word w;

		CHECK_INT(agent_word_parse(span_of(tries[i].line), &w), 0);
		CHECK_INT(w.state, tries[i].state);
		CHECK_INT(w.weight_pct, tries[i].pct);
		CHECK_TEXT(span_of(w.reason), tries[i].reason);
	}
}

static void a_line_with_a_word_that_means_nothing_changes_nothing(void)
{
	static const char *const lines[] = {"%", "101%", "-1%", "75 %", "7x5%", "upp", "up; drain"};
	struct agent_word w = {.state = AGENT_MAINT, .weight_pct = 7};

	for (unsigned i = 0; i < countof(lines); i++)
		CHECK_INT(agent_word_parse(span_of(lines[i]), &w), -1);
	CHECK(w.state == AGENT_MAINT && w.weight_pct == 7);
}

static void a_long_reason_is_cut(void)
{
	char line[300] = "down #";
	struct agent_word w;

	memset(line + 6, 'x', 250);
	CHECK_INT(agent_word_parse(span_of(line), &w), 0);
	CHECK_INT(strlen(w.reason), sizeof(w.reason) - 1);
}

static const struct test_case cases[] = {
	TEST(each_line_says_state_weight_and_reason),
	TEST(a_line_with_a_word_that_means_nothing_changes_nothing),
	TEST(a_long_reason_is_cut),
};

TESTS_MAIN("agent_word", cases)
