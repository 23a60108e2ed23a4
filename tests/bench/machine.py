"""The machine under the benchmarks: processors, clocks, noise, and processes that end when we do."""

import contextlib
import ctypes
import fcntl
import glob
import json
import os
import resource
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time

TREE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TICK_S = 1 / os.sysconf("SC_CLK_TCK")
PR_SET_PDEATHSIG = 1
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1
LIBC = ctypes.CDLL(None)  # loaded here, as no more than a call may happen between fork and exec


class BenchError(Exception):
    """Something that makes a measurement impossible; its text is for who runs the benchmark."""


# --- getting in -----------------------------------------------------------------------------------
def enter():
    """Goes on in a network namespace of our own where that is allowed: its loopback is all there is."""
    if os.environ.get("TANDEM_BENCH") != "inside":
        for how in (["--net"], ["--user", "--map-root-user", "--net"]):
            with contextlib.suppress(OSError):
                probe = subprocess.run(["unshare", *how, "true"], stderr=subprocess.DEVNULL, check=False)
                if probe.returncode == 0:
                    os.environ["TANDEM_BENCH"] = "inside"
                    sys.stdout.flush()
                    os.execvp("unshare", ["unshare", *how, sys.executable, *sys.argv])
        print("note: no network namespace can be made here; the loopback of this machine is used", flush=True)
        return
    loopback_up()
    for name, value in (("ip_local_port_range", "20000 65000"), ("tcp_congestion_control", "cubic")):
        with contextlib.suppress(OSError), open("/proc/sys/net/ipv4/" + name, "w", encoding="ascii") as f:
            f.write(value)


def loopback_up():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        name, flags = struct.unpack("16sH22x", fcntl.ioctl(s, SIOCGIFFLAGS, struct.pack("16s24x", b"lo")))
        fcntl.ioctl(s, SIOCSIFFLAGS, struct.pack("16sH22x", name, flags | IFF_UP))


def build_dir(chosen, needed=("proxy/tandem-proxy", "tests/bench/load", "tests/bench/heap.so")):
    """Where the programs were built: --build, $TANDEM_BUILD, the directory we are in, or build/ of the tree."""
    named = chosen or os.environ.get("TANDEM_BUILD")
    for place in (named,) if named else (".", os.path.join(TREE, "build")):
        if os.path.exists(os.path.join(place, "config.status")):
            place = os.path.abspath(place)
            break
    else:
        raise BenchError("%s is no build directory: run this from one, or name it with --build" % (named or "this"))
    missing = [p for p in needed if not os.path.exists(os.path.join(place, p))]
    if missing:
        raise BenchError("%s is missing: make -C %s bench-programs" % (", ".join(missing), place))
    return place


def build_flags(build):
    """The compiler and the flags that matter to speed."""
    values = {}
    with open(os.path.join(build, "Makefile"), encoding="utf-8") as f:
        for line in f:
            name, equals, value = line.partition(" = ")
            if equals and name in ("CC", "CFLAGS", "MODE_CFLAGS"):
                values[name] = value.strip()
    return " ".join(filter(None, (values.get("CC"), values.get("CFLAGS"), values.get("MODE_CFLAGS"))))


# --- processors -----------------------------------------------------------------------------------
def cpu_list(text):
    cpus = set()
    for part in filter(None, text.strip().split(",")):
        first, _, last = part.partition("-")
        cpus.update(range(int(first), int(last or first) + 1))
    return cpus


def pick_cpus():
    """(proxy's, load's, note): two cores that share nothing, where there are two."""
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < 2:
        raise BenchError("two processors are needed: one for the proxy, one for the load")
    siblings = {allowed[0]}
    with contextlib.suppress(OSError):
        path = "/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list" % allowed[0]
        with open(path, encoding="ascii") as f:
            siblings = cpu_list(f.read())
    apart = [cpu for cpu in allowed if cpu not in siblings]
    note = "" if apart else "proxy and load are two threads of one core and slow each other down"
    return allowed[0], (apart or allowed[1:])[0], note


def machine_text():
    model = "unknown processor"
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        for line in f:
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    with open("/proc/meminfo", encoding="ascii") as f:
        memory_gib = int(f.readline().split()[1]) / 2**20
    return "%d processors (%s), %.1f GiB, Linux %s" % (os.cpu_count(), model, memory_gib, os.uname().release)


# --- clocks ---------------------------------------------------------------------------------------
def cpu_ns(pid):
    """CPU time of a process: all its threads, dead ones too, exact (its CPUCLOCK_SCHED clock)."""
    return time.clock_gettime_ns((~pid << 3) | 2)


def user_system_ticks(pid):
    with open("/proc/%d/stat" % pid, encoding="utf-8") as f:
        fields = f.read().rpartition(")")[2].split()
    return int(fields[11]), int(fields[12])


