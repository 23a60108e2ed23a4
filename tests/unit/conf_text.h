/*
 * What is printed about a configuration, for tests: loads the text as tandem.yaml and compares.
 */
#pragma once

#include "shared/conf.h"
#include "tests/unit/check.h"

/* Returns owned. */
static inline char *conf_printed(struct span text)
{
	struct conf_report *r = conf_report_new();
	struct conf *c = conf_load_text("tandem.yaml", text, r);
	char *printed = NULL;
	size_t len = 0;
	FILE *to = open_memstream(&printed, &len);

	CHECK_TRUE(r != NULL && c != NULL && to != NULL);
	conf_report_print(r, c, to);
	fclose(to);
	conf_free(c);
	conf_report_free(r);
	return printed;
}

#define CHECK_PRINTED(text, expected)                         \
	do {                                                  \
		char *printed_ = conf_printed(span_of(text)); \
		CHECK_TEXT(span_of(printed_), expected);      \
		free(printed_);                               \
	} while (0)

/* Only that these words are somewhere in it. */
#define CHECK_PRINTS(text, words)                                                             \
	do {                                                                                  \
		char *printed_ = conf_printed(span_of(text));                                 \
		if (!strstr(printed_, words))                                                 \
			fprintf(stderr, "\n%s:%d: '%s' is not in:\n%s\n", __FILE__, __LINE__, \
				words, printed_);                                             \
		CU_ASSERT(strstr(printed_, words) != NULL);                                   \
		free(printed_);                                                               \
	} while (0)

#define CHECK_CLEAN(text) CHECK_PRINTED(text, "")
