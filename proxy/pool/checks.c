#include "proxy/pool/checks.h"

#include <stdlib.h>

#include "proxy/pool/errand.h"
#include "proxy/pool/queue.h"
#include "proxy/settings/check.h"
#include "shared/assert.h"
#include "shared/log.h"

enum {
	STAGGER_MAX_MS = 10, /* between the first checks of two servers */
	POSTPONED_MS = 500,
	TELL_AGAIN_MS = 1000,
	GRID_MS = 16,
	RAMP_MS = 250 /* between two steps of a server's share */
};

struct check { /* a server as it is watched; of a pool without check only its ejections */
	struct checks *owner;
	struct server *server;	 /* holds a reference */
	const struct pool *pool; /* of owner->settings */
	struct errand check, agent;
	ev_timer due;  /* the end of an ejection */
	bool checked;  /* the pool has a check, and nobody has taken the server out */
	bool admitted; /* nobody has taken it out, or is about to */
	bool wanted;   /* by the servers that are being followed */
};

struct checks {
	struct ev_loop *loop;
	struct server_table *table;
	struct checks_options options;
	struct settings *settings; /* NULL before the first */
	struct rng rng;
	struct check *by_slot[SERVERS_MAX];
	struct errands errands;
	unsigned pace;	 /* checks come that many times as seldom */
	ev_prepare tell; /* pools whose view is old */
	ev_timer tell_again;
	ev_timer ramp; /* while a server's share grows */
};

#define STANDBY_PACE 10

static struct health_conf health_conf_of(const struct check *ch)
{
	const struct pool *p = ch->pool;

	return (struct health_conf){.active = ch->checked,
		.rise = p->check.rise,
		.fall = p->check.fall,
		.every_ns = p->check.every_ns * ch->owner->pace,
		.eject_ns = p->passive.eject_ns};
}

static void start_timer(struct ev_loop *loop, ev_timer *t, uint64_t after_ns)
{
	ev_timer_stop(loop, t);
	ev_timer_set(t, (double)after_ns / 1e9, 0);
	ev_timer_start(loop, t);
}

/* --- telling -----------------------------------------------------------------------------------
 */

void checks_tell(struct checks *c)
{
	ev_prepare_stop(c->loop, &c->tell);
	for (unsigned i = 0; i < c->settings->pool_count; i++) {
		const struct pool *p = &c->settings->pools[i];

		if (!p->state->view_is_old)
			continue;
		p->state->view_is_old = c->options.on_pool_changed(c->options.ctx, p) < 0;
		if (p->state->view_is_old)
			start_timer(c->loop, &c->tell_again, TELL_AGAIN_MS * NS_PER_MS);
	}
}

/* After everything that this iteration brought: a pool whose servers all fell is told of once. */
static void on_tell(struct ev_loop *loop, ev_prepare *w, int events)
{
	(void)loop;
	(void)events;
	checks_tell(w->data);
}

static void on_tell_again(struct ev_loop *loop, ev_timer *w, int events)
{
	struct checks *c = w->data;

	(void)events;
	ev_prepare_start(loop, &c->tell);
}

static void mark_changed(struct checks *c, const struct pool *p)
{
	ASSERT(p == &c->settings->pools[p->index]);
	p->state->view_is_old = true;
	ev_prepare_start(c->loop, &c->tell);
}

static const struct {
	enum log_level level;
	const char *event, *sentence;
} words[] = {
	[HEALTH_UNKNOWN] = {LOG_INFO, "server.unknown", "used without a verdict"},
	[HEALTH_UP] = {LOG_NOTICE, "server.up", "in use"},
	[HEALTH_FAILING] = {LOG_INFO, "server.failing", "check failed; still in use"},
	[HEALTH_DOWN] = {LOG_WARNING, "server.down", "out of use until its checks pass"},
	[HEALTH_RISING] = {LOG_INFO, "server.rising", "check passed; not yet in use"},
	[HEALTH_EJECTED] = {LOG_WARNING, "server.ejected", "put aside because traffic failed"},
};

