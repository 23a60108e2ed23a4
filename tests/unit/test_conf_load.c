/*
 * Files and what they include.
 */
#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shared/conf.h"
#include "tests/unit/check.h"

static char dir[64];

static void write_file(const char *name, const char *text)
{
	char path[128];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "w");
	CHECK_TRUE(f != NULL);
	CHECK_INT(fwrite(text, 1, strlen(text), f), strlen(text));
	CHECK_INT(fclose(f), 0);
}

static void set_up(void)
{
	char path[128];

	snprintf(dir, sizeof(dir), "/tmp/tandem-conf-XXXXXX");
	CHECK_TRUE(mkdtemp(dir) != NULL);
	snprintf(path, sizeof(path), "%s/conf.d", dir);
	CHECK_TRUE(mkdir(path, 0700) == 0);
}

static void tear_down(void)
{
	static const char *const names[] = {
		"main.yaml", "pipe", "conf.d/a.yaml", "conf.d/b.yaml", "conf.d", ""};
	char path[128];

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
		CHECK(remove(path) == 0 || errno == ENOENT);
	}
}

/* What is printed about main.yaml, with the directory cut out; *ret_conf is owned (may be NULL). */
static char *load(struct conf **ret_conf)
{
	struct conf_report *r = conf_report_new();
	char path[128], *printed = NULL, *hit;
	struct conf *c;
	size_t len = 0;
	FILE *to = open_memstream(&printed, &len);

	snprintf(path, sizeof(path), "%s/main.yaml", dir);
	c = conf_load(path, r);
	CHECK_TRUE(c != NULL && to != NULL);
	conf_report_print(r, c, to);
	fclose(to);
	while ((hit = strstr(printed, dir)))
		memmove(hit, hit + strlen(dir) + 1, strlen(hit + strlen(dir) + 1) + 1);
	conf_report_free(r);
	if (ret_conf)
		*ret_conf = c;
	else
		conf_free(c);
	return printed;
}

#define CHECK_LOAD(expected)                             \
	do {                                             \
		char *printed_ = load(NULL);             \
		CHECK_TEXT(span_of(printed_), expected); \
		free(printed_);                          \
	} while (0)

static void a_file_that_is_not_there_is_told(void)
{
	set_up();
	CHECK_LOAD("main.yaml: error: cannot open: No such file or directory\n");
	tear_down();
}

static void a_directory_is_no_file(void)
{
	char path[128];

	set_up();
	snprintf(path, sizeof(path), "%s/main.yaml", dir);
	CHECK_TRUE(mkdir(path, 0700) == 0);
	CHECK_LOAD("main.yaml: error: cannot read: Is a directory\n");
	tear_down();
}

static void an_include_that_is_a_pipe_is_not_waited_for(void)
{
	char path[128];

	set_up();
	snprintf(path, sizeof(path), "%s/pipe", dir);
	CHECK_TRUE(mkfifo(path, 0600) == 0);
	write_file("main.yaml", "include: pipe\n");
	CHECK_LOAD("main.yaml:1:10: error: cannot read 'pipe': it is a pipe\n"
		   "    1 | include: pipe\n"
		   "      |          ^~~~\n");
	tear_down();
}

static void a_huge_file_is_refused(void)
{
	char path[128];

	set_up();
	write_file("main.yaml", "# large\n");
	snprintf(path, sizeof(path), "%s/main.yaml", dir);
	CHECK_TRUE(truncate(path, (16 << 20) + 1) == 0);
	CHECK_LOAD("main.yaml: error: cannot read: it is larger than 16 MiB\n");
	tear_down();
}

static void included_files_add_to_the_top_maps_in_order(void)
{
	struct conf *c;
	char *printed;
	const struct conf_node *pools;

	set_up();
	write_file("main.yaml", "include: [conf.d/*.yaml, none.d/*.yaml]\n"
				"pools: {m: {servers: {s: \"10.0.0.1:80\"}}}\n"
				"listeners: {h: {bind: \":80\", pool: b}}\n");
	write_file("conf.d/b.yaml", "pools: {b: {servers: {s: \"10.0.0.2:80\"}}}\n");
	write_file("conf.d/a.yaml", "pools: {a: {servers: {s: \"10.0.0.3:80\"}}}\nworkers: 3\n");
	printed = load(&c);
	CHECK_TEXT(span_of(printed), "");
	free(printed);
	pools = conf_find(c->root, "pools");
	CHECK_INT(pools->count, 3);
	CHECK_TEXT(pools->first->name, "m");
	CHECK_TEXT(pools->first->next->name, "a");
	CHECK_TEXT(pools->last->name, "b");
	CHECK(conf_find(c->root, "listeners.h.pool")->target == pools->last);
	CHECK_INT(conf_u64(c->root, "workers"), 3);
	CHECK_INT(c->file_count, 3);
	conf_free(c);
	tear_down();
}

