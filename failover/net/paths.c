#include "failover/net/paths.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "shared/assert.h"
#include "shared/log.h"
#include "shared/units.h"

#define BATCH 16
#define BATCHES_MAX 32 /* a turn: a flood must not keep the loop for ever */
#define RECEIVE_BUFFER_BYTES (512 * 1024)
#define DIRECT_TTL 255
#define ON_LINK_ASK_NS NS_PER_S

struct path {
	struct paths *owner;
	unsigned index;
	int fd;
	ev_io readable;
	struct path_state state;
	bool on_link; /* as of on_link_ns */
	uint64_t on_link_ns;
	uint32_t told; /* bit d: of enum path_drop d, since the peer was heard last */
};

/* Room to receive a batch into. */
struct batch {
	struct mmsghdr msgs[BATCH];
	struct iovec iovs[BATCH];
	struct addr from[BATCH];
	/* One byte more than a packet may have, so that a longer one is not taken for a good one.
	 */
	uint8_t data[BATCH][PACKET_MAX_BYTES + 1];
	_Alignas(struct cmsghdr) char control[BATCH][64];
};

struct paths {
	struct ev_loop *loop;
	struct paths_handlers handlers;
	struct replay replay;
	uint8_t peer;
	uint64_t silence_ns;
	unsigned key_count;
	struct path_key keys[PATHS_KEYS_MAX];
	unsigned count;
	struct path paths[PATHS_MAX];
	struct batch batch;
};

const char *path_drop_name(enum path_drop d)
{
	static const char *const names[] = {
#define X(name, text, words) text,
		PATH_DROPS(X)
#undef X
	};

	ASSERT(d < PATH_DROP_COUNT);
	return names[d];
}

/* --- keys --------------------------------------------------------------------------------------
 */
static struct span addr_bytes(const struct addr *a)
{
	if (a->sa.sa_family == AF_INET)
		return span_make(&a->in.sin_addr, sizeof(a->in.sin_addr));
	return span_make(&a->in6.sin6_addr, sizeof(a->in6.sin6_addr));
}

/* The addresses are part of it, so that a recording of one path or direction is no good on another.
 */
static void sign(const struct path_key *key, struct span datagram, const struct addr *from,
	const struct addr *to, uint8_t ret_mac[PACKET_MAC_BYTES])
{
	struct span parts[] = {span_make(datagram.ptr, datagram.len - PACKET_MAC_BYTES),
		addr_bytes(from), addr_bytes(to)};

	mac_sign(key->mac, parts, countof(parts), ret_mac);
}

/* The id comes from the secret itself, so that nobody has to number keys. */
static int key_init(struct path_key *key, struct span secret, struct err *err)
{
	struct span label = SPAN("tandem key id");
	uint8_t out[PACKET_MAC_BYTES];

	ASSERT(secret.len >= 16);
	key->mac = mac_key_new(secret);
	if (!key->mac)
		return err_set(err, "cannot make the pair's key ready");
	mac_sign(key->mac, &label, 1, out);
	key->id = (uint32_t)out[0] << 24 | (uint32_t)out[1] << 16 | (uint32_t)out[2] << 8 | out[3];
	return 0;
}

static const struct path_key *find_key(const struct paths *p, uint32_t id)
{
	for (unsigned i = 0; i < p->key_count; i++)
		if (p->keys[i].id == id)
			return &p->keys[i];
	return NULL;
}

/* --- receiving ---------------------------------------------------------------------------------
 */
static int ttl_of(struct msghdr *msg)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		int ttl;

		if (!(c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_TTL) &&
			!(c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_HOPLIMIT))
			continue;
		memcpy(&ttl, CMSG_DATA(c), sizeof(ttl));
		return ttl;
	}
	return -1;
}

/* Only asked when a packet of the peer came with less than the full TTL; the answer is kept for a
 * while. */
static bool was_routed(struct path *path, int ttl, uint64_t now_ns)
{
	struct paths *p = path->owner;

	if (ttl == DIRECT_TTL)
		return false;
	if (path->on_link_ns == 0 || now_ns - path->on_link_ns > ON_LINK_ASK_NS) {
		path->on_link = p->handlers.is_on_link(p->handlers.ctx, &path->state.config.peer);
		path->on_link_ns = now_ns;
	}
	return path->on_link;
}

