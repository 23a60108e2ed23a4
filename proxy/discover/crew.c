#include "proxy/discover/crew.h"

#include <stdlib.h>

#include "proxy/discover/memory.h"
#include "shared/assert.h"
#include "shared/log.h"
#include "shared/map.h"

/* A list with all that it points to. */
struct list_of {
	struct crew_entry *entries;
	struct host **hosts; /* by entry; NULL: none. Shared by entries of one name */
	struct addr *chosen; /* by entry: which address of the host a named server has */
	unsigned count;
	char *text;
};

struct crew {
	struct crew_options o;
	char *pool;
	const char *source;
	struct list_of now;
	bool published; /* once */
	ev_timer soon;	/* hosts mostly answer together */
};

static const double soon_s = 0.01;

/* --- lists -------------------------------------------------------------------------------------
 */

static struct span keep_text(char **at, struct span s)
{
	struct span kept = span_make(*at, s.len);

	if (s.len)
		memcpy(*at, s.ptr, s.len);
	*at += s.len;
	return kept;
}

static int list_copy(struct list_of *l, const struct crew_entry *list, unsigned count)
{
	size_t bytes = 1;
	char *at;

	*l = (struct list_of){0};
	for (unsigned i = 0; i < count; i++)
		bytes += list[i].name.len + list[i].host.len + list[i].zone.len;
	l->entries = calloc(count + 1, sizeof(*l->entries));
	l->hosts = calloc(count + 1, sizeof(struct host *));
	l->chosen = calloc(count + 1, sizeof(*l->chosen));
	l->text = at = malloc(bytes);
	if (!l->entries || !l->hosts || !l->chosen || !l->text)
		return -1;
	for (unsigned i = 0; i < count; i++) {
		l->entries[i] = list[i];
		l->entries[i].name = keep_text(&at, list[i].name);
		l->entries[i].host = keep_text(&at, list[i].host);
		l->entries[i].zone = keep_text(&at, list[i].zone);
	}
	l->count = count;
	return 0;
}

static void list_free(struct list_of *l)
{
	free(l->entries);
	free(l->hosts);
	free(l->chosen);
	free(l->text);
	*l = (struct list_of){0};
}

/* --- hosts -------------------------------------------------------------------------------------
 */

static void on_host(void *ctx)
{
	struct crew *c = ctx;

	if (!ev_is_active(&c->soon))
		ev_timer_again(c->o.loop, &c->soon);
}

static void on_soon(struct ev_loop *loop, ev_timer *w, int events)
{
	(void)events;
	ev_timer_stop(loop, w);
	crew_publish(w->data);
}

static struct host *host_make(struct crew *c, struct span name)
{
	char text[DNS_NAME_MAX];
	struct host *h;

	if (span_copy(name, text, sizeof(text)) < 0)
		return NULL;
	h = host_new(c->o.loop, c->o.resolver, c->o.rng, text, on_host, c);
	if (h)
		memory_host(c->o.memory, h);
	return h;
}

/* Frees those of `was` that `next` does not have. */
static void hosts_drop(struct list_of *was, const struct list_of *next)
{
	for (unsigned i = 0; i < was->count; i++) {
		struct host *h = was->hosts[i];
		bool wanted = !h;

		for (unsigned k = 0; !wanted && next && k < next->count; k++)
			wanted = next->hosts[k] == h;
		for (unsigned k = i; !wanted && k < was->count; k++)
			if (was->hosts[k] == h)
				was->hosts[k] = NULL;
		if (!wanted)
			host_free(h);
	}
}

