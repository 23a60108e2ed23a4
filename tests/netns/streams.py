#!/usr/bin/env python3
"""Clients that are in the middle of something:

    streams.py [-p PATIENCE_S] [-e EVERY_MS] [--ca FILE] SECONDS DOWNLOADS UPLOADS KEPT TUNNELS ADDRESS...

Against origin.py behind the addresses (each with a port; IPv6 in brackets), each number of streams for
every address: slow downloads and uploads that last all the time, kept connections with a request every
100 ms, WebSockets with an echo every 100 ms, and a fresh connection every 20 ms (or EVERY_MS). With the
certificate of who is to be believed all of it goes over TLS. At the end one JSON
object on stdout: per kind how many were good, what failed and when (CLOCK_MONOTONIC, us), and the longest wait
for an answer. What is not over PATIENCE_S after the end, and a fresh connection that takes that long, has failed.

A kept connection that an answer with `Connection: close` ended is followed by a new one: nothing failed.
"""

import argparse
import asyncio
import hashlib
import json
import ssl
import time

CROWD_S = 1  # all streams begin at once: who waits then waits for the others


class Kind:
    """What became of all streams of one kind."""

    def __init__(self, counts_from):
        self.counts_from = counts_from
        self.good, self.failed, self.worst_ms, self.reopened = 0, [], 0.0, 0

    def waited(self, since):
        if since > self.counts_from:
            self.worst_ms = max(self.worst_ms, (time.monotonic() - since) * 1000)


class Streams:
    short = ("new",)  # kinds that begin all the time, and must be over soon

    def __init__(self, options):
        self.start = time.monotonic()
        self.end = self.start + options.seconds
        self.seconds, self.patience, self.every_s = options.seconds, options.patience, options.every / 1000
        self.tls = ssl.create_default_context(cafile=options.ca) if options.ca else None
        self.kinds = {}

    async def open(self, address):
        host, _, port = address.rpartition(":")
        return await asyncio.open_connection(host.strip("[]"), int(port), ssl=self.tls)

    @staticmethod
    async def head(reader):
        """Status and fields of an answer."""
        lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        fields = dict((k.lower(), v.strip()) for k, _, v in (line.partition(":") for line in lines[1:] if line))
        return int(lines[0].split()[1]), fields

    async def ask(self, reader, writer, request):
        """A whole exchange: body and fields."""
        writer.write(request)
        await writer.drain()
        return await self.answer(reader)

    async def answer(self, reader):
        status, fields = await self.head(reader)
        body = await reader.readexactly(int(fields["content-length"]))
        if status != 200:
            raise OSError("status %d" % status)
        return body, fields

    async def download(self, kind, address):
        count = int(self.seconds * 100)
        reader, writer = await self.open(address)
        writer.write(b"GET /trickle/%d HTTP/1.1\r\nHost: x\r\n\r\n" % count)
        await self.head(reader)
        got = 0
        while got < count:
            asked = time.monotonic()
            piece = await reader.read(4096)
            kind.waited(asked)
            if not piece:
                raise OSError("%d of %d bytes" % (got, count))
            got += len(piece)
        writer.close()

    async def upload(self, kind, address):
        pieces, piece = int(self.seconds * 50), bytes(range(256)) * 16
        reader, writer = await self.open(address)
        digest = hashlib.sha256()
        writer.write(b"POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (pieces * len(piece)))
        for _ in range(pieces):
            asked = time.monotonic()
            writer.write(piece)
            digest.update(piece)
            await writer.drain()
            kind.waited(asked)
            await asyncio.sleep(0.02)
        body, _ = await self.answer(reader)
        if digest.hexdigest() not in body.decode():
            raise OSError("the body arrived otherwise: %r" % body)
        writer.close()

    async def kept(self, kind, address):
        reader = writer = None
        while time.monotonic() < self.end:
            asked = time.monotonic()
            if writer is None:
                reader, writer = await self.open(address)
            _, fields = await self.ask(reader, writer, b"GET /echo HTTP/1.1\r\nHost: x\r\n\r\n")
            kind.waited(asked)
            if fields.get("connection", "").lower() == "close":
                kind.reopened += 1
                writer.close()
                writer = None
            await asyncio.sleep(0.1)

    async def tunnel(self, kind, address):
        reader, writer = await self.open(address)
        writer.write(b"GET /tunnel HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                     b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
        status, _ = await self.head(reader)
        if status != 101:
            raise OSError("status %d" % status)
        number = 0
        while time.monotonic() < self.end:
            asked = time.monotonic()
            line = b"%d\n" % number
            writer.write(line)
            if await reader.readline() != line:
                raise OSError("the tunnel ended")
            kind.waited(asked)
            number += 1
            await asyncio.sleep(0.1)
        writer.close()

    async def one(self, kind, address):
        asked = time.monotonic()
        reader, writer = await self.open(address)
        await self.ask(reader, writer, b"GET /echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        kind.waited(asked)
        writer.close()

    async def fresh(self, _, address):
        """Each of them is judged for itself."""
        tasks = []
        while time.monotonic() < self.end:
            tasks.append(asyncio.create_task(self.run("new", self.one, address)))
            await asyncio.sleep(self.every_s)
        await asyncio.gather(*tasks)

    async def run(self, name, work, address):
        kind = self.kinds.setdefault(name, Kind(self.start + CROWD_S))
        began = time.monotonic()
        patience = self.patience if name in self.short else self.seconds + self.patience
        try:
            await asyncio.wait_for(work(kind, address), patience)
            kind.good += 1
        except (OSError, EOFError, ValueError, asyncio.TimeoutError) as e:
            failed = time.monotonic()
            kind.failed.append({"at_us": int(failed * 1e6), "what": "%s, begun at %.3f s, failed at %.3f s: %s" % (
                address, began - self.start, failed - self.start, repr(e))})

    async def all(self, counts, addresses):
        work = {"download": self.download, "upload": self.upload, "kept": self.kept, "tunnel": self.tunnel}
        tasks = [self.run(name, work[name], address) for address in addresses
                 for name, count in zip(work, counts) for _ in range(count)]
        tasks += [self.run("fresh", self.fresh, address) for address in addresses]
        await asyncio.gather(*tasks)
        del self.kinds["fresh"]
        return {name: vars(kind) for name, kind in self.kinds.items()}


def options_of(doc, counts):
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-p", "--patience", type=float, default=5)
    parser.add_argument("-e", "--every", type=float, default=20)
    parser.add_argument("--ca")
    parser.add_argument("seconds", type=float)
    parser.add_argument("counts", type=int, nargs=counts)
    parser.add_argument("addresses", nargs="+")
    return parser.parse_args()


def main():
    options = options_of(__doc__, 4)
    print(json.dumps(asyncio.run(Streams(options).all(options.counts, options.addresses))))


if __name__ == "__main__":
    main()
