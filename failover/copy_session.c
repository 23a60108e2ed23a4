#include "failover/copy_session.h"

#include <arpa/inet.h>
#include <endian.h>
#include <string.h>

#include "shared/assert.h"
#include "shared/units.h"

enum {
	HEAD_BYTES = 5,
	HELLO_BYTES = 28,
	KEY_BYTES = sizeof(struct client_key),
	KEYS_A_FRAME = 1024,
	READ_CHUNK = 16384,
	READS_A_TURN = 4,
	OUT_MAX = 4 * COPY_OUT_BUSY_BYTES,
};

/* --- bytes -------------------------------------------------------------------------------------
 */
static char *put_u64(char *at, uint64_t n)
{
	n = htobe64(n);
	memcpy(at, &n, sizeof(n));
	return at + sizeof(n);
}

static uint64_t get_u64(const char *at)
{
	uint64_t n;

	memcpy(&n, at, sizeof(n));
	return be64toh(n);
}

static char *put_key(char *at, const struct client_key *k)
{
	struct client_key wire = *k;

	wire.local_port = htons(k->local_port);
	wire.remote_port = htons(k->remote_port);
	memcpy(at, &wire, sizeof(wire));
	return at + sizeof(wire);
}

static struct client_key get_key(const char *at)
{
	struct client_key k;

	memcpy(&k, at, sizeof(k));
	k.local_port = ntohs(k.local_port);
	k.remote_port = ntohs(k.remote_port);
	return k;
}

/* Room for a frame with so much content; NULL: out of memory (the ceiling is above what is ever
 * put). Follow with frame_end. */
static char *frame_begin(struct copy_session *s, size_t content)
{
	char *at = buf_reserve(&s->out, HEAD_BYTES + content);

	return at ? at + HEAD_BYTES : NULL;
}

static void frame_end(struct copy_session *s, enum copy_frame type, size_t content)
{
	char *at = buf_reserve(&s->out, HEAD_BYTES + content);
	uint32_t length = htonl((uint32_t)(content + 1));

	ASSERT(at && content + 1 <= COPY_FRAME_MAX);
	memcpy(at, &length, sizeof(length));
	at[4] = (char)type;
	buf_grew(&s->out, HEAD_BYTES + content);
}

static int put_number(struct copy_session *s, enum copy_frame type, uint64_t n, struct err *err)
{
	char *at = frame_begin(s, sizeof(n));

	if (!at)
		return err_set(err, "out of memory");
	put_u64(at, n);
	frame_end(s, type, sizeof(n));
	return 0;
}

/* --- sending -----------------------------------------------------------------------------------
 */
static int put_hello(struct copy_session *s, struct err *err)
{
	const struct copy_pair *p = s->pair;
	uint16_t version = htons(COPY_VERSION);
	char *at = frame_begin(s, HELLO_BYTES);

	if (!at)
		return err_set(err, "out of memory");
	memcpy(at, &version, sizeof(version));
	at[2] = (char)p->node;
	at[3] = (char)p->peer;
	at = put_u64(at + 4, p->stream);
	at = put_u64(at, p->have_stream);
	put_u64(at, p->have_change);
	frame_end(s, COPY_HELLO, HELLO_BYTES);
	return 0;
}

static int put_changes(struct copy_session *s, struct err *err)
{
	const struct journal *j = &s->pair->journal;
	uint64_t left = j->last - s->sent;
	unsigned count = left < KEYS_A_FRAME ? (unsigned)left : KEYS_A_FRAME;
	size_t content = sizeof(uint64_t) + (size_t)count * (1 + KEY_BYTES);
	char *at = frame_begin(s, content);

	if (!at)
		return err_set(err, "out of memory");
	at = put_u64(at, s->sent + count);
	for (unsigned i = 0; i < count; i++) {
		const struct journal_entry *e = journal_get(j, ++s->sent);

		*at++ = e->there;
		at = put_key(at, &e->key);
	}
	frame_end(s, COPY_CHANGES, content);
	return 0;
}

static int put_list_begin(struct copy_session *s, struct err *err)
{
	s->listing = true;
	s->shard = 0;
	s->sent = s->pair->journal.last;
	if (!frame_begin(s, 0))
		return err_set(err, "out of memory");
	frame_end(s, COPY_LIST_BEGIN, 0);
	return 0;
}

