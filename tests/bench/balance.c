/*
 * A pool in virtual time: requests arrive, the shipped algorithms (proxy/pool/balance) choose among
 * servers that queue, slow down, stall and fail, and the health machine (proxy/pool/health) takes
 * out and brings back. Prints how long requests took, scenario by scenario. Not a test: it judges
 * nothing. The same seed gives the same table.
 *
 *   tests/bench/balance [REQUESTS]     how many for each line; default 200000
 *
 * A server serves SLOTS requests at a time and queues the rest; how long one takes is drawn from an
 * exponential distribution. Arrivals are Poisson, so that all together are busy for LOAD of the
 * time when all is well.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "proxy/pool/balance/balance.h"
#include "shared/assert.h"

enum {
	SERVERS = 10,
	SLOTS = 4,
	KEYS = 2000, /* different users */
	SLOW_FACTOR = 4,
	TRIES = 3,
	BROKEN_IN_A_ROW = 5
};
#define SERVICE_NS (10 * NS_PER_MS)
#define ERROR_NS (1 * NS_PER_MS) /* how soon a failing server says so */
#define LOAD 0.7
#define STALL_EVERY_NS (10 * NS_PER_S)
#define STALL_NS (1 * NS_PER_S)

enum trouble { NONE, UNEQUAL, SLOW, STALLS, FAILS, SKEWED };
static const struct {
	enum trouble trouble;
	const char *name;
} scenarios[] = {
	{NONE, "all alike"},
	{UNEQUAL, "one has half the slots, and half the weight"},
	{SLOW, "one is four times as slow, and nobody said so"},
	{STALLS, "one stands still for 1 s in 10"},
	{FAILS, "one answers 503 at once for 5 s in 20"},
	{SKEWED, "half of the requests are of one user"},
};

struct request {
	uint64_t arrived_ns, reached_ns, key;
	struct server *tried[TRIES];
	unsigned tried_count;
	int at;		      /* its server */
	struct request *next; /* in the server's queue, or the free list */
};

struct event {
	uint64_t at_ns, order; /* of equal times the first made comes first */
	enum { ARRIVAL, ANSWER, FAILURE, DUE, WAKE } kind;
	struct request *request;
	int server;
};

struct place { /* a server as it really is */
	unsigned busy, slots;
	struct request *first, *last;
	uint64_t stalled_until_ns;
};

struct world {
	enum trouble trouble;
	struct pool pool;
	struct pool_state *state;
	struct server *servers;
	char names[SERVERS][8];
	struct place places[SERVERS];
	struct pool_view view;
	const struct balancer *algo;
	struct rng rng;
	struct event *heap;
	size_t heap_len, heap_room;
	uint64_t now_ns, order;
	double *took_ms;
	size_t done, wanted, arrived, errors;
	unsigned long by_server[SERVERS];
	struct request *free;
};

/* --- events ------------------------------------------------------------------------------------
 */

static bool is_sooner(const struct event *a, const struct event *b)
{
	return a->at_ns != b->at_ns ? a->at_ns < b->at_ns : a->order < b->order;
}

static void *must(void *p)
{
	if (!p) {
		fprintf(stderr, "out of memory\n");
		exit(1);
	}
	return p;
}

static void put(struct world *w, struct event e)
{
	size_t at = w->heap_len++;

	if (w->heap_len > w->heap_room) {
		w->heap_room = w->heap_room ? 2 * w->heap_room : 1024;
		w->heap = must(realloc(w->heap, w->heap_room * sizeof(*w->heap)));
	}
	e.order = w->order++;
	while (at > 0 && is_sooner(&e, &w->heap[(at - 1) / 2])) {
		w->heap[at] = w->heap[(at - 1) / 2];
		at = (at - 1) / 2;
	}
	w->heap[at] = e;
}

static struct event take(struct world *w)
{
	struct event first = w->heap[0], last = w->heap[--w->heap_len];
	size_t at = 0;

	for (;;) {
		size_t child = 2 * at + 1;

		if (child >= w->heap_len)
			break;
		if (child + 1 < w->heap_len && is_sooner(&w->heap[child + 1], &w->heap[child]))
			child++;
		if (!is_sooner(&w->heap[child], &last))
			break;
		w->heap[at] = w->heap[child];
		at = child;
	}
	w->heap[at] = last;
	return first;
}

static uint64_t exponential(struct world *w, double mean_ns)
{
	double u = ((double)(rng_u64(&w->rng) >> 11) + 0.5) * 0x1p-53;

	return (uint64_t)(-log(u) * mean_ns);
}

/* --- the view ----------------------------------------------------------------------------------
 */

static void new_view(struct world *w)
{
	struct pool_view *v = &w->view;

	free(v->table);
	free(v->cycle);
	v->table = NULL;
	v->cycle = NULL;
	v->count = 0;
	for (int i = 0; i < SERVERS; i++) {
		if (!health_usable(&w->servers[i].health))
			continue;
		v->usable[v->count++] = (struct member){.server = &w->servers[i],
			.weight = w->trouble == UNEQUAL ? (i == 0 ? 1 : 2) : 1};
	}
	if (w->algo->prepare && w->algo->prepare(v) < 0)
		must(NULL);
}

