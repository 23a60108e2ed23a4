"""Just enough of TLS and HTTP/2 (RFC 9113, RFC 7541) to ask for something, and to attack."""

import ssl
import struct

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
END_STREAM, ACK, END_HEADERS = 1, 1, 4
INITIAL_WINDOW_SIZE = 4
CANCEL = 8
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def head(path):
    """:method GET, :scheme https, :path, :authority, none of which enters the table."""
    return b"\x82\x87" + b"".join(b"%c%c%s" % (index, len(text), text) for index, text in ((4, path), (1, b"a")))


def request(path, stream):
    return frame(HEADERS, END_STREAM | END_HEADERS, stream, head(path))


def hello(window=65535):
    return PREFACE + frame(SETTINGS, 0, 0, struct.pack(">HI", INITIAL_WINDOW_SIZE, window))


def tls_context(protocol=None):
    """Of a client that believes everything: it is the handshake that counts."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if protocol:
        context.set_alpn_protocols([protocol])
    return context


def client_hello():
    """The first record of a handshake, which a server cannot tell from one that is meant."""
    outgoing = ssl.MemoryBIO()
    try:
        tls_context().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="a").do_handshake()
    except ssl.SSLWantReadError:
        pass
    return outgoing.read()
