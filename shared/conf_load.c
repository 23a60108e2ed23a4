/*
 * From files to a checked configuration: reads the main file and what `include` names, puts their
 * top keys together, and has the whole checked. Relative names are taken from the file they are
 * written in.
 */
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shared/assert.h"
#include "shared/buf.h"
#include "shared/conf_build.h"

struct loader {
	struct conf *conf;
	struct conf_report *report;
	struct file_id {
		dev_t device;
		ino_t inode;
	} ids[CONF_FILES_MAX]; /* of conf->files */
	bool unusable;	       /* a file could not be read: checking the rest would mislead */
};

/* 0, 1 with errno, or -1: out of memory. */
static int read_all(int fd, struct buf *b)
{
	for (;;) {
		char *to = buf_reserve(b, 4096);
		ssize_t n;

		if (!to)
			return -1;
		n = read(fd, to, 4096);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? 1 : 0;
		buf_grew(b, (size_t)n);
		if (b->len > CONF_FILE_MAX_BYTES) {
			errno = EFBIG;
			return 1;
		}
	}
}

/* Where the name is written, or the file itself when it is the main one (from.line 0). */
static void report_file(struct loader *l, int index, const char *name, struct conf_pos from,
	const char *verb, int error)
{
	const char *why = error == EFBIG    ? "it is larger than 16 MiB"
			  : error == ESPIPE ? "it is a pipe"
					    : strerror(error);

	l->unusable = true;
	if (from.line)
		conf_error(l->report, from, NULL, "cannot %s '%s': %s", verb, name, why);
	else
		conf_error(l->report, (struct conf_pos){.file = (uint32_t)index}, NULL,
			"cannot %s: %s", verb, why);
}

/* Adds the file with its text and returns its index, -2 when that was reported, -1 out of memory.
 */
static int add_file(struct loader *l, const char *name, struct conf_pos from)
{
	/* A pipe may be the main file, as in --check -c <(generate); an include never waits for
	 * one. */
	int fd = open(name, O_RDONLY | O_CLOEXEC | (from.line ? O_NONBLOCK : 0)), rc = 1,
	    error = errno, index;
	const char *verb = fd < 0 ? "open" : "read";
	struct stat st = {0};
	struct buf b;

	buf_init(&b, CONF_FILE_MAX_BYTES + 8192);
	if (fd >= 0) {
		rc = fstat(fd, &st) < 0 ? 1 : 0;
		if (rc == 0 && from.line && S_ISFIFO(st.st_mode)) {
			errno = ESPIPE;
			rc = 1;
		}
		if (rc == 0)
			rc = read_all(fd, &b);
		error = errno;
		close(fd);
	}
	if (rc != 0) {
		buf_fini(&b);
		index = rc < 0 ? -1 : conf_add_file(l->conf, name, NULL, 0);
		if (index < 0)
			return -1;
		report_file(l, index, name, from, verb, error);
		return -2;
	}
	ASSERT(b.off == 0);
	index = conf_add_file(l->conf, name, b.data, b.len); /* takes the data */
	if (index >= 0)
		l->ids[index] = (struct file_id){st.st_dev, st.st_ino};
	return index;
}

/* As yaml_read(), of what must be a map. */
static int read_map(
	struct conf *c, uint32_t file, struct conf_report *report, struct conf_node **ret_root)
{
	int rc = yaml_read(c, file, report, ret_root);

	if (rc != 0 || !*ret_root || (*ret_root)->kind == CONF_MAP)
		return rc;
	conf_error(report, (*ret_root)->pos, NULL, "the file is not a map of keys");
	conf_node_free(*ret_root);
	*ret_root = NULL;
	return 1;
}

/* --- include --------------------------------------------------------------------------------- */

static bool is_pattern(struct span text)
{
	for (size_t i = 0; i < text.len; i++)
		if (text.ptr[i] && strchr("*?[", text.ptr[i]))
			return true;
	return false;
}

