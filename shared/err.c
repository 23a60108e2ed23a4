/*
 * Words for what went wrong. Text that does not fit is cut, never an error of its own.
 */
#include "shared/err.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "shared/assert.h"

/* Appends at *at, which stays within the text. */
static void __attribute__((format(printf, 3, 0)))
append_v(struct err *err, size_t *at, const char *fmt, va_list args)
{
	size_t room = sizeof(err->text) - *at;
	int n = vsnprintf(err->text + *at, room, fmt, args);

	if (n > 0)
		*at += (size_t)n < room ? (size_t)n : room - 1;
	ASSERT(*at < sizeof(err->text));
}

static void __attribute__((format(printf, 3, 4)))
append(struct err *err, size_t *at, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	append_v(err, at, fmt, args);
	va_end(args);
}

int err_set(struct err *err, const char *fmt, ...)
{
	struct err made = {""}; /* the arguments may point into err itself */
	size_t at = 0;
	va_list args;

	if (!err)
		return -1;
	va_start(args, fmt);
	append_v(&made, &at, fmt, args);
	va_end(args);
	*err = made;
	return -1;
}

int err_set_errno(struct err *err, const char *fmt, ...)
{
	int code = errno;
	struct err made = {""};
	size_t at = 0;
	va_list args;

	if (!err)
		return -1;
	va_start(args, fmt);
	append_v(&made, &at, fmt, args);
	va_end(args);
	errno = code;
	append(&made, &at, ": %m");
	*err = made;
	errno = code;
	return -1;
}

int err_prefix(struct err *err, const char *fmt, ...)
{
	struct err made = {""};
	size_t at = 0;
	va_list args;

	if (!err)
		return -1;
	va_start(args, fmt);
	append_v(&made, &at, fmt, args);
	va_end(args);
	append(&made, &at, ": %s", err->text);
	*err = made;
	return -1;
}
