#include "failover/proxy_link.h"

#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "shared/assert.h"
#include "shared/log.h"
#include "shared/units.h"

#define SILENCE_NS (PROXY_BEAT_MS * PROXY_BEATS_MISSED * NS_PER_MS)
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
	l->late = false;
}

static void on_exited(EV_P_ ev_io *w, int revents)
{
	struct proxy_link *l = container_of(w, struct proxy_link, exited);

	(void)loop, (void)revents;
	forget(l);
	set_state(l, PROXY_DEAD);
}

static void on_parted(EV_P_ ev_timer *w, int revents)
{
	struct proxy_link *l = container_of(w, struct proxy_link, parting);

	(void)loop, (void)revents;
	forget(l);
	set_state(l, PROXY_ABSENT);
}

/* This process may have been held up: beats that wait in the socket are read before this counts. */
static void on_silence(EV_P_ ev_timer *w, int revents)
{
	struct proxy_link *l = container_of(w, struct proxy_link, silence);
	uint64_t silent_ns = monotonic_ns() - l->awaited_ns;

	(void)revents;
	if (silent_ns < SILENCE_NS) { /* the loop's clock was behind when the timer started */
		w->repeat = (double)(SILENCE_NS - silent_ns) / 1e9;
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

static void await_beat(struct proxy_link *l)
{
	l->late = false;
	l->awaited_ns = monotonic_ns();
	l->silence.repeat = SILENCE_NS / 1e9;
	ev_timer_again(l->loop, &l->silence);
}

void proxy_link_init(
	struct proxy_link *l, struct ev_loop *loop, const struct proxy_link_handlers *h)
{
	*l = (struct proxy_link){.loop = loop, .handlers = *h, .state = PROXY_ABSENT, .pidfd = -1};
	ev_init(&l->exited, on_exited);
	ev_init(&l->silence, on_silence);
	/* After what the sockets have to say in the same turn of the loop. */
	ev_set_priority(&l->silence, EV_MINPRI);
	ev_init(&l->parting, on_parted);
}

void proxy_link_fini(struct proxy_link *l)
{
	forget(l);
}

int proxy_link_hello(
	struct proxy_link *l, const struct rpc_caller *who, const json_t *params, struct err *err)
{
	const char *version = json_string_value(json_object_get(params, "version"));

	if (!rpc_caller_is_trusted(who))
		return err_set(err,
			"user %u may not speak for the proxy: it must run as user %u or root",
			(unsigned)who->uid, (unsigned)geteuid());
	forget(l);
	l->caller = who->id;
	l->pid = who->pid;
	l->seq = 0;
	l->last_beat_ns = 0;
	(void)span_copy(span_of(version), l->version, sizeof(l->version));
	/* In another pid namespace there is no pid for us: then only the connection and the beats
	 * tell. */
	l->pidfd = who->pid > 0 ? (int)syscall(SYS_pidfd_open, who->pid, 0) : -1;
	if (l->pidfd >= 0) {
		ev_io_set(&l->exited, l->pidfd, EV_READ);
		ev_io_start(l->loop, &l->exited);
	} else {
		log_event(LOG_WARNING, "proxy.no_pidfd",
			"cannot watch the proxy's process: only its beats will tell of its death",
			F_INT("pid", who->pid));
	}
	set_state(l, PROXY_STARTING);
	await_beat(l);
	return 0;
}

static int must_be_proxy(const struct proxy_link *l, const struct rpc_caller *who, struct err *err)
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

	if (must_be_proxy(l, who, err) != 0)
		return -1;
	if (connections < 0 || seq < 0)
		return err_set(err, "proxy.beat: connections and seq are whole numbers from 0");
	if (l->last_beat_ns && (uint64_t)seq > l->seq + 1)
		l->beats_lost += (uint64_t)seq - l->seq - 1;
	l->seq = (uint64_t)seq;
	l->connections = (uint64_t)connections;
	l->last_beat_ns = now_ns;
	await_beat(l);
	if (l->state != PROXY_STOPPING)
		set_state(l, PROXY_OK);
	return 0;
}

int proxy_link_stopping(struct proxy_link *l, const struct rpc_caller *who, struct err *err)
{
	if (must_be_proxy(l, who, err) != 0)
		return -1;
	set_state(l, PROXY_STOPPING);
	return 0;
}

void proxy_link_closed(struct proxy_link *l, uint64_t caller_id)
{
	struct pollfd exited = {.fd = l->pidfd, .events = POLLIN};

	if (l->caller == 0 || caller_id != l->caller)
		return;
	l->caller = 0;
	ev_timer_stop(l->loop, &l->silence);
	if (l->pidfd >= 0 && poll(&exited, 1, 0) == 1) {
		forget(l);
		set_state(l, PROXY_DEAD);
		return;
	}
	ev_timer_set(&l->parting, PARTING_S, 0);
	ev_timer_start(l->loop, &l->parting);
}

json_t *proxy_link_status(const struct proxy_link *l, uint64_t now_ns)
{
	json_t *beat = l->last_beat_ns && now_ns >= l->last_beat_ns
			       ? json_integer((json_int_t)((now_ns - l->last_beat_ns) / NS_PER_MS))
			       : json_null();

	return json_pack("{s:s, s:o, s:s, s:o, s:I, s:I}", "state", proxy_state_name(l->state),
		"pid", l->pid ? json_integer(l->pid) : json_null(), "version", l->version,
		"last_beat_ms", beat, "connections", (json_int_t)l->connections, "beats_lost",
		(json_int_t)l->beats_lost);
}
