/*
 * A network and a clock out of memory, in the place of the kernel's: what a worker is built on runs
 * in-process, without threads, a thousand times a second, and does the same each time. The linker
 * wraps the system calls on sockets (FAKE_NET_LDFLAGS in local.mk); epoll and the monotonic clock,
 * which libev calls too, are taken over by name. File descriptors that are not of this network go
 * to the kernel.
 *
 * A connection is two arrays of bytes. The test plays the far end: it appends to `in`, reads `out`,
 * and sets how much is taken. What is real: half-closes, resets (also of a close that leaves bytes
 * unread), connects that take their time, are refused or never end, partial reads and writes.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "shared/addr.h"

#define FAKE_CONNS_MAX 96

struct fake_bytes {
	char *data;
	size_t len, room;
};

struct fake_conn {
	bool from_client; /* came over a listening socket; else the program connected */
	int fd;		  /* -1: not accepted yet, or closed by the program */
	struct addr peer;
	uint64_t epoll_data;
	uint32_t events; /* 0: not watched */
	bool watched;

	/* The far end's. */
	struct fake_bytes in; /* sent to the program */
	size_t in_read;	      /* of these it has read */
	bool in_end;	      /* FIN behind them */
	bool in_reset;
	bool deaf;     /* the far end has closed: what is sent to it is answered by a reset */
	size_t window; /* bytes that it still takes */

	/* The program's. */
	struct fake_bytes out;
	size_t out_heard; /* before the far end closed */
	bool out_end, out_reset;
	bool reset_on_close; /* SO_LINGER */
	enum { FAKE_CONNECTED, FAKE_CONNECTING, FAKE_REFUSED } state;
};

struct fake_net {
	struct fake_conn conns[FAKE_CONNS_MAX];
	unsigned conn_count;
	size_t read_max; /* bytes that one recv() gives at most */
	/* What comes of the next connect(), and socket(). */
	enum { FAKE_CONNECT_GOOD, FAKE_CONNECT_REFUSED, FAKE_CONNECT_HANGS } next_connect;
	bool next_socket_fails;
	uint64_t now_ns;     /* CLOCK_MONOTONIC while on */
	uint64_t started_ns; /* now_ns at the last reset */
	uint64_t polled;     /* events handed out by the last epoll_wait() */
	uint64_t calls;	     /* that may have made something ready */
	bool busy;	     /* allocates for itself */
	bool on;
};

extern struct fake_net fake_net;

/* A listening socket for this program's address. */
int fake_net_listen(const struct addr *a);
/* Forgets all connections, which the program must have closed; the clock goes on. */
void fake_net_reset(void);
/* Someone connects to the listening socket; NULL when there are too many already. */
struct fake_conn *fake_net_client(int listen_fd, const struct addr *peer);
void fake_net_say(struct fake_conn *c, const void *bytes, size_t len);
/* The far end closes both ways. */
void fake_net_hang_up(struct fake_conn *c);
