#!/usr/bin/env python3
"""The admin address: what it answers, what the metrics say, and what a bad client can do to it."""
import json
import re
import socket
import time
import unittest

import rig

CONFIG = """
admin: {bind: "127.0.0.1:%d"%s}
listeners:
  web:
    bind: "127.0.0.1:{port}"
    routes:
      - {match: {path: /none/*}, pool: none}
      - {match: {path: /*}, pool: api}
pools:
  api: {servers: {a1: "127.0.0.1:%d"}}
  none: {servers: {n1: {address: "127.0.0.1:%d"}}, when_all_down: "503", passive: {failures: 1}}
"""


class Admin:
    """An HTTP client of the admin address on one connection."""

    def __init__(self, port):
        self.sock = socket.create_connection(("127.0.0.1", port), rig.PATIENCE_S)
        self.reader = rig.Reader(self.sock)

    def ask(self, method, path, fields="", body=b""):
        if body:
            fields += "Content-Length: %d\r\n" % len(body)
        self.sock.sendall(("%s %s HTTP/1.1\r\nHost: x\r\n%s\r\n" % (method, path, fields)).encode() + body)
        return self.reader.response(method)

    def close(self):
        self.sock.close()


LINE = re.compile(r'^tandem_[a-z0-9_]+(\{[a-z_]+="(?:[^"\\\n]|\\\\|\\"|\\n)*"(,[a-z_]+="(?:[^"\\\n]|\\\\|\\"|\\n)*")*\})? [0-9.]+$')


def parse(text):
    """{name{labels}: value}; fails on a line that is no Prometheus text, or a family without HELP and TYPE."""
    values, types = {}, {}
    for line in text.decode().splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split()
            assert name not in types, "two families " + name
            types[name] = kind
        elif not line.startswith("# HELP "):
            assert LINE.match(line), line
            key, value = line.rsplit(" ", 1)
            family = re.sub(r"_(bucket|sum|count)$", "", key.split("{")[0])
            assert family in types or key.split("{")[0] in types, "no TYPE for " + line
            assert key not in values, "twice: " + line
            values[key] = float(value)
    return values, types


