/*
 * What DNS and files said last, as one process leaves it to the next: when the program is replaced
 * while DNS does not answer, or while a file is being mended, no server is lost by that. As JSON;
 * what a newer or older program does not understand of it is as if it were not there. Who has an
 * answer of its own goes by that.
 *
 * {"hosts": {NAME: [IP]}, "chosen": {POOL: {SERVER: IP}}, "lists": {POOL: {SOURCE: {"of": WHAT,
 * "entries": [...]}}}}: the addresses of names, which of them a named server has, and the lists of
 * sources that are asked for their servers. Main thread.
 */
#pragma once

#include "proxy/discover/crew.h"

/* Adds what this crew knows to an object. `what`: NULL where the configuration has the list. */
void memory_keep(json_t *memory, struct span pool, const char *source, const char *what,
	const struct crew *c);

/* memory may be NULL, or an empty object: nothing was left. */
/* The host has these addresses until it is answered. */
void memory_host(const json_t *memory, struct host *h);
/* Which address of its host a server has; false: nothing is known. */
bool memory_chosen(
	const json_t *memory, struct span pool, struct span server, struct addr *ret_address);
/* The crew has the list that the source had. */
void memory_list(const json_t *memory, struct span pool, const char *source, const char *what,
	struct crew *c);