static void heard(struct path *path, const struct packet *packet, const struct replay_news *news,
	uint64_t now_ns)
{
	struct path_state *s = &path->state;
	struct paths *p = path->owner;

	s->received++;
	s->last_heard_ns = now_ns;
	path->told = 0;
	s->lost += news->lost;
	if (news->rtt_ns != REPLAY_AGE_UNKNOWN) {
		uint64_t rtt_us = news->rtt_ns / NS_PER_US;

		s->rtt_us = s->rtt_us ? (7 * s->rtt_us + rtt_us) / 8 : rtt_us;
	}
	p->handlers.on_packet(p->handlers.ctx, path->index, packet, news->age_ns);
}

static void dropped(struct path *path, enum path_drop why)
{
	static const char *const words[] = {
#define X(name, text, words) words,
		PATH_DROPS(X)
#undef X
	};
	uint32_t bit = UINT32_C(1) << why;

	path->state.dropped[why]++;
	if (!words[why] || path->told & bit)
		return;
	path->told |= bit;
	log_event(LOG_WARNING, "path.dropped", words[why], F_TEXT("path", path->state.config.name),
		F_TEXT("cause", path_drop_name(why)));
}

/* Returns why it is dropped, or PATH_DROP_COUNT when it was handed on. */
static enum path_drop receive(
	struct path *path, struct span datagram, const struct addr *from, int ttl)
{
	struct paths *p = path->owner;
	const struct path_key *key;
	uint64_t now_ns = monotonic_ns();
	uint8_t mac[PACKET_MAC_BYTES];
	struct packet packet;
	struct replay_news news;

	if (!addr_eq(from, &path->state.config.peer))
		return PATH_DROP_SOURCE;
	if (datagram.len < PACKET_MIN_BYTES || datagram.len > PACKET_MAX_BYTES)
		return PATH_DROP_SHAPE;
	key = find_key(p, packet_key_id(datagram));
	if (!key)
		return PATH_DROP_KEY;
	sign(key, datagram, from, &path->state.config.own, mac);
	if (!mac_equal(mac, (const uint8_t *)datagram.ptr + datagram.len - PACKET_MAC_BYTES))
		return PATH_DROP_MAC;
	if (packet_decode(datagram, &packet) != PACKET_OK)
		return PATH_DROP_SHAPE;
	if (was_routed(path, ttl, now_ns))
		return PATH_DROP_TTL;
	if (packet.node != p->peer || packet.path != path->index)
		return PATH_DROP_NODE;
	if (!replay_counts(replay_check(&p->replay, path->index, &packet, now_ns, &news)))
		return PATH_DROP_REPLAY;
	heard(path, &packet, &news, now_ns);
	return PATH_DROP_COUNT;
}

static int receive_batch(struct path *path)
{
	struct batch *b = &path->owner->batch;
	int got;

	for (unsigned i = 0; i < BATCH; i++) {
		b->iovs[i] = (struct iovec){b->data[i], sizeof(b->data[i])};
		b->msgs[i].msg_hdr = (struct msghdr){.msg_name = &b->from[i],
			.msg_namelen = sizeof(b->from[i]),
			.msg_iov = &b->iovs[i],
			.msg_iovlen = 1,
			.msg_control = b->control[i],
			.msg_controllen = sizeof(b->control[i])};
	}
	got = recvmmsg(path->fd, b->msgs, BATCH, MSG_DONTWAIT, NULL);
	if (got < 0) /* an ICMP error of the past is taken off the socket by being returned */
		return errno == EAGAIN ? 0 : 1;
	for (int i = 0; i < got; i++) {
		enum path_drop why = receive(path, span_make(b->data[i], b->msgs[i].msg_len),
			&b->from[i], ttl_of(&b->msgs[i].msg_hdr));

		if (why != PATH_DROP_COUNT)
			dropped(path, why);
	}
	return got;
}

static void drain(struct path *path)
{
	for (unsigned i = 0; i < BATCHES_MAX && receive_batch(path) > 0; i++)
		;
}

