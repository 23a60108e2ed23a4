/*
 * What the upgrade of the binary (upgrade.h) means for this proxy: what it leaves to its successor,
 * how it retires, how it goes on when nothing came of it, and how a successor takes over. Main
 * thread.
 *
 * Left are the listening sockets of workers and of the admin address, the health of the servers,
 * what DNS and files said last of them, and the secret of session tickets where the pair has none.
 * Not left: connections (they drain here, as when stopping), and counters. The control socket the
 * successor replaces by rename. The agent goes by who said hello last: the successor says so before
 * it is ready, and this process says nothing more. While a successor starts nothing may change that
 * it has read already.
 */
#pragma once

#include "proxy/proxy.h"

/* At start, after inheritance_read(); -1 with err. */
int succession_start(struct proxy *p, struct err *err);
/* The workers run: tells the predecessor, once the agent knows us if it knew him. True: there is
 * one, and the service manager is to hear nothing of us before on_go. */
bool succession_serving(struct proxy *p);
/* SIGUSR2. */
void succession_begin(void *ctx);
/* There is no time for a successor that is not ready. */
void succession_give_up(struct proxy *p);
/* httpd_options.open_socket */
int succession_open(void *ctx, const struct addr *bind, int *ret_fd, struct err *err);
/* Nothing may be changed while a successor starts, nor once there is one. */
int succession_may_change(const struct proxy *p, struct err *err);
