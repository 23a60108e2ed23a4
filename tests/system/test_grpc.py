#!/usr/bin/python3
"""gRPC as it is: Google's client and server (python3-grpcio) through the real program, in the clear and with TLS
on both sides."""
import queue
import time
import unittest
from concurrent.futures import ThreadPoolExecutor

import grpc

import rig
import test_tls_servers
from rig import PATIENCE_S, Proxy
from test_tls_servers import setUpModule, tearDownModule  # noqa: F401, of the certificates

CALLS_AT_ONCE = 20


class Methods(grpc.GenericRpcHandler):
    def service(self, details):
        return {
            "/t/Twice": grpc.unary_unary_rpc_method_handler(self.twice),
            "/t/Count": grpc.unary_stream_rpc_method_handler(lambda ask, _: (b"%d" % i + ask for i in range(100))),
            "/t/Sum": grpc.stream_unary_rpc_method_handler(lambda asks, _: b"%d" % sum(map(len, asks))),
            "/t/Echo": grpc.stream_stream_rpc_method_handler(lambda asks, _: (ask + b"!" for ask in asks)),
        }.get(details.method)

    @staticmethod
    def twice(ask, context):
        context.send_initial_metadata((("x-first", "1"),))
        context.set_trailing_metadata((("x-last", "9"), ("x-bytes-bin", b"\x00\xff")))
        if ask == b"fail":
            context.abort(grpc.StatusCode.NOT_FOUND, "n\u00e4 \u2026")
        if ask == b"slow":
            time.sleep(2)
        return ask * 2


class Case(rig.Case):
    def server(self, credentials=None):
        s = grpc.server(ThreadPoolExecutor(CALLS_AT_ONCE))
        s.add_generic_rpc_handlers((Methods(),))
        address = "127.0.0.1:0"
        s.port = s.add_secure_port(address, credentials) if credentials else s.add_insecure_port(address)
        s.start()
        self.addCleanup(s.stop, 0)
        return s

    def channel(self, p, credentials=None):
        address, options = "127.0.0.1:%d" % p.port, (("grpc.default_authority", "api.internal"),)
        if credentials:
            options += (("grpc.ssl_target_name_override", "api.internal"),)
        ch = grpc.secure_channel(address, credentials, options) if credentials else \
            grpc.insecure_channel(address, options)
        self.addCleanup(ch.close)
        return ch

    def proxy(self, listener, server, pool=""):
        p = Proxy("listeners:\n  rpc: {bind: \"127.0.0.1:{port}\", pool: web, %s}\npools:\n"
                  "  web: {protocol: h2, servers: {s0: \"127.0.0.1:%d\"}%s}\n" % (listener, server.port, pool))
        self.addCleanup(self.stop, p)
        return p

    def fails(self, code, call, *args, **how):
        with self.assertRaises(grpc.RpcError) as caught:
            call(*args, **how)
        self.assertEqual(caught.exception.code(), code)
        return caught.exception


class Calls(Case):
    def all_kinds(self, ch):
        twice = ch.unary_unary("/t/Twice")
        answer, call = twice.with_call(b"abc", timeout=PATIENCE_S)
        first, last = dict(call.initial_metadata()), dict(call.trailing_metadata())
        self.assertEqual((answer, first["x-first"], last["x-last"], last["x-bytes-bin"]),
                         (b"abcabc", "1", "9", b"\x00\xff"))
        e = self.fails(grpc.StatusCode.NOT_FOUND, twice, b"fail", timeout=PATIENCE_S)
        self.assertEqual(e.details(), "n\u00e4 \u2026")
        self.fails(grpc.StatusCode.UNIMPLEMENTED, ch.unary_unary("/t/None"), b"", timeout=PATIENCE_S)
        self.fails(grpc.StatusCode.DEADLINE_EXCEEDED, twice, b"slow", timeout=0.3)
        many = list(ch.unary_stream("/t/Count")(b"x" * 20000, timeout=PATIENCE_S))
        self.assertEqual((len(many), many[99]), (100, b"99" + b"x" * 20000))
        self.assertEqual(ch.stream_unary("/t/Sum")((b"x" * 40000 for _ in range(100)), timeout=PATIENCE_S), b"4000000")
        asks = queue.Queue()
        answers = ch.stream_stream("/t/Echo")(iter(asks.get, None), timeout=PATIENCE_S)
        for i in range(20):
            asks.put(b"%d" % i)
            self.assertEqual(next(answers), b"%d!" % i)
        asks.put(None)
        self.assertEqual(list(answers), [])

    def test_of_all_kinds_in_the_clear(self):
        self.all_kinds(self.channel(self.proxy("h2c: true", self.server())))

    def test_of_all_kinds_with_tls_on_both_sides(self):
        certs = test_tls_servers.certs
        cert, key = certs.pair("good")
        with open(cert, "rb") as c, open(key, "rb") as k, open(certs.path("ca.crt"), "rb") as a:
            ours, authority = (k.read(), c.read()), a.read()
        s = self.server(credentials=grpc.ssl_server_credentials([ours]))
        p = self.proxy("tls: {certificates: [{cert: %s, key: %s}]}" % (cert, key), s,
                       ", tls: {ca: %s, server_name: api.internal}" % certs.path("ca.crt"))
        self.all_kinds(self.channel(p, grpc.ssl_channel_credentials(authority)))


if __name__ == "__main__":
    unittest.main()