static void tell(struct check *ch, enum health_state from)
{
	const struct checks *c = ch->owner;
	const struct server *s = ch->server;
	enum health_state to = s->health.state;

	ASSERT((unsigned)to < countof(words));
	ch->server->state_changes_total += from != to;
	log_event(words[to].level, words[to].event, words[to].sentence,
		F_TEXT("pool", s->pool_name), F_TEXT("server", s->name),
		F_TEXT("address", s->address_text), F_TEXT("from", health_state_name(from)),
		F_TEXT("to", health_state_name(to)), F_TEXT("reason", s->health.reason));
	if (c->options.on_event)
		c->options.on_event(c->options.ctx, words[to].event,
			json_pack("{s:s, s:s, s:s, s:s, s:s, s:s}", "pool", s->pool_name, "server",
				s->name, "address", s->address_text, "from",
				health_state_name(from), "to", health_state_name(to), "reason",
				s->health.reason));
}

/* --- verdicts ----------------------------------------------------------------------------------
 */

static bool serves(const struct server *s)
{
	return health_usable(&s->health) && server_agent_allows(s);
}

/* Can the pool spare this server? Never the last that can be used (but where nobody is there, and
 * another pool stands in); and for failures that may be the
 * requests' own fault, a part of the pool at most. */
static bool may_eject(const struct pool *p, const struct server *s, enum health_event_kind why)
{
	unsigned ejected = 0, others = p->stand_in && why != HEALTH_TRAFFIC_BROKE;
	const struct member_set *set = p->state->set;

	for (unsigned i = 0; i < set->count; i++) {
		const struct member *m = &set->members[i];

		ejected += m->server->health.state == HEALTH_EJECTED;
		others += m->server != s && member_admits(m) && serves(m->server);
	}
	return others > 0 &&
	       (why != HEALTH_TRAFFIC_BROKE ||
		       (ejected + 1) * 100 <= p->passive.max_ejected_pct * set->count);
}

/* --- slow start --------------------------------------------------------------------------------
 */

/* Has all of its share, and can take what another does not yet. */
static bool serves_fully(const struct member *m)
{
	return member_admits(m) && serves(m->server) && !m->server->started_ns;
}

static void start_slowly(struct check *ch)
{
	const struct pool *p = ch->pool;
	const struct member_set *set = p->state->set;
	bool helped = false;

	for (unsigned i = 0; i < set->count && !helped; i++)
		helped = set->members[i].server != ch->server && serves_fully(&set->members[i]);
	if (!p->slow_start_ns || !helped)
		return;
	ch->server->started_ns = monotonic_ns();
	mark_changed(ch->owner, p);
	if (!ev_is_active(&ch->owner->ramp))
		ev_timer_again(ch->owner->loop, &ch->owner->ramp);
}

static void on_ramp(struct ev_loop *loop, ev_timer *w, int events)
{
	struct checks *c = w->data;
	uint64_t now_ns = monotonic_ns();
	bool more = false;

	(void)events;
	for (unsigned i = 0; i < SERVERS_MAX; i++) {
		struct check *ch = c->by_slot[i];

		if (!ch || !ch->server->started_ns)
			continue;
		if (pool_share_pct(ch->pool, ch->server, now_ns) == 100)
			ch->server->started_ns = 0;
		else
			more = true;
		mark_changed(c, ch->pool);
	}
	if (!more)
		ev_timer_stop(loop, w);
}

/* --- verdicts ----------------------------------------------------------------------------------
 */

/* What the views go by. */
static void publish(struct check *ch)
{
	struct server *s = ch->server;
	bool usable = serves(s);
	bool came_back = usable && !atomic_load(&s->usable);

	atomic_store(&s->usable, usable);
	/* Neither is a last resort. */
	atomic_store(&s->refused, s->health.refused || s->agent.state == AGENT_MAINT);
	atomic_store(&s->drains, s->agent.state == AGENT_DRAIN);
	if (came_back)
		start_slowly(ch);
	else if (!usable)
		s->started_ns = 0;
}

