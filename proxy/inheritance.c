#include "proxy/inheritance.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shared/units.h"

/* --- leaving ------------------------------------------------------------------------------------
 */

static int write_all(int fd, const char *text, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, text, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return -1;
		text += n;
		len -= (size_t)n;
	}
	return 0;
}

int inheritance_write(const struct worker_socket *sockets, unsigned count, int talk,
	const json_t *state, struct err *err)
{
	json_t *list = json_array(), *all;
	char address[ADDR_TEXT_MAX], *text;
	int fd;

	for (unsigned i = 0; i < count; i++) {
		addr_format(&sockets[i].bind, address);
		json_array_append_new(
			list, json_pack("{s:s, s:i}", "bind", address, "fd", sockets[i].fd));
	}
	all = json_pack("{s:o, s:i, s:O}", "sockets", list, "talk", talk, "state", state);
	text = all && json_array_size(list) == count ? json_dumps(all, JSON_COMPACT) : NULL;
	json_decref(all);
	if (!text)
		return err_set(err, "out of memory");
	fd = memfd_create("tandem-upgrade", MFD_CLOEXEC);
	if (fd < 0 || write_all(fd, text, strlen(text)) < 0) {
		err_set_errno(err, "cannot write down what the new process is to know");
		if (fd >= 0)
			close(fd);
		fd = -1;
	}
	free(text);
	return fd;
}

/* --- inheriting ---------------------------------------------------------------------------------
 */

static int by_number(const void *a, const void *b)
{
	int x = *(const int *)a, y = *(const int *)b;

	return (x > y) - (x < y);
}

/* All but the three that every process has, and these. */
static void close_strangers(int *known, unsigned count)
{
	unsigned next = STDERR_FILENO + 1;

	qsort(known, count, sizeof(*known), by_number);
	for (unsigned i = 0; i < count; i++) {
		if (known[i] < (int)next)
			continue;
		if ((unsigned)known[i] > next)
			(void)close_range(next, (unsigned)known[i] - 1, 0);
		next = (unsigned)known[i] + 1;
	}
	(void)close_range(next, ~0U, 0);
}

static bool is_socket(int fd, int option)
{
	int value = 0;
	socklen_t len = sizeof(value);

	return fd > STDERR_FILENO && getsockopt(fd, SOL_SOCKET, option, &value, &len) == 0 &&
	       value != 0 && fcntl(fd, F_SETFD, FD_CLOEXEC) == 0;
}

static int read_sockets(struct inheritance *in, const json_t *list, struct err *err)
{
	size_t count = json_array_size(list), i;
	const json_t *item;
	int *known = calloc(count + 1, sizeof(*known));
	unsigned n = 0;

	in->sockets = calloc(count + 1, sizeof(*in->sockets));
	in->taken = calloc(count + 1, sizeof(*in->taken));
	if (!known || !in->sockets || !in->taken) {
		free(known);
		return err_set(err, "out of memory");
	}
	known[n++] = in->talk;
	json_array_foreach (list, i, item) {
		const char *text = json_string_value(json_object_get(item, "bind"));
		int fd = (int)json_integer_value(json_object_get(item, "fd"));

		if (!text || addr_parse(span_of(text), &in->sockets[i].bind, NULL) < 0 ||
			!is_socket(fd, SO_ACCEPTCONN)) {
			free(known);
			return err_set(err, "socket %d was not inherited", fd);
		}
		in->sockets[i].fd = fd;
		in->count++;
		known[n++] = fd;
	}
	close_strangers(known, n);
	free(known);
	return 0;
}

static json_t *read_file(int fd)
{
	struct stat st;
	json_t *all = NULL;
	void *text;

	if (fd <= STDERR_FILENO || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size <= 0)
		return NULL;
	text = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (text != MAP_FAILED) {
		all = json_loadb(text, (size_t)st.st_size, 0, NULL);
		munmap(text, (size_t)st.st_size);
	}
	close(fd);
	return all;
}

int inheritance_read(struct inheritance *in, struct err *err)
{
	const char *number = getenv(INHERITANCE_VARIABLE);
	json_t *all;
	int talk, rc;

	*in = (struct inheritance){.talk = -1};
	if (!number)
		return 0;
	all = read_file((int)strtol(number, NULL, 10));
	(void)unsetenv(INHERITANCE_VARIABLE);
	if (!all)
		return err_set(err, INHERITANCE_VARIABLE
			" is in the environment, but is nothing that was left to this process");
	talk = (int)json_integer_value(json_object_get(all, "talk"));
	if (is_socket(talk, SO_TYPE))
		in->talk = talk;
	in->state = json_incref(json_object_get(all, "state"));
	rc = in->talk < 0 ? err_set(err, "the socket to the old process was not inherited")
			  : read_sockets(in, json_object_get(all, "sockets"), err);
	json_decref(all);
	return rc;
}

int inheritance_take(struct inheritance *in, const struct addr *bind_to, unsigned n)
{
	for (unsigned i = 0; i < in->count; i++)
		if (addr_eq(&in->sockets[i].bind, bind_to) && n-- == 0) {
			ASSERT(!in->taken[i]);
			in->taken[i] = true;
			return in->sockets[i].fd;
		}
	return -1;
}

void inheritance_fini(struct inheritance *in)
{
	for (unsigned i = 0; i < in->count; i++)
		if (!in->taken[i])
			close(in->sockets[i].fd);
	free(in->sockets);
	free(in->taken);
	json_decref(in->state);
	*in = (struct inheritance){.talk = in->talk};
}
