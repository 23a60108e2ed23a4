#!/usr/bin/python3
"""What a pool promises its servers and its clients: how long connections are kept, how many requests run, who waits,
who is put aside; told by the servers themselves."""
import socket
import time
import unittest

from rig import Reader, ask
from test_http1 import Case, config, get


def frozen_port(case):
    """A server that never takes the connection: its queue of connections is full."""
    s = socket.socket()
    s.bind(("127.0.0.1", 0))
    s.listen(0)
    case.addCleanup(s.close)
    for _ in range(2):
        c = socket.socket()
        c.setblocking(False)
        c.connect_ex(s.getsockname())
        case.addCleanup(c.close)
    return s.getsockname()[1]


class Connections(Case):
    def keeper(self, says):
        """Answers all, and notes how long each connection was idle before it was closed."""
        idle = []

        def script(conn, n):
            rest = b""
            while True:
                at = time.monotonic()
                head, _, rest = s.read_request(conn, n, rest)
                if head is None:
                    idle.append(time.monotonic() - at)
                    return
                conn.sendall(b"HTTP/1.1 200 OK\r\n%sContent-Length: 2\r\n\r\nok" % says)

        s = self.serve(script)
        return s, idle

    def test_a_connection_is_given_up_a_second_before_the_server_closes_it(self):
        s, idle = self.keeper(b"Keep-Alive: timeout=2, max=100\r\n")
        p = self.proxy(config(s, pool="timeouts: {server_idle: 30s}"))
        for _ in range(3):
            self.assertEqual(ask(p, get()).status, 200)
        self.eventually(lambda: idle)
        self.assertEqual(len(s.received), 1)
        self.assertGreater(idle[0], 0.9)
        self.assertLess(idle[0], 1.5)

    def test_the_pools_own_time_holds_where_it_is_shorter(self):
        s, idle = self.keeper(b"Keep-Alive: timeout=60\r\n")
        p = self.proxy(config(s, pool="timeouts: {server_idle: 300ms}"))
        self.assertEqual(ask(p, get()).status, 200)
        self.eventually(lambda: idle)
        self.assertLess(idle[0], 0.8)

    def test_a_connection_that_lives_a_second_or_less_is_not_kept(self):
        s, idle = self.keeper(b"Keep-Alive: timeout=1\r\n")
        p = self.proxy(config(s))
        for _ in range(3):
            self.assertEqual(ask(p, get()).status, 200)
        self.eventually(lambda: len(idle) == 3)
        self.assertEqual(len(s.received), 3)

    def test_connecting_takes_no_longer_than_the_pool_says(self):
        frozen = type("Frozen", (), {"port": frozen_port(self)})()
        p = self.proxy(config(frozen, pool="timeouts: {connect: 200ms}"))
        at = time.monotonic()
        self.assertEqual(ask(p, get()).status, 504)
        self.assertGreater(time.monotonic() - at, 0.19)
        self.assertLess(time.monotonic() - at, 1)


if __name__ == "__main__":
    unittest.main()
