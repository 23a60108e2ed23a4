/*
 * Intrusive, circular, doubly linked list. An element out of any list points to itself.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "shared/assert.h"

struct list {
	struct list *next, *prev;
};

static inline void list_init(struct list *l)
{
	l->next = l->prev = l;
}

static inline bool list_empty(const struct list *l)
{
	return l->next == l;
}

static inline void list_insert(struct list *after, struct list *e)
{
	e->prev = after;
	e->next = after->next;
	after->next->prev = e;
	after->next = e;
}

static inline void list_push(struct list *head, struct list *e) /* at the front */
{
	list_insert(head, e);
}

static inline void list_append(struct list *head, struct list *e) /* at the end */
{
	list_insert(head->prev, e);
}

static inline void list_remove(struct list *e)
{
	e->prev->next = e->next;
	e->next->prev = e->prev;
	list_init(e);
}

#define list_item(ptr, type, member) container_of(ptr, type, member)
#define list_each(it, head) for (struct list *it = (head)->next; it != (head); it = it->next)
#define list_each_safe(it, head)                                                  \
	for (struct list *it = (head)->next, *it##_next = it->next; it != (head); \
		it = it##_next, it##_next = it->next)
