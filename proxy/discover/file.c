#include "proxy/discover/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shared/buf.h"
#include "shared/conf_schema.h"
#include "shared/list.h"
#include "shared/log.h"

static const double look_s = 2, settle_s = 0.05;
static const uint32_t wanted_events =
	IN_CLOSE_WRITE | IN_MOVED_TO | IN_CREATE | IN_DELETE | IN_MODIFY | IN_ATTRIB;

struct file_watch {
	struct ev_loop *loop;
	int fd; /* inotify; -1: only the looks */
	ev_io io;
	ev_timer settle, look;
	struct list files;
};

struct file_source {
	struct list link;
	struct file_watch *watch;
	char *path;
	struct crew *crew;
	struct stat seen; /* as it was when it was read */
	char reason[200];
};

/* --- the list ----------------------------------------------------------------------------------
 */

static const struct conf_key target_row = {.type = CONF_TYPE_ENDPOINT, .help = "A server."};
static const struct conf_key label_row = {.type = CONF_TYPE_TEXT, .help = "A label's value."};
static const struct conf_key group_keys[] = {{.name = "targets",
						     .type = CONF_TYPE_LIST,
						     .required = true,
						     .max = SOURCE_SERVERS_MAX,
						     .value = &target_row,
						     .help = "Addresses or names, with port."},
	{.name = "labels",
		.type = CONF_TYPE_NAMED,
		.noun = "label",
		.max = 1000,
		.value = &label_row,
		.help = "Those that begin with tandem_ are ours."},
	{0}};
static const struct conf_key group_row = {
	.type = CONF_TYPE_MAP, .keys = group_keys, .noun = "group", .help = "A group of targets."};
static const struct conf_key file_row = {.type = CONF_TYPE_LIST,
	.max = SOURCE_SERVERS_MAX,
	.value = &group_row,
	.help = "Groups of targets."};

struct reading {
	struct conf_report *report;
	struct crew_entry *list;
	unsigned count;
};

static struct span label_of(const struct conf_node *group, const char *name)
{
	const struct conf_node *n = conf_find(group, "labels");

	n = n ? conf_find(n, name) : NULL;
	return n ? n->text : (struct span){0};
}

static void read_labels(struct reading *r, const struct conf_node *group, struct crew_entry *e)
{
	struct span weight = label_of(group, "tandem_weight");
	struct span backup = label_of(group, "tandem_backup");
	uint64_t n = 1;

	if (weight.len && (span_to_u64(weight, 256, &n) < 0 || n == 0))
		conf_error(r->report, group->pos, NULL,
			"tandem_weight '%.*s' is not a number from 1 to 256", SPAN_ARG(weight));
	if (backup.len && !span_eq(backup, SPAN("true")) && !span_eq(backup, SPAN("false")))
		conf_error(r->report, group->pos, NULL,
			"tandem_backup '%.*s' is neither true nor false", SPAN_ARG(backup));
	*e = (struct crew_entry){.name = label_of(group, "tandem_name"),
		.zone = label_of(group, "tandem_zone"),
		.weight = (uint32_t)n,
		.backup = span_eq(backup, SPAN("true"))};
}

static void read_group(struct reading *r, const struct conf_node *group)
{
	const struct conf_node *targets = conf_find(group, "targets");
	struct crew_entry common;
	struct err err;

	read_labels(r, group, &common);
	if (common.name.len && targets->count > 1)
		conf_error(r->report, group->pos, "write a group for each",
			"tandem_name '%.*s' is of %zu targets", SPAN_ARG(common.name),
			targets->count);
	conf_each (target, targets) {
		struct crew_entry *e = &r->list[r->count];

		if (r->count == SOURCE_SERVERS_MAX) {
			conf_error(r->report, target->pos, NULL, "more than %d targets",
				SOURCE_SERVERS_MAX);
			return;
		}
		*e = common;
		if (endpoint_parse(target->text, &e->address, &e->host, &e->port, &err) < 0 ||
			(e->host.len == 0 && addr_is_any(&e->address)))
			conf_error(r->report, target->pos, NULL, "'%.*s' is no server's address",
				SPAN_ARG(target->text));
		r->count++;
	}
}

/* What is wrong is in the report. */
static int take(struct file_source *s, const struct conf *conf, struct conf_report *report)
{
	struct reading r = {.report = report};
	struct err err = {"out of memory"};
	int rc = -1;

	r.list = calloc(SOURCE_SERVERS_MAX, sizeof(*r.list));
	if (r.list)
		conf_each (group, conf->root)
			read_group(&r, group);
	if (r.list && conf_report_errors(report) == 0)
		rc = crew_set(s->crew, r.list, r.count, &err);
	if (rc < 0 && conf_report_errors(report) == 0)
		conf_error(report, (struct conf_pos){0}, NULL, "%s", err.text);
	free(r.list);
	return rc;
}

