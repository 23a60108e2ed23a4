#include "proxy/settings/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdio.h>
#include <stdlib.h>

#include "shared/assert.h"

/* What a match may take. An expression of the usual kind takes some dozens of steps. */
enum { STEPS_MAX = 20000, DEPTH_MAX = 1000, HEAP_MAX_KB = 64, STACK_MAX_BYTES = 128 << 10 };

struct regex {
	pcre2_code *code;
	struct regex *next;
	unsigned groups;
};

struct regex_room {
	pcre2_match_data *data;
	pcre2_match_context *context;
	pcre2_jit_stack *stack;
};

static void regex_free(struct regex *r)
{
	pcre2_code_free(r->code);
	free(r);
}

static struct regex *out_of_memory(struct regex *r, char *why)
{
	if (r)
		regex_free(r);
	why[0] = '\0';
	return NULL;
}

struct regex *regex_new(struct span pattern, char *why, size_t why_size, size_t *ret_at)
{
	struct regex *r;
	PCRE2_SIZE at = 0;
	uint32_t groups;
	int error;

	ASSERT(why_size > 0);
	*ret_at = 0;
	if (pattern.len > REGEX_PATTERN_MAX) {
		snprintf(why, why_size, "it is longer than %d characters", REGEX_PATTERN_MAX);
		return NULL;
	}
	r = calloc(1, sizeof(*r));
	if (!r)
		return out_of_memory(r, why);
	/* "$" is the very end, and \C and the like are of no use on bytes. */
	r->code = pcre2_compile((PCRE2_SPTR)(pattern.len ? pattern.ptr : ""), pattern.len,
		PCRE2_DOLLAR_ENDONLY | PCRE2_NEVER_BACKSLASH_C | PCRE2_NEVER_UCP | PCRE2_NEVER_UTF,
		&error, &at, NULL);
	if (!r->code && error == PCRE2_ERROR_HEAP_FAILED)
		return out_of_memory(r, why);
	if (!r->code) {
		pcre2_get_error_message(error, (PCRE2_UCHAR *)why, why_size);
		*ret_at = at;
		regex_free(r);
		return NULL;
	}
	/* Where it cannot be compiled further it is interpreted: the same answers, later. */
	(void)pcre2_jit_compile(r->code, PCRE2_JIT_COMPLETE);
	pcre2_pattern_info(r->code, PCRE2_INFO_CAPTURECOUNT, &groups);
	r->groups = groups;
	return r;
}

void regex_chain(struct regex *r, struct regex **first)
{
	r->next = *first;
	*first = r;
}

void regex_free_all(struct regex *first)
{
	struct regex *next;

	for (; first; first = next) {
		next = first->next;
		regex_free(first);
	}
}

unsigned regex_groups(const struct regex *r)
{
	return r->groups;
}

struct regex_room *regex_room_new(void)
{
	struct regex_room *room = calloc(1, sizeof(*room));

	if (!room)
		return NULL;
	room->data = pcre2_match_data_create(REGEX_CAPTURES, NULL);
	room->context = pcre2_match_context_create(NULL);
	room->stack = pcre2_jit_stack_create(STACK_MAX_BYTES, STACK_MAX_BYTES, NULL);
	if (!room->data || !room->context) {
		regex_room_free(room);
		return NULL;
	}
	pcre2_set_match_limit(room->context, STEPS_MAX);
	pcre2_set_depth_limit(room->context, DEPTH_MAX);
	pcre2_set_heap_limit(room->context, HEAP_MAX_KB);
	/* Without one (no machine code here) the thread's own stack would serve. */
	if (room->stack)
		pcre2_jit_stack_assign(room->context, NULL, room->stack);
	return room;
}

void regex_room_free(struct regex_room *room)
{
	if (!room)
		return;
	pcre2_jit_stack_free(room->stack);
	pcre2_match_context_free(room->context);
	pcre2_match_data_free(room->data);
	free(room);
}

static void read_captures(const struct regex *r, const struct regex_room *room, struct span subject,
	struct captures *c)
{
	const PCRE2_SIZE *at = pcre2_get_ovector_pointer(room->data);

	c->start = at[0];
	c->end = at[1];
	c->count = r->groups + 1 < REGEX_CAPTURES ? r->groups + 1 : REGEX_CAPTURES;
	for (unsigned i = 0; i < c->count; i++) {
		bool taken = at[2 * i] != PCRE2_UNSET && at[2 * i] <= at[2 * i + 1];

		c->group[i] = taken ? span_make(subject.ptr + at[2 * i], at[2 * i + 1] - at[2 * i])
				    : (struct span){0};
	}
	if (c->start > c->end) /* \K in a lookahead: as if it were not there */
		c->start = c->end;
}

enum regex_rc regex_match(const struct regex *r, struct regex_room *room, struct span subject,
	struct captures *ret_captures)
{
	int rc = pcre2_match(r->code, (PCRE2_SPTR)(subject.ptr ? subject.ptr : ""), subject.len, 0,
		0, room->data, room->context);

	if (rc == PCRE2_ERROR_NOMATCH)
		return REGEX_NO;
	if (rc < 0)
		return REGEX_GAVE_UP;
	if (ret_captures)
		read_captures(r, room, subject, ret_captures);
	return REGEX_YES;
}