/* What follows from a step of the machine. */
static void settle(struct check *ch, enum health_change change, enum health_state from)
{
	struct server *s = ch->server;
	uint64_t due_ns = health_due_ns(&s->health);
	uint64_t now_ns = monotonic_ns();

	if (!due_ns)
		ev_timer_stop(ch->owner->loop, &ch->due);
	else if (!ev_is_active(&ch->due))
		start_timer(ch->owner->loop, &ch->due, due_ns > now_ns ? due_ns - now_ns : 0);
	if (change == HEALTH_SAME)
		return;
	publish(ch);
	if (change == HEALTH_TURNED)
		mark_changed(ch->owner, ch->pool);
	if (from != s->health.state || s->health.state == HEALTH_FAILING)
		tell(ch, from);
}

static void feed(struct check *ch, enum health_event_kind kind, const char *reason)
{
	struct health_conf conf = health_conf_of(ch);
	struct health_event ev = {.kind = kind,
		.reason = reason,
		.now_ns = monotonic_ns(),
		.realtime_ns = realtime_ns()};
	enum health_state from = ch->server->health.state;

	conf.may_eject = may_eject(ch->pool, ch->server, kind);
	settle(ch, health_step(&ch->server->health, &conf, &ev), from);
}

static void on_due(struct ev_loop *loop, ev_timer *w, int events)
{
	struct check *ch = w->data;
	uint64_t due_ns = health_due_ns(&ch->server->health), now_ns = monotonic_ns();

	(void)events;
	if (due_ns > now_ns) /* the loop's clock is a little ahead of ours */
		start_timer(loop, w, due_ns - now_ns);
	else
		feed(ch, HEALTH_TIME_PASSED, NULL);
}

/* --- schedule ----------------------------------------------------------------------------------
 */

/* Where it makes no difference, rounded to a grid: of many checks several are then due at a time.
 */
static uint64_t next_delay_ns(struct check *ch)
{
	struct health_conf conf = health_conf_of(ch);
	uint64_t now_ns = monotonic_ns();
	uint64_t delay_ns =
		health_check_delay_ns(&ch->server->health, &conf, now_ns, &ch->owner->rng);

	if (delay_ns >= NS_PER_S)
		delay_ns -= (now_ns + delay_ns) % (GRID_MS * NS_PER_MS);
	return delay_ns;
}

static void on_checked(struct errand *e, enum probe_verdict verdict, const char *reason)
{
	struct check *ch = container_of(e, struct check, check);

	switch (verdict) {
	case PROBE_PASSED:
		feed(ch, HEALTH_CHECK_PASSED, NULL);
		break;
	case PROBE_FAILED:
		feed(ch, HEALTH_CHECK_FAILED, reason);
		break;
	case PROBE_REFUSED:
		feed(ch, HEALTH_CHECK_REFUSED, NULL);
		break;
	case PROBE_POSTPONED:
		log_event(LOG_WARNING, "check.postponed",
			"a check could not be made; tried again soon",
			F_TEXT("pool", ch->server->pool_name), F_TEXT("server", ch->server->name),
			F_TEXT("reason", reason));
		errand_plan(e, POSTPONED_MS * NS_PER_MS);
		return;
	}
	errand_plan(e, next_delay_ns(ch));
}

/* --- agents ------------------------------------------------------------------------------------
 */

static void tell_agent(const struct check *ch, const char *from)
{
	const struct server *s = ch->server;
	char share[16];

	snprintf(share, sizeof(share), "%u %%", s->agent.weight_pct);
	log_event(LOG_NOTICE, "server.agent", "the agent on its machine says so",
		F_TEXT("pool", s->pool_name), F_TEXT("server", s->name), F_TEXT("from", from),
		F_TEXT("to", agent_state_name(s->agent.state)), F_TEXT("weight", share),
		F_TEXT("reason", s->agent.reason));
	if (ch->owner->options.on_event)
		ch->owner->options.on_event(ch->owner->options.ctx, "server.agent",
			json_pack("{s:s, s:s, s:s, s:s, s:s, s:s}", "pool", s->pool_name, "server",
				s->name, "from", from, "to", agent_state_name(s->agent.state),
				"weight", share, "reason", s->agent.reason));
}

