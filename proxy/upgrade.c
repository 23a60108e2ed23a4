#include "config.h"

#include "proxy/upgrade.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shared/assert.h"
#include "shared/log.h"
#include "shared/units.h"

#define WORDS_MAX 512 /* of one message */
static const char ready_word[] = "ready", go_word[] = "go", left_word[] = "left ";

extern char **environ;

struct upgrade {
	struct ev_loop *loop;
	struct upgrade_handlers h;
	char *const *argv;
	char path[4096]; /* of the program, as it was started */

	pid_t child; /* the successor, until it serves or has ended; 0: none */
	int talk;    /* to it */
	ev_io heard;
	ev_child ended;
	ev_timer limit;
	char why[WORDS_MAX]; /* it said it could not start */

	int elder; /* to the predecessor; -1: there is none (any more) */
	pid_t elder_pid;
	uint64_t elder_left; /* connections, by its own word */
	ev_io elder_heard;
	bool announced;

	struct {
		bool ok;
		char at[25], why[WORDS_MAX];
	} last; /* at "": never */
	uint64_t failed_total;
};

/* --- the talk -----------------------------------------------------------------------------------
 */

/* A word or two fit into any socket's buffer; who cannot be told has ended. */
static void tell(int talk, const char *words)
{
	size_t len = strlen(words);

	(void)!send(talk, words, len < WORDS_MAX ? len : WORDS_MAX - 1, MSG_NOSIGNAL);
}

/* False: nothing more will come. "": nothing yet. */
static bool hear(int talk, char words[WORDS_MAX])
{
	ssize_t n = recv(talk, words, WORDS_MAX - 1, MSG_DONTWAIT);

	words[n > 0 ? n : 0] = '\0';
	return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));
}

static void note(struct upgrade *u, bool ok, const char *why)
{
	u->last.ok = ok;
	u->failed_total += !ok;
	time_format(realtime_ns(), u->last.at);
	(void)snprintf(u->last.why, sizeof(u->last.why), "%s", why);
}

/* --- the old process ----------------------------------------------------------------------------
 */

static void stop_listening(struct upgrade *u)
{
	ev_io_stop(u->loop, &u->heard);
	ev_timer_stop(u->loop, &u->limit);
	if (u->talk >= 0)
		close(u->talk);
	u->talk = -1;
}

static void on_heard(struct ev_loop *loop, ev_io *w, int events)
{
	struct upgrade *u = w->data;
	char words[WORDS_MAX];
	pid_t pid = u->child;

	(void)events;
	if (!hear(u->talk, words)) { /* it ends, and that shows in a moment */
		ev_io_stop(loop, w);
		return;
	}
	if (strcmp(words, ready_word) != 0) {
		if (words[0])
			(void)snprintf(u->why, sizeof(u->why), "%s", words);
		return;
	}
	u->child = 0;
	ev_child_stop(loop, &u->ended);
	note(u, true, "");
	u->h.on_successor(u->h.ctx, pid);
	tell(u->talk, go_word);
	/* Our side stays open until we end: that is how the successor knows. */
	ev_io_stop(loop, w);
	ev_timer_stop(loop, &u->limit);
}

static void describe_end(struct upgrade *u, int status)
{
	char *why = u->why;

	if (why[0]) /* in its own words */
		return;
	if (WIFSIGNALED(status))
		(void)snprintf(why, sizeof(u->why), "the new process was ended by signal %d",
			WTERMSIG(status));
	else
		(void)snprintf(why, sizeof(u->why),
			"the new process ended with exit status %d before it was ready",
			WEXITSTATUS(status));
}

static void on_ended(struct ev_loop *loop, ev_child *w, int events)
{
	struct upgrade *u = w->data;
	char words[WORDS_MAX];

	(void)events;
	ev_child_stop(loop, w);
	while (hear(u->talk, words) && words[0])
		if (strcmp(words, ready_word) != 0)
			(void)snprintf(u->why, sizeof(u->why), "%s", words);
	stop_listening(u);
	u->child = 0;
	describe_end(u, w->rstatus);
	note(u, false, u->why);
	u->h.on_failed(u->h.ctx, u->last.why, true);
}

static void on_limit(struct ev_loop *loop, ev_timer *w, int events)
{
	struct upgrade *u = w->data;

	(void)loop;
	(void)events;
	(void)snprintf(
		u->why, sizeof(u->why), "the new process was not ready after %.0f s", UPGRADE_S);
	(void)kill(u->child, SIGKILL);
}