static void a_name_in_two_files_is_told_with_both_places(void)
{
	set_up();
	write_file("main.yaml", "include: conf.d/a.yaml\npools: {m: {servers: {s: "
				"\"10.0.0.1:80\"}}}\nworkers: 1\n");
	write_file("conf.d/a.yaml",
		"# two\npools: {m: {servers: {s: \"10.0.0.1:80\"}}}\nworkers: 1\n");
	CHECK_LOAD("conf.d/a.yaml:2:9: error: duplicate key 'm'\n"
		   "    2 | pools: {m: {servers: {s: \"10.0.0.1:80\"}}}\n"
		   "      |         ^ first written here: (main.yaml:2)\n"
		   "conf.d/a.yaml:3:1: error: duplicate key 'workers'\n"
		   "    3 | workers: 1\n"
		   "      | ^~~~~~~ first written here: (main.yaml:3)\n");
	tear_down();
}

static void a_missing_include_is_told_where_it_is_written(void)
{
	set_up();
	write_file("main.yaml", "include:\n  - conf.d/none.yaml\n");
	CHECK_LOAD(
		"main.yaml:2:5: error: cannot open 'conf.d/none.yaml': No such file or directory\n"
		"    2 |   - conf.d/none.yaml\n"
		"      |     ^~~~~~~~~~~~~~~~\n");
	tear_down();
}

static void files_that_include_each_other_are_told(void)
{
	set_up();
	write_file("main.yaml", "include: conf.d/a.yaml\n");
	write_file("conf.d/a.yaml", "include: ../main.yaml\n");
	CHECK_LOAD("conf.d/a.yaml:1:10: error: 'conf.d/../main.yaml' is included twice\n"
		   "    1 | include: ../main.yaml\n"
		   "      |          ^~~~~~~~~~~~\n");
	tear_down();
}

static void names_are_taken_from_the_file_that_writes_them(void)
{
	struct conf *c;
	char *printed;

	set_up();
	write_file("main.yaml", "include: conf.d/a.yaml\n");
	write_file("conf.d/a.yaml", "include: [b.yaml]\n");
	write_file("conf.d/b.yaml", "workers: 7\n");
	printed = load(&c);
	CHECK_TEXT(span_of(printed), "");
	CHECK_INT(conf_u64(c->root, "workers"), 7);
	free(printed);
	conf_free(c);
	tear_down();
}

static void faults_of_an_included_file_come_after_the_main_ones(void)
{
	set_up();
	write_file("main.yaml", "include: conf.d/*.yaml\nworkers: 0\n");
	write_file("conf.d/a.yaml", "log: {level: x}\n");
	CHECK_LOAD("main.yaml:2:10: error: '0' is out of range: 1 to 1024\n"
		   "    2 | workers: 0\n"
		   "      |          ^\n"
		   "conf.d/a.yaml:1:14: error: 'x' is not a word for this: write error, warning, "
		   "notice, "
		   "info or debug\n"
		   "    1 | log: {level: x}\n"
		   "      |              ^\n");
	tear_down();
}

static void a_syntax_error_in_an_included_file_is_told_there(void)
{
	set_up();
	write_file("main.yaml", "include: conf.d/*.yaml\n");
	write_file("conf.d/a.yaml", "log: {\n");
	CHECK_LOAD("conf.d/a.yaml:2:1: error: not valid YAML: did not find expected node content "
		   "while "
		   "parsing a flow node\n"
		   "    2 | \n"
		   "      | ^\n");
	tear_down();
}

static const struct test_case cases[] = {
	TEST(a_file_that_is_not_there_is_told),
	TEST(a_directory_is_no_file),
	TEST(an_include_that_is_a_pipe_is_not_waited_for),
	TEST(a_huge_file_is_refused),
	TEST(included_files_add_to_the_top_maps_in_order),
	TEST(a_name_in_two_files_is_told_with_both_places),
	TEST(a_missing_include_is_told_where_it_is_written),
	TEST(files_that_include_each_other_are_told),
	TEST(names_are_taken_from_the_file_that_writes_them),
	TEST(faults_of_an_included_file_come_after_the_main_ones),
	TEST(a_syntax_error_in_an_included_file_is_told_there),
};
TESTS_MAIN("conf_load", cases)
