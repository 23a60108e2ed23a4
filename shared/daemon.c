/*
 * Start and stop of a daemon. The only place that knows getopt, libcap and libsystemd.
 */
#include "config.h"

#include "shared/daemon.h"

#include <errno.h>
#include <getopt.h>
#include <grp.h>
#include <inttypes.h>
#include <pwd.h>
#include <signal.h>
#include <sys/capability.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#ifdef HAVE_SYSTEMD
#include <systemd/sd-daemon.h>
#endif

#include "shared/assert.h"
#include "shared/conf.h"
#include "shared/units.h"

/* --- flags ----------------------------------------------------------------------------------- */
enum {
	EXIT_USAGE = 2,
	FLAG_NODE = 256, /* those without a letter */
	FLAG_RUN_DIR,
	FLAG_STATE_DIR,
	FLAG_USER,
	FLAG_CHECK,
	FLAG_WITNESS,
	FLAG_LOG_LEVEL,
	FLAG_DEBUG,
	FLAG_VERSION,
};

static const struct option flags[] = {
	{"config", required_argument, NULL, 'c'},
	{"node", required_argument, NULL, FLAG_NODE},
	{"run-dir", required_argument, NULL, FLAG_RUN_DIR},
	{"state-dir", required_argument, NULL, FLAG_STATE_DIR},
	{"user", required_argument, NULL, FLAG_USER},
	{"check", no_argument, NULL, FLAG_CHECK},
	{"witness", no_argument, NULL, FLAG_WITNESS},
	{"log-level", required_argument, NULL, FLAG_LOG_LEVEL},
	{"debug", required_argument, NULL, FLAG_DEBUG},
	{"version", no_argument, NULL, FLAG_VERSION},
	{"help", no_argument, NULL, 'h'},
	{NULL, 0, NULL, 0},
};

static const char help[] =
	"  -c, --config FILE      the configuration (default " TANDEM_SYSCONFDIR
	"/tandem/tandem.yaml)\n"
	"      --node NAME        this node's name under failover.nodes (default: the host name)\n"
	"      --run-dir DIR      where the sockets are (default /run/tandem)\n"
	"      --state-dir DIR    what must outlive a restart (default /var/lib/tandem)\n"
	"      --user NAME        become this user, keeping only the capabilities needed\n"
	"      --check            validate the configuration and exit: 0 good, 2 errors\n"
	"      --log-level LEVEL  error, warning, notice, info or debug (default info)\n"
	"      --debug LIST       debug lines of these subsystems, with commas between\n"
	"      --version          print version and features\n"
	"  -h, --help             print this\n";

static const char help_witness[] =
	"      --witness          be the pair's witness, on a third box\n";

static bool is_agent(const struct daemon_options *o)
{
	return strcmp(o->program, "tandem-failover") == 0;
}

static int unknown_flag(const char *program, const char *arg)
{
	const char *names[countof(flags)], *near;
	struct span word = span_of(arg);
	size_t count = 0;

	while (flags[count].name) {
		names[count] = flags[count].name;
		count++;
	}
	fprintf(stderr, "%s: unknown flag '%s'", program, arg);
	if (span_starts(word, SPAN("--"))) {
		word = span_from(word, 2);
		word.len = span_find(word, '=', 0);
		near = did_you_mean(word, names, count);
		if (near)
			fprintf(stderr, ": did you mean '--%s'?", near);
	}
	fprintf(stderr, "\ntry '%s --help'\n", program);
	return EXIT_USAGE;
}

static int wrong_flag(const char *program, int c, char **argv)
{
	const char *arg = argv[optind - 1];

	if (c == ':' && optopt < 256)
		fprintf(stderr, "%s: flag '-%c' needs a value\ntry '%s --help'\n", program, optopt,
			program);
	else if (c == ':')
		fprintf(stderr, "%s: flag '%s' needs a value\ntry '%s --help'\n", program, arg,
			program);
	else if (optopt >= 256 ||
		 (optopt && strchr(arg, '='))) /* a known long one, such as --check=1 */
		fprintf(stderr, "%s: flag '%s' takes no value\ntry '%s --help'\n", program, arg,
			program);
	else if (optopt) {
		char letter[3] = {'-', (char)optopt, '\0'};

		return unknown_flag(program, letter);
	} else
		return unknown_flag(program, arg);
	return EXIT_USAGE;
}

/* The log's own flags. */
struct log_flags {
	enum log_level level;
	const char *debug;
};

static int take_level(const char *program, const char *text, enum log_level *ret_level)
{
	if (log_level_parse(span_of(text), ret_level) == 0)
		return -1;
	fprintf(stderr,
		"%s: '%s' is not a log level: choose error, warning, notice, info or debug\n",
		program, text);
	return EXIT_USAGE;
}

