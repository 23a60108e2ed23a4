#!/usr/bin/env python3
"""Autoscaling: load starts real servers and its end stops them, by the example's program; and a webhook is told."""

import json
import os
import tempfile

from lab import LabTest, Pulse, good, main, wait_for

DIR = tempfile.mkdtemp(prefix="tandem-scale.")
EXAMPLES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../examples")
SERVER = os.path.join(DIR, "server.py")
with open(SERVER, "w", encoding="ascii") as f:
    f.write("""
import http.server, sys, time
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        if self.path != "/healthz":
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

POOLS = """listeners:
  http: {bind: ":80", pool: web}
  app: {bind: ":8000", pool: app}
pools:
  web: {servers: {web1: "10.77.0.21:8080", web2: "10.77.0.22:8080"}}
  app:
    discover: {file: %s/list.yaml}
    health: {http: /healthz, every: 200ms}
    limits: {connections_per_server: 4, queue: 1000}
    scale:
      min: 1
      max: 4
      signals: {in_flight: 60%%, queue: 1}
      for: 1s
      cooldown: 2s
      exec: [%s/scale-servers, %s/list.yaml, 127.0.0.1, "9000", python3, %s]
      webhook: "http://10.77.0.10:8088/scale"
log: {access: off}
""" % (DIR, EXAMPLES, DIR, SERVER)

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
        with open(os.path.join(DIR, "list.yaml"), "w", encoding="ascii") as f:
            f.write("[]\n")
        os.environ["TANDEM_GRACE_S"] = "1"
        cls.config = {"proxy": POOLS}
        super().setUpClass()
        cls.posts = os.path.join(DIR, "posts")
        cls.lab.client.start("receiver", "python3", "-c", RECEIVER, cls.posts)

    def pool(self):
        return self.a.ask("proxy", "status")["pools"]["app"]

    def test_load_starts_servers_and_its_end_stops_them(self):
        wait_for("the least of servers is started", lambda: self.pool()["up"] == 1)
        load = Pulse(self.lab.client, rate=70, timeout_ms=5000, port=8000)  # seven at a time, of four
        wait_for("servers are started", lambda: self.pool()["up"] >= 3, timeout_s=20)
        samples = load.stop()
        self.assertEqual(len(good(samples)), len(samples), "nobody noticed")
        wait_for("they are stopped again", lambda: self.pool()["total"] == 1, timeout_s=30)
        with open(self.posts, encoding="ascii") as f:
            told = [json.loads(line) for line in f]
        wants = [t["want"] for t in told if t["pool"] == "app"]
        self.assertEqual(wants[0], 1)
        self.assertEqual(wants[-1], 1)
        self.assertGreaterEqual(max(wants), 3)
        self.assertIn("target", " ".join(t["why"] for t in told))
        self.assertIsNone(self.b.ask("proxy", "status")["pools"]["app"]["scale"]["want"], "the standby wants nothing")


if __name__ == "__main__":
    main()
