/*
 * The last changes of the list of clients, numbered: what a peer that was away for a moment has
 * missed. Bounded; who has missed more gets the whole list.
 */
#pragma once

#include "failover/clients.h"

#define JOURNAL_SIZE 65536

struct journal_entry {
	struct client_key key;
	bool there;
};

struct journal {
	struct journal_entry *ring; /* change n at [n % JOURNAL_SIZE] */
	uint64_t last;		    /* number of the last change; 0: none yet */
};

int journal_init(struct journal *j); /* -1: out of memory */
void journal_fini(struct journal *j);
void journal_add(struct journal *j, const struct client_key *k, bool there);
/* Whether every change after this one is still there. */
bool journal_reaches(const struct journal *j, uint64_t after);
const struct journal_entry *journal_get(const struct journal *j, uint64_t number);