def busy_and_stolen_s(cpus):
    """Seconds that these processors worked, and that the host took from them."""
    busy = stolen = 0
    wanted = {"cpu%d" % cpu for cpu in cpus}
    with open("/proc/stat", encoding="ascii") as f:
        for line in f:
            name, *ticks = line.split()
            if name in wanted:
                user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, ticks[:8])
                busy += user + nice + system + irq + softirq
                stolen += steal
    return busy * TICK_S, stolen * TICK_S


def ksoftirqd_ns(cpu):
    """CPU time of the kernel's thread that takes network work over when there is much of it."""
    for comm in glob.glob("/proc/[0-9]*/comm"):
        with contextlib.suppress(OSError):
            with open(comm, encoding="utf-8") as f:
                if f.read() != "ksoftirqd/%d\n" % cpu:
                    continue
            with open(os.path.join(os.path.dirname(comm), "schedstat"), encoding="ascii") as f:
                return int(f.read().split()[0])
    return 0


def private_kb(pid):
    """Memory that would be free again if the process ended."""
    with open("/proc/%d/smaps_rollup" % pid, encoding="ascii") as f:
        return sum(int(line.split()[1]) for line in f if line.startswith("Private_"))


class Meter:
    """What the time between two readings cost: proxy and load, and everybody else on their processors."""

    def __init__(self, proxy_pid, load_pid, cpus):
        self.proxy_pid, self.load_pid, self.cpus = proxy_pid, load_pid, cpus
        self.first = self.read()

    def read(self):
        busy_s, stolen_s = busy_and_stolen_s(self.cpus)
        user, system = user_system_ticks(self.proxy_pid)
        return {
            "at": time.monotonic(), "proxy": cpu_ns(self.proxy_pid) / 1e9, "load": cpu_ns(self.load_pid) / 1e9,
            "busy": busy_s, "stolen": stolen_s, "user": user, "system": system,
            "ksoftirqd": ksoftirqd_ns(self.cpus[0]) / 1e9,
        }

    def spent(self):
        now = self.read()
        d = {name: now[name] - self.first[name] for name in now}
        ticks = d["user"] + d["system"]
        return {
            "elapsed_s": d["at"], "cpu_s": d["proxy"], "load_cpu_s": d["load"],
            "user_share": d["user"] / ticks if ticks else None,
            "ksoftirqd_s": d["ksoftirqd"],
            "foreign_share": max(0.0, d["busy"] - d["proxy"] - d["load"]) / d["at"],
            "steal_share": d["stolen"] / d["at"],
        }


# --- processes ------------------------------------------------------------------------------------
def spawn(command, cpu, nice=0, env=None, **streams):
    """A process on one processor that the kernel ends when we die, however we die."""
    def before_exec():
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        os.sched_setaffinity(0, {cpu})
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        if nice and os.geteuid() == 0:
            with contextlib.suppress(OSError):
                os.nice(nice)
    # pylint: disable=subprocess-popen-preexec-fn # we have one thread
    return subprocess.Popen(command, preexec_fn=before_exec, env=dict(os.environ, **(env or {})), **streams)


def stop(process, patience_s=3.0):
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(patience_s)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait()


def tool(name):
    """A program's path, or None."""
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchError("%s: %s" % (command[0], done.stderr.strip()[-300:]))


def first_line(*command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return (done.stdout + done.stderr).strip().split("\n")[0]


class Load:
    """tests/bench/load: the clients and the server, through its gates."""

    def __init__(self, rig, proxy_port, arguments, servers=1, patience_s=60):
        command = [rig.load_program, *arguments, "-s", str(servers), "-x", str(patience_s),
                   str(rig.origin_port), str(proxy_port)]
        self.patience_s = patience_s + 10
        self.process = spawn(command, rig.load_cpu, rig.nice, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, text=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        stop(self.process)
        self.process.stdout.close()
        self.process.stderr.close()

    def line(self):
        # One line at a time is all that load ever has to say: nothing is left behind in Python's buffer.
        if not select.select([self.process.stdout], [], [], self.patience_s * 2)[0]:
            raise BenchError("the load generator hangs")
        return self.process.stdout.readline().strip()

    def expect(self, word):
        line = self.line()
        if line != word:
            self.process.wait(5)
            raise BenchError(" ".join(filter(None, (line, self.process.stderr.read().strip()))) or "load ended")

    def go(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def warm_up(self):
        self.expect("ready")
        self.go()
        self.expect("warm")

    def measure(self):
        """The run that counts; everything it began has ended when this returns."""
        self.go()
        text = self.line()
        try:
            return json.loads(text)
        except ValueError:
            raise BenchError("load: %s" % (text or "ended")) from None
