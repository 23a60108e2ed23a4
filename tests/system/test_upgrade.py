#!/usr/bin/python3
"""Upgrade and WebSocket through the real program: what is agreed, the tunnel's bytes and ends, byte for byte."""
import base64
import hashlib
import os
import signal
import socket
import struct
import threading
import time
import unittest

from rig import Reader, ask, free_port
from test_http1 import Case, config, get

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def switch(protocol="websocket", extra=""):
    return ("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\n%s\r\n"
            % (protocol, extra)).encode()


def upgrade(protocol="websocket", path="/", extra=""):
    return get(path, "Connection: keep-alive, Upgrade\r\nUpgrade: %s\r\n%s" % (protocol, extra))


def digest_all(read, size):
    """Takes what comes until its end; a slow reader that is not even."""
    h, count = hashlib.sha256(), 0
    time.sleep(0.7)  # every buffer on the way fills up
    while True:
        data = read(size)
        if not data:
            return h.hexdigest(), count
        h.update(data)
        count += len(data)
        if count % 7 == 0:
            time.sleep(0.002)


class Tunnels(Case):
    def tunnel_server(self, then, answer=switch()):
        """Answers the first request on each connection with `answer`, then hands the connection to `then`,
        with what came behind the head."""
        def script(conn, n):
            head, rest = s.read_head(conn, n)
            if head is None:
                return
            conn.sendall(answer)
            then(conn, rest)
        s = self.serve(script)
        return s

    def echo(self, conn, rest):
        while rest:
            conn.sendall(rest)
            rest = conn.recv(65536)

    def echo_all(self, conn, rest):
        conn.sendall(rest)
        self.echo(conn, conn.recv(65536))

    def open(self, p, request=None, glued=b""):
        c = p.connect()
        self.addCleanup(c.close)
        c.sendall((request or upgrade()) + glued)
        r = Reader(c)
        answer = r.response()
        self.assertEqual(answer.status, 101)
        return c, r, answer

    def assert_nothing_left(self, p):
        self.eventually(lambda: p.status()["connections"] == 0)
        for s in p.status()["pools"]["web"]["servers"].values():
            self.assertEqual(s["in_flight"], 0)


