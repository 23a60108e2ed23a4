/*
 * TLS as a connection's transport: both ends of a socket pair are connections of one worker, whose
 * loop the test turns.
 */
#include "proxy/net/tls.h"

#include <errno.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proxy/worker.h"
#include "shared/units.h"
#include "tests/unit/check.h"
#include "tests/unit/scarce.h"

#define HEARD_MAX (8 * 1024 * 1024)
#define RECORDS_MAX 4096

struct side {
	struct conn conn;
	char *heard;
	size_t heard_bytes;
	bool ready, ended, broken, freed, timed_out, greedy, drained;
	int connect_error;
	char fault[120];
	unsigned reads;
	uint32_t records[RECORDS_MAX]; /* of content, with what TLS adds, as they came */
	unsigned record_count;
};

static struct worker *worker;
static SSL_CTX *server_ctx, *client_ctx;
static struct side server, client;

static struct side *side_of(struct conn *c)
{
	return container_of(c, struct side, conn);
}

/* --- handlers ----------------------------------------------------------------------------------
 */

static void on_readable(struct conn *c)
{
	struct side *s = side_of(c);
	bool full;
	enum io_rc rc = conn_read(c, IOBUF_SMALL_BYTES, &full);

	CHECK(s->ready);
	s->reads++;
	if (rc == IO_OK) {
		struct span got = iobuf_span(c->in);

		CHECK_TRUE(s->heard_bytes + got.len <= HEARD_MAX);
		memcpy(s->heard + s->heard_bytes, got.ptr, got.len);
		s->heard_bytes += got.len;
	}
	conn_drop_in(c);
	s->ended |= rc == IO_EOF;
	s->broken |= rc == IO_ERROR;
	if (rc == IO_EOF || rc == IO_ERROR || !s->greedy)
		conn_pause(c);
}

static void on_writable(struct conn *c)
{
	struct side *s = side_of(c);

	if (!c->connecting) {
		s->drained = true;
		return;
	}
	s->connect_error = conn_connect_error(c);
	snprintf(s->fault, sizeof(s->fault), "%s", tls_fault(c));
	if (s->connect_error) {
		conn_close(c);
		return;
	}
	c->connecting = false;
	conn_deadline(c, 0);
	conn_start(c);
	s->ready = true;
}

static void on_write_error(struct conn *c)
{
	side_of(c)->broken = true;
	conn_close(c);
}

static void on_deadline(struct conn *c)
{
	side_of(c)->timed_out = true;
	conn_close(c);
}

static void on_free(struct conn *c)
{
	side_of(c)->freed = true;
}

static const struct conn_handler handler = {
	.on_readable = on_readable,
	.on_writable = on_writable,
	.on_write_error = on_write_error,
	.on_deadline = on_deadline,
	.free = on_free,
};

static void on_ready(struct conn *c)
{
	CHECK(c->handler == &handler);
	side_of(c)->ready = true;
}

static void on_record(
	int writes, int version, int type, const void *bytes, size_t len, SSL *ssl, void *arg)
{
	struct side *s = arg;
	const unsigned char *head = bytes;

	(void)version;
	(void)ssl;
	if (writes || type != SSL3_RT_HEADER || head[0] != SSL3_RT_APPLICATION_DATA || !s->ready)
		return;
	CHECK_TRUE(len == SSL3_RT_HEADER_LENGTH && s->record_count < RECORDS_MAX);
	s->records[s->record_count++] = (uint32_t)(head[3] << 8 | head[4]);
}

/* --- the rig -----------------------------------------------------------------------------------
 */

static void make_certificate(SSL_CTX *ctx, const char *name)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *x = X509_new();
	X509_NAME *subject = X509_get_subject_name(x);
	X509_EXTENSION *san;
	char text[80];

	CHECK_TRUE(key && x);
	X509_set_version(x, X509_VERSION_3);
	ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
	X509_gmtime_adj(X509_getm_notBefore(x), -3600);
	X509_gmtime_adj(X509_getm_notAfter(x), 86400);
	X509_NAME_add_entry_by_txt(
		subject, "CN", MBSTRING_ASC, (const unsigned char *)name, -1, -1, 0);
	X509_set_issuer_name(x, subject);
	X509_set_pubkey(x, key);
	snprintf(text, sizeof(text), "DNS:%s", name);
	san = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, text);
	X509_add_ext(x, san, -1);
	X509_EXTENSION_free(san);
	CHECK_TRUE(X509_sign(x, key, EVP_sha256()) > 0);
	CHECK_INT(SSL_CTX_use_certificate(ctx, x), 1);
	CHECK_INT(SSL_CTX_use_PrivateKey(ctx, key), 1);
	X509_STORE_add_cert(SSL_CTX_get_cert_store(client_ctx), x);
	X509_free(x);
	EVP_PKEY_free(key);
}

