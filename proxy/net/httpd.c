#include "proxy/net/httpd.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <unistd.h>

#include "proxy/net/acceptor.h"
#include "shared/assert.h"
#include "shared/list.h"
#include "shared/log.h"
#include "shared/units.h"

enum { HEAD_MAX = 16384, READ_BYTES = 4096, IN_MAX = HEAD_MAX + HTTPD_BODY_MAX };
static const double request_s = 10, idle_s = 60, send_s = 30, linger_s = 2, pause_s = 0.1;

struct binding {
	struct addr addr;
	int fd;
	bool ours; /* of a change: opened for it */
	struct httpd *httpd;
	ev_io io;
};

struct httpd_change {
	unsigned bind_count, allow_count;
	struct cidr *allow;
	struct binding binds[];
};

struct httpd {
	struct ev_loop *loop;
	struct httpd_options o;
	struct httpd_change *now; /* NULL: it listens nowhere */
	struct list clients;	  /* those who have waited longest first */
	unsigned client_count;
	ev_timer pause; /* no files left: accepting rests */
};

enum state {
	READS_HEAD,
	READS_BODY,
	SENDS,
	LINGERS /* all was said: what still comes is read, lest the answer be lost by a reset */
};

struct client {
	struct list link;
	struct httpd *httpd;
	int fd;
	enum state state;
	bool keep;
	struct addr addr;
	ev_io io;
	ev_timer deadline;
	struct buf in, out, body;
	struct http_head head;
	struct http1_body framing;
	struct httpd_request request; /* spans into the arrays below */
	char path[HTTPD_TARGET_MAX], query[HTTPD_TARGET_MAX];
	char authorization[HTTPD_AUTHORIZATION_MAX];
};

/* --- clients -----------------------------------------------------------------------------------
 */

static void rest(struct httpd *h, bool resting);

static void client_free(struct client *c)
{
	struct httpd *h = c->httpd;

	ev_io_stop(h->loop, &c->io);
	ev_timer_stop(h->loop, &c->deadline);
	list_remove(&c->link);
	h->client_count--;
	close(c->fd);
	buf_fini(&c->in);
	buf_fini(&c->out);
	buf_fini(&c->body);
	free(c);
}

static void watch(struct client *c, int events)
{
	if (ev_is_active(&c->io) && c->io.events == events)
		return;
	ev_io_stop(c->httpd->loop, &c->io);
	ev_io_set(&c->io, c->fd, events);
	ev_io_start(c->httpd->loop, &c->io);
}

static void set_deadline(struct client *c, double seconds)
{
	c->deadline.repeat = seconds;
	ev_timer_again(c->httpd->loop, &c->deadline);
}

/* --- answers -----------------------------------------------------------------------------------
 */

static void put_head(struct client *c, const struct httpd_answer *a, size_t bytes)
{
	char date[29];

	http_date(date, realtime_ns() / NS_PER_S);
	buf_printf(&c->out,
		"HTTP/1.1 %u %s\r\nDate: %.29s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n"
		"Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n%s%s%s%s%s\r\n",
		a->status, http_reason(a->status), date, a->type, bytes, a->allow ? "Allow: " : "",
		a->allow ? a->allow : "", a->allow ? "\r\n" : "",
		a->status == 401 ? "WWW-Authenticate: Bearer\r\n" : "",
		c->keep ? "" : "Connection: close\r\n");
}

static void say(struct client *c, struct httpd_answer *a)
{
	if (a->status >= 400 && a->body.len == 0)
		buf_printf(&a->body, "%u %s\n", a->status, http_reason(a->status));
	put_head(c, a, a->body.len);
	if (c->request.method != HTTP_HEAD && buf_append(&c->out, buf_span(&a->body)) < 0) {
		buf_fini(&c->out);
		c->keep = false;
		a->status = 500;
		put_head(c, a, 0);
	}
	c->state = SENDS;
	set_deadline(c, send_s);
}

static void refuse(struct client *c, uint16_t status, const char *why)
{
	struct httpd_answer a = {.status = status, .type = "text/plain; charset=utf-8"};

	buf_init(&a.body, 256);
	buf_printf(&a.body, "%u %s: %s\n", status, http_reason(status), why);
	c->keep = false;
	say(c, &a);
	buf_fini(&a.body);
}

