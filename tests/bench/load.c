/*
 * The load on a proxy and the server behind it, in one thread and one loop that polls: nothing that
 * the proxy does wakes anybody, so what is measured is the proxy. Everything on loopback.
 *
 *	load [options] ORIGIN-PORT PROXY-PORT
 *	load [-s N] ORIGIN-PORT		only the server, until standard input ends
 *
 *	-p PATH		what to ask for (/0 /1k /10k /100k /1m /100m)
 *	-m BYTES	POST so many bytes instead of GET
 *	-c N		kept connections
 *	-1		a connection a request, N at a time
 *	-k N		use N connections once each, and hold them open
 *	-r RATE		open loop, requests a second (Poisson); else closed loop
 *	-H N		Host is one of N names at random
 *	-s N		N servers instead of one
 *	-w N		requests of the warming run
 *	-n N | -d MS	requests, or length, of the run that counts
 *	-x S		give up after so many seconds
 *
 * Says "ready" when the server listens, and waits for a line on standard input; runs the warming
 *run, says "warm", waits for a line; runs the run that counts, prints its result as one JSON
 *object, and keeps all connections open until standard input gives a line or ends. So whoever
 *started it reads the clocks of the proxy while all is quiet, and every request counted began and
 *ended in between.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>

#include "shared/assert.h"
#include "shared/units.h"
#include "tests/bench/asker.h"
#include "tests/bench/origin.h"
#include "tests/bench/stream.h"

enum { HOLD_PARALLEL = 16, CONNECTIONS_MAX = 50000, SERVERS_MAX = 10000 };

struct load {
	uint16_t origin_port;
	unsigned servers, hold;
	uint64_t warm_count;
	struct asker_plan plan;
	struct asker_run run;
};

static uint64_t number(const char *text, uint64_t max)
{
	char *end;
	unsigned long long n;

	errno = 0;
	n = strtoull(text, &end, 10);
	if (errno || *end || end == text || *text == '-' || n > max) {
		fprintf(stderr, "load: '%s' is not a number up to %" PRIu64 "\n", text, max);
		exit(2);
	}
	return n;
}

_Noreturn static void usage(void)
{
	fputs("usage: load [-p PATH] [-m BYTES] [-c N | -k N] [-1] [-r RATE] [-H N] [-s N] [-w N]\n"
	      "            -n N | -d MS [-x S] ORIGIN-PORT PROXY-PORT\n",
		stderr);
	exit(2);
}

static void option(struct load *l, int c)
{
	switch (c) {
	case 'p':
		l->plan.path = optarg;
		break;
	case 'm':
		l->plan.post_bytes = number(optarg, UINT32_MAX);
		break;
	case 'c':
		l->plan.connections = (unsigned)number(optarg, CONNECTIONS_MAX);
		break;
	case '1':
		l->plan.fresh = true;
		break;
	case 'k':
		l->hold = (unsigned)number(optarg, CONNECTIONS_MAX);
		break;
	case 'r':
		l->plan.rate_per_s = number(optarg, NS_PER_S);
		break;
	case 'H':
		l->plan.hosts = (unsigned)number(optarg, UINT32_MAX);
		break;
	case 's':
		l->servers = (unsigned)number(optarg, SERVERS_MAX);
		break;
	case 'w':
		l->warm_count = number(optarg, UINT32_MAX);
		break;
	case 'n':
		l->run.count = number(optarg, UINT32_MAX);
		break;
	case 'd':
		l->run.duration_ns = number(optarg, UINT32_MAX) * NS_PER_MS;
		break;
	case 'x':
		l->run.patience_ns = number(optarg, 3600) * NS_PER_S;
		break;
	default:
		usage();
	}
}

static void options_read(struct load *l, int argc, char **argv)
{
	int c;

	*l = (struct load){
		.servers = 1,
		.plan = {.connections = 1, .path = "/0"},
		.run = {.patience_ns = 60 * NS_PER_S},
	};
	while ((c = getopt(argc, argv, "p:m:c:1k:r:H:s:w:n:d:x:")) != -1)
		option(l, c);
	if (argc - optind < 1 || argc - optind > 2 || l->servers == 0)
		usage();
	l->origin_port = (uint16_t)number(argv[optind], UINT16_MAX);
	if (argc - optind == 1)
		return;
	l->plan.port = (uint16_t)number(argv[optind + 1], UINT16_MAX);
	l->plan.parallel = l->plan.connections;
	if (l->hold > 0) {
		l->plan.hold = true;
		l->plan.connections = l->hold + (unsigned)l->warm_count;
		l->plan.parallel = HOLD_PARALLEL;
		l->run.count = l->hold;
	}
	if (l->plan.connections < l->plan.parallel)
		l->plan.parallel = l->plan.connections;
	if (l->plan.connections == 0 || l->plan.connections > CONNECTIONS_MAX ||
		(l->run.count == 0) == (l->run.duration_ns == 0))
		usage();
}

static void on_input(struct source *s, uint32_t events)
{
	(void)s;
	(void)events;
	exit(0);
}

/* Sleeps between events, for clients of other makes that share the processor with us. */
_Noreturn static void serve(int epoll)
{
	struct epoll_event event;
	struct source input = {.on_event = on_input};

	puts("ready");
	fflush(stdout);
	if (source_add(epoll, STDIN_FILENO, EPOLLIN, &input) < 0) {
		perror("load: standard input");
		exit(1);
	}
	for (;;)
		if (epoll_wait(epoll, &event, 1, -1) == 1) {
			struct source *s = event.data.ptr;

			s->on_event(s, event.events);
		}
}