/* A shard at once: what happens to it later comes later. */
static int put_shard(struct copy_session *s, struct err *err)
{
	struct clients_cursor at = {.shard = s->shard};
	const struct client_key *k;
	unsigned count = 0;
	char *to = NULL;

	while (clients_next(s->pair->own, &at, &k) && at.shard == s->shard) {
		if (!to)
			to = frame_begin(s, (size_t)KEYS_A_FRAME * KEY_BYTES);
		if (!to)
			return err_set(err, "out of memory");
		to = put_key(to, k);
		if (++count < KEYS_A_FRAME)
			continue;
		frame_end(s, COPY_LIST, (size_t)count * KEY_BYTES);
		to = NULL;
		count = 0;
	}
	if (count)
		frame_end(s, COPY_LIST, (size_t)count * KEY_BYTES);
	if (++s->shard < CLIENTS_SHARDS)
		return 0;
	s->listing = false;
	return put_number(s, COPY_LIST_END, s->sent, err);
}

static int put_state(struct copy_session *s, struct err *err)
{
	unsigned index = (unsigned)__builtin_ctz(s->states_due);
	const struct state *state = &s->pair->states->list[index];
	char *at = frame_begin(s, STATES_TEXT_MAX);
	size_t len;

	if (!at)
		return err_set(err, "out of memory");
	len = json_dumpb(state->json, at, STATES_TEXT_MAX, JSON_COMPACT);
	if (len == 0 || len > STATES_TEXT_MAX)
		return err_set(err, "out of memory");
	s->states_due &= ~(UINT32_C(1) << index);
	frame_end(s, COPY_STATE, len);
	return 0;
}

/* The next thing that there is to say. 1: nothing; -1 with err. */
static int put_next(struct copy_session *s, struct err *err)
{
	const struct journal *j = &s->pair->journal;

	if (s->ack_due) {
		s->ack_due = false;
		return put_number(s, COPY_ACK, s->taken, err);
	}
	if (s->states_due)
		return put_state(s, err);
	if (!journal_reaches(
		    j, s->sent)) /* too slow for its changes: what they led to is shorter */
		return put_list_begin(s, err);
	if (s->sent < j->last)
		return put_changes(s, err);
	if (s->listing && !s->pair->own_unknown)
		return put_shard(s, err);
	return 1;
}

static int flush(struct copy_session *s, struct err *err)
{
	while (s->out.len > 0) {
		size_t sent;

		switch (secure_write(s->tls, buf_span(&s->out), &sent, err)) {
		case SECURE_OK:
			buf_consume(&s->out, sent);
			break;
		case SECURE_AGAIN:
			if (secure_wants_write(s->tls))
				ev_io_start(s->loop, &s->writable);
			return 0;
		case SECURE_ENDED:
		case SECURE_BROKEN:
			return -1;
		}
	}
	ev_io_stop(s->loop, &s->writable);
	return 0;
}

/* Gathers and sends, at most so much in one turn of the loop. */
static int pump(struct copy_session *s, struct err *err)
{
	int rc = 0;

	while (rc == 0 && s->state == COPY_READY && s->out.len < COPY_OUT_BUSY_BYTES)
		rc = put_next(s, err);
	if (rc < 0 || flush(s, err) != 0)
		return -1;
	if (rc == 0 && s->state == COPY_READY) /* there is more: the next turn */
		ev_io_start(s->loop, &s->writable);
	return 0;
}

/* --- receiving ---------------------------------------------------------------------------------
 */
static int take_hello(struct copy_session *s, struct span body, struct err *err)
{
	struct copy_pair *p = s->pair;
	uint16_t version = 0;

	if (s->state != COPY_GREETING || body.len < HELLO_BYTES)
		return err_set(err, "the peer sent nonsense: HELLO");
	memcpy(&version, body.ptr, sizeof(version));
	version = ntohs(version);
	if (version != COPY_VERSION)
		return err_set(err, "the peer speaks version %u of the state copy, this node %u",
			version, COPY_VERSION);
	if ((uint8_t)body.ptr[2] != p->peer || (uint8_t)body.ptr[3] != p->node)
		return err_set(err, "the peer says to be node %u, and this one node %u",
			(uint8_t)body.ptr[2], (uint8_t)body.ptr[3]);
	s->stream = get_u64(body.ptr + 4);
	s->taken = s->stream == p->have_stream ? p->have_change : 0;
	s->states_due =
		p->states->count == STATES_MAX ? UINT32_MAX : (UINT32_C(1) << p->states->count) - 1;
	s->state = COPY_READY;
	s->sent = s->acked = get_u64(body.ptr + 20);
	s->on_ready(s->ctx, s);
	if (get_u64(body.ptr + 12) == p->stream && journal_reaches(&p->journal, s->sent))
		return 0;
	s->acked = 0;
	return put_list_begin(s, err);
}

