#!/usr/bin/env python3
"""Many clients that have had one answer each and wait: waiters.py OUT COUNT PORT ADDRESS[@FROM]...

COUNT connections to that port of each address, the first of them from port FROM if that is said. Prints "ready" into OUT once all were answered, and then a
line for each that ends: CLOCK_REALTIME in ns, address, how. Ends when all have ended, or at SIGTERM.
"""

import resource
import select
import socket
import sys
import time


def main():
    out = open(sys.argv[1], "w", buffering=1, encoding="ascii")
    count, port, addresses = int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:]
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    poll, waiting = select.epoll(), {}
    for address, own_port in (a.partition("@")[::2] for a in addresses):
        for number in range(count):
            own = ("", int(own_port)) if own_port and number == 0 else None
            s = socket.create_connection((address, port), 10, own)
            s.sendall(b"GET / HTTP/1.1\r\nHost: tickle\r\n\r\n")
            data = b""
            while b" tickle " not in data or not data.endswith(b"\n"):
                more = s.recv(4096)
                if not more:
                    raise SystemExit("cut while asking: %r" % data)
                data += more
            s.setblocking(False)
            waiting[s.fileno()] = (s, address)
            poll.register(s.fileno(), select.EPOLLIN)
    print("ready", file=out)
    while waiting:
        events = poll.poll()
        now_ns = time.time_ns()
        lines = []
        for fd, _ in events:
            s, address = waiting.pop(fd)
            try:
                how = "data" if s.recv(1) else "fin"
            except ConnectionResetError:
                how = "reset"
            except OSError as e:
                how = e.strerror.replace(" ", "-")
            lines.append("%d %s %s" % (now_ns, address, how))
            poll.unregister(fd)
            s.close()
        print("\n".join(lines), file=out)


if __name__ == "__main__":
    main()
