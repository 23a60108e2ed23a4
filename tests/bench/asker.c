#include "tests/bench/asker.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "shared/assert.h"
#include "shared/rng.h"
#include "shared/units.h"
#include "tests/bench/stream.h"

enum { IN_MAX = 4096, REQUEST_MAX = 512, EVENTS_MAX = 256, DUE_MAX = 1 << 18 };

struct client_conn {
	struct source source;
	struct asker *asker;
	int fd; /* -1: not open */
	bool busy, blocked, head_seen, last;
	uint64_t due_ns;
	uint64_t body_left;
	struct stream request;
	char request_head[REQUEST_MAX];
	size_t in_len;
	char in[IN_MAX + 1];
};

struct asker {
	struct asker_plan plan;
	int epoll;
	struct rng rng;
	struct client_conn *conns;
	/* Rings: connections that may be asked, the longest unused first; times of requests due. */
	struct client_conn **idle;
	uint64_t idle_first, idle_end;
	uint64_t *due_ns;
	uint64_t due_first, due_end;
	uint64_t next_due_ns;

	struct asker_run run;
	struct asker_result *result;
	uint64_t start_ns, started;
	unsigned busy;
};

static void conn_close(struct client_conn *c)
{
	if (c->fd >= 0)
		close(c->fd);
	c->fd = -1;
	c->blocked = false;
}

static void idle_push(struct asker *a, struct client_conn *c)
{
	ASSERT(a->idle_end - a->idle_first < a->plan.connections);
	a->idle[a->idle_end++ % a->plan.connections] = c;
}

/* The request of this connection has come to its end, good or bad. */
static void request_end(struct client_conn *c)
{
	struct asker *a = c->asker;

	ASSERT(c->busy && a->busy > 0);
	c->busy = false;
	a->busy--;
	if (a->plan.fresh || c->last)
		conn_close(c);
	if (!a->plan.hold)
		idle_push(a, c);
}

static void request_failed(struct client_conn *c, const char *reason)
{
	c->asker->result->failed++;
	c->asker->result->reason = reason;
	conn_close(c);
	request_end(c);
}

static void request_answered(struct client_conn *c)
{
	struct asker_result *r = c->asker->result;

	r->answered++;
	histogram_add(&r->latency_ns, monotonic_ns() - c->due_ns);
	request_end(c);
}

static void request_send(struct client_conn *c)
{
	enum stream_rc rc = stream_send(&c->request, c->fd);
	bool blocked = rc == STREAM_BLOCKED;

	if (rc == STREAM_BROKEN) {
		request_failed(c, strerror(errno));
		return;
	}
	if (blocked != c->blocked)
		source_change(
			c->asker->epoll, c->fd, blocked ? EPOLLIN | EPOLLOUT : EPOLLIN, &c->source);
	c->blocked = blocked;
}

/* Reads the head once it is whole. 0, or -1: not an answer that counts. */
static int head_take(struct client_conn *c)
{
	struct asker_result *r = c->asker->result;
	const char *length, *connection;
	char *end;
	size_t body;

	c->in[c->in_len] = '\0';
	end = strstr(c->in, "\r\n\r\n");
	if (!end)
		return c->in_len == IN_MAX ? -1 : 0;
	snprintf(r->answer, sizeof(r->answer), "%.*s", (int)strcspn(c->in, "\r"), c->in);
	end[2] = '\0';
	length = head_field(c->in, "content-length");
	if (strncmp(c->in, "HTTP/1.1 200 ", 13) != 0 || !length)
		return -1;
	connection = head_field(c->in, "connection");
	c->last = connection && strncasecmp(connection, "close", 5) == 0;
	c->head_seen = true;
	c->body_left = strtoull(length, NULL, 10);
	body = c->in_len - (size_t)(end + 4 - c->in);
	if (body > c->body_left)
		return -1;
	c->body_left -= body;
	r->body_bytes += body;
	return 0;
}

