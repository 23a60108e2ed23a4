# shared/: what both daemons stand on. core is pure (no libev, OpenSSL, libnl, jansson); shell does I/O.
noinst_LIBRARIES += shared/libcore.a shared/libshell.a
shared_libcore_a_SOURCES = \
	shared/addr.c shared/addr.h \
	shared/assert.c shared/assert.h \
	shared/banned.h \
	shared/buf.c shared/buf.h \
	shared/conf.c shared/conf.h \
	shared/conf_build.h \
	shared/conf_check.c \
	shared/conf_report.c \
	shared/conf_rules.c \
	shared/conf_rules_discover.c \
	shared/conf_rules_health.c \
	shared/conf_rules_protocol.c \
	shared/conf_rules_routes.c \
	shared/conf_rules_scale.c \
	shared/conf_rules_stream.c \
	shared/conf_rules_tls.c \
	shared/conf_show.c \
	shared/conf_schema.c shared/conf_schema.h \
	shared/conf_schema_failover.c \
	shared/conf_schema_listeners.c \
	shared/conf_schema_pools.c \
	shared/conf_schema_routes.c \
	shared/conf_schema_rows.h \
	shared/conf_type.c \
	shared/err.c shared/err.h \
	shared/list.h \
	shared/map.c shared/map.h \
	shared/rng.c shared/rng.h \
	shared/span.c shared/span.h \
	shared/units.c shared/units.h
shared_libshell_a_SOURCES = \
	shared/conf_digest.c \
	shared/conf_load.c \
	shared/daemon.c shared/daemon.h \
	shared/thread.c shared/thread.h \
	shared/digest.c shared/digest.h \
	shared/log.c shared/log.h \
	shared/rpc.c shared/rpc.h \
	shared/rpc_client.c \
	shared/rpc_link.c \
	shared/rpc_socket.c shared/rpc_socket.h \
	shared/rpc_wire.c shared/rpc_wire.h \
	shared/secret.c shared/secret.h \
	shared/state_file.c shared/state_file.h \
	shared/yaml.c
shared_libshell_a_CFLAGS = $(AM_CFLAGS) $(CRYPTO_CFLAGS) $(JANSSON_CFLAGS) $(YAML_CFLAGS) $(CAP_CFLAGS) $(SYSTEMD_CFLAGS)
CORE_LIBS = shared/libcore.a
SHELL_LIBS = shared/libshell.a shared/libcore.a $(EV_LIBS) $(JANSSON_LIBS) $(YAML_LIBS) $(CRYPTO_LIBS) $(CAP_LIBS) $(SYSTEMD_LIBS) -lm
