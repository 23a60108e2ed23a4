#include "proxy/discover/resolver.h"

#include <ares.h>
#include <netdb.h>
#include <stdlib.h>

#include "shared/assert.h"
#include "shared/list.h"
#include "shared/log.h"

enum { TIMEOUT_MS = 1000, TRIES = 2, UDP_BYTES = 1232, SERVERS_MAX_OF_US = 16, HOSTS_TTL_S = 5 };
static const char system_file[] = "/etc/resolv.conf";
static const double look_s = 5; /* at that file, where inotify does not tell */

struct socket_watch {
	struct list link;
	struct resolver *resolver;
	ev_io io;
};

struct resolver {
	struct ev_loop *loop;
	ares_channel channel;
	ev_timer due;
	ev_stat system; /* while its servers are the system's */
	ev_prepare deliver;
	struct list sockets, queries;
	struct addr servers[SERVERS_MAX_OF_US];
	unsigned server_count;
};

struct resolver_query {
	struct list link; /* of its resolver */
	struct resolver *resolver;
	char *name;
	enum dns_type type;
	void (*on_result)(void *ctx, const struct resolver_result *result); /* NULL: cancelled */
	void *ctx;
	bool started; /* c-ares has it, and gives it back */
};

/* --- c-ares on our loop ------------------------------------------------------------------------
 */

static void set_due(struct resolver *r)
{
	struct timeval tv, *left = ares_timeout(r->channel, NULL, &tv);

	ev_timer_stop(r->loop, &r->due);
	if (!left)
		return;
	ev_timer_set(&r->due, (double)left->tv_sec + (double)left->tv_usec / 1e6, 0);
	ev_timer_start(r->loop, &r->due);
}

static void on_socket(struct ev_loop *loop, ev_io *w, int events)
{
	struct resolver *r = ((struct socket_watch *)w->data)->resolver;
	ares_socket_t fd = w->fd; /* the watch may go */

	(void)loop;
	ares_process_fd(r->channel, events & EV_READ ? fd : ARES_SOCKET_BAD,
		events & EV_WRITE ? fd : ARES_SOCKET_BAD);
	set_due(r);
}

