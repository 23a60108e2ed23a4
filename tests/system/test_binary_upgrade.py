#!/usr/bin/python3
"""SIGUSR2 replaces a busy proxy's program, and nobody notices: nothing fails, nothing is reset, what lasts may
finish; a new one that cannot start changes nothing. TANDEM_UPGRADES in the environment makes it more in a row."""
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import unittest

import rig
from rig import PATIENCE_S, Proxy, Reader, ask, free_port
from test_http1 import get
from test_reload import Busy, Change

UPGRADES = int(os.environ.get("TANDEM_UPGRADES", "4"))
CONFIG = """admin: {bind: "127.0.0.1:%d"}
timeouts: {drain: 20s}
listeners: {main: {bind: "127.0.0.1:{port}", pool: web}}
pools:
  web: {servers: {s: "127.0.0.1:%d"}}
"""


class Fresh(Busy):
    """A client that makes a connection for each request."""

    def run(self):
        try:
            while not self.stop.is_set():
                with self.p.connect() as c:
                    self.ask(c, Reader(c))
                self.closed = False
        except Exception as e:
            self.failed = "after %d requests: %r" % (self.done, e)


class Keeping(Busy):
    """One that goes on over a new connection when it was told to close the one it has."""

    def run(self):
        while not self.stop.is_set() and not self.failed:
            self.closed = False
            super().run()


class Upgrading(Change):
    def begin(self, workers=2, program=None, extra="", notify=None):
        self.server = self.echo_server()
        self.admin = free_port()
        text = CONFIG % (self.admin, self.server.port) + extra
        before, env = rig.PROXY, os.environ.get("NOTIFY_SOCKET")
        rig.PROXY = program or before
        if notify:  # with a watchdog that nobody has to beat so soon
            os.environ.update(NOTIFY_SOCKET=notify, WATCHDOG_USEC=str(3600 * 10**6))
        try:
            p = Proxy(text, workers=workers)
        finally:
            rig.PROXY = before
            if notify:
                os.environ.pop("NOTIFY_SOCKET")
                os.environ.pop("WATCHDOG_USEC")
        p.text = text
        self.pids = {p.proc.pid}
        self.addCleanup(self.end, p)
        return p

    def end(self, p):
        """All of its processes: the first is our child, the others are nobody's."""
        try:
            self.pids.add(p.status()["pid"])
        except OSError:
            pass
        for _ in range(2):
            for pid in self.pids:
                try:
                    os.kill(pid, signal.SIGTERM)
                except ProcessLookupError:
                    pass
            time.sleep(0.05)
        p.stop()
        self.assertNotIn("ERROR: AddressSanitizer", p.logged())
        self.assertNotIn("runtime error", p.logged())

    def until(self, what, timeout=15):
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            found = what()
            if found:
                return found
            time.sleep(0.01)
        raise AssertionError("it did not happen in time:\n" + self.p.logged()[-3000:])

    def upgrade(self, p):
        """Returns the new process's id, which answers on the socket from then on."""
        self.p = p
        old = p.status()["pid"]
        os.kill(old, signal.SIGUSR2)

        def serves():
            try:
                s = p.status()
            except (OSError, ValueError):  # asked of the old one, which has just ended
                return None
            return s["pid"] != old and (s["upgrade"]["last"] or {}).get("ok") and s["pid"]
        new = self.until(serves)
        self.pids.add(new)
        return new


