/*
 * Functions that have no place here: they cannot be given a bound, or keep hidden state. Included
 * before everything else by the build, so that using one is a compile error.
 */
#pragma once

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#pragma GCC poison strcpy strcat strncpy strncat sprintf vsprintf gets strtok atoi atol atoll atof alloca