/* Those that are followed already stay what they are. */
static int hosts_find(struct crew *c, struct list_of *next)
{
	struct map by_name;
	int rc = 0;

	map_init(&by_name, (size_t)c->now.count + next->count);
	for (unsigned i = 0; i < c->now.count && rc == 0; i++)
		if (c->now.hosts[i])
			rc = map_put(&by_name, c->now.entries[i].host, c->now.hosts[i]);
	for (unsigned i = 0; i < next->count && rc == 0; i++) {
		struct span name = next->entries[i].host;

		if (name.len == 0)
			continue;
		next->hosts[i] = map_get(&by_name, name);
		if (next->hosts[i])
			continue;
		next->hosts[i] = host_make(c, name);
		rc = next->hosts[i] ? map_put(&by_name, name, next->hosts[i]) : -1;
	}
	map_fini(&by_name);
	return rc;
}

/* A named server keeps its address as long as the host has it. */
static void keep_chosen(const struct crew *c, struct list_of *next)
{
	const struct list_of *was = &c->now;

	for (unsigned i = 0; i < next->count; i++) {
		if (!next->hosts[i] || !next->entries[i].name.len)
			continue;
		(void)memory_chosen(
			c->o.memory, span_of(c->pool), next->entries[i].name, &next->chosen[i]);
		for (unsigned k = 0; k < was->count; k++)
			if (span_eq(next->entries[i].name, was->entries[k].name))
				next->chosen[i] = was->chosen[k];
	}
}

/* --- publishing --------------------------------------------------------------------------------
 */

struct publication {
	struct membership_server *list;
	char (*names)[ADDR_TEXT_MAX];
	unsigned count, room;
	struct map seen; /* by name */
};

static void add(struct publication *p, const struct crew_entry *e, const struct addr *address)
{
	struct membership_server *s = &p->list[p->count];
	struct span name = e->name;

	if (p->count == p->room)
		return;
	if (name.len == 0) {
		addr_format(address, p->names[p->count]);
		name = span_of(p->names[p->count]);
	}
	/* Two ways to one address: the first has the say. */
	if (map_get(&p->seen, name) || map_put(&p->seen, name, s) < 0)
		return;
	*s = (struct membership_server){.name = name,
		.address = *address,
		.weight = e->weight,
		.zone = e->zone,
		.backup = e->backup};
	p->count++;
}

static void add_one(struct publication *p, const struct crew_entry *e, const struct host *h,
	struct addr *chosen)
{
	bool still = false;

	for (unsigned i = 0; i < host_count(h); i++)
		still |= chosen->sa.sa_family && addr_eq_ip(chosen, host_addr(h, i));
	if (!still && host_count(h))
		*chosen = *host_addr(h, 0);
	if (!host_count(h))
		return;
	addr_set_port(chosen, e->port);
	add(p, e, chosen);
}

static void add_entry(struct publication *p, struct list_of *l, unsigned i)
{
	const struct crew_entry *e = &l->entries[i];
	const struct host *h = l->hosts[i];

	if (!h) {
		add(p, e, &e->address);
	} else if (e->name.len) {
		add_one(p, e, h, &l->chosen[i]);
	} else {
		for (unsigned k = 0; k < host_count(h); k++) {
			struct addr a = *host_addr(h, k);

			addr_set_port(&a, e->port);
			add(p, e, &a);
		}
	}
}

static unsigned room_for(const struct list_of *l)
{
	size_t room = 0;

	for (unsigned i = 0; i < l->count; i++)
		room += l->hosts[i] && !l->entries[i].name.len ? host_count(l->hosts[i]) : 1;
	return room < SOURCE_SERVERS_MAX ? (unsigned)room : SOURCE_SERVERS_MAX;
}

bool crew_settled(struct crew *c)
{
	for (unsigned i = 0; i < c->now.count; i++)
		if (c->now.hosts[i] && !c->now.hosts[i]->asked)
			return false;
	return !ev_is_active(&c->soon);
}

/* It stands for servers that only DNS can name, and DNS has never named one. */
static bool knows_nothing(const struct crew *c)
{
	for (unsigned i = 0; i < c->now.count; i++)
		if (!c->now.hosts[i] || c->now.hosts[i]->answered || c->now.entries[i].name.len)
			return false;
	return c->now.count > 0;
}

