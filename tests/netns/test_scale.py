#!/usr/bin/env python3
"""Autoscaling: load starts real servers and its end stops them, by the example's program; and a webhook is told. By each of
the signals: requests in flight and waiting, the time that answers take, and what servers tell of themselves.
TANDEM_SCALE_LONG=1 also waits until slow answers are forgotten."""

import atexit
import json
import os
import shutil
import tempfile

from lab import LabTest, Pulse, good, main, outcomes, wait_for

DIR = tempfile.mkdtemp(prefix="tandem-scale.")
atexit.register(shutil.rmtree, DIR, ignore_errors=True)
EXAMPLES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../examples")
SERVER = os.path.join(DIR, "server.py")
with open(SERVER, "w", encoding="ascii") as f:
    f.write("""
import http.server, sys, threading, time
one = threading.Lock()
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        if self.path == "/one":
            with one:
                time.sleep(0.03)
        elif self.path != "/healthz":
            time.sleep(0.1)
        body = ("s%d\\n" % (int(sys.argv[2]) - 9000)).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args):
        pass
http.server.ThreadingHTTPServer((sys.argv[1], int(sys.argv[2])), Handler).serve_forever()
""")

TOKEN = "a-token-of-the-scaling-test"
POOLS = """listeners:
  http: {bind: ":80", pool: web}
  app: {bind: ":8000", pool: app}
  slow: {bind: ":8001", pool: slow}
admin: {bind: "127.0.0.1:9000"}
pools:
  web: {servers: {web1: "10.77.0.21:8080", web2: "10.77.0.22:8080"}}
  app:
    discover: {file: %(dir)s/list.yaml}
    health: {http: /healthz, every: 200ms}
    limits: {connections_per_server: 4, queue: 1000}
    scale:
      min: 1
      max: 4
      signals: {in_flight: 60%%, queue: 1}
      for: 1s
      cooldown: 1s
      exec: [%(examples)s/scale-servers, %(dir)s/list.yaml, 127.0.0.1, "9000", python3, %(server)s]
      webhook: "http://10.77.0.10:8088/scale"
  slow:
    discover: {file: %(dir)s/slow.yaml}
    health: {http: /healthz, every: 200ms}
    scale:
      min: 1
      max: 2
      signals: {p99: 200ms}
      for: 1s
      cooldown: 1s
      exec: [%(examples)s/scale-servers, %(dir)s/slow.yaml, 127.0.0.1, "9100", python3, %(server)s]
      webhook: "http://10.77.0.10:8088/scale"
  told:
    discover: {register: {token_file: %(dir)s/token, lease: 1h}}
    scale: {min: 1, max: 3, signals: {load: 60%%}, for: 1s, cooldown: 1s, webhook: "http://10.77.0.10:8088/scale"}
log: {access: off}
""" % {"dir": DIR, "examples": EXAMPLES, "server": SERVER}

RECEIVER = """
import http.server, json, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(204)
        self.end_headers()
        with open(sys.argv[1], "a") as f:
            f.write(body.decode() + "\\n")
    def log_message(self, *args):
        pass
http.server.ThreadingHTTPServer(("10.77.0.10", 8088), Handler).serve_forever()
"""


class Scale(LabTest):
    @classmethod
    def setUpClass(cls):
        for name, text in (("list.yaml", "[]\n"), ("slow.yaml", "[]\n"), ("token", TOKEN + "\n")):
            with open(os.path.join(DIR, name), "w", encoding="ascii") as f:
                f.write(text)
        os.chmod(os.path.join(DIR, "token"), 0o600)
        os.environ["TANDEM_GRACE_S"] = "1"
        cls.config = {"proxy": POOLS}
        super().setUpClass()
        cls.posts = os.path.join(DIR, "posts")
        cls.lab.b.stop("agent")  # what a busy machine does to proxies moves nothing then
        cls.lab.client.start("receiver", "python3", "-c", RECEIVER, cls.posts)

    def pool(self, name="app"):
        return self.a.ask("proxy", "status")["pools"][name]

    def told(self, pool):
        if not os.path.exists(self.posts):
            return []
        with open(self.posts, encoding="ascii") as f:
            return [t for t in map(json.loads, f) if t["pool"] == pool]

    def test_load_starts_servers_and_its_end_stops_them(self):
        wait_for("the least of servers is started", lambda: self.pool()["up"] == 1)
        load = Pulse(self.lab.client, rate=70, timeout_ms=5000, port=8000)  # seven at a time, of four
        wait_for("servers are started", lambda: self.pool()["up"] >= 3, timeout_s=20)
        samples = load.stop()
        self.assertEqual(len(good(samples)), len(samples), outcomes(samples))
        wait_for("they are stopped again", lambda: self.pool()["total"] == 1, timeout_s=30)
        told = self.told("app")
        wants = [t["want"] for t in told]
        self.assertEqual(wants[0], 1)
        self.assertEqual(wants[-1], 1)
        self.assertGreaterEqual(max(wants), 3)
        self.assertIn("target", " ".join(t["why"] for t in told))
        self.assertIsNone(self.b.ask("proxy", "status")["pools"]["app"]["scale"]["want"], "the standby wants nothing")

    def test_answers_that_take_long_start_a_server_and_quick_ones_stop_it(self):
        wait_for("the least of servers is started", lambda: self.pool("slow")["up"] == 1)
        load = Pulse(self.lab.client, rate=45, timeout_ms=15000, port=8001, path="/one")  # a server can do 33
        wait_for("another is started", lambda: self.pool("slow")["up"] == 2, timeout_s=20)
        samples = load.stop()
        self.assertEqual(len(good(samples)), len(samples), outcomes(samples))
        self.assertRegex(self.told("slow")[-1]["why"], r"^p99 is [0-9]+ ?ms, target 200 ?ms$")
        if "TANDEM_SCALE_LONG" in os.environ:
            wait_for("it is stopped again", lambda: self.pool("slow")["total"] == 1, timeout_s=40)

    def register(self, loads):
        for node in (self.a, self.b):
            for i, load in enumerate(loads):
                node.run("curl", "-sSf", "-X", "PUT", "-H", "Authorization: Bearer " + TOKEN, "-d", json.dumps(
                    {"address": "10.77.0.2%d:8080" % (i + 1), "load": load}),
                    "http://127.0.0.1:9000/v1/pools/told/servers/t%d" % i)

    def test_what_servers_tell_of_their_load_counts(self):
        self.register([0.9])
        wait_for("more are wanted", lambda: [t for t in self.told("told") if t["want"] == 2])
        self.assertEqual(self.told("told")[-1]["why"], "load is 90%, target 60%")
        self.register([0.3, 0.1])
        wait_for("fewer are wanted", lambda: self.told("told")[-1]["want"] == 1)
        self.assertEqual(self.told("told")[-1]["why"], "1 would do for what 2 servers do")


if __name__ == "__main__":
    main()
