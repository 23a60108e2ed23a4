#include "failover/proxy_link.h"

#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "shared/assert.h"
#include "shared/log.h"
#include "shared/units.h"

/* A dying process closes its sockets before its exit shows. */
#define PARTING_S 0.02
/* Enough for one more turn of the loop. */
#define LAST_LOOK_S 0.001

const char *proxy_state_name(enum proxy_state s)
{
	static const char *const names[] = {
#define X(name, text) text,
		PROXY_STATES(X)
#undef X
	};

	ASSERT(s < countof(names));
	return names[s];
}

static void set_state(struct proxy_link *l, enum proxy_state to)
{
	enum proxy_state from = l->state;

	if (from == to)
		return;
	l->state = to;
	l->handlers.on_state(l->handlers.ctx, from, to);
}

/* --- draining ------------------------------------------------------------------------------------
 */
/* All that drains, as it is now: the proxy keeps nothing of earlier orders. */
static void send_drain(struct proxy_link *l)
{
	uint64_t now_ns = monotonic_ns();
	char text[ADDR_TEXT_MAX];
	json_t *vips = json_object();

	for (unsigned i = 0; i < l->drain_count; i++) {
		const struct proxy_drain *d = &l->drains[i];
		uint64_t left_ns = d->until_ns > now_ns ? d->until_ns - now_ns : 0;

		(void)cidr_format_ip(&d->vip, text);
		json_object_set_new(vips, text, json_integer((json_int_t)(left_ns / NS_PER_MS)));
	}
	l->handlers.tell(l->handlers.ctx, l->caller, "drain",
		json_pack("{s:I, s:o}", "seq", (json_int_t)++l->drain_seq, "virtual_ips", vips));
}

static bool take_drain(struct proxy_link *l, const struct cidr *vip)
{
	for (unsigned i = 0; i < l->drain_count; i++)
		if (cidr_same_host(&l->drains[i].vip, vip)) {
			l->drains[i] = l->drains[--l->drain_count];
			return true;
		}
	return false;
}

void proxy_link_drain(
	struct proxy_link *l, const struct cidr *vips, unsigned count, uint64_t limit_ns)
{
	uint64_t until_ns = monotonic_ns() + limit_ns;

	for (unsigned i = 0; i < count; i++) {
		(void)take_drain(l, &vips[i]);
		ASSERT(l->drain_count < CLIENTS_VIPS_MAX);
		l->drains[l->drain_count++] =
			(struct proxy_drain){.vip = vips[i], .until_ns = until_ns};
	}
	if (l->caller)
		send_drain(l);
}

void proxy_link_undrain(struct proxy_link *l, const struct cidr *vips, unsigned count)
{
	bool any = false;

	for (unsigned i = 0; i < count; i++)
		any = take_drain(l, &vips[i]) || any;
	if (any && l->caller)
		send_drain(l);
}

bool proxy_link_drained(const struct proxy_link *l, const struct cidr *vips, unsigned count)
{
	if (l->state == PROXY_DEAD || l->state == PROXY_ABSENT)
		return true;
	return l->caller && l->clients_known && l->drain_heard == l->drain_seq &&
	       clients_count(l->clients, vips, count) == 0;
}

/* --- elders -------------------------------------------------------------------------------------
 */
static struct proxy_elder *elder_of(struct proxy_link *l, uint64_t caller)
{
	for (unsigned i = 0; i < CLIENTS_SOURCES; i++)
		if (caller && l->elders[i].caller == caller)
			return &l->elders[i];
	return NULL;
}

static void drop_elder(struct proxy_link *l, struct proxy_elder *e)
{
	*e = (struct proxy_elder){0};
	clients_clear(l->clients, (unsigned)(e - l->elders));
}

/* A source that nobody has: that of the oldest elder when there is no other. */
static unsigned free_source(struct proxy_link *l)
{
	struct proxy_elder *oldest = &l->elders[l->source == 0 ? 1 : 0];

	for (unsigned i = 0; i < CLIENTS_SOURCES; i++) {
		struct proxy_elder *e = &l->elders[i];

		if (i == l->source)
			continue;
		if (!e->caller)
			return i;
		if (e->caller < oldest->caller)
			oldest = e;
	}
	log_event(LOG_WARNING, "proxy.elders_full",
		"too many processes: the clients of the oldest will not be told if this node dies",
		F_INT("pid", oldest->pid));
	drop_elder(l, oldest);
	return (unsigned)(oldest - l->elders);
}

/* The one that was the proxy so far has clients of its own. */
static void make_elder(struct proxy_link *l, bool retired)
{
	l->elders[l->source] =
		(struct proxy_elder){.caller = l->caller, .pid = l->pid, .retired = retired};
}