/* Ours, but for what is said to one process only. */
static char **environment(char *variable)
{
	static const struct span dropped[] = {
		SPAN(INHERITANCE_VARIABLE "="), SPAN("WATCHDOG_PID=")};
	size_t ours = 0, count = 0;
	char **env;

	while (environ[ours])
		ours++;
	env = calloc(ours + 2, sizeof(*env));
	for (size_t i = 0; env && i < ours; i++)
		if (!span_starts(span_of(environ[i]), dropped[0]) &&
			!span_starts(span_of(environ[i]), dropped[1]))
			env[count++] = environ[i];
	if (env)
		env[count] = variable;
	return env;
}

/* Each keeps its number and loses its FD_CLOEXEC. */
static int pass(posix_spawn_file_actions_t *files, const struct worker_socket *sockets,
	unsigned count, const int *others, unsigned other_count)
{
	int rc = 0;

	for (unsigned i = 0; rc == 0 && i < count; i++)
		rc = posix_spawn_file_actions_adddup2(files, sockets[i].fd, sockets[i].fd);
	for (unsigned i = 0; rc == 0 && i < other_count; i++)
		rc = posix_spawn_file_actions_adddup2(files, others[i], others[i]);
	return rc;
}

static int spawn(struct upgrade *u, const struct worker_socket *sockets, unsigned count, int file,
	int talk, struct err *err)
{
	char variable[sizeof(INHERITANCE_VARIABLE) + 16];
	const int others[] = {file, talk};
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attr;
	sigset_t none, all;
	char **env;
	int rc;

	(void)snprintf(variable, sizeof(variable), INHERITANCE_VARIABLE "=%d", file);
	env = environment(variable);
	if (!env)
		return err_set(err, "out of memory");
	sigemptyset(&none);
	sigfillset(&all);
	posix_spawnattr_init(&attr);
	posix_spawn_file_actions_init(&files);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setsigdefault(&attr, &all);
	rc = pass(&files, sockets, count, others, countof(others));
	if (rc == 0)
		rc = posix_spawn(&u->child, u->path, &files, &attr, u->argv, env);
	posix_spawn_file_actions_destroy(&files);
	posix_spawnattr_destroy(&attr);
	free(env);
	if (rc == 0)
		return 0;
	u->child = 0;
	errno = rc;
	return err_set_errno(err, "cannot start %s", u->path);
}

static int start(struct upgrade *u, const struct worker_socket *sockets, unsigned count,
	const json_t *state, struct err *err)
{
	int talk[2], file, rc;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, talk) < 0)
		return err_set_errno(err, "cannot make a socket to the new process");
	file = inheritance_write(sockets, count, talk[1], state, err);
	rc = file < 0 ? -1 : spawn(u, sockets, count, file, talk[1], err);
	if (file >= 0)
		close(file);
	close(talk[1]);
	if (rc < 0) {
		close(talk[0]);
		return -1;
	}
	if (u->talk >= 0) /* of one that was ready, and whose turn did not come to pass */
		close(u->talk);
	u->talk = talk[0];
	return 0;
}

int upgrade_begin(struct upgrade *u, const struct worker_socket *sockets, unsigned count,
	const json_t *state, struct err *err)
{
	ASSERT(!u->child);
	u->why[0] = '\0';
	if (start(u, sockets, count, state, err) < 0) {
		note(u, false, err->text);
		return -1;
	}
	ev_io_set(&u->heard, u->talk, EV_READ);
	ev_io_start(u->loop, &u->heard);
	ev_child_set(&u->ended, u->child, 0);
	ev_child_start(u->loop, &u->ended);
	ev_timer_set(&u->limit, UPGRADE_S, 0);
	ev_timer_start(u->loop, &u->limit);
	log_event(LOG_NOTICE, "upgrade.begun", "starting the program anew",
		F_TEXT("program", u->path), F_INT("pid", u->child), F_INT("sockets", count));
	return 0;
}

void upgrade_tell_left(struct upgrade *u, uint64_t connections)
{
	char words[WORDS_MAX];

	if (u->child || u->talk < 0)
		return;
	(void)snprintf(words, sizeof(words), "%s%" PRIu64, left_word, connections);
	tell(u->talk, words);
}

bool upgrade_is_on(const struct upgrade *u)
{
	return u->child != 0;
}

void upgrade_give_up(struct upgrade *u)
{
	if (!u->child)
		return;
	(void)kill(u->child, SIGTERM); /* it may serve already */
	ev_child_stop(u->loop, &u->ended);
	stop_listening(u);
	u->child = 0;
}

/* --- the new process ----------------------------------------------------------------------------
 */

