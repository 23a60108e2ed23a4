#include "proxy/pool/health.h"

#include <stdio.h>

#include "shared/assert.h"
#include "shared/units.h"

const char *health_state_name(enum health_state state)
{
	static const char *const names[] = {
#define X(name, text, usable) text,
		HEALTH_STATES(X)
#undef X
	};

	ASSERT((unsigned)state < countof(names));
	return names[state];
}

bool health_usable(const struct health *h)
{
	static const bool usable[] = {
#define X(name, text, usable) usable,
		HEALTH_STATES(X)
#undef X
	};

	ASSERT((unsigned)h->state < countof(usable));
	return usable[h->state];
}

/* It may quote what a server said, and be cut anywhere: what is not plain text would make no JSON.
 */
static void say(struct health *h, const char *reason)
{
	size_t n = 0;

	for (; *reason && n < sizeof(h->reason) - 1; reason++)
		h->reason[n++] = (char)(*reason >= ' ' && *reason <= '~' ? *reason : '?');
	h->reason[n] = '\0';
}

static void enter(struct health *h, enum health_state to, unsigned count,
	const struct health_event *ev, const char *reason)
{
	if (h->state != to) {
		h->since_ns = ev->now_ns;
		h->since_realtime_ns = ev->realtime_ns;
	}
	h->state = to;
	h->count = count;
	say(h, reason);
}

static const char *unknown_reason(bool active)
{
	return active ? "not checked yet" : "no check configured";
}

void health_init(struct health *h, bool active, uint64_t now_ns, uint64_t realtime_ns)
{
	*h = (struct health){
		.state = HEALTH_UNKNOWN, .since_ns = now_ns, .since_realtime_ns = realtime_ns};
	say(h, unknown_reason(active));
}

static void eject(struct health *h, const struct health_conf *c, const struct health_event *ev,
	const char *why)
{
	uint64_t length_ns;
	char reason[sizeof(h->reason)];

	ASSERT(h->state != HEALTH_EJECTED);
	/* A long time in service wipes the slate clean. */
	if (h->ejections && ev->now_ns - h->ejected_until_ns > HEALTH_EJECT_MAX_NS)
		h->ejections = 0;
	ASSERT(c->eject_ns > 0 && c->eject_ns <= HEALTH_EJECT_MAX_NS);
	if (h->ejections * c->eject_ns < HEALTH_EJECT_MAX_NS)
		h->ejections++;
	length_ns = h->ejections * c->eject_ns;
	if (length_ns > HEALTH_EJECT_MAX_NS)
		length_ns = HEALTH_EJECT_MAX_NS;
	h->ejected_until_ns = ev->now_ns + length_ns;
	snprintf(reason, sizeof(reason), "%s; put aside for %llu s", why,
		(unsigned long long)(length_ns / NS_PER_S));
	h->below = h->state;
	enter(h, HEALTH_EJECTED, h->count, ev, reason);
}

static void rise(struct health *h, const struct health_conf *c, const struct health_event *ev)
{
	char reason[64];

	snprintf(reason, sizeof(reason), "%u of %u checks passed", h->count + 1, c->rise);
	enter(h, HEALTH_RISING, h->count + 1, ev, reason);
}

/* The checks' part, with the ejection lifted: `h->state` is what the checks think. */
static void check_passed(
	struct health *h, const struct health_conf *c, const struct health_event *ev)
{
	h->refused = false;
	switch (h->state) {
	case HEALTH_UNKNOWN:
	case HEALTH_FAILING:
		enter(h, HEALTH_UP, 0, ev, "check passed");
		return;
	case HEALTH_UP:
		return;
	case HEALTH_DOWN:
		h->count = 0;
		__attribute__((fallthrough));
	case HEALTH_RISING:
		if (h->count + 1 < c->rise)
			rise(h, c, ev);
		else
			enter(h, HEALTH_UP, 0, ev, "check passed");
		return;
	case HEALTH_EJECTED:
		break;
	}
	ASSERT(!"ejected is not a verdict of checks");
}

static void check_failed(
	struct health *h, const struct health_conf *c, const struct health_event *ev)
{
	unsigned failures = h->state == HEALTH_FAILING ? h->count + 1 : 1;

	ASSERT(h->state != HEALTH_EJECTED);
	h->refused = false;
	if (health_usable(h) && failures < c->fall)
		enter(h, HEALTH_FAILING, failures, ev, ev->reason);
	else
		enter(h, HEALTH_DOWN, 0, ev, ev->reason);
}

static void refused(struct health *h, const struct health_conf *c, const struct health_event *ev)
{
	/* Without checks nobody would find out that it is back but by trying: the last one stays in
	 * use. */
	if (!c->active && !c->may_eject)
		return;
	h->refused = true;
	if (c->active)
		enter(h, HEALTH_DOWN, 0, ev, "connection refused");
	else
		eject(h, c, ev, "connection refused");
}

/* Lets the checks go on deciding beneath an ejection; it stays on top until its time is over. */
static void step_beneath(
	struct health *h, const struct health_conf *c, const struct health_event *ev)
{
	struct health under = *h;

	if (!c->active)
		return;
	under.state = h->below;
	if (ev->kind == HEALTH_CHECK_PASSED)
		check_passed(&under, c, ev);
	else if (ev->kind == HEALTH_CHECK_FAILED)
		check_failed(&under, c, ev);
	else
		refused(&under, c, ev);
	if (!health_usable(&under)) { /* the checks' verdict is the graver one */
		*h = under;
		return;
	}
	h->below = under.state;
	h->count = under.count;
	h->refused = under.refused;
}