class Agreement(Tunnels):
    def test_an_upgrade_is_forwarded_and_the_switch_comes_back_with_its_fields(self):
        s = self.tunnel_server(self.echo_all, switch("WebSocket", "Sec-WebSocket-Accept: x\r\n"))
        p = self.proxy(config(s))
        c, r, answer = self.open(p, upgrade(extra="Sec-WebSocket-Key: k\r\n"))
        self.assertEqual(answer.get("upgrade"), "WebSocket")
        self.assertEqual(answer.get("connection").lower(), "upgrade")
        self.assertEqual(answer.get("sec-websocket-accept"), "x")
        self.assertIsNone(answer.get("content-length"))
        head = s.heads()[0].lower()
        self.assertIn(b"\r\nconnection: upgrade\r\n", head)
        self.assertIn(b"\r\nupgrade: websocket\r\n", head)
        self.assertIn(b"\r\nsec-websocket-key: k\r\n", head)
        for _ in range(3):
            c.sendall(b"hello")
            self.assertEqual(r.exactly(5), b"hello")

    def test_one_of_several_protocols_may_be_chosen(self):
        p = self.proxy(config(self.tunnel_server(self.echo_all, switch("B/2"))))
        c, r, answer = self.open(p, upgrade("a/1, b/2"))
        c.sendall(b"x")
        self.assertEqual(r.exactly(1), b"x")

    def refused(self, answer, request):
        s = self.tunnel_server(self.echo_all, answer)
        p = self.proxy(config(s))
        self.assertEqual(ask(p, request).status, 502)
        self.assert_nothing_left(p)
        self.assertEqual(self.log_lines(p, 1)[0]["end"], "server malformed")
        return s.heads()[0].lower()

    def test_a_switch_that_nobody_asked_for_is_502(self):
        self.assertNotIn(b"upgrade", self.refused(switch(), get()))

    def test_a_switch_to_another_protocol_is_502(self):
        self.refused(switch("other"), upgrade())

    def test_a_switch_to_more_than_was_asked_for_is_502(self):
        self.refused(switch("websocket, other"), upgrade())

    def test_a_switch_to_a_longer_or_shorter_name_is_502(self):
        for named in ("websockets", "websocke", "websocket/2", ","):
            with self.subTest(named=named):
                self.refused(switch(named), upgrade())

    def test_a_switch_that_names_no_protocol_is_502(self):
        self.refused(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n\r\n", upgrade())
        self.refused(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n", upgrade())

    def test_h2c_and_upgrades_with_content_or_from_1_0_are_not_forwarded(self):
        for request in (upgrade("h2c"), upgrade("websocket, h2c"), upgrade(extra="Content-Length: 1\r\n") + b"x",
                        upgrade(extra="Transfer-Encoding: chunked\r\n") + b"0\r\n\r\n",
                        upgrade().replace(b"HTTP/1.1", b"HTTP/1.0"),
                        get("/", "Upgrade: websocket\r\n")):
            with self.subTest(request=request):
                self.assertNotIn(b"\r\nupgrade:", self.refused(switch(), request))

    def test_an_upgrade_whose_content_is_empty_is_forwarded(self):
        p = self.proxy(config(self.tunnel_server(self.echo_all)))
        c, r, _ = self.open(p, upgrade(extra="Content-Length: 0\r\n"))
        c.sendall(b"x")
        self.assertEqual(r.exactly(1), b"x")

    def test_a_refused_upgrade_keeps_the_connection_for_the_next_request(self):
        s = self.serve()
        p = self.proxy(config(s))
        with p.connect() as c:
            c.sendall(upgrade() + get("/2"))
            r = Reader(c)
            for _ in range(2):
                self.assertEqual((r.response().status), 200)
            c.sendall(get("/3"))
            self.assertEqual(r.response().status, 200)
        self.assertEqual(len(s.received), 1)
        self.assertEqual(len(s.heads()), 3)

    def test_interim_answers_may_come_before_the_switch(self):
        p = self.proxy(config(self.tunnel_server(self.echo_all, b"HTTP/1.1 103 Early Hints\r\n\r\n" + switch())))
        with p.connect() as c:
            c.sendall(upgrade())
            r = Reader(c)
            self.assertEqual([r.response().status, r.response().status], [103, 101])
            c.sendall(b"x")
            self.assertEqual(r.exactly(1), b"x")


class Bytes(Tunnels):
    def test_a_websocket_handshake_and_masked_frames_pass(self):
        def frames(conn, rest):
            r = Reader(conn)
            r.data = rest
            while True:
                first, second = r.exactly(2)
                size = second & 127
                if size == 126:
                    size, = struct.unpack(">H", r.exactly(2))
                mask, payload = r.exactly(4), r.exactly(size)
                plain = bytes(b ^ mask[i % 4] for i, b in enumerate(payload))
                conn.sendall(bytes([first, size]) + plain if size < 126
                             else bytes([first, 126]) + struct.pack(">H", size) + plain)
                if first & 15 == 8:
                    return

        def script(conn, n):
            head, rest = s.read_head(conn, n)
            key = head.split(b"Sec-WebSocket-Key: ")[1].split(b"\r\n")[0]
            accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
            conn.sendall(switch("websocket", "Sec-WebSocket-Accept: %s\r\n" % accept.decode()))
            frames(conn, rest)
        s = self.serve(script)
        p = self.proxy(config(s))
        key = base64.b64encode(os.urandom(16))
        c, r, answer = self.open(p, upgrade("websocket", "/chat", "Sec-WebSocket-Version: 13\r\n"
                                            "Sec-WebSocket-Key: %s\r\n" % key.decode()))
        want = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()).decode()
        self.assertEqual(answer.get("sec-websocket-accept"), want)
        for opcode, text in ((1, b"hello"), (2, os.urandom(3000)), (9, b"ping"), (8, b"\x03\xe8")):
            mask = os.urandom(4)
            masked = bytes(b ^ mask[i % 4] for i, b in enumerate(text))
            size = bytes([128 | len(text)]) if len(text) < 126 else bytes([254]) + struct.pack(">H", len(text))
            c.sendall(bytes([128 | opcode]) + size + mask + masked)
            head = bytes([128 | opcode, len(text)]) if len(text) < 126 else bytes([128 | opcode, 126]) + size[1:]
            self.assertEqual(r.exactly(len(head) + len(text)), head + text)
        self.assertEqual(r.rest(), b"")  # the server closed after the close frame
        c.close()
        self.assert_nothing_left(p)
        line = self.log_lines(p, 1)[0]
        self.assertEqual((line["status"], line["end"], line["target"]), (101, "ok", "/chat"))

    def test_large_transfers_both_ways_at_once_with_slow_readers_are_exact_and_counted(self):
        up, down = os.urandom(1 << 20) * 24, os.urandom((1 << 20) + 77) * 24
        got = []

        def then(conn, rest):
            def send():
                conn.sendall(down)
                conn.shutdown(socket.SHUT_WR)
            t = threading.Thread(target=send)
            t.start()
            self.assertEqual(rest, b"")
            got.append(digest_all(conn.recv, 15000))
            t.join()
        p = self.proxy(config(self.tunnel_server(then)))
        before = p.rss_kb()
        c, r, _ = self.open(p, upgrade("websocket", "/big"))
        c.settimeout(60)

        def send():
            c.sendall(up)
            c.shutdown(socket.SHUT_WR)
        t = threading.Thread(target=send)
        t.start()
        first, r.data = r.data, b""

        def read(size):
            nonlocal first
            data, first = first, b""
            return data or c.recv(size)
        back = digest_all(read, 11000)
        t.join()
        self.assertEqual(back, (hashlib.sha256(down).hexdigest(), len(down)))
        self.eventually(lambda: got)
        self.assertEqual(got[0], (hashlib.sha256(up).hexdigest(), len(up)))
        self.assert_nothing_left(p)
        line = self.log_lines(p, 1)[0]
        self.assertEqual((line["bytes_in"], line["bytes_out"], line["status"], line["end"]),
                         (len(up), len(down), 101, "ok"))
        if not os.environ.get("TANDEM_SANITIZED"):
            self.assertLess(p.rss_kb() - before, 4096)

    def test_bytes_glued_to_the_switch_come_first(self):
        def then(conn, rest):
            self.echo_all(conn, rest)
        p = self.proxy(config(self.tunnel_server(then, switch() + b"glued" * 2000)))
        c, r, _ = self.open(p)
        c.sendall(b"x")
        self.assertEqual(r.exactly(10001), b"glued" * 2000 + b"x")

    def test_bytes_sent_right_behind_the_request_reach_the_tunnel_and_not_before_the_switch(self):
        early = []

        def script(conn, n):
            head, rest = s.read_head(conn, n)
            conn.settimeout(0.3)
            try:
                early.append(rest + conn.recv(1))
            except socket.timeout:
                early.append(rest)
            conn.settimeout(None)
            conn.sendall(switch())
            self.echo_all(conn, b"")
        s = self.serve(script)
        p = self.proxy(config(s))
        glued = os.urandom(60000)  # more than a buffer takes
        c, r, _ = self.open(p, glued=glued)
        self.assertEqual(r.exactly(len(glued)), glued)
        self.assertEqual(early, [b""])

    def test_a_switch_by_a_reused_connection_works_and_is_not_used_again(self):
        def script(conn, n):
            rest = b""
            while True:
                head, rest = s.read_head(conn, n, rest)
                if head is None:
                    return
                if b"\r\nupgrade:" in head.lower():
                    conn.sendall(switch())
                    self.echo_all(conn, rest)
                    return
                conn.sendall(OK)
        s = self.serve(script)
        p = self.proxy(config(s))
        with p.connect() as c:
            c.sendall(get())
            r = Reader(c)
            self.assertEqual(r.response().status, 200)
            c.sendall(upgrade())
            self.assertEqual(r.response().status, 101)
            self.assertEqual(len(s.received), 1)
            self.assertEqual(ask(p, get()).status, 200)
            self.assertEqual(len(s.received), 2)
            c.sendall(b"x")
            self.assertEqual(r.exactly(1), b"x")


class Ends(Tunnels):
    def test_a_client_that_ends_its_bytes_still_gets_the_servers(self):
        def then(conn, rest):
            data = rest
            while True:
                more = conn.recv(65536)
                if not more:
                    break
                data += more
            time.sleep(0.2)
            conn.sendall(b"got %d" % len(data))
        p = self.proxy(config(self.tunnel_server(then)))
        c, r, _ = self.open(p)
        c.sendall(b"x" * 300000)
        c.shutdown(socket.SHUT_WR)
        self.assertEqual(r.rest(), b"got 300000")
        self.assert_nothing_left(p)
        self.assertEqual(self.log_lines(p, 1)[0]["end"], "ok")

    def test_a_client_that_ended_before_the_switch_still_gets_the_servers_bytes(self):
        got = []

        def script(conn, n):
            head, rest = s.read_head(conn, n)
            time.sleep(0.3)
            conn.sendall(switch())
            while True:
                data = conn.recv(100)
                if not data:
                    break
                rest += data
            got.append(rest)
            conn.sendall(b"bye")
        s = self.serve(script)
        p = self.proxy(config(s))
        with p.connect() as c:
            c.sendall(upgrade() + b"early")
            c.shutdown(socket.SHUT_WR)
            r = Reader(c)
            self.assertEqual(r.response().status, 101)
            self.assertEqual(r.rest(), b"bye")
        self.assertEqual(got, [b"early"])

    def test_a_server_that_ends_its_bytes_still_gets_the_clients(self):
        got, done = [], threading.Event()

        def then(conn, rest):
            conn.sendall(b"last words")
            conn.shutdown(socket.SHUT_WR)
            while True:
                data = conn.recv(65536)
                if not data:
                    break
                rest += data
            got.append(rest)
            done.set()
        p = self.proxy(config(self.tunnel_server(then)))
        c, r, _ = self.open(p)
        self.assertEqual(r.rest(), b"last words")
        c.sendall(b"and mine")
        c.shutdown(socket.SHUT_WR)
        self.assertTrue(done.wait(3))
        self.assertEqual(got, [b"and mine"])
        self.assert_nothing_left(p)

    def test_a_side_that_goes_on_after_the_others_end_lives_until_it_is_silent(self):
        spoke = []

        def chatter(conn, rest):
            start = time.monotonic()
            conn.recv(1)  # the client's end
            while time.monotonic() < start + 2:
                conn.sendall(b"still here")
                spoke.append(time.monotonic())
                time.sleep(0.2)
            time.sleep(5)
        p = self.proxy("timeouts: {half_closed: 700ms}\n" + config(self.tunnel_server(chatter)))
        c, r, _ = self.open(p)
        c.shutdown(socket.SHUT_WR)
        with self.assertRaises(ConnectionResetError):
            r.rest()
        self.assertGreater(spoke[-1] - spoke[0], 1.7)
        self.assertTrue(0.6 < time.monotonic() - spoke[-1] < 1.4)
        self.assert_nothing_left(p)
        self.assertEqual(self.log_lines(p, 1)[0]["end"], "tunnel timeout:half-closed")

    def test_an_open_tunnel_is_not_measured_by_the_time_of_a_half_closed_one(self):
        p = self.proxy("timeouts: {half_closed: 300ms}\n" + config(self.tunnel_server(self.echo_all)))
        c, r, _ = self.open(p)
        time.sleep(0.8)
        c.sendall(b"hello")
        self.assertEqual(r.exactly(5), b"hello")

    def test_an_idle_tunnel_is_cut_and_bytes_of_either_direction_keep_it(self):
        def then(conn, rest):
            for _ in range(5):
                conn.sendall(b"s")
                time.sleep(0.4)
            self.echo_all(conn, rest)
        p = self.proxy("timeouts: {tunnel: 1s}\n" + config(self.tunnel_server(then)))
        start = time.monotonic()
        c, r, _ = self.open(p)
        self.assertEqual(r.exactly(5), b"sssss")  # 1.6 s in which the client says nothing
        for _ in range(5):
            c.sendall(b"c")
            time.sleep(0.4)
        self.assertEqual(r.exactly(5), b"ccccc")
        self.assertGreater(time.monotonic() - start, 3)
        quiet = time.monotonic()
        with self.assertRaises(ConnectionResetError):
            r.rest()
        self.assertTrue(0.4 < time.monotonic() - quiet < 2, time.monotonic() - quiet)
        self.assert_nothing_left(p)
        self.assertEqual(self.log_lines(p, 1)[0]["end"], "tunnel timeout:idle")

    def test_one_direction_that_moves_keeps_a_tunnel_whose_other_is_stuck(self):
        def then(conn, rest):
            threading.Thread(target=self.flood, args=(conn,), daemon=True).start()
            while True:
                data = conn.recv(100)
                if not data:
                    return
                heard.append(time.monotonic())
        heard = []
        p = self.proxy("timeouts: {tunnel: 1s}\n" + config(self.tunnel_server(then)))
        c, r, _ = self.open(p)
        for _ in range(12):  # reads nothing of the flood
            c.sendall(b"c")
            time.sleep(0.25)
        self.eventually(lambda: len(heard) >= 12)
        quiet = time.monotonic()
        self.eventually(lambda: p.status()["connections"] == 0)
        self.assertGreater(time.monotonic() - quiet, 0.4)
        self.assert_nothing_left(p)

    def flood(self, conn):
        try:
            while True:
                conn.sendall(b"f" * 65536)
        except OSError:
            pass

    def reset(self, sock):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()

    def test_a_client_that_resets_resets_the_server(self):
        seen = []

        def then(conn, rest):
            try:
                seen.append(conn.recv(1))
            except ConnectionResetError:
                seen.append("reset")
        p = self.proxy(config(self.tunnel_server(then)))
        c, r, _ = self.open(p)
        self.reset(c)
        self.eventually(lambda: seen)
        self.assertEqual(seen, ["reset"])
        self.assert_nothing_left(p)
        self.assertEqual(self.log_lines(p, 1)[0]["end"], "client gone")

    def test_a_server_that_resets_resets_the_client_and_is_no_worse_for_it(self):
        p = self.proxy(config(self.tunnel_server(lambda conn, rest: self.reset(conn))))
        for _ in range(8):
            with p.connect() as c:
                c.sendall(upgrade())
                r = Reader(c)
                with self.assertRaises(ConnectionResetError):
                    self.assertEqual(r.response().status, 101)
                    r.rest()
        self.assert_nothing_left(p)
        self.assertEqual(self.log_lines(p, 8)[0]["end"], "server cut")

    def test_abort_of_a_stuck_side_frees_everything(self):
        for who in ("client", "server"):
            with self.subTest(who=who):
                conns, release = [], threading.Event()

                def then(conn, rest):
                    conns.append(conn)
                    if who == "client":
                        self.flood(conn)
                    release.wait(10)
                p = self.proxy(config(self.tunnel_server(then)))
                c, r, _ = self.open(p)
                if who == "server":
                    threading.Thread(target=self.flood, args=(c,), daemon=True).start()
                time.sleep(0.5)  # every buffer on the way is full
                self.assertEqual(p.status()["pools"]["web"]["servers"]["s0"]["in_flight"], 1)
                self.reset(c if who == "client" else conns[0])
                self.assert_nothing_left(p)
                release.set()

    def test_the_last_words_of_a_server_that_closes_under_a_talking_client_arrive(self):
        def then(conn, rest):
            conn.recv(1)
            conn.sendall(b"last words")
            time.sleep(0.3)  # what the client says meanwhile is never read: the close is a reset
        p = self.proxy(config(self.tunnel_server(then)))
        c, r, _ = self.open(p)
        try:
            for _ in range(30):
                c.sendall(b"talk")
                time.sleep(0.02)
        except OSError:
            pass
        self.assertEqual(r.exactly(10), b"last words")
        self.assert_nothing_left(p)


class Change(Tunnels):
    def test_a_reload_does_not_touch_a_tunnel(self):
        s = self.tunnel_server(self.echo_all)
        p = self.proxy(config(s))
        c, r, _ = self.open(p)
        for i in range(5):
            p.write(config(s, pool="timeouts: {tunnel: %ds}" % (i + 100)))
            self.assertTrue(p.rpc("reload")["result"]["ok"])
            c.sendall(b"still")
            self.assertEqual(r.exactly(5), b"still")
        self.assertEqual(p.status()["pools"]["web"]["servers"]["s0"]["in_flight"], 1)
        c.close()
        self.assert_nothing_left(p)

    def test_a_tunnel_of_a_listener_that_a_reload_removed_ends_with_the_drain(self):
        s = self.tunnel_server(self.echo_all)
        p = self.proxy("timeouts: {drain: 1s}\n" + config(s))
        c, r, _ = self.open(p)
        p.write("timeouts: {drain: 1s}\n" + config(s).replace("{port}", str(free_port())))
        self.assertTrue(p.rpc("reload")["result"]["ok"])
        c.sendall(b"still")
        self.assertEqual(r.exactly(5), b"still")
        with self.assertRaises(ConnectionResetError):
            r.rest()
        self.assertEqual(self.log_lines(p, 1)[0]["end"], "proxy drained")

    def test_a_stop_waits_for_a_tunnel_that_ends(self):
        p = self.proxy(config(self.tunnel_server(self.echo_all)))
        c, r, _ = self.open(p)
        p.proc.send_signal(signal.SIGTERM)
        time.sleep(1)
        c.sendall(b"still")
        self.assertEqual(r.exactly(5), b"still")
        c.shutdown(socket.SHUT_WR)
        self.assertEqual(r.rest(), b"")
        self.assertEqual(p.proc.wait(3), 0)

    def test_a_stop_cuts_a_tunnel_at_the_drains_end(self):
        p = self.proxy("timeouts: {drain: 1s}\n" + config(self.tunnel_server(self.echo_all)))
        c, r, _ = self.open(p)
        start = time.monotonic()
        p.proc.send_signal(signal.SIGTERM)
        with self.assertRaises(ConnectionResetError):
            r.rest()
        self.assertTrue(0.7 < time.monotonic() - start < 2.5)
        self.assertEqual(p.proc.wait(3), 0)


if __name__ == "__main__":
    unittest.main()
