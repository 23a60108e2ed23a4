"""A load balancer pair in network namespaces: two nodes, a client, two servers, switches between them.

    client 10.77.0.10 ---+                    VIP 10.77.0.100, fd77::100
    web1   10.77.0.21 ---+--- lan switch ---- eth0 lb-a 10.77.0.2  eth1 192.168.77.1 ---+
    web2   10.77.0.22 ---+               ---- eth0 lb-b 10.77.0.3  eth1 192.168.77.2 ---+--- cable

Needs no root: enter() runs the rest of the program as root of a user namespace of its own, with its
own network, mounts and processes, so that whatever happens (Ctrl-C, a crash of the lab itself) the
kernel takes all of it away. Only Python's standard library, iproute2, util-linux and nginx are used.

The tests beside this file and examples/demo drive the real programs with it.
"""

import collections
import contextlib
import faulthandler
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import unittest

TREE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.abspath(os.environ.get("TANDEM_BUILD", os.getcwd()))
# A build with sanitizers, or a machine that is busy with something else, is slower: ceilings are
# multiplied by this. The times of the protocol itself are not.
SLOW = float(os.environ.get("TANDEM_SLOW", "1"))
SKIPPED = 77

VIP4, VIP6 = "10.77.0.100", "fd77::100"
NODES = ("lb-a", "lb-b")
LAN = {"lb-a": 2, "lb-b": 3, "client": 10, "web1": 21, "web2": 22}
CABLE = {"lb-a": 1, "lb-b": 2}


# --- getting in -----------------------------------------------------------------------------------
def enter():
    """Returns inside the namespaces, as their root; outside it only waits and passes the exit code on."""
    if os.environ.get("TANDEM_LAB") == "inside":
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/run"], check=True)
        os.makedirs("/run/netns")
        return
    base = ["unshare", "--net", "--mount", "--ipc", "--pid", "--fork", "--kill-child"]
    ways = [["--user", "--map-root-user", "--mount-proc"], ["--user", "--map-root-user"], ["--mount-proc"]]
    for extra in ways[2:] if os.environ.get("TANDEM_REAL_ROOT") else ways:
        probe = subprocess.run(base + extra + ["mount", "-t", "tmpfs", "tmpfs", "/run"],
                               capture_output=True, text=True, check=False)
        if probe.returncode == 0:
            break
    else:
        print("skipped: this machine allows no network namespaces here:", probe.stderr.strip())
        sys.exit(SKIPPED)
    with contextlib.suppress(OSError):  # what measures milliseconds should not wait for compilers
        os.nice(-10)
    sys.stdout.flush()
    inside = subprocess.Popen(base + extra + [sys.executable] + sys.argv,
                              env=dict(os.environ, TANDEM_LAB="inside", TANDEM_LAB_OUTER=str(os.getpid())))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal tells the inside too
    signal.signal(signal.SIGTERM, lambda *_: inside.kill())  # unshare takes its children along
    sys.exit(abs(inside.wait()))


def wait_for(what, probe, timeout_s=10.0, every_s=0.01):
    """What probe() returns once it is true; an AssertionError that says `what` if it never is."""
    end = time.monotonic() + timeout_s * SLOW
    while True:
        value = probe()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError("not within %g s: %s" % (timeout_s * SLOW, what))
        time.sleep(every_s)


def now_us():
    """CLOCK_MONOTONIC, the clock of pulse's records."""
    return time.monotonic_ns() // 1000


