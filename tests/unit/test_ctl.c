/*
 * tandemctl against stand-ins for both daemons, which serve real sockets from a thread: tables,
 * JSON, words and exit codes.
 */
#include <ctype.h>
#include <ev.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ctl/ctl.h"
#include "shared/units.h"
#include "tests/unit/check.h"

static const char failover_text[] =
	"{'node':'lb-a','version':'0.1.0','frozen':false,'proxy':{'state':'ok','pid':812},"
	"'config':{'generation':4,'peer_matches':false},'groups':{'web':{'state':'ACTIVE',"
	"'since':'2026-11-22T01:02:03.004Z','lease_ms':241,'fence':'netlink','fence_why':'the "
	"kernel has no egress hook',"
	"'connections':31,'peer_connections':17,'virtual_ips':['10.0.0.100/"
	"24','fd00::100/64'],"
	"'interface':'eth0','reason':'peer "
	"silent','held':null}},'peer':{'node':'lb-b','state':'STANDBY',"
	"'proxy_ok':true,'copy':{'connected':true,'path':'cable','lag':3,'trouble':null},'paths':{'"
	"lan':{'up':true,'last_heard_ms':21,'rtt_us':85,'lost':0},"
	"'cable':{'up':false,'last_heard_ms':9000,'rtt_us':40,'lost':7}}}}";
static const char moved_text[] = "{'node':'lb-a','groups':{'web':{'state':'STANDBY'}},'peer':{'"
				 "node':'lb-b','state':'ACTIVE'}}";
static const char proxy_text[] =
	"{'node':'lb-a','version':'0.1.0','pid':812,'role':'active','draining':false,"
	"'upgrade':{'last':{'ok':false,'at':'2026-11-22T01:02:03.004Z','why':'no \\u001b[31m "
	"luck'},"
	"'failed_total':1,'predecessor':811,'predecessor_connections':7,'successor':813},"
	"'config':{'generation':4,'hash':'9f','"
	"last_reload':"
	"{'ok':false,'at':'2026-11-22T01:02:03.004Z','errors':['tandem.yaml:4:1: error: unknown "
	"key']}},"
	"'workers':2,'connections':120,'requests_total':9,'requests_per_second':1.5,"
	"'listeners':{'http':{'bind':[':80','[::]:81'],'connections':5,'requests_total':9}},"
	"'pools':{'api':{'balance':'least_requests','up':1,'total':2,'servers':{"
	"'a1':{'address':'10.0.1.11:80','weight':2,'effective_weight':2,'health':'up','admin':'"
	"ready',"
	"'in_flight':3,'queued':0,'requests_total':100,'failures_total':1},"
	"'a2':{'address':'10.0.1.12:80','weight':2,'effective_weight':0,'health':'down','admin':'"
	"ready',"
	"'reason':'evil \\u001b[31m "
	"words','in_flight':0,'queued':0,'requests_total':5,'failures_total':5}}},"
	"'db':{'balance':'round_robin','up':0,'total':0,'servers':{}}}}";

struct stage {
	char dir[64], paths[2][96];
	struct ev_loop *loop;
	struct rpc_server *servers[2];
	pthread_t thread;
	ev_async wake;
	unsigned looks;	     /* at the agent's status since the switchover */
	bool ordered, stuck; /* a switchover was ordered; it never arrives */
	char group[32], how_long[32], file[256];
};

/* JSON written with ' for ". */
static json_t *quoted(const char *text)
{
	char *copy = strdup(text);
	json_t *value;

	for (char *c = copy; *c; c++)
		if (*c == '\'')
			*c = '"';
	value = json_loads(copy, 0, NULL);
	CHECK_TRUE(value != NULL);
	free(copy);
	return value;
}

#define METHOD(name)                                                                   \
	static int name(void *ctx, const struct rpc_caller *who, const json_t *params, \
		json_t **ret_result, struct err *err)
#define UNUSED (void)ctx, (void)who, (void)params, (void)err

