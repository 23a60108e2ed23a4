#include "proxy/pool/scaling.h"

#include <stdio.h>

#include "shared/assert.h"

/* With one server less a signal must stay below this part of its target: else it would soon be
 * above again. */
static const double well_below = 0.8;

static const struct {
	const char *word, *unit;
} signals[] = {
#define X(name, word, unit) {word, unit},
	SCALING_SIGNALS(X)
#undef X
};

static bool has_say(
	const struct scaling_conf *conf, const struct scaling_seen *seen, unsigned signal)
{
	return conf->targets[signal] > 0 && seen->values[signal] >= 0;
}

/* The signal that is furthest above its target; -1: none is. */
static int worst(const struct scaling_conf *conf, const struct scaling_seen *seen)
{
	double most = 1;
	int found = -1;

	for (unsigned i = 0; i < SCALING_SIGNAL_COUNT; i++) {
		double part;

		if (!has_say(conf, seen, i))
			continue;
		part = seen->values[i] / conf->targets[i];
		/* Of requests that wait so many are too many; a share or time may be reached. */
		if (part > most || (i == SCALING_QUEUE && part == 1 && found < 0)) {
			most = part;
			found = (int)i;
		}
	}
	return found;
}

static bool can_spare_one(const struct scaling_conf *conf, const struct scaling_seen *seen)
{
	double grows = (double)seen->servers / (seen->servers - 1);
	bool any = false;

	for (unsigned i = 0; i < SCALING_SIGNAL_COUNT; i++) {
		if (!has_say(conf, seen, i))
			continue;
		any = true;
		if (i == SCALING_QUEUE ? seen->values[i] > 0
				       : seen->values[i] * grows > conf->targets[i] * well_below)
			return false;
	}
	return any;
}

static enum scaling_lean lean_of(const struct scaling_conf *conf, const struct scaling_seen *seen)
{
	if (seen->servers < conf->min)
		return SCALING_UP;
	if (seen->servers > conf->max)
		return SCALING_DOWN;
	if (worst(conf, seen) >= 0)
		return seen->servers < conf->max ? SCALING_UP : SCALING_STAY;
	if (seen->servers > conf->min && can_spare_one(conf, seen))
		return SCALING_DOWN;
	return SCALING_STAY;
}

/* As many as bring the worst signal to its target, at least one more and at most twice as many. */
static unsigned grown(
	const struct scaling_conf *conf, const struct scaling_seen *seen, unsigned signal)
{
	double part = seen->values[signal] / conf->targets[signal];
	double wanted = part < 2 ? (double)seen->servers * part : 2.0 * seen->servers;
	unsigned n = (unsigned)wanted;

	if ((double)n < wanted)
		n++;
	if (n <= seen->servers)
		n = seen->servers + 1;
	return n < conf->max ? n : conf->max;
}

static unsigned decide(
	struct scaling *s, const struct scaling_conf *conf, const struct scaling_seen *seen)
{
	int signal = worst(conf, seen);

	if (seen->servers < conf->min) {
		snprintf(s->why, sizeof(s->why), "%u servers are fewer than min %u", seen->servers,
			conf->min);
		return conf->min;
	}
	if (seen->servers > conf->max) {
		snprintf(s->why, sizeof(s->why), "%u servers are more than max %u", seen->servers,
			conf->max);
		return conf->max;
	}
	if (s->lean == SCALING_DOWN) {
		snprintf(s->why, sizeof(s->why), "%u would do for what %u servers do",
			seen->servers - 1, seen->servers);
		return seen->servers - 1;
	}
	ASSERT(signal >= 0);
	snprintf(s->why, sizeof(s->why), "%s is %.0f%s, target %.0f%s", signals[signal].word,
		seen->values[signal], signals[signal].unit, conf->targets[signal],
		signals[signal].unit);
	return grown(conf, seen, (unsigned)signal);
}

bool scaling_step(struct scaling *s, const struct scaling_conf *conf,
	const struct scaling_seen *seen, uint64_t now_ns, unsigned *ret_want)
{
	enum scaling_lean lean = lean_of(conf, seen);

	ASSERT(conf->min >= 1 && conf->min <= conf->max);
	if (lean != s->lean) {
		s->lean = lean;
		s->since_ns = now_ns;
	}
	if (lean == SCALING_STAY || now_ns - s->since_ns < conf->for_ns ||
		(s->acted_ns && now_ns - s->acted_ns < conf->cooldown_ns))
		return false;
	s->acted_ns = now_ns ? now_ns : 1;
	s->since_ns = now_ns; /* what it led to is to be seen for as long again */
	s->want = decide(s, conf, seen);
	*ret_want = s->want;
	return true;
}
