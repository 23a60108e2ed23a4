#include "proxy/observe/access_log.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "proxy/exchange/exchange.h"
#include "proxy/tls/server.h"
#include "proxy/worker.h"
#include "shared/log.h"

#define BUFFER_BYTES (64 * 1024)
#define FIELD_BYTES 2048 /* of one field of the request, escaped, at most */
#define LINE_BYTES                                                                    \
	(12 * FIELD_BYTES) /* room kept for one line: fields and what is between them \
			    */
#define FLUSH_S 0.1

struct access_log {
	struct worker *worker;
	ev_timer timer;
	char *file; /* "stderr" or a path */
	int fd;
	bool stream; /* fd is no regular file: a pipe, a socket or a terminal, whose reader may
			stand still */
	bool losing; /* it does, and the buffer is full */
	enum access_format format;
	uint64_t lost_lines;
	uint64_t stamp_ms; /* of the text below */
	char stamp[32];
	size_t used;
	char data[BUFFER_BYTES];
};

static int open_file(const char *file)
{
	if (strcmp(file, "stderr") == 0)
		return dup(STDERR_FILENO);
	return open(file, O_WRONLY | O_APPEND | O_CREAT | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0640);
}

int access_log_check(const char *file, struct err *err)
{
	int fd = open_file(file);

	if (fd < 0)
		return err_set_errno(err, "cannot write the access log %s", file);
	close(fd);
	return 0;
}

static void on_flush_due(struct ev_loop *loop, ev_timer *t, int events)
{
	(void)loop;
	(void)events;
	access_log_flush(t->data);
}

static struct access_log *access_log_new(struct worker *w, const char *file)
{
	struct access_log *l = calloc(1, sizeof(*l));

	if (!l || !(l->file = strdup(file))) {
		free(l);
		return NULL;
	}
	l->worker = w;
	l->fd = -1;
	ev_timer_init(&l->timer, on_flush_due, FLUSH_S, 0);
	l->timer.data = l;
	return l;
}

void access_log_apply(struct worker *w, struct access_log **log, const struct settings *s)
{
	struct access_log *l = *log;

	if (l && (!s->access_log || strcmp(l->file, s->access_log) != 0)) {
		access_log_flush(l);
		access_log_free(l);
		l = NULL;
	}
	if (!l && s->access_log) {
		l = access_log_new(w, s->access_log);
		if (!l)
			log_event(LOG_ERROR, "access_log.off",
				"out of memory: this worker writes no access log",
				F_INT("worker", w->index));
	}
	*log = l;
	if (l) {
		l->format = s->access_format;
		access_log_reopen(l);
	}
}

void access_log_reopen(struct access_log *l)
{
	struct stat st;
	int fd;

	access_log_flush(l);
	fd = open_file(l->file);
	if (fd < 0) {
		log_event(LOG_ERROR, "access_log.failed",
			"cannot open; going on with the file that was open",
			F_TEXT("file", l->file), F_TEXT("reason", strerror(errno)));
		return;
	}
	if (l->fd >= 0)
		close(l->fd);
	l->fd = fd;
	l->stream = fstat(fd, &st) == 0 && !S_ISREG(st.st_mode);
}

void access_log_free(struct access_log *l)
{
	if (!l)
		return;
	ev_timer_stop(l->worker->loop, &l->timer);
	if (l->fd >= 0)
		close(l->fd);
	free(l->file);
	free(l);
}

static void tell_lost(const struct access_log *l, const char *sentence, const char *reason)
{
	log_event(LOG_ERROR, "access_log.lost", sentence, F_TEXT("file", l->file),
		F_TEXT("reason", reason), F_INT("lost_total", l->lost_lines));
}

/* How much is written at once: all of it; or whole lines, and no more than a pipe takes in one
 * piece, between which other workers may write theirs. */
static size_t piece(const struct access_log *l, size_t at)
{
	const char *from = l->data + at, *end;
	size_t len = l->used - at;

	if (!l->stream || len <= PIPE_BUF)
		return len;
	end = memrchr(from, '\n', PIPE_BUF);
	return end ? (size_t)(end - from) + 1 : PIPE_BUF;
}

/* A stream may be shared with others, hence blocking: what is writable takes a piece. */
static bool takes(const struct access_log *l)
{
	struct pollfd to = {.fd = l->fd, .events = POLLOUT};

	return !l->stream || poll(&to, 1, 0) != 0;
}

static void write_again_soon(struct access_log *l)
{
	if (ev_is_active(&l->timer))
		return;
	ev_timer_set(&l->timer, FLUSH_S, 0);
	ev_timer_start(l->worker->loop, &l->timer);
}