METHOD(failover_status)
{
	struct stage *s = ctx;

	UNUSED;
	*ret_result =
		quoted(s->ordered && !s->stuck && ++s->looks > 3 ? moved_text : failover_text);
	return 0;
}

METHOD(proxy_status)
{
	UNUSED;
	*ret_result = quoted(proxy_text);
	return 0;
}

METHOD(errors)
{
	UNUSED;
	*ret_result = quoted(
		"{'requests':{'total':40,'last':[{'time':'2026-11-22T01:02:03.004Z','listener':"
		"'http','client':'10.0.0.9:5555','status':400,'reason':'control byte','part':"
		"'head','at':26,'lines':[{'at':0,'text':'GET /?a=*** HTTP/1.1\\\\r\\\\n'},"
		"{'at':22,'text':'A: \\\\x01','caret':3}]}]},'responses':{'total':1,'last':["
		"{'time':'2026-11-22T01:02:03.004Z','server':'api/a1','address':'10.0.1.11:80',"
		"'status':502,'reason':'bad \\u001b[31m','part':'content','at':7,'request':'GET /',"
		"'lines':[{'at':0,'text':'***-','caret':3}]}]}}");
	return 0;
}

METHOD(switchover)
{
	struct stage *s = ctx;
	const char *group = json_string_value(json_object_get(params, "group"));

	UNUSED;
	if (group && strcmp(group, "web") != 0)
		return err_set(err, "there is no group '%s'", group);
	s->ordered = true;
	*ret_result = quoted("{'groups':{'web':{'from':'lb-a','to':'lb-b','accepted':true},"
			     "'db':{'from':'lb-a','to':'lb-b','accepted':false,'reason':'the peer "
			     "is in FAULT'}}}");
	if (group)
		json_object_del(json_object_get(*ret_result, "groups"), "db");
	return 0;
}

METHOD(freeze)
{
	struct stage *s = ctx;
	const char *group = json_string_value(json_object_get(params, "group"));
	const char *how_long = json_string_value(json_object_get(params, "for"));

	UNUSED;
	snprintf(s->group, sizeof(s->group), "%s", group ? group : "");
	snprintf(s->how_long, sizeof(s->how_long), "%s", how_long ? how_long : "");
	*ret_result = json_object();
	return 0;
}

METHOD(failover_reload)
{
	UNUSED;
	*ret_result = quoted("{'generation':5,'changes':[]}");
	return 0;
}

METHOD(proxy_reload)
{
	UNUSED;
	*ret_result = quoted("{'ok':true,'generation':7,'changes':['pool api: server a3 added']}");
	return 0;
}

METHOD(check)
{
	struct stage *s = ctx;

	UNUSED;
	snprintf(
		s->file, sizeof(s->file), "%s", json_string_value(json_object_get(params, "file")));
	*ret_result =
		quoted("{'ok':false,'errors':['x'],'warnings':[],'text':'line one\\nline two\\n'}");
	return 0;
}

static const struct rpc_method failover_methods[] = {{"status", failover_status},
	{"switchover", switchover}, {"freeze", freeze}, {"resume", freeze},
	{"reload", failover_reload}, {NULL, NULL}};
static const struct rpc_method proxy_methods[] = {{"status", proxy_status},
	{"reload", proxy_reload}, {"check", check}, {"errors", errors}, {NULL, NULL}};

static void on_wake(struct ev_loop *loop, ev_async *w, int revents)
{
	(void)w;
	(void)revents;
	ev_break(loop, EVBREAK_ALL);
}

static void *turn(void *arg)
{
	ev_run(((struct stage *)arg)->loop, 0);
	return NULL;
}

