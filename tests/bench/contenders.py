"""Who is compared when something fails: a pair of Tandem, and keepalived with haproxy, on the same two nodes.

A contender starts and stops itself on a Lab, says who is active, knows its processes by role ("proxy",
"agent"), moves as planned, and can be brought back to well after anything that was done to it.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time

import lab as labs
import machine
from lab import NODES, VIP4, VIP6, wait_for

STREAM_PORT = 8090
FAMILIES = ((VIP4, "24"), (VIP6, "64"))

# /pulse goes to nginx, which says who asked it; all else to origin.py, which can trickle, take and tunnel.
TANDEM_PROXY = """listeners:
  http:
    bind: ":80"
    routes:
      - match: {path: /pulse}
        pool: web
      - pool: streams
pools:
  web:
    balance: round_robin
    servers:
      web1: {address: "10.77.0.21:8080"}
      web2: {address: "10.77.0.22:8080"}
    health: {http: /healthz, every: 1s}
  streams:
    servers:
      web1: {address: "10.77.0.21:%d"}
      web2: {address: "10.77.0.22:%d"}
    health: {http: /echo, every: 1s}
log: {access: off}
""" % (STREAM_PORT, STREAM_PORT)

HAPROXY = """global
    maxconn 8000
    nbthread 1
defaults
    mode http
    timeout connect 2s
    timeout client 60s
    timeout server 60s
    timeout tunnel 1h
    option http-keep-alive
    option redispatch
    retries 3
    http-reuse always
    default-server check inter 1s fall 2 rise 2
frontend http
    bind :80
    bind :::80 v6only
    monitor-uri /alive
    use_backend web if { path /pulse }
    default_backend streams
backend web
    option httpchk GET /healthz
    server web1 10.77.0.21:8080
    server web2 10.77.0.22:8080
backend streams
    option httpchk GET /echo
    server web1 10.77.0.21:%d
    server web2 10.77.0.22:%d
""" % (STREAM_PORT, STREAM_PORT)

# What vrrp_script and track_process would find out comes through a tracked file: keepalived cannot start
# scripts in a user namespace (setgroups is not allowed there), and the kernel's process events reach none.
KEEPALIVED = """global_defs {
    vrrp_version 3
    vrrp_garp_master_refresh 10
}
vrrp_track_file haproxy {
    file "%(verdict)s"
    weight 1
}
vrrp_instance web {
    state BACKUP
    nopreempt
    interface eth0
    virtual_router_id 51
    priority %(priority)d
    advert_int %(advertise)g
    virtual_ipaddress {
        10.77.0.100/24
    }
    virtual_ipaddress_excluded {
        fd77::100/64
    }
    track_file {
        haproxy
    }
}
"""

# track_process, and a vrrp_script with `interval 1`, `timeout 1`, `fall 2` and `rise 2` that asks haproxy for
# an answer: PROCESS FILE CURL. Ends with the process.
MINDER = """
import os, select, subprocess, sys
process, verdict, curl = int(sys.argv[1]), sys.argv[2], sys.argv[3]

def say(weight):
    with open(verdict, "w") as f:
        f.write("%d\\n" % weight)

pidfd, good, bad = os.pidfd_open(process), 0, 0
while not select.select([pidfd], [], [], 1)[0]:
    ok = subprocess.run([curl, "-sf", "-o", "/dev/null", "-m", "0.9", "http://127.0.0.1/alive"]).returncode == 0
    good, bad = (good + 1, 0) if ok else (0, bad + 1)
    if bad == 2:
        say(-254)
    if good == 2:
        say(0)
