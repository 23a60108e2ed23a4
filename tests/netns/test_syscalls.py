#!/usr/bin/env python3
"""What a request costs in system calls: two reads, two writes, and a share of one epoll_wait; nothing else grows."""

import re
import shutil
import sys
import unittest

from lab import SLOW, Lab, Pulse, main, outcomes, wait_for

REQUESTS = 10000
CONNECTIONS = 16
READS = {"read", "readv", "recvfrom", "recvmsg"}
WRITES = {"write", "writev", "sendto", "sendmsg"}
WAITS = {"epoll_wait", "epoll_pwait", "epoll_pwait2"}
CONFIG = """workers: 1
listeners:
  http: {bind: ":80", routes: [{pool: web}]}
pools:
  web:
    servers: {web1: {address: "10.77.0.21:8080"}}
log: {access: off}
"""


def strace_counts(text):
    """{syscall: calls} of the table that strace -c prints."""
    counts = {}
    for line in text.splitlines():
        columns = line.split()
        if len(columns) >= 5 and re.fullmatch(r"[0-9.]+", columns[0]) and columns[-1] != "total":
            counts[columns[-1]] = int(columns[3])
    return counts


@unittest.skipIf(shutil.which("strace") is None, "strace is not installed")
class Syscalls(unittest.TestCase):
    def test_a_kept_request_is_two_reads_and_two_writes(self):
        with Lab(timed=True) as lab:
            lab.a.write_config(CONFIG)
            lab.start_web(lab.web[0])
            lab.a.start_proxy()
            lab.wait_servers(lab.a, up=1)
            Pulse(lab.client, rate=0, connections=CONNECTIONS, to="10.77.0.2", timeout_ms=5000,
                  more=["--count", 200]).wait()  # warm: buffers and server connections exist
            table = lab.a.dir + "/strace"
            strace = lab.a.start("strace", "strace", "-c", "-f", "-o", table,
                                 "-p", lab.a.programs["proxy"].pid)
            wait_for("strace is attached", lambda: "attached" in lab.a.log_text("strace"))
            samples = Pulse(lab.client, rate=0, connections=CONNECTIONS, to="10.77.0.2", timeout_ms=20000,
                            more=["--count", REQUESTS]).wait()
            lab.a.kill("strace", 2)  # SIGINT: detach and print
            with open(table, encoding="utf-8") as f:
                counts = strace_counts(f.read())
            del strace, lab.a.programs["strace"]
        self.assertEqual(outcomes(samples), {"200": REQUESTS})
        print(file=sys.stderr)
        for name, calls in sorted(counts.items(), key=lambda pair: -pair[1]):
            print("    %-16s %7d  %8.4f a request" % (name, calls, calls / REQUESTS), file=sys.stderr)
        # Checks, beats, the new clients' connections and timers: a few calls that do not grow with requests.
        others = REQUESTS // 20 * SLOW
        self.assertAlmostEqual(sum(counts.get(n, 0) for n in READS), 2 * REQUESTS, delta=others)
        self.assertAlmostEqual(sum(counts.get(n, 0) for n in WRITES), 2 * REQUESTS, delta=others)
        self.assertLess(sum(counts.get(n, 0) for n in WAITS), 2 * REQUESTS + others)
        for name, calls in counts.items():
            if name not in READS | WRITES | WAITS:
                self.assertLess(calls, others, "%s grows with the requests" % name)


if __name__ == "__main__":
    main()