static void take_word(struct check *ch, const struct agent_word *w)
{
	struct agent_word before = ch->server->agent;

	ch->server->agent = *w;
	if (before.state == w->state && before.weight_pct == w->weight_pct)
		return;
	publish(ch);
	mark_changed(ch->owner, ch->pool);
	if (before.state != w->state)
		tell_agent(ch, agent_state_name(before.state));
}

/* One that says nothing, or nothing that can be understood, changes nothing: whether the server is
 * well is for checks and traffic to tell. */
static void on_agent(struct errand *e, enum probe_verdict verdict, const char *line)
{
	struct check *ch = container_of(e, struct check, agent);
	uint64_t every_ns = e->conf->every_ns * ch->owner->pace;
	struct agent_word w;

	if (verdict == PROBE_PASSED && agent_word_parse(span_of(line), &w) == 0) {
		ch->server->agent_heard_ns = monotonic_ns();
		take_word(ch, &w);
	}
	errand_plan(e, every_ns - every_ns / 10 + rng_below(&ch->owner->rng, every_ns / 5 + 1));
}

static void forget_agent(struct check *ch)
{
	struct agent_word w;

	errand_halt(&ch->agent);
	agent_word_init(&w);
	ch->server->agent_heard_ns = 0;
	take_word(ch, &w);
}

/* --- workers' reports --------------------------------------------------------------------------
 */

static struct check *check_of(const struct checks *c, const struct server *s)
{
	struct check *ch = c->by_slot[s->slot];

	return ch && ch->server == s ? ch : NULL;
}

/* A server that only older snapshots have: nobody judges it, no view follows, but requests of
 * theirs may wait for what it has free since it was suspected. */
static void offer_unwatched(struct checks *c, struct server *s)
{
	struct pool_state *state = pool_state_get(c->table, span_of(s->pool_name));

	while (state && atomic_load(&s->usable) && queue_offer(&state->queue, s))
		;
	pool_state_unref(c->table, state);
}

static void feed_broken(struct check *ch, unsigned bits)
{
	char fault[SERVER_TLS_FAULT_MAX], reason[sizeof(ch->server->health.reason)];

	if (bits & REPORT_TLS) {
		server_tls_fault(ch->server, fault, sizeof(fault));
		snprintf(reason, sizeof(reason), "TLS: %.110s", fault);
	}
	feed(ch, HEALTH_TRAFFIC_BROKE, bits & REPORT_TLS ? reason : NULL);
}

void checks_wake(struct checks *c)
{
	struct server *s;
	unsigned bits;

	while ((s = server_table_take_report(c->table, &bits))) {
		struct check *ch = check_of(c, s);

		if (ch) {
			if (bits & REPORT_REFUSED)
				feed(ch, HEALTH_TRAFFIC_REFUSED, NULL);
			if (bits & REPORT_BROKE)
				feed_broken(ch, bits);
			if (bits & (REPORT_REFUSED | REPORT_BROKE))
				errand_hasten(&ch->check, next_delay_ns(ch));
			if (bits & REPORT_SUSPECT) /* who waits is served with it, or without */
				mark_changed(c, ch->pool);
		}
		if (bits & REPORT_SUSPECT)
			atomic_store(&s->suspect, false);
		if (bits & REPORT_SUSPECT && !ch)
			offer_unwatched(c, s);
		server_unref(s);
	}
}

/* --- following the snapshot --------------------------------------------------------------------
 */

static void check_free(struct check *ch)
{
	errand_halt(&ch->check);
	errand_halt(&ch->agent);
	ev_timer_stop(ch->owner->loop, &ch->due);
	ch->owner->by_slot[ch->server->slot] = NULL;
	server_unref(ch->server);
	free(ch);
}

static bool is_checked(const struct pool *p, const struct member *m)
{
	return p->check.kind != CHECK_NONE && m->admin != ADMIN_MAINTENANCE && !m->disabled;
}

static struct check *check_new(struct checks *c, const struct pool *p, const struct member *m)
{
	struct server *s = m->server;
	struct check *ch = calloc(1, sizeof(*ch));

