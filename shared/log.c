/*
 * The log's lines: built on the stack, bounded, escaped, one write(2) each.
 *
 * State: the level and the debug mask are atomics, set at start and seldom changed; the rate
 * limiter's table sits behind a mutex, which is fine because what is logged here is a change of
 * state, never a request. Text from outside goes through put_text or put_json_text, so that no
 * field can forge a line or send control codes to a terminal.
 */
#include "shared/log.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shared/assert.h"
#include "shared/units.h"

enum {
	LINE_MAX_BYTES = 4096, /* PIPE_BUF: a write of this much to a pipe is not interleaved */
	EVENT_MAX = 48,
	LIMITER_SLOTS = 256, /* distinct event ids; the last one is shared by all further ones */
	LIMITER_BURST = 20,
};

static const char *const subsystems[] = {LOG_SUBSYSTEMS};
_Static_assert(countof(subsystems) <= 64, "one bit each in debug_mask");

static const char *const level_names[] = {
#define X(name, text) text,
	LOG_LEVELS(X)
#undef X
};
static const char syslog_digits[] = "34567";

struct limiter_slot {
	char event[EVENT_MAX]; /* "": free */
	uint64_t full_at_ns;   /* when the bucket would be full again (GCRA) */
	uint64_t held_back;
};

static struct {
	char program[32];
	enum log_format format;
	bool journal;
	atomic_int level;
	_Atomic uint64_t debug_mask;
	_Atomic uint64_t lost; /* lines that nobody took, since the last one that went out */
	pthread_mutex_t lock;  /* over what follows */
	struct limiter_slot slots[LIMITER_SLOTS];
} state = {.program = "tandem", .level = LOG_INFO, .lock = PTHREAD_MUTEX_INITIALIZER};

/* JOURNAL_STREAM names the device and inode of the journal's socket: a child whose standard error
 * was sent elsewhere inherits the variable but not the socket. */
static bool stderr_is_journal(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	unsigned long long dev, ino;
	struct stat st;
	char *end;

	if (!stream || fstat(STDERR_FILENO, &st) < 0)
		return false;
	dev = strtoull(stream, &end, 10);
	if (*end != ':')
		return false;
	ino = strtoull(end + 1, &end, 10);
	return *end == '\0' && dev == st.st_dev && ino == st.st_ino;
}

void log_open(const char *program, enum log_level level, enum log_format format)
{
	snprintf(state.program, sizeof(state.program), "%s", program);
	state.format = format;
	state.journal = stderr_is_journal();
	log_set_level(level);
}

int log_level_parse(struct span text, enum log_level *ret_level)
{
	for (unsigned i = 0; i < countof(level_names); i++) {
		if (span_eq(text, span_of(level_names[i]))) {
			*ret_level = (enum log_level)i;
			return 0;
		}
	}
	return -1;
}

void log_set_level(enum log_level level)
{
	atomic_store_explicit(&state.level, (int)level, memory_order_relaxed);
}

/* The bit of the subsystem that an event id or a name belongs to; 0 when it is none. */
static uint64_t subsystem_bit(struct span name)
{
	name.len = span_find(name, '.', 0);
	for (unsigned i = 0; i < countof(subsystems); i++)
		if (span_eq(name, span_of(subsystems[i])))
			return UINT64_C(1) << i;
	return 0;
}

static int unknown_subsystem(struct span name, struct err *err)
{
	char known[480];
	size_t at = 0;

	for (unsigned i = 0; i < countof(subsystems) && at < sizeof(known); i++)
		at += (size_t)snprintf(
			known + at, sizeof(known) - at, "%s%s", i ? ", " : "", subsystems[i]);
	return err_set(err, "'%.*s' is not a subsystem: choose from %s", SPAN_ARG(name), known);
}

int log_set_debug(struct span text, struct err *err)
{
	uint64_t mask = 0;

	for (size_t from = 0; text.ptr && from <= text.len;) {
		size_t to = span_find(text, ',', from);
		struct span name = span_trim(span_make(text.ptr + from, to - from));
		uint64_t bit = span_find(name, '.', 0) == name.len ? subsystem_bit(name) : 0;

		if (!bit)
			return unknown_subsystem(name, err);
		mask |= bit;
		from = to + 1;
	}
	atomic_store_explicit(&state.debug_mask, mask, memory_order_relaxed);
	return 0;
}

bool log_wanted(enum log_level level, const char *event)
{
	uint64_t mask;

	if ((int)level <= atomic_load_explicit(&state.level, memory_order_relaxed))
		return true;
	mask = atomic_load_explicit(&state.debug_mask, memory_order_relaxed);
	return level == LOG_DEBUG && mask && (subsystem_bit(span_of(event)) & mask);
}

