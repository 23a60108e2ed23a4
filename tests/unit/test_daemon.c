/*
 * Flags, signals, the service manager's socket and privileges; what ends or changes a process runs
 * in a child.
 */
#include "config.h"

#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/capability.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shared/daemon.h"
#include "tests/unit/check.h"

enum { WENT_ON = 100 };

static char said[8192];

/* daemon_parse in a child; its exit code, or WENT_ON; what it printed in `said`. */
static int parse(char **argv)
{
	struct daemon_options o;
	int fds[2], status, argc = 0;
	size_t len = 0;
	ssize_t n;
	pid_t pid;

	while (argv[argc])
		argc++;
	CHECK_TRUE(pipe(fds) == 0);
	fflush(stdout);
	pid = fork();
	CHECK_TRUE(pid >= 0);
	if (pid == 0) {
		int rc;

		dup2(fds[1], STDOUT_FILENO);
		dup2(fds[1], STDERR_FILENO);
		close(fds[0]);
		close(fds[1]);
		rc = daemon_parse(&o, argc, argv, "tandem-test", "Tests things.", "yaml libev");
		if (rc < 0)
			printf("%s %s %s %s %s %d %d", o.config, o.node, o.run_dir, o.state_dir,
				o.user ? o.user : "-", o.check, log_wanted(LOG_DEBUG, "rpc.x"));
		fflush(stdout);
		_exit(rc < 0 ? WENT_ON : rc);
	}
	close(fds[1]);
	while ((n = read(fds[0], said + len, sizeof(said) - 1 - len)) > 0)
		len += (size_t)n;
	said[len] = '\0';
	close(fds[0]);
	CHECK_TRUE(waitpid(pid, &status, 0) == pid);
	CHECK_TRUE(WIFEXITED(status));
	return WEXITSTATUS(status);
}

#define PARSE(...) parse((char *[]){(char[]){"tandem-test"}, ##__VA_ARGS__, NULL})
#define ARG(text) ((char[]){text})

static void flags_have_defaults(void)
{
	char host[256], expected[1024];

	CHECK_TRUE(gethostname(host, sizeof(host)) == 0);
	CHECK_INT(PARSE(), WENT_ON);
	snprintf(expected, sizeof(expected),
		"%s/tandem/tandem.yaml %s /run/tandem /var/lib/tandem - 0 0", TANDEM_SYSCONFDIR,
		host);
	CHECK_TEXT(span_of(said), expected);
}

static void every_flag_is_taken(void)
{
	CHECK_INT(PARSE(ARG("-c"), ARG("a.yaml"), ARG("--node=lb-a"), ARG("--run-dir"), ARG("/r"),
			  ARG("--state-dir=/s"), ARG("--user"), ARG("u"), ARG("--check"),
			  ARG("--log-level"), ARG("notice"), ARG("--debug=rpc,fsm")),
		WENT_ON);
	CHECK_TEXT(span_of(said), "a.yaml lb-a /r /s u 1 1");
	CHECK_INT(PARSE(ARG("--config=b.yaml"), ARG("--log-level=debug")), WENT_ON);
	CHECK(strncmp(said, "b.yaml ", 7) == 0);
	CHECK_TEXT(span_of(said + strlen(said) - 3), "0 1");
}

static void the_log_follows_the_file_but_for_what_a_flag_says(void)
{
	struct daemon_options o = {0};
	struct err err;

	daemon_log_follow(&o, SPAN("error"), SPAN("rpc,fsm"));
	CHECK(!log_wanted(LOG_NOTICE, "rpc.x"));
	CHECK(log_wanted(LOG_DEBUG, "rpc.x"));
	o.log_debug_given = true;
	daemon_log_follow(&o, SPAN("notice"), SPAN(""));
	CHECK(log_wanted(LOG_NOTICE, "rpc.x"));
	CHECK(log_wanted(LOG_DEBUG, "rpc.x"));
	o = (struct daemon_options){.log_level_given = true};
	daemon_log_follow(&o, SPAN("error"), SPAN(""));
	CHECK(log_wanted(LOG_NOTICE, "rpc.x"));
	CHECK(!log_wanted(LOG_DEBUG, "rpc.x"));
	log_set_level(LOG_INFO);
	CHECK_INT(log_set_debug((struct span){0}, &err), 0);
}