static void on_due(struct ev_loop *loop, ev_timer *w, int events)
{
	struct resolver *r = w->data;

	(void)loop;
	(void)events;
	ares_process_fd(r->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
	set_due(r);
}

static struct socket_watch *watch_of(struct resolver *r, ares_socket_t fd)
{
	struct socket_watch *w;

	list_each (it, &r->sockets)
		if (list_item(it, struct socket_watch, link)->io.fd == fd)
			return list_item(it, struct socket_watch, link);
	w = calloc(1, sizeof(*w));
	if (!w)
		return NULL; /* then its time runs out */
	w->resolver = r;
	ev_io_init(&w->io, on_socket, fd, 0);
	w->io.data = w;
	list_append(&r->sockets, &w->link);
	return w;
}

static void on_socket_state(void *ctx, ares_socket_t fd, int readable, int writable)
{
	struct resolver *r = ctx;
	struct socket_watch *w = watch_of(r, fd);

	if (!w)
		return;
	ev_io_stop(r->loop, &w->io);
	if (readable || writable) {
		ev_io_set(&w->io, fd, (readable ? EV_READ : 0) | (writable ? EV_WRITE : 0));
		ev_io_start(r->loop, &w->io);
		return;
	}
	list_remove(&w->link);
	free(w);
}

/* --- queries -----------------------------------------------------------------------------------
 */

static void query_free(struct resolver_query *q)
{
	list_remove(&q->link);
	free(q->name);
	free(q);
}

static void finish(struct resolver_query *q, const struct resolver_result *result)
{
	void (*on_result)(void *ctx, const struct resolver_result *result) = q->on_result;
	void *ctx = q->ctx;

	query_free(q);
	if (on_result)
		on_result(ctx, result);
}

static void on_answer(void *ctx, int status, int timeouts, unsigned char *bytes, int len)
{
	struct resolver_query *q = ctx;
	struct resolver_result result = {.verdict = DNS_FAILED, .why = ares_strerror(status)};
	struct dns_record *records = NULL;
	struct dns_answer answer;

	(void)timeouts;
	if (!q->on_result) {
		query_free(q);
		return;
	}
	if (status == ARES_EDESTRUCTION || status == ARES_ECANCELLED)
		result.why = "other resolvers are to be asked";
	if (bytes && len > 0) {
		records = malloc(RESOLVER_RECORDS_MAX * sizeof(*records));
		if (records) {
			result.verdict = dns_answer_read(span_make(bytes, (size_t)len), q->type,
				records, RESOLVER_RECORDS_MAX, &answer);
			result.records = records;
			result.count = answer.count;
			result.dropped = answer.dropped;
			result.ttl_s = answer.ttl_s;
			result.why = answer.why;
		} else {
			result.why = "out of memory";
		}
	}
	finish(q, &result);
	free(records);
}

/* What /etc/hosts says. 0: nothing. */
static unsigned look_in_hosts(const struct resolver_query *q, struct dns_record *records)
{
	int family = q->type == DNS_A ? AF_INET : AF_INET6;
	struct hostent *found = NULL;
	unsigned count = 0;

	if (q->resolver->server_count || q->type == DNS_SRV ||
		ares_gethostbyname_file(q->resolver->channel, q->name, family, &found) !=
			ARES_SUCCESS)
		return 0;
	for (char **a = found->h_addr_list; *a && count < RESOLVER_RECORDS_MAX; a++) {
		struct dns_record *d = &records[count++];

		memset(d, 0, sizeof(*d));
		d->addr.sa.sa_family = (sa_family_t)family;
		if (family == AF_INET)
			memcpy(&d->addr.in.sin_addr, *a, sizeof(d->addr.in.sin_addr));
		else
			memcpy(&d->addr.in6.sin6_addr, *a, sizeof(d->addr.in6.sin6_addr));
	}
	ares_free_hostent(found);
	return count;
}

static void start(struct resolver_query *q)
{
	struct resolver_result result = {.verdict = DNS_GOOD, .ttl_s = HOSTS_TTL_S};
	struct dns_record *records = malloc(RESOLVER_RECORDS_MAX * sizeof(*records));

	q->started = true;
	if (records)
		result.count = look_in_hosts(q, records);
	if (result.count) {
		result.records = records;
		finish(q, &result);
	} else { /* it may be answered, or fail, right here */
		ares_query(q->resolver->channel, q->name, 1, (int)q->type, on_answer, q);
	}
	free(records);
}

/* Questions are put here and not where they are asked, so that nobody is called from within. */
static void on_deliver(struct ev_loop *loop, ev_prepare *w, int events)
{
	struct resolver *r = w->data;
	bool more = true;

	(void)events;
	ev_prepare_stop(loop, w);
	while (more) {
		more = false;
		list_each (it, &r->queries) {
			struct resolver_query *q = list_item(it, struct resolver_query, link);

			if (q->started)
				continue;
			start(q);
			more = true; /* the list is another now */
			break;
		}
	}
	set_due(r);
}

struct resolver_query *resolver_ask(struct resolver *r, const char *name, enum dns_type type,
	void (*on_result)(void *ctx, const struct resolver_result *result), void *ctx)
{
	struct resolver_query *q = calloc(1, sizeof(*q));

	if (q)
		q->name = strdup(name);
	if (!q || !q->name) {
		free(q);
		return NULL;
	}
	q->resolver = r;
	q->type = type;
	q->on_result = on_result;
	q->ctx = ctx;
	list_append(&r->queries, &q->link);
	ev_prepare_start(r->loop, &r->deliver);
	return q;
}

void resolver_cancel(struct resolver_query *q)
{
	if (!q)
		return;
	if (q->started)
		q->on_result = NULL;
	else
		query_free(q);
}

/* --- servers -----------------------------------------------------------------------------------
 */

static int init_channel(struct resolver *r, int flags, const char *list, ares_channel *ret)
{
	struct ares_options o = {.flags = flags,
		.timeout = TIMEOUT_MS,
		.tries = TRIES,
		.ednspsz = UDP_BYTES,
		.sock_state_cb = on_socket_state,
		.sock_state_cb_data = r};
	int rc = ares_init_options(ret, &o,
		ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_EDNSPSZ |
			ARES_OPT_SOCK_STATE_CB);

	if (rc != ARES_SUCCESS)
		return rc;
	rc = list[0] ? ares_set_servers_ports_csv(*ret, list) : ARES_SUCCESS;
	if (rc != ARES_SUCCESS)
		ares_destroy(*ret);
	return rc;
}

/* A single one's SERVFAIL is an answer; of several it is a reason to ask the next. */
static bool has_one_server(ares_channel channel)
{
	struct ares_addr_port_node *servers = NULL;
	bool one;

	if (ares_get_servers_ports(channel, &servers) != ARES_SUCCESS)
		return false;
	one = servers && !servers->next;
	ares_free_data(servers);
	return one;
}

static int open_channel(struct resolver *r, const struct addr *servers, unsigned count,
	ares_channel *ret, struct err *err)
{
	char list[SERVERS_MAX_OF_US * (ADDR_TEXT_MAX + 1)] = "";
	size_t at = 0;
	int rc;

	for (unsigned i = 0; i < count; i++) {
		if (i)
			list[at++] = ',';
		at += addr_format(&servers[i], list + at);
	}
	rc = init_channel(r, ARES_FLAG_EDNS, list, ret);
	if (rc == ARES_SUCCESS && has_one_server(*ret)) {
		ares_destroy(*ret);
		rc = init_channel(r, ARES_FLAG_EDNS | ARES_FLAG_NOCHECKRESP, list, ret);
	}
	return rc == ARES_SUCCESS ? 0 : err_set(err, "DNS: %s", ares_strerror(rc));
}

/* What is out on the old one fails, and is asked again by those who want it. */
static int replace(struct resolver *r, const struct addr *servers, unsigned count, struct err *err)
{
	ares_channel next, old = r->channel;

	if (open_channel(r, servers, count, &next, err) < 0)
		return -1;
	r->channel = next;
	ares_destroy(old);
	ev_stat_stop(r->loop, &r->system);
	if (count == 0)
		ev_stat_start(r->loop, &r->system);
	set_due(r);
	return 0;
}

static void on_system_changed(struct ev_loop *loop, ev_stat *w, int events)
{
	struct resolver *r = w->data;
	struct err err;

	(void)loop;
	(void)events;
	if (replace(r, NULL, 0, &err) < 0)
		log_event(LOG_ERROR, "discover.resolvers", err.text);
	else
		log_event(LOG_NOTICE, "discover.resolvers",
			"the system's resolvers changed: asking them", F_TEXT("file", system_file));
}

int resolver_set_servers(
	struct resolver *r, const struct addr *servers, unsigned count, struct err *err)
{
	bool same = r->server_count == count;

	ASSERT(count <= SERVERS_MAX_OF_US);
	for (unsigned i = 0; same && i < count; i++)
		same = addr_eq(&r->servers[i], &servers[i]);
	if (same)
		return 0;
	if (replace(r, servers, count, err) < 0)
		return -1;
	for (unsigned i = 0; i < count; i++)
		r->servers[i] = servers[i];
	r->server_count = count;
	return 0;
}

struct resolver *resolver_new(
	struct ev_loop *loop, const struct addr *servers, unsigned count, struct err *err)
{
	struct resolver *r = calloc(1, sizeof(*r));

	ASSERT(count <= SERVERS_MAX_OF_US);
	if (!r) {
		err_set(err, "out of memory");
		return NULL;
	}
	r->loop = loop;
	list_init(&r->sockets);
	list_init(&r->queries);
	ev_init(&r->due, on_due);
	ev_stat_init(&r->system, on_system_changed, system_file, look_s);
	ev_prepare_init(&r->deliver, on_deliver);
	r->due.data = r->system.data = r->deliver.data = r;
	for (unsigned i = 0; i < count; i++)
		r->servers[i] = servers[i];
	r->server_count = count;
	if (open_channel(r, servers, count, &r->channel, err) < 0) {
		free(r);
		return NULL;
	}
	if (count == 0)
		ev_stat_start(loop, &r->system);
	return r;
}

void resolver_free(struct resolver *r)
{
	if (!r)
		return;
	list_each (it, &r->queries)
		list_item(it, struct resolver_query, link)->on_result = NULL;
	ares_destroy(r->channel); /* gives back what was started */
	list_each_safe (it, &r->queries)
		query_free(list_item(it, struct resolver_query, link));
	ASSERT(list_empty(&r->sockets));
	ev_timer_stop(r->loop, &r->due);
	ev_stat_stop(r->loop, &r->system);
	ev_prepare_stop(r->loop, &r->deliver);
	free(r);
}
