/*
 * What the admin address answers: /healthz, /status, /metrics, and / which says so; what is below
 * /v1/ is for servers that register. Main thread.
 */
#pragma once

#include "proxy/net/httpd.h"

/* httpd_options.on_request; ctx is the struct proxy. */
void admin_on_request(void *ctx, const struct httpd_request *request, struct httpd_answer *answer);