void crew_publish(struct crew *c)
{
	struct publication p = {.room = room_for(&c->now)};
	struct err err = {"out of memory"};
	int rc = -1;

	if (c->published && (!crew_settled(c) || knows_nothing(c)))
		return;
	p.list = calloc(p.room + 1, sizeof(*p.list));
	p.names = calloc(p.room + 1, sizeof(*p.names));
	map_init(&p.seen, p.room);
	for (unsigned i = 0; p.list && p.names && i < c->now.count; i++)
		add_entry(&p, &c->now, i);
	if (p.list && p.names)
		rc = membership_source_set(
			c->o.membership, span_of(c->pool), c->source, p.list, p.count, &err);
	if (rc < 0)
		log_event(LOG_ERROR, "discover.unpublished",
			"the servers that were known before stay", F_TEXT("pool", c->pool),
			F_TEXT("source", c->source), F_TEXT("reason", err.text));
	c->published = c->published || (rc == 0 && p.count > 0);
	map_fini(&p.seen);
	free(p.list);
	free(p.names);
}

int crew_set(struct crew *c, const struct crew_entry *list, unsigned count, struct err *err)
{
	struct list_of next;

	if (list_copy(&next, list, count) < 0 || hosts_find(c, &next) < 0) {
		hosts_drop(&next, &c->now);
		list_free(&next);
		return err_set(err, "out of memory");
	}
	keep_chosen(c, &next);
	hosts_drop(&c->now, &next);
	list_free(&c->now);
	c->now = next;
	ev_timer_stop(c->o.loop, &c->soon);
	crew_publish(c);
	return 0;
}

bool crew_published(const struct crew *c)
{
	return c->published;
}

void crew_each(const struct crew *c, void *ctx,
	void (*each)(void *ctx, const struct crew_entry *e, const struct host *h,
		const struct addr *chosen))
{
	for (unsigned i = 0; i < c->now.count; i++)
		each(ctx, &c->now.entries[i], c->now.hosts[i], &c->now.chosen[i]);
}

json_t *crew_troubles(const struct crew *c)
{
	json_t *all = json_object();

	for (unsigned i = 0; i < c->now.count; i++) {
		const struct host *h = c->now.hosts[i];

		if (h && (h->reason[0] || !h->asked))
			json_object_set_new(all, h->name,
				json_string(h->asked ? h->reason : "being asked for"));
	}
	return all;
}

void crew_unresolved(const struct crew *c,
	void (*each)(void *ctx, const struct crew_entry *e, const char *reason), void *ctx)
{
	for (unsigned i = 0; i < c->now.count; i++) {
		const struct host *h = c->now.hosts[i];

		if (h && c->now.entries[i].name.len && host_count(h) == 0)
			each(ctx, &c->now.entries[i],
				!h->asked      ? "being asked for"
				: h->reason[0] ? h->reason
					       : "the name has no address");
	}
}

struct crew *crew_new(const struct crew_options *o, struct span pool, const char *source)
{
	struct crew *c = calloc(1, sizeof(*c));

	if (c)
		c->pool = span_dup(pool);
	if (!c || !c->pool) {
		free(c);
		return NULL;
	}
	c->o = *o;
	c->source = source;
	c->published = membership_source_has(o->membership, pool, source);
	ev_init(&c->soon, on_soon);
	c->soon.repeat = soon_s;
	c->soon.data = c;
	return c;
}

void crew_free(struct crew *c, bool keep)
{
	struct err err;

	if (!c)
		return;
	ev_timer_stop(c->o.loop, &c->soon);
	hosts_drop(&c->now, NULL);
	list_free(&c->now);
	if (!keep && c->published &&
		membership_source_set(c->o.membership, span_of(c->pool), c->source, NULL, 0, &err) <
			0)
		log_event(LOG_DEBUG, "discover.gone", err.text, F_TEXT("pool", c->pool));
	free(c->pool);
	free(c);
}
