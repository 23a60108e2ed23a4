#include "proxy/pool/agent_word.h"

#include <stdio.h>

#include "shared/assert.h"

const char *agent_state_name(enum agent_state state)
{
	static const char *const names[] = {
#define X(name, text) text,
		AGENT_STATES(X)
#undef X
	};

	ASSERT((unsigned)state < countof(names));
	return names[state];
}

void agent_word_init(struct agent_word *w)
{
	*w = (struct agent_word){.state = AGENT_UP, .weight_pct = 100};
}

static int take_share(struct span word, struct agent_word *w)
{
	uint64_t pct;

	if (span_to_u64(span_make(word.ptr, word.len - 1), 100, &pct) < 0)
		return -1;
	if (pct == 0 && w->state == AGENT_UP)
		w->state = AGENT_DRAIN;
	w->weight_pct = pct ? (unsigned)pct : 1;
	return 0;
}

static int take_word(struct span word, struct agent_word *w)
{
	static const struct {
		const char *text;
		enum agent_state state;
	} words[] = {{"up", AGENT_UP}, {"ready", AGENT_UP}, {"drain", AGENT_DRAIN},
		{"maint", AGENT_MAINT}, {"down", AGENT_DOWN}, {"fail", AGENT_DOWN},
		{"stopped", AGENT_DOWN}};

	if (word.ptr[word.len - 1] == '%')
		return take_share(word, w);
	for (unsigned i = 0; i < countof(words); i++)
		if (span_ieq(word, span_of(words[i].text))) {
			if (words[i].state > w->state) /* of several the gravest holds */
				w->state = words[i].state;
			return 0;
		}
	return -1;
}

static bool separates(char c)
{
	return c == ' ' || c == '\t' || c == ',' || c == '\r';
}

int agent_word_parse(struct span line, struct agent_word *ret)
{
	struct agent_word w;
	size_t hash = span_find(line, '#', 0), at = 0;
	struct span reason = span_trim(span_from(line, hash < line.len ? hash + 1 : hash));

	agent_word_init(&w);
	while (at < hash) {
		size_t from = at;

		while (at < hash && !separates(line.ptr[at]))
			at++;
		if (at > from && take_word(span_make(line.ptr + from, at - from), &w) < 0)
			return -1;
		at++;
	}
	while (reason.len && (unsigned char)reason.ptr[reason.len - 1] <= ' ')
		reason.len--;
	for (size_t i = 0; i < reason.len && i < sizeof(w.reason) - 1; i++)
		w.reason[i] =
			(unsigned char)reason.ptr[i] < ' ' || (unsigned char)reason.ptr[i] > '~'
				? '?'
				: reason.ptr[i];
	*ret = w;
	return 0;
}