static void answer(struct client *c)
{
	struct httpd_answer a = {.status = 404, .type = "text/plain; charset=utf-8"};

	buf_init(&a.body, HTTPD_ANSWER_MAX);
	c->request.body = buf_span(&c->body);
	c->httpd->o.on_request(c->httpd->o.ctx, &c->request, &a);
	say(c, &a);
	buf_fini(&a.body);
}

/* --- requests ----------------------------------------------------------------------------------
 */

static struct span keep_copy(struct span s, char *room, size_t size)
{
	if (s.len == 0 || s.len > size)
		return (struct span){0};
	memcpy(room, s.ptr, s.len);
	return span_make(room, s.len);
}

/* What lies in the input moves: what is needed of the head is copied. False: answered. */
static bool take_head(struct client *c)
{
	const struct http_field *f = http_field_find(&c->head, HTTP_F_AUTHORIZATION);
	struct span path, query;
	struct http_fault fault;
	char room[HTTPD_TARGET_MAX];

	c->keep = c->head.keep_alive;
	c->request = (struct httpd_request){.method = c->head.method, .client = c->addr};
	if (c->head.target.len > sizeof(room)) {
		refuse(c, 414, "the target is too long");
		return false;
	}
	if (c->head.method == HTTP_CONNECT ||
		http_path(c->head.target, HTTP_PATH_NORMALIZE, room, sizeof(room), &path, &query,
			&fault) != PARSE_DONE) {
		refuse(c, 400, "not a path");
		return false;
	}
	c->request.path = keep_copy(path, c->path, sizeof(c->path));
	c->request.query = keep_copy(query, c->query, sizeof(c->query));
	if (f)
		c->request.authorization =
			keep_copy(f->value, c->authorization, sizeof(c->authorization));
	http1_body_init(&c->framing, c->head.framing, c->head.length);
	buf_consume(&c->in, c->head.head_bytes);
	if (c->head.expect_continue)
		buf_append(&c->out, SPAN("HTTP/1.1 100 Continue\r\n\r\n"));
	return true;
}

/* True: something came of it. */
static bool read_head(struct client *c)
{
	static const struct http_limits limits = {.line_bytes = HEAD_MAX,
		.head_bytes = HEAD_MAX,
		.field_bytes = HEAD_MAX,
		.fields = HTTP_FIELDS_MAX};
	struct http_fault fault;

	switch (http1_parse_request(&c->head, buf_span(&c->in), &limits, &fault)) {
	case PARSE_MORE:
		return false;
	case PARSE_BAD:
		refuse(c, fault.status, fault.why);
		return true;
	case PARSE_DONE:
		break;
	}
	if (take_head(c))
		c->state = READS_BODY;
	return true;
}

static bool read_body(struct client *c)
{
	struct http_fault fault = {.status = 400, .why = "bad content"};
	enum parse_rc rc = PARSE_DONE;
	struct span data;
	size_t used = 1;

	if (c->head.framing == HTTP_NO_BODY) {
		answer(c);
		return true;
	}
	while (rc != PARSE_BAD && used > 0) {
		rc = http1_body_next(&c->framing, buf_span(&c->in), &used, &data, &fault);
		if (rc == PARSE_BAD) {
			refuse(c, fault.status, fault.why);
			return true;
		}
		if (data.len && buf_append(&c->body, data) < 0) {
			refuse(c, 413, "too much content");
			return true;
		}
		buf_consume(&c->in, used);
		if (rc == PARSE_DONE) {
			answer(c);
			return true;
		}
	}
	return false;
}

static void begin(struct client *c)
{
	http_head_init(&c->head);
	buf_fini(&c->body);
	c->state = READS_HEAD;
	list_remove(&c->link);
	list_append(&c->httpd->clients, &c->link);
	set_deadline(c, c->in.len ? request_s : idle_s);
}

