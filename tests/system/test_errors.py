#!/usr/bin/python3
"""What `errors` of proxy.sock remembers of malformed messages: who, what and where, and no secret."""
import json
import os
import subprocess
import unittest

from rig import BUILD, ask
from test_http1 import Case, config, get

CTL = os.path.join(BUILD, "ctl", "tandemctl")


def text(entry):
    return [line["text"] for line in entry["lines"]]


class Errors(Case):
    def errors(self, p):
        return p.rpc("errors")["result"]

    def test_a_malformed_request_is_remembered_with_its_place(self):
        p = self.proxy(config(self.serve()))
        self.assertEqual(self.errors(p), {"requests": {"total": 0, "last": []}, "responses": {"total": 0, "last": []}})
        raw = b"GET /a?key=hidden HTTP/1.1\r\nHost: a\r\nCookie: id=hidden\r\nX-A: hid\x01den\r\n\r\n"
        self.assertEqual(ask(p, raw).status, 400)
        requests = self.errors(p)["requests"]
        self.assertEqual(requests["total"], 1)
        e = requests["last"][0]
        self.assertEqual((e["listener"], e["status"], e["reason"], e["part"]), ("main", 400, "control byte", "head"))
        self.assertTrue(e["client"].startswith("127.0.0.1:"), e)
        self.assertEqual(e["at"], raw.index(b"\x01"))
        self.assertEqual(text(e), ["GET /a?key=*** HTTP/1.1\\r\\n", "Cookie: ***\\r\\n", "X-A: ***\\x01***\\r\\n"])
        self.assertEqual([line["at"] for line in e["lines"]], [0, raw.index(b"Cookie"), raw.index(b"X-A")])
        self.assertEqual(e["lines"][2]["caret"], len("X-A: ***"))

    def test_paths_and_content_have_their_place_too(self):
        p = self.proxy(config(self.serve()))
        self.assertEqual(ask(p, b"GET /a%2fb?hidden HTTP/1.1\r\nHost: a\r\n\r\n").status, 400)
        self.assertEqual(ask(p, b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
                                b"6\r\nhidden\r\n+6\r\nhidden\r\n0\r\n\r\n").status, 400)
        path, content = self.errors(p)["requests"]["last"]
        self.assertEqual((path["part"], path["at"]), ("head", len("GET /a")))
        self.assertEqual(path["lines"][0]["caret"], len("GET /a"))
        self.assertEqual((content["part"], content["at"]), ("content", 6))
        self.assertEqual(text(content), ["+***\\r\\n"])

    def test_a_malformed_response_is_remembered_with_its_request(self):
        answers = [b"HTTP/1.1 200 OK\r\nSet-Cookie: id=hidden\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
                   b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nhidden\r\n-6\r\nhidden",
                   b"HTTP/1.1 101 Hello\r\nUpgrade: a\r\nConnection: upgrade\r\n\r\nhidden"]

        def script(conn, n):
            s.read_head(conn, n)
            conn.sendall(answers[n])
            conn.recv(1)
        s = self.serve(script)
        p = self.proxy(config(s))
        for expected in (502, None, 502):
            try:
                self.assertEqual(ask(p, get("/x?y=hidden")).status, expected)
            except (EOFError, ConnectionError):
                self.assertIsNone(expected)
        lengths, content, upgrade = self.errors(p)["responses"]["last"]
        for e in (lengths, content, upgrade):
            self.assertEqual((e["server"], e["address"], e["status"]), ("web/s0", "127.0.0.1:%d" % s.port, 502))
            self.assertEqual(e["request"], "GET /x?y=***")
        self.assertEqual(lengths["reason"], "two different Content-Lengths")
        self.assertEqual(text(lengths)[0], "HTTP/1.1 200***\\r\\n")
        self.assertEqual((content["part"], content["at"]), ("content", 6))
        self.assertIn("101", upgrade["reason"])

    def test_no_secret_is_in_the_answer_or_on_the_terminal(self):
        p = self.proxy(config(self.serve()))
        for raw in (b"GET http://user:hidden@a/?t=hidden HTTP/1.1\r\nHost: a\r\n\r\n",
                    b"GET / HTTP/1.1\r\nHost: a\r\nAuthorization : Basic hidden\r\n\r\n",
                    b"GET / HTTP/1.1\r\nHost: a\r\nCookie: a=hidden\nb=hidden\r\n\r\n",
                    b"GET / HTTP/1.1\r\nHost: a\r\nProxy-Authorization: hidden\r\nX-Key: hidden\r\nBad Name: x\r\n\r\n",
                    b"user=me&password=hidden\r\n\r\n"):
            self.assertEqual(ask(p, raw).status, 400)
        self.assertEqual(self.errors(p)["requests"]["total"], 5)
        self.assertNotIn("hidden", json.dumps(self.errors(p)))
        shown = subprocess.run([CTL, "--run-dir", p.tmp, "errors"], capture_output=True, text=True, timeout=10)
        self.assertEqual(shown.returncode, 0, shown.stderr)
        self.assertIn("malformed requests: 5\n", shown.stdout)
        self.assertIn("Authorization : ***", shown.stdout)
        self.assertNotIn("hidden", shown.stdout)

    def test_a_flood_is_counted_and_only_the_last_are_kept(self):
        p = self.proxy(config(self.serve()), workers=2)
        for i in range(100):
            self.assertEqual(ask(p, b"GET /%d HTTP/1.1\r\n\r\n" % i).status, 400)
        requests = self.errors(p)["requests"]
        self.assertEqual(requests["total"], 100)
        self.assertEqual(len(requests["last"]), 16)
        times = [e["time"] for e in requests["last"]]
        self.assertEqual(times, sorted(times))


if __name__ == "__main__":
    unittest.main()