static void stage_open(struct stage *s, bool failover, bool proxy)
{
	const struct rpc_method *const methods[2] = {proxy_methods, failover_methods};
	const bool there[2] = {proxy, failover};
	struct err err;

	memset(s, 0, sizeof(*s));
	snprintf(s->dir, sizeof(s->dir), "/tmp/tandem-test.XXXXXX");
	CHECK_TRUE(mkdtemp(s->dir) != NULL);
	snprintf(s->paths[PROXY], sizeof(s->paths[0]), "%s/proxy.sock", s->dir);
	snprintf(s->paths[FAILOVER], sizeof(s->paths[0]), "%s/failover.sock", s->dir);
	s->loop = ev_loop_new(EVFLAG_AUTO);
	for (unsigned i = 0; i < 2; i++) {
		const struct rpc_server_options o = {
			.path = s->paths[i], .methods = methods[i], .ctx = s};

		if (!there[i])
			continue;
		s->servers[i] = rpc_server_new(s->loop, &o, &err);
		CHECK_TRUE(s->servers[i] != NULL);
	}
	ev_async_init(&s->wake, on_wake);
	ev_async_start(s->loop, &s->wake);
	CHECK_TRUE(pthread_create(&s->thread, NULL, turn, s) == 0);
}

static void stage_shut(struct stage *s)
{
	ev_async_send(s->loop, &s->wake);
	pthread_join(s->thread, NULL);
	ev_async_stop(s->loop, &s->wake);
	rpc_server_free(s->servers[0]);
	rpc_server_free(s->servers[1]);
	ev_loop_destroy(s->loop);
	CHECK(rmdir(s->dir) == 0);
}

/* --- running tandemctl -------------------------------------------------------------------------
 */
static char *out_text, said[8192];

/* Runs it with --run-dir; returns the exit code, leaves standard output in out_text, standard error
 * in said. */
static int run(struct stage *s, char **argv)
{
	char *full[16] = {(char[]){"tandemctl"}, (char[]){"--run-dir"}, s->dir};
	size_t len = 0;
	int argc = 3, rc, saved, fds[2];
	ssize_t n;
	FILE *out;

	while (argv[argc - 3] && argc < 15) {
		full[argc] = argv[argc - 3];
		argc++;
	}
	free(out_text);
	out_text = NULL;
	out = open_memstream(&out_text, &len);
	CHECK_TRUE(out && pipe(fds) == 0);
	fflush(stderr);
	saved = dup(STDERR_FILENO);
	dup2(fds[1], STDERR_FILENO);
	close(fds[1]);
	rc = ctl_main(argc, full, out);
	fflush(stderr);
	dup2(saved, STDERR_FILENO);
	close(saved);
	fclose(out);
	n = read(fds[0], said, sizeof(said) - 1);
	said[n > 0 ? n : 0] = '\0';
	close(fds[0]);
	return rc;
}

#define RUN(s, ...) run(s, (char *[]){__VA_ARGS__, NULL})
#define ARG(text) ((char[]){text})
#define SHOWS(text, words)                                                                       \
	do {                                                                                     \
		if (!strstr(text, words))                                                        \
			fprintf(stderr, "\n%s:%d: no '%s' in:\n%s\n", __FILE__, __LINE__, words, \
				text);                                                           \
		CHECK(strstr(text, words) != NULL);                                              \
	} while (0)

static void status_shows_both_daemons(void)
{
	struct stage s;

	stage_open(&s, true, true);
	CHECK_INT(RUN(&s, ARG("status")), 0);
	SHOWS(out_text, "tandem-failover 0.1.0 on lb-a: proxy ok (pid 812), configuration "
			"generation 4\n");
	SHOWS(out_text, "10.0.0.100/24, fd00::100/64  peer silent\n");
	SHOWS(out_text, "241       netlink  31           17      eth0");
	SHOWS(out_text, "  web: fence 'netlink': the kernel has no egress hook\n");
	SHOWS(out_text, "peer lb-b: STANDBY, proxy ok, configuration differs, copy over 'cable' "
			"(3 behind)\n");
	SHOWS(out_text, "  cable  down   9000          40      7\n");
	SHOWS(out_text, "tandem-proxy 0.1.0 (pid 812) on lb-a: active, 2 workers, 120 connections, "
			"1.5 requests/s");
	SHOWS(out_text, "  upgrade: the new process (pid 813) is starting\n"
			"  upgrade: the old process (pid 811) has 7 connections left\n"
			"  the last upgrade failed; the process before it runs on (");
	SHOWS(out_text, " ago): no ?[31m luck\n");
	SHOWS(out_text, "the last reload failed");
	SHOWS(out_text, "    tandem.yaml:4:1: error: unknown key\n");
	SHOWS(out_text, ":80, [::]:81");
	SHOWS(out_text, "  api   1/2  least_requests\n");
	CHECK_TEXT(span_of(said), "");
	stage_shut(&s);
}

