#include "proxy/settings/location.h"

#include <errno.h>
#include <fcntl.h>
#include <maxminddb.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proxy/settings/network_table.h"
#include "shared/assert.h"
#include "shared/map.h"

enum {
	WORDS_MAX = 65536,
	FIELD_NAMES_MAX = 16, /* country.iso_code has two */
	FAULTS_MAX = 10	      /* lines of a file that are complained of */
};
#define FILE_BYTES_MAX (UINT64_C(256) << 20)

struct location {
	char *text; /* of the file of networks, which the words point into; NULL: none */
	size_t text_len;
	struct network_table *networks;
	struct span *words; /* by tag */
	MMDB_s database;
	bool has_database;
	char *field; /* "country\0iso_code\0" */
	const char *field_names[FIELD_NAMES_MAX + 1];
};

/* --- the file of networks ----------------------------------------------------------------------
 */

struct reading {
	struct location *l;
	const struct conf_node *node; /* that names the file */
	struct conf_report *report;
	struct map tags; /* tag + 1 by word */
	uint32_t word_count, line;
	unsigned faults;
	bool out_of_memory;
};

static void fault(struct reading *r, const char *what, struct span line)
{
	if (r->faults++ < FAULTS_MAX)
		conf_error(r->report, r->node->pos,
			"a line is a network and a word, such as '10.0.0.0/8 office'",
			"%.*s:%u: '%.*s' %s", SPAN_ARG(r->node->text), r->line,
			(int)(line.len < 60 ? line.len : 60), line.ptr, what);
}

static char *read_all(const char *file, size_t *ret_len, struct err *err)
{
	int fd = open(file, O_RDONLY | O_CLOEXEC);
	struct stat st;
	size_t len = 0;
	char *text = NULL;

	if (fd < 0) {
		err_set_errno(err, "cannot open %s", file);
		return NULL;
	}
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || (uint64_t)st.st_size > FILE_BYTES_MAX)
		err_set(err, "%s is not a file of at most 256 MiB", file);
	else if (!(text = malloc((size_t)st.st_size + 1)))
		err_set_errno(err, "cannot read %s", file);
	while (text && len < (size_t)st.st_size) {
		ssize_t n = read(fd, text + len, (size_t)st.st_size - len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) { /* of half a list nothing is to be believed */
			err_set(err, "cannot read %s: %s", file,
				n < 0 ? strerror(errno) : "it is being written");
			free(text);
			text = NULL;
			break;
		}
		len += (size_t)n;
	}
	close(fd);
	*ret_len = len;
	return text;
}

static uint32_t tag_of(struct reading *r, struct span word)
{
	uintptr_t tag = (uintptr_t)map_get(&r->tags, word);

	if (tag)
		return (uint32_t)(tag - 1);
	if (r->word_count == WORDS_MAX) {
		fault(r, "is one word too many: there may be 65536 different ones", word);
		return 0;
	}
	if (map_put(&r->tags, word, (void *)(uintptr_t)(r->word_count + 1)) < 0)
		r->out_of_memory = true;
	r->l->words[r->word_count] = word;
	return r->word_count++;
}

static void read_line(struct reading *r, struct span line)
{
	struct span network, word;
	struct cidr cidr;
	size_t blank = 0;

	line = span_trim(span_make(line.ptr, span_find(line, '#', 0)));
	if (!line.len)
		return;
	while (blank < line.len && line.ptr[blank] != ' ' && line.ptr[blank] != '\t')
		blank++;
	network = span_make(line.ptr, blank);
	word = span_trim(span_from(line, blank));
	if (cidr_parse(network, &cidr, NULL) < 0)
		fault(r, "does not begin with a network", line);
	else if (!word.len || span_find(word, ' ', 0) < word.len ||
		 span_find(word, '\t', 0) < word.len)
		fault(r, "does not have one word behind its network", line);
	else if (network_table_add(r->l->networks, &cidr, tag_of(r, word), r->line) < 0 &&
		 errno == ENOSPC)
		fault(r, "is one network too many", line);
	else if (errno == ENOMEM)
		r->out_of_memory = true;
}

static void read_lines(struct reading *r)
{
	struct span rest = span_make(r->l->text, r->l->text_len);
	uint32_t lines[2];
	int rc;

	while (rest.len) {
		size_t end = span_find(rest, '\n', 0);
		struct span line = span_make(rest.ptr, end);

		r->line++;
		if (line.len && line.ptr[line.len - 1] == '\r')
			line.len--;
		errno = 0;
		read_line(r, line);
		rest = span_from(rest, end < rest.len ? end + 1 : end);
	}
	if (r->faults > FAULTS_MAX)
		conf_error(r->report, r->node->pos, NULL, "%.*s has %u more lines like that",
			SPAN_ARG(r->node->text), r->faults - FAULTS_MAX);
	if (r->faults || r->out_of_memory)
		return;
	rc = network_table_close(r->l->networks, lines);
	if (rc > 0)
		conf_error(r->report, r->node->pos, "leave one of them out",
			"%.*s:%u: the same network is in line %u already", SPAN_ARG(r->node->text),
			lines[1], lines[0]);
	r->out_of_memory |= rc < 0;
}

