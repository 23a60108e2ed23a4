#include "proxy/sockets.h"

#include <unistd.h>

#include "proxy/net/acceptor.h"

static bool has_bind(const struct settings *s, const struct addr *a)
{
	for (unsigned i = 0; i < s->listener_count; i++)
		for (unsigned j = 0; j < s->listeners[i].bind_count; j++)
			if (addr_eq(&s->listeners[i].binds[j], a))
				return true;
	return false;
}

static bool listens(const struct sockets *running, const struct addr *a)
{
	for (unsigned i = 0; i < running->count; i++)
		if (addr_eq(&running->all[i].bind, a))
			return true;
	return false;
}

/* Two listeners may have one address. */
static bool is_among(const struct addr *a, const struct addr *const *binds, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		if (addr_eq(binds[i], a))
			return true;
	return false;
}

/* Inherited ones go round the workers; who gets none opens one. */
static int open_one(struct sockets *k, const struct addr *bind_to, struct inheritance *in,
	unsigned worker, unsigned workers, struct err *err)
{
	unsigned before = k->count;
	int fd;

	for (unsigned n = worker; (fd = inheritance_take(in, bind_to, n)) >= 0; n += workers)
		k->all[k->count++] = (struct worker_socket){.bind = *bind_to, .fd = fd};
	if (k->count > before)
		return 0;
	if (acceptor_open(bind_to, &fd, err) < 0)
		return -1;
	k->all[k->count++] = (struct worker_socket){.bind = *bind_to, .fd = fd};
	return 0;
}

int sockets_open(struct sockets *k, const struct settings *s, const struct sockets *running,
	struct inheritance *in, unsigned workers, struct err *err)
{
	const struct addr **binds;
	unsigned total = 0, count = 0;
	int rc = 0;

	for (unsigned i = 0; i < s->listener_count; i++)
		total += s->listeners[i].bind_count;
	binds = calloc(total + 1, sizeof(struct addr *));
	*k = (struct sockets){
		.all = calloc((size_t)total * workers + in->count + 1, sizeof(*k->all)),
		.ends = calloc(workers, sizeof(*k->ends))};
	if (!binds || !k->all || !k->ends) {
		err_set(err, "out of memory");
		rc = -1;
	}
	for (unsigned i = 0; rc == 0 && i < s->listener_count; i++)
		for (unsigned j = 0; j < s->listeners[i].bind_count; j++)
			if (!listens(running, &s->listeners[i].binds[j]) &&
				!is_among(&s->listeners[i].binds[j], binds, count))
				binds[count++] = &s->listeners[i].binds[j];
	for (unsigned w = 0; rc == 0 && w < workers; w++) {
		for (unsigned i = 0; rc == 0 && i < count; i++)
			rc = open_one(k, binds[i], in, w, workers, err);
		k->ends[w] = k->count;
	}
	if (rc < 0)
		sockets_close(k);
	free(binds);
	return rc;
}

const struct worker_socket *sockets_of(const struct sockets *k, unsigned w, unsigned *ret_count)
{
	unsigned from = w ? k->ends[w - 1] : 0;

	*ret_count = k->ends[w] - from;
	return k->all + from;
}

int sockets_next(struct sockets *next, const struct sockets *running, const struct sockets *opened,
	const struct settings *s)
{
	*next = (struct sockets){
		.all = calloc((size_t)running->count + opened->count + 1, sizeof(*next->all))};
	if (!next->all)
		return -1;
	for (unsigned i = 0; i < running->count; i++)
		if (has_bind(s, &running->all[i].bind))
			next->all[next->count++] = running->all[i];
	for (unsigned i = 0; i < opened->count; i++)
		next->all[next->count++] = opened->all[i];
	return 0;
}

void sockets_close(struct sockets *k)
{
	for (unsigned i = 0; i < k->count; i++)
		close(k->all[i].fd);
	sockets_fini(k);
}

void sockets_fini(struct sockets *k)
{
	free(k->all);
	free(k->ends);
	*k = (struct sockets){0};
}
