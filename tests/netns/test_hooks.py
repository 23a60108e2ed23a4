#!/usr/bin/env python3
"""The operator's own programs: told of what happened, in order, with a deadline, and never in the way."""

import atexit
import os
import shutil
import tempfile
import time

from lab import VIP4, VIP6, LabTest, main, wait_for

DIR = tempfile.mkdtemp(prefix="tandem-hooks.")
atexit.register(shutil.rmtree, DIR, ignore_errors=True)
TOLD = """#!/bin/sh
echo "$TANDEM_NODE $TANDEM_HOOK $TANDEM_GROUP $TANDEM_FROM $TANDEM_STATE $1" >>%s/told
""" % DIR
SLOW = """#!/bin/sh
echo "$TANDEM_NODE slow" >>%s/told
sleep 60
""" % DIR


def script(name, text):
    path = os.path.join(DIR, name)
    with open(path, "w", encoding="ascii") as f:
        f.write(text)
    os.chmod(path, 0o755)
    return path


def told():
    try:
        with open(os.path.join(DIR, "told"), encoding="ascii") as f:
            return f.read().splitlines()
    except FileNotFoundError:
        return []


VERDICT = """#!/bin/sh
echo "$TANDEM_NODE $TANDEM_HOOK" >>%s/told
exit $(cat %s/verdict)
""" % (DIR, DIR)


def verdict(code):
    with open(os.path.join(DIR, "verdict"), "w", encoding="ascii") as f:
        f.write("%d" % code)


HOOKS = "".join("  %s: [%s, word]\n" % (hook, script("told.sh", TOLD))
                for hook in ("on_active", "on_standby", "on_fault"))


class Hooks(LabTest):
    config = {"profile": HOOKS}

    def setUp(self):
        super().setUp()
        self.addCleanup(self.heal)

    def test_each_change_of_role_is_told_once_and_in_order(self):
        before = len(told())
        self.a.ask("agent", "switchover")
        self.lab.settle(self.b)
        wait_for("both are told", lambda: len(told()) >= before + 2)
        time.sleep(0.3)
        lines = told()[before:]
        self.assertEqual(sorted(lines), ["lb-a on_standby web HANDOVER DRAINING word",
                                         "lb-b on_active web PROBING ACTIVE word"])

    def test_a_node_that_cannot_serve_is_told_so(self):
        before = len(told())
        self.a.kill("proxy")
        self.b.wait_state("ACTIVE")
        wait_for("told", lambda: "lb-b on_active web PROBING ACTIVE word" in told()[before:])
        wait_for("the fault is told", lambda: any("lb-a on_fault web" in line for line in told()[before:]))

    def test_a_stopping_agent_waits_for_its_hooks(self):
        before = len(told())
        self.assertEqual(self.a.stop("agent"), 0)
        self.assertTrue(any(line.startswith("lb-a on_standby") for line in told()[before:]), told()[before:])

    def test_a_hook_that_hangs_delays_no_move_and_is_stopped(self):
        slow = script("slow.sh", SLOW)
        self.addCleanup(self.lab.config, **self.config)
        self.lab.config(profile="  on_standby: %s\n  on_active: %s\n  hook_timeout: 500ms\n" % (slow, slow))
        for node in (self.a, self.b):
            node.ask("agent", "reload")
        start = time.monotonic()
        self.a.ask("agent", "switchover")
        self.b.wait_state("ACTIVE")
        self.assertLess(time.monotonic() - start, 0.45)
        wait_for("it is stopped", lambda: "not done within 500 ms" in self.b.log_text("agent"), timeout_s=5)
        self.assertTrue(self.b.holds_vip(VIP4) and self.b.holds_vip(VIP6))
        self.lab.config(**self.config)
        for node in (self.a, self.b):
            node.ask("agent", "reload")


class Asked(LabTest):
    """Hooks that the agent waits for."""

    config = {"profile": "  fence_hook: %s\n  claim_hook: %s\n" % (script("fence.sh", VERDICT), script("claim.sh", VERDICT))}

    @classmethod
    def setUpClass(cls):
        verdict(0)
        super().setUpClass()

    def setUp(self):
        super().setUp()
        self.addCleanup(self.heal)
        self.addCleanup(verdict, 0)

    def test_a_silent_peer_is_fenced_before_its_address_is_taken(self):
        before = len(told())
        self.lab.unplug(self.a)
        self.b.wait_state("ACTIVE")
        wait_for("asked", lambda: told()[before:][:2] == ["lb-b fence_hook", "lb-b claim_hook"])

    def test_no_claim_while_the_fence_fails(self):
        verdict(1)
        self.lab.unplug(self.a)
        wait_for("it is said", lambda: any("fence hook" in alarm for alarm in self.b.group()["alarms"]))
        time.sleep(1)
        self.assertNotEqual(self.b.state(), "ACTIVE")
        self.assertFalse(self.b.holds_vip(VIP4))
        verdict(0)
        self.b.wait_state("ACTIVE")

    def test_an_address_whose_claim_hook_fails_is_given_up(self):
        verdict(1)
        self.a.ask("agent", "switchover")
        wait_for("it is said", lambda: any("claim hook" in alarm for alarm in self.b.group()["alarms"]))
        self.assertFalse(self.b.holds_vip(VIP4))
        verdict(0)
        wait_for("somebody serves", lambda: "ACTIVE" in (self.a.state(), self.b.state()))


if __name__ == "__main__":
    main()