# --- a machine ------------------------------------------------------------------------------------
class Node:
    """A machine on the network: a namespace and the programs started in it."""

    def __init__(self, lab, name):
        self.lab, self.name = lab, name
        self.dir = os.path.join(lab.dir, name)
        os.makedirs(self.dir, exist_ok=True)
        self.programs = {}
        subprocess.run(["ip", "netns", "add", name], check=True)
        self.run("ip", "link", "set", "lo", "up")
        # Addresses of ours are usable at once: nobody else is on these wires.
        self.sysctl("net.ipv6.conf.default.accept_dad", 0)
        self.sysctl("net.ipv6.conf.all.accept_dad", 0)

    def inside(self, argv):
        return ["nsenter", "--net=/run/netns/" + self.name, "--"] + [str(a) for a in argv]

    def run(self, *argv, check=True, timeout=20 * SLOW, **more):
        """Runs a command here to its end; output as text in .stdout and .stderr."""
        done = subprocess.run(self.inside(argv), capture_output=True, text=True, check=False,
                              timeout=timeout, stdin=subprocess.DEVNULL, **more)
        if check and done.returncode:
            raise AssertionError("%s: %s: exit %d: %s%s" % (self.name, " ".join(map(str, argv)),
                                                          done.returncode, done.stdout, done.stderr))
        return done

    def sysctl(self, key, value):
        with contextlib.suppress(OSError):  # read-only in some containers; the defaults mostly do
            self.run("sysctl", "-qw", "%s=%s" % (key, value), check=False)

    def start(self, program, *argv):
        """Starts a program that stays; its output goes to PROGRAM.log. Returns its Popen, whose pid is its own."""
        if program in self.programs:
            self.programs[program].wait(timeout=5 * SLOW)  # killed before, and not waited for
        with open(self.log(program), "ab") as log:
            child = subprocess.Popen(self.inside(argv), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.programs[program] = child
        return child

    def log(self, program):
        return os.path.join(self.dir, program + ".log")

    def log_text(self, program):
        with open(self.log(program), encoding="utf-8", errors="replace") as f:
            return f.read()

    def running(self, program):
        child = self.programs.get(program)
        return child is not None and child.poll() is None

    def kill(self, program, sig=signal.SIGKILL, wait=True):
        child = self.programs[program]
        child.send_signal(sig)
        if wait:
            child.wait(timeout=40 * SLOW)
        return child.returncode

    def stop(self, program, timeout_s=40):
        """SIGTERM, and the exit code; a program that does not end is an error."""
        child = self.programs.pop(program, None)
        if child is None:
            return None
        if child.poll() is None:
            child.send_signal(signal.SIGCONT)
            child.terminate()
        try:
            return child.wait(timeout=timeout_s * SLOW)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
            raise AssertionError("%s on %s did not end at SIGTERM" % (program, self.name)) from None

    def addresses(self, interface="eth0"):
        """The addresses of an interface, as text without prefix lengths."""
        shown = json.loads(self.run("ip", "-j", "addr", "show", "dev", interface).stdout)
        return [a["local"] for link in shown for a in link.get("addr_info", []) if "local" in a]


class Heir:
    """A program that another one started in its own place: what Popen would be of it."""

    def __init__(self, pid):
        self.pid, self.returncode = pid, None

    def poll(self):
        if self.returncode is None:
            try:  # its parent has ended: it is ours, who are the first process here
                pid, status = os.waitpid(self.pid, os.WNOHANG)
                self.returncode = os.waitstatus_to_exitcode(status) if pid else None
            except ChildProcessError:
                if not os.path.exists("/proc/%d" % self.pid):  # its parent has waited for it: nobody knows how
                    self.returncode = 0
        return self.returncode

    def wait(self, timeout):
        end = time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() > end:
                raise subprocess.TimeoutExpired("process %d" % self.pid, timeout)
            time.sleep(0.005)
        return self.returncode

    def send_signal(self, sig):
        if self.poll() is None:
            os.kill(self.pid, sig)

    def terminate(self):
        self.send_signal(signal.SIGTERM)

    def kill(self):
        self.send_signal(signal.SIGKILL)


class Balancer(Node):
    """One of the two nodes of the pair."""

    def paths(self):
        # The state is in memory: this measures the programs and not the disk that others write to.
        return ["--run-dir", self.dir, "--state-dir", "/run/state-" + self.name]

    def daemon_argv(self, program):
        binary = {"proxy": "proxy/tandem-proxy", "agent": "failover/tandem-failover"}[program]
        return [os.path.join(BUILD, binary), "-c", os.path.join(self.dir, "tandem.yaml"),
                "--node", self.name] + self.paths()

    def write_config(self, text):
        with open(os.path.join(self.dir, "tandem.yaml"), "w", encoding="utf-8") as f:
            f.write(text)

    def start_proxy(self):
        self.start("proxy", *self.daemon_argv("proxy"))
        self.wait_socket("proxy")

    def upgrade_proxy(self):
        """SIGUSR2: the new process serves when this returns. Returns the old one, which drains."""
        old = self.programs["proxy"]
        old.send_signal(signal.SIGUSR2)

        def serves():
            try:
                status = self.ask("proxy", "status")
            except (OSError, ValueError, AssertionError):  # asked of the old one, which has just ended
                return None
            return (status["upgrade"]["last"] or {}).get("ok") and status["pid"] != old.pid and status["pid"]
        self.programs["proxy"] = Heir(wait_for("the new proxy of %s serves" % self.name, serves))
        return old

    def start_agent(self):
        self.start("agent", *self.daemon_argv("agent"))
        self.wait_socket("agent")

    def wait_socket(self, program):
        def up():
            if not self.running(program):
                raise AssertionError("%s on %s ended: %s" % (program, self.name, self.log_text(program)[-2000:]))
            try:
                return self.ask(program, "status")
            except OSError:
                return None
        return wait_for("%s of %s answers on its socket" % (program, self.name), up)

    def forgive(self):
        """A node that failed often is held down ever longer; an agent started anew knows nothing of that."""
        if self.state() == "FAULT":
            self.stop("agent")
            self.start_agent()

    def socket_path(self, program):
        return os.path.join(self.dir, {"proxy": "proxy.sock", "agent": "failover.sock"}[program])

    def connect(self, program, timeout_s=5):
        s = socket.socket(socket.AF_UNIX)
        s.settimeout(timeout_s * SLOW)
        try:
            s.connect(self.socket_path(program))
        except OSError:
            s.close()
            raise
        return s

    def rpc(self, program, method, params=None):
        """The whole JSON-RPC answer."""
        with self.connect(program) as s:
            request = {"jsonrpc": "2.0", "id": 1, "method": method}
            if params is not None:
                request["params"] = params
            s.sendall(json.dumps(request).encode() + b"\n")
            with s.makefile("r", encoding="utf-8") as lines:
                return json.loads(lines.readline() or "{}")

    def ask(self, program, method, params=None):
        answer = self.rpc(program, method, params)
        if "result" not in answer:
            raise AssertionError("%s %s on %s: %s" % (program, method, self.name, answer))
        return answer["result"]

    def group(self, name="web"):
        return self.ask("agent", "status")["groups"][name]

    def state(self, group="web"):
        try:
            return self.group(group)["state"]
        except OSError:
            return None

    def wait_state(self, state, group="web", timeout_s=10.0):
        wait_for("%s is %s" % (self.name, state), lambda: self.state(group) == state, timeout_s)

    def holds_vip(self, vip=VIP4):
        return vip in self.addresses()

    def ctl(self, *argv, check=True, **more):
        return self.run(os.path.join(BUILD, "ctl/tandemctl"), *argv, "--run-dir", self.dir,
                        check=check, **more)


# --- what a client saw -----------------------------------------------------------------------------
Sample = collections.namedtuple("Sample", "start_us end_us outcome server via")


class Pulse:
    """pulse.c at work on a node: requests at an even rate, each with a record of its own."""

    def __init__(self, node, rate=1000, connections=0, timeout_ms=100, to=VIP4, port=80, path="/", more=()):
        self.node, self.name = node, "pulse.%d" % now_us()
        self.file = os.path.join(node.dir, self.name)
        target = "[%s]:%d" % (to, port) if ":" in to else "%s:%d" % (to, port)
        self.child = node.start(self.name, os.path.join(BUILD, "tests/netns/pulse"), "--rate", rate,
                                "--connections", connections, "--timeout-ms", timeout_ms,
                                "--path", path, *more, target, self.file)

    def wait(self):
        """For one that ends by itself (--count, --seconds)."""
        code = self.child.wait(timeout=300 * SLOW)
        del self.node.programs[self.name]
        if code:
            raise AssertionError("pulse failed with %d: %s" % (code, self.node.log_text(self.name)))
        return self.samples()

    def stop(self):
        self.child.terminate()
        return self.wait()

    def samples(self):
        found = []
        with open(self.file, encoding="utf-8", errors="replace") as f:
            for line in f:
                start, duration, outcome, server, via = (line.split() + ["", ""])[:5]
                found.append(Sample(int(start), int(start) + int(duration), outcome, server, via))
        return found


def good(samples):
    return [s for s in samples if s.outcome == "200"]


def failed(samples):
    """Not those that pulse could not send for want of a free connection: nobody failed those but pulse."""
    return [s for s in samples if s.outcome not in ("200", "idle-close", "busy")]


def outcomes(samples):
    """For messages: how many of each outcome."""
    return dict(collections.Counter(s.outcome for s in samples))


def gap_ms(samples, fault_us):
    """The longest time without a good answer from shortly before the fault on."""
    ends = sorted(s.end_us for s in good(samples) if s.end_us > fault_us - 100000)
    if len(ends) < 2 or ends[-1] < fault_us:
        return float("inf")
    return max(b - a for a, b in zip(ends, ends[1:])) / 1000.0


def takeover_ms(samples, fault_us, node):
    """From the fault to the first good answer that came through `node`."""
    via = "10.77.0.%d" % LAN[node]
    ends = [s.end_us for s in good(samples) if s.end_us >= fault_us and s.via == via]
    return (min(ends) - fault_us) / 1000.0 if ends else float("inf")


def median(values):
    return statistics.median(values)


# --- the whole of it ---------------------------------------------------------------------------------
NGINX = """user root;
daemon off;
master_process off;
error_log stderr;
pid {dir}/nginx.pid;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path {dir}/body;
    proxy_temp_path {dir}/proxy;
    fastcgi_temp_path {dir}/fastcgi;
    uwsgi_temp_path {dir}/uwsgi;
    scgi_temp_path {dir}/scgi;
    keepalive_requests 1000000;
    server {{
        listen 8080;
        default_type text/plain;
        location / {{ return 200 "{name} $remote_addr $http_host $http_x_forwarded_for\\n"; }}
        location /healthz {{ return 200 "ok\\n"; }}
        location /files/ {{ alias {dir}/files/; }}
        location /upload {{ client_max_body_size 1g; client_body_in_file_only off; return 200 "{name} taken\\n"; }}
    }}
}}
"""

CONFIG = """# Written by the lab.
failover:
  nodes:
    lb-a: {{id: 1, paths: {{lan: 10.77.0.2, cable: 192.168.77.1}}}}
    lb-b: {{id: 2, paths: {{lan: 10.77.0.3, cable: 192.168.77.2}}}}
  secret_file: {dir}/pair.key
{profile}  groups:
{groups}
{proxy}"""

GROUP = """    web:
      vrid: 51
      interface: eth0
      virtual_ips: [10.77.0.100/24, "fd77::100/64"]
      prefer: lb-a
"""

PROXY = """listeners:
  http:
    bind: ":80"
    routes:
      - pool: web
pools:
  web:
    balance: round_robin
    servers:
      web1: {address: "10.77.0.21:8080"}
      web2: {address: "10.77.0.22:8080"}
    health: {http: /healthz, every: 1s}
log: {access: off}
"""


class Lab:
    """The machines and the wires; use as a context manager. Keeps its directory when something failed."""

    def __init__(self, timed=False):
        # A machine that is slow stands still for longer than a heartbeat may be late.
        self.relaxed = SLOW > 1 and not timed
        self.dir = tempfile.mkdtemp(prefix="tandem-lab.")
        self.failed = False
        self.up = 2  # servers of the pool web, when all is well
        self.nodes = {}
        self.switch = Node(self, "switch")
        for bridge in ("lan", "cable"):
            self.switch.run("ip", "link", "add", bridge, "type", "bridge", "forward_delay", "0",
                            "mcast_snooping", "0")
            self.switch.run("ip", "link", "set", bridge, "up")
        for name, host in LAN.items():
            node = self.nodes[name] = (Balancer if name in NODES else Node)(self, name)
            self.wire(node, "lan", "eth0", ["10.77.0.%d/24" % host, "fd77::%d/64" % host])
            if name in CABLE:
                self.wire(node, "cable", "eth1", ["192.168.77.%d/24" % CABLE[name]])
        self.a, self.b = self.nodes["lb-a"], self.nodes["lb-b"]
        self.client = self.nodes["client"]
        self.web = [self.nodes["web1"], self.nodes["web2"]]
        # A client with a thousand connections a second must not run out of ports.
        self.client.sysctl("net.ipv4.ip_local_port_range", "1024 65535")
        self.client.sysctl("net.ipv4.tcp_tw_reuse", 1)
        with open(os.path.join(self.dir, "pair.key"), "w", encoding="ascii") as f:
            os.chmod(f.name, 0o600)
            f.write("%s\n" % os.urandom(32).hex())

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        self.close(kind is not None)

    def wire(self, node, bridge, interface, addresses):
        port = "%s-%s" % (bridge, node.name)
        self.switch.run("ip", "link", "add", port, "type", "veth", "peer", "name", interface,
                        "netns", "/run/netns/" + node.name)
        self.switch.run("ip", "link", "set", port, "master", bridge, "up")
        node.run("ip", "link", "set", interface, "up")
        for address in addresses:
            node.run("ip", "addr", "add", address, "dev", interface, *(["nodad"] if ":" in address else []))

    # --- servers and daemons ---
    def start_web(self, node):
        conf = os.path.join(node.dir, "nginx.conf")
        with open(conf, "w", encoding="utf-8") as f:
            f.write(NGINX.format(dir=node.dir, name=node.name))
        os.makedirs(os.path.join(node.dir, "files"), exist_ok=True)
        node.start("nginx", shutil.which("nginx", path=os.environ["PATH"] + ":/usr/sbin"), "-c", conf, "-p", node.dir)
        wait_for("nginx of %s answers" % node.name,
                 lambda: node.run("curl", "-sf", "http://127.0.0.1:8080/healthz", check=False).returncode == 0)

    def config(self, proxy=PROXY, groups=GROUP, profile=""):
        """The file for both nodes."""
        if self.relaxed and "profile:" not in profile and "vrrp3" not in profile + groups:
            profile = "  profile: relaxed\n" + profile
        text = CONFIG.format(dir=self.dir, proxy=proxy, groups=groups, profile=profile)
        for node in (self.a, self.b):
            node.write_config(text)
        return text

    def start_pair(self, **config):
        """Everything, until lb-a is active, lb-b stands by, and both proxies know their servers."""
        self.config(**config)
        for node in self.web:
            if not node.running("nginx"):
                self.start_web(node)
        for node in (self.a, self.b):
            node.start_proxy()
        for node in (self.a, self.b):
            node.start_agent()
        self.settle(self.a)

    def settle(self, active=None, group="web"):
        """Waits until all is well: one node (or the one asked for) is active, the other stands by and could
        take over, they hear each other on every path, and the VIP answers."""
        def well(node):
            status = node.ask("agent", "status")
            peer = status["peer"]
            return (status["proxy"]["state"] == "ok" and peer["proxy_ok"] and
                    all(path["up"] for path in peer["paths"].values()))

        wanted = ("ACTIVE", "STANDBY") if active in (None, self.a) else ("STANDBY", "ACTIVE")
        wait_for("%s is active and the other stands by" % (active.name if active else "one node"), lambda:
                 (self.a.state(group), self.b.state(group)) in ([wanted] if active else [wanted, wanted[::-1]]))
        for node in (self.a, self.b):
            wait_for("%s and its view of its peer are well" % node.name, lambda node=node: well(node))
            self.wait_servers(node)
        wait_for("the VIP answers", lambda: self.curl("http://%s/" % VIP4, check=False).returncode == 0)

    def wait_servers(self, node, pool="web", up=None):
        # One that stands by checks every 10 s, and what was down has to pass twice.
        wait_for("%s knows that its servers are up" % node.name,
                 lambda: node.ask("proxy", "status")["pools"][pool]["up"] == (up or self.up), timeout_s=25)

    def active(self, group="web"):
        """The node that says ACTIVE; None while nobody does."""
        for node in (self.a, self.b):
            if node.running("agent") and node.state(group) == "ACTIVE":
                return node
        return None

    def peer_of(self, node):
        return self.b if node is self.a else self.a

    def curl(self, url, *more, check=True, node=None):
        return (node or self.client).run("curl", "-sS", "-g", "--max-time", "5", *more, url, check=check)

    # --- faults ---
    def port(self, node, bridge, up):
        self.switch.run("ip", "link", "set", "%s-%s" % (bridge, node.name), "up" if up else "down")

    def unplug(self, node):
        """The node is dead for everyone: both its wires are cut. Returns when the last one went."""
        self.port(node, "cable", False)
        before_us = now_us()
        self.port(node, "lan", False)
        return before_us

    def plug(self, node):
        self.port(node, "cable", True)
        self.port(node, "lan", True)

    # --- the end ---
    def stop_all(self):
        """Ends every program with SIGTERM; returns what went wrong with any of them."""
        wrong = []
        for node in [self.client, self.a, self.b] + self.web:
            for program in list(node.programs):
                alive = node.running(program)
                code = node.stop(program)
                if alive and code and program in ("proxy", "agent"):
                    wrong.append("%s on %s ended with %d" % (program, node.name, code))
        for node in (self.a, self.b):
            for program in ("proxy", "agent"):
                if os.path.exists(node.log(program)):
                    text = node.log_text(program)
                    wrong += ["%s on %s: %s" % (program, node.name, line) for line in text.splitlines()
                              if "Sanitizer" in line or "runtime error" in line or "assertion" in line.lower()]
        return wrong

    def close(self, failed_now=False):
        wrong = []
        try:
            wrong = self.stop_all()
        finally:
            for node in list(self.nodes.values()) + [self.switch]:
                subprocess.run(["ip", "netns", "del", node.name], check=False)
            if failed_now or self.failed or wrong:
                print("logs kept in", self.dir, file=sys.stderr)
            else:
                shutil.rmtree(self.dir, ignore_errors=True)
        if wrong:
            raise AssertionError("; ".join(wrong))


# --- tests -------------------------------------------------------------------------------------------
class LabTest(unittest.TestCase):
    """A class of tests that share one pair; each finds lb-a active and lb-b standing by."""

    config = {}
    timed = False  # True: what the pair does is held against a clock
    lab = None

    @classmethod
    def setUpClass(cls):
        cls.lab = Lab(cls.timed)
        try:
            cls.lab.start_pair(**cls.config)
        except BaseException:
            cls.lab.close(True)
            raise

    @classmethod
    def tearDownClass(cls):
        cls.lab.close()

    def setUp(self):
        self.a, self.b, self.client = self.lab.a, self.lab.b, self.lab.client

    def run(self, result=None):
        before = len(result.failures) + len(result.errors)
        super().run(result)
        if self.lab and len(result.failures) + len(result.errors) > before:
            self.lab.failed = True

    def heal(self, back_to_a=True):
        """For addCleanup: whatever a test broke works again, with lb-a active if wanted."""
        lab = self.lab
        for node in (self.a, self.b):
            lab.plug(node)
            for program, start in (("proxy", node.start_proxy), ("agent", node.start_agent)):
                if not node.running(program):
                    start()
                else:
                    node.programs[program].send_signal(signal.SIGCONT)
            node.forgive()
        lab.settle()
        if back_to_a and self.a.state() != "ACTIVE":
            self.b.ask("agent", "switchover")
            lab.settle(self.a)


def main():
    """Of a test file: into the namespaces, and run."""
    enter()
    faulthandler.dump_traceback_later(900 * SLOW, exit=True)  # whatever hangs, says where and ends
    unittest.main(module="__main__", verbosity=2)