static void help_and_version_end_well(void)
{
	CHECK_INT(PARSE(ARG("--help")), 0);
	CHECK(strstr(said, "--state-dir") && strstr(said, "Tests things.") &&
		strstr(said, "Usage: tandem-test"));
	CHECK_INT(PARSE(ARG("-h")), 0);
	CHECK_INT(PARSE(ARG("--version")), 0);
	CHECK_TEXT(span_of(said), "tandem-test " PACKAGE_VERSION "\nfeatures: yaml libev\n");
}

static void wrong_flags_are_named(void)
{
	CHECK_INT(PARSE(ARG("--confg=x")), 2);
	CHECK(strstr(said, "unknown flag '--confg=x': did you mean '--config'?") != NULL);
	CHECK_INT(PARSE(ARG("--zzzzzzzzz")), 2);
	CHECK(strstr(said, "unknown flag '--zzzzzzzzz'\n") != NULL);
	CHECK_INT(PARSE(ARG("-x")), 2);
	CHECK(strstr(said, "unknown flag '-x'") != NULL);
	CHECK_INT(PARSE(ARG("-c")), 2);
	CHECK(strstr(said, "flag '-c' needs a value") != NULL);
	CHECK_INT(PARSE(ARG("--node")), 2);
	CHECK(strstr(said, "flag '--node' needs a value") != NULL);
	CHECK_INT(PARSE(ARG("--check=yes")), 2);
	CHECK(strstr(said, "flag '--check=yes' takes no value") != NULL);
	CHECK_INT(PARSE(ARG("extra")), 2);
	CHECK(strstr(said, "unexpected 'extra'") != NULL);
	CHECK_INT(PARSE(ARG("--log-level=loud")), 2);
	CHECK(strstr(said, "'loud' is not a log level") != NULL);
	CHECK_INT(PARSE(ARG("--debug=nonsense")), 2);
	CHECK(strstr(said, "'nonsense' is not a subsystem") != NULL);
}

/* --- signals --------------------------------------------------------------------------------- */
struct heard {
	unsigned stop, reload, upgrade;
};

static void on_stop(void *ctx)
{
	((struct heard *)ctx)->stop++;
}

static void on_reload(void *ctx)
{
	((struct heard *)ctx)->reload++;
}

static void on_upgrade(void *ctx)
{
	((struct heard *)ctx)->upgrade++;
}

static void signals_arrive_on_the_loop(void)
{
	struct heard heard = {0};
	struct daemon_signals s = {.loop = ev_loop_new(EVFLAG_AUTO),
		.ctx = &heard,
		.on_stop = on_stop,
		.on_reload = on_reload,
		.on_upgrade = on_upgrade};

	daemon_signals_start(&s);
	raise(SIGPIPE); /* would end us */
	raise(SIGHUP);
	raise(SIGTERM);
	raise(SIGUSR2);
	CHECK_INT(heard.stop + heard.reload + heard.upgrade, 0);
	for (unsigned turn = 0; turn < 5; turn++)
		ev_run(s.loop, EVRUN_NOWAIT);
	raise(SIGINT);
	for (unsigned turn = 0; turn < 5; turn++)
		ev_run(s.loop, EVRUN_NOWAIT);
	CHECK_INT(heard.stop, 2);
	CHECK_INT(heard.reload, 1);
	CHECK_INT(heard.upgrade, 1);
	ev_loop_destroy(s.loop);
}

/* --- the service manager --------------------------------------------------------------------- */
#ifdef HAVE_SYSTEMD
static const char *heard_by_manager(int fd)
{
	ssize_t n = recv(fd, said, sizeof(said) - 1, MSG_DONTWAIT);

	said[n > 0 ? n : 0] = '\0';
	return said;
}

