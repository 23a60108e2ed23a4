/* The packet rules as text: whole, for a group of both families, and what depends on what. */
#include "failover/net/rules.h"

#include <string.h>

#include "tests/unit/check.h"

static struct cidr vips[2];
static struct addr own, peer;

static struct rules_spec spec(void)
{
	struct err err;

	CHECK_TRUE(cidr_parse(SPAN("10.0.0.100/24"), &vips[0], &err) == 0);
	CHECK_TRUE(cidr_parse(SPAN("fd00::100/64"), &vips[1], &err) == 0);
	CHECK_TRUE(addr_parse(SPAN("10.0.0.1:4242"), &own, &err) == 0);
	CHECK_TRUE(addr_parse(SPAN("10.0.0.2:4242"), &peer, &err) == 0);
	return (struct rules_spec){.table = "tandem_51",
		.group = "web",
		.interface = "eth0",
		.vips = vips,
		.vip_count = 2,
		.lease_ms = 250,
		.vrid = 51,
		.own = &own,
		.peer = &peer};
}

/* The text, freed with the buffer. */
static const char *text_of(struct buf *b)
{
	CHECK_TRUE(buf_append(b, span_make("", 1)) == 0);
	return buf_span(b).ptr;
}

static const char *table_of(struct buf *b, const struct rules_spec *s)
{
	buf_init(b, 65536);
	CHECK_TRUE(rules_table(b, s));
	return text_of(b);
}

static void check_has(const char *text, const char *part)
{
	if (!strstr(text, part))
		fprintf(stderr, "\nmissing: %s\nin: %s\n", part, text);
	CHECK(strstr(text, part) != NULL);
}

static void check_order(const char *text, const char *first, const char *second)
{
	const char *a = strstr(text, first), *b = a ? strstr(a, second) : NULL;

	if (!b)
		fprintf(stderr, "\nnot in this order: %s, %s\n", first, second);
	CHECK(b != NULL);
}

static void a_table_is_replaced_as_a_whole(void)
{
	struct rules_spec s = spec();
	struct buf b;
	const char *text = table_of(&b, &s);

	CHECK(strncmp(text,
		      "add table netdev tandem_51\ndelete table netdev tandem_51\n"
		      "table netdev tandem_51 {\n",
		      80) == 0);
	check_has(text, "set vip4 { type ipv4_addr; elements = { 10.0.0.100 }; }");
	check_has(text, "set vip6 { type ipv6_addr; elements = { fd00::100 }; }");
	check_has(text, "set lease { type ifname; flags dynamic,timeout; size 8; }");
	buf_fini(&b);
}

/* The sets are the same whatever the lease is: the kernel refuses to change one in place. */
static void another_lease_changes_only_what_renews_it(void)
{
	struct rules_spec s = spec();
	struct buf a, b;
	const char *chain = "\tchain chance4 { }";
	size_t same;

	buf_init(&a, 65536);
	buf_init(&b, 65536);
	CHECK_TRUE(rules_change(&a, &s));
	s.lease_ms = 1000;
	CHECK_TRUE(rules_change(&b, &s));
	same = (size_t)(strstr(text_of(&a), chain) - buf_span(&a).ptr);
	CHECK_INT(strncmp(buf_span(&a).ptr, text_of(&b), same), 0);
	check_has(buf_span(&b).ptr, "update @lease { oifname timeout 1000ms }");
	CHECK(strstr(buf_span(&b).ptr, "250ms") == NULL);
	buf_fini(&a);
	buf_fini(&b);
}

static void a_change_deletes_nothing_that_is_remembered(void)
{
	struct rules_spec s = spec();
	struct buf b, table;
	const char *text;

	buf_init(&b, 65536);
	buf_init(&table, 65536);
	CHECK_TRUE(rules_change(&b, &s) && rules_table(&table, &s));
	text = text_of(&b);
	CHECK(strstr(text, "delete table") == NULL && strstr(text, "add table") == NULL);
	CHECK(strstr(text, "flush set netdev tandem_51 lease") == NULL);
	check_order(text, "flush set netdev tandem_51 vip6\n", "table netdev tandem_51 {");
	check_order(text, "flush chain netdev tandem_51 in\n", "table netdev tandem_51 {");
	check_order(text, "flush chain netdev tandem_51 heartbeat\n", "table netdev tandem_51 {");
	check_order(text, "flush chain netdev tandem_51 out\n", "table netdev tandem_51 {");
	/* Behind that it is the same table. */
	CHECK_TEXT(span_of(strstr(text, "table netdev tandem_51 {")),
		strstr(text_of(&table), "table netdev tandem_51 {"));
	buf_fini(&b);
	s.own = s.peer = NULL;
	buf_init(&b, 65536);
	CHECK_TRUE(rules_change(&b, &s));
	CHECK(strstr(text_of(&b), "heartbeat") == NULL);
	buf_fini(&b);
	buf_fini(&table);
}