void paths_drain(struct paths *p)
{
	for (unsigned i = 0; i < p->count; i++)
		drain(&p->paths[i]);
}

static void on_readable(EV_P_ ev_io *w, int revents)
{
	(void)loop, (void)revents;
	drain(container_of(w, struct path, readable));
}

/* --- sending -----------------------------------------------------------------------------------
 */
/* Numbered, signed and in bytes. */
static size_t stamp(
	struct path *path, const struct packet *packet, uint8_t ret_data[PACKET_MAX_BYTES])
{
	const struct path_config *c = &path->state.config;
	const struct path_key *key = &path->owner->keys[0];
	struct packet stamped = *packet;
	size_t len;

	stamped.key_id = key->id;
	replay_stamp(&path->owner->replay, path->index, &stamped, monotonic_ns());
	len = packet_encode(&stamped, ret_data);
	sign(key, span_make(ret_data, len), &c->own, &c->peer, ret_data + len - PACKET_MAC_BYTES);
	return len;
}

static void note_sent(struct path *path, int error)
{
	struct path_state *s = &path->state;
	struct err err;

	if (error == 0)
		s->sent++;
	else
		s->send_failed++;
	if (error != 0 && s->send_errno != error) {
		errno = error;
		err_set_errno(&err, "cannot send heartbeats");
		log_event(LOG_WARNING, "path.send", err.text, F_TEXT("path", s->config.name));
	}
	s->send_errno = error;
}

static bool send_on(struct path *path, const struct packet *packet)
{
	const struct addr *to = &path->state.config.peer;
	uint8_t data[PACKET_MAX_BYTES];
	size_t len = stamp(path, packet, data);
	ssize_t sent;

	do {
		sent = sendto(path->fd, data, len, MSG_DONTWAIT, &to->sa, addr_len(to));
	} while (sent < 0 && errno == EINTR);
	note_sent(path, sent < 0 ? errno : 0);
	return sent >= 0;
}

int paths_send_frame(struct paths *p, struct announce *announce, const struct packet *packet,
	const struct paths_wire *wire, struct err *err)
{
	struct path *path = &p->paths[wire->path];
	const struct path_config *c = &path->state.config;
	uint8_t data[PACKET_MAX_BYTES], frame[FRAME_UDP_HEAD_MAX + PACKET_MAX_BYTES];
	bool refused = false;
	size_t len;
	int rc;

	ASSERT(wire->path < p->count);
	len = stamp(path, packet, data);
	len = frame_udp(&c->own, wire->mac, &c->peer, wire->peer_mac, span_make(data, len), frame);
	errno = 0;
	rc = announce_send_frame(announce, wire->ifindex, frame, len, &refused, err);
	note_sent(path, rc == 0 ? 0 : errno ? errno : EIO);
	return rc;
}

unsigned paths_send(struct paths *p, const struct packet *packet, uint32_t path_mask)
{
	unsigned left = 0;

	for (unsigned i = 0; i < p->count; i++)
		if (path_mask >> i & 1)
			left += send_on(&p->paths[i], packet);
	return left;
}

void paths_check(struct paths *p, uint64_t now_ns)
{
	for (unsigned i = 0; i < p->count; i++) {
		struct path_state *s = &p->paths[i].state;
		bool up = s->last_heard_ns && now_ns - s->last_heard_ns <= p->silence_ns;

		if (up == s->up)
			continue;
		s->up = up;
		p->handlers.on_path(p->handlers.ctx, s);
	}
}

unsigned paths_count(const struct paths *p)
{
	return p->count;
}

const struct path_state *paths_get(const struct paths *p, unsigned path)
{
	ASSERT(path < p->count);
	return &p->paths[path].state;
}

/* --- life --------------------------------------------------------------------------------------
 */
