#!/usr/bin/env python3
"""A proxy before real servers and real clients: what passes, what survives a dead server and a reload."""

import hashlib
import json
import os
import signal
import socket
import sys
import time

from lab import (BUILD, SLOW, Lab, LabTest, Pulse, failed, good, main, now_us, outcomes, wait_for)

HERE = os.path.dirname(os.path.abspath(__file__))
NODE = "10.77.0.2"
CONFIG = """listeners:
  http:
    bind: ":80"
    routes:
      - match: {host: odd.example}
        pool: odd
      - match: {path: /only-get, method: [GET]}
        pool: web
      - match: {path: /only-get}
        pool: odd
      - match: {host: nobody.example}
        pool: nobody
      - pool: web
pools:
  web:
    balance: round_robin
    servers:
      web1: {address: "10.77.0.21:8080"}
      web2: {address: "10.77.0.22:8080"}
    health: {http: /healthz, every: 1s}
  odd:
    servers: {o1: {address: "10.77.0.21:9000"}}
  nobody:
    servers: {n1: {address: "10.77.0.21:9"}}
    health: {tcp: true, every: 1s}
log: {access: stderr}
"""


class SingleNode(LabTest):
    """lb-a alone, without an agent: `failover` is not in its file."""

    @classmethod
    def setUpClass(cls):
        cls.lab = lab = Lab()
        try:
            lab.a.write_config(CONFIG)
            for node in lab.web:
                lab.start_web(node)
            lab.web[0].start("origin", sys.executable, os.path.join(HERE, "origin.py"), "9000")
            wait_for("the server with bad habits answers", lambda:
                     lab.curl("http://10.77.0.21:9000/", check=False).returncode == 0)
            lab.a.start_proxy()
            lab.wait_servers(lab.a)
        except BaseException:
            lab.close(True)
            raise

    def curl(self, path, *more, host=None, **keywords):
        named = ["-H", "Host: " + host] if host else []
        return self.lab.curl("http://%s%s" % (NODE, path), *named, *more, **keywords)

    def status_of(self, path, *more, host=None):
        return self.curl(path, "-o", "/dev/null", "-w", "%{http_code}", *more, host=host).stdout

    def raw(self, text, timeout_s=5):
        """Everything that comes back for these bytes, until the proxy closes or is silent."""
        code = ("import socket, sys\n"
                "s = socket.create_connection(('%s', 80), 3)\n"
                "s.sendall(sys.argv[1].encode('latin-1'))\n"
                "s.settimeout(%g)\n"
                "try:\n"
                "    while True:\n"
                "        data = s.recv(65536)\n"
                "        if not data: print('<closed>', end=''); break\n"
                "        sys.stdout.buffer.write(data); sys.stdout.flush()\n"
                "except OSError: pass\n" % (NODE, timeout_s * SLOW))
        return self.client.run(sys.executable, "-c", code, text).stdout

    # --- what passes ---
    def test_requests_are_spread_over_the_servers_in_turn(self):
        seen = [self.curl("/").stdout.split()[0] for _ in range(8)]
        self.assertEqual(sorted(seen), ["web1"] * 4 + ["web2"] * 4)

    def test_the_server_learns_who_asked_and_how(self):
        head = self.curl("/echo", "-H", "X-Forwarded-For: 1.2.3.4", "-H", "Connection: keep-alive, X-Secret",
                         "-H", "X-Secret: 1", "-H", "Proxy-Authorization: x", host="odd.example").stdout.lower()
        self.assertIn("get /echo http/1.1\r\n", head.replace("\n", "\r\n").replace("\r\r", "\r"))
        self.assertIn("host: odd.example", head)
        self.assertIn("x-forwarded-for: 10.77.0.10", head)
        self.assertIn("x-forwarded-proto: http", head)
        self.assertIn("via: 1.1 ", head)
        self.assertRegex(head, "x-request-id: [0-9a-f-]{36}")
        for gone in ("1.2.3.4", "x-secret", "proxy-authorization", "keep-alive"):
            self.assertNotIn(gone, head)

    def test_routes_look_at_host_path_and_method(self):
        self.assertRegex(self.curl("/only-get").stdout, "^web[12] ")
        self.assertEqual(self.curl("/only-get", "-X", "DELETE").stdout, "ok\n")
        self.assertEqual(self.curl("/", host="ODD.example:80").stdout, "ok\n")

    def test_head_has_no_content_and_the_connection_goes_on(self):
        twice = "HEAD / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        answer = self.raw(twice)
        self.assertEqual(answer.count("HTTP/1.1 200"), 2, answer)
        self.assertRegex(answer, r"\nweb[12] 10.77.0.2 a 10.77.0.10\n<closed>$")

    def test_pipelined_requests_are_answered_in_order(self):
        many = "".join("GET /count/%d HTTP/1.1\r\nHost: odd.example\r\n\r\n" % i for i in range(10))
        answer = self.raw(many + "GET /echo HTTP/1.1\r\nHost: odd.example\r\nConnection: close\r\n\r\n")
        self.assertEqual(answer.count("HTTP/1.1 200"), 11, answer)
        self.assertLess(answer.index("\n0\n"), answer.index("GET /echo"))

    def test_bodies_arrive_whole_both_ways_and_both_framings(self):
        body = os.urandom(3 * 1024 * 1024 + 17)
        upload = os.path.join(self.client.dir, "upload")
        with open(upload, "wb") as f:
            f.write(body)
        expected = "%d %s" % (len(body), hashlib.sha256(body).hexdigest())
        for framing in ([], ["-H", "Transfer-Encoding: chunked"]):
            answer = self.curl("/body", "-X", "POST", "--data-binary", "@" + upload, "-H", "Expect:", *framing,
                               host="odd.example").stdout
            self.assertEqual(answer.split()[:2], expected.split(), answer)
        for web in self.lab.web:
            with open(os.path.join(web.dir, "files", "big"), "wb") as f:
                f.write(body)
        fetched = os.path.join(self.client.dir, "fetched")
        self.curl("/files/big", "-o", fetched)
        with open(fetched, "rb") as f:
            self.assertEqual(hashlib.sha256(f.read()).hexdigest(), hashlib.sha256(body).hexdigest())

    def test_a_client_that_asks_first_is_told_to_go_on(self):
        started = time.monotonic()
        answer = self.curl("/body", "-d", "hello", "-H", "Expect: 100-continue", "--expect100-timeout", "4",
                           "-v", host="odd.example")
        self.assertLess(time.monotonic() - started, 3, "curl waited in vain and sent it all the same")
        self.assertIn("HTTP/1.1 100 ", answer.stderr)
        self.assertTrue(answer.stdout.startswith("5 2cf24dba"), answer.stdout)

    def test_a_slow_reader_costs_a_bounded_amount_of_memory(self):
        for web in self.lab.web:
            with open(os.path.join(web.dir, "files", "huge"), "wb") as f:
                f.truncate(256 * 1024 * 1024)

        def resident_kib():
            with open("/proc/%d/status" % self.lab.a.programs["proxy"].pid, encoding="ascii") as f:
                return next(int(line.split()[1]) for line in f if line.startswith("VmRSS"))

        before = resident_kib()
        slow = [self.client.start("slow%d" % i, "curl", "-s", "-o", "/dev/null", "--limit-rate", "100k",
                                  "http://%s/files/huge" % NODE) for i in range(10)]
        time.sleep(1.5)
        after = resident_kib()
        for child in slow:
            child.kill()
            child.wait()
        self.assertLess(after - before, 10 * 512 * SLOW, "KiB more for ten stalled downloads")

    # --- what is refused ---
    def test_what_two_parsers_could_read_in_two_ways_is_refused(self):
        for text in ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                     "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx",
                     "GET / HTTP/1.1\r\nHost: a\r\nX: y\nZ: w\r\n\r\n",
                     "GET / HTTP/1.1\r\nHost : a\r\n\r\n", "GET / HTTP/1.1\r\n\r\n", "rubbish\r\n\r\n"):
            answer = self.raw(text)
            self.assertTrue(answer.startswith("HTTP/1.1 400 "), (text, answer))
            self.assertTrue(answer.endswith("<closed>"), (text, answer))
        self.assertTrue(self.raw("GET /%s HTTP/1.1\r\nHost: a\r\n\r\n" % ("x" * 9000)).startswith("HTTP/1.1 414 "))
        self.assertTrue(self.raw("GET / HTTP/1.1\r\nHost: a\r\nA: %s\r\n\r\n" % ("x" * 17000))
                        .startswith("HTTP/1.1 431 "))
        self.assertTrue(self.raw("TRACE / HTTP/1.1\r\nHost: a\r\n\r\n").startswith("HTTP/1.1 405 "))

    def test_bad_answers_of_a_server_become_a_502_and_short_ones_are_never_padded(self):
        self.assertEqual(self.status_of("/garbage", host="odd.example"), "502")
        self.assertEqual(self.status_of("/close", host="odd.example"), "502")
        half = self.curl("/half", host="odd.example", check=False)
        self.assertIn(half.returncode, (18, 56))  # a partial file; a connection that was reset
        self.assertEqual(half.stdout, "0123456789")

    def test_an_unsafe_request_is_sent_once_and_a_safe_one_is_not_lost(self):
        self.assertEqual(self.status_of("/close", "-X", "POST", "-d", "x", host="odd.example"), "502")
        before = int(self.curl("/count/close", host="odd.example").stdout)
        self.assertEqual(self.status_of("/close", "-X", "POST", "-d", "x", host="odd.example"), "502")
        self.assertEqual(int(self.curl("/count/close", host="odd.example").stdout), before + 1)
        for _ in range(5):  # the kept connection dies under each of these
            self.assertEqual(self.curl("/stale", host="odd.example").stdout, "fresh\n")
            time.sleep(0.06)

    def test_a_pool_with_no_server_left_says_so(self):
        self.assertIn(self.status_of("/", host="nobody.example"), ("502", "503"))

    # --- servers that die ---
    def kill_one_of_two(self, connections):
        pulse = Pulse(self.client, rate=500, connections=connections, timeout_ms=1000, to=NODE)
        time.sleep(1)
        killed_us = now_us()
        self.lab.web[0].kill("nginx")
        dead_us = now_us()
        time.sleep(3)
        self.lab.start_web(self.lab.web[0])
        self.lab.wait_servers(self.lab.a)
        time.sleep(0.5)
        samples = pulse.stop()
        self.assertGreater(len(good(samples)), 1500)
        # The retry matrix: a request whose head had reached the dying server may be lost, no other.
        for sample in failed(samples):
            self.assertEqual(sample.outcome, "502", sample)
            self.assertTrue(sample.start_us <= dead_us and sample.end_us >= killed_us, (killed_us, sample))
        self.assertLessEqual(len(failed(samples)), max(connections, 5), outcomes(samples))
        self.assertNotIn("idle-close", outcomes(samples))
        self.assertEqual({s.server for s in good(samples)[-50:]}, {"web1", "web2"})

    def test_killing_one_of_two_servers_fails_no_get_of_fresh_clients(self):
        self.kill_one_of_two(0)

    def test_killing_one_of_two_servers_fails_no_get_on_kept_connections(self):
        self.kill_one_of_two(20)

    # --- change under load ---
    def reload(self, text):
        self.lab.a.write_config(text)
        return self.lab.a.rpc("proxy", "reload")

    def test_reloads_under_load_fail_nothing_and_close_nothing(self):
        self.addCleanup(self.reload, CONFIG)
        pulses = [Pulse(self.client, rate=300, connections=n, timeout_ms=1000, to=NODE) for n in (0, 30)]
        generation = self.lab.a.ask("proxy", "status")["config"]["generation"]
        for i in range(20):
            time.sleep(0.1)
            changed = CONFIG.replace("every: 1s", "every: %dms" % (500 + 10 * i))
            if i % 2:
                changed = changed.replace("      - match: {host: odd.example}\n        pool: odd\n", "")
            self.assertIn("result", self.reload(changed))
        self.lab.a.programs["proxy"].send_signal(signal.SIGHUP)
        wait_for("the signal reloads too", lambda:
                 self.lab.a.ask("proxy", "status")["config"]["generation"] >= generation + 20)
        for pulse in pulses:
            samples = pulse.stop()
            self.assertGreater(len(samples), 300)
            self.assertEqual(set(outcomes(samples)), {"200"}, outcomes(samples))

    def test_a_reload_keeps_what_is_known_about_the_servers(self):
        self.addCleanup(self.reload, CONFIG)
        before = self.lab.a.ask("proxy", "status")["pools"]["web"]["servers"]["web1"]
        self.assertIn("result", self.reload(CONFIG.replace("every: 1s", "every: 2s")))
        after = self.lab.a.ask("proxy", "status")["pools"]["web"]["servers"]["web1"]
        self.assertEqual(after["since"], before["since"])
        self.assertGreaterEqual(after["requests_total"], before["requests_total"])

    def test_a_bad_file_is_refused_with_every_error_and_the_old_one_runs_on(self):
        self.addCleanup(self.reload, CONFIG)
        before = self.lab.a.ask("proxy", "status")["config"]
        bad = CONFIG.replace("balance: round_robin", "blance: round_robin").replace("every: 1s", "every: 2x", 1)
        answer = self.reload(bad)
        self.assertIn("error", answer)
        after = self.lab.a.ask("proxy", "status")["config"]
        self.assertEqual((after["generation"], after["hash"]), (before["generation"], before["hash"]))
        self.assertFalse(after["last_reload"]["ok"])
        told = "\n".join(after["last_reload"]["errors"])
        self.assertIn("unknown key 'blance'", told)
        self.assertIn("'2x' is not a duration", told)
        log = self.lab.a.log_text("proxy")
        self.assertIn("did you mean 'balance'?", log)
        self.assertRegex(self.curl("/").stdout, "^web")

    def test_the_check_flag_reports_like_a_compiler(self):
        good_file = os.path.join(self.lab.b.dir, "good.yaml")
        with open(good_file, "w", encoding="utf-8") as f:
            f.write(self.lab.config())
        self.lab.a.write_config(CONFIG)
        bad = CONFIG.replace("    balance: round_robin", "    blance: round_robin")
        self.lab.b.write_config(bad)
        line = 1 + bad[:bad.index("blance")].count("\n")
        expected = ("tandem.yaml:%d:5: error: unknown key 'blance' in pool 'web'\n"
                    "%5d |     blance: round_robin\n"
                    "      |     ^~~~~~ did you mean 'balance'?\n" % (line, line))
        for binary in ("proxy/tandem-proxy", "failover/tandem-failover"):
            argv = [os.path.join(BUILD, binary), "--check", "--node", "lb-b", "-c"]
            done = self.lab.b.run(*argv, "tandem.yaml", check=False, cwd=self.lab.b.dir)
            self.assertEqual(done.returncode, 2, done)
            self.assertIn(expected, done.stderr + done.stdout)
            done = self.lab.b.run(*argv, good_file, check=False)
            self.assertEqual((done.returncode, done.stderr), (0, ""), done)
            done = self.lab.b.run(*argv, "/nonexistent.yaml", check=False)
            self.assertEqual(done.returncode, 2, done)
            self.assertIn("/nonexistent.yaml", done.stderr + done.stdout)

    # --- seen from outside ---
    def test_every_request_leaves_one_line_of_json(self):
        self.curl("/log-me?x=1", "-H", "Cookie: secret=1", "-H", "Authorization: Basic c2VjcmV0")
        line = wait_for("the line is there", lambda: next(
            (text for text in self.lab.a.log_text("proxy").splitlines() if "/log-me" in text), None))
        fields = json.loads(line[line.index("{"):])
        self.assertIn(200, fields.values())
        self.assertIn("10.77.0.10", str(fields))
        self.assertNotIn("secret", line)
        self.assertNotIn("c2VjcmV0", line)

    def talk(self, sent, answers=1):
        with self.lab.a.connect("proxy") as s:
            s.sendall(sent)
            with s.makefile("r", encoding="utf-8") as lines:
                return [lines.readline() for _ in range(answers)]

    def test_a_bare_word_is_answered_for_people_to_read(self):
        with self.lab.a.connect("proxy") as s:
            s.sendall(b"status\n")
            s.shutdown(socket.SHUT_WR)
            with s.makefile("r", encoding="utf-8") as lines:
                text = lines.read()
        self.assertGreater(text.count("\n"), 10)
        status = json.loads(text)
        status = status.get("result", status)
        self.assertEqual((status["node"], status["role"]), ("lb-a", "single"))
        self.assertIn("http", status["listeners"])
        self.assertEqual(status["pools"]["web"]["servers"]["web1"]["address"], "10.77.0.21:8080")

    def test_a_bad_line_is_an_error_and_harms_nobody_else(self):
        with self.lab.a.connect("proxy") as other:
            for line in (b'{"jsonrpc":"2.0","id":1,"method":"frobnicate"}\n', b"{\n", b'{"jsonrpc":"2.0","id":7}\n',
                         b'{"jsonrpc":"2.0","id":1,"method":"sta\xff"}\n', b"[" * 70000 + b"\n"):
                try:
                    self.assertIn("error", json.loads(self.talk(line)[0]), line[:80])
                except (ConnectionError, ValueError):
                    self.assertGreater(len(line), 65536, "no answer to %r" % line[:80])
            unknown = json.loads(self.talk(b'{"jsonrpc":"2.0","id":"x","method":"statsu"}\n')[0])
            self.assertEqual(unknown["id"], "x")
            self.assertIn("status", unknown["error"]["message"])
            other.sendall(b'{"jsonrpc":"2.0","id":2,"method":"status"}\n')
            with other.makefile("r", encoding="utf-8") as lines:
                self.assertEqual(json.loads(lines.readline())["id"], 2)

    def test_events_are_numbered_and_tell_of_a_server_that_goes_and_comes(self):
        with self.lab.a.connect("proxy", 15) as s:
            s.sendall(b'{"jsonrpc":"2.0","id":1,"method":"events"}\n')
            with s.makefile("r", encoding="utf-8") as lines:
                self.lab.web[1].kill("nginx")
                seen = []
                while not any("web2" in line and "down" in line for line in seen):
                    seen.append(lines.readline())
                    self.assertTrue(seen[-1], "the stream ended: %s" % seen)
                self.lab.start_web(self.lab.web[1])
                self.lab.wait_servers(self.lab.a)
                seen.append(lines.readline())
        numbers = [event["seq"] for event in map(json.loads, seen) if "seq" in event]
        self.assertEqual(numbers, list(range(numbers[0], numbers[0] + len(numbers))))

    # --- the end of a proxy ---
    def start_again(self):
        if not self.lab.a.running("proxy"):
            self.lab.a.start_proxy()
            self.lab.wait_servers(self.lab.a)

    def test_a_stop_finishes_what_is_under_way(self):
        self.addCleanup(self.start_again)
        proxy = self.lab.a.programs["proxy"]
        slow = self.client.start("late", "curl", "-s", "-H", "Host: odd.example", "http://%s/slow/1500" % NODE)
        time.sleep(0.5)
        proxy.terminate()
        time.sleep(0.3)
        refused = self.curl("/", check=False)
        self.assertEqual(refused.returncode, 7, refused)  # 7: could not connect
        self.assertEqual(slow.wait(timeout=10 * SLOW), 0)
        self.assertTrue(self.client.log_text("late").endswith("late\n"))
        self.assertEqual(proxy.wait(timeout=10 * SLOW), 0)

    def test_two_proxies_on_one_run_directory_is_an_error(self):
        second = self.lab.a.run(*self.lab.a.daemon_argv("proxy"), check=False)
        self.assertNotIn(second.returncode, (0, None))
        self.assertTrue(second.stderr)
        self.assertRegex(self.curl("/").stdout, "^web")


if __name__ == "__main__":
    main()
