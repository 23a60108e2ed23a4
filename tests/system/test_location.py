#!/usr/bin/python3
"""Where clients are: routes that match a word from a file of networks, or from a MaxMind database (a small one that
this file writes itself)."""
import ipaddress
import os
import struct
import tempfile
import unittest

from rig import Server, ask
from test_http1 import Case, get


def encode(value):
    """The data section's encoding (MaxMind DB format 2.0) of maps, lists, texts and (kind, number)."""
    def head(kind, size):
        assert size < 29 + 256
        low = size if size < 29 else 29
        first = bytes([kind << 5 | low]) if kind < 8 else bytes([low, kind - 7])
        return first + (bytes([size - 29]) if size >= 29 else b"")

    if isinstance(value, dict):
        return head(7, len(value)) + b"".join(encode(k) + encode(v) for k, v in value.items())
    if isinstance(value, str):
        return head(2, len(value.encode())) + value.encode()
    if isinstance(value, list):
        return head(11, len(value)) + b"".join(encode(v) for v in value)
    kind, number = value
    data = number.to_bytes((number.bit_length() + 7) // 8, "big")
    return head(kind, len(data)) + data


UINT16, UINT32, UINT64 = 5, 6, 9


def write_mmdb(path, networks):
    """networks: {"10.0.0.0/8": {...}}; IPv4 lies at ::/96, as in MaxMind's own."""
    nodes, data = [[None, None]], b""
    for text, value in networks.items():
        net = ipaddress.ip_network(text)
        bits = format(int(net.network_address), "0128b")[:net.prefixlen + (96 if net.version == 4 else 0)]
        node = 0
        for bit in bits[:-1]:
            if nodes[node][int(bit)] is None:
                nodes.append([None, None])
                nodes[node][int(bit)] = len(nodes) - 1
            node = nodes[node][int(bit)]
        nodes[node][int(bits[-1])] = -1 - len(data)
        data += encode(value)
    count = len(nodes)

    def record(r):
        n = count if r is None else r if r >= 0 else count + 16 - 1 - r
        return struct.pack(">I", n)

    meta = {"node_count": (UINT32, count), "record_size": (UINT16, 32), "ip_version": (UINT16, 6), "database_type": "test", "languages": ["en"],
            "binary_format_major_version": (UINT16, 2), "binary_format_minor_version": (UINT16, 0),
            "build_epoch": (UINT64, 1),
            "description": {"en": "test"}}
    with open(path, "wb") as f:
        f.write(b"".join(record(left) + record(right) for left, right in nodes) + bytes(16) + data +
                b"\xab\xcd\xefMaxMind.com" + encode(meta))


CONFIG = """location: {%s}
listeners:
  main:
    bind: "127.0.0.1:{port}"
    trusted_proxies: [127.0.0.0/8]
    routes:
      - match: {location: [DE, AT]}
        pool: german
      - match: {location: office}
        pool: office
      - match: {location: "*"}
        pool: known
      - pool: rest
pools:
"""


class Location(Case):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="tandem-")
        self.addCleanup(folder.cleanup)
        self.dir = folder.name
        self.pools = ""
        for name in ("german", "office", "known", "rest"):
            s = Server(lambda conn, n, name=name: made[name].answer_all(conn, n, name.encode()))
            made = getattr(self, "made", {})
            self.made = made
            made[name] = s
            self.addCleanup(s.kill)
            self.pools += '  %s: {servers: {s: "127.0.0.1:%d"}}\n' % (name, s.port)

    def file(self, name, text):
        path = os.path.join(self.dir, name)
        with open(path, "w") as f:
            f.write(text)
        return path

    def start(self, keys, **how):
        return self.proxy(CONFIG % keys + self.pools, **how)

    def pool_of(self, p, client):
        return ask(p, get("/", "X-Forwarded-For: %s\r\n" % client)).body.decode()

    def test_a_file_of_networks_says_where_a_client_is_the_narrowest_wins_and_a_reload_reads_it_again(self):
        text = "# ours\n10.0.0.0/8 office\n\n10.7.0.0/16\tDE  # a branch\r\nfd00::/8 AT\n192.0.2.1 elsewhere"
        path = self.file("networks", text)
        p = self.start("networks: " + path)
        for client, pool in {"10.1.1.1": "office", "10.7.1.1": "german", "fd00::1": "german", "192.0.2.1": "known",
                             "192.0.2.2": "rest", "::1": "rest"}.items():
            self.assertEqual(self.pool_of(p, client), pool, client)
        self.file("networks", "10.7.0.0/16 office\n")
        self.assertIn("result", p.rpc("reload"))
        self.assertEqual(self.pool_of(p, "10.7.1.1"), "office")
        self.assertEqual(self.pool_of(p, "10.1.1.1"), "rest")

    def test_every_bad_line_is_named_and_a_bad_file_keeps_the_old_one_running(self):
        path = self.file("networks", "10.0.0.0/8 office\n")
        p = self.start("networks: " + path)
        self.file("networks", "10.0.0.0/33 x\n10.0.0.0/8\n10.0.0.0/8 two words\n\n1.2.3.4 good\n")
        errors = p.rpc("reload")["error"]["message"]
        self.assertIn("networks:1: '10.0.0.0/33 x' does not begin with a network", p.logged())
        self.assertIn("networks:2: '10.0.0.0/8' does not have one word", p.logged())
        self.assertIn("networks:3: '10.0.0.0/8 two words' does not have one word", p.logged())
        self.assertIn("(and 2 more)", errors)
        self.file("networks", "10.0.0.0/8 office\n11.0.0.0/8 a\n10.0.0.0/8 b\n")
        p.rpc("reload")
        self.assertIn("networks:3: the same network is in line 1 already", p.logged())
        os.remove(path)
        self.assertIn("cannot open", p.rpc("reload")["error"]["message"])
        self.assertEqual(self.pool_of(p, "10.1.1.1"), "office")

    def test_a_maxmind_database_says_which_country_behind_the_file(self):
        path = os.path.join(self.dir, "test.mmdb")
        write_mmdb(path, {"81.0.0.0/8": {"country": {"iso_code": "DE"}, "continent": "EU"},
                          "82.0.0.0/9": {"country": {"iso_code": "AT"}},
                          "83.0.0.0/8": {"country": {"iso_code": "FR"}},
                          "84.0.0.0/8": {"continent": "EU"},
                          "2001:db8::/32": {"country": {"iso_code": "DE"}}})
        own = self.file("networks", "81.2.0.0/16 office\n")
        p = self.start("networks: %s, maxmind: %s" % (own, path))
        for client, pool in {"81.1.1.1": "german", "81.2.1.1": "office", "82.1.1.1": "german", "82.200.1.1": "rest",
                             "83.1.1.1": "known", "84.1.1.1": "rest", "2001:db8::1": "german",
                             "2001:db9::1": "rest"}.items():
            self.assertEqual(self.pool_of(p, client), pool, client)
        p = self.start("maxmind: %s, field: continent" % path)
        self.assertEqual(self.pool_of(p, "84.1.1.1"), "known")
        self.assertEqual(self.pool_of(p, "82.1.1.1"), "rest")

    def test_a_file_that_is_no_database_and_a_match_without_a_location_are_errors(self):
        for keys, expected in (("maxmind: " + self.file("x.mmdb", "no database"), "cannot use"),
                               ("maxmind: /nowhere/x.mmdb", "cannot use /nowhere/x.mmdb: No such file"),
                               ("field: a.b", "needs 'networks' or 'maxmind'")):
            p = self.start(keys, wait=False)
            self.assertEqual(p.proc.wait(10), 2)
            self.assertIn(expected, p.logged())
        p = self.proxy((CONFIG % "").split("\n", 1)[1] + self.pools, wait=False)
        self.assertEqual(p.proc.wait(10), 2)
        self.assertIn("'location' can not be matched: say at the top of the file who is where", p.logged())


if __name__ == "__main__":
    unittest.main()