/* --- the list of clients -------------------------------------------------------------------------
 */
static void on_client(void *ctx, const struct client_key *k, bool there)
{
	struct proxy_link *l = ctx;

	if (l->handlers.on_client)
		l->handlers.on_client(l->handlers.ctx, k, there);
}

/* One may have come that was not told yet: the proxy is asked for all of them once more, and only
 * its answer counts. */
static void on_empty(void *ctx)
{
	struct proxy_link *l = ctx;

	if (l->drain_count > 0 && l->caller)
		send_drain(l);
}

/* {"VIP:PORT": "CLIENT:PORT CLIENT:PORT ..."}. */
static int read_pairs(
	struct proxy_link *l, unsigned source, const json_t *pairs, bool there, struct err *err)
{
	const char *text;
	json_t *list;

	json_object_foreach ((json_t *)(uintptr_t)pairs, text, list) {
		struct span rest = span_make(json_string_value(list), json_string_length(list));
		struct addr local, remote;

		if (addr_parse(span_of(text), &local, err) != 0)
			return -1;
		while (rest.len > 0) {
			size_t end = span_find(rest, ' ', 0);
			struct client_key k;

			if (addr_parse(span_make(rest.ptr, end), &remote, err) != 0)
				return -1;
			k = client_key(&local, &remote);
			if (!there)
				clients_remove(l->clients, source, &k);
			else if (clients_add(l->clients, source, &k) != 0)
				log_event(LOG_WARNING, "proxy.clients_full",
					"too many clients: some will not be told if this node dies",
					F_INT("clients", clients_total(l->clients)));
			rest = end < rest.len ? span_from(rest, end + 1) : SPAN("");
		}
	}
	return 0;
}

int proxy_link_clients(
	struct proxy_link *l, const struct rpc_caller *who, const json_t *params, struct err *err)
{
	json_int_t drain = json_integer_value(json_object_get(params, "drain"));
	const struct proxy_elder *elder = elder_of(l, who->id);
	unsigned source = elder ? (unsigned)(elder - l->elders) : l->source;

	if (!elder && proxy_link_is(l, who, err) != 0)
		return -1;
	if (json_is_true(json_object_get(params, "first"))) {
		l->clients_known = elder && l->clients_known;
		clients_begin(l->clients, source);
	}
	if (read_pairs(l, source, json_object_get(params, "remove"), false, err) != 0 ||
		read_pairs(l, source, json_object_get(params, "add"), true, err) != 0)
		return err_prefix(err, "proxy.clients");
	if (json_is_true(json_object_get(params, "last"))) {
		clients_end(l->clients, source);
		l->clients_known = !elder || l->clients_known;
	}
	if (!elder && drain > 0 && (uint64_t)drain <= l->drain_seq)
		l->drain_heard = (uint64_t)drain;
	return 0;
}

static void forget(struct proxy_link *l)
{
	ev_io_stop(l->loop, &l->exited);
	ev_timer_stop(l->loop, &l->silence);
	ev_timer_stop(l->loop, &l->parting);
	if (l->pidfd >= 0)
		close(l->pidfd);
	l->pidfd = -1;
	l->caller = 0;
	l->pid = 0;
	l->connections = 0;
	l->clients_known = false;
	l->late = false;
	l->stopping = false;
}

static uint64_t patience_ns(const struct proxy_link *l)
{
	return l->beat_ms * PROXY_BEATS_MISSED * NS_PER_MS;
}

static void await_beat(struct proxy_link *l)
{
	l->late = false;
	l->awaited_ns = monotonic_ns();
	l->silence.repeat = (double)patience_ns(l) / 1e9;
	ev_timer_again(l->loop, &l->silence);
}

static void watch_exit(struct proxy_link *l)
{
	/* In another pid namespace there is no pid for us: then only the connection and the beats
	 * tell. */
	l->pidfd = l->pid > 0 ? (int)syscall(SYS_pidfd_open, l->pid, 0) : -1;
	if (l->pidfd >= 0) {
		ev_io_set(&l->exited, l->pidfd, EV_READ);
		ev_io_start(l->loop, &l->exited);
	} else {
		log_event(LOG_WARNING, "proxy.no_pidfd",
			"cannot watch the proxy's process: only its beats will tell of its death",
			F_INT("pid", l->pid));
	}
}