	if (!ch)
		return NULL;
	ASSERT(!c->by_slot[s->slot]);
	ch->owner = c;
	ch->server = server_ref(s);
	ch->pool = p;
	ch->checked = is_checked(p, m);
	ch->admitted = member_admits(m);
	errand_init(&ch->check, &c->errands, s, &p->check, on_checked);
	errand_init(&ch->agent, &c->errands, s, &p->agent, on_agent);
	ev_init(&ch->due, on_due);
	ch->due.data = ch;
	c->by_slot[s->slot] = ch;
	return ch;
}

/* The server stays: its health with it, and, where the check is the same, its rhythm and the probe
 * under way. One that was out of service is used again once its checks say so. */
static bool keep(struct check *ch, const struct pool *p, const struct member *m)
{
	bool was_checked = ch->checked, had_check = ch->pool->check.kind != CHECK_NONE;
	bool same = check_same(&ch->pool->check, &p->check);
	bool same_agent = check_same(&ch->pool->agent, &p->agent);
	struct health *h = &ch->server->health;
	enum health_state from = h->state;
	enum health_change change;
	struct health_conf conf;

	ch->pool = p;
	ch->checked = is_checked(p, m);
	same = same && ch->checked == was_checked;
	errand_move(&ch->check, &p->check);
	errand_move(&ch->agent, &p->agent);
	atomic_store(&ch->server->failures_max, p->passive.failures);
	ch->wanted = true;
	conf = health_conf_of(ch);
	if (!ch->checked && p->check.kind != CHECK_NONE)
		conf.idle = m->disabled ? "not checked: disabled" : "not checked: in maintenance";
	if (ch->checked && !was_checked && had_check)
		change = health_distrust(
			h, "out of service until now", monotonic_ns(), realtime_ns());
	else
		change = health_reconfigure(h, &conf, monotonic_ns(), realtime_ns());
	settle(ch, change, from);
	if (member_admits(m) && !ch->admitted && health_usable(h))
		start_slowly(ch);
	ch->admitted = member_admits(m);
	if (!same)
		errand_halt(&ch->check);
	if (!same_agent)
		forget_agent(ch);
	return same && same_agent;
}

/* Of this pool, or of all. */
static void want_none(struct checks *c, const struct pool *p)
{
	for (unsigned i = 0; i < SERVERS_MAX; i++)
		if (c->by_slot[i] && (!p || c->by_slot[i]->pool == p))
			c->by_slot[i]->wanted = false;
}

static void sweep(struct checks *c)
{
	for (unsigned i = 0; i < SERVERS_MAX; i++)
		if (c->by_slot[i] && !c->by_slot[i]->wanted)
			check_free(c->by_slot[i]);
}

/* Servers that are new, or whose check is: each a little after the other, the first at once. */
struct newcomers {
	uint64_t at_ns, step_ns;
	unsigned count;
};

/* For one more, all within the time after which the next check comes. */
static void make_room(struct newcomers *n, uint64_t every_ns)
{
	uint64_t even_ns = every_ns / ++n->count;

	n->step_ns = even_ns < n->step_ns ? even_ns : n->step_ns;
}

static void begin(struct check *ch, struct newcomers *n)
{
	if (ch->checked && errand_is_idle(&ch->check))
		errand_plan(&ch->check, n->at_ns);
	if (ch->pool->agent.kind != CHECK_NONE && errand_is_idle(&ch->agent))
		errand_plan(&ch->agent, n->at_ns);
	n->at_ns += n->step_ns;
}

static void welcome(struct checks *c, const struct pool *p, const struct member *m, bool slowly,
	struct newcomers *n)
{
	struct check *ch = check_of(c, m->server);

	if (!ch) {
		ch = check_new(c, p, m);
		if (!ch) {
			log_event(LOG_ERROR, "check.out_of_memory", "this server is not checked",
				F_TEXT("pool", m->server->pool_name),
				F_TEXT("server", m->server->name));
			return;
		}
		keep(ch, p, m);
		begin(ch, n);
		if (slowly)
			start_slowly(ch);
	} else if ((ch->checked && errand_is_idle(&ch->check)) ||
		   (p->agent.kind != CHECK_NONE && errand_is_idle(&ch->agent))) {
		begin(ch, n);
	}
}

