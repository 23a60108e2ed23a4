#!/usr/bin/env python3
"""Browsers: clients that do many things at a time over one connection, HTTP/2 with TLS.

    browsers.py --ca FILE [-p PATIENCE_S] [-e EVERY_MS] SECONDS BROWSERS ADDRESS...

Against origin.py behind the addresses, as streams.py. Each browser has, over one connection, a slow download and a
slow upload that last all the time, a WebSocket (RFC 8441) with an echo every 100 ms, and eight requests under way at
any time; and every EVERY_MS somebody comes for one request and goes. Who is told to go (GOAWAY) makes a new connection
for what begins from then on, and stays with the old one until the last of it is over.

At the end one JSON object on stdout: {"kinds": as streams.py, "browsers": [[connection...]...]}, each connection with
the GOAWAYs that it got, [last stream, code], the last stream that it began, and whether it was over in the end.
"""

import asyncio
import functools
import hashlib
import json
import struct
import time

import h2.config
import h2.connection
import h2.events
import h2.exceptions

from streams import Streams, options_of

AT_A_TIME = 8
REQUEST_MS = 200
GOAWAY = 7  # RFC 9113 6.8


class Refused(Exception):
    """The server has not begun with it, and will not."""


class Stream:
    """A request, and its answer as it comes: its head (a dict), content, b"" at the end; or what broke it."""

    def __init__(self, connection, number):
        self.connection, self.number = connection, number
        self.pieces = asyncio.Queue()

    async def next(self):
        piece = await self.pieces.get()
        if isinstance(piece, Exception):
            raise piece
        return piece

    async def head(self):
        head = await self.next()
        if head[":status"] != "200":
            raise OSError("status " + head[":status"])
        return head

    async def rest(self):
        content = b""
        while piece := await self.next():
            content += piece
        return content

    async def send(self, data, end=False):
        c = self.connection
        while data and c.h2.local_flow_control_window(self.number) < len(data):
            c.window.clear()
            await c.window.wait()
        c.check()
        c.h2.send_data(self.number, data, end_stream=end)
        c.flush()
        await c.writer.drain()


class Connection:
    """h2 takes a GOAWAY for the end of everything, while what runs goes on: it is read here, and h2 is not told."""

    def __init__(self, reader, writer):
        self.reader, self.writer, self.data = reader, writer, b""
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self.streams, self.goaways, self.last, self.over = {}, [], 0, False
        self.window, self.greeted = asyncio.Event(), asyncio.Event()
        self.h2.initiate_connection()
        self.flush()
        self.task = asyncio.create_task(self.run())

    async def run(self):
        try:
            while data := await self.reader.read(65536):
                self.take(data)
            self.end(EOFError("the connection ended"))
        except (OSError, h2.exceptions.ProtocolError) as e:
            self.end(e)

    def end(self, why):
        self.over = True
        self.writer.close()
        self.greeted.set()
        self.window.set()
        for s in self.streams.values():
            s.pieces.put_nowait(why)

    def check(self):
        if self.over:
            raise OSError("the connection is over")

    def flush(self):
        data = self.h2.data_to_send()
        if data:
            self.writer.write(data)

    def take(self, data):
        self.data += data
        while len(self.data) >= 9 and len(self.data) >= 9 + int.from_bytes(self.data[:3], "big"):
            size = 9 + int.from_bytes(self.data[:3], "big")
            frame, self.data = self.data[:size], self.data[size:]
            if frame[3] == GOAWAY:
                self.on_goaway(*struct.unpack(">II", frame[9:17]))
                continue
            for event in self.h2.receive_data(frame):
                self.on_event(event)
        self.flush()

    def on_goaway(self, last, code):
        self.goaways.append([last, code])
        for number in [n for n in self.streams if n > last]:
            self.streams.pop(number).pieces.put_nowait(Refused())

    def on_event(self, event):
        s = self.streams.get(getattr(event, "stream_id", None))
        if isinstance(event, h2.events.RemoteSettingsChanged):
            self.greeted.set()
            self.window.set()
        elif isinstance(event, h2.events.WindowUpdated):
            self.window.set()
        elif isinstance(event, h2.events.DataReceived):
            self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        if s is None:
            return
        if isinstance(event, h2.events.ResponseReceived):
            s.pieces.put_nowait(dict(event.headers))
        elif isinstance(event, h2.events.DataReceived) and event.data:
            s.pieces.put_nowait(event.data)
        elif isinstance(event, h2.events.StreamEnded):
            del self.streams[s.number]
            s.pieces.put_nowait(b"")
        elif isinstance(event, h2.events.StreamReset):
            del self.streams[s.number]
            s.pieces.put_nowait(OSError("reset with %d" % event.error_code))

    def begin(self, method, path, *more, end=True):
        self.check()
        number = self.last = self.h2.get_next_available_stream_id()
        s = self.streams[number] = Stream(self, number)
        self.h2.send_headers(number, [(":method", method), (":scheme", "https"), (":authority", "x"), (":path", path),
                                      *more], end_stream=end)
        self.flush()
        return s

    async def begin_websocket(self, path):
        await self.greeted.wait()
        if not self.h2.remote_settings.enable_connect_protocol:
            raise OSError("it takes no WebSocket")
        return self.begin("CONNECT", path, (":protocol", "websocket"), ("sec-websocket-version", "13"), end=False)

    def close(self):
        if not self.over:
            self.h2.close_connection()
            self.flush()
            self.writer.close()


