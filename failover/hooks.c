#include "failover/hooks.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shared/assert.h"
#include "shared/list.h"
#include "shared/thread.h"
#include "shared/units.h"

#define KILL_AFTER_S 0.5 /* between SIGTERM and SIGKILL */

/* One call: in the inbox, in its lane, then in the outbox. The thread owns it in between. */
struct call {
	struct list link; /* inbox, its lane or outbox */
	struct hooks *hooks;
	unsigned lane;
	struct hook_command command;
	struct hook_vars vars;
	uint64_t deadline_ns, started_ns;
	struct hook_result result;
	pid_t pid;
	bool overdue, killed;
	ev_io ended; /* its pidfd */
	ev_timer deadline;
};

struct hooks {
	struct ev_loop *loop; /* the agent's */
	void *ctx;
	void (*on_result)(void *ctx, const struct hook_result *result);
	ev_async done;
	uint64_t last_id;
	unsigned unfinished; /* the agent's count */

	pthread_t thread;
	struct ev_loop *own; /* the thread's */
	ev_async wake;
	struct list lanes[HOOK_LANES]; /* of calls; the first one runs */

	pthread_mutex_t lock; /* what follows; held for a few instructions only */
	struct list inbox, outbox;
	bool ending;
};

/* --- what a hook is given ---------------------------------------------------------------------
 */
static const char *const kind_names[] = {
#define X(name, text) text,
	HOOK_KINDS(X)
#undef X
};

const char *hook_kind_name(enum hook_kind kind)
{
	ASSERT((unsigned)kind < countof(kind_names));
	return kind_names[kind];
}

int hook_command_add(struct hook_command *c, struct span argument)
{
	if (c->count == HOOK_ARGS_MAX || argument.len >= sizeof(c->text) - c->len ||
		(argument.len && memchr(argument.ptr, '\0', argument.len)))
		return -1;
	if (argument.len)
		memcpy(c->text + c->len, argument.ptr, argument.len);
	c->len += (uint16_t)argument.len;
	c->text[c->len++] = '\0';
	c->count++;
	return 0;
}

void hook_vars_add(struct hook_vars *v, const char *name, const char *fmt, ...)
{
	size_t room = sizeof(v->text) - v->len;
	char *to = v->text + v->len;
	size_t name_len = strlen(name);
	va_list ap;

	ASSERT(v->count < HOOK_VARS_MAX);
	if (room < name_len + 2)
		return;
	memcpy(to, name, name_len);
	to[name_len] = '=';
	va_start(ap, fmt);
	(void)vsnprintf(to + name_len + 1, room - name_len - 1, fmt, ap);
	va_end(ap);
	v->len += (uint16_t)(strlen(to) + 1);
	v->count++;
}

/* Pointers to the strings of a text, with a NULL at the end. */
static void point(char *text, unsigned count, char **out)
{
	for (unsigned i = 0; i < count; i++) {
		out[i] = text;
		text += strlen(text) + 1;
	}
	out[count] = NULL;
}

/* --- running (the thread) ----------------------------------------------------------------------
 */
static void start(struct call *c);

