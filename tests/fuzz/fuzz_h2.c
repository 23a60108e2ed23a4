/*
 * Whole exchanges over HTTP/2: the shipped worker between a client whose connection has begun and
 * frames of the input, and servers of both protocols that say what the input tells them
 * (exchange_rig.h). Oracles: every stream, exchange, connection and buffer is given back in the
 * end, by deadlines alone (the rig), whether bytes arrive in one piece or one by one.
 */
#include "tests/fuzz/exchange_rig.h"
#include "tests/fuzz/fuzz.h"

#define SCRIPT_MAX 4096
#define ONE_BY_ONE_MAX 512
#define PIECE_BYTES 1021

#define HELLO "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"

/* Does a plain request come to the server, and its answer back? */
static bool serves(void)
{
	const struct span script = SPAN(HELLO "\0\0\6\1\5\0\0\0\1\x82\x86\x84\x41\1a\xff"
					      "SHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
	const struct span end = SPAN("\0\0\2\0\1\0\0\0\1ok"); /* DATA, END_STREAM */
	const struct fake_bytes *out = &fake_net.conns[0].out, *asked = &fake_net.conns[1].out;

	rig_run(LISTENER_H2, script, SIZE_MAX);
	return span_starts(
		       span_make(asked->data, asked->len), SPAN("GET / HTTP/1.1\r\nHost: a\r\n")) &&
	       memmem(out->data, out->len, end.ptr, end.len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct span hello = SPAN(HELLO);
	static char script[SCRIPT_MAX + 64];
	static bool open;
	struct rig_result result;

	if (!open)
		ASSERT(rig_open() == 0 && serves());
	open = true;
	if (size > SCRIPT_MAX)
		return 0;
	memcpy(script, hello.ptr, hello.len);
	if (size)
		memcpy(script + hello.len, data, size);
	result = rig_run(LISTENER_H2, span_make(script, hello.len + size), SIZE_MAX);
	if (size <= ONE_BY_ONE_MAX)
		rig_run(LISTENER_H2, span_make(script, hello.len + size),
			result.bulky ? PIECE_BYTES : 1);
	return 0;
}
