/*
 * The server's socket file. It is made under a name of its own and appears by rename, complete with
 * mode and group, so that no client ever meets it half made, and there is no moment without one
 * when it is replaced.
 */
#include "shared/rpc_socket.h"

#include <errno.h>
#include <grp.h>
#include <sys/socket.h>
#include <unistd.h>

#include "shared/log.h"
#include "shared/rpc_wire.h"

enum { BACKLOG = 128 };

/* Nothing there, or what a dead daemon left. */
static int path_is_free(const char *path, bool replaces, struct err *err)
{
	struct sockaddr_un address;
	char name[64];
	struct stat st;
	int fd;

	if (rpc_address(path, &address, err) < 0)
		return -1;
	if (lstat(path, &st) < 0)
		return errno == ENOENT ? 0 : err_set_errno(err, "%s", path);
	if (!S_ISSOCK(st.st_mode))
		return err_set(err,
			"%s is there and is not a socket: remove it, or choose another --run-dir",
			path);
	if (replaces)
		return 0;
	fd = rpc_connect(&address);
	if (fd >= 0)
		close(fd);
	else if (errno == ECONNREFUSED || errno == ENOENT)
		return 0;
	else if (errno != EAGAIN) /* EAGAIN: its backlog is full, so it lives */
		return err_set_errno(err, "%s", path);
	rpc_peer_name(path, name, sizeof(name));
	return err_set(err, "another %s is running: it answers on %s", name, path);
}

/* Where we run as that group already there is nothing to do, nor perhaps the right to. */
static void set_group(const char *path, const char *group)
{
	const struct group *gr = group ? getgrnam(group) : NULL;

	if (gr && gr->gr_gid != getegid() && chown(path, (uid_t)-1, gr->gr_gid) < 0)
		log_event(LOG_NOTICE, "rpc.group", "cannot give the socket to its group",
			F_TEXT("path", path), F_TEXT("group", group),
			F_TEXT("reason", strerror(errno)));
}

/* Nobody can connect before listen, so the mode is in force before the first client. */
static int bind_complete(struct rpc_socket *s, const char *path, const char *group, struct err *err)
{
	struct sockaddr_un temporary;
	struct stat st;
	char made[sizeof(temporary.sun_path) + 16];

	snprintf(made, sizeof(made), "%s.%d", path, (int)getpid());
	if (rpc_address(made, &temporary, err) < 0)
		return -1;
	unlink(made); /* of a process that had our number and died right here */
	if (bind(s->fd, (const struct sockaddr *)&temporary, sizeof(temporary)) < 0)
		return err_set_errno(err, "cannot make the socket %s", path);
	set_group(made, group);
	if (chmod(made, 0660) < 0 || stat(made, &st) < 0 || listen(s->fd, BACKLOG) < 0 ||
		rename(made, path) < 0) {
		err_set_errno(err, "cannot make the socket %s", path);
		unlink(made);
		return -1;
	}
	s->dev = st.st_dev;
	s->ino = st.st_ino;
	return 0;
}

int rpc_socket_listen(
	struct rpc_socket *ret, const char *path, const char *group, bool replaces, struct err *err)
{
	*ret = (struct rpc_socket){.fd = -1};
	if (path_is_free(path, replaces, err) < 0)
		return -1;
	ret->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (ret->fd < 0)
		return err_set_errno(err, "cannot make the socket %s", path);
	return bind_complete(ret, path, group, err);
}

bool rpc_socket_is_ours(const struct rpc_socket *s, const char *path)
{
	struct stat st;

	return s->ino && lstat(path, &st) == 0 && st.st_dev == s->dev && st.st_ino == s->ino;
}

void rpc_socket_close(struct rpc_socket *s, const char *path)
{
	if (rpc_socket_is_ours(s, path))
		unlink(path);
	if (s->fd >= 0)
		close(s->fd);
	*s = (struct rpc_socket){.fd = -1};
}
