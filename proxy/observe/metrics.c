#include "config.h"

#include "proxy/observe/metrics.h"

#include "proxy/observe/counts.h"
#include "proxy/pool/members.h"
#include "proxy/pool/queue.h"
#include "proxy/proxy.h"
#include "proxy/tls/server.h"
#include "shared/units.h"

struct writing {
	const struct proxy *proxy;
	struct buf *out;
	bool full;
	/* Of whom answers are being told. */
	struct span pool, server;
};

/* --- lines -------------------------------------------------------------------------------------
 */

static void put(struct writing *w, struct span text)
{
	w->full |= buf_append(w->out, text) < 0;
}

static void family(struct writing *w, const char *name, const char *type, const char *help)
{
	w->full |= buf_printf(w->out, "# HELP tandem_%s %s\n# TYPE tandem_%s %s\n", name, help,
			   name, type) < 0;
}

static void begin(struct writing *w, const char *name)
{
	put(w, SPAN("tandem_"));
	put(w, span_of(name));
	put(w, SPAN("{"));
}

/* Of the value, backslash, quote and line feed are escaped. */
static void label(struct writing *w, const char *name, struct span value)
{
	struct span so_far = buf_span(w->out);

	if (so_far.len && so_far.ptr[so_far.len - 1] != '{')
		put(w, SPAN(","));
	put(w, span_of(name));
	put(w, SPAN("=\""));
	for (size_t i = 0, from = 0; i <= value.len; i++) {
		char c = i < value.len ? value.ptr[i] : '\n';

		if (c != '\\' && c != '"' && c != '\n')
			continue;
		put(w, span_make(value.ptr + from, i - from));
		from = i + 1;
		if (i < value.len)
			put(w, c == '\n' ? SPAN("\\n") : c == '"' ? SPAN("\\\"") : SPAN("\\\\"));
	}
	put(w, SPAN("\""));
}

static void value(struct writing *w, uint64_t n)
{
	w->full |= buf_printf(w->out, "} %llu\n", (unsigned long long)n) < 0;
}

static void alone(struct writing *w, const char *name, const char *help, uint64_t n)
{
	family(w, name, "gauge", help);
	w->full |= buf_printf(w->out, "tandem_%s %llu\n", name, (unsigned long long)n) < 0;
}

/* --- histograms --------------------------------------------------------------------------------
 */

static void histogram(struct writing *w, const char *name, const char *of, struct span whose,
	const struct timings *t)
{
	static const char *const bounds[] = {
#define X(us, text) text,
		DURATION_BOUNDS(X)
#undef X
	};
	char suffixed[64];
	struct duration_sums s;
	uint64_t so_far = 0;

	timings_sum(t, &s);
	(void)snprintf(suffixed, sizeof(suffixed), "%s_bucket", name);
	for (unsigned i = 0; i <= countof(bounds); i++) {
		so_far += s.counts[i];
		begin(w, suffixed);
		label(w, of, whose);
		label(w, "le", span_of(i < countof(bounds) ? bounds[i] : "+Inf"));
		value(w, so_far);
	}
	(void)snprintf(suffixed, sizeof(suffixed), "%s_sum", name);
	begin(w, suffixed);
	label(w, of, whose);
	w->full |= buf_printf(w->out, "} %llu.%09llu\n", (unsigned long long)(s.sum_ns / NS_PER_S),
			   (unsigned long long)(s.sum_ns % NS_PER_S)) < 0;
	(void)snprintf(suffixed, sizeof(suffixed), "%s_count", name);
	begin(w, suffixed);
	label(w, of, whose);
	value(w, so_far);
}

/* --- requests ----------------------------------------------------------------------------------
 */

static const struct listener *listener_by_id(const struct settings *s, uint64_t id)
{
	for (unsigned i = 0; i < s->listener_count; i++)
		if (s->listeners[i].state->kept.id == id)
			return &s->listeners[i];
	return NULL;
}

static void on_answers(void *ctx, uint64_t listener_id, const uint64_t sums[STATUS_CLASSES])
{
	static const char *const classes[STATUS_CLASSES] = {
		"none", "1xx", "2xx", "3xx", "4xx", "5xx"};
	struct writing *w = ctx;
	const struct listener *l = listener_by_id(w->proxy->settings, listener_id);

	for (unsigned i = 0; l && i < STATUS_CLASSES; i++) {
		if (!sums[i])
			continue;
		begin(w, "requests_total");
		label(w, "listener", l->name);
		label(w, "pool", w->pool);
		label(w, "server", w->server);
		label(w, "code_class", span_of(classes[i]));
		value(w, sums[i]);
	}
}

static void answers_of(
	struct writing *w, const struct answers *a, struct span pool, struct span server)
{
	w->pool = pool;
	w->server = server;
	answers_each(a, on_answers, w);
}

