#include "failover/journal.h"

#include <stdlib.h>

#include "shared/assert.h"

int journal_init(struct journal *j)
{
	*j = (struct journal){.ring = calloc(JOURNAL_SIZE, sizeof(*j->ring))};
	return j->ring ? 0 : -1;
}

void journal_fini(struct journal *j)
{
	free(j->ring);
	j->ring = NULL;
}

void journal_add(struct journal *j, const struct client_key *k, bool there)
{
	j->ring[++j->last % JOURNAL_SIZE] = (struct journal_entry){.key = *k, .there = there};
}

bool journal_reaches(const struct journal *j, uint64_t after)
{
	return after <= j->last && j->last - after < JOURNAL_SIZE;
}

const struct journal_entry *journal_get(const struct journal *j, uint64_t number)
{
	ASSERT(number > 0 && number <= j->last && j->last - number < JOURNAL_SIZE);
	return &j->ring[number % JOURNAL_SIZE];
}