static void status_says_which_daemon_is_missing(void)
{
	struct stage s;

	stage_open(&s, true, false);
	CHECK_INT(RUN(&s, ARG("status")), 0);
	SHOWS(out_text, "tandem-proxy: not reachable (cannot reach ");
	SHOWS(out_text, "is tandem-proxy running?)\n");
	SHOWS(out_text, "tandem-failover 0.1.0 on lb-a");
	stage_shut(&s);
	stage_open(&s, false, false);
	CHECK_INT(RUN(&s, ARG("status")), 3);
	SHOWS(out_text, "tandem-failover: not reachable");
	stage_shut(&s);
}

static void status_json_has_an_object_for_each_or_null(void)
{
	struct stage s;
	json_t *both;

	stage_open(&s, false, true);
	CHECK_INT(RUN(&s, ARG("status"), ARG("--json")), 0);
	both = json_loads(out_text, 0, NULL);
	CHECK_TRUE(both != NULL);
	CHECK(json_is_null(json_object_get(both, "failover")));
	CHECK_INT(int_at(json_object_get(both, "proxy"), "workers"), 2);
	json_decref(both);
	stage_shut(&s);
}

static void pools_and_servers_are_tables(void)
{
	struct stage s;

	stage_open(&s, false, true);
	CHECK_INT(RUN(&s, ARG("pools")), 0);
	CHECK_TEXT(span_of(out_text),
		"POOL  UP   BALANCE         IN FLIGHT  QUEUED  REQUESTS  FAILURES\n"
		"api   1/2  least_requests  3          0       105       6\n"
		"db    0/0  round_robin     0          0       0         0\n");
	CHECK_INT(RUN(&s, ARG("servers"), ARG("api")), 0);
	SHOWS(out_text,
		"api/a1  10.0.1.11:80  -    up      ready  2       3          0       100       1");
	SHOWS(out_text, "api/a2  10.0.1.12:80  -    down    ready  0 of 2  0 ");
	SHOWS(out_text, "evil ?[31m words\n"); /* and nothing steers the terminal */
	CHECK_INT(RUN(&s, ARG("servers"), ARG("apii")), 1);
	CHECK_TEXT(span_of(said), "tandemctl: there is no pool 'apii': did you mean 'api'?\n");
	CHECK_INT(RUN(&s, ARG("--json"), ARG("servers"), ARG("api")), 0);
	SHOWS(out_text, "\"a2\": {");
	CHECK(strstr(out_text, "\"db\"") == NULL);
	stage_shut(&s);
	stage_open(&s, true, false);
	CHECK_INT(RUN(&s, ARG("pools")), 3);
	SHOWS(said, "is tandem-proxy running?");
	stage_shut(&s);
}

static void errors_are_shown_with_a_caret(void)
{
	struct stage s;

	stage_open(&s, false, true);
	CHECK_INT(RUN(&s, ARG("errors")), 0);
	CHECK_TEXT(span_of(out_text),
		"malformed requests: 40, the last 1 that were looked at:\n"
		"\n"
		"2026-11-22T01:02:03.004Z  listener http, client 10.0.0.9:5555\n"
		"    control byte, at byte 26 of the head: 400\n"
		"       0  GET /?a=*** HTTP/1.1\\r\\n\n"
		"      22  A: \\x01\n"
		"             ^\n"
		"\n"
		"malformed responses: 1\n"
		"\n"
		"2026-11-22T01:02:03.004Z  server api/a1, address 10.0.1.11:80\n"
		"    bad ?[31m, after 7 bytes of content: 502 for GET /\n"
		"        ***-\n"
		"           ^\n");
	CHECK_INT(RUN(&s, ARG("errors"), ARG("--json")), 0);
	SHOWS(out_text, "\"caret\": 3");
	stage_shut(&s);
}

