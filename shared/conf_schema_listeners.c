/*
 * The keys of a listener: where clients connect, with what (TLS, HTTP/2, the PROXY protocol), and
 * what they may send.
 */
#include "shared/conf_schema_rows.h"

static const struct conf_key limits_keys[] = {
	{.name = "connections",
		.type = CONF_TYPE_COUNT,
		.min = 1,
		.max = UINT32_MAX,
		.help = "Client connections at a time; no limit when not written."},
	{.name = "connections_per_client",
		.type = CONF_TYPE_COUNT,
		.min = 1,
		.max = UINT32_MAX,
		.help = "Connections at a time from one address (IPv6: from one /64), but for "
			"trusted_proxies; more are closed at once; no limit when not written."},
	{.name = "request_head",
		.type = CONF_TYPE_SIZE,
		.fallback = "32KiB",
		.min = 1024,
		.max = 56 << 10, /* and trailers, in one buffer */
		.help = "Largest head of a request; more is answered with 431."},
	CONTENT_LIMITS("500B/s"),
	{.name = "fields",
		.type = CONF_TYPE_COUNT,
		.fallback = "100",
		.min = 1,
		.max = 128,
		.help = "Most header fields of a request; more are answered with 431."},
	{.name = "h2_streams",
		.type = CONF_TYPE_COUNT,
		.fallback = "128",
		.min = 1,
		.max = 10000,
		.help = "Requests at a time on one HTTP/2 connection."},
	{.name = "h2_stream_window",
		.type = CONF_TYPE_SIZE,
		.fallback = "64KiB",
		.min = 16384,
		.max = 16 << 20,
		.help = "Content of one HTTP/2 request that may wait here for its server."},
	{.name = "h2_connection_window",
		.type = CONF_TYPE_SIZE,
		.fallback = "1MiB",
		.min = 65535,
		.max = 256 << 20,
		.help = "The same of all requests of a connection together."},
	{.name = "h2_frame",
		.type = CONF_TYPE_SIZE,
		.fallback = "16KiB",
		.min = 16384,
		.max = 1 << 20,
		.help = "Largest HTTP/2 frame that a client may send."},
	{0}};

static const struct conf_key proxy_protocol_keys[] = {
	{.name = "from",
		.type = CONF_TYPE_LIST,
		.required = true,
		.min = 1,
		.max = 1024,
		.value = ROW(.type = CONF_TYPE_CIDR, .help = "A network."),
		.help = "Networks of the proxies that say so. Their connections must begin with "
			"a header of version 1 or 2; from all others a header is not taken for "
			"one."},
	{0}};

static const struct conf_key certificate_keys[] = {
	{.name = "cert",
		.type = CONF_TYPE_FILE,
		.required = true,
		.help = "File in PEM form: the certificate, then its chain."},
	{.name = "key",
		.type = CONF_TYPE_FILE,
		.help = "File with its private key; not written: in the same file."},
	{0}};
static const struct conf_key certificates_directory = {.type = CONF_TYPE_FILE,
	.help = "Directory: NAME.crt, .cert or .pem with NAME.key beside it or inside, and "
		"subdirectories with fullchain.pem and privkey.pem."};
static const struct conf_key certificate = {.type = CONF_TYPE_MAP,
	.keys = certificate_keys,
	.short_for = "cert",
	.noun = "certificate",
	.help = "A certificate."};
static const struct conf_key certificates_list = {.type = CONF_TYPE_LIST,
	.min = 1,
	.max = 1000,
	.value = &certificate,
	.help = "Certificates; the first is for clients that name no host."};

