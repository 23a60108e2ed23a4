/*
 * The four calls that move bytes, straight to the kernel. The C library's are cancellation points:
 * in a process of several threads each takes two atomic exchanges more. No thread of ours is ever
 * cancelled. Results and errno are those of the calls they are named after.
 */
#pragma once

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static inline ssize_t raw_recv(int fd, void *to, size_t bytes)
{
	return syscall(SYS_recvfrom, fd, to, bytes, 0, NULL, NULL);
}

/* The same bytes are read again by the next call. */
static inline ssize_t raw_peek(int fd, void *to, size_t bytes)
{
	return syscall(SYS_recvfrom, fd, to, bytes, MSG_PEEK, NULL, NULL);
}

static inline ssize_t raw_send(int fd, const void *from, size_t bytes)
{
	return syscall(SYS_sendto, fd, from, bytes, MSG_NOSIGNAL, NULL, 0);
}

/* More follows at once: a packet that it does not fill waits for that (200 ms at most). */
static inline ssize_t raw_send_more(int fd, const void *from, size_t bytes)
{
	return syscall(SYS_sendto, fd, from, bytes, MSG_NOSIGNAL | MSG_MORE, NULL, 0);
}

static inline ssize_t raw_sendmsg(int fd, const struct msghdr *m)
{
	return syscall(SYS_sendmsg, fd, m, MSG_NOSIGNAL);
}

/* From one end of a pipe, or into the other; never waits for the pipe. */
static inline ssize_t raw_splice(int from_fd, int to_fd, size_t bytes)
{
	return syscall(
		SYS_splice, from_fd, NULL, to_fd, NULL, bytes, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
}