static void wrong_usage_is_told_and_exits_2(void)
{
	struct stage s;

	stage_open(&s, false, false);
	CHECK_INT(RUN(&s, ARG("stats")), 2);
	SHOWS(said, "unknown verb 'stats': did you mean 'status'?");
	CHECK_INT(RUN(&s, ARG("status"), ARG("extra")), 2);
	SHOWS(said, "usage: tandemctl status [-w]");
	CHECK_INT(RUN(&s, ARG("pools"), ARG("-w")), 2);
	CHECK_INT(RUN(&s, ARG("events"), ARG("--since"), ARG("soon")), 2);
	CHECK_INT(RUN(&s, ARG("freeze"), ARG("--for"), ARG("10")), 2);
	SHOWS(said, "--for: ");
	CHECK_INT(RUN(&s, ARG("status"), ARG("--jsn")), 2);
	SHOWS(said, "did you mean '--json'?");
	CHECK_INT(RUN(&s, ARG("status"), ARG("--json=1")), 2);
	SHOWS(said, "takes no value");
	CHECK_INT(RUN(&s, ARG("freeze"), ARG("--for")), 2);
	SHOWS(said, "needs a value");
	CHECK_INT(RUN(&s, ARG("status"), ARG("-x")), 2);
	SHOWS(said, "unknown flag '-x'");
	CHECK_INT(run(&s, (char *[]){NULL}), 2);
	SHOWS(said, "Verbs:");
	stage_shut(&s);
}

static void help_and_version_exit_0(void)
{
	struct stage s;

	stage_open(&s, false, false);
	CHECK_INT(RUN(&s, ARG("--help")), 0);
	SHOWS(out_text, "switchover [GROUP]");
	CHECK_INT(RUN(&s, ARG("freeze"), ARG("-h")), 0);
	SHOWS(out_text, "Usage: tandemctl [flags] freeze [GROUP] [--for TIME]\n");
	CHECK_INT(RUN(&s, ARG("--version")), 0);
	CHECK(strncmp(out_text, "tandemctl ", 10) == 0);
	stage_shut(&s);
}

static void check_asks_the_proxy_with_an_absolute_path(void)
{
	struct stage s;
	char cwd[256];

	CHECK_TRUE(getcwd(cwd, sizeof(cwd)) != NULL);
	stage_open(&s, false, true);
	CHECK_INT(RUN(&s, ARG("check"), ARG("./")),
		1); /* anything that exists will do for the stand-in */
	CHECK_TEXT(span_of(out_text), "line one\nline two\n");
	CHECK_TEXT(span_of(s.file), cwd);
	CHECK_INT(RUN(&s, ARG("check"), ARG("/no/such.yaml")), 1);
	SHOWS(said, "/no/such.yaml: No such file or directory");
	stage_shut(&s);
}

static void check_needs_no_daemon(void)
{
	struct stage s;
	char path[] = "/tmp/tandem-test.XXXXXX";
	int fd = mkstemp(path);
	json_t *result;
	static const char good[] = "workers: 2\n", bad[] = "wrkers: 2\n";

	CHECK_TRUE(fd >= 0);
	stage_open(&s, false, false);
	CHECK_TRUE(pwrite(fd, good, sizeof(good) - 1, 0) == sizeof(good) - 1);
	CHECK_INT(RUN(&s, ARG("check"), path), 0);
	SHOWS(said, "checked here");
	SHOWS(out_text, ": good\n");
	CHECK_TRUE(ftruncate(fd, 0) == 0);
	CHECK_TRUE(pwrite(fd, bad, sizeof(bad) - 1, 0) == sizeof(bad) - 1);
	CHECK_INT(RUN(&s, ARG("check"), path), 1);
	SHOWS(out_text, ":1:1: error: ");
	SHOWS(out_text, "did you mean 'workers'?");
	CHECK_INT(RUN(&s, ARG("--json"), ARG("check"), path), 1);
	result = json_loads(out_text, 0, NULL);
	CHECK_TRUE(result != NULL);
	CHECK(json_is_false(json_object_get(result, "ok")));
	CHECK_INT(json_array_size(json_object_get(result, "errors")), 1);
	CHECK_INT(json_array_size(json_object_get(result, "warnings")), 0);
	json_decref(result);
	stage_shut(&s);
	close(fd);
	unlink(path);
}