/* The name from the directory of `file`; escaped: as glob(3) wants it. NULL: out of memory. */
static char *name_from(const char *file, struct span text, bool escape)
{
	const char *slash = strrchr(file, '/');
	struct buf b;
	int rc = 0;

	buf_init(&b, 65536);
	if (slash && text.len && text.ptr[0] != '/')
		for (const char *c = file; c <= slash && rc == 0; c++)
			rc = buf_printf(&b, "%s%c", escape && strchr("*?[]\\", *c) ? "\\" : "", *c);
	if (rc == 0)
		rc = buf_append(&b, text);
	if (rc == 0)
		rc = buf_append(&b, span_make("", 1));
	if (rc < 0)
		buf_fini(&b);
	return b.data;
}

/* Top keys of an included file go to the end of the main file's; maps of both are put together.
 * Takes root. */
static void merge(struct conf *conf, struct conf_node *root)
{
	struct conf_node *next;

	for (struct conf_node *n = root->first; n; n = next) {
		struct conf_node *into = conf->root->first;

		next = n->next;
		n->next = NULL;
		while (into && !span_eq(into->name, n->name))
			into = into->next;
		if (!into || into->kind != CONF_MAP || n->kind != CONF_MAP) {
			conf_node_append(conf->root, n);
			continue;
		}
		for (struct conf_node *below = n->first, *after; below; below = after) {
			after = below->next;
			below->next = NULL;
			conf_node_append(into, below);
		}
		n->first = NULL;
		conf_node_free(n);
	}
	root->first = NULL;
	conf_node_free(root);
}

/* Takes `include` out of the map; NULL when it is not there. */
static struct conf_node *take_include(struct conf_node *map)
{
	struct conf_node *before = NULL, *n = map->first;

	while (n && !span_eq(n->name, SPAN("include"))) {
		before = n;
		n = n->next;
	}
	if (!n)
		return NULL;
	*(before ? &before->next : &map->first) = n->next;
	if (map->last == n)
		map->last = before;
	map->count--;
	n->next = NULL;
	return n;
}

static int load_file(struct loader *l, const char *name, struct conf_pos from);

static int include_one(struct loader *l, const char *file, const struct conf_node *what)
{
	char *name = name_from(file, what->text, is_pattern(what->text));
	glob_t found;
	int rc;

	if (!name)
		return -1;
	if (!is_pattern(what->text)) {
		rc = load_file(l, name, what->pos);
		free(name);
		return rc;
	}
	rc = glob(name, 0, NULL, &found); /* sorted; a pattern may match nothing */
	free(name);
	if (rc != 0)
		return rc == GLOB_NOSPACE ? -1 : 0;
	for (size_t i = 0; rc == 0 && i < found.gl_pathc; i++)
		rc = load_file(l, found.gl_pathv[i], what->pos);
	globfree(&found);
	return rc;
}

/* Values of a wrong kind are for conf_check() to tell. */
static int follow_includes(struct loader *l, const char *file, const struct conf_node *include)
{
	int rc = 0;

	if (include->kind == CONF_SCALAR)
		return include->text.len ? include_one(l, file, include) : 0;
	conf_each (what, include)
		if (rc == 0 && what->kind == CONF_SCALAR && what->text.len)
			rc = include_one(l, file, what);
	return rc;
}

static bool is_loaded(const struct loader *l, const char *name)
{
	struct stat st;

	if (stat(name, &st) < 0)
		return false;
	for (size_t i = 0; i < l->conf->file_count; i++)
		if (l->conf->texts[i] && l->ids[i].device == st.st_dev &&
			l->ids[i].inode == st.st_ino)
			return true;
	return false;
}