/* What we have of the peer is whole up to the change `taken`. */
static void note_taken(struct copy_session *s, uint64_t taken)
{
	s->taken = taken;
	s->ack_due = true;
	if (s->being_listed)
		return;
	s->pair->have_stream = s->stream;
	s->pair->have_change = taken;
}

static int take_changes(struct copy_session *s, struct span body, struct err *err)
{
	if (body.len < sizeof(uint64_t) || (body.len - sizeof(uint64_t)) % (1 + KEY_BYTES))
		return err_set(err, "the peer sent nonsense: CHANGES");
	for (size_t at = sizeof(uint64_t); at < body.len; at += 1 + KEY_BYTES) {
		struct client_key k = get_key(body.ptr + at + 1);

		if (!body.ptr[at])
			clients_remove(s->pair->theirs, 0, &k);
		else
			(void)clients_add(s->pair->theirs, 0, &k); /* it counts what it refuses */
	}
	note_taken(s, get_u64(body.ptr));
	return 0;
}

static int take_list(struct copy_session *s, struct span body, struct err *err)
{
	if (!s->being_listed || body.len % KEY_BYTES)
		return err_set(err, "the peer sent nonsense: LIST");
	for (size_t at = 0; at < body.len; at += KEY_BYTES) {
		struct client_key k = get_key(body.ptr + at);

		(void)clients_add(s->pair->theirs, 0, &k);
	}
	return 0;
}

static int take_list_end(struct copy_session *s, struct span body, struct err *err)
{
	if (!s->being_listed || body.len != sizeof(uint64_t))
		return err_set(err, "the peer sent nonsense: LIST_END");
	s->being_listed = false;
	clients_end(s->pair->theirs, 0);
	note_taken(s, get_u64(body.ptr));
	return 0;
}

static int take_state(struct copy_session *s, struct span body, struct err *err)
{
	json_t *json = json_loadb(body.ptr, body.len, 0, NULL);
	enum states_rc rc = STATES_REFUSED;
	unsigned index;

	if (json)
		rc = states_put(s->pair->states, json, &index, err);
	else
		err_set(err, "no JSON");
	json_decref(json);
	if (rc == STATES_REFUSED)
		return err_prefix(err, "the peer sent nonsense: STATE");
	if (rc == STATES_NEWER) {
		s->states_due &= ~(UINT32_C(1) << index);
		s->pair->on_state(s->pair->ctx, index);
	}
	return 0;
}

static int take_frame(struct copy_session *s, unsigned type, struct span body, struct err *err)
{
	if (s->state != COPY_READY && type != COPY_HELLO)
		return err_set(err, "the peer sent nonsense: no HELLO");
	switch (type) {
	case COPY_HELLO:
		return take_hello(s, body, err);
	case COPY_CHANGES:
		return take_changes(s, body, err);
	case COPY_LIST_BEGIN:
		s->being_listed = true;
		s->pair->have_stream = s->pair->have_change = 0;
		clients_begin(s->pair->theirs, 0);
		return 0;
	case COPY_LIST:
		return take_list(s, body, err);
	case COPY_LIST_END:
		return take_list_end(s, body, err);
	case COPY_STATE:
		return take_state(s, body, err);
	case COPY_ACK:
		if (body.len != sizeof(uint64_t) || get_u64(body.ptr) > s->pair->journal.last)
			return err_set(err, "the peer sent nonsense: ACK");
		s->acked = get_u64(body.ptr);
		return 0;
	default: /* of a newer peer of the same version */
		return 0;
	}
}

static int take_frames(struct copy_session *s, struct err *err)
{
	while (s->in.len >= HEAD_BYTES) {
		struct span in = buf_span(&s->in);
		uint32_t length;

		memcpy(&length, in.ptr, sizeof(length));
		length = ntohl(length);
		if (length < 1 || length > COPY_FRAME_MAX)
			return err_set(err, "the peer sent nonsense: a length of %u", length);
		if (in.len < sizeof(length) + length)
			return 0;
		if (take_frame(s, (uint8_t)in.ptr[4], span_make(in.ptr + HEAD_BYTES, length - 1),
			    err) != 0)
			return -1;
		buf_consume(&s->in, sizeof(length) + length);
	}
	return 0;
}

