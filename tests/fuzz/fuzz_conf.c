/*
 * Any bytes as a configuration file: never a crash, a hang or a tree that contradicts itself; what
 * loads without a fault has a digest, and what is printed is clean text.
 */
#include "shared/assert.h"
#include "shared/conf.h"
#include "tests/fuzz/fuzz.h"

static void check_tree(const struct conf_node *n)
{
	size_t count = 0;

	conf_each (child, n) {
		ASSERT(child->parent == n);
		check_tree(child);
		count++;
	}
	ASSERT(count == n->count);
	ASSERT(n->kind != CONF_SCALAR || count == 0);
}

static void check_print(const struct conf_report *r, const struct conf *c)
{
	char *text = NULL;
	size_t len = 0;
	FILE *to = open_memstream(&text, &len);

	ASSERT(to);
	conf_report_print(r, c, to);
	fclose(to);
	ASSERT(span_utf8(span_make(text, len)) == len);
	for (size_t i = 0; i < len; i++)
		ASSERT((unsigned char)text[i] >= 0x20 || text[i] == '\n');
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct conf_report *r = conf_report_new();
	struct conf *c = r ? conf_load_text("fuzz.yaml", span_make(data, size), r) : NULL;
	uint8_t digest[32];

	if (c) {
		check_tree(c->root);
		check_print(r, c);
		if (conf_report_errors(r) == 0)
			conf_digest(c, digest);
	}
	conf_free(c);
	conf_report_free(r);
	return 0;
}