static int read_networks(
	struct location *l, const struct conf_node *node, struct conf_report *report)
{
	struct reading r = {.l = l, .node = node, .report = report};
	char *file = span_dup(node->text);
	struct err err = {{0}};

	l->networks = network_table_new();
	l->words = calloc(WORDS_MAX, sizeof(*l->words));
	if (!file || !l->networks || !l->words) {
		free(file);
		return -1;
	}
	l->text = read_all(file, &l->text_len, &err);
	free(file);
	if (!l->text) {
		conf_error(report, node->pos, NULL, "%s", err.text);
		return -1;
	}
	map_init(&r.tags, WORDS_MAX);
	read_lines(&r);
	map_fini(&r.tags);
	return r.out_of_memory || conf_report_errors(report) > 0 ? -1 : 0;
}

/* --- the database ------------------------------------------------------------------------------
 */

static int split_field(struct location *l, const struct conf_node *conf, struct conf_report *report)
{
	struct span path = conf_text(conf, "field");
	unsigned count = 0;
	char *at;

	l->field = span_dup(path);
	if (!l->field)
		return -1;
	for (at = l->field; at && count < FIELD_NAMES_MAX; count++) {
		l->field_names[count] = at;
		at = strchr(at, '.');
		if (at)
			*at++ = '\0';
	}
	if (!at)
		return 0;
	conf_error(report, conf_find(conf, "field")->pos, NULL,
		"'field' has more than %d names in it", FIELD_NAMES_MAX);
	return -1;
}

static int open_database(
	struct location *l, const struct conf_node *node, struct conf_report *report)
{
	char *file = span_dup(node->text);
	int rc;

	if (!file)
		return -1;
	rc = MMDB_open(file, MMDB_MODE_MMAP, &l->database);
	if (rc == MMDB_SUCCESS)
		l->has_database = true;
	else
		conf_error(report, node->pos, NULL, "cannot use %s: %s", file,
			rc == MMDB_IO_ERROR || rc == MMDB_FILE_OPEN_ERROR ? strerror(errno)
									  : MMDB_strerror(rc));
	free(file);
	return l->has_database ? 0 : -1;
}

static struct span find_in_database(const struct location *l, const struct addr *client)
{
	MMDB_entry_data_s data;
	MMDB_lookup_result_s found;
	struct addr plain = *client;
	int rc;

	addr_unmap(&plain);
	/* One for IPv4 alone knows nothing of IPv6. */
	if (plain.sa.sa_family == AF_INET6 && l->database.metadata.ip_version == 4)
		return (struct span){0};
	found = MMDB_lookup_sockaddr(&l->database, &plain.sa, &rc);
	if (rc != MMDB_SUCCESS || !found.found_entry ||
		MMDB_aget_value(&found.entry, &data, l->field_names) != MMDB_SUCCESS ||
		!data.has_data || data.type != MMDB_DATA_TYPE_UTF8_STRING)
		return (struct span){0};
	return span_make(data.utf8_string, data.data_size);
}

/* --- the whole ---------------------------------------------------------------------------------
 */

struct location *location_new(const struct conf_node *conf, struct conf_report *report)
{
	const struct conf_node *networks = conf_find(conf, "networks");
	const struct conf_node *maxmind = conf_find(conf, "maxmind");
	struct location *l = calloc(1, sizeof(*l));

	if (!l)
		return NULL;
	if (!networks && !maxmind)
		conf_error(
			report, conf->name_pos, NULL, "'location' needs 'networks' or 'maxmind'");
	if ((!networks && !maxmind) || (networks && read_networks(l, networks, report) < 0) ||
		split_field(l, conf, report) < 0 ||
		(maxmind && open_database(l, maxmind, report) < 0)) {
		location_free(l);
		return NULL;
	}
	return l;
}

void location_free(struct location *l)
{
	if (!l)
		return;
	if (l->has_database)
		MMDB_close(&l->database);
	network_table_free(l->networks);
	free(l->words);
	free(l->text);
	free(l->field);
	free(l);
}

struct span location_find(const struct location *l, const struct addr *client)
{
	uint32_t tag;

	if (l->networks && network_table_find(l->networks, client, &tag))
		return l->words[tag];
	return l->has_database ? find_in_database(l, client) : (struct span){0};
}
