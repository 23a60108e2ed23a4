#!/usr/bin/env python3
"""Clients over TLS that have had one answer each, wait, and come back when they are told that it is over:

    returners.py OUT CA COUNT ADDRESS...

COUNT of HTTP/1.1 and COUNT of HTTP/2 for each address. Prints "ready" into OUT once all were answered, and then a JSON
object for each that has come back: its address and protocol, how its connection ended and when (CLOCK_REALTIME, ns),
whether its session was resumed, and when it had an answer again. Ends when all have.
"""

import json
import socket
import ssl
import sys
import threading
import time

import h2.config
import h2.connection
import h2.events

PATIENCE_S = 60  # of theirs with a connection that says nothing


def ask_h2(s):
    c = h2.connection.H2Connection(h2.config.H2Configuration())
    c.initiate_connection()
    c.send_headers(1, [(":method", "GET"), (":scheme", "https"), (":authority", "x"), (":path", "/echo")], True)
    ended = False
    while not ended:
        s.sendall(c.data_to_send())
        data = s.recv(65536)
        if not data:
            raise SystemExit("cut while asking")
        ended = any(isinstance(e, h2.events.StreamEnded) for e in c.receive_data(data))
    s.sendall(c.data_to_send())


def ask_h1(s):
    s.sendall(b"GET /echo HTTP/1.1\r\nHost: x\r\n\r\n")
    data = b""
    while not data.endswith(b"\r\n\r\n") or data.count(b"\r\n\r\n") < 2:  # its content is our head
        more = s.recv(65536)
        if not more:
            raise SystemExit("cut while asking: %r" % data)
        data += more


class Returners:
    def __init__(self, out, ca):
        self.out, self.ca, self.served, self.lock = out, ca, threading.Semaphore(0), threading.Lock()

    def visit(self, address, context, session=None):
        s = context.wrap_socket(socket.create_connection((address, 443), PATIENCE_S), server_hostname=address,
                                session=session)
        (ask_h2 if s.selected_alpn_protocol() == "h2" else ask_h1)(s)
        return s

    @staticmethod
    def wait_for_end(s):
        """Asks the socket below: from the layer of TLS a reset looks like any other end."""
        with socket.fromfd(s.fileno(), s.family, socket.SOCK_STREAM) as raw:
            raw.settimeout(PATIENCE_S)
            try:
                while raw.recv(1, socket.MSG_PEEK):
                    s.recv(65536)  # of HTTP/2 what belongs to the connection
                return "fin"
            except ConnectionResetError:
                return "reset"
            except OSError as e:
                return repr(e)

    def client(self, address, protocol):
        context = ssl.create_default_context(cafile=self.ca)
        context.set_alpn_protocols([protocol])
        s = self.visit(address, context)
        self.served.release()
        how = self.wait_for_end(s)
        told_ns, session = time.time_ns(), s.session
        s.close()
        again = self.visit(address, context, session)
        found = {"address": address, "protocol": again.selected_alpn_protocol(), "how": how, "told_ns": told_ns,
                 "reused": again.session_reused, "back_ns": time.time_ns()}
        again.close()
        with self.lock:
            print(json.dumps(found), file=self.out)


def main():
    out, count = open(sys.argv[1], "w", buffering=1, encoding="ascii"), int(sys.argv[3])
    all_of_them = Returners(out, sys.argv[2])
    threads = [threading.Thread(target=all_of_them.client, args=(address, protocol), daemon=True)
               for address in sys.argv[4:] for protocol in ("http/1.1", "h2") for _ in range(count)]
    for t in threads:
        t.start()
    for _ in threads:
        if not all_of_them.served.acquire(timeout=PATIENCE_S):
            raise SystemExit("not all were served")
    with all_of_them.lock:
        print("ready", file=out)
    for t in threads:
        t.join()


if __name__ == "__main__":
    main()