static int set_options(int fd, sa_family_t family)
{
	int on = 1, ttl = DIRECT_TTL, class = IPTOS_CLASS_CS6, buffer = RECEIVE_BUFFER_BYTES;
	int rc = 0;

	if (family == AF_INET) {
		rc |= setsockopt(fd, IPPROTO_IP, IP_FREEBIND, &on, sizeof(on));
		rc |= setsockopt(fd, IPPROTO_IP, IP_RECVTTL, &on, sizeof(on));
		rc |= setsockopt(fd, IPPROTO_IP, IP_TTL, &ttl, sizeof(ttl));
		(void)setsockopt(fd, IPPROTO_IP, IP_TOS, &class, sizeof(class));
	} else {
		rc |= setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
		rc |= setsockopt(fd, IPPROTO_IPV6, IPV6_FREEBIND, &on, sizeof(on));
		rc |= setsockopt(fd, IPPROTO_IPV6, IPV6_RECVHOPLIMIT, &on, sizeof(on));
		rc |= setsockopt(fd, IPPROTO_IPV6, IPV6_UNICAST_HOPS, &ttl, sizeof(ttl));
		(void)setsockopt(fd, IPPROTO_IPV6, IPV6_TCLASS, &class, sizeof(class));
	}
	/* What a held-up agent finds waiting must be all of it; the default would do too. */
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof(buffer));
	return rc;
}

/* Only while one set of sockets replaces another: else anybody could take a share of the port. */
static void share_port(int fd, int on)
{
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
}

static int path_open(struct path *path, const struct paths_options *o, struct err *err)
{
	const struct path_config *c = &path->state.config;
	char text[ADDR_TEXT_MAX];

	addr_format(&c->own, text);
	path->fd = socket(c->own.sa.sa_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (path->fd < 0 || set_options(path->fd, c->own.sa.sa_family) != 0)
		return err_set_errno(err, "path '%s': cannot open a UDP socket", c->name);
	share_port(path->fd, o->replaces || o->shared_port);
	if (bind(path->fd, &c->own.sa, addr_len(&c->own)) != 0)
		return err_set_errno(err, "path '%s': cannot bind to %s", c->name, text);
	if (o->shared_port && connect(path->fd, &c->peer.sa, addr_len(&c->peer)) != 0)
		return err_set_errno(err, "path '%s': no way to the other end", c->name);
	share_port(path->fd, o->shared_port);
	ev_io_set(&path->readable, path->fd, EV_READ);
	ev_io_start(path->owner->loop, &path->readable);
	return 0;
}

static void share_all(const struct paths *p, int on)
{
	for (unsigned i = 0; p && i < p->count; i++)
		share_port(p->paths[i].fd, on);
}

struct paths *paths_new(struct ev_loop *loop, const struct paths_options *o, struct err *err)
{
	struct paths *p = calloc(1, sizeof(*p));
	unsigned opened = 0;
	int rc = 0;

	ASSERT(o->count <= PATHS_MAX && o->secret_count <= PATHS_KEYS_MAX);
	ASSERT(o->secret_count >= 1 || o->count == 0);
	if (!p) {
		err_set_errno(err, "paths");
		return NULL;
	}
	p->loop = loop;
	p->handlers = o->handlers;
	p->peer = o->peer;
	p->silence_ns = o->silence_ns;
	replay_init(&p->replay, o->boot_id, o->count, o->silence_ns);
	for (; p->key_count < o->secret_count; p->key_count++)
		if (key_init(&p->keys[p->key_count], o->secrets[p->key_count], err) != 0)
			goto fail;
	for (; p->count < o->count; p->count++) {
		struct path *path = &p->paths[p->count];

		path->owner = p;
		path->index = p->count;
		path->fd = -1;
		path->state.config = o->configs[p->count];
		ev_init(&path->readable, on_readable);
	}
	share_all(o->replaces, true);
	while (rc == 0 && opened < p->count)
		rc = path_open(&p->paths[opened++], o, err);
	/* Also when all is well: the caller may keep them after all. */
	share_all(o->replaces, o->shared_port);
	if (rc == 0)
		return p;
fail:
	paths_free(p);
	return NULL;
}

void paths_free(struct paths *p)
{
	if (!p)
		return;
	for (unsigned i = 0; i < p->count; i++) {
		ev_io_stop(p->loop, &p->paths[i].readable);
		if (p->paths[i].fd >= 0)
			close(p->paths[i].fd);
	}
	for (unsigned i = 0; i < PATHS_KEYS_MAX; i++)
		mac_key_free(p->keys[i].mac);
	free(p);
}
