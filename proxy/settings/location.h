/*
 * Where a client is: a word for its address, from a file of networks that people keep, or from a
 * MaxMind database, or from both (the file first). Routes match it.
 *
 * Immutable once built; any thread asks. It belongs to the snapshot: a reload reads the files
 * again. The only place that knows libmaxminddb.
 */
#pragma once

#include "shared/addr.h"
#include "shared/conf.h"

struct location;

/* `location` of the file. NULL: something is wrong with a file, which the report says, or, where it
 * does not, memory is out. */
struct location *location_new(const struct conf_node *conf, struct conf_report *report);
void location_free(struct location *l);
/* Empty: nobody knows. Borrows from l. */
struct span location_find(const struct location *l, const struct addr *client);
