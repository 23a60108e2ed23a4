/*
 * The key of the sticky cookies. A pair derives it from its secret, so that each node reads the
 * cookies that the other gave and nothing is copied; a single box makes one up and keeps it in the
 * state directory, so that users stay where they are over a restart.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <unistd.h>

#include "proxy/settings/settings.h"
#include "shared/daemon.h"
#include "shared/digest.h"
#include "shared/rng.h"
#include "shared/secret.h"

#define LABEL SPAN("tandem sticky cookie 1") /* of this use of the secret */

enum { KEPT_BYTES = 32 };

static bool any_sticky(const struct settings *s)
{
	for (unsigned i = 0; i < s->pool_count; i++)
		if (s->pools[i].sticky.cookie.len)
			return true;
	return false;
}

static int derive(struct span secret, uint64_t key[2], struct err *err)
{
	const struct span label = LABEL;
	struct mac_key *k = mac_key_new(secret);
	uint8_t bytes[16];

	if (!k)
		return err_set(err, "out of memory");
	mac_sign(k, &label, 1, bytes);
	mac_key_free(k);
	key[0] = key[1] = 0;
	for (unsigned i = 0; i < 8; i++) { /* the same on any machine */
		key[0] |= (uint64_t)bytes[i] << 8 * i;
		key[1] |= (uint64_t)bytes[8 + i] << 8 * i;
	}
	return 0;
}

/* A new one, whole or not at all. */
static int make_kept(const char *file, struct err *err)
{
	uint8_t bytes[KEPT_BYTES];
	char tmp[PATH_MAX + 8];
	bool written;
	int fd;

	random_bytes(bytes, sizeof(bytes));
	(void)snprintf(tmp, sizeof(tmp), "%s.new", file);
	fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_set_errno(err, "cannot create %s", tmp);
	written = write(fd, bytes, sizeof(bytes)) == (ssize_t)sizeof(bytes) && fsync(fd) == 0;
	close(fd);
	if (written && rename(tmp, file) == 0)
		return 0;
	err_set_errno(err, "cannot write %s", file);
	(void)unlink(tmp);
	return -1;
}

static int read_kept(const char *state_dir, uint64_t key[2], struct err *err)
{
	char file[PATH_MAX], bytes[KEPT_BYTES];
	int n = snprintf(file, sizeof(file), "%s/sticky.key", state_dir), fd;
	ssize_t len;

	if (n < 0 || (size_t)n >= sizeof(file))
		return err_set(err, "--state-dir is too long: %s", state_dir);
	if (daemon_make_dir(state_dir, 0750, err) < 0)
		return -1;
	fd = open(file, O_RDONLY | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT) {
		if (make_kept(file, err) < 0)
			return -1;
		fd = open(file, O_RDONLY | O_CLOEXEC);
	}
	if (fd < 0)
		return err_set_errno(err, "cannot open %s", file);
	len = read(fd, bytes, sizeof(bytes));
	close(fd);
	if (len != (ssize_t)sizeof(bytes))
		return err_set(err, "%s is not %d bytes long: remove it, and a new one is made",
			file, KEPT_BYTES);
	return derive(span_make(bytes, sizeof(bytes)), key, err);
}

int settings_sticky_key(struct settings *s, const char *state_dir, struct err *err)
{
	struct span file = conf_text(s->conf->root, "failover.secret_file"), secret;
	char name[PATH_MAX];
	int rc;

	if (!any_sticky(s))
		return 0;
	if (!file.len)
		return read_kept(state_dir, s->sticky_key, err);
	if (span_copy(file, name, sizeof(name)) < 0)
		return err_set(err, "the name of 'secret_file' is too long");
	if (secret_read(name, &secret, err) < 0)
		return err_prefix(err, "no key for sticky sessions");
	rc = derive(secret, s->sticky_key, err);
	secret_free(secret);
	return rc;
}