static void reload_says_what_changed(void)
{
	struct stage s;

	stage_open(&s, true, true);
	CHECK_INT(RUN(&s, ARG("reload")), 0);
	CHECK_TEXT(span_of(out_text), "tandem-proxy: reloaded, generation 7\n"
				      "  pool api: server a3 added\n"
				      "tandem-failover: reloaded, generation 5, nothing changed\n");
	stage_shut(&s);
	stage_open(&s, false, true);
	CHECK_INT(RUN(&s, ARG("reload")), 0);
	SHOWS(said, "tandem-failover: cannot reach");
	stage_shut(&s);
	stage_open(&s, false, false);
	CHECK_INT(RUN(&s, ARG("reload")), 3);
	stage_shut(&s);
}

static void switchover_waits_for_the_move_and_times_it(void)
{
	struct stage s;
	char *after;
	json_t *result;

	stage_open(&s, true, false);
	CHECK_INT(RUN(&s, ARG("switchover"), ARG("web")), 0);
	CHECK_TRUE(strncmp(out_text, "web: lb-a ACTIVE -> lb-b ACTIVE in ", 35) == 0);
	CHECK(strtol(out_text + 35, &after, 10) >= 4); /* three looks, two milliseconds apart */
	CHECK_TEXT(span_of(after), " ms\n");
	s.looks = 0;
	CHECK_INT(RUN(&s, ARG("switchover"), ARG("--json"), ARG("web")), 0);
	result = json_loads(out_text, 0, NULL);
	CHECK(json_object_get(json_object_get(json_object_get(result, "groups"), "web"),
		      "took_ms") != NULL);
	json_decref(result);
	s.looks = 0;
	CHECK_INT(RUN(&s, ARG("switchover")), 1); /* one of two was refused */
	SHOWS(out_text, "web: lb-a ACTIVE -> lb-b ACTIVE in ");
	CHECK_TEXT(span_of(said), "tandemctl: db: refused: the peer is in FAULT\n");
	CHECK_INT(RUN(&s, ARG("switchover"), ARG("wob")), 1);
	CHECK_TEXT(span_of(said), "tandemctl: there is no group 'wob'\n");
	stage_shut(&s);
	stage_open(&s, false, true);
	CHECK_INT(RUN(&s, ARG("switchover")), 3);
	stage_shut(&s);
}

static void a_switchover_that_does_not_arrive_fails(void)
{
	struct stage s;
	uint64_t start_ns = monotonic_ns();

	stage_open(&s, true, false);
	s.stuck = true;
	CHECK_INT(RUN(&s, ARG("switchover"), ARG("web")), 1);
	CHECK(monotonic_ns() - start_ns > 10 * NS_PER_S);
	SHOWS(said, "web: lb-b did not take it from lb-a within 10 s");
	stage_shut(&s);
}

static void freeze_and_resume_pass_group_and_time(void)
{
	struct stage s;

	stage_open(&s, true, false);
	CHECK_INT(RUN(&s, ARG("freeze"), ARG("web"), ARG("--for"), ARG("10m")), 0);
	CHECK_TEXT(span_of(out_text), "web: frozen for 10m\n");
	CHECK_TEXT(span_of(s.group), "web");
	CHECK_TEXT(span_of(s.how_long), "10m");
	CHECK_INT(RUN(&s, ARG("freeze")), 0);
	CHECK_TEXT(span_of(out_text), "all groups: frozen until 'tandemctl resume'\n");
	CHECK_TEXT(span_of(s.group), "");
	CHECK_INT(RUN(&s, ARG("resume"), ARG("web")), 0);
	CHECK_TEXT(span_of(out_text), "web: resumed\n");
	stage_shut(&s);
}