/* What is there to send goes. False: the client is gone. */
static bool flush(struct client *c)
{
	while (c->out.len) {
		struct span s = buf_span(&c->out);
		ssize_t n = send(c->fd, s.ptr, s.len, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN) {
			watch(c, c->state == SENDS ? EV_WRITE : EV_READ | EV_WRITE);
			return true;
		}
		if (n <= 0) {
			client_free(c);
			return false;
		}
		buf_consume(&c->out, (size_t)n);
		set_deadline(c, c->state == SENDS ? send_s : request_s);
	}
	buf_fini(&c->out);
	watch(c, EV_READ);
	return true;
}

static void linger(struct client *c)
{
	shutdown(c->fd, SHUT_WR);
	c->state = LINGERS;
	buf_fini(&c->in);
	set_deadline(c, linger_s);
}

/* As far as it goes with what is in hand. */
static void go_on(struct client *c)
{
	for (;;) {
		bool went = c->state == READS_HEAD   ? read_head(c)
			    : c->state == READS_BODY ? read_body(c)
						     : false;

		if (c->out.len && !flush(c))
			return;
		if (c->state == SENDS && c->out.len)
			return;
		if (c->state == SENDS && !c->keep) {
			linger(c);
			return;
		}
		if (c->state == SENDS)
			begin(c);
		else if (!went)
			return;
	}
}

static void on_readable(struct client *c)
{
	char *room = buf_reserve(&c->in, READ_BYTES);
	ssize_t n;

	if (!room) { /* of a head that is too long the parser has said so before */
		client_free(c);
		return;
	}
	n = recv(c->fd, room, READ_BYTES, 0);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		client_free(c);
		return;
	}
	if (c->in.len == 0 && c->state == READS_HEAD)
		set_deadline(c, request_s);
	if (c->state == LINGERS)
		return;
	buf_grew(&c->in, (size_t)n);
	go_on(c);
}

static void on_io(struct ev_loop *loop, ev_io *w, int events)
{
	struct client *c = w->data;

	(void)loop;
	if (events & EV_WRITE) {
		if (flush(c) && c->out.len == 0)
			go_on(c);
	} else {
		on_readable(c);
	}
}

static void on_deadline(struct ev_loop *loop, ev_timer *w, int events)
{
	(void)loop;
	(void)events;
	client_free(w->data);
}

/* --- accepting ---------------------------------------------------------------------------------
 */

static bool is_allowed(const struct httpd_change *now, const struct addr *a)
{
	for (unsigned i = 0; i < now->allow_count; i++)
		if (cidr_contains(&now->allow[i], a))
			return true;
	return now->allow_count == 0;
}

/* Who has asked nothing for longest goes, whoever does not take an answer stays until its time is
 * over. */
static void make_room(struct httpd *h)
{
	list_each (it, &h->clients) {
		struct client *c = list_item(it, struct client, link);

		if (c->state == SENDS)
			continue;
		client_free(c);
		return;
	}
	client_free(list_item(h->clients.next, struct client, link));
}

static void welcome(struct httpd *h, int fd, const struct addr *from)
{
	static const int on = 1;
	struct client *c = calloc(1, sizeof(*c));

	if (!c) {
		close(fd);
		return;
	}
	if (h->client_count == HTTPD_CLIENTS_MAX)
		make_room(h);
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	c->httpd = h;
	c->fd = fd;
	c->addr = *from;
	buf_init(&c->in, IN_MAX);
	buf_init(&c->out, HTTPD_ANSWER_MAX + HEAD_MAX);
	buf_init(&c->body, HTTPD_BODY_MAX);
	ev_init(&c->io, on_io);
	ev_init(&c->deadline, on_deadline);
	c->io.data = c->deadline.data = c;
	list_init(&c->link);
	h->client_count++;
	begin(c);
	set_deadline(c, request_s);
	watch(c, EV_READ);
}

static void on_accept(struct ev_loop *loop, ev_io *w, int events)
{
	struct binding *b = w->data;
	struct httpd *h = b->httpd;
	struct addr from;
	socklen_t len = sizeof(from);
	int fd = accept4(b->fd, &from.sa, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);

	(void)loop;
	(void)events;
	if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)) {
		log_event(LOG_WARNING, "admin.paused", "cannot accept for now",
			F_TEXT("reason", strerror(errno)));
		rest(h, true);
		ev_timer_again(h->loop, &h->pause);
	}
	if (fd < 0)
		return;
	addr_unmap(&from);
	if (!is_allowed(h->now, &from)) {
		char text[ADDR_TEXT_MAX];

		addr_format_ip(&from, text);
		log_event(LOG_INFO, "admin.refused", "this client is not in 'allow'",
			F_TEXT("client", text));
		close(fd);
		return;
	}
	welcome(h, fd, &from);
}

