#!/usr/bin/python3
"""Routes: what they match, and what they do with a request, told by clients and servers."""
import collections
import re
import time
import unittest

from rig import Reader, ask
from test_http1 import Case, get

CONFIG = """
log: {access: {tmp}/access.log, format: json}
listeners:
  main:
    bind: "127.0.0.1:{port}"
%s
    routes:
%s
pools:
%s
"""


class Routing(Case):
    def route(self, routes, pools=("web",), listener="", pool=""):
        """A proxy with these routes, and a server a pool, which says its pool's name."""
        self.servers = {}
        text = ""
        for name in pools:
            s = self.serve()
            s.script = lambda conn, n, s=s, name=name: s.answer_all(
                conn, n, name.encode(), b"X-Powered-By: junk\r\nServer: x/1\r\n")
            self.servers[name] = s
            text += "  %s: {servers: {s: \"127.0.0.1:%d\"}%s}\n" % (name, s.port, pool)
        lines = "".join("      - %s\n" % r for r in routes)
        return self.proxy(CONFIG % ("".join("    %s\n" % line for line in listener.splitlines()), lines, text))

    def got(self, pool="web", which=-1):
        """The head that the pool's server got last."""
        return self.servers[pool].heads()[which].decode()

    def who(self, p, path="/", extra=""):
        r = ask(p, get(path, extra))
        return r.body.decode() if r.status == 200 else r.status


class Matching(Routing):
    def test_every_condition_takes_what_it_says_and_nothing_else(self):
        p = self.route([
            '{match: {header: {x-beta: "yes"}}, respond: {body: header}}',
            '{match: {header: {x-one: [a, b], x-two: "*"}}, respond: {body: both}}',
            '{match: {header: {user-agent: "~ ^curl/"}}, respond: {body: agent}}',
            '{match: {cookie: {group: next}}, respond: {body: cookie}}',
            '{match: {query: {debug: "1"}}, respond: {body: query}}',
            '{match: {upgrade: websocket}, respond: {body: upgrade}}',
            '{match: {content_type: [application/json, "image/*"]}, respond: {body: type}}',
            '{match: {path: "~ ^/u/[0-9]+$"}, respond: {body: regex}}',
            '{match: {path: [/x, /y/*], host: ["*.example.com", one]}, respond: {body: list}}',
            '{match: {client: 10.0.0.0/8}, respond: {body: inside}}',
            '{pool: web}'], listener="trusted_proxies: [127.0.0.0/8]")
        for expected, path, extra in (
                ("header", "/", "X-Beta: yes\r\n"),
                ("header", "/", "X-Beta: no\r\nX-BETA: yes\r\n"),
                ("web", "/", "X-Beta: Yes\r\n"),
                ("both", "/", "X-One: b\r\nX-Two: \r\n"),
                ("web", "/", "X-One: b\r\n"),
                ("web", "/", "X-One: c\r\nX-Two: 1\r\n"),
                ("agent", "/", "User-Agent: curl/8.1\r\n"),
                ("web", "/", "User-Agent: notcurl/8.1\r\n"),
                ("cookie", "/", "Cookie: a=b; group=next; c=d\r\n"),
                ("web", "/", "Cookie: group=nextt\r\n"),
                ("query", "/?a&debug=1", ""),
                ("web", "/?debug=11", ""),
                ("web", "/?xdebug=1", ""),
                ("upgrade", "/", "Connection: upgrade\r\nUpgrade: WebSocket\r\n"),
                ("web", "/", "Upgrade: websocket\r\n"),
                ("type", "/", "Content-Type: Application/JSON; charset=utf-8\r\n"),
                ("type", "/", "Content-Type: image/png\r\n"),
                ("web", "/", "Content-Type: application/jsonx\r\n"),
                ("regex", "/u/%32", ""),
                ("web", "/u/2x", ""),
                ("inside", "/", "X-Forwarded-For: 10.1.2.3\r\n"),
                ("web", "/", "X-Forwarded-For: 11.1.2.3\r\n")):
            with self.subTest(path=path, extra=extra):
                self.assertEqual(self.who(p, path, extra), expected)
        for host, path, expected in (("a.example.com", "/x", "list"), ("one", "/y/z", "list"), ("two", "/x", "web")):
            r = ask(p, ("GET %s HTTP/1.1\r\nHost: %s\r\n\r\n" % (path, host)).encode())
            self.assertEqual(r.body.decode(), expected)

    def test_the_first_route_in_the_file_wins_also_among_conditions(self):
        p = self.route(['{match: {path: /a, header: {x: "1"}}, respond: {body: one}}',
                        '{match: {header: {x: "*"}}, respond: {body: two}}',
                        '{match: {path: /a}, respond: {body: three}}', '{pool: web}'])
        self.assertEqual(self.who(p, "/a", "X: 1\r\n"), "one")
        self.assertEqual(self.who(p, "/a", "X: 2\r\n"), "two")
        self.assertEqual(self.who(p, "/a"), "three")
        self.assertEqual(self.who(p, "/b"), "web")

    def test_an_expression_that_explodes_gives_up_soon_and_is_no_match(self):
        p = self.route(['{match: {path: "~ ^/(a|aa|a?b?)+$"}, respond: {body: caught}}', '{pool: web}'])
        self.assertEqual(self.who(p, "/aaa"), "caught")
        start = time.monotonic()
        self.assertEqual(self.who(p, "/" + "a" * 3000 + "c"), "web")
        self.assertLess(time.monotonic() - start, 0.5)
        self.assertEqual(p.status()["listeners"]["main"]["regex_gave_up_total"], 1)
        self.assertIn("route.regex", p.logged())