static const struct conf_key listener_tls_keys[] = {
	{.name = "certificates",
		.type = CONF_TYPE_EITHER,
		.required = true,
		.shapes = {[CONF_SCALAR] = &certificates_directory,
			[CONF_MAP] = &certificate,
			[CONF_LIST] = &certificates_list},
		.help = "A directory, or a list of {cert: FILE, key: FILE}. The one for the host "
			"that the client names is taken, of several kinds of key what it can "
			"check."},
	{.name = "min_version",
		.type = CONF_TYPE_ENUM,
		.words = WORDS("1.2", "1.3"),
		.fallback = "1.2",
		.help = "Oldest version of TLS that is spoken."},
	{.name = "ciphers",
		.type = CONF_TYPE_TEXT,
		.help = "Ciphers as OpenSSL names them, with colons in between, ours to choose by; "
			"not written: ECDHE with AES-GCM or ChaCha20."},
	{.name = "client_ca",
		.type = CONF_TYPE_FILE,
		.help = "Certificates in PEM form that clients' certificates are checked against."},
	{.name = "client_auth",
		.type = CONF_TYPE_ENUM,
		.words = WORDS("none", "optional", "required"),
		.fallback = "none",
		.help = "Ask clients for a certificate: optional lets everybody in, and tells "
			"servers what came of it (X-Client-Cert-Verify)."},
	{.name = "hsts",
		.type = CONF_TYPE_DURATION,
		.min = S,
		.max = 10 * 365 * 24 * HOUR,
		.help = "For so long browsers are to come with TLS only "
			"(Strict-Transport-Security); not written: nothing is said."},
	{.name = "ocsp",
		.type = CONF_TYPE_FILE,
		.words = WORDS("auto"),
		.help = "Staple what says that the certificate is not revoked: a file with an OCSP "
			"response, read again when it changes, or auto: asked of the "
			"certificate's responder."},
	{0}};

const struct conf_key conf_listener_keys[] = {
	{.name = "bind",
		.type = CONF_TYPE_LIST,
		.required = true,
		.min = 1,
		.max = 64,
		.value = ROW(.type = CONF_TYPE_ADDRESS, .help = "Address and port."),
		.help = "Where to listen: \":80\" for all addresses, \"10.0.0.100:80\", "
			"\"[::1]:80\"."},
	{.name = "mode",
		.type = CONF_TYPE_ENUM,
		.words = WORDS("http", "tcp", "tls_passthrough"),
		.fallback = "http",
		.help = "What is spoken here: HTTP; anything over TCP, which is passed on as it "
			"comes; or TLS, which is passed on too, by the name that the client asks "
			"for ('match: {host}')."},
	{.name = "routes",
		.type = CONF_TYPE_LIST,
		.noun = "route",
		.min = 1,
		.value = ROW(.type = CONF_TYPE_MAP, .keys = conf_route_keys, .noun = "route",
			.help = "A route."),
		.help = "Where requests go; the first route that matches wins."},
	{.name = "pool",
		.type = CONF_TYPE_REF,
		.ref = "pools",
		.noun = "pool",
		.help = "Short for one route that takes all."},
	{.name = "trusted_proxies",
		.type = CONF_TYPE_LIST,
		.max = 1024,
		.value = ROW(.type = CONF_TYPE_CIDR, .help = "A network."),
		.help = "Networks whose X-Forwarded fields are believed."},
	{.name = "path",
		.type = CONF_TYPE_ENUM,
		.words = WORDS("normalize", "reject", "raw"),
		.fallback = "normalize",
		.help = "What to do with paths that can be written shorter: make them normal, "
			"answer 400, "
			"or pass them on as they are."},
	{.name = "limits",
		.type = CONF_TYPE_MAP,
		.keys = limits_keys,
		.holds = true,
		.help = "What a client may send."},
	TIMEOUTS_ROW("this listener"),
	{.name = "via",
		.type = CONF_TYPE_NAME,
		.words = WORDS("off"),
		.max = 64,
		.help = "Name in the Via field, which finds loops; not written: one made from the "
			"configuration, the same on both boxes."},
	{.name = "tls",
		.type = CONF_TYPE_MAP,
		.keys = listener_tls_keys,
		.help = "TLS is spoken here."},
	{.name = "h2",
		.type = CONF_TYPE_BOOL,
		.fallback = "true",
		.help = "HTTP/2 is offered to clients that come with TLS."},
	{.name = "h2c",
		.type = CONF_TYPE_BOOL,
		.fallback = "false",
		.help = "HTTP/2 in clear text too, for clients that begin with it (prior "
			"knowledge)."},
	{.name = "proxy_protocol",
		.type = CONF_TYPE_MAP,
		.keys = proxy_protocol_keys,
		.help = "Proxies in front of us say whose a connection is (the PROXY protocol)."},
	{.name = "redirect",
		.type = CONF_TYPE_ENUM,
		.words = WORDS("https"),
		.help = "Requests that no route takes are sent to the same host and path over TLS, "
			"where a listener has that."},
	ACCESS_ROWS("in at all"), {0}};
