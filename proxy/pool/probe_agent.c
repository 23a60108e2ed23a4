/*
 * An agent check: a program on the server's machine says a line about it (agent_word.h), and
 * nothing is asked. The line is what the probe hands on; what it means is not known here.
 */
#include "proxy/pool/probe.h"

enum { LINE_MAX_BYTES = 200 };

static int begin(struct probe *p)
{
	(void)p;
	return 0;
}

static void tell(struct probe *p, size_t len)
{
	char line[LINE_MAX_BYTES + 1];

	snprintf(line, sizeof(line), "%.*s", (int)len, p->in.data + p->in.off);
	probe_done(p, PROBE_PASSED, line);
}

static void heard(struct probe *p)
{
	size_t end = span_find(buf_span(&p->in), '\n', 0);

	if (end < p->in.len)
		tell(p, end);
	else if (p->in.len > LINE_MAX_BYTES)
		probe_done(p, PROBE_FAILED, "the line of the agent is too long");
}

static void ended(struct probe *p)
{
	if (p->in.len)
		tell(p, p->in.len);
	else
		probe_done(p, PROBE_FAILED, "closed without a line");
}

const struct speech speech_agent = {begin, heard, ended, NULL};
