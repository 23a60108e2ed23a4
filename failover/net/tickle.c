#include "failover/net/tickle.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/tcp.h>
#include <string.h>
#include <unistd.h>

#include "failover/net/netlink_diag.h"
#include "shared/assert.h"
#include "shared/log.h"
#include "shared/units.h"

enum {
	BURST_FIRST = 32,
	BURST_MAX = 256,
	ROUNDS = 2,
	LOOKS_A_TURN = 16384,
	LOOKS_A_CLOCK = 16,
};
#define TURN_NS (1 * NS_PER_MS) /* at most, of the loop: heartbeats come first */
#define PAUSE_S 0.001
#define ROUND_PAUSE_S 1.0
#define TTL 64

static bool is_v4(const uint8_t bytes[16])
{
	return IN6_IS_ADDR_V4MAPPED((const struct in6_addr *)bytes);
}

/* --- the packet --------------------------------------------------------------------------------
 */
static uint32_t sum(const void *data, size_t len, uint32_t so_far)
{
	const uint8_t *bytes = data;

	for (size_t i = 0; i < len; i += 2)
		so_far += (uint32_t)bytes[i] << 8 | bytes[i + 1];
	return so_far;
}

static uint16_t fold(uint32_t n)
{
	while (n >> 16)
		n = (n & 0xffff) + (n >> 16);
	return htons((uint16_t)~n);
}

size_t tickle_packet(const struct client_key *k, uint8_t out[TICKLE_BYTES_MAX])
{
	struct tcphdr tcp = {.source = htons(k->local_port),
		.dest = htons(k->remote_port),
		.doff = sizeof(tcp) / 4,
		.ack = 1,
		.window = htons(1)};
	bool v4 = is_v4(k->local);
	size_t skip = v4 ? 12 : 0, head = v4 ? sizeof(struct iphdr) : sizeof(struct ip6_hdr);
	uint32_t pseudo = sum(k->local + skip, 16 - skip,
		sum(k->remote + skip, 16 - skip, IPPROTO_TCP + sizeof(tcp)));

	tcp.check = fold(sum(&tcp, sizeof(tcp), pseudo));
	if (v4) {
		struct iphdr ip = {.version = 4,
			.ihl = sizeof(ip) / 4,
			.tot_len = htons(sizeof(ip) + sizeof(tcp)),
			.frag_off = htons(IP_DF),
			.ttl = TTL,
			.protocol = IPPROTO_TCP};

		memcpy(&ip.saddr, k->local + skip, 4);
		memcpy(&ip.daddr, k->remote + skip, 4);
		ip.check = fold(sum(&ip, sizeof(ip), 0));
		memcpy(out, &ip, sizeof(ip));
	} else {
		struct ip6_hdr ip = {.ip6_flow = htonl(UINT32_C(6) << 28),
			.ip6_plen = htons(sizeof(tcp)),
			.ip6_nxt = IPPROTO_TCP,
			.ip6_hlim = TTL};

		memcpy(&ip.ip6_src, k->local, 16);
		memcpy(&ip.ip6_dst, k->remote, 16);
		memcpy(out, &ip, sizeof(ip));
	}
	memcpy(out + head, &tcp, sizeof(tcp));
	return head + sizeof(tcp);
}

/* --- sending -----------------------------------------------------------------------------------
 */
enum sent { SENT, FULL, FAILED };

static enum sent send_one(const struct tickle *t, const struct client_key *k)
{
	struct sockaddr_in to4 = {.sin_family = AF_INET};
	struct sockaddr_in6 to6 = {.sin6_family = AF_INET6};
	uint8_t packet[TICKLE_BYTES_MAX];
	size_t len = tickle_packet(k, packet);
	ssize_t rc;

	memcpy(&to4.sin_addr, k->remote + 12, 4);
	memcpy(&to6.sin6_addr, k->remote, 16);
	if (is_v4(k->local))
		rc = sendto(
			t->fd4, packet, len, MSG_DONTWAIT, (struct sockaddr *)&to4, sizeof(to4));
	else
		rc = sendto(
			t->fd6, packet, len, MSG_DONTWAIT, (struct sockaddr *)&to6, sizeof(to6));
	if (rc >= 0)
		return SENT;
	return errno == ENOBUFS || errno == EAGAIN || errno == ENOMEM ? FULL : FAILED;
}

static bool concerns(const struct tickle *t, const struct client_key *k)
{
	bool v4 = is_v4(k->local);

	for (unsigned i = 0; i < t->vip_count; i++)
		if ((t->vips[i].family == AF_INET) == v4 &&
			memcmp(t->vips[i].bytes, k->local + (v4 ? 12 : 0), v4 ? 4 : 16) == 0)
			return true;
	return false;
}

