/*
 * A client's connection speaking HTTP/1: reads heads, starts one exchange after the other
 * (pipelined requests wait in the buffer), and says goodbye in order. One that speaks HTTP/2
 * (h2_client.h) is a client too, and each of its streams is one with a single exchange, whose
 * connection is the stream.
 */
#pragma once

#include "proxy/client_list.h"
#include "proxy/net/acceptor.h"
#include "proxy/net/conn.h"

struct exchange;
struct client_claim;
struct h2_client;

struct client {
	struct conn conn;
	struct list link; /* acceptor.newcomers, or acceptor.clients */
	struct acceptor *acceptor;
	struct exchange *exchange;  /* the one being read, or answered; NULL: idle */
	struct addr addr;	    /* whose it is: the other end's, or who that stands for */
	struct client_claim *claim; /* of a PROXY protocol header; NULL: none */
	char ip[INET6_ADDRSTRLEN];  /* of addr as text, once a request came */
	uint8_t ip_len;
	enum { CLIENT_OPENING, CLIENT_OPEN, CLIENT_FLUSHING, CLIENT_LINGERING } state;
	uint32_t discarded;	  /* while lingering */
	bool running;		  /* client_run is on the stack */
	bool held_back;		  /* the kernel wakes us for more than one byte only (opening.c) */
	bool linger;		  /* after flushing: linger, do not just close */
	uint64_t silent_since_ns; /* while it is idle, or has sent no whole head yet */
	struct client_listed listed;
	struct ssl_st *ssl; /* it came with TLS, and the handshake is over; else NULL */
	char *cert_fields;  /* what is known of its certificate, as lines; NULL: it was not asked */
	bool asked;	    /* no newcomer any more: the head of a request was read */
	bool counted;	    /* in the listener's tally */
	struct h2_client *h2; /* it speaks HTTP/2; NULL: HTTP/1 */
	struct client *over;  /* this is a stream of that client's; NULL: it is a connection */
};

#define CLIENT_LINGER_BYTES (64 * 1024)
#define CLIENT_LINGER_NS (2 * NS_PER_S)

/* When there is no room for others, who has been silent for so long may be closed: who has asked
 * for something before, and who never has. The second is short of what a flood of them needs to
 * fill ten thousand places, and long enough for a request that is under way. */
#define CLIENT_SILENT_NS (1 * NS_PER_S)
#define CLIENT_NEWCOMER_NS (250 * NS_PER_MS)
#define CLIENT_SHED_MAX 32	 /* closed at a time */
#define CLIENT_SHED_LOOK_MAX 256 /* looked at for that */

/* Takes fd. Out of memory: closes it. counted: in the listener's tally, which it leaves when it
 * goes. */
void client_new(struct acceptor *a, int fd, const struct addr *peer, bool counted);
/* Where it comes from, as text. */
struct span client_ip_find(struct client *c); /* the first time */
static inline struct span client_ip(struct client *c)
{
	return c->ip_len ? span_make(c->ip, c->ip_len) : client_ip_find(c);
}
/* The other end of its connection, and this one as it saw it. */
const struct addr *client_peer(const struct client *c);
void client_local(const struct client *c, struct addr *ret_local);
/* The fields for its requests that are the same for all of them. */
const struct acceptor_fields *client_fields(const struct client *c);
/* Nothing stands before what it has to say any more. Where that is TLS, its first message is here.
 */
void client_begin(struct client *c);
/* In its place: it does not speak TLS, though its listener does. */
void client_begin_clear(struct client *c);
/* Goes over to the clients of another acceptor. -1: that has no room for it. */
int client_move(struct client *c, struct acceptor *to);
/* It has asked for something: not one of those who only hold a place. */
void client_has_asked(struct client *c);
/* For the handler that a tunnel gives the connection. */
void client_free(struct conn *conn);
extern const struct conn_handler client_handler;
void client_close(struct client *c);
/* Closes once all that is pending is written; linger: and so that it is not met by a reset. */
void client_say_goodbye(struct client *c, bool linger);
/* How long it may be idle now. */
uint64_t client_idle_ns(const struct client *c, uint64_t otherwise_ns);
/* The exchange is over (it is the exchange that calls). keep: the connection goes on; linger: close
 * so that an answer given before the request's end is not destroyed by a reset (RFC 9112 9.6). */
void client_exchange_done(struct client *c, bool keep, bool linger);
/* The answer cannot be completed: the client must see that it is cut. */
void client_exchange_cut(struct client *c);
/* Its listener goes: idle connections are given a moment, busy ones finish. */
void client_start_draining(struct acceptor *a);
void client_close_all(struct acceptor *a);
/* Its virtual IP is being moved away (c->listed.leave_ns), or is not any more. */
void client_leave_changed(struct client *c);

/* It is not to ask again here: answers say so. */
static inline bool client_is_leaving(const struct client *c)
{
	return c->acceptor->draining || c->listed.leave_ns;
}
/* Closes some who say nothing: first those who never asked, then idle ones. How many. */
unsigned client_shed_silent(struct acceptor *a);
/* Its clients leave the tally of the listener's state, which it is about to leave. */
void client_uncount_all(struct acceptor *a);