static void feed(struct world *w, int server, enum health_event_kind kind)
{
	struct server *s = &w->servers[server];
	struct health_conf conf = {.rise = 1, .fall = 1, .eject_ns = 10 * NS_PER_S};
	struct health_event ev = {.kind = kind, .now_ns = w->now_ns, .realtime_ns = w->now_ns};
	unsigned out = 0;

	for (int i = 0; i < SERVERS; i++)
		out += !health_usable(&w->servers[i].health);
	conf.may_eject = out + 1 <= SERVERS / 2;
	if (health_step(&s->health, &conf, &ev) == HEALTH_TURNED)
		new_view(w);
	if (kind != HEALTH_TIME_PASSED && health_due_ns(&s->health))
		put(w, (struct event){health_due_ns(&s->health), 0, DUE, NULL, server});
}

/* --- servers -----------------------------------------------------------------------------------
 */

static bool fails_now(const struct world *w, int server)
{
	return w->trouble == FAILS && server == 0 && w->now_ns % (20 * NS_PER_S) < 5 * NS_PER_S;
}

static void serve(struct world *w, struct request *r)
{
	double mean_ns = (double)SERVICE_NS * (w->trouble == SLOW && r->at == 0 ? SLOW_FACTOR : 1);

	w->places[r->at].busy++;
	put(w, (struct event){w->now_ns + exponential(w, mean_ns), 0, ANSWER, r, r->at});
}

static bool stands_still(struct world *w, int server)
{
	uint64_t into_ns = w->now_ns % STALL_EVERY_NS;

	return w->trouble == STALLS && server == 0 && into_ns < STALL_NS;
}

static void go_on(struct world *w, int server)
{
	struct place *p = &w->places[server];

	while (p->first && p->busy < p->slots && !stands_still(w, server)) {
		struct request *r = p->first;

		p->first = r->next;
		serve(w, r);
	}
}

static void reach(struct world *w, struct request *r)
{
	struct place *p = &w->places[r->at];

	if (fails_now(w, r->at)) {
		put(w, (struct event){w->now_ns + ERROR_NS, 0, FAILURE, r, r->at});
		return;
	}
	r->next = NULL;
	if (p->first)
		p->last->next = r;
	else
		p->first = r;
	p->last = r;
	if (stands_still(w, r->at) && p->stalled_until_ns <= w->now_ns) {
		p->stalled_until_ns = w->now_ns - w->now_ns % STALL_EVERY_NS + STALL_NS;
		put(w, (struct event){p->stalled_until_ns, 0, WAKE, NULL, r->at});
	}
	go_on(w, r->at);
}

/* --- the proxy ---------------------------------------------------------------------------------
 */

/* False: every server that there is was tried. */
static bool choose(struct world *w, struct request *r)
{
	const struct pick what = {.tried = r->tried,
		.tried_count = r->tried_count,
		.now_ns = w->now_ns,
		.rng = &w->rng,
		.has_key = true,
		.key = r->key};
	int at = w->view.count ? w->algo->pick(&w->view, &what) : -1;
	struct server *s;

	if (at < 0 || r->tried_count == TRIES)
		return false;
	s = w->view.usable[at].server;
	r->at = (int)(s - w->servers);
	r->reached_ns = w->now_ns;
	r->tried[r->tried_count++] = s;
	atomic_fetch_add(&s->in_flight, 1);
	w->by_server[r->at]++;
	reach(w, r);
	return true;
}

static void finish(struct world *w, struct request *r)
{
	w->took_ms[w->done++] = (double)(w->now_ns - r->arrived_ns) / 1e6;
	r->next = w->free;
	w->free = r;
}

static void on_arrival(struct world *w)
{
	double rate = LOAD * SERVERS * SLOTS / (double)SERVICE_NS;
	struct request *r = w->free;

	if (w->trouble == UNEQUAL)
		rate *= (SERVERS - 0.5) / SERVERS;
	if (r)
		w->free = r->next;
	else
		r = must(malloc(sizeof(*r)));
	*r = (struct request){.arrived_ns = w->now_ns};
	r->key = w->trouble == SKEWED && rng_below(&w->rng, 2) ? 0 : rng_below(&w->rng, KEYS);
	r->key = (r->key + 1) * UINT64_C(0x9e3779b97f4a7c15);
	if (++w->arrived < w->wanted)
		put(w, (struct event){w->now_ns + exponential(w, 1 / rate), 0, ARRIVAL, NULL, 0});
	if (!choose(w, r)) {
		w->errors++;
		finish(w, r);
	}
}

static void on_answer(struct world *w, struct request *r)
{
	struct server *s = &w->servers[r->at];

	w->places[r->at].busy--;
	atomic_fetch_sub(&s->in_flight, 1);
	atomic_store(&s->consecutive_failures, 0);
	server_answer_took(s, w->now_ns - r->reached_ns, w->now_ns);
	go_on(w, r->at);
	finish(w, r);
}