static void answer_read(struct client_conn *c)
{
	ssize_t n;

	if (c->head_seen)
		n = stream_discard(c->fd, c->body_left);
	else
		n = recv(c->fd, c->in + c->in_len, IN_MAX - c->in_len, MSG_DONTWAIT);
	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0) {
		request_failed(c, n < 0 ? strerror(errno) : "closed before the whole answer");
		return;
	}
	if (c->head_seen) {
		c->body_left -= (uint64_t)n;
		c->asker->result->body_bytes += (uint64_t)n;
	} else {
		c->in_len += (size_t)n;
		if (head_take(c) < 0) {
			request_failed(c, "a bad answer");
			return;
		}
	}
	if (!c->head_seen || c->body_left > 0)
		return;
	if (c->request.sent < c->request.head_len + c->request.body_bytes)
		request_failed(c, "an answer before the whole request");
	else
		request_answered(c);
}

static void on_conn_event(struct source *s, uint32_t events)
{
	struct client_conn *c = (struct client_conn *)(void *)s;

	if (!c->busy) { /* closed while idle: opened again when it is needed */
		c->asker->result->reopened++;
		conn_close(c);
		return;
	}
	if (c->blocked && (events & (EPOLLOUT | EPOLLERR | EPOLLHUP)))
		request_send(c);
	if (c->busy && (events & EPOLLIN))
		answer_read(c);
}