static void the_service_manager_is_told(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	char dir[] = "/tmp/tandem-test.XXXXXX", pid[24];
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	CHECK_TRUE(mkdtemp(dir) != NULL);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s/notify", dir);
	CHECK_TRUE(bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0);
	daemon_ready(); /* nobody to tell: nothing happens */
	CHECK_TEXT(span_of(heard_by_manager(fd)), "");
	CHECK(daemon_watchdog_interval() <= 0);
	setenv("NOTIFY_SOCKET", address.sun_path, 1);
	daemon_ready();
	CHECK_TEXT(span_of(heard_by_manager(fd)), "READY=1");
	daemon_reloading();
	CHECK(strncmp(heard_by_manager(fd), "RELOADING=1\nMONOTONIC_USEC=", 27) == 0);
	CHECK(strtoull(said + 27, NULL, 10) > 0);
	daemon_status("serving %u pools\nREADY=1", 3);
	CHECK_TEXT(span_of(heard_by_manager(fd)), "STATUS=serving 3 pools READY=1");
	daemon_watchdog_beat();
	CHECK_TEXT(span_of(heard_by_manager(fd)), "WATCHDOG=1");
	daemon_stopping();
	CHECK_TEXT(span_of(heard_by_manager(fd)), "STOPPING=1");
	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	setenv("WATCHDOG_PID", pid, 1);
	setenv("WATCHDOG_USEC", "3000000", 1);
	CHECK(daemon_watchdog_interval() > 1.49 && daemon_watchdog_interval() < 1.51);
	unsetenv("WATCHDOG_PID");
	unsetenv("WATCHDOG_USEC");
	unsetenv("NOTIFY_SOCKET");
	unlink(address.sun_path);
	rmdir(dir);
	close(fd);
}
#endif

/* --- privileges ------------------------------------------------------------------------------ */
static bool has(cap_flag_t set, cap_value_t value)
{
	cap_t caps = cap_get_proc();
	cap_flag_value_t on = CAP_CLEAR;

	cap_get_flag(caps, value, set, &on);
	cap_free(caps);
	return on == CAP_SET;
}

/* 0 when all is as it should be, else the number of the step that was not. */
static int drop_and_look(void)
{
	static const int keep[] = {CAP_NET_BIND_SERVICE};
	const struct passwd *pw = getpwnam("nobody");
	struct err err;

	if (!pw || daemon_drop_privileges("nobody", keep, 1, &err) < 0)
		return 1;
	if (getuid() != pw->pw_uid || geteuid() != pw->pw_uid || getgid() != pw->pw_gid)
		return 2;
	if (!has(CAP_EFFECTIVE, CAP_NET_BIND_SERVICE) || !has(CAP_PERMITTED, CAP_NET_BIND_SERVICE))
		return 3;
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, CAP_NET_BIND_SERVICE, 0, 0) != 1)
		return 4;
	if (has(CAP_PERMITTED, CAP_NET_ADMIN) || has(CAP_PERMITTED, CAP_SETUID) ||
		has(CAP_EFFECTIVE, CAP_KILL))
		return 5;
	if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1)
		return 6;
	if (setuid(0) == 0 || getgroups(0, NULL) > 1)
		return 7;
	/* Once more, as the same user, to fewer: for a restart within the unit. */
	if (daemon_drop_privileges("nobody", NULL, 0, &err) < 0 ||
		has(CAP_PERMITTED, CAP_NET_BIND_SERVICE))
		return 8;
	/* What is gone cannot be kept. */
	return daemon_drop_privileges("nobody", keep, 1, &err) < 0 ? 0 : 9;
}

