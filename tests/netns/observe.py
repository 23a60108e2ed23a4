#!/usr/bin/env python3
"""Who has the address? Asked of everybody, all the time: observe.py INTERFACE VIP4 VIP6 MAC...

Until SIGTERM, every 2 ms: an ARP request and a neighbour solicitation to all, and a TCP SYN for each
address to every MAC, whoever ARP says has it. One line an answer on stdout: time (CLOCK_MONOTONIC, us),
what was asked (arp, nd, tcp4, tcp6), and the MAC that answered. Nothing is taken from caches, so that
two owners show as two MACs.
"""

import fcntl
import select
import signal
import socket
import struct
import sys
import time

EVERY_S = 0.002
SIOCGIFHWADDR, SIOCGIFADDR = 0x8927, 0x8915
ETH_P_ALL = 3


def checksum(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    total = (total >> 16) + (total & 0xffff)
    return ~(total + (total >> 16)) & 0xffff


class Observer:
    def __init__(self, interface, vip4, vip6, macs):
        self.wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        self.wire.bind((interface, 0))
        self.wire.setblocking(False)
        self.mac = self.own(interface, SIOCGIFHWADDR)[:6]
        self.ip4 = self.own(interface, SIOCGIFADDR)[2:6]
        with open("/proc/net/if_inet6", encoding="ascii") as f:
            self.ip6 = next(bytes.fromhex(line.split()[0]) for line in f
                            if line.split()[5] == interface and not line.startswith("fe80"))
        self.vip4, self.vip6 = socket.inet_aton(vip4), socket.inet_pton(socket.AF_INET6, vip6)
        self.macs = [bytes.fromhex(mac.replace(":", "")) for mac in macs]
        self.port = 20000

    @staticmethod
    def own(interface, what):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            return fcntl.ioctl(s, what, struct.pack("16s16x", interface.encode()))[18:]

    def ask_arp(self):
        return (b"\xff" * 6 + self.mac + b"\x08\x06" + bytes.fromhex("0001080006040001") + self.mac + self.ip4
                + bytes(6) + self.vip4)

    def ip6_packet(self, to_mac, to, protocol, body, at):
        """at: of the checksum in the body."""
        pseudo = self.ip6 + to + struct.pack("!II", len(body), protocol)
        body = body[:at] + struct.pack("!H", checksum(pseudo + body)) + body[at + 2:]
        return (to_mac + self.mac + b"\x86\xdd" + struct.pack("!IHBB", 6 << 28, len(body), protocol, 255)
                + self.ip6 + to + body)

    def ask_nd(self):
        group = bytes.fromhex("ff0200000000000000000001ff") + self.vip6[-3:]
        body = struct.pack("!BBHI", 135, 0, 0, 0) + self.vip6 + b"\x01\x01" + self.mac
        return self.ip6_packet(b"\x33\x33" + group[-4:], group, 58, body, 2)

    def syn(self):
        self.port = self.port + 1 if self.port < 60000 else 20000
        return struct.pack("!HHIIBBHHH", self.port, 80, 1, 0, 5 << 4, 2, 1024, 0, 0)

    def ask_tcp4(self, mac):
        tcp = self.syn()
        pseudo = self.ip4 + self.vip4 + struct.pack("!HH", 6, len(tcp))
        tcp = tcp[:16] + struct.pack("!H", checksum(pseudo + tcp)) + tcp[18:]
        ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(tcp), 0, 0x4000, 64, 6, 0) + self.ip4 + self.vip4
        ip = ip[:10] + struct.pack("!H", checksum(ip)) + ip[12:]
        return mac + self.mac + b"\x08\x00" + ip + tcp

    def ask(self):
        frames = [self.ask_arp(), self.ask_nd()]
        frames += [self.ask_tcp4(mac) for mac in self.macs]
        frames += [self.ip6_packet(mac, self.vip6, 6, self.syn(), 16) for mac in self.macs]
        for frame in frames:
            try:
                self.wire.send(frame)
            except OSError:  # the wire is down for a moment
                return

    def said(self, frame):
        """Which question a frame answers; None: none."""
        if frame[:6] != self.mac:
            return None
        if frame[12:14] == b"\x08\x06":
            return "arp" if frame[20:22] == b"\x00\x02" and frame[28:32] == self.vip4 else None
        if frame[12:14] == b"\x08\x00":
            return "tcp4" if frame[23] == 6 and frame[26:30] == self.vip4 and frame[47] == 0x12 else None
        if frame[12:14] != b"\x86\xdd":
            return None
        if frame[20] == 58:
            return "nd" if frame[54] == 136 and frame[62:78] == self.vip6 else None
        return "tcp6" if frame[20] == 6 and frame[22:38] == self.vip6 and frame[67] == 0x12 else None

    def hear(self, until):
        while select.select([self.wire], [], [], max(0, until - time.monotonic()))[0]:
            try:
                frame = self.wire.recv(2048)
            except OSError:
                return
            what = self.said(frame)
            if what:
                # in one: SIGTERM may end us between two writes
                sys.stdout.write("%d %s %s\n" % (time.monotonic_ns() // 1000, what, frame[6:12].hex(":")))
            if time.monotonic() > until:
                return

    def run(self):
        due = time.monotonic()
        while True:
            self.ask()
            due = max(due + EVERY_S, time.monotonic() - EVERY_S)
            self.hear(due)


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    Observer(*sys.argv[1:4], sys.argv[4:]).run()


if __name__ == "__main__":
    main()