class Upgrades(Upgrading):
    def failure(self, p, count=1):
        self.p = p
        self.until(lambda: p.status()["upgrade"]["failed_total"] == count)
        s = p.status()
        self.assertEqual(s["pid"], p.proc.pid)
        self.assertFalse(s["upgrade"]["last"]["ok"])
        self.assertEqual(ask(p, get("/x")).status, 200)
        return s["upgrade"]["last"]["why"]

    def test_no_request_fails_over_upgrades_in_a_row(self):
        p = self.begin()
        clients = [Keeping(p, i) for i in range(6)] + [Fresh(p, i) for i in range(6)]
        tunnel, r = self.tunnel(p)
        slow = p.connect()
        self.addCleanup(slow.close)
        slow.sendall(get("/slow"))
        for i in range(UPGRADES):
            time.sleep(0.2)
            self.upgrade(p)
            tunnel.sendall(b"still here %d" % i)
            self.assertEqual(r.exactly(12), b"still here %d" % i)
        self.assertEqual(Reader(slow).response().body, b"/slow")
        time.sleep(0.2)
        for c in clients:
            self.assertFalse(c.end(), c.failed)
        self.assertTrue(all(c.done > 20 for c in clients), [c.done for c in clients])
        self.assertIsNone(p.proc.poll(), "the first one ended before its tunnel")
        tunnel.close()
        self.assertEqual(p.proc.wait(10), 0)

    def test_who_idles_hears_of_it_with_the_next_answer(self):
        p = self.begin()
        with p.connect() as c:
            r = Reader(c)
            c.sendall(get("/before"))
            self.assertEqual(r.response().body, b"/before")
            self.upgrade(p)
            time.sleep(1.5)  # a stop would have closed it
            c.sendall(get("/after"))
            answer = r.response()
            self.assertEqual((answer.body, answer.get("connection")), (b"/after", "close"))
            self.assertEqual(p.proc.wait(10), 0)

    def test_the_old_process_ends_and_the_new_one_has_its_sockets(self):
        p = self.begin()
        before = p.status()
        new = self.upgrade(p)
        self.assertEqual(p.proc.wait(10), 0)
        self.until(lambda: p.status()["upgrade"]["predecessor"] is None)
        s = p.status()
        self.assertEqual((s["pid"], s["draining"], s["upgrade"]["failed_total"]), (new, False, 0))
        self.assertEqual(s["workers"], before["workers"])
        with socket.create_connection(("127.0.0.1", self.admin), PATIENCE_S) as c:
            c.sendall(get("/healthz"))
            self.assertEqual(Reader(c).response().status, 200)
        with open("/proc/%d/environ" % new, "rb") as f:
            self.assertIn(b"TANDEM_UPGRADE=", f.read())  # what exec gave; it is not handed on:
        self.upgrade(p)
        self.assertIn("upgrade.alone", p.logged())

    def test_status_shows_what_the_old_process_has_left(self):
        p = self.begin()
        tunnels = [self.tunnel(p)[0] for _ in range(3)]
        self.upgrade(p)
        left = lambda: (p.status()["upgrade"]["predecessor"], p.status()["upgrade"]["predecessor_connections"])
        self.until(lambda: left() == (p.proc.pid, 3))
        self.upgrade(p)  # the one in the middle has none of its own
        self.until(lambda: left()[1] == 3)
        tunnels.pop().close()
        self.until(lambda: left()[1] == 2)
        shown = subprocess.run([os.path.join(rig.BUILD, "ctl/tandemctl"), "status", "--run-dir", p.tmp],
                               capture_output=True, text=True, check=False).stdout
        self.assertIn("(pid %d)" % p.status()["pid"], shown)
        self.assertIn("has 2 connections left", shown)
        for t in tunnels:
            t.close()
        self.until(lambda: left() == (None, None))

    def test_any_number_of_workers_takes_over_from_any_other(self):
        p = self.begin(workers=4)
        clients = [Fresh(p, i) for i in range(6)]
        for workers in (1, 3, 2):
            p.workers = workers
            p.write(p.text)
            self.upgrade(p)
            self.assertEqual(p.status()["workers"], workers)
            time.sleep(0.2)
        for c in clients:
            self.assertFalse(c.end(), c.failed)
        self.assertEqual(p.proc.wait(10), 0)

    def test_a_bad_configuration_leaves_the_old_process(self):
        p = self.begin()
        kept, r = self.tunnel(p)
        p.write(p.text + "nonsense: 1\n")
        os.kill(p.proc.pid, signal.SIGUSR2)
        self.assertIn("has errors", self.failure(p))
        p.write(p.text)
        kept.sendall(b"ping")
        self.assertEqual(r.exactly(4), b"ping")
        self.upgrade(p)

    def program(self):
        folder = tempfile.mkdtemp(prefix="tandem-")
        self.addCleanup(shutil.rmtree, folder)
        path = os.path.join(folder, "tandem-proxy")
        shutil.copy(rig.PROXY, path)
        return path

    def replace(self, path, text=None):
        """As a package does it: the new file takes the old one's name."""
        if text is None:
            shutil.copy(rig.PROXY, path + ".new")
        else:
            with open(path + ".new", "w") as f:
                f.write(text)
            os.chmod(path + ".new", 0o755)
        os.rename(path + ".new", path)

    def test_a_program_that_was_replaced_by_another_file_is_the_one_that_starts(self):
        path = self.program()
        p = self.begin(program=path)
        self.replace(path)
        self.assertTrue(os.readlink("/proc/%d/exe" % p.proc.pid).endswith("(deleted)"))
        self.assertEqual(os.readlink("/proc/%d/exe" % self.upgrade(p)), path)

    def test_a_broken_program_leaves_the_old_process(self):
        path = self.program()
        p = self.begin(program=path)
        self.replace(path, "#!/bin/sh\nexit 7\n")
        os.kill(p.proc.pid, signal.SIGUSR2)
        self.assertIn("exit status 7", self.failure(p))
        self.replace(path, "#!/bin/sh\nkill -9 $$\n")
        os.kill(p.proc.pid, signal.SIGUSR2)
        self.assertIn("signal 9", self.failure(p, 2))
        os.unlink(path)
        os.kill(p.proc.pid, signal.SIGUSR2)
        self.assertIn("No such file", self.failure(p, 3))
        self.replace(path, "#!/bin/sh\nsleep 20\n")  # meanwhile: no second one, no change, but it can stop
        os.kill(p.proc.pid, signal.SIGUSR2)
        self.until(lambda: "No such file" not in p.logged().split("upgrade.begun")[-1])
        os.kill(p.proc.pid, signal.SIGUSR2)
        self.until(lambda: "upgrade.refused" in p.logged())
        self.assertIn("on its way", p.rpc("reload")["error"]["message"])
        self.assertEqual(p.stop(), 0)

    def test_what_checks_found_is_still_known(self):
        p = self.begin(extra='  dead: {servers: {d: "127.0.0.1:%d", e: "127.0.0.1:%d"}, '
                             'health: {tcp: true, every: 30s}}\n' % (free_port(), free_port()))
        self.p = p
        self.until(lambda: all(s["health"] == "down" for s in p.status()["pools"]["dead"]["servers"].values()))
        before = p.status()["pools"]["dead"]["servers"]["d"]
        self.upgrade(p)
        after = p.status()["pools"]["dead"]["servers"]["d"]
        self.assertEqual((after["health"], after["since"]), (before["health"], before["since"]))

    def test_the_service_manager_is_told_by_the_right_process(self):
        folder = tempfile.mkdtemp(prefix="tandem-")
        self.addCleanup(shutil.rmtree, folder)
        heard = []
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind(folder + "/notify")
            manager.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
            manager.settimeout(PATIENCE_S)
            p = self.begin(notify=folder + "/notify")

            def hear():
                data, control, _, _ = manager.recvmsg(4096, 256)
                pid = int.from_bytes(control[0][2][:4], "little")
                heard.append((pid, data.decode()))
                return heard[-1]

            self.assertEqual(hear(), (p.proc.pid, "READY=1"))
            new = self.upgrade(p)
            self.assertEqual(hear(), (p.proc.pid, "MAINPID=%d" % new))
            self.assertEqual(hear(), (new, "READY=1"))
            self.assertEqual(hear(), (new, "WATCHDOG=1"), "upgrades may follow each other without a beat")
            self.assertEqual(p.proc.wait(10), 0)


if __name__ == "__main__":
    unittest.main()