static void lift(struct health *h, const struct health_event *ev)
{
	ASSERT(h->state == HEALTH_EJECTED);
	h->refused = false;
	enter(h, h->below, h->count, ev, "tried again");
}

static void step(struct health *h, const struct health_conf *c, const struct health_event *ev)
{
	switch (ev->kind) {
	case HEALTH_CHECK_PASSED:
		if (h->state == HEALTH_EJECTED)
			step_beneath(h, c, ev);
		else
			check_passed(h, c, ev);
		return;
	case HEALTH_CHECK_FAILED:
		if (h->state == HEALTH_EJECTED)
			step_beneath(h, c, ev);
		else
			check_failed(h, c, ev);
		return;
	case HEALTH_CHECK_REFUSED:
	case HEALTH_TRAFFIC_REFUSED:
		if (h->state == HEALTH_EJECTED) {
			h->refused = true;
			step_beneath(h, c, ev);
		} else {
			refused(h, c, ev);
		}
		return;
	case HEALTH_TRAFFIC_BROKE:
		h->refused = false;
		if (health_usable(h) && c->may_eject)
			eject(h, c, ev, ev->reason ? ev->reason : "traffic failed again and again");
		return;
	case HEALTH_TIME_PASSED:
		if (h->state == HEALTH_EJECTED && ev->now_ns >= h->ejected_until_ns)
			lift(h, ev);
		return;
	}
	ASSERT(!"unknown health event");
}

static enum health_change compare(const struct health *before, const struct health *h)
{
	if (health_usable(before) != health_usable(h))
		return HEALTH_TURNED;
	/* Among the unusable, only those that did not refuse are a last resort. */
	if (!health_usable(h) && before->refused != h->refused)
		return HEALTH_TURNED;
	if (before->state != h->state || before->count != h->count)
		return HEALTH_MOVED;
	return HEALTH_SAME;
}

enum health_change health_step(
	struct health *h, const struct health_conf *c, const struct health_event *ev)
{
	struct health before = *h;

	ASSERT(c->rise >= 1 && c->fall >= 1);
	ASSERT(ev->kind != HEALTH_CHECK_FAILED || ev->reason);
	step(h, c, ev);
	return compare(&before, h);
}

enum health_change health_reconfigure(
	struct health *h, const struct health_conf *c, uint64_t now_ns, uint64_t realtime_ns)
{
	struct health before = *h;
	struct health_event now = {.now_ns = now_ns, .realtime_ns = realtime_ns};

	if (h->state == HEALTH_EJECTED)
		h->below = c->active ? h->below : HEALTH_UNKNOWN;
	else if (!c->active)
		enter(h, HEALTH_UNKNOWN, 0, &now, c->idle ? c->idle : unknown_reason(false));
	else if (h->state == HEALTH_UNKNOWN)
		say(h, unknown_reason(true));
	else if (h->state == HEALTH_FAILING && h->count >= c->fall)
		enter(h, HEALTH_UP, 0, &now, "counted anew: fall was changed");
	return compare(&before, h);
}

enum health_change health_distrust(
	struct health *h, const char *why, uint64_t now_ns, uint64_t realtime_ns)
{
	struct health before = *h;
	struct health_event now = {.now_ns = now_ns, .realtime_ns = realtime_ns};

	h->refused = false;
	enter(h, HEALTH_RISING, 0, &now, why);
	return compare(&before, h);
}

uint64_t health_due_ns(const struct health *h)
{
	return h->state == HEALTH_EJECTED ? h->ejected_until_ns : 0;
}

uint64_t health_check_delay_ns(
	const struct health *h, const struct health_conf *c, uint64_t now_ns, struct rng *rng)
{
	enum health_state state = h->state == HEALTH_EJECTED ? h->below : h->state;
	bool soon =
		state == HEALTH_FAILING || state == HEALTH_RISING ||
		(state == HEALTH_DOWN && h->refused && now_ns - h->since_ns < HEALTH_BACK_SOON_NS);
	uint64_t delay_ns = soon && c->every_ns > HEALTH_FAST_NS ? HEALTH_FAST_NS : c->every_ns;

	return delay_ns - delay_ns / 10 + rng_below(rng, delay_ns / 5 + 1);
}

size_t health_format(const struct health *h, const struct health_conf *c, uint64_t now_ns,
	char *out, size_t size)
{
	const char *name = health_state_name(h->state);
	int n = -1;

	switch (h->state) {
	case HEALTH_UNKNOWN:
	case HEALTH_UP:
	case HEALTH_DOWN:
		n = snprintf(out, size, "%s", name);
		break;
	case HEALTH_FAILING:
		n = snprintf(out, size, "%s %u/%u", name, h->count, c->fall);
		break;
	case HEALTH_RISING: /* the reason says how far it is */
		n = snprintf(out, size, "%s", health_state_name(HEALTH_DOWN));
		break;
	case HEALTH_EJECTED: {
		uint64_t left_ns = h->ejected_until_ns > now_ns ? h->ejected_until_ns - now_ns : 0;

		n = snprintf(out, size, "%s %llu s", name,
			(unsigned long long)((left_ns + NS_PER_S - 1) / NS_PER_S));
		break;
	}
	}
	ASSERT(n >= 0 && (size_t)n < size);
	return (size_t)n;
}