class Browser:
    def __init__(self, open_connection):
        self.open_connection, self.lock = open_connection, asyncio.Lock()
        self.connections = []

    async def connection(self):
        """The one for what begins now."""
        async with self.lock:
            c = self.connections[-1] if self.connections else None
            if c is None or c.goaways or c.over:
                self.connections.append(await self.open_connection())
            return self.connections[-1]

    async def get(self, path):
        while True:
            s = (await self.connection()).begin("GET", path)
            try:
                await s.head()
                return await s.rest()
            except Refused:
                continue

    async def leave(self, patience):
        """Whoever was told to go is let go by the other side."""
        for c in self.connections:
            if not c.goaways:
                c.close()
            await asyncio.wait({c.task}, timeout=patience)

    def told(self):
        return [{"goaways": c.goaways, "last": c.last, "over": c.over} for c in self.connections]


class Browsers(Streams):
    short = ("new", "request")

    def __init__(self, options):
        super().__init__(options)
        self.tls.set_alpn_protocols(["h2"])

    async def connect(self, address):
        return Connection(*await self.open(address))

    async def download(self, browser, kind, _):
        count = int(self.seconds * 100)
        s = (await browser.connection()).begin("GET", "/trickle/%d" % count)
        await s.head()
        got = 0
        while got < count:
            asked = time.monotonic()
            piece = await s.next()
            kind.waited(asked)
            if not piece:
                raise OSError("%d of %d bytes" % (got, count))
            got += len(piece)
        await s.rest()

    async def upload(self, browser, kind, _):
        pieces, piece = int(self.seconds * 50), bytes(range(256)) * 16
        s = (await browser.connection()).begin("POST", "/body", ("content-length", str(pieces * len(piece))), end=False)
        digest = hashlib.sha256()
        for n in range(pieces):
            asked = time.monotonic()
            digest.update(piece)
            await s.send(piece, n == pieces - 1)
            kind.waited(asked)
            await asyncio.sleep(0.02)
        await s.head()
        body = (await s.rest()).decode()
        if digest.hexdigest() not in body:
            raise OSError("the body arrived otherwise: %r" % body)

    async def websocket(self, browser, kind, _):
        s = await (await browser.connection()).begin_websocket("/tunnel")
        await s.head()
        number = 0
        while time.monotonic() < self.end:
            asked, line, got = time.monotonic(), b"%d\n" % number, b""
            await s.send(line)
            while len(got) < len(line):
                piece = await s.next()
                if not piece:
                    raise OSError("the WebSocket ended")
                got += piece
            if got != line:
                raise OSError("%r came back as %r" % (line, got))
            kind.waited(asked)
            number += 1
            await asyncio.sleep(0.1)
        await s.send(b"", True)
        await s.rest()

    async def request(self, browser, kind, _):
        asked = time.monotonic()
        await browser.get("/slow/%d" % REQUEST_MS)
        kind.waited(asked)

    async def one(self, kind, address):
        asked = time.monotonic()
        browser = Browser(functools.partial(self.connect, address))
        try:
            await browser.get("/echo")
            kind.waited(asked)
        finally:
            await browser.leave(self.patience)

    async def asking(self, browser, address):
        while time.monotonic() < self.end:
            await self.run("request", functools.partial(self.request, browser), address)

    async def browse(self, browser, address):
        long = {"download": self.download, "upload": self.upload, "websocket": self.websocket}
        await asyncio.gather(
            *[self.run(name, functools.partial(work, browser), address) for name, work in long.items()],
            *[self.asking(browser, address) for _ in range(AT_A_TIME)])
        await browser.leave(self.patience)

    async def everything(self, count, addresses):
        at = [address for address in addresses for _ in range(count)]
        browsers = [Browser(functools.partial(self.connect, address)) for address in at]
        await asyncio.gather(*map(self.browse, browsers, at), *[self.fresh(None, address) for address in addresses])
        return {"kinds": {"h2 " + name: vars(kind) for name, kind in self.kinds.items()},
                "browsers": [browser.told() for browser in browsers]}


def main():
    options = options_of(__doc__, 1)
    print(json.dumps(asyncio.run(Browsers(options).everything(options.counts[0], options.addresses))))


if __name__ == "__main__":
    main()