class Acting(Routing):
    def test_redirects_go_where_they_say_with_what_came(self):
        p = self.route([
            '{match: {path: /s/*}, redirect: https}',
            '{match: {path: /w/*}, redirect: {to: "https://www.example.com{path}{query}", status: 301}}',
            '{match: {path: "~ ^/u/([0-9]+)/(.*)$"}, redirect: "/user/$2?id=$1"}',
            '{match: {path: "~ ^/open(/.*)$"}, redirect: {to: "/$1", status: 307}}',
            '{pool: web}'])
        for path, status, where in (
                ("/s/x?a=b", 308, "https://example.com/s/x?a=b"),
                ("/w/x", 301, "https://www.example.com/w/x"),
                ("/w/x?", 301, "https://www.example.com/w/x?"),
                ("/u/17/name", 302, "/user/name?id=17"),
                ("/open//evil.example", 307, "/evil.example")):
            r = ask(p, get(path))
            self.assertEqual((r.status, r.get("location")), (status, where))
        with p.connect() as s:  # without a host there is no URL to be made of it
            s.sendall(b"GET /s/x HTTP/1.0\r\n\r\n")
            self.assertEqual(Reader(s).response().status, 400)
        with self.route(['{redirect: https}']).connect() as s:  # of a server as a whole
            s.sendall(b"OPTIONS * HTTP/1.1\r\nHost: example.com\r\n\r\n")
            self.assertEqual(Reader(s).response().get("location"), "https://example.com/")
        with p.connect() as s:  # the connection lives on
            for _ in range(2):
                s.sendall(get("/s/x"))
                self.assertEqual(Reader(s).response().status, 308)

    def test_fixed_answers_say_what_the_file_says(self):
        p = self.route([
            '{match: {path: /down}, respond: {status: 503, body: "back soon\\n", headers: {retry-after: "120"}}}',
            '{match: {path: /json}, respond: {body: "{\\"a\\": 1}", content_type: application/json}}',
            '{match: {path: /gone}, respond: 410}', '{match: {path: /none}, respond: 204}', '{pool: web}'])
        with p.connect() as s:
            for path, method, status, body, kind in (
                    ("/down", "GET", 503, b"back soon\n", "text/plain; charset=utf-8"),
                    ("/json", "GET", 200, b'{"a": 1}', "application/json"),
                    ("/json", "HEAD", 200, b"", "application/json"),
                    ("/gone", "GET", 410, b"410 Gone\n", "text/plain; charset=utf-8"),
                    ("/none", "GET", 204, b"", None)):
                s.sendall(get(path).replace(b"GET", method.encode()))
                r = Reader(s).response(method)
                self.assertEqual((r.status, r.body, r.get("content-type")), (status, body, kind))
                if path == "/down":
                    self.assertEqual(r.get("retry-after"), "120")
        with open(p.tmp + "/access.log") as log:
            self.eventually(lambda: "proxy answered" in log.read())

    def test_paths_are_rewritten_and_stay_normal(self):
        p = self.route([
            '{match: {path: /api/*}, rewrite: {strip_prefix: /api, add_prefix: /v2}, pool: web}',
            '{match: {path: "~ ^/u/([0-9]+)$"}, rewrite: {path: "/user/$1"}, pool: web}',
            '{match: {path: /r/*}, rewrite: {replace: {pattern: "/old/([a-z]+)", with: "/new-$1"}}, pool: web}',
            '{match: {path: "~ ^/t/(.*)$"}, rewrite: {path: "/a%$1"}, pool: web}',
            '{match: {path: "~ ^/d/x(.*)$"}, rewrite: {path: "/a/b/.$1/c"}, pool: web}', '{pool: web}'])
        for path, target in (("/api/x?y=1", "/v2/x?y=1"), ("/api/", "/v2/"), ("/u/7", "/user/7"),
                             ("/u/7?a", "/user/7?a"), ("/r/a/old/b/old/c", "/r/a/new-b/old/c"), ("/r/n", "/r/n"),
                             ("/t/61", "/aa"), ("/d/x.", "/a/c"), ("/z", "/z")):
            self.assertEqual(self.who(p, path), "web")
            self.assertEqual(self.got().split()[1], target)
        for path in ("/t/2f", "/t/00", "/t/5c", "/t/x"):  # what a client could not have sent
            self.assertEqual(ask(p, get(path)).status, 400)

    def test_fields_and_host_are_rewritten(self):
        p = self.route([
            '{match: {path: "~ ^/(one)/"}, pool: web, rewrite: {path: /new, host: "inside:8080", '
            'request_headers: {set: {x-was: "{path}{query} $1 {client}", x-set: new}, add: {x-add: "2"}, '
            'remove: [cookie]}, '
            'response_headers: {set: {server: tandem}, remove: [x-powered-by], add: {x-price: "$$5"}}}}',
            '{pool: web}'])
        r = ask(p, get("/one/x?y", "Cookie: a=b\r\nX-Set: old\r\nX-SET: older\r\nX-Add: 1\r\nAccept: a\r\n"))
        self.assertEqual((r.get("server"), r.get("x-powered-by"), r.get("x-price")), ("tandem", None, "$5"))
        head = self.got()
        self.assertTrue(head.startswith("GET /new?y HTTP/1.1\r\nHost: inside:8080\r\n"))
        self.assertIn("X-Forwarded-Host: example.com\r\n", head)
        self.assertEqual(re.findall("(?i)x-set: (.*)\r", head), ["new"])
        self.assertEqual(re.findall("(?i)x-add: (.*)\r", head), ["1", "2"])
        self.assertIn("x-was: /one/x?y one 127.0.0.1\r\n", head)
        self.assertNotIn("ookie", head)
        self.assertIn("Accept: a\r\n", head)
        ask(p, get("/one/", "X_Was: 6\r\nx_SET: 6\r\nx-se_: 6\r\n"))  # to many servers the same as ours
        self.assertEqual(re.findall("(?i)x[-_]was: (.*)\r", self.got()), ["/one/ one 127.0.0.1"])
        self.assertEqual(re.findall("(?i)x[-_]se[t_]: (.*)\r", self.got()), ["6", "new"])
        r = ask(p, get("/two/"))  # other routes are left alone
        self.assertEqual((r.get("server"), r.get("x-powered-by")), ("x/1", "junk"))

    def test_pools_get_their_shares(self):
        p = self.route(['{pool: {web: 75%, next: 25%}}'], pools=("web", "next"))
        seen = collections.Counter()
        with p.connect() as s:
            reader = Reader(s)
            for _ in range(800):
                s.sendall(get())
                seen[reader.response().body] += 1
        self.assertAlmostEqual(seen[b"web"], 600, delta=60)  # five standard deviations
        self.assertEqual(sum(seen.values()), 800)

    def test_a_pool_that_is_down_gets_its_share_of_503(self):
        p = self.route(['{pool: {web: 50%, next: 50%}}'], pools=("web", "next"), pool=", when_all_down: 503, health: {tcp: true, every: 100ms}")
        self.servers["next"].kill()
        self.eventually(lambda: ask(p, get()).status == 503)
        self.assertEqual({ask(p, get()).status for _ in range(40)}, {200, 503})

    def test_access_is_by_the_client_and_deny_comes_first(self):
        p = self.route(['{match: {path: /in/*}, allow: [10.0.0.0/8], pool: web}',
                        '{match: {path: /not/*}, allow: [10.0.0.0/8], deny: [10.9.0.0/16], pool: web}', '{pool: web}'],
                       listener="trusted_proxies: [127.0.0.0/8]\ndeny: [192.0.2.0/24]")
        for path, client, status in (("/", "192.0.2.9", 403), ("/", "192.0.3.9", 200), ("/in/", "10.1.1.1", 200),
                                     ("/in/", "11.1.1.1", 403), ("/not/", "10.9.1.1", 403),
                                     ("/not/", "10.8.1.1", 200)):
            r = ask(p, get(path, "X-Forwarded-For: %s\r\n" % client))
            self.assertEqual((path, client, r.status), (path, client, status))


