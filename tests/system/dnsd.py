"""A small DNS server for tests: answers from a table, and fails in the ways that servers fail."""
import socket
import struct
import threading

A, CNAME, SOA, AAAA, SRV = 1, 5, 6, 28, 33


def name_bytes(name):
    out = b""
    for label in name.rstrip(".").split("."):
        if label:
            out += bytes([len(label)]) + label.encode()
    return out + b"\0"


def read_name(data, at):
    labels = []
    while data[at]:
        labels.append(data[at + 1:at + 1 + data[at]].decode())
        at += 1 + data[at]
    return ".".join(labels).lower(), at + 1


class Dns:
    """`records[(name, type)]` is a list: an address, or (priority, weight, port, target) for SRV. A name in
    `fail` is answered with that code (2: SERVFAIL, 3: NXDOMAIN, 5: REFUSED), with silence (None), with garbage
    ("garbage"), or truncated over UDP ("tc"). `asked` has what was asked, with "udp" or "tcp"."""

    def __init__(self, ttl=1, host="127.0.0.1"):
        self.records, self.fail, self.asked, self.ttl, self.host = {}, {}, [], ttl, host
        while True:  # one port free for both
            self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self.udp.bind((host, 0))
            self.port = self.udp.getsockname()[1]
            self.tcp = socket.socket()
            self.tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                self.tcp.bind((host, self.port))
                break
            except OSError:
                self.udp.close()
                self.tcp.close()
        self.tcp.listen(16)
        for serve in (self.serve_udp, self.serve_tcp):
            threading.Thread(target=serve, daemon=True).start()

    def close(self):
        for s in (self.udp, self.tcp):
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            s.close()

    def serve_udp(self):
        while True:
            try:
                data, peer = self.udp.recvfrom(4096)
            except OSError:
                return
            answer = data and self.answer(data, "udp")
            if answer:
                self.udp.sendto(answer, peer)

    def serve_tcp(self):
        while True:
            try:
                conn, _ = self.tcp.accept()
            except OSError:
                return
            with conn:
                conn.settimeout(2)
                try:
                    size = struct.unpack("!H", conn.recv(2))[0]
                    answer = self.answer(conn.recv(size), "tcp")
                    if answer:
                        conn.sendall(struct.pack("!H", len(answer)) + answer)
                except (OSError, struct.error):
                    pass

    def answer(self, query, way):
        ident, _, _, _, _, _ = struct.unpack("!6H", query[:12])
        name, end = read_name(query, 12)
        kind, _ = struct.unpack("!2H", query[end:end + 4])
        question = query[12:end + 4]
        self.asked.append((name, kind, way))
        how = self.fail.get((name, kind), self.fail.get(name, 0))
        if how is None:
            return None
        if how == "garbage":
            return query[:2] + b"\x80\x00\x00\x01\x00\x05" + b"\xff" * 20
        if how == "tc":
            how = 0
            if way == "udp":
                return struct.pack("!6H", ident, 0x8380, 1, 0, 0, 0) + question
        answers = [] if how else self.records.get((name, kind), [])
        body = b""
        for r in answers:
            if kind == A:
                data = socket.inet_aton(r)
            elif kind == AAAA:
                data = socket.inet_pton(socket.AF_INET6, r)
            else:
                data = struct.pack("!3H", *r[:3]) + name_bytes(r[3])
            body += b"\xc0\x0c" + struct.pack("!2HIH", kind, 1, self.ttl, len(data)) + data
        return struct.pack("!6H", ident, 0x8180 | how, 1, len(answers), 0, 0) + question + body