/* A new binary that came to nothing, and the one before it serves all the same. */
static bool fall_back(struct proxy_link *l)
{
	struct proxy_elder *last = NULL;
	unsigned gone = l->source;

	for (unsigned i = 0; i < CLIENTS_SOURCES; i++) {
		struct proxy_elder *e = &l->elders[i];

		if (e->caller && !e->retired && (!last || e->caller > last->caller))
			last = e;
	}
	if (!last)
		return false;
	log_event(LOG_WARNING, "proxy.went_back",
		"the new process has ended: the one before it "
		"is the proxy again",
		F_INT("from", l->pid), F_INT("to", last->pid));
	forget(l);
	l->caller = last->caller;
	l->pid = last->pid;
	l->source = (unsigned)(last - l->elders);
	l->seq = l->last_beat_ns = 0;
	l->beat_ms = PROXY_BEAT_MS;
	*last = (struct proxy_elder){0};
	clients_clear(l->clients, gone);
	watch_exit(l);
	await_beat(l);
	return true;
}

static void on_gone(struct proxy_link *l, enum proxy_state how)
{
	if (fall_back(l))
		return;
	forget(l);
	set_state(l, how); /* first: an address may have to move */
	clients_clear(l->clients, l->source);
}

static void on_exited(EV_P_ ev_io *w, int revents)
{
	(void)loop, (void)revents;
	on_gone(container_of(w, struct proxy_link, exited), PROXY_DEAD);
}

static void on_parted(EV_P_ ev_timer *w, int revents)
{
	(void)loop, (void)revents;
	on_gone(container_of(w, struct proxy_link, parting), PROXY_ABSENT);
}

/* This process may have been held up: beats that wait in the socket are read before this counts. */
static void on_silence(EV_P_ ev_timer *w, int revents)
{
	struct proxy_link *l = container_of(w, struct proxy_link, silence);
	uint64_t silent_ns = monotonic_ns() - l->awaited_ns;

	(void)revents;
	if (silent_ns < patience_ns(l)) { /* the loop's clock was behind when the timer started */
		w->repeat = (double)(patience_ns(l) - silent_ns) / 1e9;
		ev_timer_again(EV_A_ w);
		return;
	}
	if (l->late) {
		ev_timer_stop(EV_A_ w);
		set_state(l, PROXY_HUNG);
		return;
	}
	l->late = true;
	w->repeat = LAST_LOOK_S;
	ev_timer_again(EV_A_ w);
}

int proxy_link_init(struct proxy_link *l, struct ev_loop *loop, const struct proxy_link_handlers *h)
{
	const struct clients_handlers clients = {
		.ctx = l, .on_change = on_client, .on_empty = on_empty};

	*l = (struct proxy_link){.loop = loop, .handlers = *h, .state = PROXY_ABSENT, .pidfd = -1};
	ev_init(&l->exited, on_exited);
	ev_init(&l->silence, on_silence);
	/* After what the sockets have to say in the same turn of the loop. */
	ev_set_priority(&l->silence, EV_MINPRI);
	ev_init(&l->parting, on_parted);
	l->clients = clients_new(&clients);
	return l->clients ? 0 : -1;
}

void proxy_link_fini(struct proxy_link *l)
{
	forget(l);
	clients_free(l->clients);
}

static void take_over(struct proxy_link *l, const struct rpc_caller *who)
{
	struct proxy_elder *again = elder_of(l, who->id);
	unsigned source = l->source;

	/* Not when it is the same process, which has opened its connection again. */
	if (l->caller && l->caller != who->id && l->pid != who->pid) {
		source = again ? (unsigned)(again - l->elders) : free_source(l);
		make_elder(l, false);
	}
	if (again)
		*again = (struct proxy_elder){0};
	forget(l);
	l->caller = who->id;
	l->pid = who->pid;
	l->source = source;
	l->seq = 0;
	l->last_beat_ns = 0;
}

int proxy_link_hello(
	struct proxy_link *l, const struct rpc_caller *who, const json_t *params, struct err *err)
{
	const char *version = json_string_value(json_object_get(params, "version"));
	pid_t before = l->pid;

	if (!rpc_caller_is_trusted(who))
		return err_set(err,
			"user %u may not speak for the proxy: it must run as user %u or root",
			(unsigned)who->uid, (unsigned)geteuid());
	take_over(l, who);
	(void)span_copy(span_of(version), l->version, sizeof(l->version));
	watch_exit(l);
	l->beat_ms = PROXY_BEAT_MS;
	l->drain_heard = 0;
	/* A new binary that takes over from one that was well, and still is: no reason to move. It
	 * has as long to beat as any. */
	if (l->state != PROXY_OK)
		set_state(l, PROXY_STARTING);
	else if (l->pid != before)
		log_event(LOG_NOTICE, "proxy.succeeded", "another process is the proxy now",
			F_INT("from", before), F_INT("to", l->pid));
	await_beat(l);
	if (l->drain_count > 0)
		send_drain(l);
	return 0;
}

