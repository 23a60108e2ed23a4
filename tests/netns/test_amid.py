#!/usr/bin/env python3
"""The address moves in the middle of other trouble: a server that has just died or stands still, a drain, a reload. Nobody
who asks, on a kept or on a fresh connection, notices any of it."""

import signal
import sys
import time

from lab import PROXY, LabTest, Pulse, failed, main, outcomes, wait_for

# As someone would write it who wants nobody to notice.
CAREFUL = PROXY.replace("health: {http: /healthz, every: 1s}", """health: {http: /healthz, every: 500ms, fall: 2}
    retry: {attempts: 3, on: [connect, stale_connection, reset, first_byte, 500, 502, 503, 504]}
    timeouts: {connect: 1s, first_byte: 1s}""")


class Amid(LabTest):
    config = {"proxy": CAREFUL}

    def setUp(self):
        super().setUp()
        self.web1 = self.lab.web[0]
        self.addCleanup(self.heal)

    def move_amid(self, title, trouble, repair):
        pulses = [Pulse(self.client, rate=150, connections=n, timeout_ms=8000) for n in (0, 16)]
        time.sleep(0.3)
        trouble()
        self.a.ctl("switchover")
        self.b.wait_state("ACTIVE")
        time.sleep(0.7)
        repair()
        self.lab.settle(self.b)
        samples = [s for p in pulses for s in p.stop()]
        worst = max(s.end_us - s.start_us for s in samples) / 1000
        print("\n    a move amid %s: %d requests, %d failed, the longest took %.0f ms" % (
            title, len(samples), len(failed(samples)), worst), file=sys.stderr)
        self.assertEqual(failed(samples), [], outcomes(samples))
        self.assertGreater(len(samples), 200)

    def test_a_server_that_was_just_killed(self):
        self.move_amid("a server's kill -9", lambda: self.web1.kill("nginx"), lambda: self.lab.start_web(self.web1))

    def test_a_server_that_stands_still(self):
        nginx = self.web1.programs["nginx"]
        self.move_amid("a server that stands still", lambda: nginx.send_signal(signal.SIGSTOP),
                       lambda: nginx.send_signal(signal.SIGCONT))

    def test_a_drain(self):
        def ready():
            self.b.ctl("ready", "web/web1")
            for node in (self.a, self.b):
                wait_for("%s knows that it is ready" % node.name, lambda node=node: node.ask("proxy", "status")[
                    "pools"]["web"]["servers"]["web1"]["admin"] == "ready")
        self.move_amid("a drain", lambda: self.a.ctl("drain", "web/web1"), ready)

    def test_a_reload_of_both(self):
        def reload(proxy):
            self.lab.config(proxy=proxy)
            for node in (self.a, self.b):
                node.ctl("reload")
        more = CAREFUL.replace("pools:", '  more: {bind: ":8081", pool: web}\npools:').replace(
            '      web2:', '      web3: {address: "10.77.0.22:8080"}\n      web2:')
        self.move_amid("reloads", lambda: reload(more), lambda: reload(CAREFUL))


if __name__ == "__main__":
    main()
