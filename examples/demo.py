#!/usr/bin/env python3
"""What examples/demo shows, once everything is built."""

import os
import shlex
import signal
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "tests", "netns"))

from lab import VIP4, Lab, Pulse, enter, failed, gap_ms, now_us, outcomes, takeover_ms, wait_for  # noqa: E402

RATE = 1000
PICTURE = """
      client                    two load balancers                     two web servers
    +---------+       +---------------------------------------+       +--------------+
    |         |       |  lb-a 10.77.0.2      lb-b 10.77.0.3   |       |  web1, web2  |
    |  curl   | ----> |       \\                 /             | ----> |    (nginx)   |
    |         |       |     one of them owns %s      |       |              |
    +---------+       +---------------------------------------+       +--------------+

A client opens %d connections a second to %s, each with one request. Now things break.
""" % (VIP4, RATE, VIP4)


def say(text=""):
    print(text, flush=True)


class Fault:
    """One thing that breaks, what to expect of it, and how it is mended."""

    def __init__(self, title, why, strike, mend, limit_ms):
        self.title, self.why, self.strike, self.mend, self.limit_ms = title, why, strike, mend, limit_ms


def kill(program):
    def strike(node):
        at_us = now_us()
        node.kill(program, wait=False)
        return at_us
    return strike


def faults(lab):
    return [
        Fault("the proxy is killed (kill -9)",
              "The agent beside it sees that within a millisecond and hands the address to the other node.",
              kill("proxy"), lambda node: node.start_proxy(), 500),
        Fault("the agent is killed (kill -9)",
              "Nobody renews the lease any more: the kernel takes the address away 250 ms after the last heartbeat.\n"
              "   The other node takes it, and what was connected to the living proxy stays connected.",
              kill("agent"), lambda node: node.start_agent(), 1500),
        Fault("the whole node is gone (all its links down)",
              "The other node hears no heartbeat on any path, asks the network whether the address still\n"
              "   answers, and takes it.",
              lab.unplug, lab.plug, 1500),
    ]


def show(lab, number, fault):
    """One fault; returns its row of the table: title, gap in ms, failed, asked, whether all was well."""
    active = lab.active()
    peer = lab.peer_of(active)
    say("%d. On %s, which owns the address, %s." % (number, active.name, fault.title))
    say("   " + fault.why)
    pulse = Pulse(lab.client, rate=RATE)
    time.sleep(0.5)
    at_us = fault.strike(active)
    peer.wait_state("ACTIVE")
    wait_for("the address left " + active.name, lambda: fault.mend == lab.plug or not active.holds_vip())
    time.sleep(0.5)
    samples = pulse.stop()
    gap, lost = gap_ms(samples, at_us), len(failed(samples))
    moved = takeover_ms(samples, at_us, peer.name)
    say("   -> %s answered for the first time after %.0f ms. The longest time without any answer: %.1f ms;"
        % (peer.name, moved, gap))
    kinds = ", ".join("%d %s" % (n, kind) for kind, n in sorted(outcomes(failed(samples)).items()))
    say("      %d of %d requests failed%s." % (lost, len(samples), " (%s)" % kinds if kinds else ""))
    fault.mend(active)
    lab.settle(peer)
    say("   %s is mended and stands by.\n" % active.name)
    return fault.title, gap, lost, len(samples), gap <= fault.limit_ms and moved < 5000


def write_on(lab):
    """A script that runs a command on a machine of the lab, from any other terminal."""
    path = os.path.join(lab.dir, "on")
    with open(path, "w", encoding="utf-8") as f:
        f.write("""#!/bin/sh
# on NODE COMMAND...: runs a command on client, lb-a, lb-b, web1 or web2 of the running demo.
node=$1
shift
pid=%s
for step in 1 2; do read -r pid rest </proc/$pid/task/$pid/children; done
exec nsenter --target $pid --user --preserve-credentials --mount --pid --ipc -- \\
	nsenter --net=/run/netns/$node -- "$@"
""" % os.environ["TANDEM_LAB_OUTER"])
    os.chmod(path, 0o755)
    return path


def keep(lab):
    on = shlex.quote(write_on(lab))
    ctl = os.path.join(os.environ["TANDEM_BUILD"], "ctl/tandemctl")
    say("It goes on running. In another terminal:\n")
    say("  on=%s" % on)
    say("  $on client curl http://%s/                     # a request through the pair" % VIP4)
    for node in (lab.a, lab.b):
        say("  %s status --run-dir %s" % (ctl, node.dir))
    say("  %s switchover --run-dir %s   # move it by hand" % (ctl, lab.active().dir))
    say("  %s events --run-dir %s" % (ctl, lab.a.dir))
    for node in (lab.a, lab.b):
        for program in ("proxy", "agent"):
            say("  $on %s kill -9 %-6d                             # the %s of %s" %
                (node.name, node.programs[program].pid, program, node.name))
    say("  $on switch ip link set lan-lb-a down                  # pull a cable; up again with `up`")
    say("  $on lb-a ip addr show eth0")
    say("  tail -f %s/lb-?/*.log" % lab.dir)
    say("\nCtrl-C ends it.")
    try:
        signal.pause()
    except KeyboardInterrupt:
        say("\nEnding.")


def main():
    enter()
    with Lab() as lab:
        say("Starting the pair ...")
        lab.start_pair()
        say(PICTURE)
        rows = [show(lab, i + 1, fault) for i, fault in enumerate(faults(lab))]
        say("%-46s %14s %18s" % ("what broke", "no answer for", "failed requests"))
        for title, gap, lost, asked, well in rows:
            say("%-46s %11.1f ms %9d of %5d%s" % (title, gap, lost, asked, "" if well else "   TOO LONG"))
        say()
        if "--keep" in sys.argv:
            keep(lab)
    return 0 if all(row[-1] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
