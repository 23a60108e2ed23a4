/*
 * Replay protection: see replay.h for the rules.
 */
#include "failover/core/replay.h"

#include "shared/assert.h"
#include "shared/units.h"

static const char *const verdict_names[] = {
#define X(name) [REPLAY_##name] = #name,
	REPLAY_VERDICTS(X)
#undef X
};

void replay_init(struct replay *r, uint64_t own_boot_id, uint32_t path_count, uint64_t silence_ns)
{
	ASSERT(own_boot_id != 0);
	ASSERT(path_count <= REPLAY_PATHS_MAX);
	memset(r, 0, sizeof(*r));
	r->own_boot_id = own_boot_id;
	r->silence_ns = silence_ns;
	r->path_count = path_count;
	for (uint32_t i = 0; i < path_count; i++)
		r->paths[i].next_seq = 1;
}

void replay_stamp(struct replay *r, uint32_t path, struct packet *p, uint64_t now_ns)
{
	struct replay_path *rp = &r->paths[path];
	uint64_t echoed_ns = rp->heard_ns;

	ASSERT(path < r->path_count);
	p->path = (uint8_t)path;
	p->boot_id = r->own_boot_id;
	p->seq = rp->next_seq++;
	p->sent_ns = now_ns;
	p->echo_boot_id = rp->last_seq ? r->peer_boot_id : 0;
	p->echo_seq = rp->last_seq;
	if (rp->stranger_id) {
		/* Once for each of its packets, so that a flood of recordings cannot silence
		 * the echo that the peer we know relies on. */
		p->echo_boot_id = rp->stranger_id;
		p->echo_seq = rp->stranger_seq;
		echoed_ns = rp->stranger_ns;
		rp->stranger_id = 0;
	}
	p->echo_delay_us = 0;
	if (p->echo_boot_id) {
		uint64_t delay_us = (now_ns - echoed_ns) / NS_PER_US;

		ASSERT(now_ns >= echoed_ns);
		p->echo_delay_us = delay_us < UINT32_MAX ? (uint32_t)delay_us : UINT32_MAX;
	}
	p->flags &= (uint8_t)~PACKET_HEARS_YOU;
	if (rp->last_seq && now_ns - rp->heard_ns <= r->silence_ns)
		p->flags |= PACKET_HEARS_YOU;
	rp->sent_ns[p->seq % REPLAY_RING] = now_ns;
}

static bool is_retired(const struct replay *r, uint64_t boot_id)
{
	for (uint32_t i = 0; i < REPLAY_RETIRED_MAX; i++)
		if (r->retired[i] == boot_id)
			return true;
	return false;
}

/* When did we send what this packet echoes? Unknown when it echoes nothing of ours, or too old a
 * thing. */
static bool echo_sent(const struct replay *r, const struct replay_path *rp, const struct packet *p,
	uint64_t *ret_sent_ns)
{
	if (p->echo_boot_id != r->own_boot_id || p->echo_seq == 0 || p->echo_seq >= rp->next_seq ||
		rp->next_seq - p->echo_seq > REPLAY_RING)
		return false;
	*ret_sent_ns = rp->sent_ns[p->echo_seq % REPLAY_RING];
	return true;
}

static void meet(struct replay *r, struct replay_path *rp, uint64_t boot_id)
{
	if (boot_id != r->peer_boot_id) {
		if (r->peer_boot_id)
			r->retired[r->retired_count++ % REPLAY_RETIRED_MAX] = r->peer_boot_id;
		for (uint32_t i = 0; i < r->path_count; i++)
			r->paths[i].last_seq = 0;
		r->peer_boot_id = boot_id;
	}
	ASSERT(rp->last_seq == 0);
}

static enum replay_verdict judge(
	struct replay *r, struct replay_path *rp, const struct packet *p, uint64_t now_ns)
{
	uint64_t sent_ns;

	if (p->boot_id == r->peer_boot_id && rp->last_seq) {
		if (p->seq == rp->last_seq)
			return REPLAY_DUPLICATE;
		return p->seq > rp->last_seq ? REPLAY_ACCEPTED : REPLAY_OUT_OF_ORDER;
	}
	if (p->boot_id == r->own_boot_id || is_retired(r, p->boot_id))
		return REPLAY_RETIRED;
	if (echo_sent(r, rp, p, &sent_ns) && p->echo_seq > rp->echo_floor)
		return REPLAY_MET;
	rp->stranger_id = p->boot_id;
	rp->stranger_seq = p->seq;
	rp->stranger_ns = now_ns;
	return REPLAY_CHALLENGED;
}

enum replay_verdict replay_check(struct replay *r, uint32_t path, const struct packet *p,
	uint64_t now_ns, struct replay_news *ret_news)
{
	struct replay_path *rp = &r->paths[path];
	enum replay_verdict verdict;
	uint64_t sent_ns;

	ASSERT(path < r->path_count);
	ASSERT(p->boot_id != 0 && p->seq != 0);
	verdict = judge(r, rp, p, now_ns);
	rp->counts[verdict]++;
	if (!replay_counts(verdict))
		return verdict;

	*ret_news =
		(struct replay_news){.age_ns = REPLAY_AGE_UNKNOWN, .rtt_ns = REPLAY_AGE_UNKNOWN};
	if (verdict == REPLAY_MET) {
		ret_news->restarted = r->peer_boot_id != 0 && r->peer_boot_id != p->boot_id;
		meet(r, rp, p->boot_id);
	} else {
		ret_news->lost = p->seq - rp->last_seq - 1;
	}
	rp->last_seq = p->seq;
	rp->heard_ns = now_ns;
	if (echo_sent(r, rp, p, &sent_ns)) {
		uint64_t delay_ns = p->echo_delay_us * NS_PER_US;

		ASSERT(now_ns >= sent_ns);
		ret_news->age_ns = now_ns - sent_ns;
		if (delay_ns <= ret_news->age_ns)
			ret_news->rtt_ns = ret_news->age_ns - delay_ns;
		if (p->echo_seq > rp->echo_floor)
			rp->echo_floor = p->echo_seq;
	}
	ASSERT(rp->last_seq != 0 && r->peer_boot_id == p->boot_id);
	return verdict;
}

const char *replay_verdict_name(enum replay_verdict v)
{
	ASSERT((unsigned)v < countof(verdict_names));
	return verdict_names[v];
}
