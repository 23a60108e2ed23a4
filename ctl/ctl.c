/*
 * The command line of tandemctl, and what its verbs share. Flags may stand before or after the
 * verb; one table says which verb takes what.
 */
#include "config.h"

#include "ctl/ctl.h"

#include <getopt.h>
#include <stdarg.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "shared/assert.h"
#include "shared/conf.h"
#include "shared/units.h"

/* --- asking ---------------------------------------------------------------------------------- */
void die(const char *what)
{
	fprintf(stderr, "tandemctl: %s\n", what);
	exit(REFUSED);
}

void complain(const char *fmt, ...)
{
	char words[1024];
	va_list args;

	va_start(args, fmt);
	vsnprintf(words, sizeof(words), fmt, args);
	va_end(args);
	fputs("tandemctl: ", stderr);
	print_lines(words, stderr);
}

void print_lines(const char *text, FILE *to)
{
	struct span rest = span_of(text);

	do {
		size_t end = span_find(rest, '\n', 0);
		char *line = span_dup(span_make(rest.ptr, end));

		if (!line)
			die("out of memory");
		tint_print(line, TINT_NONE, false, to);
		putc('\n', to);
		free(line);
		rest = span_from(rest, end < rest.len ? end + 1 : end);
	} while (rest.len);
}

const char *daemon_name(enum daemon d)
{
	return d == PROXY ? "tandem-proxy" : "tandem-failover";
}

void daemon_path(const struct ctl *c, enum daemon d, char *out, size_t size)
{
	snprintf(out, size, "%s/%s.sock", c->run_dir, d == PROXY ? "proxy" : "failover");
}

enum rpc_rc ask(const struct ctl *c, enum daemon d, const char *method, json_t *params,
	uint64_t timeout_ms, json_t **ret_result, struct err *err)
{
	char path[4096];

	daemon_path(c, d, path, sizeof(path));
	return rpc_call(path, method, params, timeout_ms, ret_result, err);
}

int ask_exit(enum rpc_rc rc, const struct err *err)
{
	switch (rc) {
	case RPC_OK:
		return DONE;
	case RPC_REFUSED:
		complain("%s", err->text);
		return REFUSED;
	case RPC_UNREACHABLE:
		complain("%s", err->text);
		return UNREACHABLE;
	}
	ASSERT(!"an rpc_rc");
}

static void dump(const struct ctl *c, json_t *value, size_t flags)
{
	if (!value || json_dumpf(value, c->out, flags | JSON_ENCODE_ANY) < 0)
		die("cannot write the answer");
	putc('\n', c->out);
	fflush(c->out);
	json_decref(value);
}

void print_json(const struct ctl *c, json_t *value)
{
	dump(c, value, JSON_INDENT(4));
}

void print_json_line(const struct ctl *c, json_t *value)
{
	dump(c, value, JSON_COMPACT);
}

/* --- reading answers ------------------------------------------------------------------------- */
const char *text_at(const json_t *object, const char *name)
{
	const char *text = json_string_value(json_object_get(object, name));

	return text ? text : "-";
}

const char *number_at(const json_t *object, const char *name, char out[NUMBER_MAX])
{
	const json_t *value = json_object_get(object, name);

	if (json_is_integer(value))
		snprintf(out, NUMBER_MAX, "%lld", (long long)json_integer_value(value));
	else if (json_is_real(value))
		snprintf(out, NUMBER_MAX, "%.1f", json_real_value(value));
	else
		snprintf(out, NUMBER_MAX, "-");
	return out;
}

json_int_t int_at(const json_t *object, const char *name)
{
	return json_integer_value(json_object_get(object, name));
}

const char *ago(const char *rfc3339, char out[NUMBER_MAX])
{
	struct tm tm = {0};
	const char *end = strptime(rfc3339, "%Y-%m-%dT%H:%M:%S", &tm);
	double s;

	snprintf(out, NUMBER_MAX, "-");
	if (!end || (*end != '.' && *end != 'Z'))
		return out;
	s = difftime(time(NULL), timegm(&tm));
	if (s < 120)
		snprintf(out, NUMBER_MAX, "%.0f s", s < 0 ? 0 : s);
	else if (s < 7200)
		snprintf(out, NUMBER_MAX, "%.0f min", s / 60);
	else if (s < 172800)
		snprintf(out, NUMBER_MAX, "%.0f h", s / 3600);
	else
		snprintf(out, NUMBER_MAX, "%.0f d", s / 86400);
	return out;
}

