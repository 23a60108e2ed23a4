"""What the three programs here have in common: their options, the chosen proxies, a place to work in."""

import contextlib
import dataclasses
import json
import os
import signal
import sys
import tempfile
import time

import machine
import targets
import workloads

ORIGIN_PORT, FIRST_PORT = 18080, 18100


@dataclasses.dataclass
class Setup:
    """What a proxy is configured for."""
    dir: str
    port: int
    origin_port: int
    connections: int
    routes: int
    servers: int
    log: bool
    tcp: bool
    tls: str = ""       # a file with certificate and key: TLS, with HTTP/2 and HTTP/1.1


class Rig:
    """Processors, directories, ports and proxies of a run; a context manager that leaves nothing behind."""

    def __init__(self, options):
        self.build = machine.build_dir(options.build)
        self.load_program = os.path.join(self.build, "tests/bench/load")
        self.heap_library = os.path.join(self.build, "tests/bench/heap.so")
        self.proxy_cpu, self.load_cpu, cpu_note = machine.pick_cpus()
        if options.cpus:
            self.proxy_cpu, self.load_cpu = (int(cpu) for cpu in options.cpus.split(","))
            cpu_note = ""
        self.nice = -10
        self.origin_port = ORIGIN_PORT
        self.notes = [cpu_note] if cpu_note else []
        flags = machine.build_flags(self.build)
        if "-fsanitize" in flags or "-O0" in flags or "--coverage" in flags:
            self.notes.append("tandem was not built for speed: " + flags)
        self.targets = self.choose(options.targets)
        self.about = {
            "machine": machine.machine_text(),
            "processors": {"proxy": self.proxy_cpu, "load": self.load_cpu},
            "build": flags,
            "versions": {t.name: t.version() for t in self.targets},
            "started": time.strftime("%Y-%m-%d %H:%M:%S"),
        }
        self.counter = 0
        self.temporary = None
        self.dir = None

    def choose(self, names):
        wanted = names.split(",") if names else [t.name for t in targets.ALL]
        unknown = set(wanted) - {t.name for t in targets.ALL}
        if unknown:
            raise machine.BenchError("no such proxy: %s; --list shows them" % ", ".join(sorted(unknown)))
        chosen = [t(self.build) for t in targets.ALL if t.name in wanted]
        missing = {t.program for t in chosen if t.path is None}
        for program in sorted(missing):
            self.notes.append("%s is not installed: left out" % program)
        return [t for t in chosen if t.path is not None]

    def __enter__(self):
        self.temporary = tempfile.TemporaryDirectory(prefix="bench-")
        self.dir = self.temporary.name
        return self

    def __exit__(self, *_):
        self.temporary.cleanup()

    def say_about(self):
        print("machine: %s; proxy on processor %d, load on %d" % (
            self.about["machine"], self.proxy_cpu, self.load_cpu))
        for name, version in self.about["versions"].items():
            print("%s: %s" % (name, version))
        print("built with: " + self.about["build"])
        for note in self.notes:
            print("note: " + note)
        print(flush=True)

    def able(self, workload):
        return [t for t in self.targets if (workload.large or not t.large_only) and (t.has_tcp() or not workload.tcp)]

    def certificate(self):
        """A file with a certificate and its key, made once."""
        path = os.path.join(self.dir, "a.pem")
        if not os.path.exists(path):
            machine.run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                        "-subj", "/CN=a", "-days", "30", "-keyout", path + ".key", "-out", path)
            with open(path, "a", encoding="ascii") as both, open(path + ".key", encoding="ascii") as key:
                both.write(key.read())
        return path

    def start(self, target, workload, connections=0, tls=False, **more):
        """A Running proxy, in a new directory and on a port of its own."""
        self.counter += 1
        setup = Setup(dir=os.path.join(self.dir, "%d" % self.counter), port=FIRST_PORT + self.counter % 1000,
                      origin_port=self.origin_port, connections=max(workload.connections, connections, 2000),
                      routes=workload.routes, servers=workload.servers, log=workload.log, tcp=workload.tcp,
                      tls=self.certificate() if tls else "")
        return targets.Running(self, target, setup, **more)


def add_options(parser):
    parser.add_argument("--list", action="store_true", help="the workloads and the proxies, and exit")
    parser.add_argument("-w", "--workloads", metavar="NAME,...", help="only these; a name may end in *")
    parser.add_argument("-t", "--targets", metavar="NAME,...", help="only these proxies")
    parser.add_argument("--build", metavar="DIR", help="where Tandem was built (default: here, or build/)")
    parser.add_argument("--cpus", metavar="PROXY,LOAD", help="the two processors (default: the first two cores)")
    parser.add_argument("--json", metavar="FILE", help="everything measured, as JSON")
    parser.add_argument("--md", metavar="FILE", help="the tables, as Markdown")


def list_all(chosen):
    for workload in chosen:
        print("%-14s %s" % (workload.name, workload.title))
    for target in targets.ALL:
        print("%-14s a proxy%s" % (target.name, ", for large bodies" if target.large_only else ""))


def write_reports(options, document, markdown):
    """What is known so far, so that a run that was broken off leaves what it had."""
    for path, text in ((options.json, json.dumps(document, indent=1) + "\n"), (options.md, markdown)):
        if path:
            with open(path, "w", encoding="utf-8") as f:
                f.write(text)


def main(parser, default_workloads, run):
    """Parses, enters the namespace, calls run(rig, options, chosen); an exit code."""
    add_options(parser)
    options = parser.parse_args()
    try:
        chosen = workloads.choose(options.workloads or default_workloads)
        if options.list:
            list_all(chosen)
            return 0
        machine.enter()
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what is open here is closed
        with contextlib.ExitStack() as stack:
            rig = stack.enter_context(Rig(options))
            rig.say_about()
            return run(rig, options, chosen)
    except (machine.BenchError, KeyError, ValueError) as e:
        print("error: %s" % (e.args[0] if e.args else e))
        return 1
    except KeyboardInterrupt:
        print("broken off")
        return 130
