#include "proxy/stapling.h"

#include <curl/curl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "proxy/tls/server.h"
#include "shared/log.h"
#include "shared/thread.h"

struct question { /* goes to the thread and comes back */
	uint8_t fingerprint[32];
	char *url;
	struct span request;
	char *answer;
	size_t answer_len;
	struct err err; /* where there is none */
};

struct stapling {
	struct ev_loop *loop;
	ev_timer look;
	ev_async came;
	const struct settings *settings;
	pthread_t thread;
	bool has_thread, asked;

	pthread_mutex_t lock;
	pthread_cond_t work;
	struct question *todo, *done; /* one of them at a time; under the lock */
	_Atomic bool stop;
};

static int64_t now_s(void)
{
	return (int64_t)(realtime_ns() / NS_PER_S);
}

static void question_free(struct question *q)
{
	if (!q)
		return;
	free(q->url);
	free((void *)(uintptr_t)q->request.ptr);
	free(q->answer);
	free(q);
}

/* --- the thread --------------------------------------------------------------------------------
 */

static size_t on_bytes(char *bytes, size_t one, size_t count, void *ctx)
{
	struct question *q = ctx;
	size_t len = one * count;
	char *more;

	if (len > OCSP_ANSWER_MAX - q->answer_len)
		return 0;
	more = realloc(q->answer, q->answer_len + len + 1);
	if (!more)
		return 0;
	q->answer = more;
	memcpy(more + q->answer_len, bytes, len);
	q->answer_len += len;
	return len;
}

static int on_progress(void *ctx, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
	const struct stapling *k = ctx;

	(void)a, (void)b, (void)c, (void)d;
	return atomic_load(&k->stop);
}

static void ask(struct stapling *k, struct question *q)
{
	struct curl_slist *fields =
		curl_slist_append(NULL, "Content-Type: application/ocsp-request");
	CURL *c = curl_easy_init();
	long status = 0;
	CURLcode rc = CURLE_OUT_OF_MEMORY;

	if (c && fields) {
		curl_easy_setopt(c, CURLOPT_URL, q->url);
		curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
		curl_easy_setopt(c, CURLOPT_POSTFIELDS, q->request.ptr);
		curl_easy_setopt(c, CURLOPT_POSTFIELDSIZE, (long)q->request.len);
		curl_easy_setopt(c, CURLOPT_HTTPHEADER, fields);
		curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_bytes);
		curl_easy_setopt(c, CURLOPT_WRITEDATA, q);
		curl_easy_setopt(c, CURLOPT_XFERINFOFUNCTION, on_progress);
		curl_easy_setopt(c, CURLOPT_XFERINFODATA, k);
		curl_easy_setopt(c, CURLOPT_NOPROGRESS, 0L);
		curl_easy_setopt(c, CURLOPT_TIMEOUT, STAPLING_PATIENCE_S);
		curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
		rc = curl_easy_perform(c);
		curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &status);
	}
	if (rc != CURLE_OK)
		err_set(&q->err, "cannot ask %s: %s", q->url, curl_easy_strerror(rc));
	else if (status != 200)
		err_set(&q->err, "%s answers with %ld", q->url, status);
	curl_easy_cleanup(c);
	curl_slist_free_all(fields);
}

static void *thread_main(void *arg)
{
	struct stapling *k = arg;

	pthread_setname_np(pthread_self(), "ocsp");
	pthread_mutex_lock(&k->lock);
	for (;;) {
		struct question *q;

		while (!k->todo && !k->stop)
			pthread_cond_wait(&k->work, &k->lock);
		if (k->stop)
			break;
		q = k->todo;
		k->todo = NULL;
		pthread_mutex_unlock(&k->lock);
		ask(k, q);
		pthread_mutex_lock(&k->lock);
		k->done = q;
		ev_async_send(k->loop, &k->came);
	}
	pthread_mutex_unlock(&k->lock);
	return NULL;
}

/* --- asking ------------------------------------------------------------------------------------
 */

static void note_trouble(struct cert *c, const struct err *err)
{
	if (strcmp(c->staple.trouble, err->text) != 0)
		log_event(LOG_WARNING, "tls.unstapled", "there is no new OCSP response",
			F_TEXT("file", c->file), F_TEXT("reason", err->text));
	snprintf(c->staple.trouble, sizeof(c->staple.trouble), "%s", err->text);
}

/* At half its life; and not at once again where that is over. */
static void plan(struct staple *s)
{
	int64_t half_s = s->from_s + (s->until_s - s->from_s) / 2,
		soon_s = now_s() + STAPLING_AGAIN_S;

	s->next_s = half_s > soon_s ? half_s : soon_s;
}

static void take_answer(struct cert *c, const struct question *q)
{
	struct err err = q->err;

	c->staple.next_s = now_s() + STAPLING_AGAIN_S;
	if (err.text[0] || ocsp_take(c, span_make(q->answer, q->answer_len), now_s(), &err) < 0) {
		note_trouble(c, &err);
		return;
	}
	plan(&c->staple);
	log_event(LOG_INFO, "tls.stapled", "an OCSP response came", F_TEXT("file", c->file),
		F_INT("hours", (c->staple.until_s - now_s()) / 3600));
}