/* One flag. -1 to go on, else the exit code. */
static int take_flag(struct daemon_options *o, struct log_flags *log, int c, char **argv,
	const char *about, const char *features)
{
	switch (c) {
	case 'c':
		o->config = optarg;
		return -1;
	case FLAG_NODE:
		o->node = optarg;
		return -1;
	case FLAG_RUN_DIR:
		o->run_dir = optarg;
		return -1;
	case FLAG_STATE_DIR:
		o->state_dir = optarg;
		return -1;
	case FLAG_USER:
		o->user = optarg;
		return -1;
	case FLAG_CHECK:
		o->check = true;
		return -1;
	case FLAG_WITNESS:
		if (!is_agent(o))
			return unknown_flag(o->program, "--witness");
		o->witness = true;
		return -1;
	case FLAG_LOG_LEVEL:
		o->log_level_given = true;
		return take_level(o->program, optarg, &log->level);
	case FLAG_DEBUG:
		o->log_debug_given = true;
		log->debug = optarg;
		return -1;
	case FLAG_VERSION:
		printf("%s %s\nfeatures: %s\n", o->program, PACKAGE_VERSION, features);
		return 0;
	case 'h':
		printf("Usage: %s [flags]\n%s\n\n%s%s", o->program, about, help,
			is_agent(o) ? help_witness : "");
		return 0;
	default:
		return wrong_flag(o->program, c, argv);
	}
}

int daemon_parse(struct daemon_options *o, int argc, char **argv, const char *program,
	const char *about, const char *features)
{
	static char host[256];
	struct log_flags log = {.level = LOG_INFO};
	struct err err;
	int c, rc;

	if (gethostname(host, sizeof(host) - 1) < 0)
		host[0] = '\0';
	*o = (struct daemon_options){
		.program = program,
		.config = TANDEM_SYSCONFDIR "/tandem/tandem.yaml",
		.node = host,
		.run_dir = "/run/tandem",
		.state_dir = "/var/lib/tandem",
		.argv = argv,
	};
	optind = 0; /* start over, also for a second call */
	opterr = 0;
	while ((c = getopt_long(argc, argv, ":c:h", flags, NULL)) != -1) {
		rc = take_flag(o, &log, c, argv, about, features);
		if (rc >= 0)
			return rc;
	}
	if (optind < argc) {
		fprintf(stderr, "%s: unexpected '%s': there are only flags\ntry '%s --help'\n",
			program, argv[optind], program);
		return EXIT_USAGE;
	}
	if (log.debug && log_set_debug(span_of(log.debug), &err) < 0) {
		fprintf(stderr, "%s: --debug: %s\n", program, err.text);
		return EXIT_USAGE;
	}
	log_open(program, log.level, LOG_FORMAT_TEXT);
	return -1;
}

void daemon_log_follow(const struct daemon_options *o, struct span level, struct span debug)
{
	enum log_level l;
	struct err err;
	int rc;

	if (!o->log_level_given && log_level_parse(level, &l) == 0)
		log_set_level(l);
	if (o->log_debug_given)
		return;
	rc = log_set_debug(debug.len ? debug : (struct span){0}, &err);
	ASSERT(rc == 0); /* the file is checked against the same list */
}

/* --- signals --------------------------------------------------------------------------------- */
static void on_stop(struct ev_loop *loop, ev_signal *w, int revents)
{
	struct daemon_signals *s = w->data;

	(void)loop;
	(void)revents;
	s->on_stop(s->ctx);
}

static void on_reload(struct ev_loop *loop, ev_signal *w, int revents)
{
	struct daemon_signals *s = w->data;

	(void)loop;
	(void)revents;
	s->on_reload(s->ctx);
}

static void on_upgrade(struct ev_loop *loop, ev_signal *w, int revents)
{
	struct daemon_signals *s = w->data;

	(void)loop;
	(void)revents;
	s->on_upgrade(s->ctx);
}

void daemon_signals_start(struct daemon_signals *s)
{
	ASSERT(s->on_stop && s->on_reload);
	ASSERT(signal(SIGPIPE, SIG_IGN) != SIG_ERR);
	ev_signal_init(&s->term, on_stop, SIGTERM);
	ev_signal_init(&s->intr, on_stop, SIGINT);
	ev_signal_init(&s->hup, on_reload, SIGHUP);
	s->term.data = s->intr.data = s->hup.data = s->usr2.data = s;
	ev_signal_start(s->loop, &s->term);
	ev_signal_start(s->loop, &s->intr);
	ev_signal_start(s->loop, &s->hup);
	if (s->on_upgrade) {
		ev_signal_init(&s->usr2, on_upgrade, SIGUSR2);
		s->usr2.data = s;
		ev_signal_start(s->loop, &s->usr2);
	}
}

/* --- the service manager --------------------------------------------------------------------- */
#ifndef HAVE_SYSTEMD
/* Built without libsystemd there is no service manager to talk to. */
static int sd_notify(int unset_environment, const char *words)
{
	(void)unset_environment;
	(void)words;
	return 0;
}

static int sd_watchdog_enabled(int unset_environment, uint64_t *ret_us)
{
	(void)unset_environment;
	(void)ret_us;
	return 0;
}
#endif

void daemon_ready(void)
{
	sd_notify(0, "READY=1");
}

void daemon_succeeded_by(pid_t pid)
{
	char words[32];

	snprintf(words, sizeof(words), "MAINPID=%d", (int)pid);
	sd_notify(0, words);
}

