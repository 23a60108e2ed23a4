/*
 * The server behind the proxies: answers GET and POST of /0 /1k /10k /100k /1m /100m with that many
 * bytes, after it has read the whole request. Refuses by closing: another path, a request body
 * without Content-Length, a head over 8 KiB. Lives in the epoll loop of whoever opens it.
 */
#pragma once

#include <stdint.h>

struct origin;

/* Listens on loopback only: one server on 127.0.0.1:port, more on 127.1.0.1:port, 127.1.0.2:port,
 * ... (250 to a byte). Returns owned, or NULL with errno; lives until the process ends. */
struct origin *origin_new(int epoll, uint16_t port, unsigned servers);