void access_log_flush(struct access_log *l)
{
	size_t at = 0;

	ev_timer_stop(l->worker->loop, &l->timer);
	while (at < l->used && takes(l)) {
		ssize_t n = write(l->fd, l->data + at, piece(l, at));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			break;
		if (n <= 0) {
			while (at < l->used)
				l->lost_lines += l->data[at++] == '\n';
			tell_lost(l, "cannot write; lines are lost", strerror(errno));
			break;
		}
		at += (size_t)n;
	}
	l->used -= at;
	memmove(l->data, l->data + at, l->used);
	if (l->used)
		write_again_soon(l);
	if (l->losing && l->used <= BUFFER_BYTES - LINE_BYTES) {
		l->losing = false;
		tell_lost(l, "lines were lost", "who reads it stood still");
	}
}

static bool has_room(struct access_log *l)
{
	if (l->used <= BUFFER_BYTES - LINE_BYTES)
		return true;
	l->lost_lines++;
	if (!l->losing)
		tell_lost(l, "lines are lost", "who reads it stands still");
	l->losing = true;
	return false;
}

/* --- formatting: every put_* has room, since a line's parts are bounded
 * --------------------------------- */

static void put(struct access_log *l, struct span s)
{
	memcpy(l->data + l->used, s.ptr, s.len);
	l->used += s.len;
}

#define PUT(l, literal) put(l, SPAN(literal))

static void put_u64(struct access_log *l, uint64_t v)
{
	char digits[20];
	unsigned n = 0;

	do
		digits[n++] = (char)('0' + v % 10);
	while (v /= 10);
	while (n)
		l->data[l->used++] = digits[--n];
}

/* Milliseconds with three decimals. */
static void put_ms(struct access_log *l, uint64_t ns)
{
	uint64_t us = ns / NS_PER_US;

	put_u64(l, us / 1000);
	l->data[l->used++] = '.';
	l->data[l->used++] = (char)('0' + us / 100 % 10);
	l->data[l->used++] = (char)('0' + us / 10 % 10);
	l->data[l->used++] = (char)('0' + us % 10);
}

/* A request's bytes inside quotes. What is not printable ASCII, and quotes, are escaped: as \u00XX
 * (JSON) or \xXX. */
static void put_quoted(struct access_log *l, struct span s)
{
	static const char hex[] = "0123456789abcdef";
	size_t limit = l->used + FIELD_BYTES - 6;

	for (size_t i = 0; i < s.len && l->used < limit; i++) {
		unsigned char c = (unsigned char)s.ptr[i];

		if (c >= 0x20 && c < 0x7f && c != '"' && c != '\\') {
			l->data[l->used++] = (char)c;
			continue;
		}
		if (l->format == ACCESS_JSON)
			PUT(l, "\\u00");
		else
			PUT(l, "\\x");
		l->data[l->used++] = hex[c >> 4];
		l->data[l->used++] = hex[c & 15];
	}
}

static struct span field_value(const struct exchange *x, enum http_field_id id)
{
	const struct http_field *f = http_field_find(&x->request, id);

	return f ? f->value : (struct span){0};
}

static uint64_t between(uint64_t from, uint64_t to)
{
	return from && to > from ? to - from : 0;
}

static void put_pair(struct access_log *l, struct span name, struct span value)
{
	PUT(l, ",\"");
	put(l, name);
	PUT(l, "\":\"");
	put_quoted(l, value);
	PUT(l, "\"");
}

static void put_times(struct access_log *l, const struct exchange *x)
{
	PUT(l, ",\"total_ms\":");
	put_ms(l, between(x->started_ns, x->worker->now_ns));
	if (x->head_ns > x->started_ns) {
		PUT(l, ",\"head_ms\":");
		put_ms(l, x->head_ns - x->started_ns);
	}
	if (x->queued_ns) {
		PUT(l, ",\"queue_ms\":");
		put_ms(l, x->queued_ns);
	}
	if (!x->connected_ns)
		return;
	PUT(l, ",\"connect_ms\":");
	put_ms(l, between(x->chosen_ns, x->connected_ns));
	if (x->first_byte_ns) {
		PUT(l, ",\"first_byte_ms\":");
		put_ms(l, between(x->connected_ns, x->first_byte_ns));
	}
}

static void put_server(struct access_log *l, const struct exchange *x)
{
	if (!x->pool)
		return;
	put_pair(l, SPAN("pool"), x->pool->name);
	if (x->tried_count)
		put_pair(l, SPAN("server"), span_of(x->tried[x->tried_count - 1]->name));
}

static struct span protocol_of(const struct exchange *x)
{
	if (x->request.h2)
		return SPAN("HTTP/2.0");
	return x->request.minor ? SPAN("HTTP/1.1") : SPAN("HTTP/1.0");
}

