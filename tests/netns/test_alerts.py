#!/usr/bin/env python3
"""Alerts: by webhook and by program, once a condition has lasted, and not more often than asked for."""

import atexit
import json
import os
import shutil
import tempfile
import time

from lab import PROXY, LabTest, main, wait_for

DIR = tempfile.mkdtemp(prefix="tandem-alerts.")
atexit.register(shutil.rmtree, DIR, ignore_errors=True)
PROGRAM = os.path.join(DIR, "tell")
with open(PROGRAM, "w", encoding="ascii") as f:
    f.write('#!/bin/sh\necho "$1 $TANDEM_ALERT $TANDEM_ALERT_STATE $TANDEM_SUBJECT" >>%s/told\n' % DIR)
os.chmod(PROGRAM, 0o755)

ALERTS = """alerts:
  - {on: [failover, peer_down], webhook: "http://10.77.0.10:8088/hook", for: 500ms}
  - {on: [failover, proxy_down, server_down, pool_degraded, pool_down], exec: [%s, program], for: 200ms}
  - {on: [failover], webhook: "http://10.77.0.10:8088/limited", at_most: 1 per 1h}
""" % PROGRAM

RECEIVER = """
import http.server, json, sys
class Handler(http.server.BaseHTTPRequestHandler):
    answers = [503]  # the first one fails
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        status = self.answers.pop() if self.answers else 204
        self.send_response(status)
        self.end_headers()
        with open(sys.argv[1], "a") as f:
            f.write(json.dumps([self.path, status, json.loads(body)]) + "\\n")
    def log_message(self, *args):
        pass
http.server.ThreadingHTTPServer(("10.77.0.10", 8088), Handler).serve_forever()
"""


class Alerts(LabTest):
    @classmethod
    def setUpClass(cls):
        cls.config = {"proxy": ALERTS + PROXY}
        super().setUpClass()
        cls.file = os.path.join(DIR, "posts")
        cls.lab.client.start("receiver", "python3", "-c", RECEIVER, cls.file)
        wait_for("the receiver listens", lambda: cls.lab.client.run(
            "curl", "-s", "-o", "/dev/null", "http://10.77.0.10:8088/", check=False).returncode == 0)

    def setUp(self):
        super().setUp()
        self.addCleanup(self.heal)

    def posts(self, path="/hook"):
        try:
            with open(self.file, encoding="utf-8") as f:
                found = [json.loads(line) for line in f]
        except FileNotFoundError:
            return []
        return [body for at, status, body in found if at == path and status == 204]

    def told(self):
        try:
            with open(os.path.join(DIR, "told"), encoding="ascii") as f:
                return f.read().splitlines()
        except FileNotFoundError:
            return []

    def test_a_move_and_a_lost_peer_reach_the_webhook(self):
        self.lab.unplug(self.a)
        self.b.wait_state("ACTIVE")
        wait_for("the move is told, though the first try failed", lambda: [
            p for p in self.posts() if p["alert"] == "failover" and p["node"] == "lb-b" and p["subject"] == "web"])
        wait_for("the peer's silence is told", lambda: [
            p for p in self.posts() if p["alert"] == "peer_down" and p["state"] == "on" and p["node"] == "lb-b"])
        self.lab.plug(self.a)
        wait_for("its end is told", lambda: [
            p for p in self.posts() if p["alert"] == "peer_down" and p["state"] == "off" and p["node"] == "lb-b"])
        self.assertIn("[lb-b] failover web: ", " ".join(p["text"] for p in self.posts()))

    def test_the_alerts_of_a_reload_are_in_force(self):
        def reload(alerts):
            self.lab.config(proxy=alerts + PROXY)
            for node in (self.a, self.b):
                node.ask("agent", "reload")

        self.addCleanup(reload, ALERTS)
        reload(ALERTS.replace("8088/hook", "8088/other"))
        self.a.ask("agent", "switchover")
        wait_for("the move is told where the new file says", lambda: [
            p for p in self.posts("/other") if p["alert"] == "failover"])
        reload("")
        before = len(self.posts("/other"))
        self.lab.settle(self.b)
        self.b.ask("agent", "switchover")
        self.lab.settle(self.a)
        self.assertEqual(len(self.posts("/other")), before)

    def test_a_rate_of_one_an_hour_lets_one_through(self):
        before = len(self.posts("/limited"))  # each agent may have had its one
        for node in (self.a, self.b, self.a, self.b):
            node.ask("agent", "switchover")
            self.lab.settle(self.lab.peer_of(node))
        time.sleep(0.5)
        by_node = [p["node"] for p in self.posts("/limited")[before:]]
        self.assertEqual(len(by_node), len(set(by_node)))

    def test_servers_that_are_down_are_told_by_the_agent(self):
        before = len(self.told())
        web1, web2 = self.lab.web
        web1.stop("nginx")
        wait_for("the server and the pool are told", lambda: {
            "program server_down on web/web1", "program pool_degraded on web"} <= set(self.told()[before:]), timeout_s=20)
        web2.stop("nginx")
        wait_for("the whole pool is told", lambda: "program pool_down on web" in self.told()[before:], timeout_s=20)
        for node in (web1, web2):
            self.lab.start_web(node)
        wait_for("their end is told", lambda: {
            "program server_down off web/web1", "program pool_down off web"} <= set(self.told()[before:]), timeout_s=20)

    def test_a_program_is_told_of_a_proxy_that_is_gone_and_back(self):
        before = len(self.told())
        self.b.kill("proxy")
        wait_for("it is told", lambda: "program proxy_down on tandem-proxy" in self.told()[before:])
        self.b.start_proxy()
        wait_for("its end is told", lambda: "program proxy_down off tandem-proxy" in self.told()[before:])


if __name__ == "__main__":
    main()