static void result_print(const struct asker_result *r)
{
	const struct histogram *h = &r->latency_ns;

	printf("{\"answered\": %" PRIu64 ", \"failed\": %" PRIu64 ", \"lost\": %" PRIu64
	       ", \"reopened\": %" PRIu64 ", \"body_bytes\": %" PRIu64 ", \"seconds\": %.6f",
		r->answered, r->failed, r->lost, r->reopened, r->body_bytes,
		(double)r->elapsed_ns / (double)NS_PER_S);
	printf(", \"p50_us\": %.1f, \"p90_us\": %.1f, \"p99_us\": %.1f, \"p999_us\": %.1f, "
	       "\"max_us\": "
	       "%.1f, \"lag_p99_us\": %.1f",
		(double)histogram_quantile(h, 0.5) / 1e3, (double)histogram_quantile(h, 0.9) / 1e3,
		(double)histogram_quantile(h, 0.99) / 1e3,
		(double)histogram_quantile(h, 0.999) / 1e3, (double)h->max / 1e3,
		(double)histogram_quantile(&r->lag_ns, 0.99) / 1e3);
	if (r->reason) /* strerror()'s words and ours need no escapes; an answer might */
		printf(", \"reason\": \"%s\"", r->reason);
	printf("}\n");
	if (r->reason && r->answer[0])
		fprintf(stderr, "load: the last answer began: %s\n", r->answer);
	fflush(stdout);
}

/* Says the word, and waits for a line; an end of input ends the program. */
static void gate(const char *word)
{
	char line[16];

	puts(word);
	fflush(stdout);
	if (!fgets(line, sizeof(line), stdin))
		exit(0);
}

int main(int argc, char **argv)
{
	static struct asker_result result; /* large */
	struct rlimit files;
	struct load l;
	struct asker *asker;
	int epoll = epoll_create1(EPOLL_CLOEXEC);

	options_read(&l, argc, argv);
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	if (!origin_new(epoll, l.origin_port, l.servers)) {
		fprintf(stderr, "load: port %u: %s\n", l.origin_port, strerror(errno));
		return 1;
	}
	if (l.plan.port == 0)
		serve(epoll);
	asker = asker_new(epoll, &l.plan);
	if (!asker) {
		perror("load");
		return 1;
	}
	gate("ready");
	if (l.warm_count > 0) {
		struct asker_run warm = {.count = l.warm_count, .patience_ns = l.run.patience_ns};

		asker_run(asker, &warm, &result);
		if (result.failed + result.lost > 0) {
			result_print(&result);
			return 1;
		}
	}
	gate("warm");
	asker_run(asker, &l.run, &result);
	result_print(&result);
	(void)!getchar();
	return 0;
}
