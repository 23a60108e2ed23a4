/* Heartbeats between two ends on loopback addresses: what passes, and why the rest is dropped. */
#include "failover/net/paths.h"

#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#include "shared/log.h"
#include "shared/units.h"
#include "tests/unit/check.h"

#define SECRET_A "0123456789abcdef0123456789abcdef"
#define SECRET_B "another secret of good length ..."

struct end {
	struct paths *paths;
	unsigned heard, changes;
	struct packet last;
	uint64_t age_ns;
	bool on_link;
};

static struct ev_loop *loop;
static uint16_t port;
static struct end a, b;

static void on_packet(void *ctx, unsigned path, const struct packet *packet, uint64_t age_ns)
{
	struct end *e = ctx;

	CHECK_INT(path, packet->path);
	e->heard++;
	e->last = *packet;
	e->age_ns = age_ns;
}

static void on_path(void *ctx, const struct path_state *path)
{
	(void)path;
	((struct end *)ctx)->changes++;
}

static bool is_on_link(void *ctx, const struct addr *peer)
{
	CHECK(addr_port(peer) == port);
	return ((struct end *)ctx)->on_link;
}

static struct addr ip(const char *text)
{
	struct addr at;
	struct err err;

	CHECK_TRUE(addr_parse_ip(span_of(text), &at, &err) == 0);
	addr_set_port(&at, port);
	return at;
}

struct keys {
	const char *first, *second;
};

static struct paths *try_open(
	struct end *e, uint8_t peer, struct keys keys, struct paths *replaces, struct err *err)
{
	bool first = e == &a;
	struct path_config configs[2] = {{.name = "lan",
						 .own = ip(first ? "127.1.0.1" : "127.1.0.2"),
						 .peer = ip(first ? "127.1.0.2" : "127.1.0.1")},
		{.name = "cable",
			.own = ip(first ? "127.2.0.1" : "127.2.0.2"),
			.peer = ip(first ? "127.2.0.2" : "127.2.0.1")}};
	struct paths_options o = {.handlers = {e, on_packet, on_path, is_on_link},
		.configs = configs,
		.count = 2,
		.peer = peer,
		.boot_id = first ? 0xaaaa : 0xbbbb,
		.silence_ns = 300 * NS_PER_MS,
		.secrets = {span_of(keys.first), span_of(keys.second)},
		.secret_count = keys.second ? 2 : 1,
		.replaces = replaces};

	*e = (struct end){.on_link = true};
	e->paths = paths_new(loop, &o, err);
	return e->paths;
}

static void open_end(struct end *e, uint8_t peer, struct keys keys)
{
	struct err err;

	if (!try_open(e, peer, keys, NULL, &err))
		fprintf(stderr, "%s\n", err.text);
	CHECK_TRUE(e->paths != NULL);
}

static void open_both(void)
{
	struct keys keys = {SECRET_A, NULL};

	open_end(&a, 2, keys);
	open_end(&b, 1, keys);
}

static void close_both(void)
{
	paths_free(a.paths);
	paths_free(b.paths);
}

static unsigned say(struct end *from, uint32_t mask)
{
	struct packet p = {.kind = PACKET_STANDBY,
		.state = FSM_STANDBY,
		.node = from == &a ? 1 : 2,
		.group = 51,
		.epoch = 3,
		.health = 1000};

	return paths_send(from->paths, &p, mask);
}

/* Until both have proved to live. */
static void meet(void)
{
	for (int i = 0; i < 2; i++) {
		CHECK_INT(say(&a, 3), 2);
		paths_drain(b.paths);
		CHECK_INT(say(&b, 3), 2);
		paths_drain(a.paths);
	}
	a.heard = b.heard = 0;
}

static uint64_t dropped(const struct end *e, enum path_drop why)
{
	return paths_get(e->paths, 0)->dropped[why] + paths_get(e->paths, 1)->dropped[why];
}

static uint64_t all_dropped(const struct end *e)
{
	uint64_t sum = 0;

	for (enum path_drop i = 0; i < PATH_DROP_COUNT; i++)
		sum += dropped(e, i);
	return sum;
}

/* A socket that sends as `from` to b's first path. */
static void send_raw(const char *from, const void *data, size_t len, int ttl)
{
	struct addr at = ip(from), to = ip("127.1.0.2");
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	CHECK_INT(setsockopt(fd, IPPROTO_IP, IP_TTL, &ttl, sizeof(ttl)), 0);
	CHECK_INT(bind(fd, &at.sa, sizeof(at.in)), 0);
	CHECK_INT(sendto(fd, data, len, 0, &to.sa, sizeof(to.in)), (ssize_t)len);
	close(fd);
}

