#!/usr/bin/env python3
"""What an attacker on the wire can do without the key: replay.py INTERFACE SOURCE FRAMES MODE

Run in the switch's namespace. Records FRAMES heartbeats (UDP, port 4242) of the machine with the IPv4
address SOURCE as they leave INTERFACE towards a node, says `recorded` on stdout, waits for a line on
stdin, and then sends them again and again, one a 20 ms, until it is killed. MODE `same`: as they were.
MODE `forged`: with one bit of the payload turned, another one each time.
"""

import itertools
import socket
import sys
import time

ETH_P_ALL = 3
UDP_PAYLOAD = 14 + 20 + 8


def is_heartbeat(frame, source):
    return (len(frame) > UDP_PAYLOAD and frame[12:14] == b"\x08\x00" and frame[23] == 17
            and frame[26:30] == socket.inet_aton(source) and frame[36:38] == (4242).to_bytes(2, "big"))


def main():
    interface, source, count, mode = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
    wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    wire.bind((interface, 0))
    frames = []
    while len(frames) < count:
        frame = wire.recv(4096)
        if is_heartbeat(frame, source):
            frames.append(frame)
    print("recorded", flush=True)
    sys.stdin.readline()
    for i in itertools.count():
        frame = bytearray(frames[i % count])
        if mode == "forged":
            at = UDP_PAYLOAD + i % (len(frame) - UDP_PAYLOAD)
            frame[at] ^= 1 << (i % 8)
        # No UDP checksum: a virtual wire never filled it in, and the code behind it must notice by itself.
        frame[40:42] = b"\0\0"
        try:
            wire.send(frame)
        except OSError:
            pass  # the wire is cut
        time.sleep(0.02)


if __name__ == "__main__":
    main()