/* --- the command line ------------------------------------------------------------------------ */
enum {
	TAKES_ARGUMENT = 1, /* one at most; for more there is ARGUMENTS() */
	TAKES_WATCH = 2,
	TAKES_SINCE = 4,
	TAKES_FOR = 8,
	TAKES_TIMEOUT = 16,
	TAKES_WAIT = 32,
	TAKES_SERVER = 64,   /* --weight, --zone, --backup */
	TAKES_REQUEST = 128, /* --header, --from */
	TAKES_EFFECTIVE = 256,
	TAKES_ONCE = 512,
};
#define ARGUMENTS(least, most) ((least) << 16 | (most) << 20)
#define LEAST(takes) ((int)((takes) >> 16 & 15))
#define MOST(takes) ((takes)&TAKES_ARGUMENT ? 1 : (int)((takes) >> 20 & 15))

static const struct verb {
	const char *name, *usage, *help;
	unsigned takes;
	int (*run)(struct ctl *c);
} verbs[] = {
	{"status", "status [-w]", "both daemons at a glance; -w draws it again each second",
		TAKES_WATCH, verb_status},
	{"pools", "pools", "the pools, their servers summed up", 0, verb_pools},
	{"servers", "servers [POOL]", "each server: health, weight, requests", TAKES_ARGUMENT,
		verb_servers},
	{"certs", "certs", "the certificates, the one that ends first on top", 0, verb_certs},
	{"events", "events [--since N]", "what changes, as it changes; --since first replays",
		TAKES_SINCE, verb_events},
	{"errors", "errors", "the last malformed requests and responses, and where they are wrong",
		0, verb_errors},
	{"drain", "drain POOL/SERVER [--timeout TIME] [--wait]",
		"nothing new to a server, but for users bound to it; maintenance after the time",
		TAKES_TIMEOUT | TAKES_WAIT | ARGUMENTS(1, 1), verb_admin},
	{"ready", "ready POOL/SERVER", "use a server again", ARGUMENTS(1, 1), verb_admin},
	{"maintenance", "maintenance POOL/SERVER [--wait]", "nothing to a server, and no checks",
		TAKES_WAIT | ARGUMENTS(1, 1), verb_admin},
	{"weight", "weight POOL/SERVER N", "a server's share, until the configuration changes it",
		ARGUMENTS(2, 2), verb_weight},
	{"server", "server add POOL/SERVER ADDRESS:PORT | remove POOL/SERVER",
		"a server that the configuration does not have; with --weight N, --zone ZONE, "
		"--backup; remove with --wait",
		TAKES_SERVER | TAKES_WAIT | ARGUMENTS(1, 3), verb_server},
	{"explain", "explain METHOD URL [-H 'NAME: VALUE'] [--from IP]",
		"what would become of a request: listener, route, rewrites, pool, servers",
		TAKES_REQUEST | ARGUMENTS(2, 2), verb_explain},
	{"check", "check [FILE]", "validate a configuration file", TAKES_ARGUMENT, verb_check},
	{"plan", "plan [FILE]", "what a reload of this file would change and whom it would touch",
		TAKES_ARGUMENT, verb_plan},
	{"reload", "reload", "have both daemons read their configuration again", 0, verb_reload},
	{"rollback", "rollback", "have the proxy run the configuration before this one again", 0,
		verb_rollback},
	{"config", "config show [--effective]",
		"what runs, value by value, and where each comes from; with the defaults",
		TAKES_EFFECTIVE | ARGUMENTS(1, 1), verb_config},
	{"top", "top [--once]", "what every server does now", TAKES_ONCE, verb_top},
	{"dump", "dump", "all that a supporter asks for, as JSON; no secrets", 0, verb_dump},
	{"switchover", "switchover [GROUP]", "hand the virtual addresses to the other node",
		TAKES_ARGUMENT, verb_switchover},
	{"freeze", "freeze [GROUP] [--for TIME]",
		"no failover until resumed, or for a time such as 10m", TAKES_ARGUMENT | TAKES_FOR,
		verb_freeze},
	{"resume", "resume [GROUP]", "end a freeze", TAKES_ARGUMENT, verb_resume},
};

