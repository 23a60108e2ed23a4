# proxy/: the reverse proxy. libproxy-core is pure (links without libev, OpenSSL, libnl); libproxy does I/O.
noinst_LIBRARIES += proxy/libproxy-core.a proxy/libproxy.a
sbin_PROGRAMS += proxy/tandem-proxy
proxy_libproxy_core_a_SOURCES = \
	proxy/discover/dns_answer.c proxy/discover/dns_answer.h \
	proxy/exchange/retry.c proxy/exchange/retry.h \
	proxy/http/cookie.c proxy/http/cookie.h \
	proxy/http/field_id.h \
	proxy/http/fields.c \
	proxy/http/h1_body.c \
	proxy/http/h1_internal.h \
	proxy/http/h1_meaning.c \
	proxy/http/h1_parse.c \
	proxy/http/h1_write.c \
	proxy/http/h2_head.c \
	proxy/http/http1.h \
	proxy/http/items.h \
	proxy/http/http2.h \
	proxy/http/keep_alive.c \
	proxy/http/path.c \
	proxy/http/scan.c proxy/http/scan.h \
	proxy/http/stamp.c \
	proxy/http/upgrade.c \
	proxy/net/client_hello.c proxy/net/client_hello.h \
	proxy/net/proxy_protocol.c proxy/net/proxy_protocol.h \
	proxy/net/wheel.c proxy/net/wheel.h \
	proxy/observe/excerpt.c proxy/observe/excerpt.h \
	proxy/pool/agent_word.c proxy/pool/agent_word.h \
	proxy/pool/balance/balance.h \
	proxy/pool/balance/hash.c \
	proxy/pool/balance/least_requests.c \
	proxy/pool/balance/least_time.c \
	proxy/pool/balance/random.c \
	proxy/pool/balance/round_robin.c \
	proxy/pool/budget.c proxy/pool/budget.h \
	proxy/pool/health.c proxy/pool/health.h \
	proxy/pool/scaling.c proxy/pool/scaling.h \
	proxy/pool/sticky.c proxy/pool/sticky.h \
	proxy/settings/action.c proxy/settings/action.h \
	proxy/settings/arena.c proxy/settings/arena.h \
	proxy/settings/match.c proxy/settings/match.h \
	proxy/settings/network_table.c proxy/settings/network_table.h \
	proxy/settings/regex.c proxy/settings/regex.h \
	proxy/settings/routes.c proxy/settings/routes.h \
	proxy/settings/routes_build.c proxy/settings/routes_index.h \
	proxy/settings/template.c proxy/settings/template.h
