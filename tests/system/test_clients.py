#!/usr/bin/env python3
"""The list of clients that the agent gets, and what a virtual IP that is being moved away means to them:
the real proxy on loopback addresses, with a stand-in for the agent on failover.sock."""
import json
import os
import socket
import threading
import time
import unittest

from rig import PATIENCE_S, Proxy, Server

VIP, OTHER_VIP, OWN = "127.0.0.77", "127.0.0.78", "127.0.0.1"
AGE_S = 0.02
CONFIG = """
listeners:
  http:
    bind: ":{port}"
    routes: [{pool: p}]
pools:
  p:
    servers: {s: {address: "127.0.0.1:%d"}}
failover:
  nodes:
    t: {id: 1, paths: {lan: 127.0.0.1}}
    u: {id: 2, paths: {lan: 127.0.0.2}}
  secret_file: {tmp}/key
  groups:
    web: {vrid: 5, interface: lo, virtual_ips: [127.0.0.77/32, 127.0.0.78/32]}
log: {access: off}
"""


class Agent:
    """Stands for the agent: keeps the list as the messages tell it."""

    def __init__(self, tmp):
        self.path = os.path.join(tmp, "failover.sock")
        self.clients, self.messages, self.lists, self.drained = set(), [], 0, 0
        self.fresh = None
        self.conn = None
        self.reads = True
        self.changed = threading.Condition()
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.bind(self.path)
        self.sock.listen(1)
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                conn, _ = self.sock.accept()
            except OSError:
                return
            self.conn = conn
            self.say("role", {"role": "active", "groups": {"web": "ACTIVE"}, "virtual_ips": [VIP, OTHER_VIP]})
            try:
                with conn.makefile("r", encoding="utf-8") as lines:
                    for line in lines:
                        while not self.reads:
                            time.sleep(0.01)
                        self.take(line)
            except OSError:
                pass

    def say(self, method, params):
        self.conn.sendall(json.dumps({"jsonrpc": "2.0", "method": method, "params": params}).encode() + b"\n")

    @staticmethod
    def pairs(table):
        return {(local, remote) for local, all_ in (table or {}).items() for remote in all_.split(" ")}

    def take(self, line):
        assert len(line) <= 65536
        message = json.loads(line)
        if message["method"] != "proxy.clients":
            return
        params = message["params"]
        with self.changed:
            self.messages.append(params)
            if params.get("first"):
                self.fresh = set()
            for known in (self.clients, self.fresh):
                if known is not None:
                    known -= self.pairs(params.get("remove"))
                    known |= self.pairs(params.get("add"))
            if params.get("last"):
                self.clients, self.fresh = self.fresh, None
                self.lists += 1
            self.drained = params.get("drain", self.drained)
            self.changed.notify_all()

    def drain(self, seq, **left_ms):
        self.say("drain", {"seq": seq, "virtual_ips": {VIP if k == "vip" else OTHER_VIP: v for k, v in left_ms.items()}})

    def wait(self, what, probe, timeout_s=5):
        with self.changed:
            if not self.changed.wait_for(lambda: probe(self), timeout_s):
                raise AssertionError("%s: %d clients, %s" % (what, len(self.clients), self.messages[-3:]))

    def close(self):
        if self.sock.fileno() < 0:
            return
        self.sock.shutdown(socket.SHUT_RDWR)  # wakes serve()
        self.sock.close()
        os.unlink(self.path)
        if self.conn:
            self.conn.shutdown(socket.SHUT_RDWR)
            self.conn.close()