static void parse(struct file_source *s, struct buf *text)
{
	struct conf_report *report = conf_report_new();
	struct conf *conf = NULL;
	char *line = NULL;

	s->reason[0] = '\0';
	/* JSON may have tabs, which in YAML nobody sees. */
	for (size_t i = 0; text->len && text->data[0] == '[' && i < text->len; i++)
		if (text->data[i] == '\t')
			text->data[i] = ' ';
	if (report)
		conf = conf_load_rows(s->path, buf_span(text), &file_row, report);
	if (conf && conf_report_errors(report) == 0)
		take(s, conf, report);
	if (!conf)
		snprintf(s->reason, sizeof(s->reason), "out of memory");
	else if (conf_report_errors(report) > 0) {
		line = conf_report_line(report, conf, 0);
		snprintf(s->reason, sizeof(s->reason), "%s", line ? line : "it is malformed");
	}
	free(line);
	conf_free(conf);
	conf_report_free(report);
}

/* --- the file ----------------------------------------------------------------------------------
 */

static int read_all(int fd, struct buf *text)
{
	for (;;) {
		char *to = buf_reserve(text, 4096);
		ssize_t n;

		if (!to)
			return EFBIG;
		n = read(fd, to, 4096);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? errno : 0;
		buf_grew(text, (size_t)n);
	}
}

static bool same_file(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
	       a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec &&
	       a->st_ctim.tv_sec == b->st_ctim.tv_sec && a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

static void read_file(struct file_source *s)
{
	int fd = open(s->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), error = fd < 0 ? errno : 0;
	struct stat now = {0};
	struct buf text;

	buf_init(&text, FILE_BYTES_MAX);
	if (!error && (fstat(fd, &now) < 0 || !S_ISREG(now.st_mode)))
		error = EINVAL;
	if (!error && same_file(&now, &s->seen)) {
		close(fd);
		return;
	}
	if (!error)
		error = read_all(fd, &text);
	if (fd >= 0)
		close(fd);
	s->seen = now;
	if (error)
		snprintf(s->reason, sizeof(s->reason), "%s: %s", s->path, strerror(error));
	else
		parse(s, &text);
	buf_fini(&text);
}

static void look(struct file_source *s)
{
	char before[sizeof(s->reason)];

	memcpy(before, s->reason, sizeof(before));
	read_file(s);
	if (strcmp(before, s->reason) == 0)
		return;
	if (s->reason[0])
		log_event(LOG_WARNING, "discover.file",
			"keeping the servers that were known before", F_TEXT("reason", s->reason));
	else
		log_event(LOG_NOTICE, "discover.file", "the file is good again",
			F_TEXT("file", s->path));
}

static void look_at_all(struct file_watch *w)
{
	list_each (it, &w->files)
		look(list_item(it, struct file_source, link));
}

static void on_inotify(struct ev_loop *loop, ev_io *io, int events)
{
	struct file_watch *w = io->data;
	char skipped[4096];

	(void)events;
	while (read(w->fd, skipped, sizeof(skipped)) > 0)
		;
	if (!ev_is_active(&w->settle)) /* whoever writes may not have finished */
		ev_timer_again(loop, &w->settle);
}

static void on_settle(struct ev_loop *loop, ev_timer *t, int events)
{
	(void)events;
	ev_timer_stop(loop, t);
	look_at_all(t->data);
}

static void on_look(struct ev_loop *loop, ev_timer *t, int events)
{
	(void)loop;
	(void)events;
	look_at_all(t->data);
}

/* Its directory: a file that is replaced is another one. */
static void watch_directory(const struct file_source *s)
{
	const char *slash = strrchr(s->path, '/');
	char *directory = slash && slash > s->path
				  ? span_dup(span_make(s->path, (size_t)(slash - s->path)))
				  : strdup(slash ? "/" : ".");

	if (directory && s->watch->fd >= 0)
		(void)inotify_add_watch(s->watch->fd, directory, wanted_events); /* or the looks */
	free(directory);
}

struct file_source *file_source_new(struct file_watch *w, const char *path, struct crew *crew)
{
	struct file_source *s = calloc(1, sizeof(*s));

	if (s)
		s->path = strdup(path);
	if (!s || !s->path) {
		free(s);
		return NULL;
	}
	s->watch = w;
	s->crew = crew;
	list_init(&s->link);
	list_append(&w->files, &s->link);
	watch_directory(s);
	look(s);
	return s;
}

void file_source_free(struct file_source *s, bool keep)
{
	if (!s)
		return;
	list_remove(&s->link);
	crew_free(s->crew, keep);
	free(s->path);
	free(s);
}

const char *file_source_reason(const struct file_source *s)
{
	return s->reason[0] ? s->reason : NULL;
}

struct file_watch *file_watch_new(struct ev_loop *loop)
{
	struct file_watch *w = calloc(1, sizeof(*w));

	if (!w)
		return NULL;
	w->loop = loop;
	list_init(&w->files);
	w->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	ev_io_init(&w->io, on_inotify, w->fd, EV_READ);
	ev_init(&w->settle, on_settle);
	w->settle.repeat = settle_s;
	ev_timer_init(&w->look, on_look, look_s, look_s);
	w->io.data = w->settle.data = w->look.data = w;
	if (w->fd >= 0)
		ev_io_start(loop, &w->io);
	ev_timer_start(loop, &w->look);
	return w;
}

void file_watch_free(struct file_watch *w)
{
	if (!w)
		return;
	ev_io_stop(w->loop, &w->io);
	ev_timer_stop(w->loop, &w->settle);
	ev_timer_stop(w->loop, &w->look);
	if (w->fd >= 0)
		close(w->fd);
	free(w);
}