static void on_elder_heard(struct ev_loop *loop, ev_io *w, int events)
{
	struct upgrade *u = w->data;
	char words[WORDS_MAX];
	bool more = hear(u->elder, words);

	(void)events;
	if (strcmp(words, go_word) == 0)
		u->h.on_go(u->h.ctx);
	else if (span_starts(span_of(words), span_of(left_word)))
		(void)span_to_u64(
			span_from(span_of(words), strlen(left_word)), UINT64_MAX, &u->elder_left);
	if (more)
		return;
	ev_io_stop(loop, w);
	close(u->elder);
	u->elder = -1;
	u->h.on_alone(u->h.ctx);
}

void upgrade_ready(struct upgrade *u)
{
	if (u->elder < 0 || u->announced)
		return;
	u->announced = true;
	note(u, true, "");
	tell(u->elder, ready_word);
}

bool upgrade_has_predecessor(const struct upgrade *u)
{
	return u->elder >= 0;
}

uint64_t upgrade_left(const struct upgrade *u)
{
	return u->elder >= 0 ? u->elder_left : 0;
}

void upgrade_refuse(int talk, const char *why)
{
	if (talk >= 0)
		tell(talk, why);
}

static void follow_elder(struct upgrade *u, int talk)
{
	struct ucred who;
	socklen_t len = sizeof(who);

	u->elder = talk;
	if (talk < 0)
		return;
	if (getsockopt(talk, SOL_SOCKET, SO_PEERCRED, &who, &len) == 0)
		u->elder_pid = who.pid;
	ev_io_set(&u->elder_heard, talk, EV_READ);
	ev_io_start(u->loop, &u->elder_heard);
}

/* --- both ---------------------------------------------------------------------------------------
 */

/* Where the program is, for as long as we run: what the name stands for may be replaced meanwhile,
 * which is the point, and /proc/self/exe would still be the old one. */
static int find_program(struct upgrade *u, struct err *err)
{
	size_t at = 0;
	ssize_t n;

	if (u->argv[0][0] == '/')
		return span_copy(span_of(u->argv[0]), u->path, sizeof(u->path)) < 0
			       ? err_set(err, "the program's path is too long")
			       : 0;
	if (strchr(u->argv[0], '/')) {
		if (!getcwd(u->path, sizeof(u->path)))
			return err_set_errno(err, "cannot tell the current folder");
		at = strlen(u->path);
		n = snprintf(u->path + at, sizeof(u->path) - at, "/%s", u->argv[0]);
		return (size_t)n < sizeof(u->path) - at
			       ? 0
			       : err_set(err, "the program's path is too long");
	}
	n = readlink("/proc/self/exe", u->path, sizeof(u->path) - 1);
	if (n < 0)
		return err_set_errno(err, "cannot tell where the program is");
	u->path[n] = '\0';
	return 0;
}

struct upgrade *upgrade_new(struct ev_loop *loop, char *const *argv, int talk,
	const struct upgrade_handlers *h, struct err *err)
{
	struct upgrade *u = calloc(1, sizeof(*u));

	if (!u) {
		err_set(err, "out of memory");
		return NULL;
	}
	u->loop = loop;
	u->argv = argv;
	u->h = *h;
	u->talk = u->elder = -1;
	if (find_program(u, err) < 0) {
		free(u);
		return NULL;
	}
	ev_init(&u->heard, on_heard);
	ev_init(&u->ended, on_ended);
	ev_init(&u->limit, on_limit);
	ev_init(&u->elder_heard, on_elder_heard);
	u->heard.data = u->ended.data = u->limit.data = u->elder_heard.data = u;
	follow_elder(u, talk);
	return u;
}

void upgrade_free(struct upgrade *u)
{
	if (!u)
		return;
	upgrade_give_up(u);
	stop_listening(u);
	ev_io_stop(u->loop, &u->elder_heard);
	if (u->elder >= 0)
		close(u->elder);
	free(u);
}

json_t *upgrade_status(const struct upgrade *u)
{
	json_t *last = json_null(), *elder = json_null(), *left = json_null();

	if (u->last.at[0])
		last = json_pack("{s:b, s:s, s:s?}", "ok", u->last.ok, "at", u->last.at, "why",
			u->last.why[0] ? u->last.why : NULL);
	if (u->elder >= 0) {
		elder = json_integer(u->elder_pid);
		left = json_integer((json_int_t)u->elder_left);
	}
	return json_pack("{s:o, s:I, s:o, s:o, s:o}", "last", last, "failed_total",
		(json_int_t)u->failed_total, "predecessor", elder, "predecessor_connections", left,
		"successor", u->child ? json_integer(u->child) : json_null());
}