static void two_ends_meet_and_measure(void)
{
	const struct path_state *s;

	open_both();
	meet();
	CHECK_INT(say(&a, 3), 2);
	paths_drain(b.paths);
	CHECK_INT(b.heard, 2);
	CHECK_INT(b.last.epoch, 3);
	CHECK(b.last.flags & PACKET_HEARS_YOU);
	CHECK(b.age_ns < NS_PER_S);
	s = paths_get(b.paths, 0);
	CHECK_TEXT(span_of(s->config.name), "lan");
	CHECK(s->rtt_us < 1000000);
	CHECK_INT(s->lost, 0);
	CHECK_INT(s->send_failed, 0);
	CHECK_INT(dropped(&b, PATH_DROP_REPLAY),
		all_dropped(&b)); /* strangers, before they had met */
	close_both();
}

static void a_mask_names_the_paths(void)
{
	open_both();
	meet();
	CHECK_INT(say(&a, 2), 1);
	paths_drain(b.paths);
	CHECK_INT(b.heard, 1);
	CHECK_INT(b.last.path, 1);
	close_both();
}

static void a_path_is_up_while_it_is_heard(void)
{
	uint64_t now_ns;

	open_both();
	meet();
	now_ns = monotonic_ns();
	paths_check(b.paths, now_ns);
	CHECK_INT(b.changes, 2);
	CHECK(paths_get(b.paths, 0)->up && paths_get(b.paths, 1)->up);
	paths_check(b.paths, now_ns + NS_PER_S);
	CHECK_INT(b.changes, 4);
	CHECK(!paths_get(b.paths, 0)->up);
	close_both();
}

/* More than the socket's queue holds: some are lost, and each is known to be. */
static void lost_packets_are_counted(void)
{
	unsigned said = 5000, before;

	open_both();
	meet();
	for (unsigned i = 0; i < said; i++)
		CHECK_INT(say(&a, 1), 1);
	do {
		before = b.heard;
		paths_drain(b.paths);
	} while (b.heard != before);
	CHECK_INT(say(&a, 1), 1);
	paths_drain(b.paths);
	CHECK(paths_get(b.paths, 0)->lost > 0);
	CHECK_INT(b.heard + paths_get(b.paths, 0)->lost, said + 1);
	CHECK_INT(paths_get(b.paths, 1)->lost, 0);
	close_both();
}

static void another_key_is_not_believed(void)
{
	open_end(&a, 2, (struct keys){SECRET_A, NULL});
	open_end(&b, 1, (struct keys){SECRET_B, NULL});
	(void)say(&a, 3);
	paths_drain(b.paths);
	CHECK_INT(b.heard, 0);
	CHECK_INT(dropped(&b, PATH_DROP_KEY), 2);
	close_both();
}

static void an_old_key_is_taken_while_it_is_named(void)
{
	open_end(&a, 2, (struct keys){SECRET_A, SECRET_B});
	open_end(&b, 1, (struct keys){SECRET_B, SECRET_A});
	meet();
	(void)say(&a, 3);
	paths_drain(b.paths);
	CHECK_INT(b.heard, 2);
	CHECK_INT(dropped(&b, PATH_DROP_KEY), 0);
	close_both();
}

static void forgeries_and_noise_are_dropped_by_cause(void)
{
	uint8_t good[PACKET_MAX_BYTES], bad[PACKET_MAX_BYTES + 10] = {0};
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	struct addr at = ip("127.1.0.2");
	ssize_t len;
	struct err err;

	/* b's place, to have one of a's packets in hand. */
	open_end(&a, 2, (struct keys){SECRET_A, NULL});
	CHECK_INT(bind(fd, &at.sa, sizeof(at.in)), 0);
	(void)say(&a, 1);
	len = recv(fd, good, sizeof(good), 0);
	CHECK_INT(len, PACKET_MIN_BYTES);
	close(fd);
	paths_free(a.paths);
	open_end(&b, 1, (struct keys){SECRET_A, NULL});

	send_raw("127.1.0.1", good, (size_t)len, 255);
	paths_drain(b.paths);
	CHECK_INT(dropped(&b, PATH_DROP_REPLAY), 1); /* in order, but nobody has met it yet */
	for (ssize_t i = 0; i < len; i++) {
		memcpy(bad, good, (size_t)len);
		bad[i] ^= 0x10;
		send_raw("127.1.0.1", bad, (size_t)len, 255);
		paths_drain(b.paths);
	}
	/* The key id is found before the MAC is tried. */
	CHECK_INT(dropped(&b, PATH_DROP_KEY), 4);
	CHECK_INT(dropped(&b, PATH_DROP_MAC), len - 4);
	send_raw("127.1.0.1", good, (size_t)len - 1, 255);
	send_raw("127.1.0.1", bad, sizeof(bad), 255);
	send_raw("127.1.0.1", "", 0, 255);
	send_raw("127.9.9.9", good, (size_t)len, 255);
	paths_drain(b.paths);
	CHECK_INT(dropped(&b, PATH_DROP_SHAPE), 3);
	CHECK_INT(dropped(&b, PATH_DROP_SOURCE), 1);
	send_raw("127.1.0.1", good, (size_t)len, 254);
	paths_drain(b.paths);
	CHECK_INT(dropped(&b, PATH_DROP_TTL), 1);
	CHECK_INT(b.heard, 0);
	paths_free(b.paths);

	/* A peer behind a router may have lost some of its TTL. */
	CHECK_TRUE(try_open(&b, 1, (struct keys){SECRET_A, NULL}, NULL, &err) != NULL);
	b.on_link = false;
	send_raw("127.1.0.1", good, (size_t)len, 254);
	paths_drain(b.paths);
	CHECK_INT(dropped(&b, PATH_DROP_TTL), 0);
	CHECK_INT(dropped(&b, PATH_DROP_REPLAY), 1);
	paths_free(b.paths);
}