static void requests(struct writing *w, const struct settings *s)
{
	family(w, "requests_total", "counter",
		"Requests that ended, by who answered; without a server it was the proxy itself.");
	for (unsigned i = 0; i < s->listener_count; i++)
		answers_of(w, s->listeners[i].state->answers, SPAN(""), SPAN(""));
	for (unsigned i = 0; i < s->pool_count; i++) {
		const struct pool *p = &s->pools[i];

		answers_of(w, p->state->answers, p->name, SPAN(""));
		for (unsigned m = 0; m < p->state->set->count; m++)
			answers_of(w, p->state->set->members[m].server->answered, p->name,
				span_of(p->state->set->members[m].server->name));
	}
}

static void durations(struct writing *w, const struct settings *s)
{
	family(w, "request_duration_seconds", "histogram",
		"From the first byte of a request to the last of its answer.");
	for (unsigned i = 0; i < s->listener_count; i++)
		histogram(w, "request_duration_seconds", "listener", s->listeners[i].name,
			s->listeners[i].state->durations);
	family(w, "upstream_connect_seconds", "histogram", "For a new connection to a server.");
	for (unsigned i = 0; i < s->pool_count; i++)
		histogram(w, "upstream_connect_seconds", "pool", s->pools[i].name,
			s->pools[i].state->connects);
	family(w, "upstream_first_byte_seconds", "histogram",
		"From sending a request to the head of the server's answer.");
	for (unsigned i = 0; i < s->pool_count; i++)
		histogram(w, "upstream_first_byte_seconds", "pool", s->pools[i].name,
			s->pools[i].state->first_bytes);
}

/* --- servers -----------------------------------------------------------------------------------
 */

static uint64_t in_flight(const struct server *s)
{
	return atomic_load_explicit(&s->in_flight, memory_order_relaxed);
}

static uint64_t is_up(const struct server *s)
{
	return atomic_load_explicit(&s->usable, memory_order_relaxed);
}

static uint64_t state_changes(const struct server *s)
{
	return s->state_changes_total;
}

static void of_servers_of(struct writing *w, const struct pool *p, const char *name,
	uint64_t (*get)(const struct server *s))
{
	for (unsigned i = 0; i < p->state->set->count; i++) {
		const struct server *s = p->state->set->members[i].server;

		begin(w, name);
		label(w, "pool", p->name);
		label(w, "server", span_of(s->name));
		value(w, get(s));
	}
}

static void of_servers(struct writing *w, const struct settings *s)
{
	static const struct {
		const char *name, *type, *help;
		uint64_t (*get)(const struct server *s);
	} all[] = {
		{"in_flight", "gauge", "Requests that a server has now.", in_flight},
		{"server_up", "gauge", "1: it gets traffic.", is_up},
		{"server_state_changes_total", "counter", "Changes of a server's health.",
			state_changes},
	};

	for (unsigned k = 0; k < countof(all); k++) {
		family(w, all[k].name, all[k].type, all[k].help);
		for (unsigned i = 0; i < s->pool_count; i++)
			of_servers_of(w, &s->pools[i], all[k].name, all[k].get);
	}
}

static void of_pools(struct writing *w, const struct settings *s)
{
	static const char *const words[] = {
#define X(name, text) text,
		RETRY_WORDS(X)
#undef X
	};

	family(w, "queue_length", "gauge", "Requests that wait for a server.");
	for (unsigned i = 0; i < s->pool_count; i++) {
		begin(w, "queue_length");
		label(w, "pool", s->pools[i].name);
		value(w, queue_length(&s->pools[i].state->queue));
	}
	family(w, "retries_total", "counter", "Further tries, by what had failed.");
	for (unsigned i = 0; i < s->pool_count; i++)
		for (unsigned r = 0; r < countof(words); r++) {
			uint64_t n = atomic_load_explicit(
				&s->pools[i].state->retries_by[r], memory_order_relaxed);

			if (n == 0)
				continue;
			begin(w, "retries_total");
			label(w, "pool", s->pools[i].name);
			label(w, "reason", span_of(words[r]));
			value(w, n);
		}
}

/* --- the pair ----------------------------------------------------------------------------------
 */

static void states(struct writing *w, const json_t *groups)
{
	static const char *const names[] = {
		"INIT", "STANDBY", "PROBING", "ACTIVE", "HANDOVER", "DRAINING", "FAULT"};
	const char *group;
	json_t *state;

	family(w, "failover_state", "gauge", "1: the group is in this state on this node.");
	json_object_foreach ((json_t *)(uintptr_t)groups, group, state)
		for (unsigned i = 0; i < countof(names); i++) {
			begin(w, "failover_state");
			label(w, "group", span_of(group));
			label(w, "state", span_of(names[i]));
			value(w, json_is_string(state) &&
					 strcmp(json_string_value(state), names[i]) == 0);
		}
}

static void transitions(struct writing *w, json_t *groups)
{
	const char *group, *reason;
	json_t *counts, *n;

	family(w, "failover_transitions_total", "counter",
		"Changes of a group's state on this node, by their reason.");
	json_object_foreach (groups, group, counts) {
		json_object_foreach (counts, reason, n) {
			begin(w, "failover_transitions_total");
			label(w, "group", span_of(group));
			label(w, "reason", span_of(reason));
			value(w, (uint64_t)json_integer_value(n));
		}
	}
}

