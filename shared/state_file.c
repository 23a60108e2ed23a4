#include "shared/state_file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shared/assert.h"
#include "shared/daemon.h"
#include "shared/thread.h"

struct state_file {
	struct ev_loop *loop;
	char *dir, *name;
	void *ctx;
	void (*on_written)(void *ctx, uint64_t number, const struct err *failed);
	ev_async done;
	pthread_t thread;
	pthread_mutex_t lock; /* what follows; never held while writing */
	pthread_cond_t work;
	bool ending;
	char *waiting; /* NULL: nothing */
	size_t waiting_len;
	uint64_t put, written; /* numbers */
	bool failed;
	struct err err; /* of `written` */
};

/* --- the disk ----------------------------------------------------------------------------------
 */

static int write_all(int fd, struct span text)
{
	while (text.len) {
		ssize_t n = write(fd, text.ptr, text.len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -1;
		text = span_from(text, (size_t)n);
	}
	return fsync(fd);
}

static int sync_dir(const char *dir)
{
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc;

	if (fd < 0)
		return -1;
	rc = fsync(fd);
	close(fd);
	return rc;
}

static int path_of(
	const char *dir, const char *name, const char *end, char out[PATH_MAX], struct err *err)
{
	int n = snprintf(out, PATH_MAX, "%s/%s%s", dir, name, end);

	return n > 0 && n < PATH_MAX ? 0 : err_set(err, "--state-dir is too long: %s", dir);
}

int state_file_write(const char *dir, const char *name, struct span text, struct err *err)
{
	char file[PATH_MAX], tmp[PATH_MAX];
	int fd, rc;

	if (path_of(dir, name, "", file, err) < 0 || path_of(dir, name, ".new", tmp, err) < 0)
		return -1;
	if (daemon_make_dir(dir, 0750, err) < 0)
		return err_prefix(err, "cannot write %s", file);
	fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
	if (fd < 0)
		return err_set_errno(err, "cannot create %s", tmp);
	rc = write_all(fd, text);
	if (rc != 0)
		err_set_errno(err, "cannot write %s", tmp);
	close(fd);
	if (rc == 0 && (rename(tmp, file) != 0 || sync_dir(dir) != 0))
		rc = err_set_errno(err, "cannot put %s in place", file);
	if (rc != 0)
		(void)unlink(tmp);
	return rc;
}

static int read_all(int fd, char *text, size_t len)
{
	size_t at = 0;

	while (at < len) {
		ssize_t n = read(fd, text + at, len - at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -1;
		if (n == 0) {
			errno = EIO; /* it shrank under us */
			return -1;
		}
		at += (size_t)n;
	}
	return 0;
}

int state_file_read(
	const char *dir, const char *name, char **ret_text, size_t *ret_len, struct err *err)
{
	char file[PATH_MAX], *text = NULL;
	struct stat st;
	int fd;

	if (path_of(dir, name, "", file, err) < 0)
		return -1;
	fd = open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0 && errno != ENOENT)
		return err_set_errno(err, "cannot open %s", file);
	*ret_text = NULL;
	*ret_len = 0;
	if (fd < 0)
		return 0;
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size > STATE_FILE_MAX) {
		close(fd);
		return err_set(err, "%s is no file of ours: not a regular one, or too large", file);
	}
	text = malloc((size_t)st.st_size + 1);
	if (!text || read_all(fd, text, (size_t)st.st_size) < 0) {
		err_set_errno(err, "cannot read %s", file);
		free(text);
		close(fd);
		return -1;
	}
	close(fd);
	text[st.st_size] = '\0';
	*ret_text = text;
	*ret_len = (size_t)st.st_size;
	return 0;
}

int state_file_set_aside(const char *dir, const char *name, struct err *err)
{
	char file[PATH_MAX], aside[PATH_MAX];

	if (path_of(dir, name, "", file, err) < 0 || path_of(dir, name, ".bad", aside, err) < 0)
		return -1;
	return rename(file, aside) == 0 ? 0 : err_set_errno(err, "cannot set %s aside", file);
}

/* --- the thread --------------------------------------------------------------------------------
 */

static void *run(void *arg)
{
	struct state_file *f = arg;

	pthread_mutex_lock(&f->lock);
	for (;;) {
		struct err err;
		uint64_t number;
		size_t len;
		char *text;
		int rc;

		while (!f->waiting && !f->ending)
			pthread_cond_wait(&f->work, &f->lock);
		if (!f->waiting)
			break;
		text = f->waiting;
		len = f->waiting_len;
		number = f->put;
		f->waiting = NULL;
		pthread_mutex_unlock(&f->lock);
		rc = state_file_write(f->dir, f->name, span_make(text, len), &err);
		free(text);
		pthread_mutex_lock(&f->lock);
		f->written = number;
		f->failed = rc != 0;
		if (f->failed)
			f->err = err;
		ev_async_send(f->loop, &f->done);
	}
	pthread_mutex_unlock(&f->lock);
	return NULL;
}

static void on_done(EV_P_ ev_async *w, int revents)
{
	struct state_file *f = container_of(w, struct state_file, done);
	struct err err;
	uint64_t number;
	bool failed;

	(void)loop, (void)revents;
	pthread_mutex_lock(&f->lock);
	number = f->written;
	failed = f->failed;
	if (failed)
		err = f->err;
	pthread_mutex_unlock(&f->lock);
	f->on_written(f->ctx, number, failed ? &err : NULL);
}

static void destroy(struct state_file *f)
{
	free(f->dir);
	free(f->name);
	free(f);
}

struct state_file *state_file_new(struct ev_loop *loop, const char *dir, const char *name,
	void *ctx, void (*on_written)(void *ctx, uint64_t number, const struct err *failed),
	struct err *err)
{
	struct state_file *f = calloc(1, sizeof(*f));

	if (f) {
		f->dir = span_dup(span_of(dir));
		f->name = span_dup(span_of(name));
	}
	if (!f || !f->dir || !f->name) {
		if (f)
			destroy(f);
		err_set(err, "out of memory");
		return NULL;
	}
	f->loop = loop;
	f->ctx = ctx;
	f->on_written = on_written;
	pthread_mutex_init(&f->lock, NULL);
	pthread_cond_init(&f->work, NULL);
	ev_async_init(&f->done, on_done);
	ev_async_start(loop, &f->done);
	if (thread_start(&f->thread, run, f, "the thread that writes a state file", err) == 0)
		return f;
	ev_async_stop(loop, &f->done);
	destroy(f);
	return NULL;
}

void state_file_free(struct state_file *f)
{
	if (!f)
		return;
	pthread_mutex_lock(&f->lock);
	f->ending = true;
	pthread_cond_signal(&f->work);
	pthread_mutex_unlock(&f->lock);
	pthread_join(f->thread, NULL);
	ev_async_stop(f->loop, &f->done);
	pthread_mutex_destroy(&f->lock);
	pthread_cond_destroy(&f->work);
	destroy(f);
}

uint64_t state_file_put(struct state_file *f, char *text, size_t len)
{
	uint64_t number;

	pthread_mutex_lock(&f->lock);
	free(f->waiting);
	f->waiting = text;
	f->waiting_len = len;
	number = ++f->put;
	pthread_cond_signal(&f->work);
	pthread_mutex_unlock(&f->lock);
	return number;
}