static void nothing(void *ctx)
{
	(void)ctx;
}

static void begin(void)
{
	struct err err;

	worker = worker_new(0, nothing, NULL, &err);
	CHECK_TRUE(worker != NULL);
	server_ctx = SSL_CTX_new(TLS_method());
	client_ctx = SSL_CTX_new(TLS_method());
	tls_prepare(server_ctx);
	tls_prepare(client_ctx);
	SSL_CTX_set_num_tickets(server_ctx, 0); /* no record but what is said */
	make_certificate(server_ctx, "a.test");
}

static void side_init(struct side *s, int fd)
{
	free(s->heard);
	*s = (struct side){.greedy = true};
	s->heard = malloc(HEARD_MAX);
	CHECK_TRUE(s->heard != NULL);
	conn_init(&s->conn, worker, &handler, fd);
	s->conn.send_ns = 10 * NS_PER_S;
}

static void make_pair(int fds[2])
{
	static const int small = 16 * 1024;

	CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
	for (unsigned i = 0; i < 2; i++)
		setsockopt(fds[i], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
}

static void start_server(int fd)
{
	side_init(&server, fd);
	CHECK_INT(tls_accept(&server.conn, SSL_new(server_ctx), on_ready), 0);
	conn_start(&server.conn);
}

static void start_client(int fd)
{
	SSL *ssl = SSL_new(client_ctx);

	side_init(&client, fd);
	SSL_set_msg_callback(ssl, on_record);
	SSL_set_msg_callback_arg(ssl, &client);
	CHECK_INT(tls_connect(&client.conn, ssl, NULL), 0);
	conn_start_connecting(&client.conn);
}

static void turn(unsigned times)
{
	while (times--)
		ev_run(worker->loop, EVRUN_NOWAIT);
}

static void connect_both(void)
{
	int fds[2];

	begin();
	make_pair(fds);
	start_server(fds[0]);
	start_client(fds[1]);
	turn(20);
	CHECK_TRUE(server.ready && client.ready);
	CHECK_INT(worker->tls.pending_count, 0);
}

static void end(void)
{
	conn_close(&server.conn);
	conn_close(&client.conn);
	turn(1);
	CHECK(server.freed && client.freed);
	CHECK_INT(worker->tls.pending_count, 0);
	worker_free(worker);
	SSL_CTX_free(server_ctx);
	SSL_CTX_free(client_ctx);
	free(server.heard);
	free(client.heard);
	server.heard = client.heard = NULL;
}

static int say(struct side *from, const void *bytes, size_t len)
{
	stage_span(&worker->stage, span_make(bytes, len));
	return conn_flush(&from->conn, &worker->stage);
}

static char *pattern(size_t bytes)
{
	char *p = malloc(bytes);

	CHECK_TRUE(p != NULL);
	for (size_t i = 0; i < bytes; i++)
		p[i] = (char)(i * 2654435761u >> 13);
	return p;
}

/* --- tests -------------------------------------------------------------------------------------
 */

static void bytes_pass_both_ways_after_the_handshake(void)
{
	connect_both();
	CHECK_INT(say(&client, "question", 8), 0);
	turn(3);
	CHECK_TEXT(span_make(server.heard, server.heard_bytes), "question");
	CHECK_INT(say(&server, "answer", 6), 0);
	turn(3);
	CHECK_TEXT(span_make(client.heard, client.heard_bytes), "answer");
	CHECK(!server.conn.in && !client.conn.in);
	CHECK_INT(atomic_load(&worker->tls.done_total[1][0]), 1);
	CHECK_INT(atomic_load(&worker->tls.failed_total), 0);
	end();
}

static void what_the_socket_does_not_take_comes_later_and_in_order(void)
{
	const size_t bytes = 200 * 1024;
	char *sent = pattern(bytes);

	connect_both();
	for (unsigned i = 0; i < 20; i++) {
		CHECK_INT(say(&server, sent, bytes), 0);
		CHECK_INT(say(&client, sent, bytes), 0);
		CHECK(conn_blocked(&server.conn));
		server.drained = false;
		for (unsigned n = 0;
			n < 1000 && (conn_blocked(&server.conn) || conn_blocked(&client.conn)); n++)
			turn(1);
		turn(10);
		CHECK(server.drained);
		CHECK_INT(client.heard_bytes, bytes);
		CHECK_INT(server.heard_bytes, bytes);
		CHECK(memcmp(client.heard, sent, bytes) == 0 &&
			memcmp(server.heard, sent, bytes) == 0);
		client.heard_bytes = server.heard_bytes = 0;
	}
	free(sent);
	end();
}

static void records_grow_from_a_packet_to_the_largest(void)
{
	const size_t bytes = 120 * 1024;
	char *sent = pattern(bytes);
	unsigned n;

	connect_both();
	CHECK_INT(say(&server, sent, bytes), 0);
	turn(60);
	CHECK_INT(client.heard_bytes, bytes);
	CHECK(client.records[0] > TLS_RECORD_MIN && client.records[0] <= TLS_RECORD_MIN + 32);
	CHECK(client.records[1] > 2 * TLS_RECORD_MIN &&
		client.records[1] <= 2 * TLS_RECORD_MIN + 32);
	CHECK(client.records[6] > TLS_RECORD_MAX);
	n = client.record_count;
	worker->now_ns += TLS_RECORD_IDLE_NS; /* an idle second */
	CHECK_INT(say(&server, sent, 4 * TLS_RECORD_MIN), 0);
	turn(10);
	CHECK(client.records[n] <= TLS_RECORD_MIN + 32);
	free(sent);
	end();
}

static void pieces_of_one_send_share_a_record(void)
{
	connect_both();
	for (unsigned i = 0; i < 30; i++) {
		static const char pieces[64] = "pieces";

		stage_span(&worker->stage, span_make(pieces + i % 2, 6));
	}
	CHECK_INT(conn_flush(&server.conn, &worker->stage), 0);
	turn(5);
	CHECK_INT(client.heard_bytes, 180);
	CHECK_INT(client.record_count, 1);
	end();
}

static void a_resumed_connection_hears_what_was_decrypted_before(void)
{
	char *sent = pattern(40 * 1024);

	connect_both();
	server.greedy = false; /* pauses after each read */
	CHECK_INT(say(&client, sent, 2000), 0);
	CHECK_INT(say(&client, sent + 2000, 2000), 0);
	turn(5);
	CHECK_INT(server.reads, 1);
	/* A read of less than a record leaves the rest of it with OpenSSL. */
	CHECK_INT(say(&client, sent + 4000, 36 * 1024), 0);
	for (unsigned i = 0; i < 50; i++) {
		unsigned reads = server.reads;

		turn(2);
		CHECK(server.reads == reads); /* it is paused */
		conn_resume(&server.conn);
		turn(2);
	}
	CHECK_INT(server.heard_bytes, 4000 + 36 * 1024);
	CHECK(memcmp(server.heard, sent, server.heard_bytes) == 0);
	free(sent);
	end();
}

static void an_end_is_heard_and_the_other_way_stays_open(void)
{
	connect_both();
	CHECK_INT(conn_shutdown(&client.conn), 0);
	turn(3);
	CHECK(server.ended && !server.broken);
	CHECK_INT(say(&server, "late", 4), 0);
	CHECK_INT(conn_shutdown(&server.conn), 0);
	turn(3);
	CHECK_TEXT(span_make(client.heard, client.heard_bytes), "late");
	CHECK(client.ended && !client.broken);
	end();
}

static void an_end_without_goodbye_is_one_of_a_client_and_an_error_of_a_server(void)
{
	connect_both();
	CHECK_INT(shutdown(client.conn.fd, SHUT_WR), 0);
	turn(3);
	CHECK(server.ended && !server.broken);
	CHECK_INT(shutdown(server.conn.fd, SHUT_WR), 0);
	turn(3);
	CHECK(client.broken && !client.ended);
	end();
}

static void an_abort_says_no_goodbye(void)
{
	connect_both();
	conn_abort(&server.conn);
	turn(3);
	CHECK(server.freed);
	CHECK(client.broken && !client.ended);
	end();
}

static void a_handshake_that_stalls_is_closed_in_time(void)
{
	int fds[2];

	begin();
	make_pair(fds);
	start_server(fds[0]);
	conn_deadline(&server.conn, 1);
	turn(2);
	CHECK_INT(worker->tls.pending_count, 1);
	CHECK(!server.freed);
	worker->tls.told_ns = worker->now_ns; /* keep the log quiet */
	for (unsigned i = 0; i < 50 && !server.freed; i++) {
		usleep(10000);
		turn(1);
	}
	CHECK(server.freed && !server.timed_out && !server.ready);
	CHECK_INT(worker->tls.pending_count, 0);
	CHECK_INT(atomic_load(&worker->tls.failed_total), 1);
	side_init(&client, fds[1]);
	end();
}

static void what_is_no_tls_is_closed_and_counted(void)
{
	int fds[2];

	begin();
	make_pair(fds);
	start_server(fds[0]);
	worker->tls.told_ns = worker->now_ns + 1;
	CHECK_INT(write(fds[1], "GET / HTTP/1.1\r\n\r\n", 18), 18);
	turn(3);
	CHECK(server.freed && !server.ready);
	CHECK_INT(atomic_load(&worker->tls.failed_total), 1);
	side_init(&client, fds[1]);
	end();
}

static void one_turn_of_the_loop_takes_few_steps(void)
{
	int fds[2];

	begin();
	make_pair(fds);
	start_server(fds[0]);
	start_client(fds[1]);
	turn(1);
	worker->now_ns = worker->tls.steps_ns = 1;
	worker->tls.first_steps = TLS_FIRST_STEPS_MAX;
	server.conn.handler->on_readable(&server.conn);
	CHECK_INT(worker->tls.first_steps, TLS_FIRST_STEPS_MAX);
	CHECK(!server.ready && !tls_is_crowded(worker));
	worker->now_ns++;
	CHECK(tls_is_crowded(worker));
	worker->now_ns++;
	CHECK(!tls_is_crowded(worker));
	server.conn.handler->on_readable(&server.conn);
	turn(1); /* the client answers */
	worker->tls.later_steps = TLS_LATER_STEPS_MAX;
	server.conn.handler->on_readable(&server.conn);
	CHECK_INT(worker->tls.later_steps, TLS_LATER_STEPS_MAX);
	CHECK(!server.ready && worker->tls.refused);
	turn(20);
	CHECK(server.ready && client.ready);
	end();
}

static void of_too_many_handshakes_the_oldest_makes_way(void)
{
	struct side *all = calloc(TLS_HANDSHAKES_MAX + 2, sizeof(*all));

	begin();
	side_init(&server, -1);
	side_init(&client, -1);
	CHECK_TRUE(all != NULL);
	for (unsigned i = 0; i < TLS_HANDSHAKES_MAX + 2; i++) {
		conn_init(&all[i].conn, worker, &handler, -1);
		CHECK_INT(tls_accept(&all[i].conn, SSL_new(server_ctx), on_ready), 0);
	}
	CHECK_INT(worker->tls.pending_count, TLS_HANDSHAKES_MAX);
	turn(1);
	CHECK(all[0].freed && all[1].freed && !all[2].freed);
	CHECK_INT(atomic_load(&worker->tls.failed_total), 2);
	for (unsigned i = 2; i < TLS_HANDSHAKES_MAX + 2; i++)
		conn_close(&all[i].conn);
	end();
	free(all);
}

static void a_server_that_is_not_who_it_should_be_is_refused(void)
{
	int fds[2];

	begin();
	SSL_CTX_set_verify(client_ctx, SSL_VERIFY_PEER, NULL);
	X509_VERIFY_PARAM_set1_host(SSL_CTX_get0_param(client_ctx), "b.test", 0);
	make_pair(fds);
	start_server(fds[0]);
	start_client(fds[1]);
	worker->tls.told_ns = worker->now_ns + 1;
	turn(20);
	CHECK_INT(client.connect_error, EPROTO);
	CHECK(strstr(client.fault, "hostname mismatch") != NULL);
	CHECK(client.freed && !client.ready);
	/* With 1.3 the server was done when the client refused: it hears of it as an error. */
	CHECK(server.broken || server.freed);
	end();
}

static void without_memory_for_a_session_there_is_no_tls(void)
{
	int fds[2];

	begin();
	make_pair(fds);
	side_init(&server, fds[0]);
	side_init(&client, fds[1]);
	CHECK_INT(tls_accept(&server.conn, NULL, on_ready), -1);
	CHECK_INT(errno, ENOMEM);
	CHECK(!server.conn.transport && server.conn.handler == &handler);
	end();
}

/* --- out of memory -----------------------------------------------------------------------------
 */

/* OpenSSL's, through the allocator that fails on demand. */

static bool scarce;

/* LeakSanitizer's, where that is built in. */
void __lsan_disable(void) __attribute__((weak));
void __lsan_enable(void) __attribute__((weak));

/* Without memory for all of a certificate OpenSSL 3.0 leaks what it has read of it: while memory is
 * scarce nobody looks at what OpenSSL does with its own. */
static void *its_malloc(size_t size, const char *file, int line)
{
	bool hidden = scarce && __lsan_disable;
	void *ptr;

	(void)file, (void)line;
	if (hidden)
		__lsan_disable();
	ptr = malloc(size);
	if (hidden)
		__lsan_enable();
	return ptr;
}

static void *its_realloc(void *old, size_t size, const char *file, int line)
{
	(void)file, (void)line;
	return realloc(old, size);
}

static void its_free(void *ptr, const char *file, int line)
{
	(void)file, (void)line;
	free(ptr);
}

static struct tls_kept kept;

/* A question, and an answer up to the end, as far as it goes. */
static void talk(const char *answer, size_t bytes)
{
	SSL *ours = SSL_new(server_ctx), *theirs;

	if (tls_accept(&server.conn, ours, on_ready) < 0)
		return;
	conn_start(&server.conn);
	theirs = SSL_new(client_ctx);
	if (tls_connect(&client.conn, theirs, &kept) < 0)
		return;
	conn_start_connecting(&client.conn);
	turn(20);
	if (!client.ready || client.freed || say(&client, "question", 8) < 0)
		return;
	turn(5);
	if (!server.heard_bytes || server.freed)
		return;
	if (say(&server, answer, bytes) < 0) {
		conn_abort(&server.conn);
		turn(5);
		return;
	}
	for (unsigned i = 0; i < 100 && !server.freed && conn_blocked(&server.conn); i++)
		turn(1);
	if (!server.freed && !conn_blocked(&server.conn))
		conn_shutdown(&server.conn);
	turn(10);
}

/* The nth allocation fails, or all from it on. False: there are not so many. */
static bool talk_without(size_t nth, bool lasting, const char *answer, size_t bytes)
{
	size_t made;
	int fds[2];

	begin();
	SSL_CTX_set_num_tickets(server_ctx, 2);
	make_pair(fds);
	side_init(&server, fds[0]);
	side_init(&client, fds[1]);
	worker->tls.told_ns = worker->now_ns + 1;
	scarce = true;
	scarce_begin(nth, lasting);
	talk(answer, bytes);
	made = scarce_end();
	scarce = false;
	CHECK(server.heard_bytes <= 8 && memcmp(server.heard, "question", server.heard_bytes) == 0);
	CHECK(client.heard_bytes <= bytes && memcmp(client.heard, answer, client.heard_bytes) == 0);
	CHECK(!client.ended || client.heard_bytes == bytes);
	CHECK(made < nth ? client.ended : true);
	tls_kept_drop(&kept);
	end();
	return made >= nth;
}

static void a_failed_allocation_costs_a_connection_and_nothing_looks_whole(void)
{
	const size_t bytes = 40 * 1024;
	const size_t step = getenv("TANDEM_EVERY_ALLOCATION") ? 1 : 17;
	char *answer = pattern(bytes);
	size_t n = 1;

	CHECK(!talk_without(SIZE_MAX, false, answer, bytes)); /* and all is loaded that is kept */
	while (talk_without(n, false, answer, bytes))
		n += step;
	CHECK(n > 1000);
	for (n = 1; talk_without(n, true, answer, bytes);)
		n += 3 * step;
	free(answer);
}

static const struct test_case cases[] = {
	TEST(bytes_pass_both_ways_after_the_handshake),
	TEST(what_the_socket_does_not_take_comes_later_and_in_order),
	TEST(records_grow_from_a_packet_to_the_largest),
	TEST(pieces_of_one_send_share_a_record),
	TEST(a_resumed_connection_hears_what_was_decrypted_before),
	TEST(an_end_is_heard_and_the_other_way_stays_open),
	TEST(an_end_without_goodbye_is_one_of_a_client_and_an_error_of_a_server),
	TEST(an_abort_says_no_goodbye),
	TEST(a_handshake_that_stalls_is_closed_in_time),
	TEST(what_is_no_tls_is_closed_and_counted),
	TEST(one_turn_of_the_loop_takes_few_steps),
	TEST(of_too_many_handshakes_the_oldest_makes_way),
	TEST(a_server_that_is_not_who_it_should_be_is_refused),
	TEST(without_memory_for_a_session_there_is_no_tls),
	TEST(a_failed_allocation_costs_a_connection_and_nothing_looks_whole),
};

int main(void)
{
	if (!CRYPTO_set_mem_functions(its_malloc, its_realloc, its_free))
		return 99;
	return tests_run("tls", cases, countof(cases));
}
