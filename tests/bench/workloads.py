"""What is measured. A workload is data: what the load is told, and what the proxies are set up for."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Workload:
    """`load` are arguments for tests/bench/load beside those that say how long."""
    name: str
    title: str
    load: tuple
    connections: int
    warm: int = 2000        # requests before those that count
    routes: int = 0         # hosts in the configuration; 0: no rules at all
    servers: int = 1
    log: bool = False
    large: bool = False     # variants for large bodies take part
    open_rate: int = 0      # requests a second, open loop: latency is what matters
    idle: int = 0           # connections held: memory is what matters
    tcp: bool = False       # bytes passed on, without a look at what they say
    wrk: bool = False       # asked by wrk instead of our own load: a second opinion
    few: int = 2000         # requests for tools that slow everything down


def _get(name, title, path, connections, **more):
    return Workload(name, title, ("-p", path, "-c", str(connections)), connections, **more)


K, M = 1 << 10, 1 << 20
ALL = (
    _get("get-0", "kept connections, GET, empty answer", "/0", 64),
    _get("get-1k", "kept connections, GET 1 KB", "/1k", 64),
    _get("get-10k", "kept connections, GET 10 KB", "/10k", 64),
    _get("get-100k", "kept connections, GET 100 KB", "/100k", 32, large=True, warm=500, few=500),
    _get("get-1m", "kept connections, GET 1 MB", "/1m", 16, large=True, warm=100, few=100),
    _get("get-100m", "one connection, GET 100 MB", "/100m", 1, large=True, warm=2, few=2),
    _get("tcp-100k", "TCP passed on: 100 KB of answer a time", "/100k", 32, large=True, tcp=True, warm=500, few=500),
    _get("tcp-1m", "TCP passed on: 1 MB of answer a time", "/1m", 16, large=True, tcp=True, warm=100, few=100),
    _get("tcp-100m", "TCP passed on: one connection, 100 MB", "/100m", 1, large=True, tcp=True, warm=2, few=2),
    Workload("tcp-fresh", "TCP passed on: a connection a request, empty answer", ("-p", "/0", "-c", "64", "-1"), 64,
             tcp=True),
    Workload("fresh", "a connection a request, GET, empty answer", ("-p", "/0", "-c", "64", "-1"), 64),
    Workload("post-10k", "kept connections, POST 10 KB", ("-p", "/0", "-c", "64", "-m", str(10 * K)), 64),
    Workload("post-1m", "kept connections, POST 1 MB", ("-p", "/0", "-c", "16", "-m", str(M)), 16,
             large=True, warm=100, few=100),
    _get("log", "kept connections, GET 1 KB, access log", "/1k", 64, log=True),
    Workload("hosts-10", "GET 1 KB, 10 routes by host", ("-p", "/1k", "-c", "64", "-H", "10"), 64, routes=10),
    Workload("hosts-10000", "GET 1 KB, 10,000 routes by host", ("-p", "/1k", "-c", "64", "-H", "10000"), 64,
             routes=10000),
    _get("servers-1000", "GET 1 KB, 1,000 servers", "/1k", 64, servers=1000, warm=20000),
    Workload("open-2000", "open loop, 2,000 a second, GET 1 KB", ("-p", "/1k", "-c", "64", "-r", "2000"), 64,
             open_rate=2000),
    Workload("open-10000", "open loop, 10,000 a second, GET 1 KB", ("-p", "/1k", "-c", "64", "-r", "10000"), 64,
             open_rate=10000),
    Workload("idle", "5,000 idle connections, after one GET each: memory", ("-p", "/0", "-k", "5000"), 5000,
             warm=100, idle=5000),
    Workload("wrk-1k", "kept connections, GET 1 KB, asked by wrk", (), 64, wrk=True),
)


def choose(names):
    """The workloads of a comma-separated list; a name may end in *. All without one."""
    if not names:
        return list(ALL)
    chosen = []
    for name in names.split(","):
        found = [w for w in ALL if w.name == name or (name.endswith("*") and w.name.startswith(name[:-1]))]
        if not found:
            raise KeyError("no workload '%s'; --list shows them" % name)
        chosen += [w for w in found if w not in chosen]
    return chosen