say(-254)
"""


class Contender:
    """death_s: within which a dead node or agent is replaced; hang_s: a frozen proxy. Both with something to spare."""

    name = ""
    programs = ()

    def __init__(self, lab, death_s, hang_s):
        self.lab, self.death_s, self.hang_s = lab, death_s, hang_s

    def nodes(self):
        return (self.lab.a, self.lab.b)

    def signal(self, node, role, sig):
        """To all processes of the role as if at once: a parent cannot react to what becomes of its child, or
        the other way round."""
        pids = self.pids(node, role)
        for each in (signal.SIGSTOP, sig) if sig == signal.SIGKILL else (sig,):
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, each)

    def stop(self):
        """Ends everything, politely where that works, and leaves the nodes as they were."""
        for node in self.nodes():
            for role in ("agent", "proxy"):
                self.signal(node, role, signal.SIGCONT)
            for program in [p for p in self.programs if p in node.programs]:
                node.programs[program].terminate()
        for node in self.nodes():
            for program in [p for p in self.programs if p in node.programs]:
                child = node.programs.pop(program)
                try:
                    child.wait(timeout=5 * labs.SLOW)
                except subprocess.TimeoutExpired:
                    child.kill()
                    child.wait()
            self.clean(node)

    @staticmethod
    def clean(node):
        """No address, rule or setting of anybody is left."""
        for address, length in FAMILIES:
            for interface in ("eth0", "lo"):
                for prefix in (length, "32" if length == "24" else "128"):
                    node.run("ip", "addr", "del", "%s/%s" % (address, prefix), "dev", interface, check=False)
        node.run("nft", "flush", "ruleset", check=False)
        for key in ("arp_ignore", "arp_announce"):
            node.sysctl("net.ipv4.conf.eth0." + key, 0)

    def answers(self):
        return all(self.lab.curl("http://%s/pulse" % vip, check=False).returncode == 0
                   for vip in (VIP4, "[%s]" % VIP6))


class Tandem(Contender):
    programs = ("agent", "proxy")

    def __init__(self, lab, profile, death_s, hang_s):
        super().__init__(lab, death_s, hang_s)
        self.profile = profile
        self.name = "tandem-" + profile

    @staticmethod
    def missing():
        return []

    @staticmethod
    def version():
        return machine.first_line(os.path.join(labs.BUILD, "failover/tandem-failover"), "--version")

    def start(self):
        self.lab.start_pair(proxy=TANDEM_PROXY, profile="  profile: %s\n" % self.profile)

    def pids(self, node, role):
        return [node.programs[role].pid] if node.running(role) else []

    def active(self):
        return self.lab.active()

    def move(self, node):
        node.ask("agent", "switchover")

    def reboot(self, node):
        """As after a power cut: nothing of before runs or is configured; nothing is started."""
        for role in ("agent", "proxy"):
            self.signal(node, role, signal.SIGKILL)
        self.clean(node)

    def revive(self, node):
        for role, start in (("proxy", node.start_proxy), ("agent", node.start_agent)):
            if node.running(role):
                self.signal(node, role, signal.SIGCONT)
            else:
                start()

    def settle(self):
        for node in self.nodes():
            node.forgive()
        self.lab.settle()
        wait_for("the address answers", self.answers)


class Keepalived(Contender):
    programs = ("keepalived", "haproxy", "minder")

    def __init__(self, lab, advertise_s):
        # three advertisements and the skew; a script finds out within three seconds.
        super().__init__(lab, 3 * advertise_s + 0.1, 3.5)
        self.advertise_s = advertise_s
        self.name = "keepalived-%dms" % round(advertise_s * 1000)

    @staticmethod
    def missing():
        return [p for p in ("keepalived", "haproxy", "curl") if not machine.tool(p)]

    @staticmethod
    def version():
        return "%s; %s" % (subprocess.run([machine.tool("keepalived"), "--version"], capture_output=True, text=True,
                                          check=False).stderr.split("\n")[0],
                           machine.first_line(machine.tool("haproxy"), "-v"))

    def start(self):
        for node in self.nodes():
            with open(os.path.join(node.dir, "haproxy.cfg"), "w", encoding="utf-8") as f:
                f.write(HAPROXY)
            with open(os.path.join(node.dir, "keepalived.conf"), "w", encoding="utf-8") as f:
                f.write(KEEPALIVED % {"verdict": self.verdict(node),
                                      "priority": 250 - NODES.index(node.name), "advertise": self.advertise_s})
            self.start_proxy(node)
        for node in self.nodes():
            self.start_agent(node)
        self.settle()

    @staticmethod
    def verdict(node):
        return os.path.join(node.dir, "haproxy.verdict")

    def start_proxy(self, node):
        child = node.start("haproxy", machine.tool("haproxy"), "-db", "-f", os.path.join(node.dir, "haproxy.cfg"))
        wait_for("haproxy of %s answers" % node.name, lambda: node.run(
            "curl", "-sf", "-m", "1", "http://127.0.0.1/alive", check=False).returncode == 0)
        with open(self.verdict(node), "w", encoding="ascii") as f:
            f.write("0\n")
        node.start("minder", sys.executable, "-c", MINDER, child.pid, self.verdict(node), machine.tool("curl"))

    @staticmethod
    def start_agent(node):
        files = []
        for flag in "prc":
            path = os.path.join(node.dir, "keepalived." + flag)
            with contextlib.suppress(FileNotFoundError):  # of one that was killed
                os.unlink(path)
            files += ["-" + flag, path]
        node.start("keepalived", machine.tool("keepalived"), "-n", "-l", "-D", "-f",
                   os.path.join(node.dir, "keepalived.conf"), *files)

    def pids(self, node, role):
        program = {"proxy": "haproxy", "agent": "keepalived"}[role]
        if not node.running(program):
            return []
        parent = node.programs[program].pid
        with open("/proc/%d/task/%d/children" % (parent, parent), encoding="ascii") as f:
            return [parent] + [int(pid) for pid in f.read().split()]

    def active(self):
        holders = [node for node in self.nodes() if node.holds_vip()]
        return holders[0] if len(holders) == 1 else None

    def move(self, node):
        """What its manual offers: the daemon is stopped, says so with priority 0, and takes its addresses away."""
        node.programs["keepalived"].terminate()

    def reboot(self, node):
        for role in ("agent", "proxy"):
            self.signal(node, role, signal.SIGKILL)
        self.clean(node)

    def revive(self, node):
        for role in ("proxy", "agent"):
            self.signal(node, role, signal.SIGCONT)
        if not node.running("haproxy"):
            self.start_proxy(node)
        if not node.running("keepalived"):
            # What was left behind would be there for ever; an operator's first step.
            for address, length in FAMILIES:
                node.run("ip", "addr", "del", "%s/%s" % (address, length), "dev", "eth0", check=False)
            self.start_agent(node)

    def ready(self, node):
        """Its last word: the standby has left FAULT and hears the other."""
        said = [line for line in node.log_text("keepalived").splitlines() if "(web) " in line and " STATE" in line]
        return said and ("MASTER STATE" in said[-1]) == node.holds_vip() and "FAULT" not in said[-1]

    def settle(self):
        wait_for("one node has the address", self.active, 15)
        for node in self.nodes():
            wait_for("keepalived of %s is well" % node.name, lambda n=node: self.ready(n), 15)
        wait_for("the address answers", self.answers)
        time.sleep(self.advertise_s)


def choose(lab, names):
    """(contenders, notes)"""
    everybody = [(lambda: Tandem(lab, "default", 0.4, 0.35)), (lambda: Tandem(lab, "fast", 0.1, 0.15)),
                 (lambda: Keepalived(lab, 1.0)), (lambda: Keepalived(lab, 0.1))]
    chosen, notes = [], []
    for make in everybody:
        one = make()
        if names and not any(name in one.name for name in names.split(",")):
            continue
        if one.missing():
            notes.append("%s left out: %s missing" % (one.name, ", ".join(one.missing())))
        else:
            chosen.append(one)
    return chosen, notes
