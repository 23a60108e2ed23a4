#include "proxy/observe/faults.h"

#include <stdlib.h>

#include "proxy/exchange/exchange.h"
#include "proxy/worker.h"

void fault_log_init(struct fault_log *l)
{
	*l = (struct fault_log){0};
	pthread_mutex_init(&l->lock, NULL);
}

void fault_log_fini(struct fault_log *l)
{
	pthread_mutex_destroy(&l->lock);
}

/* --- writing: the worker
 * ----------------------------------------------------------------------------- */

static bool may_look(struct fault_log *l, uint64_t now_ns)
{
	if (l->spent_ns > now_ns + (FAULTS_BURST - 1) * FAULTS_REFILL_NS)
		return false;
	l->spent_ns = (l->spent_ns > now_ns ? l->spent_ns : now_ns) + FAULTS_REFILL_NS;
	return true;
}

static void describe(struct fault_entry *e, const struct exchange *x, enum fault_side side,
	struct span bytes, const struct http_fault *fault)
{
	e->time_ns = worker_wall_ns(x->worker);
	e->status = side == FAULT_REQUEST ? fault->status : 502;
	e->why = fault->why;
	if (side == FAULT_REQUEST) {
		span_copy(x->listener->name, e->place, sizeof(e->place));
		addr_format(&x->client->addr, e->peer);
		e->at = e->part == EXCERPT_CONTENT ? x->bytes_in : fault->at;
		e->request.len = 0;
	} else {
		snprintf(
			e->place, sizeof(e->place), "%s/%s", x->server->pool_name, x->server->name);
		memcpy(e->peer, x->server->address_text, sizeof(e->peer));
		e->at = e->part == EXCERPT_CONTENT ? x->bytes_out : fault->at;
		excerpt_start_line(&e->request, x->request.method_text, x->request.target);
	}
	excerpt_make(&e->excerpt, e->part, bytes, fault->at);
}

void fault_note(struct exchange *x, enum fault_side side, enum excerpt_kind part, struct span bytes,
	const struct http_fault *fault)
{
	struct fault_log *l = &x->worker->faults;
	struct fault_ring *r = &l->sides[side];
	bool look = may_look(l, x->worker->now_ns);

	/* Two threads at most, and nobody whose request is good waits for it. */
	pthread_mutex_lock(&l->lock);
	r->total++;
	if (look) {
		struct fault_entry *e = &r->kept[r->recorded++ % FAULTS_KEPT];

		e->part = part;
		describe(e, x, side, bytes, fault);
	}
	pthread_mutex_unlock(&l->lock);
}

/* --- reading: anyone
 * ----------------------------------------------------------------------------------- */

static json_t *lines_json(const struct excerpt *x)
{
	json_t *lines = json_array();

	for (unsigned i = 0; i < x->count; i++) {
		const struct excerpt_line *l = &x->lines[i];
		json_t *line = json_pack(
			"{s:I,s:s%}", "at", (json_int_t)l->at, "text", l->text, (size_t)l->len);

		if (l->caret >= 0)
			json_object_set_new(line, "caret", json_integer(l->caret));
		json_array_append_new(lines, line);
	}
	return lines;
}

static json_t *entry_json(const struct fault_entry *e, enum fault_side side)
{
	bool request = side == FAULT_REQUEST, head = e->part == EXCERPT_HEAD;
	char time[25];
	json_t *o;

	time_format(e->time_ns, time);
	o = json_pack("{s:s,s:s,s:s,s:i,s:s,s:s,s:I,s:o}", "time", time,
		request ? "listener" : "server", e->place, request ? "client" : "address", e->peer,
		"status", e->status, "reason", e->why, "part", head ? "head" : "content", "at",
		(json_int_t)e->at, "lines", lines_json(&e->excerpt));
	if (e->request.len)
		json_object_set_new(o, "request", json_stringn(e->request.text, e->request.len));
	return o;
}

static int by_time(const void *a, const void *b)
{
	const struct fault_entry *x = a, *y = b;

	return (x->time_ns > y->time_ns) - (x->time_ns < y->time_ns);
}

/* all has room for count * FAULTS_KEPT. */
static json_t *side_json(struct fault_log *const *logs, unsigned count, enum fault_side side,
	struct fault_entry *all)
{
	json_t *last = json_array();
	unsigned found = 0;
	uint64_t total = 0;

	for (unsigned i = 0; i < count; i++) {
		struct fault_ring *r = &logs[i]->sides[side];

		pthread_mutex_lock(&logs[i]->lock);
		total += r->total;
		for (uint64_t n = r->recorded > FAULTS_KEPT ? r->recorded - FAULTS_KEPT : 0;
			n < r->recorded; n++)
			all[found++] = r->kept[n % FAULTS_KEPT];
		pthread_mutex_unlock(&logs[i]->lock);
	}
	if (count > 1)
		qsort(all, found, sizeof(*all), by_time);
	for (unsigned i = found > FAULTS_KEPT ? found - FAULTS_KEPT : 0; i < found; i++)
		json_array_append_new(last, entry_json(&all[i], side));
	return json_pack("{s:I,s:o}", "total", (json_int_t)total, "last", last);
}

json_t *fault_logs_json(struct fault_log *const *logs, unsigned count)
{
	struct fault_entry *all = malloc(((size_t)count * FAULTS_KEPT + 1) * sizeof(*all));
	json_t *requests, *responses;

	if (!all)
		return NULL;
	requests = side_json(logs, count, FAULT_REQUEST, all);
	responses = side_json(logs, count, FAULT_RESPONSE, all);
	free(all);
	return json_pack("{s:o,s:o}", "requests", requests, "responses", responses);
}