proxy_libproxy_a_SOURCES = \
	proxy/admin.c proxy/admin.h \
	proxy/exchange/act.c \
	proxy/certs.c proxy/certs.h \
	proxy/explain.c proxy/explain.h \
	proxy/client_feed.c proxy/client_feed.h \
	proxy/conditions.c proxy/conditions.h \
	proxy/client_list.c proxy/client_list.h \
	proxy/discover/crew.c proxy/discover/crew.h \
	proxy/discover/discovery.c proxy/discover/discovery.h \
	proxy/discover/file.c proxy/discover/file.h \
	proxy/discover/host.c proxy/discover/host.h \
	proxy/discover/leases.c proxy/discover/leases.h \
	proxy/discover/memory.c proxy/discover/memory.h \
	proxy/discover/registering.c proxy/discover/registering.h \
	proxy/discover/registry.c proxy/discover/registry.h \
	proxy/discover/resolver.c proxy/discover/resolver.h \
	proxy/discover/srv.c proxy/discover/srv.h \
	proxy/exchange/answer.c \
	proxy/exchange/attempt.c \
	proxy/exchange/client.c proxy/exchange/client.h \
	proxy/exchange/exchange.c proxy/exchange/exchange.h \
	proxy/exchange/h2_client.c proxy/exchange/h2_client.h \
	proxy/exchange/h2_server.c proxy/exchange/h2_server.h \
	proxy/exchange/hash_key.c \
	proxy/exchange/identity.c \
	proxy/exchange/opening.c proxy/exchange/opening.h \
	proxy/exchange/plain.c proxy/exchange/plain.h \
	proxy/exchange/request.c \
	proxy/exchange/response.c \
	proxy/exchange/server_tls.c proxy/exchange/server_tls.h \
	proxy/exchange/sticky.c \
	proxy/exchange/tunnel.c proxy/exchange/tunnel.h \
	proxy/exchange/upstream.c proxy/exchange/upstream.h \
	proxy/exchange/wait.c \
	proxy/exchange/websocket.c \
	proxy/failover_link.c proxy/failover_link.h \
	proxy/net/acceptor.c proxy/net/acceptor.h \
	proxy/net/conn.c proxy/net/conn.h \
	proxy/inheritance.c proxy/inheritance.h \
	proxy/pool/bequest.c proxy/pool/bequest.h \
	proxy/sockets.c proxy/sockets.h \
	proxy/succession.c proxy/succession.h \
	proxy/upgrade.c proxy/upgrade.h \
	proxy/net/httpd.c proxy/net/httpd.h \
	proxy/net/h2.c proxy/net/h2.h proxy/net/h2_internal.h \
	proxy/net/h2_stream.c \
	proxy/net/iobuf.c proxy/net/iobuf.h \
	proxy/net/progress.c proxy/net/progress.h \
	proxy/net/rawio.h \
	proxy/net/splice.c proxy/net/splice.h \
	proxy/net/tally.c proxy/net/tally.h \
	proxy/net/tls.c proxy/net/tls.h \
	proxy/net/transport.h \
	proxy/observe/access_log.c proxy/observe/access_log.h \
	proxy/observe/counts.c proxy/observe/counts.h \
	proxy/observe/faults.c proxy/observe/faults.h \
	proxy/observe/metrics.c proxy/observe/metrics.h \
	proxy/pool/checks.c proxy/pool/checks.h \
	proxy/pool/members.c proxy/pool/members.h \
	proxy/pool/membership.c proxy/pool/membership.h \
	proxy/config_methods.c \
	proxy/history.c proxy/history.h \
	proxy/orders.c proxy/orders.h \
	proxy/pool/overrides.c proxy/pool/overrides.h \
	proxy/pool/errand.c proxy/pool/errand.h \
	proxy/pool/pool.c proxy/pool/pool.h \
	proxy/pool/probe.c proxy/pool/probe.h \
	proxy/pool/probe_agent.c \
	proxy/pool/probe_grpc.c \
	proxy/pool/probe_http.c \
	proxy/pool/probe_io.c proxy/pool/probe_io.h \
	proxy/pool/queue.c proxy/pool/queue.h \
	proxy/pool/server.c proxy/pool/server.h \
	proxy/proxy.c proxy/proxy.h \
	proxy/settings/admin.c proxy/settings/admin.h \
	proxy/settings/build.h \
	proxy/settings/build_action.c \
	proxy/settings/build_match.c \
	proxy/settings/build_routes.c \
	proxy/settings/check.c proxy/settings/check.h \
	proxy/settings/diff.c \
	proxy/settings/location.c proxy/settings/location.h \
	proxy/settings/registering.c proxy/settings/registering.h \
	proxy/scaler.c proxy/scaler.h \
	proxy/settings/scale.c proxy/settings/scale.h \
	proxy/settings/sticky.c \
	proxy/settings/http2.c \
	proxy/settings/settings.c proxy/settings/settings.h \
	proxy/settings/stream.c proxy/settings/stream.h \
	proxy/settings/tls.c \
	proxy/settings/tls_servers.c \
	proxy/tls/cert.c proxy/tls/cert.h \
	proxy/tls/client.c proxy/tls/client.h \
	proxy/tls/ocsp.c proxy/tls/ocsp.h \
	proxy/tls/server.c proxy/tls/server.h \
	proxy/tls/tickets.c proxy/tls/tickets.h \
	proxy/server_methods.c \
	proxy/stapling.c proxy/stapling.h \
	proxy/status.c proxy/status.h \
	proxy/worker.c proxy/worker.h
PROXY_CFLAGS = $(AM_CFLAGS) $(JANSSON_CFLAGS) $(TLS_CFLAGS) $(NGHTTP2_CFLAGS) $(CARES_CFLAGS) $(PCRE_CFLAGS) $(MAXMIND_CFLAGS) $(CURL_CFLAGS)
proxy_libproxy_core_a_CFLAGS = $(AM_CFLAGS) $(NGHTTP2_CFLAGS) $(PCRE_CFLAGS)
proxy_libproxy_a_CFLAGS = $(PROXY_CFLAGS)
proxy_tandem_proxy_SOURCES = proxy/main.c
proxy_tandem_proxy_CFLAGS = $(PROXY_CFLAGS)
proxy_tandem_proxy_LDADD = $(PROXY_LIBS)
PROXY_LIBS = proxy/libproxy.a proxy/libproxy-core.a $(NGHTTP2_LIBS) $(CARES_LIBS) $(PCRE_LIBS) $(MAXMIND_LIBS) \
	$(TLS_LIBS) $(CURL_LIBS) $(SHELL_LIBS)
