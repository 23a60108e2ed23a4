#include "failover/core/alerting.h"

#include "shared/assert.h"

enum type { E, C };

static const struct {
	const char *name;
	enum type type;
} kinds[] = {
#define X(name, text, type, what) {text, type},
	ALERT_KINDS(X)
#undef X
};

const char *alert_kind_name(enum alert_kind kind)
{
	ASSERT((unsigned)kind < countof(kinds));
	return kinds[kind].name;
}

int alert_kind_parse(struct span name, enum alert_kind *ret_kind)
{
	for (enum alert_kind k = 0; k < ALERT_KIND_COUNT; k++)
		if (span_eq(name, span_of(kinds[k].name))) {
			*ret_kind = k;
			return 0;
		}
	return -1;
}

bool alert_kind_is_event(enum alert_kind kind)
{
	ASSERT((unsigned)kind < countof(kinds));
	return kinds[kind].type == E;
}

static bool same_rule(const struct alert_rule *a, const struct alert_rule *b)
{
	return a->kinds == b->kinds && a->for_ns == b->for_ns &&
	       a->at_most.count == b->at_most.count && a->at_most.per_ns == b->at_most.per_ns;
}

/* Bits of the old rules as bits of the new ones. */
static uint32_t translate(uint32_t bits, const int *old_of, unsigned count)
{
	uint32_t out = 0;

	for (unsigned i = 0; i < count; i++)
		if (old_of[i] >= 0)
			out |= (bits >> old_of[i] & 1) << i;
	return out;
}

void alerting_rules(struct alerting *a, const struct alert_rule *rules, unsigned count)
{
	uint64_t full_ns[ALERT_RULES_MAX] = {0};
	int old_of[ALERT_RULES_MAX];
	uint32_t taken = 0;

	ASSERT(count <= ALERT_RULES_MAX);
	for (unsigned i = 0; i < count; i++) {
		old_of[i] = -1;
		for (unsigned k = 0; k < a->rule_count && old_of[i] < 0; k++)
			if (!(taken >> k & 1) && same_rule(&a->rules[k], &rules[i]))
				old_of[i] = (int)k;
		if (old_of[i] < 0)
			continue;
		taken |= UINT32_C(1) << old_of[i];
		full_ns[i] = a->full_ns[old_of[i]];
	}
	for (unsigned i = 0; i < ALERT_CONDITIONS_MAX; i++) {
		struct alert_condition *c = &a->conditions[i];

		c->told = translate(c->told, old_of, count);
		c->untold = translate(c->untold, old_of, count);
	}
	a->rule_count = count;
	memcpy(a->full_ns, full_ns, sizeof(a->full_ns));
	for (unsigned i = 0; i < count; i++)
		a->rules[i] = rules[i];
}

static struct alert_condition *find(
	struct alerting *a, enum alert_kind kind, const char *subject, bool make)
{
	struct alert_condition *unused = NULL;

	for (unsigned i = 0; i < ALERT_CONDITIONS_MAX; i++) {
		struct alert_condition *c = &a->conditions[i];

		if (!c->subject[0])
			unused = unused ? unused : c;
		else if (c->kind == kind &&
			 strncmp(c->subject, subject, sizeof(c->subject) - 1) == 0)
			return c;
	}
	if (!make)
		return NULL;
	if (!unused) {
		a->lost++;
		return NULL;
	}
	*unused = (struct alert_condition){.kind = kind};
	snprintf(unused->subject, sizeof(unused->subject), "%s", subject);
	return unused;
}

void alerting_set(struct alerting *a, enum alert_kind kind, const char *subject, bool on,
	const char *words, uint64_t now_ns)
{
	bool event = alert_kind_is_event(kind);
	struct alert_condition *c = find(a, kind, subject, on || event);

	ASSERT(subject[0] && a->rule_count < 32);
	if (!c)
		return;
	if (event) {
		c->events++;
		c->untold = (uint32_t)(UINT64_C(1) << a->rule_count) - 1;
	} else if (c->on == on) {
		return;
	}
	c->on = on;
	c->changed_ns = now_ns;
	snprintf(c->words, sizeof(c->words), "%s", words);
}

static bool wants(const struct alert_rule *r, enum alert_kind kind)
{
	return r->kinds >> kind & 1;
}

/* When rule i may be told of c; UINT64_MAX: there is nothing to tell. */
static uint64_t due_ns(const struct alerting *a, const struct alert_condition *c, unsigned i)
{
	const struct alert_rule *r = &a->rules[i];
	uint64_t due, burst_ns, bit = UINT64_C(1) << i;

	if (!c->subject[0] || !wants(r, c->kind))
		return UINT64_MAX;
	if (alert_kind_is_event(c->kind) ? !(c->untold & bit) : c->on == !!(c->told & bit))
		return UINT64_MAX;
	due = c->changed_ns + (alert_kind_is_event(c->kind) ? 0 : r->for_ns);
	if (r->at_most.count == 0)
		return due;
	burst_ns = r->at_most.per_ns - r->at_most.per_ns / r->at_most.count;
	if (a->full_ns[i] > due + burst_ns)
		due = a->full_ns[i] - burst_ns;
	return due;
}

static void spend(struct alerting *a, unsigned i, uint64_t now_ns)
{
	const struct alert_rule *r = &a->rules[i];

	if (r->at_most.count == 0)
		return;
	if (a->full_ns[i] < now_ns)
		a->full_ns[i] = now_ns;
	a->full_ns[i] += r->at_most.per_ns / r->at_most.count;
}

/* Nobody has to hear of its end. */
static bool is_over(const struct alerting *a, const struct alert_condition *c)
{
	if (alert_kind_is_event(c->kind)) {
		for (unsigned i = 0; i < a->rule_count; i++)
			if (due_ns(a, c, i) != UINT64_MAX)
				return false;
		return true;
	}
	return !c->on && c->told == 0;
}

static void tell(struct alerting *a, struct alert_condition *c, unsigned i, uint64_t now_ns,
	struct alert_notice *ret)
{
	uint32_t bit = UINT32_C(1) << i;

	*ret = (struct alert_notice){.rule = i,
		.kind = c->kind,
		.subject = c->subject,
		.words = c->words,
		.on = c->on,
		.events = c->events,
		.lasts_ns = now_ns - c->changed_ns};
	spend(a, i, now_ns);
	c->untold &= ~bit;
	if (c->on)
		c->told |= bit;
	else
		c->told &= ~bit;
}

bool alerting_next(
	struct alerting *a, uint64_t now_ns, struct alert_notice *ret_notice, uint64_t *ret_next_ns)
{
	uint64_t next_ns = UINT64_MAX;

	for (unsigned k = 0; k < ALERT_CONDITIONS_MAX; k++) {
		struct alert_condition *c = &a->conditions[k];

		for (unsigned i = 0; i < a->rule_count; i++) {
			uint64_t due = due_ns(a, c, i);

			if (due <= now_ns) {
				tell(a, c, i, now_ns, ret_notice);
				return true;
			}
			next_ns = due < next_ns ? due : next_ns;
		}
		if (c->subject[0] && is_over(a, c)) /* a slot is free only from the next call on */
			c->subject[0] = '\0';
	}
	*ret_next_ns = next_ns;
	return false;
}