/* Goes through the certificates; false ends it. */
static void each_cert(struct stapling *k,
	bool (*each)(struct stapling *k, struct tls_server *t, struct cert *c, void *arg),
	void *arg)
{
	for (unsigned i = 0; i < k->settings->listener_count; i++) {
		struct tls_server *t = k->settings->listeners[i].tls;

		for (unsigned j = 0; t && j < t->store->count; j++)
			if (!each(k, t, t->store->certs[j], arg))
				return;
	}
}

static bool answer_if_same(struct stapling *k, struct tls_server *t, struct cert *c, void *arg)
{
	const struct question *q = arg;

	(void)k;
	if (t->ocsp_auto && memcmp(c->fingerprint, q->fingerprint, sizeof(c->fingerprint)) == 0)
		take_answer(c, q);
	return true;
}

static bool ask_if_due(struct stapling *k, struct tls_server *t, struct cert *c, void *arg)
{
	struct question *q;
	struct err err;

	(void)arg;
	if (!t->ocsp_auto || c->staple.next_s > now_s())
		return true;
	c->staple.next_s = now_s() + STAPLING_AGAIN_S;
	q = calloc(1, sizeof(*q));
	if (!q)
		return false;
	if (!k->has_thread && thread_start(&k->thread, thread_main, k,
				      "the thread that asks for OCSP responses", &err) < 0) {
		note_trouble(c, &err);
		free(q);
		return false;
	}
	k->has_thread = true;
	if (ocsp_question(c, &q->url, &q->request, &err) < 0) {
		note_trouble(c, &err);
		question_free(q);
		return true;
	}
	memcpy(q->fingerprint, c->fingerprint, sizeof(q->fingerprint));
	k->asked = true;
	pthread_mutex_lock(&k->lock);
	k->todo = q;
	pthread_cond_signal(&k->work);
	pthread_mutex_unlock(&k->lock);
	return false;
}

static void on_came(struct ev_loop *loop, ev_async *a, int events)
{
	struct stapling *k = a->data;
	struct question *q;

	(void)loop;
	(void)events;
	pthread_mutex_lock(&k->lock);
	q = k->done;
	k->done = NULL;
	pthread_mutex_unlock(&k->lock);
	if (!q)
		return;
	k->asked = false;
	each_cert(k, answer_if_same, q);
	question_free(q);
	each_cert(k, ask_if_due, NULL);
}

static void on_look(struct ev_loop *loop, ev_timer *t, int events)
{
	struct stapling *k = t->data;
	struct err err;

	(void)loop;
	(void)events;
	for (unsigned i = 0; i < k->settings->listener_count; i++) {
		struct tls_server *server = k->settings->listeners[i].tls;

		if (server && server->ocsp_file && tls_server_read_staples(server, &err) < 0)
			for (unsigned j = 0; j < server->store->count; j++)
				note_trouble(server->store->certs[j], &err);
	}
	if (!k->asked)
		each_cert(k, ask_if_due, NULL);
}

/* --- the whole ---------------------------------------------------------------------------------
 */

struct stapling *stapling_new(struct ev_loop *loop)
{
	struct stapling *k = calloc(1, sizeof(*k));

	if (!k || curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
		free(k);
		return NULL;
	}
	k->loop = loop;
	pthread_mutex_init(&k->lock, NULL);
	pthread_cond_init(&k->work, NULL);
	ev_timer_init(&k->look, on_look, 0, STAPLING_LOOK_S);
	ev_async_init(&k->came, on_came);
	k->look.data = k->came.data = k;
	ev_async_start(loop, &k->came);
	return k;
}

void stapling_free(struct stapling *k)
{
	if (!k)
		return;
	ev_timer_stop(k->loop, &k->look);
	ev_async_stop(k->loop, &k->came);
	if (k->has_thread) {
		pthread_mutex_lock(&k->lock);
		k->stop = true;
		pthread_cond_signal(&k->work);
		pthread_mutex_unlock(&k->lock);
		pthread_join(k->thread, NULL);
	}
	question_free(k->todo);
	question_free(k->done);
	pthread_mutex_destroy(&k->lock);
	pthread_cond_destroy(&k->work);
	curl_global_cleanup();
	free(k);
}

static struct span key_of(const struct cert *c)
{
	return span_make((const char *)c->fingerprint, sizeof(c->fingerprint));
}

static bool remember(struct stapling *k, struct tls_server *t, struct cert *c, void *arg)
{
	(void)k;
	/* Without memory it is only asked for again. */
	return !t->ocsp_auto || map_put(arg, key_of(c), c) == 0;
}

static bool inherit(struct stapling *k, struct tls_server *t, struct cert *c, void *arg)
{
	struct cert *old = t->ocsp_auto ? map_get(arg, key_of(c)) : NULL;

	(void)k;
	if (old)
		staple_inherit(&c->staple, &old->staple);
	return true;
}

void stapling_apply(struct stapling *k, const struct settings *s, const struct settings *before)
{
	struct map known;

	map_init(&known, CERTS_MAX);
	k->settings = before;
	if (before)
		each_cert(k, remember, &known);
	k->settings = s;
	each_cert(k, inherit, &known);
	map_fini(&known);
	ev_timer_stop(k->loop, &k->look);
	ev_timer_set(&k->look, 0, STAPLING_LOOK_S);
	ev_timer_start(k->loop, &k->look);
}