/* events runs until its terminal is gone: in a child, whose output is a pipe. */
static void events_of_both_daemons_come_on_one_terminal(void)
{
	struct stage s;
	char *argv[] = {ARG("tandemctl"), ARG("--run-dir"), s.dir, ARG("events"), ARG("--since"),
		ARG("0"), NULL};
	char text[2048];
	size_t len = 0;
	int fds[2], status;
	ssize_t n;
	pid_t pid;

	stage_open(&s, true, true);
	/* Both are in the ring before anybody asks. */
	ev_async_send(s.loop, &s.wake);
	pthread_join(s.thread, NULL);
	rpc_publish(s.servers[PROXY], "server.down",
		json_pack("{s:s, s:i}", "pool", "a\x1bpi", "up", 1));
	rpc_publish(s.servers[FAILOVER], "group.state",
		json_pack("{s:s, s:s}", "to", "ACTIVE", "words", "peer silent"));
	CHECK_TRUE(pthread_create(&s.thread, NULL, turn, &s) == 0);
	CHECK_TRUE(pipe(fds) == 0);
	fflush(stdout);
	pid = fork();
	CHECK_TRUE(pid >= 0);
	if (pid == 0) {
		close(fds[0]);
		_exit(ctl_main(6, argv, fdopen(fds[1], "w")));
	}
	close(fds[1]);
	for (unsigned lines = 0;
		lines < 2 && (n = read(fds[0], text + len, 1)) == 1 && len < sizeof(text) - 2;)
		lines += text[len++] == '\n';
	text[len] = '\0';
	SHOWS(text, "  tandem-proxy     server.down  pool=a?pi  up=1\n");
	SHOWS(text, "  tandem-failover  group.state  to=ACTIVE  words=\"peer silent\"\n");
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	close(fds[0]);
	stage_shut(&s);
	stage_open(&s, false, false);
	CHECK_INT(RUN(&s, ARG("events")), 3);
	stage_shut(&s);
}

static void columns_align_by_characters_and_colour_adds_no_width(void)
{
	static const char *const heads[] = {"A", "B", NULL};
	struct table t;
	char *text = NULL;
	size_t len;
	FILE *to = open_memstream(&text, &len);

	table_init(&t, heads);
	table_print(&t, 0, false, to); /* no rows: nothing */
	table_add(&t, TINT_GOOD, "%s", "\xc3\xa9\xc3\xa9\xc3\xa9");
	table_add(&t, TINT_NONE, "%d", 1);
	table_add(&t, TINT_NONE, "%s", "x\xc2\x9b");
	table_add(&t, TINT_NONE, "%d", 2);
	table_print(&t, 1, false, to);
	table_print(&t, 0, true, to);
	fclose(to);
	table_fini(&t);
	CHECK_TEXT(span_of(text), " A    B\n \xc3\xa9\xc3\xa9\xc3\xa9  1\n x??  2\n"
				  "\033[2mA\033[0m    \033[2mB\033[0m\n"
				  "\033[32m\xc3\xa9\xc3\xa9\xc3\xa9\033[0m  1\nx??  2\n");
	free(text);
	free(out_text);
	out_text = NULL;
}

static const struct test_case cases[] = {
	TEST(status_shows_both_daemons),
	TEST(status_says_which_daemon_is_missing),
	TEST(status_json_has_an_object_for_each_or_null),
	TEST(pools_and_servers_are_tables),
	TEST(errors_are_shown_with_a_caret),
	TEST(wrong_usage_is_told_and_exits_2),
	TEST(help_and_version_exit_0),
	TEST(check_asks_the_proxy_with_an_absolute_path),
	TEST(check_needs_no_daemon),
	TEST(reload_says_what_changed),
	TEST(switchover_waits_for_the_move_and_times_it),
	TEST(a_switchover_that_does_not_arrive_fails),
	TEST(freeze_and_resume_pass_group_and_time),
	TEST(events_of_both_daemons_come_on_one_terminal),
	TEST(columns_align_by_characters_and_colour_adds_no_width),
};
TESTS_MAIN("ctl", cases)
