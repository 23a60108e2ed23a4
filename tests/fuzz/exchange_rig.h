/*
 * One worker of the proxy, the shipped code, on the network of fake_net.h, and a script that says
 * what clients and servers do: bytes, and between them orders, which begin with the byte ff:
 *
 *   ff 'C'    what follows is said by the client    ff 'S'    ... by the server
 *   ff 'n'    another client connects               ff 'N'    the next server connection
 *   ff 'c'    the client ends its half              ff 's'    the server
 *   ff 'x'    the client closes                     ff 'X'    the server
 *   ff 'r'    the client resets                     ff 'R'    the server
 *   ff 'w' n  the client takes n bytes (*)          ff 'W' n  the server
 *   ff 't'    a second goes by                      ff 'T'    half a minute
 *   ff 'e'    the next connect is refused           ff 'h'    hangs
 *   ff 'E'    the next socket() fails (EMFILE)      ff 'b' n  n KiB more are said
 *   ff 'G'    a reload                              ff 'D'    the worker is told to stop
 *   ff ff     the byte ff
 *
 * (*) from 200 on, n - 199 times 4 KiB
 *
 * What a server says before anyone has connected waits for the first who does. After each order
 * the worker runs until it has nothing to do.
 */
#pragma once

#include "proxy/worker.h"
#include "tests/fuzz/fake_net.h"

#define H2_SCRIPT_MAX 4096

enum rig_listener { LISTENER_PLAIN, LISTENER_TRUSTING, LISTENER_H2, RIG_LISTENERS };

/* What in a script makes the outcome depend on how bytes arrive. */
struct rig_result {
	bool bulky;
	bool timed; /* deadlines, windows, failures, reloads: chunks matter */
	bool reloaded;
	bool stopped;
};

/* -1 when out of memory. */
int rig_open(void);
void rig_close(void);
/* Runs a script from client to end: when it is over, the clock is turned until nobody is left.
 * read_max: bytes that one recv() gives at most. Connections stay to be looked at in fake_net. */
struct rig_result rig_run(enum rig_listener which, struct span script, size_t read_max);
/* The same on an HTTP/2 connection that has begun: with the preface, and SETTINGS. */
struct rig_result rig_run_h2(struct span script, size_t read_max);
/* Is a plain request answered as it should be? */
bool rig_serves(void);
bool rig_serves_h2(void);
const struct listener *rig_listener_conf(enum rig_listener which);
