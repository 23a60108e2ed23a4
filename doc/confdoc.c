/*
 * Prints the reference of all keys from the table that also checks them: `confdoc man` as the body
 * of tandem.yaml(5), `confdoc md` as Markdown. Keys that are planned only are left out.
 */
#include <stdio.h>

#include "shared/assert.h"
#include "shared/conf_schema.h"

enum { PATH_BYTES = 256, TYPE_BYTES = 256 };

struct style {
	void (*section)(const char *path, const struct conf_key *map);
	void (*key)(const struct conf_key *k, const char *type);
	void (*end)(void);
};

/* What to write, in words: "auto or whole number, 1 to 1024". */
static void describe(const struct conf_key *k, char *out, size_t size)
{
	char words[128] = "", range[80] = "", inner[TYPE_BYTES - 32] = "";
	bool plain = k->type != CONF_TYPE_LIST && k->type != CONF_TYPE_NAMED;

	if (k->words)
		conf_words(k->words, words, sizeof(words));
	if (plain && k->type != CONF_TYPE_NAME)
		conf_key_range(k, range, sizeof(range));
	if (k->value && k->value->type != CONF_TYPE_MAP)
		describe(k->value, inner, sizeof(inner));
	if (k->type == CONF_TYPE_EITHER) {
		describe(k->shapes[CONF_SCALAR], out, size);
	} else if (k->type == CONF_TYPE_LIST) {
		snprintf(out, size, inner[0] ? "%s; one or a list" : "list, each a %s",
			inner[0] ? inner : k->noun);
	} else if (k->type == CONF_TYPE_NAMED) {
		snprintf(out, size, "map, by name, of a %s%s%s", k->noun, inner[0] ? ": " : "",
			inner);
	} else if (k->type == CONF_TYPE_ENUM) {
		snprintf(out, size, "%s", words);
	} else if (k->type == CONF_TYPE_REF) {
		snprintf(out, size, "name of a %s", k->noun);
	} else {
		snprintf(out, size, "%s%s%s%s%s%s%s", words, words[0] ? ", or " : "",
			k->prefix ? k->prefix : "", k->prefix ? " and a " : "",
			conf_type_name(k->type), range[0] ? ", " : "", range);
	}
}

static bool same_keys(const struct conf_key *a, const struct conf_key *b)
{
	while (a->name && b->name && strcmp(a->name, b->name) == 0) {
		a++;
		b++;
	}
	return !a->name && !b->name;
}

/* Described at the top already. */
static bool is_known(const struct conf_key *map)
{
	for (const struct conf_key *k = conf_schema.keys; k->name; k++)
		if (k != map && k->type == CONF_TYPE_MAP && same_keys(k->keys, map->keys))
			return true;
	return false;
}

static void print_map(const struct style *s, const char *path, const struct conf_key *map)
{
	char type[TYPE_BYTES], below[PATH_BYTES];

	s->section(path, map);
	for (const struct conf_key *k = map->keys; k->name; k++) {
		if (k->later)
			continue;
		describe(k, type, sizeof(type));
		s->key(k, type);
	}
	s->end();
	for (const struct conf_key *k = map->keys; k->name; k++) {
		const struct conf_key *inner = k->value ? k->value : k;
		const char *member = k->type == CONF_TYPE_NAMED	 ? ".NAME"
				     : k->type == CONF_TYPE_LIST ? "[]"
								 : "";
		int n = snprintf(below, sizeof(below), "%s%s%s%s", path, path[0] ? "." : "",
			k->name, member);

		ASSERT(n > 0 && n < PATH_BYTES);
		if (!k->later && inner->type == CONF_TYPE_MAP && !is_known(inner))
			print_map(s, below, inner);
	}
}

/* --- mdoc(7) --------------------------------------------------------------------------------- */

/* Text on a line of its own: nothing in it is a request or an escape. */
static void man_text(const char *text)
{
	if (*text == '.' || *text == '\'')
		fputs("\\&", stdout);
	for (; *text; text++) {
		if (*text == '\\')
			fputs("\\e", stdout);
		else if (*text == '-')
			fputs("\\-", stdout);
		else
			putchar(*text);
	}
}

static void man_section(const char *path, const struct conf_key *map)
{
	printf(".Ss %s\n", path[0] ? path : "Top level");
	man_text(map->help);
	printf("\n.Bl -tag -width Ds\n");
}

static void man_key(const struct conf_key *k, const char *type)
{
	printf(".It Cm %s\n(", k->name);
	man_text(type);
	if (k->required)
		printf("; required");
	if (k->fallback) {
		printf("; default ");
		man_text(k->fallback);
	}
	printf(")\n.br\n");
	man_text(k->help);
	putchar('\n');
}

static void man_end(void)
{
	printf(".El\n");
}

/* --- Markdown -------------------------------------------------------------------------------- */

static void md_cell(const char *text)
{
	printf("| ");
	for (; *text; text++) {
		if (strchr("|*_<>\\", *text))
			putchar('\\');
		putchar(*text);
	}
	putchar(' ');
}

static void md_section(const char *path, const struct conf_key *map)
{
	printf("## %s\n\n%s\n\n| key | value | default | meaning |\n|---|---|---|---|\n",
		path[0] ? path : "Top level", map->help);
}

static void md_key(const struct conf_key *k, const char *type)
{
	md_cell(k->name);
	md_cell(type);
	md_cell(k->required ? "required" : k->fallback ? k->fallback : "");
	md_cell(k->help);
	printf("|\n");
}

static void md_end(void)
{
	putchar('\n');
}

int main(int argc, char **argv)
{
	static const struct style man = {man_section, man_key, man_end};
	static const struct style md = {md_section, md_key, md_end};

	if (argc == 2 && strcmp(argv[1], "man") == 0) {
		print_map(&man, "", &conf_schema);
	} else if (argc == 2 && strcmp(argv[1], "md") == 0) {
		printf("# Keys of tandem.yaml\n\n");
		print_map(&md, "", &conf_schema);
	} else {
		fprintf(stderr, "usage: confdoc man|md\n");
		return 2;
	}
	return fflush(stdout) == 0 ? 0 : 1;
}