enum {
	FLAG_RUN_DIR = 256,
	FLAG_JSON,
	FLAG_SINCE,
	FLAG_FOR,
	FLAG_FROM,
	FLAG_TIMEOUT,
	FLAG_WAIT,
	FLAG_WEIGHT,
	FLAG_ZONE,
	FLAG_BACKUP,
	FLAG_EFFECTIVE,
	FLAG_ONCE,
	FLAG_VERSION
};

static const struct option flags[] = {
	{"run-dir", required_argument, NULL, FLAG_RUN_DIR},
	{"json", no_argument, NULL, FLAG_JSON},
	{"watch", no_argument, NULL, 'w'},
	{"since", required_argument, NULL, FLAG_SINCE},
	{"for", required_argument, NULL, FLAG_FOR},
	{"timeout", required_argument, NULL, FLAG_TIMEOUT},
	{"wait", no_argument, NULL, FLAG_WAIT},
	{"weight", required_argument, NULL, FLAG_WEIGHT},
	{"zone", required_argument, NULL, FLAG_ZONE},
	{"backup", no_argument, NULL, FLAG_BACKUP},
	{"from", required_argument, NULL, FLAG_FROM},
	{"header", required_argument, NULL, 'H'},
	{"effective", no_argument, NULL, FLAG_EFFECTIVE},
	{"once", no_argument, NULL, FLAG_ONCE},
	{"version", no_argument, NULL, FLAG_VERSION},
	{"help", no_argument, NULL, 'h'},
	{NULL, 0, NULL, 0},
};

static const char flags_help[] =
	"  --run-dir DIR   where the daemons' sockets are (default /run/tandem)\n"
	"  --json          the answer as JSON, for programs\n"
	"  --version       print the version\n"
	"  -h, --help      print this, or after a verb its own help\n";

static int wrong_usage(void)
{
	fprintf(stderr, "try 'tandemctl --help'\n");
	return USAGE;
}

static void print_help(FILE *to, const struct verb *only)
{
	if (only) {
		fprintf(to, "Usage: tandemctl [flags] %s\n%s\n\nFlags:\n%s", only->usage,
			only->help, flags_help);
		return;
	}
	fprintf(to, "Usage: tandemctl [flags] VERB ...\n\nVerbs:\n");
	for (size_t i = 0; i < countof(verbs); i++)
		fprintf(to, strlen(verbs[i].usage) > 28 ? "  %s\n%31s%s\n" : "  %-28s%1s%s\n",
			verbs[i].usage, "", verbs[i].help);
	fprintf(to, "\nFlags:\n%s", flags_help);
}

static const struct verb *verb_find(const char *word)
{
	const char *names[countof(verbs)], *near;

	for (size_t i = 0; i < countof(verbs); i++) {
		if (strcmp(verbs[i].name, word) == 0)
			return &verbs[i];
		names[i] = verbs[i].name;
	}
	near = did_you_mean(span_of(word), names, countof(verbs));
	if (near)
		complain("unknown verb '%s': did you mean '%s'?", word, near);
	else
		complain("unknown verb '%s'", word);
	return NULL;
}

static int wrong_flag(int c, const char *arg)
{
	const char *names[countof(flags)], *near = NULL;
	struct span word = span_of(arg);
	size_t count = 0;

	for (; flags[count].name; count++)
		names[count] = flags[count].name;
	if (c == ':') {
		complain("flag '%s' needs a value", arg);
		return wrong_usage();
	}
	if (optopt >= 256 || (optopt && span_starts(word, SPAN("--")))) {
		complain("flag '%s' takes no value", arg);
		return wrong_usage();
	}
	if (optopt) {
		complain("unknown flag '-%c'", optopt);
		return wrong_usage();
	}
	if (span_starts(word, SPAN("--"))) {
		word = span_from(word, 2);
		word.len = span_find(word, '=', 0);
		near = did_you_mean(word, names, count);
	}
	if (near)
		complain("unknown flag '%s': did you mean '--%s'?", arg, near);
	else
		complain("unknown flag '%s'", arg);
	return wrong_usage();
}

/* What was read beside the verb. */
struct given {
	unsigned takes; /* flags that only some verbs take */
	bool help;
};

/* A flag's time, such as 5m. */
static int take_time(const char *flag_name, const char **ret_text)
{
	struct err err;
	uint64_t ns;

	*ret_text = optarg;
	if (duration_parse(span_of(optarg), &ns, &err) == 0)
		return -1;
	complain("%s: %s", flag_name, err.text);
	return wrong_usage();
}

