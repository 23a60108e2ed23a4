/*
 * What went wrong, in words for a person. Fallible functions return -1 and fill one; the caller
 * that decides what to do about it logs it, once.
 */
#pragma once

#include <stdarg.h>

struct err {
	char text[512];
};

/* Always returns -1, so that a function can `return err_set(err, "...")`. err may be NULL. */
int err_set(struct err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The same, followed by ": " and the words of errno. */
int err_set_errno(struct err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Puts "words: " before what the error says already. */
int err_prefix(struct err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