static void on_failure(struct world *w, struct request *r)
{
	struct server *s = &w->servers[r->at];

	atomic_fetch_sub(&s->in_flight, 1);
	server_add_phantom(s, w->now_ns);
	if (atomic_fetch_add(&s->consecutive_failures, 1) + 1 >= BROKEN_IN_A_ROW)
		feed(w, r->at, HEALTH_TRAFFIC_BROKE);
	if (choose(w, r))
		return;
	w->errors++;
	finish(w, r);
}

static void step(struct world *w)
{
	struct event e = take(w);

	w->now_ns = e.at_ns;
	switch (e.kind) {
	case ARRIVAL:
		on_arrival(w);
		return;
	case ANSWER:
		on_answer(w, e.request);
		return;
	case FAILURE:
		on_failure(w, e.request);
		return;
	case DUE:
		feed(w, e.server, HEALTH_TIME_PASSED);
		return;
	case WAKE:
		go_on(w, e.server);
		return;
	}
}

/* --- the table ---------------------------------------------------------------------------------
 */

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double percentile(const struct world *w, double pct)
{
	size_t at = (size_t)(pct / 100 * (double)w->done);

	return w->took_ms[at < w->done ? at : w->done - 1];
}

static void world_init(
	struct world *w, enum trouble trouble, const struct balancer *algo, size_t wanted)
{
	*w = (struct world){.trouble = trouble, .algo = algo, .wanted = wanted};
	w->state = must(aligned_alloc(64, sizeof(*w->state)));
	w->servers = must(aligned_alloc(64, SERVERS * sizeof(*w->servers)));
	w->took_ms = must(calloc(wanted, sizeof(*w->took_ms)));
	w->view.usable = must(calloc(SERVERS, sizeof(*w->view.usable)));
	memset(w->state, 0, sizeof(*w->state));
	memset(w->servers, 0, SERVERS * sizeof(*w->servers));
	w->pool.state = w->state;
	w->view.pool = &w->pool;
	w->now_ns = 1000 * NS_PER_S;
	for (int i = 0; i < SERVERS; i++) {
		snprintf(w->names[i], sizeof(w->names[i]), "s%d", i);
		w->servers[i].name = w->names[i];
		w->places[i].slots = trouble == UNEQUAL && i == 0 ? SLOTS / 2 : SLOTS;
		health_init(&w->servers[i].health, false, w->now_ns, w->now_ns);
	}
	rng_seed(&w->rng, 1);
	new_view(w);
	put(w, (struct event){w->now_ns, 0, ARRIVAL, NULL, 0});
}

static void world_fini(struct world *w)
{
	while (w->free) {
		struct request *next = w->free->next;

		free(w->free);
		w->free = next;
	}
	free(w->view.usable);
	free(w->view.table);
	free(w->view.cycle);
	free(w->state);
	free(w->servers);
	free(w->took_ms);
	free(w->heap);
}

static void run(enum trouble trouble, const char *name, const struct balancer *algo, size_t wanted)
{
	struct world w;
	unsigned long busiest = 0, total = 0;

	world_init(&w, trouble, algo, wanted);
	while (w.done < wanted)
		step(&w);
	for (int i = 0; i < SERVERS; i++) {
		total += w.by_server[i];
		busiest = w.by_server[i] > busiest ? w.by_server[i] : busiest;
	}
	qsort(w.took_ms, w.done, sizeof(*w.took_ms), by_value);
	printf("  %-15s %8.1f %8.1f %8.1f %8.1f %8.1f  %6.1f %% %6.1f %%  %zu\n", name,
		percentile(&w, 50), percentile(&w, 90), percentile(&w, 99), percentile(&w, 99.9),
		w.took_ms[w.done - 1], 100.0 * (double)w.by_server[0] / (double)total,
		100.0 * (double)busiest / (double)total, w.errors);
	world_fini(&w);
}

int main(int argc, char **argv)
{
	size_t wanted = argc > 1 ? strtoul(argv[1], NULL, 10) : 200000;

	if (wanted == 0 || argc > 2) {
		fprintf(stderr, "usage: %s [REQUESTS]\n", argv[0]);
		return 2;
	}
	printf("%d servers, %d at a time each, 10 ms a request, %.0f %% busy, %zu requests; ms\n",
		SERVERS, SLOTS, 100 * LOAD, wanted);
	for (unsigned i = 0; i < countof(scenarios); i++) {
		printf("\n%s\n  %-15s %8s %8s %8s %8s %8s  %8s %8s  %s\n", scenarios[i].name, "",
			"p50", "p90", "p99", "p99.9", "max", "first", "busiest", "errors");
#define X(name, word) run(scenarios[i].trouble, #word, &balance_##word, wanted);
		BALANCES(X)
#undef X
	}
	return 0;
}
