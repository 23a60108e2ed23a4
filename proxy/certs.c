#include "proxy/certs.h"

#include <openssl/evp.h>

#include "proxy/tls/server.h"
#include "shared/log.h"

static int64_t now_s(void)
{
	return (int64_t)(realtime_ns() / NS_PER_S);
}

static const char *name_of(const struct cert *c)
{
	return c->name_count ? c->names[0] : c->file;
}

/* --- status ------------------------------------------------------------------------------------
 */

static json_t *names_json(const struct cert *c)
{
	json_t *names = json_array();

	for (unsigned i = 0; i < c->name_count; i++)
		json_array_append_new(names, json_string(c->names[i]));
	return names;
}

/* What is stapled, and for how long, or why nothing is. */
static void add_ocsp(json_t *to, const struct tls_server *t, const struct cert *c)
{
	char until[25], words[64];

	if (!t->ocsp_auto && !t->ocsp_file)
		return;
	if (c->staple.der && c->staple.until_s > now_s()) {
		time_format((uint64_t)c->staple.until_s * NS_PER_S, until);
		snprintf(words, sizeof(words), "good until %.16s", until);
		json_object_set_new(to, "ocsp", json_string(words));
	} else {
		json_object_set_new(to, "ocsp", json_string("none"));
	}
	if (c->staple.trouble[0])
		json_object_set_new(to, "ocsp_trouble", json_string(c->staple.trouble));
}

static json_t *one(const struct listener *l, const struct cert *c)
{
	char until[25], key[64];
	json_t *out;

	time_format((uint64_t)(c->until_s > 0 ? c->until_s : 0) * NS_PER_S, until);
	snprintf(key, sizeof(key), "%s %d", EVP_PKEY_get0_type_name(c->key),
		EVP_PKEY_get_bits(c->key));
	out = json_pack("{s:o,s:s,s:s,s:I,s:s,s:s%}", "names", names_json(c), "file", c->file,
		"not_after", until, "days_left", (json_int_t)cert_days_left(c, now_s()), "key", key,
		"listener", l->name.ptr, l->name.len);
	add_ocsp(out, l->tls, c);
	return out;
}

json_t *certs_status(const struct settings *s)
{
	json_t *all = json_array();

	for (unsigned i = 0; i < s->listener_count; i++) {
		const struct listener *l = &s->listeners[i];

		for (unsigned j = 0; l->tls && j < l->tls->store->count; j++)
			json_array_append_new(all, one(l, l->tls->store->certs[j]));
	}
	return all;
}

/* --- their ends --------------------------------------------------------------------------------
 */

static const int stages[] = {
#define X(days) days,
	CERTS_STAGES(X)
#undef X
};

/* How many of the stages it has reached. */
static unsigned stage_at(const struct cert *c, int64_t at_s)
{
	int64_t left_s = c->until_s - at_s;
	unsigned stage = 0;

	while (stage < countof(stages) && left_s <= stages[stage] * INT64_C(86400))
		stage++;
	return stage;
}

static void words_of(const struct cert *c, char *out, size_t size)
{
	int64_t days = cert_days_left(c, now_s());

	if (days < 0)
		snprintf(out, size, "it has expired (%s)", c->file);
	else
		snprintf(out, size, "it expires in %lld days (%s)", (long long)days, c->file);
}

static void log_one(const struct listener *l, const struct cert *c, unsigned stage)
{
	char until[25];

	time_format((uint64_t)(c->until_s > 0 ? c->until_s : 0) * NS_PER_S, until);
	log_event(stage < 2		    ? LOG_NOTICE
		  : stage < countof(stages) ? LOG_WARNING
					    : LOG_ERROR,
		"tls.cert_expiring",
		stage < countof(stages) ? "a certificate is near its end"
					: "a certificate has expired",
		F_SPAN("listener", l->name), F_TEXT("name", name_of(c)), F_TEXT("file", c->file),
		F_TEXT("not_after", until));
}

void certs_log(const struct settings *s, int64_t since_s)
{
	for (unsigned i = 0; i < s->listener_count; i++) {
		const struct listener *l = &s->listeners[i];

		for (unsigned j = 0; l->tls && j < l->tls->store->count; j++) {
			const struct cert *c = l->tls->store->certs[j];
			unsigned stage = stage_at(c, now_s());

			if (stage && (!since_s || stage_at(c, since_s) < stage))
				log_one(l, c, stage);
		}
	}
}

void certs_each_condition(const struct settings *s,
	void (*add)(json_t *list, const char *kind, const char *subject, const char *words),
	json_t *list)
{
	char subject[160], words[160];

	for (unsigned i = 0; i < s->listener_count; i++) {
		const struct listener *l = &s->listeners[i];

		for (unsigned j = 0; l->tls && j < l->tls->store->count; j++) {
			const struct cert *c = l->tls->store->certs[j];
			unsigned stage = stage_at(c, now_s());

			words_of(c, words, sizeof(words));
			for (unsigned k = 0; k < stage; k++) {
				/* One that was told of stays, and the next is news again. */
				snprintf(subject, sizeof(subject), "%.100s within %d days",
					name_of(c), stages[k]);
				add(list, "cert_expiring", subject, words);
			}
		}
	}
}
