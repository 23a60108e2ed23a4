#include "failover/epoch_store.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include "failover/core/packet.h"
#include "shared/assert.h"
#include "shared/state_file.h"
#include "shared/thread.h"

struct epoch_store {
	struct ev_loop *loop;
	char dir[PATH_MAX - 2 * EPOCH_GROUP_MAX];
	void *ctx;
	void (*on_result)(void *ctx, const struct epoch_result *result);
	ev_async done;
	pthread_t thread;
	pthread_mutex_t
		lock; /* what follows; held for a few instructions only, never while writing */
	pthread_cond_t work;
	bool ending;
	/* A ring: [taken, finished) are done and not yet delivered, [finished, put) wait or are
	 * written. */
	struct epoch_result jobs[EPOCH_JOBS_MAX];
	uint64_t taken, finished, put;
};

static int store(const char *dir, const char *group, uint64_t epoch, struct err *err)
{
	char name[EPOCH_GROUP_MAX + sizeof("epoch-")], text[32];
	int len = snprintf(text, sizeof(text), "%" PRIu64 "\n", epoch);

	(void)snprintf(name, sizeof(name), "epoch-%s", group);
	return state_file_write(dir, name, span_make(text, (size_t)len), err);
}

static void *run(void *arg)
{
	struct epoch_store *s = arg;

	pthread_mutex_lock(&s->lock);
	for (;;) {
		struct epoch_result *job;

		while (s->finished == s->put && !s->ending)
			pthread_cond_wait(&s->work, &s->lock);
		if (s->finished == s->put)
			break;
		/* Nobody else touches the slot before it counts as finished. */
		job = &s->jobs[s->finished % EPOCH_JOBS_MAX];
		pthread_mutex_unlock(&s->lock);
		job->failed = store(s->dir, job->group, job->epoch, &job->err);
		pthread_mutex_lock(&s->lock);
		s->finished++;
		ev_async_send(s->loop, &s->done);
	}
	pthread_mutex_unlock(&s->lock);
	return NULL;
}

static void on_done(EV_P_ ev_async *w, int revents)
{
	struct epoch_store *s = container_of(w, struct epoch_store, done);

	(void)loop, (void)revents;
	for (;;) {
		struct epoch_result result;
		bool any;

		pthread_mutex_lock(&s->lock);
		any = s->taken < s->finished;
		if (any)
			result = s->jobs[s->taken++ % EPOCH_JOBS_MAX];
		pthread_mutex_unlock(&s->lock);
		if (!any)
			return;
		s->on_result(s->ctx, &result);
	}
}

struct epoch_store *epoch_store_new(struct ev_loop *loop, const char *dir, void *ctx,
	void (*on_result)(void *ctx, const struct epoch_result *result), struct err *err)
{
	struct epoch_store *s = calloc(1, sizeof(*s));

	if (!s) {
		err_set_errno(err, "epoch store");
		return NULL;
	}
	s->loop = loop;
	s->ctx = ctx;
	s->on_result = on_result;
	if (span_copy(span_of(dir), s->dir, sizeof(s->dir)) != 0) {
		err_set(err, "the state directory's name is too long");
		goto fail;
	}
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->work, NULL);
	ev_async_init(&s->done, on_done);
	ev_async_start(loop, &s->done);
	if (thread_start(&s->thread, run, s, "the thread that stores epochs", err) != 0) {
		ev_async_stop(loop, &s->done);
		goto fail;
	}
	return s;
fail:
	free(s);
	return NULL;
}

void epoch_store_free(struct epoch_store *s)
{
	if (!s)
		return;
	pthread_mutex_lock(&s->lock);
	s->ending = true;
	pthread_cond_signal(&s->work);
	pthread_mutex_unlock(&s->lock);
	pthread_join(s->thread, NULL);
	ev_async_stop(s->loop, &s->done);
	pthread_mutex_destroy(&s->lock);
	pthread_cond_destroy(&s->work);
	free(s);
}

int epoch_store_put(struct epoch_store *s, const char *group, uint64_t epoch, struct err *err)
{
	bool full;

	pthread_mutex_lock(&s->lock);
	full = s->put - s->taken == EPOCH_JOBS_MAX;
	if (!full) {
		struct epoch_result *job = &s->jobs[s->put % EPOCH_JOBS_MAX];

		*job = (struct epoch_result){.epoch = epoch};
		(void)span_copy(span_of(group), job->group, sizeof(job->group));
		s->put++;
		pthread_cond_signal(&s->work);
	}
	pthread_mutex_unlock(&s->lock);
	return full ? err_set(err, "%d epochs are waiting to be written", EPOCH_JOBS_MAX) : 0;
}

int epoch_store_get(
	const struct epoch_store *s, const char *group, uint64_t *ret_epoch, struct err *err)
{
	char file[PATH_MAX], text[32];
	struct span number;
	ssize_t len;
	int fd;

	(void)snprintf(file, sizeof(file), "%s/epoch-%s", s->dir, group);
	fd = open(file, O_RDONLY | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT) {
		*ret_epoch = 0;
		return 0;
	}
	if (fd < 0)
		return err_set_errno(err, "cannot open %s", file);
	len = read(fd, text, sizeof(text));
	if (len < 0)
		err_set_errno(err, "cannot read %s", file);
	close(fd);
	if (len < 0)
		return -1;
	number = span_make(text, (size_t)len);
	if (number.len && number.ptr[number.len - 1] == '\n')
		number.len--;
	if (span_to_u64(number, PACKET_EPOCH_MAX, ret_epoch) != 0)
		return err_set(err, "%s does not hold an epoch", file);
	return 0;
}