/* What is said of a server that is added, and how long an order takes. */
static int take_server_flag(struct ctl *c, struct given *g, int flag)
{
	g->takes |= flag == FLAG_TIMEOUT ? TAKES_TIMEOUT
		    : flag == FLAG_WAIT	 ? TAKES_WAIT
					 : TAKES_SERVER;
	if (flag == FLAG_TIMEOUT)
		return take_time("--timeout", &c->timeout_text);
	if (flag == FLAG_WAIT)
		c->wait = true;
	else if (flag == FLAG_ZONE)
		c->zone = optarg;
	else if (flag == FLAG_BACKUP)
		c->backup = true;
	else if (span_to_u64(span_of(optarg), 256, &c->weight) < 0 || c->weight == 0) {
		complain("--weight: '%s' is not a number from 1 to 256", optarg);
		return wrong_usage();
	}
	return -1;
}

/* -1 to go on, else the exit code. */
static int take_flag(struct ctl *c, struct given *g, int flag, char **argv)
{
	switch (flag) {
	case FLAG_RUN_DIR:
		c->run_dir = optarg;
		return -1;
	case FLAG_JSON:
		c->json = true;
		return -1;
	case 'w':
		c->watch = true;
		g->takes |= TAKES_WATCH;
		return -1;
	case FLAG_SINCE:
		g->takes |= TAKES_SINCE;
		c->has_since = true;
		if (span_to_u64(span_of(optarg), INT64_MAX, &c->since) == 0)
			return -1;
		complain("--since: '%s' is not the sequence number of an event", optarg);
		return wrong_usage();
	case FLAG_FOR:
		g->takes |= TAKES_FOR;
		return take_time("--for", &c->for_text);
	case FLAG_EFFECTIVE:
		c->effective = true;
		g->takes |= TAKES_EFFECTIVE;
		return -1;
	case FLAG_ONCE:
		c->once = true;
		g->takes |= TAKES_ONCE;
		return -1;
	case FLAG_TIMEOUT:
	case FLAG_WAIT:
	case FLAG_WEIGHT:
	case FLAG_ZONE:
	case FLAG_BACKUP:
		return take_server_flag(c, g, flag);
	case FLAG_FROM:
		g->takes |= TAKES_REQUEST;
		c->from = optarg;
		return -1;
	case 'H':
		g->takes |= TAKES_REQUEST;
		if (!c->headers && !(c->headers = json_array()))
			die("out of memory");
		if (json_array_append_new(c->headers, json_string(optarg)) == 0)
			return -1;
		complain("-H: '%s' is not UTF-8", optarg);
		return wrong_usage();
	case FLAG_VERSION:
		fprintf(c->out, "tandemctl %s\n", PACKAGE_VERSION);
		return DONE;
	case 'h':
		g->help = true;
		return -1;
	default:
		return wrong_flag(flag, argv[optind - 1]);
	}
}

static int run_verb(struct ctl *c, const struct given *g, int argc, char **argv)
{
	const struct verb *v = verb_find(argv[0]);

	if (!v)
		return wrong_usage();
	if (g->help) {
		print_help(c->out, v);
		return DONE;
	}
	if ((g->takes & ~v->takes) || argc - 1 < LEAST(v->takes) || argc - 1 > MOST(v->takes)) {
		complain("usage: tandemctl %s", v->usage);
		return wrong_usage();
	}
	c->verb = v->name;
	c->argument = argc > 1 ? argv[1] : NULL;
	c->more = argv + 2;
	c->more_count = argc > 2 ? argc - 2 : 0;
	return v->run(c);
}

int ctl_main(int argc, char **argv, FILE *out)
{
	const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");
	struct ctl c = {.run_dir = "/run/tandem", .out = out};
	struct given given = {0};
	int flag, rc;

	c.color = isatty(fileno(out)) && !(no_color && *no_color) &&
		  !(term && strcmp(term, "dumb") == 0);
	optind = 0; /* start over, also for a second call */
	opterr = 0;
	while ((flag = getopt_long(argc, argv, ":wH:h", flags, NULL)) != -1) {
		rc = take_flag(&c, &given, flag, argv);
		if (rc >= 0)
			return rc;
	}
	if (optind < argc) {
		rc = run_verb(&c, &given, argc - optind, argv + optind);
		json_decref(c.headers);
		return rc;
	}
	json_decref(c.headers);
	if (given.help) {
		print_help(c.out, NULL);
		return DONE;
	}
	print_help(stderr, NULL);
	return USAGE;
}
