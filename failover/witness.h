/*
 * The third box: `tandem-failover --witness` hears both nodes, has no address to defend, and
 * promises the virtual IPs of each group to one of them at a time (core/witness.h). It needs no
 * privilege, the same file as the nodes, and one UDP port. One thread, one loop; failover.sock
 * tells its status.
 */
#pragma once

#include "failover/settings.h"
#include "shared/daemon.h"

/* Runs until told to stop. Takes settings. Returns the exit code. */
int witness_run(const struct daemon_options *options, struct settings *settings);
