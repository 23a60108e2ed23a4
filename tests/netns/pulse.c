/*
 * A client that asks at an even pulse and writes down what became of every single request, so that
 *a gap can be measured to the millisecond and a failed request cannot hide in an average.
 *
 *	pulse [options] ADDRESS:PORT FILE
 *
 * Open loop: requests leave at --rate a second whether or not the earlier ones were answered (as
 *real clients do), each on a connection of its own, or with --connections N on N kept ones. With
 *--rate 0 every kept connection asks again as soon as it was answered. Ends after --seconds, after
 *--count requests, or at SIGTERM or SIGINT once the requests under way have ended.
 *
 * FILE gets one line a request, when it ends: start (CLOCK_MONOTONIC, us), duration (us), outcome,
 *and the first line of the answer's body. The outcome is the status, or one of: refused reset
 *unreachable timeout closed (before a whole answer) bad (not an answer that we understand) busy (no
 *slot left). A kept connection that was closed while idle is a line with the outcome `idle-close`
 *and duration 0: not a failed request, but someone may care.
 *
 * A machine that stalls pulse itself must not be charged to those it asks: a time-out counts only
 *time in which pulse was running.
 *
 * One thread, one epoll. Understands answers with Content-Length, or that end with the connection.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "shared/addr.h"
#include "shared/units.h"

enum { SLOTS_MAX = 4096, ANSWER_MAX = 4096, EVENTS_MAX = 256, BODY_SHOWN = 80 };

#define TURN_MAX_NS (10 * NS_PER_MS) /* a turn of the loop that took longer was a stall */

enum slot_state { SLOT_FREE, SLOT_IDLE, SLOT_BUSY };

struct slot {
	enum slot_state state;
	int fd;
	bool sent;
	uint64_t start_ns, patience_ns; /* patience_ns: pulse.running_ns at the start */
	size_t len;			/* bytes of the answer kept in buf */
	size_t body_left;		/* after the head was seen: bytes still to come */
	bool head_seen, until_close, last;
	int status;
	size_t body_off;
	char buf[ANSWER_MAX];
	struct slot *older, *newer; /* busy ones, by start */
};

struct pulse {
	struct addr to;
	uint64_t rate, count, timeout_ns, end_ns;
	unsigned connections;
	const char *path, *host;
	FILE *out;
	char request[512];
	size_t request_len;
	int epoll, timer;
	uint64_t started;
	uint64_t turned_ns, running_ns; /* the last turn of the loop; time without our own stalls */
	unsigned slot_count, busy, next_slot;
	struct slot *slots, *oldest, *newest;
};

static volatile sig_atomic_t stop_wanted;

static void on_signal(int sig)
{
	(void)sig;
	stop_wanted = 1;
}

static void busy_add(struct pulse *p, struct slot *s)
{
	s->state = SLOT_BUSY;
	s->older = p->newest;
	s->newer = NULL;
	if (p->newest)
		p->newest->newer = s;
	else
		p->oldest = s;
	p->newest = s;
	p->busy++;
}

static void busy_remove(struct pulse *p, struct slot *s)
{
	if (s->older)
		s->older->newer = s->newer;
	else
		p->oldest = s->newer;
	if (s->newer)
		s->newer->older = s->older;
	else
		p->newest = s->older;
	p->busy--;
}

static void slot_close(struct slot *s)
{
	if (s->fd >= 0)
		close(s->fd);
	s->fd = -1;
	s->state = SLOT_FREE;
}

static void note(
	struct pulse *p, uint64_t start_ns, uint64_t end_ns, const char *outcome, struct span body)
{
	fprintf(p->out, "%" PRIu64 " %" PRIu64 " %s %.*s\n", start_ns / NS_PER_US,
		(end_ns - start_ns) / NS_PER_US, outcome, (int)body.len, body.ptr ? body.ptr : "");
}

/* The request ended without a whole answer. */
static void request_failed(struct pulse *p, struct slot *s, const char *outcome)
{
	note(p, s->start_ns, monotonic_ns(), outcome, (struct span){0});
	busy_remove(p, s);
	slot_close(s);
}

