#include "failover/core/witness.h"

#include "shared/assert.h"

const char *witness_verdict_words(enum witness_verdict v)
{
	static const char *const words[] = {
#define X(name, text) text,
		WITNESS_VERDICTS(X)
#undef X
	};

	ASSERT((unsigned)v < countof(words));
	return words[v];
}

void witness_init(struct witness *w, const struct times *times, uint64_t now_ns)
{
	memset(w, 0, sizeof(*w));
	w->promise_ns = times_promise_ns(times);
	w->started_ns = now_ns;
}

static void let_go(struct witness_group *g, uint8_t node)
{
	if (g->owner == node)
		g->owner = 0;
	if (g->promised == node)
		g->promised = 0;
}

void witness_heard(struct witness *w, const struct packet *p, uint64_t now_ns)
{
	struct witness_group *g = &w->groups[p->group];

	ASSERT(p->group < countof(w->groups));
	switch (p->kind) {
	case PACKET_ACTIVE:
	case PACKET_CLAIM:
		g->owner = p->node;
		g->owner_ns = now_ns;
		break;
	case PACKET_RELEASE:
		let_go(g, p->node);
		break;
	case PACKET_STANDBY:
	case PACKET_PREPARE:
	case PACKET_READY:
	case PACKET_DRAINED:
	case PACKET_TUPLES:
	case PACKET_REFUSE:
		break;
	}
}

/* Somebody else than the asker, not long ago. */
static bool stands(
	const struct witness *w, uint8_t who, uint64_t since_ns, uint8_t node, uint64_t now_ns)
{
	return who != 0 && who != node && now_ns - since_ns < w->promise_ns;
}

enum witness_verdict witness_ask(struct witness *w, uint16_t group, uint8_t node, uint64_t now_ns)
{
	struct witness_group *g = &w->groups[group];

	ASSERT(group < countof(w->groups) && node != 0);
	if (now_ns - w->started_ns < w->promise_ns)
		return WITNESS_STARTING;
	if (stands(w, g->owner, g->owner_ns, node, now_ns))
		return WITNESS_OWNED;
	if (stands(w, g->promised, g->promised_ns, node, now_ns))
		return WITNESS_TAKEN;
	g->promised = node;
	g->promised_ns = now_ns;
	return WITNESS_PROMISED;
}