/* --- rate limit ------------------------------------------------------------------------------ */
static struct limiter_slot *limiter_slot(const char *event)
{
	size_t at = 0;

	for (const char *c = event; *c; c++)
		at = at * 31 + (unsigned char)*c;
	for (unsigned i = 0; i < LIMITER_SLOTS - 1; i++) {
		struct limiter_slot *slot = &state.slots[(at + i) % (LIMITER_SLOTS - 1)];

		if (!slot->event[0])
			snprintf(slot->event, sizeof(slot->event), "%s", event);
		if (strncmp(slot->event, event, EVENT_MAX - 1) == 0)
			return slot;
	}
	return &state.slots[LIMITER_SLOTS - 1];
}

/* May a line of this event go out? Then also how many before it did not. */
static bool limiter_pass(const char *event, uint64_t now_ns, uint64_t *ret_held_back)
{
	struct limiter_slot *slot;
	bool pass;

	pthread_mutex_lock(&state.lock);
	slot = limiter_slot(event);
	if (slot->full_at_ns < now_ns)
		slot->full_at_ns = now_ns;
	pass = slot->full_at_ns - now_ns <= (LIMITER_BURST - 1) * NS_PER_S;
	if (pass) {
		slot->full_at_ns += NS_PER_S;
		*ret_held_back = slot->held_back;
		slot->held_back = 0;
	} else {
		slot->held_back++;
	}
	pthread_mutex_unlock(&state.lock);
	return pass;
}

/* --- the line -------------------------------------------------------------------------------- */
struct line {
	size_t len;
	bool cut;		   /* something did not fit: nothing more is added */
	char text[LINE_MAX_BYTES]; /* the last bytes are kept for what ends a line */
};

#define LINE_TAIL                                                                       \
	32 /* room for the closing of a quoted value and of the object, and the newline \
	    */

static size_t room(const struct line *l)
{
	return l->len < sizeof(l->text) - LINE_TAIL ? sizeof(l->text) - LINE_TAIL - l->len : 0;
}

/* All of s or nothing, so that an escape sequence or a character is never cut in two. */
static void put(struct line *l, struct span s)
{
	if (l->cut || s.len > room(l)) {
		l->cut = true;
		return;
	}
	memcpy(l->text + l->len, s.ptr, s.len);
	l->len += s.len;
}

static void put_char(struct line *l, char c)
{
	put(l, span_make(&c, 1));
}

static void put_number(struct line *l, int64_t n)
{
	char text[24];
	int len = snprintf(text, sizeof(text), "%lld", (long long)n);

	put(l, span_make(text, (size_t)len));
}

/* What ends the line goes into the room kept for it. */
static void put_end(struct line *l, struct span s)
{
	ASSERT(s.len <= sizeof(l->text) - l->len);
	memcpy(l->text + l->len, s.ptr, s.len);
	l->len += s.len;
}

/* Length of the UTF-8 character at s that is safe to show, or 0: malformed (RFC 3629), or a control
 * code. */
static size_t shown_char(struct span s)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	unsigned char c = (unsigned char)s.ptr[0];
	size_t len = c < 0x80 ? 1 : c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : 2;
	uint32_t point;

	if (len == 1)
		return c >= 0x20 && c != 0x7f;
	if (c < 0xc2 || c > 0xf4 || len > s.len)
		return 0;
	point = c & (0x7fU >> len);
	for (size_t i = 1; i < len; i++) {
		if (((unsigned char)s.ptr[i] & 0xc0) != 0x80)
			return 0;
		point = point << 6 | ((unsigned char)s.ptr[i] & 0x3f);
	}
	if (point < least[len] || point > 0x10ffff || (point >= 0xd800 && point <= 0xdfff) ||
		point < 0xa0)
		return 0;
	return len;
}

/* Quoted content: json says which escape stands for a byte that cannot be shown. */
static void put_quoted(struct line *l, struct span s, bool json)
{
	char escape[8];

	put_char(l, '"');
	for (size_t i = 0; i < s.len && !l->cut;) {
		size_t len = shown_char(span_from(s, i));
		unsigned char c = (unsigned char)s.ptr[i];

		if (c == '"' || c == '\\')
			snprintf(escape, sizeof(escape), "\\%c", c);
		else if (c == '\n')
			snprintf(escape, sizeof(escape), "\\n");
		else if (json)
			snprintf(escape, sizeof(escape), "\\u%04x", c < 0x80 ? c : 0xfffd);
		else
			snprintf(escape, sizeof(escape), "\\x%02x", c);
		if (len && c != '"' && c != '\\')
			put(l, span_make(s.ptr + i, len));
		else
			put(l, span_of(escape));
		i += len ? len : 1;
	}
	if (l->cut)
		put_end(l, SPAN("..."));
	put_end(l, SPAN("\""));
}

