/*
 * The server's socket file: made, guarded and removed. Internal to shared/rpc*.c.
 */
#pragma once

#include <sys/stat.h>

#include "shared/err.h"

struct rpc_socket {
	int fd;
	dev_t dev; /* of the file that we made: it is removed only while it is still ours */
	ino_t ino;
};

/* Listens on path, mode 0660, group `group` where that exists (may be NULL). A file left by a dead
 * daemon is replaced; one that answers, or is no socket, is an error. Either way *ret may be given
 * to rpc_socket_close. */
int rpc_socket_listen(struct rpc_socket *ret, const char *path, const char *group, struct err *err);
void rpc_socket_close(struct rpc_socket *s, const char *path);
