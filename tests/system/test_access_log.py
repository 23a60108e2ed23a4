#!/usr/bin/python3
"""The access log where its reader stands still, or is one of several writers."""
import json
import os
import select
import shutil
import tempfile
import threading
import unittest

import rig
from rig import Proxy, Reader, ask
from test_http1 import Case, config, get

REQUESTS = 1500


class Piped(Proxy):
    """Its standard error is a pipe that nobody reads until read() is called."""

    def start(self, wait=True):
        self.log.close()
        self.pipe, writes = os.pipe()
        self.log = os.fdopen(writes, "wb")
        super().start(wait)
        self.log.close()

    def read(self):
        """All of it, in the background, until the program has ended."""
        def run():
            with open(self.pipe, "rb") as f:
                self.text = f.read()
        self.reader = threading.Thread(target=run)
        self.reader.start()

    def logged(self):
        self.reader.join(rig.PATIENCE_S)
        return self.text.decode()


class Standstill(Case):
    def serve_and_ask(self, p, count):
        with p.connect() as c:
            r = Reader(c)
            for i in range(count):
                c.sendall(get("/%d" % i, "User-Agent: %s\r\n" % ("x" * 200)))
                self.assertEqual(r.response().status, 200)

    def test_a_reader_of_stderr_that_stands_still_stops_no_request(self):
        p = Piped(config(self.serve()).replace("{tmp}/access.log", "stderr"), workers=2)
        self.addCleanup(self.stop, p)
        clients = [threading.Thread(target=self.serve_and_ask, args=(p, REQUESTS)) for _ in range(2)]
        for c in clients:
            c.start()
        for c in clients:
            c.join(rig.PATIENCE_S)
        self.assertFalse(any(c.is_alive() for c in clients))
        p.read()
        self.serve_and_ask(p, 1)
        p.stop()
        text = p.logged()
        lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]  # none is torn
        others = [line for line in text.splitlines() if not line.startswith("{")]
        self.assertTrue(all(" tandem-proxy " in line for line in others), others)
        lost = [int(line.split("lost_total=")[1].split()[0]) for line in others if "event=access_log.lost" in line]
        self.assertGreater(len(lines), 100)
        self.assertGreater(max(lost), 100)

    def test_a_named_pipe_that_nobody_reads_is_an_error_and_a_reader_that_leaves_is_not(self):
        path = os.path.join(tempfile.mkdtemp(prefix="tandem-"), "pipe")
        self.addCleanup(shutil.rmtree, os.path.dirname(path))
        os.mkfifo(path)
        text = config(self.serve()).replace("{tmp}/access.log", path)
        alone = Proxy(text, wait=False)
        self.addCleanup(self.stop, alone)
        self.assertNotEqual(alone.proc.wait(rig.PATIENCE_S), 0)
        self.assertIn("cannot write the access log", alone.logged())
        reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        p = self.proxy(text)
        self.assertEqual(ask(p, get()).status, 200)
        self.eventually(lambda: select.select([reader], [], [], 0)[0])
        self.assertEqual(json.loads(os.read(reader, 4096))["target"], "/")
        os.close(reader)
        self.assertEqual(ask(p, get()).status, 200)
        self.eventually(lambda: "access_log.lost" in p.logged())
        self.assertEqual(ask(p, get()).status, 200)


if __name__ == "__main__":
    unittest.main()