static void put_request(struct access_log *l, const struct exchange *x)
{
	if (x->request.method_text.len) /* else its line was not understood */
		put_pair(l, SPAN("protocol"), protocol_of(x));
	put_pair(l, SPAN("method"), x->request.method_text);
	put_pair(l, SPAN("host"), x->request.authority);
	put_pair(l, SPAN("target"), x->request.target);
	PUT(l, ",\"status\":");
	put_u64(l, x->status);
}

static void put_agent(struct access_log *l, const struct exchange *x)
{
	put_pair(l, SPAN("user_agent"), field_value(x, HTTP_F_USER_AGENT));
	put_pair(l, SPAN("referer"), field_value(x, HTTP_F_REFERER));
}

static void format_json(struct access_log *l, const struct exchange *x)
{
	PUT(l, "{\"ts\":\"");
	put(l, span_of(l->stamp));
	PUT(l, "\"");
	put_pair(l, SPAN("listener"), x->listener->name);
	put_pair(l, SPAN("client"), x->client_ip);
	if (!x->plain)
		put_request(l, x);
	else if (x->request.authority.len)
		put_pair(l, SPAN("host"), x->request.authority);
	if (x->client->ssl) {
		put_pair(l, SPAN("tls"), span_of(tls_version_of(x->client->ssl)));
		put_pair(l, SPAN("cipher"), span_of(tls_cipher_of(x->client->ssl)));
	}
	PUT(l, ",\"bytes_in\":");
	put_u64(l, x->bytes_in);
	PUT(l, ",\"bytes_out\":");
	put_u64(l, x->bytes_out);
	put_server(l, x);
	put_times(l, x);
	PUT(l, ",\"retries\":");
	put_u64(l, x->retries);
	put_pair(l, SPAN("end"), span_of(exchange_end_text((enum exchange_end)x->end)));
	if (x->has_request_id)
		put_pair(l, SPAN("request_id"), exchange_request_id(x));
	if (!x->plain)
		put_agent(l, x);
	PUT(l, "}\n");
}

static void put_or_dash(struct access_log *l, struct span s)
{
	if (s.len)
		put_quoted(l, s);
	else
		PUT(l, "-");
}

static void put_request_line(struct access_log *l, const struct exchange *x)
{
	put_or_dash(l, x->request.method_text);
	PUT(l, " ");
	put_or_dash(l, x->request.target);
	PUT(l, " ");
	put(l, protocol_of(x));
}

/* The place of a request in programs that read these lines: where it went. */
static void put_plain_line(struct access_log *l, const struct exchange *x)
{
	PUT(l, "TCP ");
	put_or_dash(l, x->pool ? x->pool->name : (struct span){0});
	PUT(l, "/");
	put_or_dash(
		l, x->tried_count ? span_of(x->tried[x->tried_count - 1]->name) : (struct span){0});
}

static void format_combined(struct access_log *l, const struct exchange *x)
{
	put(l, x->client_ip);
	if (!x->client_ip.len)
		PUT(l, "-");
	PUT(l, " - - [");
	put(l, span_of(l->stamp));
	PUT(l, "] \"");
	if (x->plain)
		put_plain_line(l, x);
	else
		put_request_line(l, x);
	PUT(l, "\" ");
	put_u64(l, x->status);
	PUT(l, " ");
	put_u64(l, x->bytes_out);
	PUT(l, " \"");
	put_or_dash(l, field_value(x, HTTP_F_REFERER));
	PUT(l, "\" \"");
	put_or_dash(l, field_value(x, HTTP_F_USER_AGENT));
	PUT(l, "\"\n");
}

/* The time stamp's text, made anew only when it changes. */
static void stamp(struct access_log *l)
{
	uint64_t ms = worker_wall_ns(l->worker) / NS_PER_MS;

	if (l->format == ACCESS_COMBINED)
		ms -= ms % 1000;
	if (ms == l->stamp_ms)
		return;
	l->stamp_ms = ms;
	if (l->format == ACCESS_JSON) {
		time_format(ms * NS_PER_MS, l->stamp);
	} else {
		time_t t = (time_t)(ms / 1000);
		struct tm tm;

		gmtime_r(&t, &tm);
		strftime(l->stamp, sizeof(l->stamp), "%d/%b/%Y:%H:%M:%S +0000", &tm);
	}
}

void access_log_exchange(struct access_log *l, const struct exchange *x)
{
	if (l->fd < 0 || !has_room(l))
		return;
	stamp(l);
	if (l->format == ACCESS_JSON)
		format_json(l, x);
	else
		format_combined(l, x);
	ASSERT(l->used <= BUFFER_BYTES);
	if (l->used > BUFFER_BYTES - LINE_BYTES)
		access_log_flush(l);
	else
		write_again_soon(l);
}