static void the_next_second_chance_begins_with_nothing_known(void)
{
	struct rules_spec s = spec();
	struct buf b;

	buf_init(&b, 65536);
	CHECK_TRUE(rules_no_chance(&b, &s));
	check_order(text_of(&b), "flush chain netdev tandem_51 chance4",
		"delete set netdev tandem_51 seen4");
	buf_fini(&b);
}

static void without_a_lease_nothing_is_answered_reached_or_announced(void)
{
	struct rules_spec s = spec();
	struct buf b;
	const char *text = table_of(&b, &s);

	check_has(text, "arp operation request arp daddr ip @vip4 iifname != @lease counter drop");
	check_has(text,
		"icmpv6 type nd-neighbor-solicit @th,64,128 { 0xfd000000000000000000000000000100 } "
		"iifname != @lease counter drop");
	check_order(text, "ip daddr != @vip4 accept", "iifname @lease goto chance4");
	check_order(text, "iifname @lease goto chance6", "counter drop");
	check_has(text, "arp saddr ip @vip4 oifname != @lease counter drop");
	check_has(text, "icmpv6 type nd-neighbor-advert @th,64,128");
	/* A probe revokes before it is dropped, and what the peer hands over is never sent back. */
	check_order(text, "delete @claim { iifname }", "iifname != @lease counter drop");
	check_order(text, "ether saddr @peer counter accept", "goto chance4");
	check_has(text, "iifname @drain counter goto chance6");
	buf_fini(&b);
}

static void only_our_own_heartbeat_renews_and_a_claim_opens(void)
{
	struct rules_spec s = spec();
	struct buf b;
	const char *text = table_of(&b, &s);

	check_has(text, "ip saddr 10.0.0.1 ip daddr 10.0.0.2 udp sport 4242 udp dport 4242 "
			"@th,96,16 51 jump heartbeat");
	check_order(text, "@th,64,8 1 oifname @lease update @lease { oifname timeout 250ms }",
		"@th,64,8 { 1, 2 } oifname @claim update @lease { oifname timeout 250ms }");
	check_order(text, "oifname @claim update @lease", "@th,64,8 { 1, 2 } counter drop");
	buf_fini(&b);
}

static void our_own_advertisements_renew_and_the_first_opens(void)
{
	struct rules_spec s = spec();
	struct buf b;
	const char *text;

	s.own = s.peer = NULL;
	s.advertises = true;
	text = table_of(&b, &s);
	check_has(text, "ip protocol 112 ip ttl 255 @th,0,16 0x3133 jump heartbeat");
	check_has(text, "ip6 nexthdr 112 ip6 hoplimit 255 @th,0,16 0x3133 jump heartbeat");
	CHECK(strstr(text, "udp") == NULL);
	check_order(text, "@th,16,8 0 counter accept",
		"oifname @lease update @lease { oifname timeout 250ms } counter accept");
	check_order(text, "oifname @lease update @lease",
		"oifname @claim update @lease { oifname timeout 250ms } counter accept");
	check_order(text, "oifname @claim update @lease", "\t\tcounter drop");
	check_order(text, "jump heartbeat", "arp saddr ip @vip4 oifname != @lease counter drop");
	buf_fini(&b);
	/* The other family's may be another group's, of the same number. */
	s.vip_count = 1;
	text = table_of(&b, &s);
	CHECK(strstr(text, "ip6 nexthdr") == NULL);
	buf_fini(&b);
}

static void groups_that_share_a_number_have_tables_of_their_own(void)
{
	char table[RULES_TABLE_MAX];

	rules_table_name(51, NULL, table);
	CHECK_TEXT(span_of(table), "tandem_51");
	CHECK(rules_is_table(span_of(table)));
	rules_table_name(51, "web", table);
	CHECK_TEXT(span_of(table), "tandem_51_web");
	CHECK(rules_is_table(span_of(table)));
	CHECK(!rules_is_table(SPAN("tandem_")) && !rules_is_table(SPAN("tandem_mine")));
	CHECK(!rules_is_table(SPAN("my_tandem_51")));
}