static void dropping_privileges_keeps_only_what_is_named(void)
{
	int status;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	CHECK_TRUE(pid >= 0);
	if (pid == 0) {
		struct err err;

		/* Without the right to change ids (not root, or a user namespace of one) it must
		 * say so. */
		if (setgroups(0, NULL) < 0 || getpwnam("nobody") == NULL)
			_exit(daemon_drop_privileges(
				      geteuid() == 0 ? "nobody" : "root", NULL, 0, &err) < 0
					? 0
					: 10);
		_exit(drop_and_look());
	}
	CHECK_TRUE(waitpid(pid, &status, 0) == pid);
	CHECK_TRUE(WIFEXITED(status));
	CHECK_INT(WEXITSTATUS(status), 0);
}

static void no_user_means_no_change_and_an_unknown_one_is_an_error(void)
{
	struct err err;
	uid_t before = geteuid();

	CHECK_INT(daemon_drop_privileges(NULL, NULL, 0, &err), 0);
	CHECK_INT(geteuid(), before);
	CHECK_INT(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), 0);
	CHECK_INT(daemon_drop_privileges("no-such-user-here", NULL, 0, &err), -1);
	CHECK_TEXT(span_of(err.text), "there is no user no-such-user-here");
}

/* --- surroundings ---------------------------------------------------------------------------- */
static void directories_are_made_with_their_parents(void)
{
	char base[] = "/tmp/tandem-test.XXXXXX", path[96];
	struct stat st;
	struct err err;
	FILE *f;

	CHECK_TRUE(mkdtemp(base) != NULL);
	snprintf(path, sizeof(path), "%s/a/b/c", base);
	CHECK_INT(daemon_make_dir(path, 0750, &err), 0);
	CHECK_TRUE(stat(path, &st) == 0);
	CHECK(S_ISDIR(st.st_mode) && (st.st_mode & 0777) == 0750);
	CHECK_INT(daemon_make_dir(path, 0750, &err), 0); /* there already */
	snprintf(path, sizeof(path), "%s/a/b/c/", base);
	CHECK_INT(daemon_make_dir(path, 0750, &err), 0);
	snprintf(path, sizeof(path), "%s/file", base);
	f = fopen(path, "w");
	CHECK_TRUE(f != NULL);
	fclose(f);
	CHECK_INT(daemon_make_dir(path, 0750, &err), -1);
	CHECK(strstr(err.text, "is not a directory") != NULL);
	unlink(path);
	snprintf(path, sizeof(path), "%s/a/b/c", base);
	for (unsigned depth = 0; depth < 3; depth++) {
		CHECK(rmdir(path) == 0);
		*strrchr(path, '/') = '\0';
	}
	CHECK(rmdir(base) == 0);
	CHECK_INT(daemon_make_dir("/proc/no/such", 0750, &err), -1);
	CHECK_INT(daemon_make_dir("", 0750, &err), -1);
}

static void the_file_limit_is_raised_to_what_is_allowed(void)
{
	struct rlimit limit, before;

	CHECK_TRUE(getrlimit(RLIMIT_NOFILE, &before) == 0);
	limit = (struct rlimit){.rlim_cur = 64, .rlim_max = before.rlim_max};
	CHECK_TRUE(setrlimit(RLIMIT_NOFILE, &limit) == 0);
	CHECK_INT(daemon_raise_files(), before.rlim_max);
	CHECK_TRUE(getrlimit(RLIMIT_NOFILE, &limit) == 0);
	CHECK_INT(limit.rlim_cur, before.rlim_max);
}

static const struct test_case cases[] = {
	TEST(flags_have_defaults),
	TEST(every_flag_is_taken),
	TEST(the_log_follows_the_file_but_for_what_a_flag_says),
	TEST(help_and_version_end_well),
	TEST(wrong_flags_are_named),
	TEST(signals_arrive_on_the_loop),
#ifdef HAVE_SYSTEMD
	TEST(the_service_manager_is_told),
#endif
	TEST(dropping_privileges_keeps_only_what_is_named),
	TEST(no_user_means_no_change_and_an_unknown_one_is_an_error),
	TEST(directories_are_made_with_their_parents),
	TEST(the_file_limit_is_raised_to_what_is_allowed),
};
TESTS_MAIN("daemon", cases)