static void of_failover(struct writing *w)
{
	const struct failover_link *link = w->proxy->link;
	const json_t *counts;
	const char *path;
	uint64_t at_ns;
	json_t *ms;

	if (!link)
		return;
	states(w, failover_link_groups(link));
	counts = failover_link_counts(link, &at_ns);
	transitions(w, json_object_get(counts, "transitions"));
	family(w, "failover_peer_last_heard_seconds", "gauge",
		"Since the peer was last heard on a path.");
	json_object_foreach (json_object_get(counts, "peer_heard_ms"), path, ms) {
		uint64_t ago_ms =
			(monotonic_ns() - at_ns) / NS_PER_MS + (uint64_t)json_integer_value(ms);

		begin(w, "failover_peer_last_heard_seconds");
		label(w, "path", span_of(path));
		w->full |= buf_printf(w->out, "} %llu.%03llu\n", (unsigned long long)ago_ms / 1000,
				   (unsigned long long)ago_ms % 1000) < 0;
	}
}

/* --- TLS ---------------------------------------------------------------------------------------
 */

static void handshakes(struct writing *w)
{
	static const char *const versions[] = {"1.2", "1.3"}, *const resumed[] = {"no", "yes"};

	family(w, "tls_handshakes_total", "counter",
		"Handshakes with clients that came to an end.");
	for (unsigned v = 0; v < countof(versions); v++)
		for (unsigned r = 0; r < countof(resumed); r++) {
			uint64_t n = 0;

			for (unsigned i = 0; i < w->proxy->worker_count; i++)
				n += atomic_load_explicit(
					&w->proxy->workers[i]->tls.done_total[v][r],
					memory_order_relaxed);
			begin(w, "tls_handshakes_total");
			label(w, "version", span_of(versions[v]));
			label(w, "resumed", span_of(resumed[r]));
			value(w, n);
		}
}

static void server_handshakes(struct writing *w)
{
	static const char *const outcomes[] = {"full", "resumed", "failed"};
	uint64_t n[countof(outcomes)] = {0};

	for (unsigned i = 0; i < w->proxy->worker_count; i++) {
		const struct tls_tally *t = &w->proxy->workers[i]->tls;

		n[0] += atomic_load_explicit(&t->server_done_total[0], memory_order_relaxed);
		n[1] += atomic_load_explicit(&t->server_done_total[1], memory_order_relaxed);
		n[2] += atomic_load_explicit(&t->server_failed_total, memory_order_relaxed);
	}
	family(w, "tls_server_handshakes_total", "counter",
		"Handshakes with servers, by what came of them; without those of checks.");
	for (unsigned i = 0; i < countof(outcomes); i++) {
		begin(w, "tls_server_handshakes_total");
		label(w, "outcome", span_of(outcomes[i]));
		value(w, n[i]);
	}
}

static void failed_handshakes(struct writing *w)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < w->proxy->worker_count; i++)
		n += atomic_load_explicit(
			&w->proxy->workers[i]->tls.failed_total, memory_order_relaxed);
	family(w, "tls_handshakes_failed_total", "counter",
		"Handshakes with clients that came to nothing.");
	w->full |= buf_printf(w->out, "tandem_tls_handshakes_failed_total %llu\n",
			   (unsigned long long)n) < 0;
}

static void certificates(struct writing *w, const struct settings *s)
{
	family(w, "cert_not_after_seconds", "gauge", "Until when it is valid, in Unix time.");
	for (unsigned i = 0; i < s->listener_count; i++) {
		const struct listener *l = &s->listeners[i];

		for (unsigned j = 0; l->tls && j < l->tls->store->count; j++) {
			const struct cert *c = l->tls->store->certs[j];

			begin(w, "cert_not_after_seconds");
			label(w, "listener", l->name);
			label(w, "file", span_of(c->file));
			value(w, c->until_s > 0 ? (uint64_t)c->until_s : 0);
		}
	}
}

int metrics_write(const struct proxy *p, struct buf *out)
{
	const struct settings *s = p->settings;
	struct writing w = {.proxy = p, .out = out};

	requests(&w, s);
	durations(&w, s);
	of_servers(&w, s);
	of_pools(&w, s);
	family(&w, "connections", "gauge", "Clients' connections that are open.");
	for (unsigned i = 0; i < s->listener_count; i++) {
		int64_t n = atomic_load_explicit(
			&s->listeners[i].state->connections, memory_order_relaxed);

		begin(&w, "connections");
		label(&w, "listener", s->listeners[i].name);
		value(&w, n > 0 ? (uint64_t)n : 0);
	}
	alone(&w, "config_generation", "Which configuration runs, counted from the start.",
		s->generation);
	alone(&w, "config_last_reload_ok", "0: the last reload was refused.",
		p->last_reload.ok || !p->last_reload.at[0]);
	handshakes(&w);
	server_handshakes(&w);
	failed_handshakes(&w);
	certificates(&w, s);
	of_failover(&w);
	family(&w, "build_info", "gauge", "Always 1; the version is a label.");
	begin(&w, "build_info");
	label(&w, "version", SPAN(PACKAGE_VERSION));
	value(&w, 1);
	return w.full ? -1 : 0;
}
