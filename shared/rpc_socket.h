/*
 * The server's socket file: made, guarded and removed. Internal to shared/rpc*.c.
 */
#pragma once

#include <stdbool.h>
#include <sys/stat.h>

#include "shared/err.h"

struct rpc_socket {
	int fd;
	dev_t dev; /* of the file that we made: it is removed only while it is still ours */
	ino_t ino;
};

/* Listens on path, mode 0660, group `group` where that exists (may be NULL). A file left by a dead
 * daemon is replaced; one that answers (unless it is to be replaced, too), or is no socket, is an
 * error. Either way *ret may be given to rpc_socket_close. */
int rpc_socket_listen(struct rpc_socket *ret, const char *path, const char *group, bool replaces,
	struct err *err);
/* The file is still the one that we made. */
bool rpc_socket_is_ours(const struct rpc_socket *s, const char *path);
void rpc_socket_close(struct rpc_socket *s, const char *path);
