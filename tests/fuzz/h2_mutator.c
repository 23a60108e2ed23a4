/*
 * Makes scripts for fuzz_h2 of what HTTP/2 is made of: whole frames with heads that can be decoded,
 * orders of the rig and answers of servers go in where a frame or an order begins, and frames go
 * out; what lies inside of them is left to libFuzzer.
 */
#include <string.h>

#include "shared/rng.h"
#include "shared/span.h"
#include "tests/fuzz/fuzz.h"

#define PIECES_MAX 256
#define SPARE 256 /* the longest piece */

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);

static const struct form {
	uint8_t type, flags[4];
	struct span payload;
} forms[] = {
#define HEADERS            \
	1,                 \
	{                  \
		4, 5, 4, 5 \
	}
#define TARGET             \
	"\x86\x84\x41\x01" \
	"a"
	{HEADERS, SPAN("\x82" TARGET)},
	{HEADERS, SPAN("\x82\x86\x44\x04/2/x\x41\x01"
		       "a")},
	{HEADERS, SPAN("\x83" TARGET)},
	{HEADERS, SPAN("\x83" TARGET "\x0f\x0d\x01"
		       "5")},
	{HEADERS, SPAN("\x83\x86\x44\x04/2/x\x41\x01"
		       "a\x0f\x0d\x01"
		       "5\x0f\x14\x0c"
		       "100-continue")},
	{HEADERS, SPAN("\x02\x04HEAD" TARGET)},
	{HEADERS, SPAN("\x82" TARGET "\x00\x02te\x08trailers")},
	{HEADERS, SPAN("\x02\x07"
		       "CONNECT" TARGET "\x00\x09:protocol\x09websocket")},
	{HEADERS, SPAN("\x02\x07"
		       "CONNECT\x86\x44\x04/2/x\x41\x01"
		       "a\x00\x09:protocol\x09websocket")},
	{HEADERS, SPAN("\x82" TARGET "\x0f\x11\x03"
		       "a=b\x0f\x11\x03"
		       "c=d")},
	{HEADERS, SPAN("\x00\x01x\x01y")},
	{HEADERS, SPAN("\x88")},
	{HEADERS, SPAN("\x88\x0f\x0d\x01"
		       "5")},
	{HEADERS, SPAN("\x08\x03"
		       "103\x00\x01x\x01y")},
	{HEADERS, SPAN("\x08\x03"
		       "100")},
	{HEADERS, SPAN("\x8d")},
	{HEADERS, SPAN("\x08\x03"
		       "503\x0f\x0d\x01"
		       "0")},
	{1, {0, 1, 0, 1}, SPAN("\x82\x86")},
	{9, {4, 0, 4, 4},
		SPAN("\x84\x41\x01"
		     "a")},
	{0, {0, 1, 0, 1}, SPAN("hello")},
	{0, {0, 1, 1, 1}, SPAN("")},
	{0, {8, 9, 8, 9}, SPAN("\x02hello\0\0")},
	{2, {0}, SPAN("\0\0\0\1\x10")},
	{3, {0}, SPAN("\0\0\0\x08")},
	{3, {0}, SPAN("\0\0\0\x07")},
	{3, {0}, SPAN("\0\0\0\0")},
	{4, {0}, SPAN("\0\4\0\0\0\0")},
	{4, {0}, SPAN("\0\4\0\0\0\5")},
	{4, {0}, SPAN("\0\4\0\1\0\0")},
	{4, {0}, SPAN("\0\1\0\0\0\0")},
	{4, {0}, SPAN("\0\3\0\0\0\1")},
	{4, {0}, SPAN("\0\3\0\0\0\0")},
	{4, {0}, SPAN("\0\5\0\0\x80\0")},
	{4, {0}, SPAN("\0\x08\0\0\0\1")},
	{4, {0}, SPAN("")},
	{4, {1, 1, 1, 1}, SPAN("")},
	{6, {0, 1, 0, 1}, SPAN("\0\0\0\0\0\0\0\0")},
	{7, {0}, SPAN("\0\0\0\0\0\0\0\0")},
	{7, {0}, SPAN("\0\0\0\1\0\0\0\0")},
	{7, {0}, SPAN("\x7f\x7f\x7f\x7f\0\0\0\x0b")},
	{8, {0}, SPAN("\0\0\0\5")},
	{8, {0}, SPAN("\0\1\0\0")},
	{8, {0}, SPAN("\x7f\x0f\0\0")},
	{16, {0}, SPAN("\0\0\0\1u=1, i")},
	{77, {0}, SPAN("?")},
};

