/*
 * Text to a raw tree through libyaml's events: the only place that knows libyaml. Scalars stay text
 * (we type them ourselves). What YAML has beyond maps, lists and scalars is refused, since in a
 * configuration it hides more than it helps: anchors, tags, several documents; and tabs, which
 * nobody sees.
 */
#include <yaml.h>

#include "shared/assert.h"
#include "shared/conf_build.h"

struct reader {
	yaml_parser_t parser;
	struct conf *conf;
	struct conf_report *report;
	uint32_t file;
	struct span text;
	struct conf_node *stack[CONF_DEPTH_MAX]; /* open maps and lists */
	unsigned depth;
	struct span key; /* of the value to come, in key_event's bytes */
	yaml_event_t key_event;
	bool has_key, has_tabs;
	size_t nodes, documents;
	struct conf_node *root;
};

enum step { GO_ON, END, STOP, NO_MEMORY }; /* STOP: reported, the rest cannot be read */

static struct conf_pos pos_of(const struct reader *r, yaml_mark_t from, yaml_mark_t to)
{
	struct conf_pos pos = {r->file, (uint32_t)from.line + 1, (uint32_t)from.column + 1, 1};

	if (to.line == from.line && to.column > from.column)
		pos.width = (uint32_t)(to.column - from.column);
	return pos;
}

/* The same from an offset in bytes. */
static struct conf_pos pos_at(const struct reader *r, size_t offset)
{
	struct conf_pos pos = {r->file, 1, 1, 1};

	for (size_t i = 0; i < offset && i < r->text.len; i++) {
		unsigned char c = (unsigned char)r->text.ptr[i];

		if (c == '\n') {
			pos.line++;
			pos.column = 1;
		} else if ((c & 0xc0) != 0x80) {
			pos.column++;
		}
	}
	return pos;
}

/* --- before libyaml -------------------------------------------------------------------------- */

/* The first of each line. */
static void report_tabs(struct reader *r)
{
	struct conf_pos pos = {r->file, 1, 1, 1};
	bool told = false;

	r->has_tabs = true;
	for (size_t i = 0; i < r->text.len; i++) {
		unsigned char c = (unsigned char)r->text.ptr[i];

		if (c == '\t' && !told) {
			conf_error(r->report, pos, "use spaces", "there is a tab here");
			told = true;
		}
		if (c == '\n') {
			pos.line++;
			pos.column = 1;
			told = false;
		} else if ((c & 0xc0) != 0x80) {
			pos.column++;
		}
	}
}

/* False: reported, and not to be parsed. */
static bool check_bytes(struct reader *r)
{
	size_t bad = span_utf8(r->text);

	if (bad < r->text.len) {
		conf_error(r->report, pos_at(r, bad), "save the file as UTF-8",
			"byte 0x%02x is not UTF-8", (unsigned char)r->text.ptr[bad]);
		return false;
	}
	if (span_find(r->text, '\t', 0) < r->text.len)
		report_tabs(r);
	return true;
}

/* --- events ---------------------------------------------------------------------------------- */

static enum step report_syntax(const struct reader *r)
{
	const yaml_parser_t *p = &r->parser;
	char where[96] = "";
	struct conf_pos pos;

	if (p->error == YAML_MEMORY_ERROR)
		return NO_MEMORY;
	if (r->has_tabs)
		return STOP; /* that is what it stumbled over */
	pos = p->error == YAML_READER_ERROR ? pos_at(r, p->problem_offset)
					    : pos_of(r, p->problem_mark, p->problem_mark);
	if (p->context && p->context_mark.line != p->problem_mark.line)
		snprintf(where, sizeof(where), " %s (line %zu)", p->context,
			p->context_mark.line + 1);
	else if (p->context)
		snprintf(where, sizeof(where), " %s", p->context);
	conf_error(r->report, pos, NULL, "not valid YAML: %s%s",
		p->problem ? p->problem : "cannot be read", where);
	return STOP;
}

static void forget_key(struct reader *r)
{
	if (r->has_key)
		yaml_event_delete(&r->key_event);
	r->has_key = false;
	r->key = SPAN("");
}

/* Hangs a new node where it belongs. */
static enum step add_node(struct reader *r, enum conf_kind kind, struct span text,
	const yaml_event_t *ev, struct conf_node **ret_node)
{
	struct conf_pos pos = pos_of(r, ev->start_mark, ev->end_mark);
	struct conf_node *n;

	if (++r->nodes > CONF_NODES_MAX) {
		conf_error(r->report, pos, NULL, "there are more than %d values", CONF_NODES_MAX);
		return STOP;
	}
	n = conf_node_new(kind, r->has_key ? r->key : SPAN(""), text);
	if (!n)
		return NO_MEMORY;
	n->pos = pos;
	n->name_pos = pos;
	if (r->has_key)
		n->name_pos = pos_of(r, r->key_event.start_mark, r->key_event.end_mark);
	forget_key(r);
	if (r->depth)
		conf_node_append(r->stack[r->depth - 1], n);
	else
		r->root = n;
	*ret_node = n;
	return GO_ON;
}