/* To the agent, and the next of its lane starts. */
static void finish(struct call *c, bool good, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
static void finish(struct call *c, bool good, const char *fmt, ...)
{
	struct hooks *h = c->hooks;
	struct list *lane = &h->lanes[c->lane];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(c->result.words, sizeof(c->result.words), fmt, ap);
	va_end(ap);
	c->result.good = good;
	c->result.took_ns = monotonic_ns() - c->started_ns;
	pthread_mutex_lock(&h->lock);
	list_remove(&c->link);
	list_append(&h->outbox, &c->link);
	pthread_mutex_unlock(&h->lock);
	ev_async_send(h->loop, &h->done);
	if (!list_empty(lane))
		start(list_item(lane->next, struct call, link));
}

static void on_ended(struct ev_loop *loop, ev_io *w, int revents)
{
	struct call *c = w->data;
	int status = 0;
	pid_t pid = waitpid(c->pid, &status, WNOHANG);
	bool unseen = pid < 0 && errno == ECHILD;

	(void)revents;
	if (pid != c->pid && !unseen)
		return;
	ev_io_stop(loop, &c->ended);
	ev_timer_stop(loop, &c->deadline);
	close(c->ended.fd);
	if (c->overdue)
		finish(c, false, "stopped: not done within %llu ms",
			(unsigned long long)(c->deadline_ns / NS_PER_MS));
	else if (unseen)
		finish(c, false, "somebody else waited for it");
	else if (WIFSIGNALED(status))
		finish(c, false, "killed by signal %d", WTERMSIG(status));
	else
		finish(c, WEXITSTATUS(status) == 0, "exit status %d", WEXITSTATUS(status));
}

/* Its process group: a shell's children hold no lane either. */
static void on_deadline(struct ev_loop *loop, ev_timer *w, int revents)
{
	struct call *c = w->data;

	(void)revents;
	c->killed = c->overdue;
	c->overdue = true;
	(void)kill(-c->pid, c->killed ? SIGKILL : SIGTERM);
	if (c->killed)
		return;
	ev_timer_set(&c->deadline, KILL_AFTER_S, 0.);
	ev_timer_start(loop, &c->deadline);
}

/* The service manager's lines are to the agent, not to its hooks. */
static bool is_the_agents(const char *variable)
{
	return strncmp(variable, "NOTIFY_SOCKET=", 14) == 0 ||
	       strncmp(variable, "WATCHDOG_", 9) == 0 || strncmp(variable, "LISTEN_", 7) == 0;
}

/* Ours and the call's; owned, the strings are not. NULL: out of memory. */
static char **environment(struct call *c)
{
	size_t ours = 0, count = 0;
	char **env;

	while (environ[ours])
		ours++;
	env = calloc(ours + HOOK_VARS_MAX + 1, sizeof(*env));
	if (!env)
		return NULL;
	for (size_t i = 0; i < ours; i++)
		if (!is_the_agents(environ[i]))
			env[count++] = environ[i];
	point(c->vars.text, c->vars.count, env + count);
	return env;
}

static int spawn(struct call *c)
{
	char *argv[HOOK_ARGS_MAX + 1], **env;
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attr;
	sigset_t none, all;
	int rc;

	env = environment(c);
	if (!env)
		return ENOMEM;
	point(c->command.text, c->command.count, argv);
	ASSERT(argv[0]);
	sigemptyset(&none);
	sigfillset(&all);
	posix_spawnattr_init(&attr);
	posix_spawn_file_actions_init(&files);
	posix_spawnattr_setflags(
		&attr, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setsigdefault(&attr, &all);
	rc = posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	if (rc == 0)
		rc = posix_spawn_file_actions_adddup2(&files, STDERR_FILENO, STDOUT_FILENO);
	/* Not every library of ours marks its sockets. */
	if (rc == 0)
		rc = posix_spawn_file_actions_addclosefrom_np(&files, STDERR_FILENO + 1);
	if (rc == 0)
		rc = posix_spawn(&c->pid, argv[0], &files, &attr, argv, env);
	posix_spawn_file_actions_destroy(&files);
	posix_spawnattr_destroy(&attr);
	free(env);
	return rc;
}

static void start(struct call *c)
{
	int error, fd;

	c->started_ns = monotonic_ns();
	error = spawn(c);
	if (error != 0) {
		finish(c, false, "cannot start: %s", strerror(error));
		return;
	}
	fd = (int)syscall(SYS_pidfd_open, c->pid, 0);
	if (fd < 0) { /* no files left: then it is waited for, and cannot have its deadline */
		int status = 0;

		error = errno;
		(void)kill(-c->pid, SIGKILL);
		(void)waitpid(c->pid, &status, 0);
		finish(c, false, "cannot watch it: %s", strerror(error));
		return;
	}
	ev_io_init(&c->ended, on_ended, fd, EV_READ);
	ev_timer_init(&c->deadline, on_deadline, (double)c->deadline_ns / 1e9, 0.);
	c->ended.data = c->deadline.data = c;
	ev_io_start(c->hooks->own, &c->ended);
	ev_timer_start(c->hooks->own, &c->deadline);
}

static void on_wake(struct ev_loop *loop, ev_async *w, int revents)
{
	struct hooks *h = w->data;
	bool ending;

	(void)revents;
	for (;;) {
		struct call *c = NULL;

		pthread_mutex_lock(&h->lock);
		ending = h->ending;
		if (!ending && !list_empty(&h->inbox)) {
			c = list_item(h->inbox.next, struct call, link);
			list_remove(&c->link);
		}
		pthread_mutex_unlock(&h->lock);
		if (!c)
			break;
		list_append(&h->lanes[c->lane], &c->link);
		if (h->lanes[c->lane].next->next == &h->lanes[c->lane]) /* alone */
			start(c);
	}
	if (ending)
		ev_break(loop, EVBREAK_ALL);
}

static void *run(void *arg)
{
	struct hooks *h = arg;

	ev_run(h->own, 0);
	return NULL;
}

/* --- the agent's side --------------------------------------------------------------------------
 */
static void on_done(struct ev_loop *loop, ev_async *w, int revents)
{
	struct hooks *h = w->data;

	(void)loop;
	(void)revents;
	for (;;) {
		struct call *c = NULL;

		pthread_mutex_lock(&h->lock);
		if (!list_empty(&h->outbox)) {
			c = list_item(h->outbox.next, struct call, link);
			list_remove(&c->link);
		}
		pthread_mutex_unlock(&h->lock);
		if (!c)
			return;
		ASSERT(h->unfinished > 0);
		h->unfinished--;
		h->on_result(h->ctx, &c->result);
		free(c);
	}
}

struct hooks *hooks_new(struct ev_loop *loop, void *ctx,
	void (*on_result)(void *ctx, const struct hook_result *result), struct err *err)
{
	struct hooks *h = calloc(1, sizeof(*h));

	if (h)
		h->own = ev_loop_new(EVFLAG_AUTO);
	if (!h || !h->own) {
		err_set(err, "out of memory");
		free(h);
		return NULL;
	}
	h->loop = loop;
	h->ctx = ctx;
	h->on_result = on_result;
	for (unsigned i = 0; i < HOOK_LANES; i++)
		list_init(&h->lanes[i]);
	list_init(&h->inbox);
	list_init(&h->outbox);
	pthread_mutex_init(&h->lock, NULL);
	ev_async_init(&h->done, on_done);
	ev_async_init(&h->wake, on_wake);
	h->done.data = h->wake.data = h;
	ev_async_start(h->own, &h->wake);
	if (thread_start(&h->thread, run, h, "the thread that runs hooks", err) != 0) {
		pthread_mutex_destroy(&h->lock);
		ev_loop_destroy(h->own);
		free(h);
		return NULL;
	}
	ev_async_start(loop, &h->done);
	return h;
}

static void free_calls(struct list *calls)
{
	list_each_safe (it, calls)
		free(list_item(it, struct call, link));
}

void hooks_free(struct hooks *h)
{
	if (!h)
		return;
	pthread_mutex_lock(&h->lock);
	h->ending = true;
	pthread_mutex_unlock(&h->lock);
	ev_async_send(h->own, &h->wake);
	pthread_join(h->thread, NULL);
	ev_async_stop(h->loop, &h->done);
	free_calls(&h->inbox);
	free_calls(&h->outbox);
	for (unsigned i = 0; i < HOOK_LANES; i++) {
		if (list_empty(&h->lanes[i]))
			continue;
		close(list_item(h->lanes[i].next, struct call, link)->ended.fd);
		free_calls(&h->lanes[i]);
	}
	pthread_mutex_destroy(&h->lock);
	ev_loop_destroy(h->own);
	free(h);
}

uint64_t hooks_run(struct hooks *h, const struct hook_call *call, struct err *err)
{
	struct call *c;

	ASSERT(call->lane < HOOK_LANES && call->command->count > 0 && call->deadline_ns > 0);
	if (h->unfinished == HOOKS_WAITING_MAX) {
		err_set(err, "%d hooks are waiting", HOOKS_WAITING_MAX);
		return 0;
	}
	c = calloc(1, sizeof(*c));
	if (!c) {
		err_set(err, "out of memory");
		return 0;
	}
	c->hooks = h;
	c->lane = call->lane;
	c->command = *call->command;
	c->vars = *call->vars;
	c->deadline_ns = call->deadline_ns;
	c->result =
		(struct hook_result){.id = ++h->last_id, .lane = call->lane, .label = call->label};
	h->unfinished++;
	pthread_mutex_lock(&h->lock);
	list_append(&h->inbox, &c->link);
	pthread_mutex_unlock(&h->lock);
	ev_async_send(h->own, &h->wake);
	return h->last_id;
}

bool hooks_idle(const struct hooks *h)
{
	return h->unfinished == 0;
}