static const struct span words[] = {
	SPAN("\xffS"),
	SPAN("\xffS"),
	SPAN("\xff"
	     "C"),
	SPAN("\xff"
	     "C"),
	SPAN("\xffN"),
	SPAN("\xffn"),
	SPAN("\xff"
	     "c"),
	SPAN("\xffs"),
	SPAN("\xffx"),
	SPAN("\xffX"),
	SPAN("\xffr"),
	SPAN("\xffR"),
	SPAN("\xffw\0"),
	SPAN("\xffw\x14"),
	SPAN("\xffw\xfe"),
	SPAN("\xffW\0"),
	SPAN("\xffW\x14"),
	SPAN("\xffW\xfe"),
	SPAN("\xfft"),
	SPAN("\xffT"),
	SPAN("\xff"
	     "e"),
	SPAN("\xffh"),
	SPAN("\xff"
	     "E"),
	SPAN("\xff"
	     "b\1"),
	SPAN("\xff"
	     "b\x20"),
	SPAN("\xffG"),
	SPAN("\xff"
	     "D"),
	SPAN("\xffSHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok\xff"
	     "C"),
	SPAN("\xffSHTTP/1.1 200 OK\r\nContent-Length: 1024\r\n\r\n\xff"
	     "b\1\xff"
	     "C"),
	SPAN("\xffSHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: "
	     "x\r\n\r\n2\r\nok\r\n0\r\nx: "
	     "y\r\n\r\n\xff"
	     "C"),
	SPAN("\xffSHTTP/1.1 200 OK\r\n\r\nok\xffs\xff"
	     "C"),
	SPAN("\xffSHTTP/1.1 103 Early Hints\r\n\r\n\xff"
	     "C"),
	SPAN("\xffSHTTP/1.1 100 Continue\r\n\r\n\xff"
	     "C"),
	SPAN("\xffSHTTP/1.1 304 Not Modified\r\n\r\n\xff"
	     "C"),
	SPAN("\xffSHTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: "
	     "websocket\r\n"
	     "Sec-WebSocket-Accept: x\r\n\r\n\xff"
	     "C"),
	SPAN("\xffS\0\0\0\4\0\0\0\0\0"),
	SPAN("\xffS\0\0\6\4\0\0\0\0\0\0\x08\0\0\0\1"),
	SPAN("\xffS\0\0\0\4\0\0\0\0\0\0\0\1\1\5\0\0\0\1\x88\xff"
	     "C"),
	SPAN("\xffS\0\0\0\4\0\0\0\0\0\0\0\1\1\4\0\0\0\1\x88\0\0\2\0\1\0\0\0\1ok\xff"
	     "C"),
};

/* Where frames and orders begin, so far as it looks like them, and the end. */
static unsigned find_pieces(const uint8_t *data, size_t size, size_t begins[PIECES_MAX])
{
	unsigned n = 0;
	size_t at = 0;

	while (at < size && n < PIECES_MAX - 1) {
		begins[n++] = at;
		if (data[at] == 0xff)
			at += at + 1 < size && memchr("wWb", data[at + 1], 3) ? 3 : 2;
		else if (size - at >= 9 && data[at] == 0 && data[at + 1] < 16)
			at += 9 + ((size_t)data[at + 1] << 8) + data[at + 2];
		else /* of HTTP/1, or broken */
			while (at < size && data[at] != 0xff)
				at++;
	}
	begins[n] = size;
	return n;
}

static size_t make_piece(struct rng *rng, uint8_t out[SPARE])
{
	const struct form *f = &forms[rng_below(rng, countof(forms))];
	const struct span *w = &words[rng_below(rng, countof(words))];

	if (rng_below(rng, 3) == 0) {
		memcpy(out, w->ptr, w->len);
		return w->len;
	}
	memset(out, 0, 9);
	out[2] = (uint8_t)f->payload.len;
	out[3] = f->type;
	out[4] = f->flags[rng_below(rng, 4)];
	/* SETTINGS, PING, GOAWAY and PRIORITY_UPDATE are the connection's, WINDOW_UPDATE anyone's.
	 */
	if (f->type < 4 || f->type == 9 || (f->type == 8 && rng_below(rng, 2)))
		out[8] = (uint8_t)(1 + 2 * rng_below(rng, rng_below(rng, 2) ? 2 : 6));
	memcpy(out + 9, f->payload.ptr, f->payload.len);
	return 9 + f->payload.len;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
	size_t begins[PIECES_MAX], at, len;
	uint8_t piece[SPARE];
	struct rng rng;
	unsigned n, i;

	rng_seed(&rng, seed);
	if (rng_below(&rng, 3) == 0)
		return LLVMFuzzerMutate(data, size, max_size);
	n = find_pieces(data, size, begins);
	i = (unsigned)rng_below(&rng, n + 1);
	at = begins[i] < size ? begins[i] : size;
	if (i < n && rng_below(&rng, 6) == 0) { /* one goes out */
		size_t to = begins[i + 1] < size ? begins[i + 1] : size;

		memmove(data + at, data + to, size - to);
		return size - (to - at) ? size - (to - at) : 1;
	}
	len = make_piece(&rng, piece);
	if (size + len > max_size)
		return LLVMFuzzerMutate(data, size, max_size);
	memmove(data + at + len, data + at, size - at);
	memcpy(data + at, piece, len);
	return size + len;
}