static void without_an_egress_hook_there_is_none(void)
{
	struct rules_spec s = spec();
	struct buf b;
	const char *text;

	s.own = s.peer = NULL;
	text = table_of(&b, &s);
	CHECK(strstr(text, "egress") == NULL);
	CHECK(strstr(text, "heartbeat") == NULL);
	check_has(text, "type filter hook ingress device \"eth0\" priority -500");
	buf_fini(&b);
}

static void a_group_of_one_family_asks_nothing_of_the_other(void)
{
	struct rules_spec s = spec();
	struct rules_chance c = {.remember_s = 60};
	struct buf b;
	const char *text;

	s.vip_count = 1;
	buf_init(&b, 65536);
	CHECK_TRUE(rules_table(&b, &s) && rules_chance(&b, &s, &c));
	text = text_of(&b);
	CHECK(strstr(text, "nd-neighbor") == NULL);
	CHECK(strstr(text, "seen6") == NULL);
	check_has(text, "set vip6 { type ipv6_addr; }");
	buf_fini(&b);
}

static void what_began_at_the_peer_goes_to_its_mac(void)
{
	static const uint16_t ports[] = {80, 443};
	struct rules_spec s = spec();
	struct rules_chance c = {.own_mac = {2, 0, 0, 0, 0, 1},
		.peer_mac = {2, 0, 0, 0, 0, 2},
		.ports = ports,
		.port_count = 2,
		.remember_s = 360};
	struct buf b;
	const char *text;

	buf_init(&b, 65536);
	CHECK_TRUE(rules_chance(&b, &s, &c));
	text = text_of(&b);
	check_order(text, "flush chain netdev tandem_51 chance4",
		"add set netdev tandem_51 seen4 { type ipv4_addr . ipv4_addr . inet_service . "
		"inet_service; flags dynamic,timeout; timeout 360s; size 262144; }");
	CHECK(strstr(text, "delete set") == NULL);
	check_order(text,
		"tcp flags & (fin | syn | rst | ack) == syn update @seen4 "
		"{ ip saddr . ip daddr . tcp sport . tcp dport }",
		"ip saddr . ip daddr . tcp sport . tcp dport @seen4 accept");
	check_order(text, "@seen6 accept",
		"tcp dport { 80, 443 } ether saddr set 02:00:00:00:00:01 ether daddr set "
		"02:00:00:00:00:02 counter fwd to \"eth0\"");
	check_has(text, "icmpv6 type packet-too-big ether saddr set 02:00:00:00:00:01 ether daddr "
			"set 02:00:00:00:00:02 dup to \"eth0\" ether daddr set 02:00:00:00:00:01");
	buf_fini(&b);
}

static void a_text_that_does_not_fit_is_told(void)
{
	struct rules_spec s = spec();
	struct buf b;

	for (size_t ceiling = 1; ceiling < 1500; ceiling += 97) {
		buf_init(&b, ceiling);
		CHECK(!rules_table(&b, &s));
		buf_fini(&b);
	}
}

static void an_unknown_peer_is_nobody(void)
{
	static const uint8_t mac[RULES_MAC_LEN] = {2, 0, 0, 0, 0, 0xff};
	struct buf b;

	buf_init(&b, 4096);
	CHECK_TRUE(rules_peer(&b, "tandem_1", NULL));
	CHECK(span_eq(buf_span(&b), SPAN("flush set netdev tandem_1 peer\n")));
	CHECK_TRUE(rules_peer(&b, "tandem_1", mac));
	check_has(text_of(&b), "add element netdev tandem_1 peer { 02:00:00:00:00:ff }\n");
	buf_fini(&b);
}

static const struct test_case cases[] = {
	TEST(a_table_is_replaced_as_a_whole),
	TEST(another_lease_changes_only_what_renews_it),
	TEST(a_change_deletes_nothing_that_is_remembered),
	TEST(the_next_second_chance_begins_with_nothing_known),
	TEST(without_a_lease_nothing_is_answered_reached_or_announced),
	TEST(only_our_own_heartbeat_renews_and_a_claim_opens),
	TEST(our_own_advertisements_renew_and_the_first_opens),
	TEST(groups_that_share_a_number_have_tables_of_their_own),
	TEST(without_an_egress_hook_there_is_none),
	TEST(a_group_of_one_family_asks_nothing_of_the_other),
	TEST(what_began_at_the_peer_goes_to_its_mac),
	TEST(a_text_that_does_not_fit_is_told),
	TEST(an_unknown_peer_is_nobody),
};
TESTS_MAIN("rules", cases)
