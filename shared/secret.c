#include "shared/secret.h"

#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

int secret_read(const char *file, struct span *ret_secret, struct err *err)
{
	char text[SECRET_MAX_BYTES + 1];
	struct stat st;
	ssize_t len = -1;
	int fd = open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	char *copy;

	if (fd < 0)
		return err_set_errno(err, "cannot open %s", file);
	if (fstat(fd, &st) != 0 || (len = read(fd, text, sizeof(text))) < 0)
		err_set_errno(err, "cannot read %s", file);
	close(fd);
	if (len < 0)
		return -1;
	if (st.st_mode & S_IRWXO)
		return err_set(err, "%s is open to everyone: chmod o= %s", file, file);
	while (len > 0 && (text[len - 1] == '\n' || text[len - 1] == '\r'))
		len--;
	if (len < SECRET_MIN_BYTES || len > SECRET_MAX_BYTES)
		return err_set(err,
			"%s holds %zd bytes: a secret has %d to %d (openssl rand -hex 32 > %s)",
			file, len, SECRET_MIN_BYTES, SECRET_MAX_BYTES, file);
	copy = malloc((size_t)len);
	if (!copy)
		return err_set_errno(err, "%s", file);
	memcpy(copy, text, (size_t)len);
	*ret_secret = span_make(copy, (size_t)len);
	explicit_bzero(text, sizeof(text));
	return 0;
}

void secret_free(struct span secret)
{
	char *bytes = (char *)(uintptr_t)secret.ptr;

	if (bytes)
		explicit_bzero(bytes, secret.len);
	free(bytes);
}