int proxy_link_is(const struct proxy_link *l, const struct rpc_caller *who, struct err *err)
{
	if (l->caller != 0 && l->caller == who->id)
		return 0;
	return err_set(
		err, "this connection does not speak for the proxy: proxy.hello comes first");
}

int proxy_link_beat(struct proxy_link *l, const struct rpc_caller *who, const json_t *params,
	uint64_t now_ns, struct err *err)
{
	json_int_t connections = json_integer_value(json_object_get(params, "connections"));
	json_int_t seq = json_integer_value(json_object_get(params, "seq"));
	json_int_t every_ms = json_integer_value(json_object_get(params, "every_ms"));

	if (proxy_link_is(l, who, err) != 0)
		return -1;
	if (connections < 0 || seq < 0)
		return err_set(err, "proxy.beat: connections and seq are whole numbers from 0");
	if (every_ms < 0 || every_ms > PROXY_BEAT_MAX_MS)
		return err_set(err, "proxy.beat: every_ms is at most %d", PROXY_BEAT_MAX_MS);
	l->beat_ms = every_ms ? (uint64_t)every_ms : PROXY_BEAT_MS;
	if (l->last_beat_ns && (uint64_t)seq > l->seq + 1)
		l->beats_lost += (uint64_t)seq - l->seq - 1;
	l->seq = (uint64_t)seq;
	l->connections = (uint64_t)connections;
	l->last_beat_ns = now_ns;
	await_beat(l);
	set_state(l, l->stopping ? PROXY_STOPPING : PROXY_OK);
	return 0;
}

int proxy_link_stopping(struct proxy_link *l, const struct rpc_caller *who, struct err *err)
{
	if (proxy_link_is(l, who, err) != 0)
		return -1;
	l->stopping = true;
	set_state(l, PROXY_STOPPING);
	return 0;
}

/* Perhaps of one that we do not know: this agent was started after it. */
int proxy_link_retired(struct proxy_link *l, const struct rpc_caller *who, struct err *err)
{
	struct proxy_elder *e = elder_of(l, who->id);

	if (!rpc_caller_is_trusted(who))
		return err_set(err, "user %u may not speak for the proxy", (unsigned)who->uid);
	if (l->caller == who->id) { /* and its successor is gone again */
		unsigned source = free_source(l);

		make_elder(l, true);
		forget(l);
		l->source = source;
		set_state(l, PROXY_ABSENT);
		return 0;
	}
	if (!e)
		e = &l->elders[free_source(l)];
	*e = (struct proxy_elder){.caller = who->id, .pid = who->pid, .retired = true};
	return 0;
}

void proxy_link_closed(struct proxy_link *l, uint64_t caller_id)
{
	struct pollfd exited = {.fd = l->pidfd, .events = POLLIN};
	struct proxy_elder *e = elder_of(l, caller_id);

	if (e)
		drop_elder(l, e);
	if (l->caller == 0 || caller_id != l->caller)
		return;
	l->caller = 0;
	ev_timer_stop(l->loop, &l->silence);
	if (l->pidfd >= 0 && poll(&exited, 1, 0) == 1) {
		on_gone(l, PROXY_DEAD);
		return;
	}
	ev_timer_set(&l->parting, PARTING_S, 0);
	ev_timer_start(l->loop, &l->parting);
}

static json_t *elders_json(const struct proxy_link *l)
{
	json_t *all = json_array();

	for (unsigned i = 0; i < CLIENTS_SOURCES; i++)
		if (l->elders[i].caller)
			json_array_append_new(
				all, json_pack("{s:i, s:b, s:I}", "pid", (int)l->elders[i].pid,
					     "retired", l->elders[i].retired, "clients",
					     (json_int_t)clients_of(l->clients, i)));
	return all;
}

json_t *proxy_link_status(const struct proxy_link *l, uint64_t now_ns)
{
	json_t *beat = l->last_beat_ns && now_ns >= l->last_beat_ns
			       ? json_integer((json_int_t)((now_ns - l->last_beat_ns) / NS_PER_MS))
			       : json_null();

	return json_pack("{s:s, s:o, s:s, s:o, s:I, s:I, s:I, s:b, s:o}", "state",
		proxy_state_name(l->state), "pid", l->pid ? json_integer(l->pid) : json_null(),
		"version", l->version, "last_beat_ms", beat, "connections",
		(json_int_t)l->connections, "beats_lost", (json_int_t)l->beats_lost, "clients",
		(json_int_t)clients_total(l->clients), "clients_known", l->clients_known, "elders",
		elders_json(l));
}