static const char *errno_outcome(int error)
{
	switch (error) {
	case ECONNREFUSED:
		return "refused";
	case ECONNRESET:
	case EPIPE:
		return "reset";
	case ETIMEDOUT:
		return "timeout";
	default:
		return "unreachable";
	}
}

static void request_done(struct pulse *p, struct slot *s)
{
	size_t shown = s->len - s->body_off;
	char outcome[16];
	const char *line_end;

	if (shown > BODY_SHOWN)
		shown = BODY_SHOWN;
	line_end = memchr(s->buf + s->body_off, '\n', shown);
	if (line_end)
		shown = (size_t)(line_end - s->buf) - s->body_off;
	snprintf(outcome, sizeof(outcome), "%d", s->status);
	note(p, s->start_ns, monotonic_ns(), outcome, (struct span){s->buf + s->body_off, shown});
	busy_remove(p, s);
	if (p->connections == 0 || s->last)
		slot_close(s);
	else
		s->state = SLOT_IDLE;
}

static int slot_connect(struct pulse *p, struct slot *s)
{
	struct epoll_event ev = {
		.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = s};
	int one = 1;

	s->fd = socket(p->to.sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (s->fd < 0)
		return -1;
	setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (connect(s->fd, &p->to.sa, addr_len(&p->to)) < 0 && errno != EINPROGRESS)
		return -1;
	return epoll_ctl(p->epoll, EPOLL_CTL_ADD, s->fd, &ev);
}

static void request_send(struct pulse *p, struct slot *s)
{
	ssize_t n = send(s->fd, p->request, p->request_len, MSG_NOSIGNAL);

	if (n == (ssize_t)p->request_len)
		s->sent = true;
	else if (n < 0 && (errno == EAGAIN || errno == ENOTCONN))
		return; /* still connecting */
	else
		request_failed(p, s, n < 0 ? errno_outcome(errno) : "bad");
}

/* A slot that can take a request now: a kept idle connection first, else one to open; NULL if none.
 */
static struct slot *slot_pick(struct pulse *p)
{
	struct slot *free_slot = NULL;

	for (unsigned i = 0; i < p->slot_count; i++) {
		struct slot *s = &p->slots[(p->next_slot + i) % p->slot_count];

		if (s->state == SLOT_IDLE || (s->state == SLOT_FREE && p->connections == 0)) {
			p->next_slot = (unsigned)(s - p->slots) + 1;
			return s;
		}
		if (s->state == SLOT_FREE && !free_slot)
			free_slot = s;
	}
	return free_slot;
}

static void request_start(struct pulse *p)
{
	struct slot *s = slot_pick(p);
	uint64_t now_ns = monotonic_ns();
	bool fresh;

	p->started++;
	if (!s) {
		note(p, now_ns, now_ns, "busy", (struct span){0});
		return;
	}
	fresh = s->state == SLOT_FREE;
	s->start_ns = now_ns;
	s->patience_ns = p->running_ns;
	s->sent = s->head_seen = s->until_close = s->last = false;
	s->len = s->body_left = s->body_off = 0;
	busy_add(p, s);
	if (fresh && slot_connect(p, s) < 0)
		request_failed(p, s, errno_outcome(errno));
	else if (!fresh)
		request_send(p, s);
}

/* The value of a field in the NUL-terminated head, or NULL. */
static const char *head_field(const char *head, const char *name)
{
	size_t len = strlen(name);

	for (const char *line = strstr(head, "\r\n"); line && line[2];
		line = strstr(line + 2, "\r\n"))
		if (strncasecmp(line + 2, name, len) == 0 && line[2 + len] == ':')
			return line + 3 + len + strspn(line + 3 + len, " \t");
	return NULL;
}

static int head_parse(struct slot *s)
{
	char *end = memmem(s->buf, s->len, "\r\n\r\n", 4);
	const char *length, *connection;
	size_t body;

	if (!end)
		return s->len == sizeof(s->buf) ? -1 : 0;
	if (strncmp(s->buf, "HTTP/1.1 ", 9) != 0)
		return -1;
	end[2] = '\0';
	s->status = (int)strtol(s->buf + 9, NULL, 10);
	length = head_field(s->buf, "content-length");
	connection = head_field(s->buf, "connection");
	s->last = connection && strncasecmp(connection, "close", 5) == 0;
	s->body_off = (size_t)(end - s->buf) + 4;
	s->head_seen = true;
	body = s->len - s->body_off;
	if (head_field(s->buf, "transfer-encoding"))
		return -1;
	if (!length) {
		s->until_close = true;
	} else {
		s->body_left = strtoul(length, NULL, 10);
		if (s->body_left < body)
			return -1;
		s->body_left -= body;
	}
	return 0;
}

/* Reads what came; true when the slot may be looked at again. */
static bool answer_read_once(struct pulse *p, struct slot *s)
{
	char scratch[16384];
	bool keep = !s->head_seen || s->len < sizeof(s->buf);
	ssize_t n = keep ? recv(s->fd, s->buf + s->len, sizeof(s->buf) - s->len, 0)
			 : recv(s->fd, scratch, sizeof(scratch), 0);

	if (n < 0) {
		if (errno != EAGAIN)
			request_failed(p, s, errno_outcome(errno));
		return false;
	}
	if (n == 0) {
		if (s->head_seen && s->until_close) {
			s->last = true;
			request_done(p, s);
		} else {
			request_failed(p, s, "closed");
		}
		return false;
	}
	if (keep)
		s->len += (size_t)n;
	if (s->head_seen && !s->until_close) {
		if ((size_t)n > s->body_left) {
			request_failed(p, s, "bad");
			return false;
		}
		s->body_left -= (size_t)n;
	} else if (!s->head_seen && head_parse(s) < 0) {
		request_failed(p, s, "bad");
		return false;
	}
	if (s->head_seen && !s->until_close && s->body_left == 0) {
		request_done(p, s);
		return false;
	}
	return true;
}

static void idle_closed(struct pulse *p, struct slot *s)
{
	uint64_t now_ns = monotonic_ns();

	note(p, now_ns, now_ns, "idle-close", (struct span){0});
	slot_close(s);
}

static void on_slot_event(struct pulse *p, struct slot *s, uint32_t events)
{
	if (s->fd < 0 || s->state == SLOT_FREE)
		return; /* closed earlier in this round of events */
	if (s->state == SLOT_IDLE) {
		if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
			idle_closed(p, s);
		return;
	}
	if (!s->sent && (events & EPOLLERR)) {
		int error = 0;
		socklen_t len = sizeof(error);

		getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &error, &len);
		request_failed(p, s, errno_outcome(error));
		return;
	}
	if (!s->sent && (events & EPOLLOUT))
		request_send(p, s);
	if (s->state == SLOT_BUSY && s->sent && (events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
		while (answer_read_once(p, s))
			;
	/* The whole answer and the end of the connection may share one edge. */
	if (s->state == SLOT_IDLE && (events & EPOLLRDHUP))
		idle_closed(p, s);
}

static void time_out_old(struct pulse *p)
{
	uint64_t now_ns = monotonic_ns(), turn_ns = now_ns - p->turned_ns;

	p->running_ns += turn_ns < TURN_MAX_NS ? turn_ns : TURN_MAX_NS;
	p->turned_ns = now_ns;
	while (p->oldest && p->running_ns - p->oldest->patience_ns > p->timeout_ns)
		request_failed(p, p->oldest, "timeout");
}

static bool no_more(const struct pulse *p)
{
	return stop_wanted || (p->count && p->started >= p->count) ||
	       (p->end_ns && monotonic_ns() >= p->end_ns);
}

static void start_due(struct pulse *p)
{
	uint64_t due;

	if (p->rate == 0) {
		while (p->busy < p->connections && !no_more(p))
			request_start(p);
		return;
	}
	if (read(p->timer, &due, sizeof(due)) != sizeof(due))
		return;
	while (due-- > 0 && !no_more(p))
		request_start(p);
}

static void pulse_run(struct pulse *p)
{
	struct epoll_event events[EVENTS_MAX];
	uint64_t flushed_ns = monotonic_ns();

	p->turned_ns = flushed_ns;
	while (!no_more(p) || p->busy > 0) {
		int n;

		if (p->rate == 0)
			start_due(p);
		n = epoll_wait(p->epoll, events, EVENTS_MAX, 5);
		for (int i = 0; i < n; i++) {
			if (events[i].data.ptr)
				on_slot_event(p, events[i].data.ptr, events[i].events);
			else
				start_due(p);
		}
		time_out_old(p);
		if (monotonic_ns() - flushed_ns > 20 * NS_PER_MS) {
			fflush(p->out);
			flushed_ns = monotonic_ns();
		}
	}
}

static int pulse_start(struct pulse *p)
{
	struct epoll_event ev = {.events = EPOLLIN};
	uint64_t interval_ns = p->rate ? NS_PER_S / p->rate : 0;
	struct itimerspec every = {
		.it_interval = {(time_t)(interval_ns / NS_PER_S), (long)(interval_ns % NS_PER_S)},
		.it_value = {0, 1},
	};

	p->slot_count = p->connections ? p->connections : SLOTS_MAX;
	p->slots = calloc(p->slot_count, sizeof(*p->slots));
	p->epoll = epoll_create1(EPOLL_CLOEXEC);
	p->timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	if (!p->slots || p->epoll < 0 || p->timer < 0)
		return -1;
	for (unsigned i = 0; i < p->slot_count; i++)
		p->slots[i].fd = -1;
	p->request_len = (size_t)snprintf(p->request, sizeof(p->request),
		"GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: pulse\r\n%s\r\n", p->path, p->host,
		p->connections ? "" : "Connection: close\r\n");
	if (p->request_len >= sizeof(p->request))
		return -1;
	if (p->rate == 0)
		return 0;
	if (epoll_ctl(p->epoll, EPOLL_CTL_ADD, p->timer, &ev) < 0)
		return -1;
	return timerfd_settime(p->timer, 0, &every, NULL);
}

static int usage(void)
{
	fputs("usage: pulse [--rate N] [--connections N] [--timeout-ms N] [--seconds N] [--count "
	      "N]\n"
	      "             [--path PATH] [--host HOST] ADDRESS:PORT FILE\n",
		stderr);
	return 2;
}

static int options_parse(struct pulse *p, int argc, char **argv)
{
	static const struct option options[] = {{"rate", required_argument, NULL, 'r'},
		{"connections", required_argument, NULL, 'n'},
		{"timeout-ms", required_argument, NULL, 't'},
		{"seconds", required_argument, NULL, 's'}, {"count", required_argument, NULL, 'c'},
		{"path", required_argument, NULL, 'p'}, {"host", required_argument, NULL, 'h'},
		{0}};
	struct err err;
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		uint64_t number = c == '?' || c == 'p' || c == 'h' ? 0 : strtoull(optarg, NULL, 10);

		if (c == 'r')
			p->rate = number;
		else if (c == 'n')
			p->connections = (unsigned)number;
		else if (c == 't')
			p->timeout_ns = number * NS_PER_MS;
		else if (c == 's')
			p->end_ns = monotonic_ns() + number * NS_PER_S;
		else if (c == 'c')
			p->count = number;
		else if (c == 'p')
			p->path = optarg;
		else if (c == 'h')
			p->host = optarg;
		else
			return -1;
	}
	if (argc - optind != 2 || p->rate > 100000 || p->connections > SLOTS_MAX ||
		(p->rate == 0 && p->connections == 0))
		return -1;
	if (addr_parse(span_of(argv[optind]), &p->to, &err) < 0)
		return -1;
	if (!p->host)
		p->host = argv[optind];
	p->out = fopen(argv[optind + 1], "we");
	return p->out ? 0 : -1;
}

int main(int argc, char **argv)
{
	struct pulse p = {.rate = 1000, .timeout_ns = 100 * NS_PER_MS, .path = "/"};
	struct sigaction stop = {.sa_handler = on_signal};

	if (options_parse(&p, argc, argv) < 0)
		return usage();
	sigaction(SIGTERM, &stop, NULL);
	sigaction(SIGINT, &stop, NULL);
	if (pulse_start(&p) < 0) {
		perror("pulse");
		return 1;
	}
	pulse_run(&p);
	if (fclose(p.out) != 0) {
		perror("pulse");
		return 1;
	}
	free(p.slots);
	return 0;
}