/* Before its newcomers are welcomed: is there any that was here before, and can be used? */
static bool has_served(const struct checks *c, const struct pool *p)
{
	const struct member_set *set = p->state->set;

	for (unsigned i = 0; i < set->count; i++)
		if (check_of(c, set->members[i].server) && serves_fully(&set->members[i]))
			return true;
	return false;
}

static void keep_all(struct checks *c, const struct pool *p, struct newcomers *n)
{
	const struct member_set *set = p->state->set;

	for (unsigned i = 0; i < set->count; i++) {
		struct check *ch = check_of(c, set->members[i].server);

		if ((!ch || !keep(ch, p, &set->members[i])) && p->check.kind != CHECK_NONE)
			make_room(n, p->check.every_ns);
	}
}

static void welcome_all(struct checks *c, const struct pool *p, bool cold, struct newcomers *n)
{
	const struct member_set *set = p->state->set;
	bool slowly = !cold && has_served(c, p);

	for (unsigned i = 0; i < set->count; i++)
		welcome(c, p, &set->members[i], slowly, n);
}

void checks_apply(struct checks *c, struct settings *s)
{
	struct settings *old = c->settings;
	struct newcomers n = {.step_ns = STAGGER_MAX_MS * NS_PER_MS};

	c->settings = settings_ref(s); /* pools that stay are still owed what they were */
	want_none(c, NULL);
	for (unsigned i = 0; i < s->pool_count; i++)
		keep_all(c, &s->pools[i], &n);
	sweep(c);
	for (unsigned i = 0; i < s->pool_count; i++)
		welcome_all(c, &s->pools[i], !old, &n);
	settings_unref(old);
}

void checks_follow(struct checks *c, const struct pool *p)
{
	struct newcomers n = {.step_ns = STAGGER_MAX_MS * NS_PER_MS};

	mark_changed(c, p);
	want_none(c, p);
	keep_all(c, p, &n);
	sweep(c);
	welcome_all(c, p, false, &n);
}

void checks_standby(struct checks *c, bool standby)
{
	struct newcomers n = {.step_ns = STAGGER_MAX_MS * NS_PER_MS};
	unsigned before = c->pace;

	c->pace = standby ? STANDBY_PACE : 1;
	if (c->pace >= before)
		return; /* what is planned comes once more as it was */
	for (unsigned i = 0; i < SERVERS_MAX; i++)
		if (c->by_slot[i] && c->by_slot[i]->checked)
			make_room(&n, c->by_slot[i]->pool->check.every_ns);
	for (unsigned i = 0; i < SERVERS_MAX; i++) {
		if (!c->by_slot[i])
			continue;
		errand_hasten(&c->by_slot[i]->check, n.at_ns);
		errand_hasten(&c->by_slot[i]->agent, n.at_ns);
		n.at_ns += n.step_ns;
	}
}

struct checks *checks_new(
	struct ev_loop *loop, struct server_table *table, const struct checks_options *o)
{
	struct checks *c = calloc(1, sizeof(*c));
	uint64_t seed;

	if (!c)
		return NULL;
	if (errands_init(&c->errands, loop) < 0) {
		free(c);
		return NULL;
	}
	c->loop = loop;
	c->table = table;
	c->options = *o;
	c->pace = 1;
	random_bytes(&seed, sizeof(seed));
	rng_seed(&c->rng, seed);
	ev_prepare_init(&c->tell, on_tell);
	ev_init(&c->tell_again, on_tell_again);
	c->tell.data = c->tell_again.data = c;
	ev_init(&c->ramp, on_ramp);
	c->ramp.repeat = RAMP_MS / 1e3;
	c->ramp.data = c;
	return c;
}

void checks_free(struct checks *c)
{
	if (!c)
		return;
	for (unsigned i = 0; i < SERVERS_MAX; i++)
		if (c->by_slot[i])
			check_free(c->by_slot[i]);
	errands_fini(&c->errands);
	ev_prepare_stop(c->loop, &c->tell);
	ev_timer_stop(c->loop, &c->tell_again);
	ev_timer_stop(c->loop, &c->ramp);
	settings_unref(c->settings);
	free(c);
}