class Clients(unittest.TestCase):
    workers = 2

    def setUp(self):
        self.server = Server()
        self.addCleanup(self.server.kill)
        self.proxy = Proxy(CONFIG.replace("%d", str(self.server.port)), workers=self.workers, wait=False)
        self.addCleanup(self.proxy.stop)
        with open(os.path.join(self.proxy.tmp, "key"), "w", encoding="utf-8") as f:
            f.write("0123456789abcdef0123456789abcdef\n")
        self.proxy.wait_listening()
        self.open = []
        self.addCleanup(lambda: [s.close() for s in self.open])

    def agent(self):
        agent = Agent(self.proxy.tmp)
        self.addCleanup(agent.close)
        agent.wait("the first list", lambda a: a.lists == 1)
        return agent

    def connect(self, to=VIP):
        s = socket.create_connection((to, self.proxy.port), PATIENCE_S)
        self.open.append(s)
        return s

    def pair(self, s):
        return ("%s:%d" % s.getpeername()[:2], "%s:%d" % s.getsockname()[:2])

    @staticmethod
    def get(s, fields=b""):
        s.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n%s\r\n" % fields)
        data = b""
        while not data.endswith(b"ok"):
            more = s.recv(65536)
            if not more:
                raise AssertionError("cut after %r" % data)
            data += more
        return data

    def test_a_client_is_told_when_it_stays_and_when_it_goes(self):
        agent = self.agent()
        stays, other, own = self.connect(), self.connect(OTHER_VIP), self.connect(OWN)
        want = {self.pair(stays), self.pair(other)}
        agent.wait("both are told", lambda a: a.clients == want)
        stays.close()
        agent.wait("one is gone", lambda a: a.clients == {self.pair(other)})
        self.assertNotIn("%s:%d" % (OWN, self.proxy.port), json.dumps(agent.messages))
        self.get(own)

    def test_a_connection_for_one_request_costs_no_message(self):
        agent = self.agent()
        before, slow = len(agent.messages), 0
        for _ in range(300):
            start = time.monotonic()
            s = self.connect()
            self.get(s)
            s.close()
            slow += time.monotonic() - start > AGE_S / 2
        time.sleep(5 * AGE_S)
        self.assertLessEqual(len(agent.messages) - before, 2 * slow)
        self.assertLess(slow, 100, "this machine is too slow to tell")

    def test_those_who_were_here_before_the_agent_are_told_and_again_to_the_next_agent(self):
        first = [self.connect() for _ in range(40)]
        self.get(first[0])
        agent = self.agent()
        self.assertEqual(agent.clients, {self.pair(s) for s in first})
        more = [self.connect() for _ in range(40)]
        for s in first[:20]:
            s.close()
        want = {self.pair(s) for s in first[20:] + more}
        agent.wait("the changes", lambda a: a.clients == want)
        agent.close()
        for s in more[:10]:
            s.close()
        time.sleep(0.1)
        want = {self.pair(s) for s in first[20:] + more[10:]}
        again = self.agent()
        again.wait("all that are left", lambda a: a.clients == want)

    def test_only_a_virtual_ip_that_drains_says_close(self):
        agent = self.agent()
        idle, busy, other, own = self.connect(), self.connect(), self.connect(OTHER_VIP), self.connect(OWN)
        for s in (idle, busy, other, own):
            self.assertNotIn(b"Connection: close", self.get(s))
        agent.drain(1, vip=60000)
        agent.wait("the order is confirmed", lambda a: a.drained == 1)
        for s in (other, own):
            self.assertNotIn(b"Connection: close", self.get(s))
        self.assertIn(b"Connection: close", self.get(busy))
        self.assertEqual(busy.recv(1), b"")
        new = self.connect()
        self.assertIn(b"Connection: close", self.get(new))
        idle.settimeout(0.2)
        with self.assertRaises(socket.timeout):
            idle.recv(1)
        agent.drain(2)
        agent.wait("the order is undone", lambda a: a.drained == 2)
        idle.settimeout(PATIENCE_S)
        self.assertNotIn(b"Connection: close", self.get(idle))

    def test_idle_clients_are_shown_out_with_a_fin_before_a_drain_ends(self):
        agent = self.agent()
        idle, other = self.connect(), self.connect(OTHER_VIP)
        self.get(idle)
        self.get(other)
        start = time.monotonic()
        agent.drain(1, vip=2000)
        self.assertEqual(idle.recv(1), b"")
        self.assertGreater(time.monotonic() - start, 1)
        self.assertLess(time.monotonic() - start, 2)
        idle.close()
        agent.wait("it is gone", lambda a: a.clients == {self.pair(other)})
        self.assertNotIn(b"Connection: close", self.get(other))

    def test_an_order_is_confirmed_after_all_clients_are_told(self):
        agent = self.agent()
        for seq in range(1, 20):
            s = self.connect()
            self.get(s)  # it was accepted, but is not old enough to be told
            agent.drain(seq)  # undoes nothing: what counts is that it is answered
            agent.wait("confirmed", lambda a, seq=seq: a.drained == seq)
            self.assertIn(self.pair(s), agent.clients)

    def test_an_agent_that_does_not_read_gets_the_whole_truth_later(self):
        agent = self.agent()
        agent.reads = False
        for _ in range(12):
            batch = [self.connect() for _ in range(500)]
            time.sleep(2 * AGE_S)
            for s in batch:
                s.close()
                self.open.remove(s)
        stay = [self.connect() for _ in range(300)]
        time.sleep(0.2)
        agent.reads = True
        want = {self.pair(s) for s in stay}
        agent.wait("the truth", lambda a: a.clients == want and a.fresh is None, 20)


if __name__ == "__main__":
    unittest.main(verbosity=2)
