/*
 * What proxy.sock tells: the status document and the methods that people and programs call.
 */
#pragma once

#include <jansson.h>

#include "proxy/proxy.h"

json_t *proxy_status(struct proxy *p); /* owned; NULL when out of memory */