static void a_foreign_node_id_is_dropped(void)
{
	open_end(&a, 2, (struct keys){SECRET_A, NULL});
	open_end(&b, 9, (struct keys){SECRET_A, NULL});
	(void)say(&a, 3);
	paths_drain(b.paths);
	CHECK_INT(dropped(&b, PATH_DROP_NODE), 2);
	close_both();
}

static void new_sockets_take_over_the_ports(void)
{
	struct addr at = ip("127.1.0.2");
	struct paths *old;
	struct err err;
	int thief;

	open_both();
	old = b.paths;
	CHECK(try_open(&b, 1, (struct keys){SECRET_A, NULL}, NULL, &err) == NULL);
	CHECK(strstr(err.text, "127.1.0.2") != NULL);
	CHECK_TRUE(try_open(&b, 1, (struct keys){SECRET_A, NULL}, old, &err) != NULL);
	/* Whichever of the two stays, nobody else takes a share of the port. */
	paths_free(b.paths);
	thief = socket(AF_INET, SOCK_DGRAM, 0);
	CHECK_INT(setsockopt(thief, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int)), 0);
	CHECK_INT(bind(thief, &at.sa, sizeof(at.in)), -1);
	close(thief);
	CHECK_TRUE(try_open(&b, 1, (struct keys){SECRET_A, NULL}, old, &err) != NULL);
	paths_free(old);
	meet();
	(void)say(&a, 3);
	paths_drain(b.paths);
	CHECK_INT(b.heard, 2);
	close_both();
}

static void an_address_that_is_missing_is_no_error(void)
{
	struct path_config config = {
		.name = "cable", .own = ip("192.0.2.1"), .peer = ip("192.0.2.2")};
	struct paths_options o = {.handlers = {&a, on_packet, on_path, is_on_link},
		.configs = &config,
		.count = 1,
		.peer = 2,
		.boot_id = 1,
		.silence_ns = NS_PER_S,
		.secrets = {span_of(SECRET_A)},
		.secret_count = 1};
	struct err err;

	a = (struct end){0};
	a.paths = paths_new(loop, &o, &err);
	CHECK_TRUE(a.paths != NULL);
	CHECK_INT(say(&a, 1), 0);
	CHECK_INT(paths_get(a.paths, 0)->send_failed, 1);
	CHECK(paths_get(a.paths, 0)->send_errno != 0);
	paths_free(a.paths);
}

static const struct test_case cases[] = {
	TEST(two_ends_meet_and_measure),
	TEST(a_mask_names_the_paths),
	TEST(a_path_is_up_while_it_is_heard),
	TEST(lost_packets_are_counted),
	TEST(another_key_is_not_believed),
	TEST(an_old_key_is_taken_while_it_is_named),
	TEST(forgeries_and_noise_are_dropped_by_cause),
	TEST(a_foreign_node_id_is_dropped),
	TEST(new_sockets_take_over_the_ports),
	TEST(an_address_that_is_missing_is_no_error),
};

/* A UDP port that is free on the addresses used here. */
static uint16_t free_port(void)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(at);
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&at, len) != 0 ||
		getsockname(fd, (struct sockaddr *)&at, &len) != 0)
		return 0;
	close(fd);
	return ntohs(at.sin_port);
}

int main(void)
{
	port = free_port();
	loop = ev_default_loop(EVFLAG_NOENV);
	log_open("test_paths", LOG_ERROR, LOG_FORMAT_TEXT);
	return port && loop ? tests_run("paths", cases, sizeof(cases) / sizeof(*cases)) : 99;
}