/* One turn. False: all have been sent to. */
static bool send_some(struct tickle *t)
{
	uint64_t began_ns = monotonic_ns();
	unsigned sent = 0;

	for (unsigned looks = 0; looks < LOOKS_A_TURN && sent < t->burst; looks++) {
		struct clients_cursor before = t->at;
		const struct client_key *k;

		if (looks % LOOKS_A_CLOCK == 0 && monotonic_ns() - began_ns > TURN_NS)
			return true;
		if (!clients_next(t->clients, &t->at, &k))
			return false;
		if (!concerns(t, k))
			continue;
		switch (send_one(t, k)) {
		case SENT:
			t->sent++;
			sent++;
			break;
		case FAILED: /* this one cannot be reached; the next may */
			t->failed++;
			sent++;
			break;
		case FULL:
			t->at = before;
			t->burst = BURST_FIRST;
			return true;
		}
	}
	t->burst = 2 * t->burst < BURST_MAX ? 2 * t->burst : BURST_MAX;
	return true;
}

static void pause_for(struct tickle *t, double s)
{
	ev_timer_stop(t->loop, &t->next);
	ev_timer_set(&t->next, s, 0);
	ev_timer_start(t->loop, &t->next);
}

static void begin_round(struct tickle *t)
{
	t->at = (struct clients_cursor){0};
	t->burst = BURST_FIRST;
}

static void run(struct tickle *t)
{
	if (send_some(t)) {
		pause_for(t, t->burst < BURST_MAX ? PAUSE_S : 0.);
		return;
	}
	if (t->round == 0)
		log_event(LOG_NOTICE, "peer.clients_told", "told the dead peer's clients",
			F_INT("sent", t->sent - t->sent_before),
			F_INT("failed", t->failed - t->failed_before),
			F_INT("us", (monotonic_ns() - t->began_ns) / NS_PER_US));
	if (++t->round == ROUNDS) {
		t->vip_count = 0;
		return;
	}
	begin_round(t);
	pause_for(t, ROUND_PAUSE_S);
}

static bool is_client(void *ctx, const struct addr *local, const struct addr *remote)
{
	const struct tickle *t = ctx;
	struct client_key k = client_key(local, remote);

	return concerns(t, &k) && clients_has(t->clients, &k);
}

static void tell_left(const struct err *err)
{
	log_event(LOG_WARNING, "peer.clients_untold", err->text,
		F_TEXT("decision", "going on: a client that was here before may not learn that "
				   "its connection is gone"));
}

static void end_left(struct tickle *t)
{
	netlink_diag_left_free(t->left);
	t->left = NULL;
}

/* They would answer in the place of our resets. */
static void forget_some(struct tickle *t)
{
	bool done;
	struct err err;

	if (netlink_diag_forget(t->left, monotonic_ns() + TURN_NS, &done, &err) != 0)
		tell_left(&err);
	if (done)
		end_left(t);
}

static void on_next(EV_P_ ev_timer *w, int revents)
{
	struct tickle *t = container_of(w, struct tickle, next);

	(void)loop, (void)revents;
	if (t->left)
		forget_some(t);
	if (t->left)
		pause_for(t, 0.);
	else
		run(t);
}

static bool drop_vip(struct tickle *t, const struct cidr *vip)
{
	for (unsigned i = 0; i < t->vip_count; i++)
		if (cidr_same_host(&t->vips[i], vip)) {
			t->vips[i] = t->vips[--t->vip_count];
			return true;
		}
	return false;
}

void tickle_start(struct tickle *t, const struct clients *clients, const struct cidr *vips,
	unsigned vip_count)
{
	struct err err;

	for (unsigned i = 0; i < vip_count; i++) {
		(void)drop_vip(t, &vips[i]);
		ASSERT(t->vip_count < CLIENTS_VIPS_MAX);
		t->vips[t->vip_count++] = vips[i];
	}
	if (clients_count(clients, vips, vip_count) == 0)
		return;
	t->clients = clients;
	end_left(t);
	t->left = netlink_diag_left_new(is_client, t, &err);
	if (!t->left)
		tell_left(&err);
	t->round = 0;
	t->began_ns = monotonic_ns();
	t->sent_before = t->sent;
	t->failed_before = t->failed;
	begin_round(t);
	pause_for(t, PAUSE_S); /* the announcement of the address goes first */
}

void tickle_stop(struct tickle *t, const struct cidr *vips, unsigned vip_count)
{
	for (unsigned i = 0; i < vip_count; i++)
		(void)drop_vip(t, &vips[i]);
	if (t->vip_count > 0)
		return;
	ev_timer_stop(t->loop, &t->next);
	end_left(t);
}

/* --- life --------------------------------------------------------------------------------------
 */
/* Of IPPROTO_RAW, which sends whole packets and receives none. */
static int open_raw(int family)
{
	int fd = socket(family, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_RAW);

	if (fd < 0)
		log_event(LOG_WARNING, "peer.clients_untold",
			"cannot open a raw socket: a dead peer's clients will not be told",
			F_TEXT("reason", strerror(errno)),
			F_TEXT("family", family == AF_INET ? "ipv4" : "ipv6"));
	return fd;
}

void tickle_init(struct tickle *t, struct ev_loop *loop)
{
	*t = (struct tickle){.loop = loop, .fd4 = open_raw(AF_INET), .fd6 = open_raw(AF_INET6)};
	ev_init(&t->next, on_next);
}

void tickle_fini(struct tickle *t)
{
	ev_timer_stop(t->loop, &t->next);
	end_left(t);
	if (t->fd4 >= 0)
		close(t->fd4);
	if (t->fd6 >= 0)
		close(t->fd6);
}