static int conn_open(struct client_conn *c)
{
	struct sockaddr_in to = {
		.sin_family = AF_INET,
		.sin_port = htons(c->asker->plan.port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	int one = 1;

	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (c->fd < 0)
		return -1;
	setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (connect(c->fd, (struct sockaddr *)&to, sizeof(to)) < 0 && errno != EINPROGRESS)
		return -1;
	return source_add(c->asker->epoll, c->fd, EPOLLIN, &c->source);
}

static void request_write(struct client_conn *c)
{
	struct asker *a = c->asker;
	char host[32] = "bench.example", length[48] = "";
	int len;

	if (a->plan.hosts > 0)
		snprintf(host, sizeof(host), "h%u.example",
			(unsigned)rng_below(&a->rng, a->plan.hosts));
	if (a->plan.post_bytes > 0)
		snprintf(length, sizeof(length), "Content-Length: %" PRIu64 "\r\n",
			a->plan.post_bytes);
	len = snprintf(c->request_head, sizeof(c->request_head),
		"%s %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: bench\r\nAccept: */*\r\n%s%s\r\n",
		a->plan.post_bytes > 0 ? "POST" : "GET", a->plan.path, host, length,
		a->plan.fresh ? "Connection: close\r\n" : "");
	ASSERT(len > 0 && len < REQUEST_MAX);
	c->request = (struct stream){
		.head = c->request_head,
		.head_len = (size_t)len,
		.body_bytes = a->plan.post_bytes,
	};
}

static void request_start(struct asker *a, uint64_t due_ns)
{
	struct client_conn *c = a->idle[a->idle_first++ % a->plan.connections];

	ASSERT(!c->busy);
	a->busy++;
	c->busy = true;
	c->due_ns = due_ns;
	c->in_len = 0;
	c->head_seen = c->last = false;
	request_write(c);
	if (c->fd < 0 && conn_open(c) < 0)
		request_failed(c, strerror(errno));
	else
		request_send(c);
}

/* --- when to ask ---------------------------------------------------------- */

static bool run_is_over(const struct asker *a, uint64_t now_ns)
{
	return (a->run.count > 0 && a->started >= a->run.count) ||
	       (a->run.duration_ns > 0 && now_ns - a->start_ns >= a->run.duration_ns);
}

static bool idle_any(const struct asker *a)
{
	return a->idle_first != a->idle_end;
}

static void start_closed(struct asker *a)
{
	while (a->busy < a->plan.parallel && idle_any(a)) {
		uint64_t now_ns = monotonic_ns();

		if (run_is_over(a, now_ns))
			return;
		a->started++;
		request_start(a, now_ns);
	}
}

/* Exponential gaps make a Poisson process. */
static uint64_t gap_ns(struct asker *a)
{
	double u = ((double)(rng_u64(&a->rng) >> 11) + 1) / 9007199254740992.0; /* (0, 1] */

	return (uint64_t)(-log(u) * (double)NS_PER_S / (double)a->plan.rate_per_s);
}

static void start_open(struct asker *a)
{
	uint64_t now_ns = monotonic_ns();

	while (a->next_due_ns <= now_ns && !run_is_over(a, a->next_due_ns)) {
		histogram_add(&a->result->lag_ns, now_ns - a->next_due_ns);
		a->started++;
		if (a->due_end - a->due_first == DUE_MAX)
			a->result->lost++;
		else
			a->due_ns[a->due_end++ % DUE_MAX] = a->next_due_ns;
		a->next_due_ns += gap_ns(a);
	}
	while (a->due_first != a->due_end && idle_any(a))
		request_start(a, a->due_ns[a->due_first++ % DUE_MAX]);
}

static void turn(struct asker *a)
{
	struct epoll_event events[EVENTS_MAX];
	int n = epoll_wait(a->epoll, events, EVENTS_MAX, 0);

	for (int i = 0; i < n; i++) {
		struct source *s = events[i].data.ptr;

		s->on_event(s, events[i].events);
		if (a->plan.rate_per_s > 0)
			start_open(a);
	}
	if (a->plan.rate_per_s > 0)
		start_open(a);
	else
		start_closed(a);
}

/* What is still under way when patience ends. */
static void give_up(struct asker *a)
{
	a->result->lost += a->due_end - a->due_first;
	a->due_first = a->due_end;
	for (unsigned i = 0; i < a->plan.connections; i++) {
		struct client_conn *c = &a->conns[i];

		if (!c->busy)
			continue;
		a->result->lost++;
		conn_close(c);
		request_end(c);
	}
}

void asker_run(struct asker *a, const struct asker_run *run, struct asker_result *ret_result)
{
	*ret_result = (struct asker_result){0};
	a->run = *run;
	a->result = ret_result;
	a->started = 0;
	a->start_ns = monotonic_ns();
	if (a->plan.rate_per_s > 0)
		a->next_due_ns = a->start_ns + gap_ns(a);
	for (;;) {
		uint64_t now_ns;

		turn(a);
		now_ns = monotonic_ns();
		if (now_ns - a->start_ns >= run->patience_ns) {
			give_up(a);
			break;
		}
		if (a->busy == 0 && a->due_first == a->due_end && run_is_over(a, now_ns))
			break;
	}
	ret_result->elapsed_ns = monotonic_ns() - a->start_ns;
}

struct asker *asker_new(int epoll, const struct asker_plan *plan)
{
	struct asker *a = calloc(1, sizeof(*a));

	ASSERT(plan->connections > 0 && plan->parallel > 0 && plan->parallel <= plan->connections);
	if (!a)
		return NULL;
	a->plan = *plan;
	a->epoll = epoll;
	rng_seed(&a->rng, 1);
	a->conns = calloc(plan->connections, sizeof(*a->conns));
	a->idle = calloc(plan->connections, sizeof(struct client_conn *));
	a->due_ns = calloc(DUE_MAX, sizeof(*a->due_ns));
	if (!a->conns || !a->idle || !a->due_ns) {
		free(a->conns);
		free(a->idle);
		free(a->due_ns);
		free(a);
		errno = ENOMEM;
		return NULL;
	}
	for (unsigned i = 0; i < plan->connections; i++) {
		a->conns[i].source.on_event = on_conn_event;
		a->conns[i].asker = a;
		a->conns[i].fd = -1;
		idle_push(a, &a->conns[i]);
	}
	return a;
}