void daemon_reloading(void)
{
	char words[80];

	snprintf(words, sizeof(words), "RELOADING=1\nMONOTONIC_USEC=%" PRIu64,
		monotonic_ns() / NS_PER_US);
	sd_notify(0, words);
}

void daemon_stopping(void)
{
	sd_notify(0, "STOPPING=1");
}

void daemon_status(const char *fmt, ...)
{
	char words[256] = "STATUS=";
	size_t at = strlen(words);
	va_list args;

	va_start(args, fmt);
	vsnprintf(words + at, sizeof(words) - at, fmt, args);
	va_end(args);
	for (char *c = words; *c; c++) /* a newline would start another assignment */
		if (*c == '\n')
			*c = ' ';
	sd_notify(0, words);
}

double daemon_watchdog_interval(void)
{
	uint64_t us = 0;

	return sd_watchdog_enabled(0, &us) > 0 ? (double)us / 2e6 : 0.0;
}

void daemon_watchdog_beat(void)
{
	sd_notify(0, "WATCHDOG=1");
}

/* --- privileges ------------------------------------------------------------------------------ */
static int become(const struct passwd *pw, struct err *err)
{
	if (geteuid() == pw->pw_uid && getuid() == pw->pw_uid)
		return 0;
	/* Or else the kernel takes all capabilities away with the uid. */
	if (prctl(PR_SET_KEEPCAPS, 1L, 0L, 0L, 0L) < 0)
		return err_set_errno(err, "cannot keep capabilities");
	if (initgroups(pw->pw_name, pw->pw_gid) < 0 ||
		setresgid(pw->pw_gid, pw->pw_gid, pw->pw_gid) < 0 ||
		setresuid(pw->pw_uid, pw->pw_uid, pw->pw_uid) < 0)
		return err_set_errno(err, "cannot become user %s", pw->pw_name);
	return 0;
}

static int keep_capabilities(const int *capabilities, unsigned count, struct err *err)
{
	cap_t caps = cap_init(); /* none */
	int rc = caps ? 0 : -1;

	for (unsigned i = 0; i < count && rc == 0; i++) {
		cap_value_t value = capabilities[i];

		/* Ambient ones must be inheritable too. */
		if (cap_set_flag(caps, CAP_PERMITTED, 1, &value, CAP_SET) < 0 ||
			cap_set_flag(caps, CAP_EFFECTIVE, 1, &value, CAP_SET) < 0 ||
			cap_set_flag(caps, CAP_INHERITABLE, 1, &value, CAP_SET) < 0)
			rc = -1;
	}
	if (rc == 0)
		rc = cap_set_proc(caps);
	if (rc == 0)
		rc = prctl(PR_CAP_AMBIENT, (long)PR_CAP_AMBIENT_CLEAR_ALL, 0L, 0L, 0L);
	for (unsigned i = 0; i < count && rc == 0; i++)
		rc = prctl(
			PR_CAP_AMBIENT, (long)PR_CAP_AMBIENT_RAISE, (long)capabilities[i], 0L, 0L);
	if (rc < 0)
		err_set_errno(
			err, "cannot keep just the capabilities needed (are they all there?)");
	if (caps)
		cap_free(caps);
	return rc;
}

int daemon_drop_privileges(
	const char *user, const int *capabilities, unsigned count, struct err *err)
{
	const struct passwd *pw;

	if (!user)
		return 0;
	errno = 0;
	pw = getpwnam(user);
	if (!pw && errno)
		return err_set_errno(err, "cannot look up user %s", user);
	if (!pw)
		return err_set(err, "there is no user %s", user);
	if (become(pw, err) < 0 || keep_capabilities(capabilities, count, err) < 0)
		return -1;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1L, 0L, 0L, 0L) < 0)
		return err_set_errno(err, "cannot set no_new_privs");
	return 0;
}

/* --- surroundings ---------------------------------------------------------------------------- */
static int make_one(const char *dir, unsigned mode, struct err *err)
{
	struct stat st;

	if (mkdir(dir, (mode_t)mode) == 0 || errno == EEXIST) {
		if (stat(dir, &st) == 0 && S_ISDIR(st.st_mode))
			return 0;
		return err_set(err, "%s is there and is not a directory", dir);
	}
	return err_set_errno(err, "cannot create %s", dir);
}

int daemon_make_dir(const char *dir, unsigned mode, struct err *err)
{
	char path[4096];

	if (span_copy(span_of(dir), path, sizeof(path)) < 0)
		return err_set(err, "the path %.64s... is too long", dir);
	for (char *slash = path + 1; path[0] && (slash = strchr(slash, '/')); slash++) {
		*slash = '\0';
		if (make_one(path, 0755, err) < 0)
			return -1;
		*slash = '/';
	}
	return make_one(path, mode, err);
}

uint64_t daemon_raise_files(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return 0;
	if (limit.rlim_cur < limit.rlim_max) {
		struct rlimit raised = {.rlim_cur = limit.rlim_max, .rlim_max = limit.rlim_max};

		if (setrlimit(RLIMIT_NOFILE, &raised) == 0)
			return raised.rlim_cur;
	}
	return limit.rlim_cur;
}
