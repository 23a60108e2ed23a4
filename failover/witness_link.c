#include "failover/witness_link.h"

#include <stdlib.h>

#include "failover/agent.h"
#include "shared/assert.h"
#include "shared/log.h"

struct witness_link {
	struct agent *agent;
	struct paths *paths; /* one */
};

static struct group *find_group(struct agent *a, uint16_t vrid)
{
	list_each (it, &a->groups) {
		struct group *g = list_item(it, struct group, in_agent);

		if (g->settings.vrid == vrid)
			return g;
	}
	return NULL;
}

static bool answers(const struct witness_question *q, const struct packet *p, uint64_t age_ns)
{
	return q->ticket != 0 && (p->kind == PACKET_READY || p->kind == PACKET_REFUSE) &&
	       p->epoch == q->epoch && age_ns <= monotonic_ns() - q->asked_ns;
}

static void on_packet(void *ctx, unsigned path, const struct packet *p, uint64_t age_ns)
{
	struct witness_link *l = ctx;
	struct group *g = find_group(l->agent, p->group);
	struct fsm_event ev = {.kind = FSM_EV_WITNESS_HEARD, .age_ns = age_ns};

	(void)path;
	if (!g || age_ns == REPLAY_AGE_UNKNOWN)
		return;
	if (answers(&g->question, p, age_ns)) {
		ev = (struct fsm_event){.kind = FSM_EV_WITNESS,
			.ticket = g->question.ticket,
			.good = p->kind == PACKET_READY};
		witness_ask_no_more(g);
	}
	group_event(g, &ev);
}

static void on_path(void *ctx, const struct path_state *path)
{
	struct witness_link *l = ctx;

	log_event(path->up ? LOG_NOTICE : LOG_WARNING, path->up ? "witness.up" : "witness.down",
		path->up ? "the witness answers"
			 : "the witness does not answer: no node could take over from a dead one");
	rpc_publish(l->agent->rpc, path->up ? "witness.up" : "witness.down", NULL);
	alert(l->agent->alerts, ALERT_WITNESS_DOWN, "witness", !path->up,
		path->up ? "it answers again" : "it does not answer");
}

static bool is_on_link(void *ctx, const struct addr *peer)
{
	struct witness_link *l = ctx;

	return netlink_on_link(l->agent->netlink, peer);
}

struct witness_link *witness_link_new(struct agent *agent, const struct settings *s,
	struct witness_link *replaces, struct err *err)
{
	struct witness_link *l = calloc(1, sizeof(*l));
	struct path_config path = {.name = "witness", .peer = s->witness};
	struct paths_options o = {
		.handlers = {.ctx = l,
			.on_packet = on_packet,
			.on_path = on_path,
			.is_on_link = is_on_link},
		.configs = &path,
		.count = 1,
		.peer = s->witness_id,
		.boot_id = agent->boot_id,
		.silence_ns = s->times.silence_ns,
		.secret_count = s->secret_count,
		.replaces = replaces ? replaces->paths : NULL,
	};

	if (!l) {
		err_set(err, "out of memory");
		return NULL;
	}
	for (unsigned i = 0; i < countof(s->witnessed); i++)
		if (s->witnessed[i].id == s->node_id)
			path.own = s->witnessed[i].addr;
	for (unsigned i = 0; i < s->secret_count; i++)
		o.secrets[i] = s->secrets[i];
	l->agent = agent;
	l->paths = paths_new(agent->loop, &o, err);
	if (l->paths)
		return l;
	free(l);
	return NULL;
}

void witness_link_free(struct witness_link *l)
{
	if (!l)
		return;
	paths_free(l->paths);
	free(l);
}

void witness_link_send(struct witness_link *l, const struct packet *packet)
{
	(void)paths_send(l->paths, packet, 1);
}

void witness_link_drain(struct witness_link *l, uint64_t now_ns)
{
	paths_drain(l->paths);
	paths_check(l->paths, now_ns);
}

const struct path_state *witness_link_state(const struct witness_link *l)
{
	return paths_get(l->paths, 0);
}

/* --- asking ------------------------------------------------------------------------------------
 */
static void ask(struct group *g)
{
	const struct fsm_action question = {.kind = FSM_DO_SEND, .packet = PACKET_PREPARE};
	struct packet p;

	if (!g->agent->witness) /* a reload took it: the machine finds the witness silent */
		return;
	fsm_packet(&g->fsm, &question, monotonic_ns(), &p);
	p.epoch = g->question.epoch;
	witness_link_send(g->agent->witness, &p);
}

static void on_again(struct ev_loop *loop, ev_timer *w, int revents)
{
	(void)loop;
	(void)revents;
	ask(w->data);
}

void witness_ask_for(struct group *g, uint32_t ticket, uint64_t epoch)
{
	struct witness_question *q = &g->question;

	witness_ask_no_more(g);
	q->ticket = ticket;
	q->epoch = epoch;
	q->asked_ns = monotonic_ns();
	ev_init(&q->again, on_again);
	q->again.data = g;
	q->again.repeat = (double)g->fsm.config.times.probe_ns / 4e9;
	ev_timer_again(g->agent->loop, &q->again);
	ask(g);
}

void witness_ask_no_more(struct group *g)
{
	if (g->question.ticket != 0)
		ev_timer_stop(g->agent->loop, &g->question.again);
	g->question.ticket = 0;
}