class TestAdmin(rig.Case):
    def start(self, extra=""):
        server = rig.Server()
        port = rig.free_port()
        proxy = rig.Proxy(CONFIG % (port, extra, server.port, rig.free_port()), workers=2)
        self.addCleanup(proxy.stop)
        return proxy, server, port

    def test_a_pool_of_very_many_servers_is_told_in_full(self):
        server = rig.Server()
        many = ", ".join('s%d: "127.0.%d.%d:%d"' % (i, i // 200 + 1, i % 200 + 1, server.port) for i in range(5000))
        proxy = rig.Proxy("listeners: {web: {bind: \"127.0.0.1:{port}\", pool: api}}\n"
                          "pools: {api: {servers: {%s}}}\n" % many)
        self.addCleanup(proxy.stop)
        servers = proxy.status()["pools"]["api"]["servers"]
        assert len(servers) == 5000 and servers["s4999"]["source"] == "configuration"

    def test_pages_say_what_they_are(self):
        proxy, server, port = self.start()
        a = Admin(port)
        r = a.ask("GET", "/healthz")
        assert r.status == 200 and json.loads(r.body) == {"status": "serving", "role": "single"}, r.body
        r = a.ask("GET", "/status")
        assert json.loads(r.body)["config"]["last_reload"]["errors"] == []
        assert json.loads(r.body)["pools"]["api"]["total"] == 1 and r.get("content-type") == "application/json"
        assert b"/metrics" in a.ask("GET", "/").body
        assert a.ask("HEAD", "/status").body == b""
        assert a.ask("GET", "/nothing").status == 404
        r = a.ask("POST", "/metrics", body=b"x" * 100)
        assert r.status == 405 and r.get("allow") == "GET, HEAD"
        assert a.ask("GET", "/healthz").status == 200, "the connection lives on"
        a.close()

    def test_metrics_count_what_happened(self):
        proxy, server, port = self.start()
        for _ in range(20):
            assert rig.ask(proxy, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").status == 200
        assert rig.ask(proxy, b"GET /none/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").status >= 502
        assert rig.ask(proxy, b"TRACE / HTTP/1.1\r\nHost: x\r\n\r\n").status == 405
        a = Admin(port)
        self.eventually(lambda: parse(a.ask("GET", "/metrics").body)[0][
            'tandem_request_duration_seconds_count{listener="web"}'] == 22)  # counted after the answer has left
        values, types = parse(a.ask("GET", "/metrics").body)
        assert values['tandem_requests_total{listener="web",pool="api",server="a1",code_class="2xx"}'] == 20
        assert values['tandem_requests_total{listener="web",pool="",server="",code_class="4xx"}'] == 1
        assert values['tandem_requests_total{listener="web",pool="none",server="n1",code_class="5xx"}'] == 1
        assert values['tandem_upstream_first_byte_seconds_count{pool="api"}'] == 20
        assert 1 <= values['tandem_upstream_connect_seconds_count{pool="api"}'] <= 20
        assert values['tandem_upstream_first_byte_seconds_bucket{pool="api",le="+Inf"}'] == 20
        assert 0 <= values['tandem_upstream_first_byte_seconds_sum{pool="api"}'] < 20
        before = 0
        for le in "0.0005 0.001 0.0025 0.005 0.01 0.025 0.05 0.1 0.25 0.5 1 2.5 5 10 30 60 +Inf".split():
            now = values['tandem_request_duration_seconds_bucket{listener="web",le="%s"}' % le]
            assert now >= before, "a histogram counts all below"
            before = now
        assert values['tandem_server_up{pool="api",server="a1"}'] == 1
        assert values['tandem_in_flight{pool="api",server="a1"}'] == 0
        assert values['tandem_config_generation'] == 1 and values['tandem_config_last_reload_ok'] == 1
        assert any(k.startswith("tandem_build_info{version=") for k in values)
        assert types["tandem_requests_total"] == "counter" and types["tandem_request_duration_seconds"] == "histogram"
        with open(proxy.file, "a") as f:
            f.write("\nnonsense: 1\n")
        assert "error" in proxy.rpc("reload")
        values, _ = parse(a.ask("GET", "/metrics").body)
        assert values['tandem_config_last_reload_ok'] == 0
        a.close()

    def test_a_draining_node_says_so(self):
        def slow(conn, n):
            server.read_head(conn, n)
            time.sleep(1)
            conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        proxy, server, port = self.start()
        server.script = slow
        a = Admin(port)
        with proxy.connect() as s:
            s.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            time.sleep(0.1)
            proxy.proc.terminate()
            time.sleep(0.2)
            r = a.ask("GET", "/healthz")
            assert r.status == 503 and json.loads(r.body)["status"] == "draining", r.body
            assert rig.Reader(s).response().status == 200
        a.close()
        self.assertEqual(proxy.stop(), 0)

    def test_bad_clients_harm_nobody(self):
        proxy, server, port = self.start()
        for raw, status in ((b"GARBAGE\r\n\r\n", 400), (b"GET / HTTP/1.1\r\n\r\n", 400),
                            (b"GET /" + b"x" * 3000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
                            (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 20000, 431),
                            (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999\r\n\r\n" + b"x" * 99999, 413),
                            (b"GET /%2e%2e/%00 HTTP/1.1\r\nHost: x\r\n\r\n", 400)):
            s = socket.create_connection(("127.0.0.1", port), rig.PATIENCE_S)
            s.sendall(raw)
            r = rig.Reader(s)
            assert r.response().status == status, raw[:40]
            assert r.rest() == b"", "closed after it"
            s.close()
        held = [socket.create_connection(("127.0.0.1", port), rig.PATIENCE_S) for _ in range(100)]
        for s in held[:50]:
            s.sendall(b"GET /metr")
        a = Admin(port)
        assert a.ask("GET", "/healthz").status == 200, "those who ask nothing make room"
        # Pipelined, in pieces, and one that does not read.
        a.sock.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET /healthz HTTP/1.1\r\nHo")
        assert a.reader.response().status == 200
        a.sock.sendall(b"st: x\r\n\r\n")
        assert a.reader.response().status == 200
        deaf = Admin(port)
        for _ in range(200):
            try:
                deaf.sock.settimeout(0.05)
                deaf.sock.sendall(b"GET /status HTTP/1.1\r\nHost: x\r\n\r\n" * 50)
            except OSError:
                break
        assert a.ask("GET", "/healthz").status == 200
        for s in held:
            s.close()
        a.close()
        deaf.close()
        assert rig.ask(proxy, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").status == 200

    def test_only_those_allowed_are_heard_and_a_reload_moves_it(self):
        proxy, server, port = self.start(', allow: ["10.99.0.0/16"]')
        s = socket.create_connection(("127.0.0.1", port), rig.PATIENCE_S)
        try:
            s.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert s.recv(100) == b""
        except ConnectionError:
            pass
        text = open(proxy.file).read()
        other = rig.free_port()
        with open(proxy.file, "w") as f:
            f.write(text.replace(', allow: ["10.99.0.0/16"]', "").replace(
                '"127.0.0.1:%d"' % port, '["127.0.0.1:%d", "127.0.0.1:%d"]' % (port, other)))
        assert "result" in proxy.rpc("reload"), proxy.logged()
        kept = Admin(port)
        assert kept.ask("GET", "/healthz").status == 200
        assert Admin(other).ask("GET", "/healthz").status == 200
        with open(proxy.file, "w") as f:
            f.write(text.replace('admin: {bind: "127.0.0.1:%d", allow: ["10.99.0.0/16"]}' % port, ""))
        assert "result" in proxy.rpc("reload"), proxy.logged()
        assert not proxy.listens(other) and not proxy.listens(port)
        assert kept.ask("GET", "/healthz").status == 200, "a connection that is there may finish"
        with open(proxy.file, "w") as f:
            f.write(text.replace(str(port), str(proxy.port)))
        assert "listened on already" in json.dumps(proxy.rpc("reload"))


if __name__ == "__main__":
    unittest.main()
