/*
 * The part of the admin address where servers register: /v1/pools/POOL/servers/NAME, with the
 * pool's token. POST or PUT says that a server is there, and renews its lease; DELETE that it goes.
 */
#pragma once

#include "proxy/net/httpd.h"

struct discovery;
struct settings;

#define REGISTERING_PREFIX "/v1/"

void registering_on_request(struct discovery *d, const struct settings *s,
	const struct httpd_request *request, struct httpd_answer *answer);
