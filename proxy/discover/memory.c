#include "proxy/discover/memory.h"

#include <stdlib.h>

#include "shared/log.h"

/* --- leaving ------------------------------------------------------------------------------------
 */

/* The object of that name, made where there is none. NULL: out of memory. */
static json_t *child(json_t *object, struct span name)
{
	json_t *found = json_object_getn(object, name.ptr, name.len);

	if (found)
		return found;
	found = json_object();
	return json_object_setn_new(object, name.ptr, name.len, found) == 0 ? found : NULL;
}

static json_t *addresses_json(const struct host *h)
{
	json_t *all = json_array();
	char text[ADDR_TEXT_MAX];

	for (unsigned i = 0; i < host_count(h); i++) {
		addr_format_ip(host_addr(h, i), text);
		json_array_append_new(all, json_string(text));
	}
	return all;
}

static json_t *entry_json(const struct crew_entry *e)
{
	json_t *entry = json_pack("{s:i, s:b}", "weight", (int)e->weight, "backup", e->backup);
	char text[ADDR_TEXT_MAX];

	if (e->name.len)
		json_object_set_new(entry, "name", json_stringn(e->name.ptr, e->name.len));
	if (e->zone.len)
		json_object_set_new(entry, "zone", json_stringn(e->zone.ptr, e->zone.len));
	if (e->host.len) {
		json_object_set_new(entry, "host", json_stringn(e->host.ptr, e->host.len));
		json_object_set_new(entry, "port", json_integer(e->port));
	} else {
		addr_format(&e->address, text);
		json_object_set_new(entry, "address", json_string(text));
	}
	return entry;
}

struct keeping {
	json_t *hosts, *chosen, *entries; /* entries: NULL where nobody asks for them */
};

static void keep_entry(
	void *ctx, const struct crew_entry *e, const struct host *h, const struct addr *chosen)
{
	const struct keeping *k = ctx;
	char text[ADDR_TEXT_MAX];

	if (h && host_count(h) && !json_object_get(k->hosts, h->name))
		json_object_set_new(k->hosts, h->name, addresses_json(h));
	if (h && e->name.len && chosen->sa.sa_family != AF_UNSPEC) {
		addr_format_ip(chosen, text);
		json_object_setn_new(k->chosen, e->name.ptr, e->name.len, json_string(text));
	}
	if (k->entries)
		json_array_append_new(k->entries, entry_json(e));
}

void memory_keep(json_t *memory, struct span pool, const char *source, const char *what,
	const struct crew *c)
{
	struct keeping k = {.hosts = child(memory, SPAN("hosts")),
		.chosen = child(child(memory, SPAN("chosen")), pool),
		.entries = what ? json_array() : NULL};

	crew_each(c, &k, keep_entry);
	if (what)
		json_object_set_new(child(child(memory, SPAN("lists")), pool), source,
			json_pack("{s:s, s:o}", "of", what, "entries", k.entries));
}

/* --- finding ------------------------------------------------------------------------------------
 */

void memory_host(const json_t *memory, struct host *h)
{
	const json_t *texts = json_object_get(json_object_get(memory, "hosts"), h->name), *text;
	unsigned count = 0;
	struct addr *list;
	size_t i;

	if (!json_is_array(texts) || json_array_size(texts) > 2 * RESOLVER_RECORDS_MAX)
		return;
	list = calloc(json_array_size(texts) + 1, sizeof(*list));
	json_array_foreach (texts, i, text)
		if (list && json_is_string(text) &&
			addr_parse_ip(span_of(json_string_value(text)), &list[count], NULL) == 0)
			count++;
	if (list)
		host_recall(h, list, count);
	free(list);
}

bool memory_chosen(
	const json_t *memory, struct span pool, struct span server, struct addr *ret_address)
{
	const json_t *of = json_object_get(memory, "chosen");
	const char *text = json_string_value(
		json_object_getn(json_object_getn(of, pool.ptr, pool.len), server.ptr, server.len));

	return text && addr_parse_ip(span_of(text), ret_address, NULL) == 0;
}

static struct span text_of(const json_t *object, const char *name)
{
	const json_t *text = json_object_get(object, name);

	return span_make(json_string_value(text), json_string_length(text));
}

static bool read_entry(const json_t *from, struct crew_entry *e)
{
	json_int_t port = json_integer_value(json_object_get(from, "port"));
	json_int_t weight = json_integer_value(json_object_get(from, "weight"));

	*e = (struct crew_entry){.name = text_of(from, "name"),
		.host = text_of(from, "host"),
		.port = (uint16_t)port,
		.weight = (uint32_t)weight,
		.zone = text_of(from, "zone"),
		.backup = json_is_true(json_object_get(from, "backup"))};
	if (weight < 1 || weight > 256)
		return false;
	if (e->host.len)
		return port > 0 && port <= UINT16_MAX;
	return addr_parse(text_of(from, "address"), &e->address, NULL) == 0;
}

void memory_list(const json_t *memory, struct span pool, const char *source, const char *what,
	struct crew *c)
{
	const json_t *of = json_object_get(memory, "lists"), *left, *entries, *entry;
	struct crew_entry *list;
	unsigned count = 0;
	struct err err;
	size_t i;

	left = json_object_get(json_object_getn(of, pool.ptr, pool.len), source);
	entries = json_object_get(left, "entries");
	if (!span_eq(text_of(left, "of"), span_of(what)) ||
		json_array_size(entries) > SOURCE_SERVERS_MAX)
		return;
	list = calloc(json_array_size(entries) + 1, sizeof(*list));
	json_array_foreach (entries, i, entry)
		if (list && read_entry(entry, &list[count]))
			count++;
	err_set(&err, "out of memory");
	if (!list || (count && crew_set(c, list, count, &err) < 0))
		log_event(LOG_WARNING, "discover.forgotten",
			"what the old process knew of a pool is not known any more",
			F_SPAN("pool", pool), F_TEXT("reason", err.text));
	free(list);
}