/* -1: out of memory. Other faults are reported. */
static int load_file(struct loader *l, const char *name, struct conf_pos from)
{
	struct conf_node *root = NULL, *include = NULL;
	int index, rc;

	if (is_loaded(l, name) || l->conf->file_count == CONF_FILES_MAX) {
		bool twice = l->conf->file_count < CONF_FILES_MAX;

		conf_error(l->report, from, NULL,
			twice ? "'%s' is included twice" : "'%s' is one file too many", name);
		return 0;
	}
	index = add_file(l, name, from);
	if (index < 0)
		return index == -2 ? 0 : -1;
	rc = read_map(l->conf, (uint32_t)index, l->report, &root);
	if (rc != 0) {
		l->unusable = true;
		return rc < 0 ? -1 : 0;
	}
	if (!root)
		return 0;
	if (index > 0) {
		include = take_include(root);
		merge(l->conf, root);
	} else {
		conf_node_free(l->conf->root);
		l->conf->root = root;
	}
	/* The main file's stays in the tree, to be checked. */
	rc = 0;
	if (index == 0 && conf_find(root, "include"))
		rc = follow_includes(l, name, conf_find(root, "include"));
	else if (include)
		rc = follow_includes(l, name, include);
	conf_node_free(include);
	return rc;
}

/* --- loading --------------------------------------------------------------------------------- */

/* Checks what was read; frees it when memory is out. */
static struct conf *finish(struct conf *conf, struct conf_report *report, bool unusable, int rc)
{
	conf->root->key = &conf_schema;
	if (rc == 0 && !unusable)
		rc = conf_check(conf, &conf_schema, report);
	if (rc == 0 && !unusable)
		rc = conf_rules(conf, report);
	if (rc == 0)
		return conf;
	conf_free(conf);
	return NULL;
}

struct conf *conf_load(const char *file, struct conf_report *report)
{
	struct loader l = {.conf = conf_new(), .report = report};
	int rc;

	if (!l.conf)
		return NULL;
	rc = load_file(&l, file, (struct conf_pos){0});
	return finish(l.conf, report, l.unusable, rc);
}

struct conf *conf_load_kept(const struct conf_kept *files, size_t count, struct conf_report *report)
{
	struct conf *conf = conf_new();
	bool unusable = false;
	int rc = 0;

	for (size_t i = 0; conf && rc == 0 && i < count; i++) {
		struct conf_node *root = NULL;
		char *copy = span_dup(files[i].text);

		if (!copy || conf_add_file(conf, files[i].name, copy, files[i].text.len) < 0)
			rc = -1;
		else
			rc = read_map(conf, (uint32_t)i, report, &root);
		if (root && i > 0) {
			conf_node_free(take_include(root));
			merge(conf, root);
		} else if (root) {
			conf_node_free(conf->root);
			conf->root = root;
		}
		unusable = unusable || rc > 0;
		rc = rc < 0 ? -1 : 0;
	}
	return conf ? finish(conf, report, unusable, rc) : NULL;
}

struct conf *conf_load_text(const char *name, struct span text, struct conf_report *report)
{
	struct conf *conf = conf_new();
	struct conf_node *root = NULL;
	char *copy;
	int rc;

	if (!conf)
		return NULL;
	copy = span_dup(text);
	if (!copy || conf_add_file(conf, name, copy, text.len) < 0) {
		conf_free(conf);
		return NULL;
	}
	rc = read_map(conf, 0, report, &root);
	if (root) {
		conf_node_free(conf->root);
		conf->root = root;
	}
	return finish(conf, report, rc > 0, rc < 0 ? -1 : 0);
}

struct conf *conf_load_rows(
	const char *name, struct span text, const struct conf_key *top, struct conf_report *report)
{
	struct conf *conf = conf_new();
	struct conf_node *root = NULL;
	char *copy = conf ? span_dup(text) : NULL;
	int rc = copy ? conf_add_file(conf, name, copy, text.len) : -1;

	if (rc >= 0)
		rc = yaml_read(conf, 0, report, &root);
	if (rc == 0 && !root)
		conf_error(report, (struct conf_pos){0}, NULL, "the file is empty");
	if (root) {
		conf_node_free(conf->root);
		conf->root = root;
		rc = conf_check(conf, top, report);
	}
	if (rc >= 0)
		return conf;
	conf_free(conf);
	return NULL;
}