/* A value that needs no quotes is written without. */
static void put_text(struct line *l, struct span s)
{
	bool plain = s.len > 0;

	for (size_t i = 0; i < s.len && plain; i++)
		plain = s.ptr[i] > ' ' && s.ptr[i] < 0x7f && !strchr("\"\\=", s.ptr[i]);
	if (plain && s.len <= room(l))
		put(l, s);
	else
		put_quoted(l, s, false);
}

static void put_value(struct line *l, const struct log_field *f, bool json)
{
	switch (f->kind) {
	case LOG_FIELD_TEXT:
		if (json)
			put_quoted(l, f->text, true);
		else
			put_text(l, f->text);
		break;
	case LOG_FIELD_INT:
		put_number(l, f->num);
		break;
	case LOG_FIELD_BOOL:
		put(l, f->num ? SPAN("true") : SPAN("false"));
		break;
	}
}

/* A field goes in whole (only a text may be cut, and says so), or the line ends before it. */
static void put_field(struct line *l, const struct log_field *f, bool json)
{
	size_t before = l->len;

	if (l->cut)
		return;
	put(l, json ? SPAN(",\"") : SPAN(" "));
	put(l, span_of(f->name));
	put(l, json ? SPAN("\":") : SPAN("="));
	if (l->cut || room(l) < 32) {
		l->cut = true;
		l->len = before;
		return;
	}
	put_value(l, f, json);
}

static void put_head(
	struct line *l, enum log_level level, const char *event, const char *sentence, bool json)
{
	char ts[25];

	time_format(realtime_ns(), ts);
	if (state.journal) { /* journald takes the level from here, and knows time and program */
		put_char(l, '<');
		put_char(l, syslog_digits[level]);
		put_char(l, '>');
	}
	if (json) {
		put(l, SPAN("{\"ts\":\""));
		put(l, span_of(ts));
		put(l, SPAN("\",\"level\":\""));
		put(l, span_of(level_names[level]));
		put(l, SPAN("\",\"event\":"));
		put_quoted(l, span_of(event), true);
		put(l, SPAN(",\"msg\":"));
		put_quoted(l, span_of(sentence), true);
		return;
	}
	if (!state.journal) {
		put(l, span_of(ts));
		put_char(l, ' ');
		put(l, span_of(state.program));
		put_char(l, ' ');
		put(l, span_of(level_names[level]));
		put(l, SPAN(": "));
	}
	put(l, span_of(sentence));
	put(l, SPAN(" event="));
	put_text(l, span_of(event));
}

/* Who reads may stand still (a stopped pager, a full journal); heartbeats and requests must not
 * wait for it. A pipe or a socket that is writable has room for a line. */
static bool would_block(void)
{
	struct pollfd to = {.fd = STDERR_FILENO, .events = POLLOUT};

	return poll(&to, 1, 0) == 0;
}

void log_write(enum log_level level, const char *event, const char *sentence,
	const struct log_field *fields, unsigned count)
{
	int saved_errno = errno;
	bool json = state.format == LOG_FORMAT_JSON;
	uint64_t held_back = 0, lost;
	struct line line;
	ssize_t n;

	/* Debug lines were asked for one by one; all others may come in floods. */
	if (level != LOG_DEBUG && !limiter_pass(event, monotonic_ns(), &held_back))
		return;
	if (would_block()) {
		atomic_fetch_add_explicit(&state.lost, 1, memory_order_relaxed);
		errno = saved_errno;
		return;
	}
	lost = atomic_exchange_explicit(&state.lost, 0, memory_order_relaxed);
	line.len = 0;
	line.cut = false;
	put_head(&line, level, event, sentence, json);
	if (held_back)
		put_field(&line, &F_INT("held_back", held_back), json);
	if (lost)
		put_field(&line, &F_INT("lost", lost), json);
	for (unsigned i = 0; i < count; i++)
		put_field(&line, &fields[i], json);
	put_end(&line, json ? SPAN("}\n") : SPAN("\n"));
	do
		n = write(STDERR_FILENO, line.text, line.len);
	while (n < 0 && errno == EINTR);
	errno = saved_errno; /* a log that cannot be written has nobody to tell */
}
