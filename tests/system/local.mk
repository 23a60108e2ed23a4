# tests/system: the real program on loopback, between raw sockets that send and record exact bytes.
SYSTEM_TESTS = \
	tests/system/test_access_log.py \
	tests/system/test_admin.py \
	tests/system/test_binary_upgrade.py \
	tests/system/test_binary_upgrade_servers.py \
	tests/system/test_change.py \
	tests/system/test_clients.py \
	tests/system/test_discovery.py \
	tests/system/test_errors.py \
	tests/system/test_examples.py \
	tests/system/test_floods.py \
	tests/system/test_grpc.py \
	tests/system/test_h2.py \
	tests/system/test_http1.py \
	tests/system/test_http1_corners.py \
	tests/system/test_location.py \
	tests/system/test_pools.py \
	tests/system/test_never_noticed.py \
	tests/system/test_proxy_protocol.py \
	tests/system/test_reload.py \
	tests/system/test_retries.py \
	tests/system/test_routing.py \
	tests/system/test_splice.py \
	tests/system/test_sticky.py \
	tests/system/test_storm.py \
	tests/system/test_tcp.py \
	tests/system/test_times.py \
	tests/system/test_tls.py \
	tests/system/test_tls_servers.py \
	tests/system/test_upgrade.py
EXTRA_DIST += $(SYSTEM_TESTS)
TESTS += $(SYSTEM_TESTS)
EXTRA_DIST += tests/system/crowd.py tests/system/dnsd.py tests/system/rig.py tests/system/systemd-boot tests/system/trouble.py