class Explaining(Routing):
    def test_what_is_explained_is_what_happens(self):
        p = self.route([
            '{match: {path: /a, header: {x: "1"}}, respond: {body: one}}',
            '{match: {path: "~ ^/u/([0-9]+)$", cookie: {c: "*"}}, pool: web, rewrite: {path: "/user/$1", '
            'host: inside, request_headers: {set: {x-id: "$1"}}}}',
            '{match: {path: /old/*}, redirect: "{path}/new"}',
            '{match: {path: /no/*}, deny: [127.0.0.0/8], pool: web}',
            '{match: {path: /x/*, client: 127.0.0.0/8}, pool: {web: 40%, next: 60%}}',
            '{match: {method: [GET, POST]}, pool: next}'], pools=("web", "next"))
        for path, headers in (("/a", ["X: 1"]), ("/a", ["X: 2"]), ("/u/7?q", ["Cookie: c=d"]), ("/u/7", []),
                              ("/old/x", []), ("/no/x", []), ("/b", []), ("/%2f", []), ("/./u/8", ["Cookie: c="])):
            said = p.rpc("explain", {"method": "GET", "url": path, "headers": headers})["result"]
            r = ask(p, get(path, "".join(h + "\r\n" for h in headers)))
            with self.subTest(path=path, said=said):
                if "status" in said:
                    self.assertEqual(r.status, said["status"])
                    self.assertEqual(r.get("location"), said.get("location"))
                    continue
                pool = r.body.decode()
                self.assertEqual([one["pool"] for one in said["pools"]], [pool])
                if "sent" in said:
                    query = said["sent"]["query"]
                    self.assertEqual(said["sent"]["path"] + ("?" + query if query is not None else ""),
                                     self.got(pool).split()[1])
                    self.assertIn(said["request_headers"]["put"][0], self.got(pool))
        said = p.rpc("explain", {"method": "PUT", "url": "http://h:%d/z" % p.port, "from": "10.0.0.1"})["result"]
        self.assertEqual(said["status"], 404)
        self.assertEqual([over["why"] for over in said["passed_over"]][-1], "the method is another")
        self.assertEqual(said["passed_over"][4]["why"], "the path is not /x/*")
        said = p.rpc("explain", {"url": "/x/1"})["result"]
        self.assertEqual([(one["pool"], one["share_pct"]) for one in said["pools"]], [("web", 40), ("next", 60)])
        self.assertTrue(said["pools"][0]["servers"][0]["can_serve"])
        self.assertEqual(said["pools"][0]["chosen"], {"server": "s", "by": "the only one"})

        for headers in ({"X": "1"}, ["X: 1"]):
            said = p.rpc("explain", {"method": "GET", "url": "HTTP://h/a", "headers": headers})["result"]
            self.assertEqual(said["route"]["route"], 1)

    def test_a_question_that_makes_no_sense_is_refused_in_words(self):
        p = self.route(['{pool: web}'])
        for question, words in (({"method": "GET"}, "'url' is missing"), ({"url": "x"}, "is not a URL"),
                                ({"url": "/", "headers": ["a: b\r\nc: d"]}, "is not a header"),
                                ({"url": "/", "headers": {"a": "b\r\nc: d"}}, "not one line"),
                                ({"url": "/ HTTP/1.1\r\na: b"}, "one line each"),
                                ({"url": "/", "from": 7}, "client's IP address"),
                                ({"url": "/", "from": "me"}, "from: "),
                                ({"url": "/", "listener": "other"}, "there is no listener 'other'")):
            self.assertIn(words, p.rpc("explain", question)["error"]["message"])
        self.assertEqual(p.rpc("explain", {"url": "/", "method": "A B"})["result"]["status"], 400)

    def test_the_server_that_a_hash_would_choose_is_the_one_that_serves(self):
        servers = [self.serve() for _ in range(4)]
        for i, s in enumerate(servers):
            s.script = lambda conn, n, s=s, i=i: s.answer_all(conn, n, b"s%d" % i)
        p = self.proxy(CONFIG % (
            "    trusted_proxies: [127.0.0.0/8]\n", "      - pool: web\n",
            "  web: {balance: hash client_ip, servers: {%s}}\n" % ", ".join(
                's%d: "127.0.0.1:%d"' % (i, s.port) for i, s in enumerate(servers))))
        for i in range(12):
            said = p.rpc("explain", {"url": "/", "from": "10.0.0.%d" % i})["result"]
            r = ask(p, get("/", "X-Forwarded-For: 10.0.0.%d\r\n" % i))
            self.assertEqual(said["pools"][0]["chosen"], {"server": r.body.decode(), "by": "hash"})


