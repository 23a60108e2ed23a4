/*
 * Functions that have no place here: they cannot be given a bound, or keep hidden state. Included
 * before everything else by the build, so that using one is a compile error.
 */
#pragma once

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1 /* this comes before config.h could say it */
#endif

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#undef alloca
#undef sprintf /* a macro with clang and _FORTIFY_SOURCE */
#undef vsprintf
#pragma GCC poison strcpy strcat strncpy strncat sprintf vsprintf gets strtok atoi atol atoll atof \
	alloca