static void rest(struct httpd *h, bool resting)
{
	for (unsigned i = 0; h->now && i < h->now->bind_count; i++) {
		struct binding *b = &h->now->binds[i];

		if (resting)
			ev_io_stop(h->loop, &b->io);
		else
			ev_io_start(h->loop, &b->io);
	}
}

static void on_pause_over(struct ev_loop *loop, ev_timer *w, int events)
{
	struct httpd *h = w->data;

	(void)events;
	ev_timer_stop(loop, w);
	rest(h, false);
}

/* --- where it listens --------------------------------------------------------------------------
 */

static struct binding *find(const struct httpd *h, const struct addr *a)
{
	for (unsigned i = 0; h->now && i < h->now->bind_count; i++)
		if (addr_eq(&h->now->binds[i].addr, a))
			return &h->now->binds[i];
	return NULL;
}

void httpd_drop(struct httpd_change *c)
{
	for (unsigned i = 0; c && i < c->bind_count; i++)
		if (c->binds[i].ours)
			close(c->binds[i].fd);
	if (c)
		free(c->allow);
	free(c);
}

struct httpd_change *httpd_prepare(struct httpd *h, const struct addr *binds, unsigned bind_count,
	const struct cidr *allow, unsigned allow_count, struct err *err)
{
	struct httpd_change *c = calloc(1, sizeof(*c) + bind_count * sizeof(c->binds[0]));

	if (c)
		c->allow = calloc(allow_count + 1, sizeof(*allow));
	if (!c || !c->allow) {
		free(c);
		err_set(err, "out of memory");
		return NULL;
	}
	if (allow_count)
		memcpy(c->allow, allow, allow_count * sizeof(*allow));
	c->allow_count = allow_count;
	for (unsigned i = 0; i < bind_count; i++) {
		struct binding *b = &c->binds[i], *old = find(h, &binds[i]);

		b->addr = binds[i];
		b->httpd = h;
		b->ours = !old;
		if (old)
			b->fd = old->fd;
		else if (h->o.open_socket(h->o.ctx, &binds[i], &b->fd, err) < 0) {
			httpd_drop(c);
			return NULL;
		}
		c->bind_count++;
	}
	return c;
}

void httpd_apply(struct httpd *h, struct httpd_change *c)
{
	struct httpd_change *old = h->now;

	rest(h, true);
	ev_timer_stop(h->loop, &h->pause);
	for (unsigned i = 0; i < c->bind_count; i++) {
		struct binding *b = &c->binds[i], *kept = b->ours ? NULL : find(h, &b->addr);

		if (kept)
			kept->ours = false;
		b->ours = true;
		ev_io_init(&b->io, on_accept, b->fd, EV_READ);
		b->io.data = b;
	}
	h->now = c;
	rest(h, false);
	httpd_drop(old);
}

struct httpd *httpd_new(struct ev_loop *loop, const struct httpd_options *o)
{
	struct httpd *h = calloc(1, sizeof(*h));

	if (!h)
		return NULL;
	h->loop = loop;
	h->o = *o;
	list_init(&h->clients);
	ev_init(&h->pause, on_pause_over);
	h->pause.repeat = pause_s;
	h->pause.data = h;
	return h;
}

void httpd_each_socket(
	const struct httpd *h, void *ctx, void (*each)(void *ctx, const struct addr *bind, int fd))
{
	for (unsigned i = 0; h->now && i < h->now->bind_count; i++)
		each(ctx, &h->now->binds[i].addr, h->now->binds[i].fd);
}

void httpd_stop(struct httpd *h)
{
	rest(h, true);
	ev_timer_stop(h->loop, &h->pause);
	httpd_drop(h->now);
	h->now = NULL;
}

void httpd_free(struct httpd *h)
{
	if (!h)
		return;
	while (!list_empty(&h->clients))
		client_free(list_item(h->clients.next, struct client, link));
	httpd_stop(h);
	free(h);
}
