/*
 * tandem-failover: holds the pair's virtual IPs. Reads its part of the configuration, and runs the
 * agent on one event loop until told to stop.
 */
#include <ev.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>

#include "config.h"
#include "failover/agent.h"
#include "failover/witness.h"
#include "shared/log.h"

#define ABOUT "The failover agent of a Tandem pair: decides which of two nodes has the virtual IPs."
#define FEATURES "fence: kernel, netlink, address"
#define EXIT_USAGE 2

/* Prints what there is to say about the file. */
static struct settings *load(const struct daemon_options *o)
{
	struct conf_report *report = conf_report_new();
	struct conf *conf = NULL;
	struct settings *s =
		report ? settings_load(o->config, o->witness ? NULL : o->node, report, &conf)
		       : NULL;

	if (report && conf)
		conf_report_print(report, conf, stderr);
	conf_free(conf);
	conf_report_free(report);
	return s;
}

static int run(const struct daemon_options *o, struct settings *settings)
{
	static const int capabilities[] = {CAP_NET_ADMIN, CAP_NET_RAW, CAP_SYS_NICE, CAP_IPC_LOCK};
	/* Not the default loop: that one waits for every child, also those of the hooks. */
	struct ev_loop *loop = ev_loop_new(EVFLAG_NOENV);
	struct agent agent;
	struct err err;

	if (!loop)
		err_set(&err, "cannot start the event loop");
	if (!loop || daemon_drop_privileges(o->user, capabilities,
			     sizeof(capabilities) / sizeof(*capabilities), &err)) {
		log_event(LOG_ERROR, "agent.failed", err.text);
		settings_free(settings);
		return EXIT_FAILURE;
	}
	if (agent_init(&agent, loop, o, settings, &err) != 0) {
		log_event(LOG_ERROR, "agent.failed", err.text);
		return EXIT_FAILURE;
	}
	log_event(LOG_NOTICE, "agent.started", "watching over the virtual IPs",
		F_TEXT("node", agent.settings->node), F_TEXT("peer", agent.settings->peer),
		F_INT("groups", agent.settings->group_count), F_TEXT("version", PACKAGE_VERSION));
	daemon_ready();
	ev_run(loop, 0);
	log_event(LOG_NOTICE, "agent.stopped", "stopped");
	agent_fini(&agent);
	ev_loop_destroy(loop);
	return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
	struct daemon_options options;
	struct settings *settings;
	int rc = daemon_parse(&options, argc, argv, "tandem-failover", ABOUT, FEATURES);

	if (rc >= 0)
		return rc;
	settings = load(&options);
	if (!settings)
		return EXIT_USAGE;
	if (!options.check && options.witness)
		return witness_run(&options, settings);
	if (!options.check)
		return run(&options, settings);
	settings_free(settings);
	return EXIT_SUCCESS;
}
