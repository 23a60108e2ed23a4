/*
 * Servers from a file, watched: a list in the shape of Prometheus' file_sd, as YAML or JSON. A file
 * that is not there, half written or wrong changes nothing, and says so; the next change of it is
 * looked at again. Directories are watched with inotify; where that tells nothing (a network, a
 * link to elsewhere) a look every two seconds does.
 */
#pragma once

#include "proxy/discover/crew.h"

#define FILE_BYTES_MAX (4 << 20)

struct file_watch;					 /* of all files */
struct file_watch *file_watch_new(struct ev_loop *loop); /* NULL when out of memory */
void file_watch_free(struct file_watch *w);		 /* after its files */

struct file_source;
/* Reads it at once. NULL when out of memory. Takes the crew. */
struct file_source *file_source_new(struct file_watch *w, const char *path, struct crew *crew);
void file_source_free(struct file_source *s, bool keep);
/* What is wrong with it; NULL: nothing. */
const char *file_source_reason(const struct file_source *s);