static int receive(struct copy_session *s, struct err *err)
{
	for (unsigned i = 0; i < READS_A_TURN; i++) {
		char *to = buf_reserve(&s->in, READ_CHUNK);
		size_t len;

		if (!to)
			return err_set(err, "out of memory");
		switch (secure_read(s->tls, to, READ_CHUNK, &len, err)) {
		case SECURE_OK:
			break;
		case SECURE_AGAIN:
			if (secure_wants_write(s->tls))
				ev_io_start(s->loop, &s->writable);
			return 0;
		case SECURE_ENDED:
		case SECURE_BROKEN:
			return -1;
		}
		s->heard_ns = monotonic_ns();
		buf_grew(&s->in, len);
		if (take_frames(s, err) != 0)
			return -1;
	}
	if (secure_has_more(s->tls)) /* the fd may have nothing more to say */
		ev_feed_event(s->loop, &s->readable, EV_READ);
	return 0;
}

/* --- events ------------------------------------------------------------------------------------
 */
static void stop_watchers(struct copy_session *s)
{
	ev_io_stop(s->loop, &s->readable);
	ev_io_stop(s->loop, &s->writable);
	ev_timer_stop(s->loop, &s->beat);
	ev_clear_pending(s->loop, &s->readable);
}

static void end(struct copy_session *s, const struct err *why)
{
	if (s->state == COPY_OVER)
		return;
	s->state = COPY_OVER;
	stop_watchers(s);
	s->on_end(s->ctx, s, why);
}

static int shake(struct copy_session *s, struct err *err)
{
	switch (secure_handshake(s->tls, err)) {
	case SECURE_OK:
		s->state = COPY_GREETING;
		s->heard_ns = monotonic_ns();
		return put_hello(s, err);
	case SECURE_AGAIN:
		if (secure_wants_write(s->tls))
			ev_io_start(s->loop, &s->writable);
		else
			ev_io_stop(s->loop, &s->writable);
		return 0;
	case SECURE_ENDED:
	case SECURE_BROKEN:
		break;
	}
	return -1;
}

static void run(struct copy_session *s)
{
	struct err err;

	if (s->state == COPY_SHAKING && shake(s, &err) != 0) {
		end(s, &err);
		return;
	}
	if (s->state == COPY_SHAKING)
		return;
	if (receive(s, &err) != 0 || (s->state != COPY_OVER && pump(s, &err) != 0))
		end(s, &err);
}

static void on_readable(EV_P_ ev_io *w, int revents)
{
	(void)loop, (void)revents;
	run(container_of(w, struct copy_session, readable));
}

static void on_writable(EV_P_ ev_io *w, int revents)
{
	(void)loop, (void)revents;
	run(container_of(w, struct copy_session, writable));
}

static void on_beat(EV_P_ ev_timer *w, int revents)
{
	struct copy_session *s = container_of(w, struct copy_session, beat);
	struct err err;

	(void)loop, (void)revents;
	if (monotonic_ns() - s->heard_ns > COPY_SILENCE_NS) {
		err_set(&err, "the peer is silent");
		end(s, &err);
		return;
	}
	s->ack_due = true;
	copy_session_pump(s);
}

void copy_session_pump(struct copy_session *s)
{
	struct err err;

	if (s->state == COPY_READY && pump(s, &err) != 0)
		end(s, &err);
}

void copy_session_start(struct copy_session *s, struct ev_loop *loop, struct secure *tls)
{
	list_init(&s->link);
	s->loop = loop;
	s->tls = tls;
	s->state = COPY_SHAKING;
	s->heard_ns = monotonic_ns();
	buf_init(&s->in, COPY_FRAME_MAX + HEAD_BYTES + READ_CHUNK);
	buf_init(&s->out, OUT_MAX);
	ev_io_init(&s->readable, on_readable, secure_fd(tls), EV_READ);
	ev_io_init(&s->writable, on_writable, secure_fd(tls), EV_WRITE);
	ev_timer_init(&s->beat, on_beat, COPY_BEAT_S, COPY_BEAT_S);
	ev_io_start(loop, &s->readable);
	ev_io_start(loop, &s->writable); /* a client speaks first */
	ev_timer_start(loop, &s->beat);
}

void copy_session_stop(struct copy_session *s)
{
	s->state = COPY_OVER;
	stop_watchers(s);
}

void copy_session_fini(struct copy_session *s)
{
	stop_watchers(s);
	buf_fini(&s->in);
	buf_fini(&s->out);
	secure_free(s->tls);
}
