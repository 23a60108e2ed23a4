#include "failover/webhook.h"

#include <curl/curl.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "shared/assert.h"
#include "shared/list.h"
#include "shared/log.h"
#include "shared/thread.h"
#include "shared/units.h"

#define CONNECT_MS 5000L
#define TOTAL_MS 10000L
#define TRIES 4
#define GOODBYE_NS (2 * NS_PER_S)

struct job {
	struct list link;
	char url[WEBHOOK_URL_MAX];
	char body[WEBHOOK_BODY_MAX];
};

struct webhook {
	pthread_t thread;
	pthread_mutex_t lock; /* jobs and count; held for a few instructions only */
	pthread_cond_t work;
	struct list jobs;
	unsigned count;
	_Atomic bool ending;
	_Atomic uint64_t ending_ns;
};

static size_t ignore_body(char *data, size_t size, size_t count, void *ctx)
{
	(void)data;
	(void)ctx;
	return size * count;
}

static int on_progress(void *ctx, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
	const struct webhook *w = ctx;

	(void)a, (void)b, (void)c, (void)d;
	return atomic_load(&w->ending) && monotonic_ns() - atomic_load(&w->ending_ns) > GOODBYE_NS;
}

/* The status; 0 with words when there is none. */
static long post(struct webhook *w, CURL *curl, const struct job *j, char *words, size_t size)
{
	struct curl_slist *fields = curl_slist_append(NULL, "Content-Type: application/json");
	char text[CURL_ERROR_SIZE] = "";
	long status = 0;
	CURLcode rc;

	curl_easy_reset(curl);
	curl_easy_setopt(curl, CURLOPT_URL, j->url);
	curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(curl, CURLOPT_POSTFIELDS, j->body);
	curl_easy_setopt(curl, CURLOPT_HTTPHEADER, fields);
	curl_easy_setopt(curl, CURLOPT_USERAGENT, "tandem/" PACKAGE_VERSION);
	curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_MS);
	curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, TOTAL_MS);
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, ignore_body);
	curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress);
	curl_easy_setopt(curl, CURLOPT_XFERINFODATA, w);
	curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
	curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, text);
	rc = curl_easy_perform(curl);
	curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
	if (rc != CURLE_OK) {
		status = 0;
		snprintf(words, size, "%s", text[0] ? text : curl_easy_strerror(rc));
	} else {
		snprintf(words, size, "status %ld", status);
	}
	curl_slist_free_all(fields);
	return status;
}

/* Sleeps, but not into the end. */
static void wait_s(struct webhook *w, unsigned seconds)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += (time_t)seconds;
	pthread_mutex_lock(&w->lock);
	while (!atomic_load(&w->ending) &&
		pthread_cond_clockwait(&w->work, &w->lock, CLOCK_MONOTONIC, &until) != ETIMEDOUT)
		;
	pthread_mutex_unlock(&w->lock);
}

static void deliver(struct webhook *w, CURL *curl, const struct job *j)
{
	char words[256];
	long status = 0;

	for (unsigned i = 0; i < TRIES; i++) {
		if (i > 0)
			wait_s(w, i == 1 ? 1 : i == 2 ? 5 : 25);
		if (i > 0 && atomic_load(&w->ending))
			return;
		status = post(w, curl, j, words, sizeof(words));
		if (status >= 200 && status < 300) {
			log_event(LOG_INFO, "alert.sent", words);
			return;
		}
		if (status != 0 && status != 429 && status < 500)
			break;
	}
	/* Not the address: it often is the secret. */
	log_event(LOG_ERROR, "alert.unsent", words,
		F_TEXT("decision", "given up: what it said is in the log"));
}

static void *run(void *arg)
{
	struct webhook *w = arg;
	CURL *curl = curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK ? curl_easy_init() : NULL;

	for (;;) {
		struct job *j = NULL;

		pthread_mutex_lock(&w->lock);
		while (list_empty(&w->jobs) && !atomic_load(&w->ending))
			pthread_cond_wait(&w->work, &w->lock);
		if (!list_empty(&w->jobs)) {
			j = list_item(w->jobs.next, struct job, link);
			list_remove(&j->link);
			w->count--;
		}
		pthread_mutex_unlock(&w->lock);
		if (!j)
			break;
		if (!curl)
			log_event(LOG_ERROR, "alert.unsent", "libcurl cannot be made ready");
		else if (!atomic_load(&w->ending) ||
			 monotonic_ns() - atomic_load(&w->ending_ns) < GOODBYE_NS)
			deliver(w, curl, j);
		free(j);
	}
	curl_easy_cleanup(curl);
	curl_global_cleanup();
	return NULL;
}

struct webhook *webhook_new(struct err *err)
{
	struct webhook *w = calloc(1, sizeof(*w));

	if (!w) {
		err_set(err, "out of memory");
		return NULL;
	}
	list_init(&w->jobs);
	pthread_mutex_init(&w->lock, NULL);
	pthread_cond_init(&w->work, NULL);
	if (thread_start(&w->thread, run, w, "the thread that sends alerts", err) == 0)
		return w;
	pthread_mutex_destroy(&w->lock);
	pthread_cond_destroy(&w->work);
	free(w);
	return NULL;
}

void webhook_free(struct webhook *w)
{
	if (!w)
		return;
	pthread_mutex_lock(&w->lock);
	atomic_store(&w->ending_ns, monotonic_ns());
	atomic_store(&w->ending, true);
	pthread_cond_broadcast(&w->work);
	pthread_mutex_unlock(&w->lock);
	pthread_join(w->thread, NULL);
	pthread_mutex_destroy(&w->lock);
	pthread_cond_destroy(&w->work);
	free(w);
}

int webhook_post(struct webhook *w, const char *url, const char *json, struct err *err)
{
	struct job *j = malloc(sizeof(*j));
	bool full;

	if (!j || span_copy(span_of(url), j->url, sizeof(j->url)) != 0 ||
		span_copy(span_of(json), j->body, sizeof(j->body)) != 0) {
		err_set(err, j ? "the alert is too long" : "out of memory");
		free(j);
		return -1;
	}
	pthread_mutex_lock(&w->lock);
	full = w->count == WEBHOOK_WAITING_MAX;
	if (!full) {
		list_append(&w->jobs, &j->link);
		w->count++;
		pthread_cond_signal(&w->work);
	}
	pthread_mutex_unlock(&w->lock);
	if (!full)
		return 0;
	free(j);
	return err_set(err, "%d alerts are waiting to be sent", WEBHOOK_WAITING_MAX);
}
