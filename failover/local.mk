# failover/: core is pure (links nothing but shared/libcore.a); the agent and its sockets are the shell.
noinst_LIBRARIES += failover/libfailover-core.a failover/libfailover.a
failover_libfailover_core_a_SOURCES = \
	failover/core/alerting.c failover/core/alerting.h \
	failover/core/damping.c failover/core/damping.h \
	failover/core/election.c failover/core/election.h \
	failover/core/fsm.c failover/core/fsm.h \
	failover/core/fsm_claim.c \
	failover/core/fsm_internal.h \
	failover/core/fsm_owner.c \
	failover/core/fsm_peer.c \
	failover/core/fsm_view.c \
	failover/core/packet.c failover/core/packet.h \
	failover/core/replay.c failover/core/replay.h \
	failover/core/state.c failover/core/state.h \
	failover/core/times.c failover/core/times.h \
	failover/core/vrrp.c failover/core/vrrp.h \
	failover/core/vrrp_packet.c failover/core/vrrp_packet.h \
	failover/core/witness.c failover/core/witness.h

# The shell.
failover_libfailover_a_SOURCES = \
	failover/agent.c failover/agent.h \
	failover/agent_copy.c \
	failover/alerts.c failover/alerts.h \
	failover/clients.c failover/clients.h \
	failover/copy_session.c failover/copy_session.h \
	failover/epoch_store.c failover/epoch_store.h \
	failover/fence.c failover/fence.h \
	failover/group.c failover/group.h \
	failover/group_hooks.c failover/group_hooks.h \
	failover/group_vrrp.c failover/group_vrrp.h \
	failover/hooks.c failover/hooks.h \
	failover/journal.c failover/journal.h \
	failover/net/arp_guard.c failover/net/arp_guard.h \
	failover/net/announce.c failover/net/announce.h \
	failover/net/frame.c failover/net/frame.h \
	failover/net/gateway.c failover/net/gateway.h \
	failover/net/netlink.c failover/net/netlink.h \
	failover/net/netlink_diag.c failover/net/netlink_diag.h \
	failover/net/netlink_set.c failover/net/netlink_set.h \
	failover/net/nft.c failover/net/nft.h \
	failover/net/paths.c failover/net/paths.h \
	failover/net/probe.c failover/net/probe.h \
	failover/net/rules.c failover/net/rules.h \
	failover/net/secure.c failover/net/secure.h \
	failover/net/tickle.c failover/net/tickle.h \
	failover/net/vrrp.c failover/net/vrrp.h \
	failover/peer_copy.c failover/peer_copy.h \
	failover/proxy_link.c failover/proxy_link.h \
	failover/scale.c failover/scale.h \
	failover/settings.c failover/settings.h \
	failover/states.c failover/states.h \
	failover/status.c failover/status.h \
	failover/webhook.c failover/webhook.h \
	failover/witness.c failover/witness.h \
	failover/witness_link.c failover/witness_link.h
failover_libfailover_a_CFLAGS = $(AM_CFLAGS) $(CRYPTO_CFLAGS) $(JANSSON_CFLAGS) $(CURL_CFLAGS) $(NFT_CFLAGS) $(NL_CFLAGS) \
	$(TLS_CFLAGS)

FAILOVER_CORE_LIBS = failover/libfailover-core.a $(CORE_LIBS)
FAILOVER_LIBS = failover/libfailover.a failover/libfailover-core.a $(CURL_LIBS) $(NFT_LIBS) $(NL_LIBS) $(TLS_LIBS) $(SHELL_LIBS)

sbin_PROGRAMS += failover/tandem-failover
failover_tandem_failover_SOURCES = failover/main.c
failover_tandem_failover_CFLAGS = $(failover_libfailover_a_CFLAGS)
failover_tandem_failover_LDADD = $(FAILOVER_LIBS)