static bool wants_key(const struct reader *r)
{
	return r->depth && r->stack[r->depth - 1]->kind == CONF_MAP && !r->has_key;
}

static enum step open_node(struct reader *r, enum conf_kind kind, const yaml_event_t *ev)
{
	struct conf_pos pos = pos_of(r, ev->start_mark, ev->end_mark);
	struct conf_node *n;
	enum step step;

	if (wants_key(r)) {
		conf_error(r->report, pos, NULL, "a key is a single word, not a map or a list");
		return STOP;
	}
	if (r->depth == CONF_DEPTH_MAX) {
		conf_error(r->report, pos, NULL, "nested more than %d deep", CONF_DEPTH_MAX);
		return STOP;
	}
	step = add_node(r, kind, SPAN(""), ev, &n);
	if (step == GO_ON)
		r->stack[r->depth++] = n;
	return step;
}

static void report_anchor(const struct reader *r, const yaml_event_t *ev)
{
	conf_error(r->report, pos_of(r, ev->start_mark, ev->end_mark), "write the value out",
		"anchors and aliases (& and *) are not supported");
}

/* Anchors and tags are told and the value is taken all the same, to find what else is wrong. */
static void check_properties(const struct reader *r, const yaml_char_t *anchor,
	const yaml_char_t *tag, const yaml_event_t *ev)
{
	if (anchor)
		report_anchor(r, ev);
	if (tag)
		conf_error(r->report, pos_of(r, ev->start_mark, ev->end_mark), "leave it out",
			"tags (!) are not supported");
}

static enum step on_scalar(struct reader *r, yaml_event_t *ev, bool *ret_kept)
{
	struct span text = span_make(ev->data.scalar.value, ev->data.scalar.length);
	struct conf_node *n;

	check_properties(r, ev->data.scalar.anchor, ev->data.scalar.tag, ev);
	if (!wants_key(r))
		return add_node(r, CONF_SCALAR, text, ev, &n);
	r->key = text;
	r->key_event = *ev;
	r->has_key = true;
	*ret_kept = true;
	return GO_ON;
}

static enum step on_alias(struct reader *r, const yaml_event_t *ev)
{
	struct conf_node *n;
	enum step step;

	report_anchor(r, ev);
	if (wants_key(r))
		return STOP;
	step = add_node(r, CONF_SCALAR, SPAN(""), ev, &n);
	if (step == GO_ON)
		n->broken = true;
	return step;
}

static enum step on_event(struct reader *r, yaml_event_t *ev, bool *ret_kept)
{
	switch (ev->type) {
	case YAML_NO_EVENT:
	case YAML_STREAM_START_EVENT:
	case YAML_DOCUMENT_END_EVENT:
		return GO_ON;
	case YAML_STREAM_END_EVENT:
		return END;
	case YAML_DOCUMENT_START_EVENT:
		if (r->documents++ == 0)
			return GO_ON;
		conf_error(r->report, pos_of(r, ev->start_mark, ev->end_mark), NULL,
			"a second document begins here: one file is one document");
		return STOP;
	case YAML_ALIAS_EVENT:
		return on_alias(r, ev);
	case YAML_SCALAR_EVENT:
		return on_scalar(r, ev, ret_kept);
	case YAML_SEQUENCE_START_EVENT:
		check_properties(
			r, ev->data.sequence_start.anchor, ev->data.sequence_start.tag, ev);
		return open_node(r, CONF_LIST, ev);
	case YAML_MAPPING_START_EVENT:
		check_properties(r, ev->data.mapping_start.anchor, ev->data.mapping_start.tag, ev);
		return open_node(r, CONF_MAP, ev);
	case YAML_SEQUENCE_END_EVENT:
	case YAML_MAPPING_END_EVENT:
		ASSERT(r->depth > 0);
		r->depth--;
		return GO_ON;
	}
	return STOP;
}

static enum step read_events(struct reader *r)
{
	enum step step = GO_ON;

	while (step == GO_ON) {
		yaml_event_t ev;
		bool kept = false;

		if (!yaml_parser_parse(&r->parser, &ev))
			return report_syntax(r);
		step = on_event(r, &ev, &kept);
		if (!kept)
			yaml_event_delete(&ev);
	}
	return step;
}

int yaml_read(
	struct conf *c, uint32_t file, struct conf_report *report, struct conf_node **ret_root)
{
	struct reader r = {.conf = c,
		.report = report,
		.file = file,
		.text = span_make(c->texts[file] ? c->texts[file] : "", c->text_lens[file])};
	enum step step;

	if (!check_bytes(&r))
		return 1;
	if (!yaml_parser_initialize(&r.parser))
		return -1;
	yaml_parser_set_encoding(&r.parser, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(&r.parser, (const unsigned char *)r.text.ptr, r.text.len);
	step = read_events(&r);
	forget_key(&r);
	yaml_parser_delete(&r.parser);
	if (step != END) {
		conf_node_free(r.root);
		return step == NO_MEMORY ? -1 : 1;
	}
	*ret_root = r.root; /* NULL: nothing is written in the file */
	return 0;
}
