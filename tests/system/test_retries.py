#!/usr/bin/python3
"""Which failed requests are tried again, and how often each reaches a server: the retry matrix, row by row, counted
by the servers themselves."""
import re
import socket
import struct
import time
import unittest

from rig import PATIENCE_S, Reader, Server, ask, free_port
from test_http1 import Case, config, get

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
SAFE = ("GET", "HEAD", "OPTIONS", "PUT", "DELETE")
UNSAFE = ("POST", "PATCH", "BREW")
STATUSES = (429, 500, 502, 503, 504)


def reset(conn):
    conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    conn.close()


def request(method, content=b"", path="/", extra=b""):
    return b"%s %s HTTP/1.1\r\nHost: a\r\n%sContent-Length: %d\r\n\r\n%s" % (
        method.encode(), path.encode(), extra, len(content), content)


def pattern(n):
    """Content whose every piece says where it belongs."""
    return b"".join(b"%07d\n" % i for i in range(n // 8 + 1))[:n]


def retry(on, more=""):
    return "balance: round_robin\nretry: {on: [%s]%s}" % (on, more)


class Recorder(Server):
    """Keeps every request as (method, path, content), and then does what `then(conn)` says, which ends the
    connection with False. What asks for /warm is answered and forgotten."""

    def __init__(self, then):
        self.seen = []
        self.then = then
        super().__init__(self.run)

    def run(self, conn, n):
        rest = b""
        while True:
            head, content, rest = self.read_request(conn, n, rest)
            if head is None:
                return
            method, path = head.decode().split(" ")[:2]
            if path == "/warm":
                conn.sendall(OK)
                continue
            self.seen.append((method, path, content))
            if self.then(conn) is False:
                return


def answer(raw):
    return lambda conn: conn.sendall(raw)


def status(code, content=b"no"):
    return answer(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%s" % (code, len(content), content))


def fall_silent(conn):
    conn.recv(1)
    return False


def hang_up(conn):
    reset(conn)
    return False


def close(conn):
    return False


class Retries(Case):
    def record(self, then):
        s = Recorder(then)
        self.addCleanup(s.kill)
        return s

    def answer_of(self, p, raw, method="GET"):
        with p.connect() as c:
            c.settimeout(PATIENCE_S)
            c.sendall(raw)
            return Reader(c).response(method).status

    @staticmethod
    def warm(p):
        """Traffic of which a fifth may be retries."""
        with p.connect() as c:
            r = Reader(c)
            for _ in range(60):
                c.sendall(get("/warm"))
                r.response()

    def both(self, failing, pool, methods, retried, content=b"", status=200, otherwise=502):
        """Each method once on a pool of a server that fails and one that does not: how often did it arrive?"""
        for method in methods:
            with self.subTest(method=method):
                bad, good = self.record(failing), self.record(self.ok(method))
                p = self.proxy(config(bad, good, pool=pool))
                for i in range(2):  # round robin: one of the two meets the failing server first
                    code = self.answer_of(p, request(method, content, "/%d" % i), method)
                    if code != 200:
                        self.assertFalse(retried)
                        self.assertEqual(code, otherwise)
                    if bad.seen:
                        break
                self.assertEqual(len(bad.seen), 1)
                path = bad.seen[0][1]
                arrived = [s for s in bad.seen + good.seen if s[1] == path]
                self.assertEqual(len(arrived), 2 if retried else 1)
                self.assertEqual({s[2] for s in arrived}, {content})
                self.assertEqual(code, 200 if retried else otherwise)
                pool_status = p.status()["pools"]["web"]
                self.assertEqual(pool_status["retries_total"], 1 if retried else 0)
                self.assertEqual(pool_status["retries_denied_total"], 0)
                self.assertEqual(p.stop(), 0)

    @staticmethod
    def ok(method):
        return answer(OK[:-2] if method == "HEAD" else OK)

    # --- connecting

    def test_no_connection_is_another_server_for_every_method(self):
        for method in SAFE + UNSAFE:
            with self.subTest(method=method):
                good = self.record(self.ok(method))
                gone = type("Gone", (), {"port": free_port()})()
                p = self.proxy(config(gone, good, pool=retry("connect")))
                for i in range(2):
                    self.assertEqual(self.answer_of(p, request(method, b"x", "/%d" % i), method), 200)
                self.assertEqual([s[1] for s in good.seen], ["/0", "/1"])
                self.assertIn(p.status()["pools"]["web"]["retries_total"], (1, 2))  # it may be out by then
                p.stop()

    def test_no_connection_is_the_end_where_it_is_not_listed(self):
        good = self.record(answer(OK))
        gone = type("Gone", (), {"port": free_port()})()
        p = self.proxy(config(gone, good, pool=retry("reset")))
        codes = sorted(self.answer_of(p, get("/%d" % i)) for i in range(2))
        self.assertEqual(codes, [200, 502])
        self.assertEqual(len(good.seen), 1)

    def test_attempts_bound_the_servers_that_are_asked(self):
        for attempts in (1, 2, 4):
            with self.subTest(attempts=attempts):
                servers = [self.record(hang_up) for _ in range(6)]
                p = self.proxy(config(*servers, pool=retry("reset", ", attempts: %d" % attempts)))
                self.assertEqual(self.answer_of(p, get()), 502)
                self.assertEqual(sum(len(s.seen) for s in servers), attempts)
                self.assertLessEqual(max(len(s.seen) for s in servers), 1)
                p.stop()

    # --- reset

    def test_a_reset_after_the_head_is_tried_again_where_it_is_listed(self):
        self.both(hang_up, retry("reset"), SAFE, True, b"content")

    def test_a_close_after_the_head_is_tried_again_where_resets_are_listed(self):
        self.both(close, retry("reset"), SAFE, True)

    def test_half_a_head_is_tried_again_where_resets_are_listed(self):
        def half(conn):
            conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Le")
            return False
        self.both(half, retry("reset"), ("GET", "PUT"), True, b"x")
        self.both(half, retry("reset"), ("POST",), False, b"x")

    def test_without_a_word_a_reset_is_another_server_for_what_may_be_done_twice(self):
        self.both(hang_up, "balance: round_robin", SAFE, True, b"content")
        self.both(close, "balance: round_robin", UNSAFE, False, b"once")

    def test_a_reset_is_the_end_where_it_is_not_listed(self):
        self.both(hang_up, retry("connect, stale_connection, first_byte, 502"), ("GET", "PUT", "POST"), False)

    def test_a_post_is_never_sent_twice_after_a_reset(self):
        self.both(hang_up, retry("reset, connect, stale_connection, first_byte"), UNSAFE, False, b"once")

    def test_a_post_is_sent_again_where_the_pool_says_so(self):
        self.both(hang_up, retry("reset", ", retry_unsafe_methods: true"), UNSAFE, True, b"twice")

    def test_a_response_that_began_is_never_tried_again(self):
        def short(conn):
            conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc")
            return False
        bad, good = self.record(short), self.record(answer(OK))
        p = self.proxy(config(bad, good, pool=retry("reset, first_byte, 502, connect, stale_connection")))
        cut = 0
        for i in range(2):
            with p.connect() as c:
                c.sendall(get("/%d" % i))
                try:
                    Reader(c).response()
                except (EOFError, ConnectionResetError):
                    cut += 1
        self.assertEqual((cut, len(bad.seen), len(good.seen)), (1, 1, 1))

    def test_garbage_is_not_tried_again(self):
        self.both(answer(b"nonsense\r\n\r\n"), retry("reset, first_byte, 502"), ("GET",), False)

    # --- first_byte

    SLOW = "\ntimeouts: {first_byte: 300ms}"

    def test_silence_is_tried_again_where_it_is_listed(self):
        self.both(fall_silent, retry("first_byte") + self.SLOW, ("GET", "PUT"), True, b"content")

    def test_silence_is_the_end_for_a_post_and_where_it_is_not_listed(self):
        self.both(fall_silent, retry("first_byte, reset") + self.SLOW, ("POST",), False, b"x", otherwise=504)
        self.both(fall_silent, retry("reset, 504") + self.SLOW, ("GET",), False, otherwise=504)

    def test_silence_everywhere_is_a_504(self):
        servers = [self.record(fall_silent) for _ in range(2)]
        p = self.proxy(config(*servers, pool=retry("first_byte") + self.SLOW))
        self.assertEqual(self.answer_of(p, get()), 504)
        self.assertEqual([len(s.seen) for s in servers], [1, 1])

    # --- statuses

    def test_a_listed_status_is_tried_again(self):
        for code in STATUSES:
            with self.subTest(code=code):
                self.both(status(code), retry(str(code)), ("GET", "PUT"), True, b"content")

    def test_a_status_that_is_not_listed_is_the_answer(self):
        for code in STATUSES:
            with self.subTest(code=code):
                others = ", ".join(str(c) for c in STATUSES if c != code)
                self.both(status(code), retry(others), ("GET",), False, otherwise=code)

    def test_a_status_is_the_answer_to_a_post(self):
        self.both(status(503), retry("503, reset"), UNSAFE, False, b"once", otherwise=503)

    def test_a_status_sends_a_post_again_where_the_pool_says_so(self):
        self.both(status(503), retry("503", ", retry_unsafe_methods: true"), UNSAFE, True, b"twice")

    def test_the_last_answer_is_passed_on_with_its_content(self):
        servers = [self.record(status(503, b"from a server")) for _ in range(3)]
        for count, attempts in ((1, 3), (3, 2), (2, 9)):
            with self.subTest(servers=count, attempts=attempts):
                for s in servers:
                    s.seen.clear()
                p = self.proxy(config(*servers[:count], pool=retry("503", ", attempts: %d" % attempts)))
                r = ask(p, get())
                self.assertEqual((r.status, r.body), (503, b"from a server"))
                self.assertEqual(sum(len(s.seen) for s in servers), min(count, attempts))
                p.stop()

    def test_a_discarded_answer_that_is_whole_leaves_its_connection_in_use(self):
        bad, good = self.record(status(503)), self.record(answer(OK))
        p = self.proxy(config(bad, good, pool=retry("503")))
        self.warm(p)
        with p.connect() as c:
            r = Reader(c)
            for i in range(6):
                c.sendall(get("/%d" % i))
                self.assertEqual(r.response().status, 200)
        self.assertEqual([s[1] for s in good.seen], ["/%d" % i for i in range(6)])
        self.assertGreaterEqual(len(bad.seen), 3)
        self.assertEqual((len(bad.received), len(good.received)), (1, 1))

    def test_a_discarded_answer_that_goes_on_never_mixes_with_another(self):
        for raw in (b"HTTP/1.1 503 X\r\nContent-Length: 500000\r\n\r\n" + b"x" * 500000,
                    b"HTTP/1.1 503 X\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
                    b"HTTP/1.1 503 X\r\nContent-Length: 2\r\n\r\nno" + OK,
                    b"HTTP/1.1 503 X\r\n\r\nuntil the close"):
            with self.subTest(raw=raw[:50]):
                def then(conn, raw=raw):
                    conn.sendall(raw)
                    return False
                bad, good = self.record(then), self.record(answer(OK))
                p = self.proxy(config(bad, good, pool=retry("503")))
                self.warm(p)
                with p.connect() as c:
                    r = Reader(c)
                    for i in range(4):
                        c.sendall(get("/%d" % i))
                        got = r.response()
                        self.assertEqual((got.status, got.body), (200, b"ok"))
                self.assertEqual(len(good.seen), 4)
                self.assertGreaterEqual(len(bad.seen), 2)
                p.stop()

    # --- content that is held

    def resent(self, content, raw, pool, first=0):
        """A PUT that the first server takes whole (or `first` bytes of) and then breaks; what did the second get?"""
        def take(conn, n):
            head, rest = bad.read_head(conn, n)
            if b" /skip " in head:
                conn.sendall(OK)
                return
            want = first or len(content)
            while len(rest) < want:
                more = conn.recv(65536)
                if not more:
                    break
                rest += more
            got.append(rest)
            reset(conn)
        got = []
        bad = self.serve(take)
        good = self.record(answer(OK))
        p = self.proxy(config(bad, good, pool=pool))
        path = b"/"
        with p.connect() as c:
            c.settimeout(PATIENCE_S)
            for i in range(2):
                path = b"/%d" % i
                c.sendall(raw.replace(b"/path", path))
                code = Reader(c).response().status
                if got:
                    break
        self.assertEqual(len(got), 1)
        arrived = [s[2] for s in good.seen if s[1].encode() == path]
        p.stop()
        return code, arrived

    def put(self, content):
        return b"PUT /path HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s" % (len(content), content)

    def test_a_put_is_sent_again_whole_while_its_content_is_held(self):
        for size in (1, 8191, 8192, 16384, 16385, 40960, 65000):
            with self.subTest(size=size):
                content = pattern(size)
                code, arrived = self.resent(content, self.put(content), retry("reset"))
                self.assertEqual((code, len(arrived)), (200, 1))
                self.assertEqual(arrived[0], content)

    def test_a_large_put_is_not_sent_again_and_nothing_of_it_arrives_elsewhere(self):
        for size in (65536, 102400, 3000000):
            with self.subTest(size=size):
                content = pattern(size)
                code, arrived = self.resent(content, self.put(content), retry("reset"))
                self.assertEqual((code, arrived), (502, []))

    def test_content_of_unknown_length_is_held_too(self):
        content = pattern(40960)
        chunks = b"".join(b"%x\r\n%s\r\n" % (len(c), c)
                          for c in (content[i:i + 3000] for i in range(0, len(content), 3000))) + b"0\r\n\r\n"
        raw = b"PUT /path HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks
        code, arrived = self.resent(content, raw, retry("reset"), first=40960)
        self.assertEqual((code, len(arrived)), (200, 1))
        whole, rest = b"", arrived[0]
        while not rest.startswith(b"0\r\n"):
            size, rest = rest.split(b"\r\n", 1)
            whole += rest[:int(size, 16)]
            rest = rest[int(size, 16) + 2:]
        self.assertEqual(whole, content)

    def test_content_of_unknown_length_beyond_that_is_not_sent_again(self):
        chunks = b"".join(b"%x\r\n%s\r\n" % (8000, b"x" * 8000) for _ in range(20)) + b"0\r\n\r\n"
        raw = b"PUT /path HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks
        code, arrived = self.resent(b"", raw, retry("reset"), first=160000)
        self.assertEqual((code, arrived), (502, []))

    def test_a_server_that_breaks_in_the_middle_of_an_upload_does_not_cut_it(self):
        """The rest of the content comes after the retry, and goes where its beginning went."""
        content = pattern(50000)

        def take(conn, n):
            bad.read(conn, n)
            reset(conn)
        bad, good = self.serve(take), self.record(answer(OK))
        p = self.proxy(config(bad, good, pool=retry("reset, connect")))
        for i in range(2):
            with p.connect() as c:
                raw = self.put(content).replace(b"/path", b"/%d" % i)
                for at in range(0, len(raw), 10000):
                    c.sendall(raw[at:at + 10000])
                    time.sleep(0.05)
                self.assertEqual(Reader(c).response().status, 200)
        self.assertEqual([s[2] for s in good.seen], [content, content])
        self.assertGreaterEqual(len(bad.received), 1)

    def test_a_held_request_keeps_its_head_and_its_path(self):
        """The head moves with the content; what was rewritten and what was not are sent the same twice."""
        content = pattern(30000)
        fields = b"X-One: 1\r\nX-Long: %s\r\nX-Last: end\r\n" % (b"l" * 3000)
        for path in (b"/plain?q=1", b"/a/../n%41me?q=%41"):
            with self.subTest(path=path):
                heads = []

                def take(conn, n):
                    s = servers[len(heads) % 2]
                    head, got, _ = Server.read_request(s, conn, n)
                    heads.append(head)
                    if len(heads) == 1:
                        reset(conn)
                    else:
                        self.assertEqual(got, content)
                        conn.sendall(OK)
                servers = [self.serve(take), self.serve(take)]
                p = self.proxy(config(*servers, pool=retry("reset")))
                raw = b"PUT %s HTTP/1.1\r\nHost: a\r\n%sContent-Length: %d\r\n\r\n%s" % (
                    path, fields, len(content), content)
                self.assertEqual(self.answer_of(p, raw), 200)
                self.assertEqual(len(heads), 2)
                self.assertEqual(heads[0], heads[1])
                self.assertIn(fields, heads[1])
                p.stop()

    def test_a_client_is_told_to_continue_once(self):
        content = pattern(30000)
        bad, good = self.record(hang_up), self.record(answer(OK))
        p = self.proxy(config(bad, good, pool=retry("reset")))
        for _ in range(2):
            with p.connect() as c:
                r = Reader(c)
                c.sendall(b"PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 30000\r\n\r\n")
                self.assertEqual(r.response().status, 100)
                c.sendall(content)
                self.assertEqual(r.response().status, 200)
        self.assertEqual([s[2] for s in good.seen], [content] * 2)
        self.assertGreaterEqual(len(bad.seen), 1)

    def test_pipelined_requests_behind_held_content_stay_in_order(self):
        content = pattern(30000)
        bad, good = self.record(hang_up), self.record(answer(OK))
        p = self.proxy(config(bad, good, pool=retry("reset, connect")))
        self.warm(p)
        with p.connect() as c:
            r = Reader(c)
            c.sendall(b"".join(request("PUT", content, "/%d" % i) for i in range(6)))
            for _ in range(6):
                self.assertEqual(r.response().status, 200)
        self.assertEqual([s[1:] for s in good.seen], [("/%d" % i, content) for i in range(6)])

    # --- the race of a kept connection

    def stale(self, method, content):
        """A kept connection that the server resets just when a request comes."""
        def then(conn):
            if len(s.seen) % 2 == 0:
                return hang_up(conn)
            conn.sendall(OK[:-2] if method == "HEAD" else OK)
        s = self.record(then)
        p = self.proxy(config(s))
        with p.connect() as c:
            r = Reader(c)
            c.sendall(request(method, content, "/first"))
            self.assertEqual(r.response(method).status, 200)
            c.sendall(request(method, content, "/second"))
            code = r.response(method).status
        arrived = [x for x in s.seen if x[1] == "/second"]
        self.assertTrue(all(x[2] == content for x in arrived))
        return code, len(arrived)

    def test_a_kept_connection_that_closes_under_a_request_is_tried_again(self):
        for method in SAFE:
            with self.subTest(method=method):
                self.assertEqual(self.stale(method, b"content"), (200, 2))

    def test_a_kept_connection_that_closes_does_not_use_up_the_other_servers(self):
        """The server closes and is gone, as one that was killed: its kept connection, a refusal, the other server."""
        def then(conn):
            if len(dying.seen) == 1:
                return conn.sendall(OK)
            dying.sock.shutdown(socket.SHUT_RDWR)
            dying.sock.close()
            return hang_up(conn)
        for attempts in (2, 3):
            with self.subTest(attempts=attempts):
                dying, good = self.record(then), self.record(answer(OK))
                p = self.proxy(config(dying, good, pool=retry("connect, stale_connection", ", attempts: %d" % attempts)))
                self.warm(p)
                with p.connect() as c:
                    r = Reader(c)
                    for i in range(8):
                        c.sendall(get("/%d" % i))
                        self.assertEqual(r.response().status, 200, i)
                self.assertEqual(len(dying.seen), 2)
                p.stop()

    def test_a_500_that_is_listed_counts_against_the_server_and_one_that_is_not_does_not(self):
        for on in ("500", "502"):
            with self.subTest(on=on):
                bad, good = self.record(status(500)), self.record(answer(OK))
                p = self.proxy(config(bad, good, pool=retry(on) + "\npassive: {failures: 3}"))
                self.warm(p)

                def ejected():
                    self.answer_of(p, get())
                    return p.status()["pools"]["web"]["servers"]["s0"]["health"].startswith("ejected")
                if on == "500":
                    self.eventually(ejected)
                else:
                    self.assertFalse(any(ejected() for _ in range(20)))
                    self.assertGreaterEqual(len(bad.seen), 10)
                p.stop()

    def test_a_kept_connection_that_closes_under_a_post_is_neither_a_duplicate_nor_a_loss(self):
        for method in UNSAFE:
            with self.subTest(method=method):
                self.assertEqual(self.stale(method, b"content"), (502, 1))

    def test_a_post_race_is_answered_and_done_at_most_once_over_and_over(self):
        """A server that closes each connection at a time of its own: every POST has an answer, 200 means done once,
        502 at most once."""
        def script(conn, n):
            rest = b""
            conn.settimeout(0.002 + n % 7 * 0.001)
            while True:
                head, content, rest = s.read_request(conn, n, rest)
                if head is None:
                    return
                done.append(content)
                conn.sendall(OK)
        done = []
        s = self.serve(script)
        p = self.proxy(config(s))
        answers = {}
        for i in range(400):
            name = b"%05d" % i
            answers[name] = self.answer_of(p, request("POST", name))
            time.sleep(0.0001 * (i % 80))
        for name, code in answers.items():
            self.assertIn(code, (200, 502))
            self.assertLessEqual(done.count(name), 1)
            if code == 200:
                self.assertEqual(done.count(name), 1)
        self.assertEqual(len(answers), 400)

    # --- the budget

    def test_the_budget_stops_a_storm_of_retries(self):
        servers = [self.record(status(503)) for _ in range(3)]
        p = self.proxy(config(*servers, pool=retry("503")))
        n = 200
        with p.connect() as c:
            r = Reader(c)
            for _ in range(n):
                c.sendall(get())
                self.assertEqual(r.response().status, 503)
        arrived = sum(len(s.seen) for s in servers)
        self.assertGreaterEqual(arrived, n + 3)
        self.assertLessEqual(arrived, n + n // 5)
        web = p.status()["pools"]["web"]
        self.assertEqual(web["retries_total"], arrived - n)
        self.assertGreater(web["retries_denied_total"], n // 2)
        # A response is counted when it was sent, which its reader may see first.
        self.eventually(lambda: p.status()["pools"]["web"]["requests_total"] == n)

    def test_three_retries_are_always_there_and_the_fourth_is_denied(self):
        bad, good = self.record(hang_up), self.record(answer(OK))
        p = self.proxy(config(bad, good, pool=retry("reset")))
        codes = []
        while len(bad.seen) < 4:
            codes.append(self.answer_of(p, get()))
        self.assertEqual(codes.count(502), 1)
        self.assertEqual(codes[-1], 502)
        web = p.status()["pools"]["web"]
        self.assertEqual((web["retries_total"], web["retries_denied_total"]), (3, 1))

    def test_kept_connections_that_close_are_outside_the_budget(self):
        s = self.record(lambda conn: hang_up(conn) if len(s.seen) % 2 == 0 else conn.sendall(OK))
        p = self.proxy(config(s))
        with p.connect() as c:
            r = Reader(c)
            for _ in range(12):
                c.sendall(get())
                self.assertEqual(r.response().status, 200)
        web = p.status()["pools"]["web"]
        self.assertEqual((web["retries_total"], web["retries_denied_total"]), (11, 0))

    def test_the_log_says_how_often(self):
        bad, good = self.record(hang_up), self.record(answer(OK))
        p = self.proxy(config(bad, good, pool=retry("reset")))
        for _ in range(2):
            self.assertEqual(self.answer_of(p, get()), 200)
        p.stop()
        with open(p.tmp + "/access.log") as f:
            retries = re.findall(r'"retries":(\d+)', f.read())
        self.assertEqual((len(retries), retries.count("1")), (2, len(bad.seen)))


if __name__ == "__main__":
    unittest.main()