class Refusing(Routing):
    def test_a_wrong_route_is_told_with_what_would_be_right(self):
        p = self.route(['{pool: web}'])
        with open(p.file) as f:
            good = f.read()
        for route, words in (
                ('{match: {path: "~ ^/(x"}, pool: web}', "is not a regular expression: missing closing parenthesis"),
                ('{match: {path: ["~ ^/x", /y]}, pool: web}', "stands alone"),
                ('{match: {content_type: json}, pool: web}', "is not a media type"),
                ('{redirect: "www.example.com"}', "write https, a URL"),
                ('{redirect: "//evil"}', "write https, a URL"),
                ('{redirect: "/{user}"}', "the words in braces are"),
                ('{redirect: "/$1"}', "there is none"),
                ('{match: {path: "~ ^/(x)"}, redirect: "/$2"}', "fewer groups"),
                ('{redirect: {to: https, status: 200}}', "is not a word for this"),
                ('{pool: web, rewrite: {path: "/x?y"}}', "a path has no '?'"),
                ('{pool: web, rewrite: {host: "a/b"}}', "write host or host:port"),
                ('{pool: web, rewrite: {request_headers: {set: {content-length: "1"}}}}', "where the content ends"),
                ('{pool: web, rewrite: {request_headers: {remove: [transfer_encoding]}}}', "cannot be changed"),
                ('{pool: web, rewrite: {request_headers: {set: {connection: x}}}}', "for one connection"),
                ('{pool: web, rewrite: {request_headers: {set: {host: x}}}}', "Tandem sets it"),
                ('{pool: web, rewrite: {request_headers: {set: {x: "a\\nb"}}}}', "without control characters"),
                ('{respond: {headers: {x: "a\\rb"}}}', "without control characters"),
                ('{respond: {status: 204, body: x}}', "has no content"),
                ('{respond: {headers: {content-type: x}}}', "key of its own")):
            with self.subTest(route=route):
                with open(p.file, "w") as f:
                    f.write(good.replace("- {pool: web}", "- " + route))
                result = p.rpc("check")["result"]
                self.assertFalse(result["ok"])
                self.assertIn(words, "\n".join(result["errors"]))


if __name__ == "__main__":
    unittest.main()
