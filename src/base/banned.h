/* SPDX-License-Identifier: Apache-2.0 */
/*
 * banned.h - functions that do not compile here, because each has a safe counterpart in base.
 * Force-included into every file by the Makefile, before any system header is misused.
 */
#ifndef BASE_BANNED_H
#define BASE_BANNED_H
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#pragma GCC poison strcpy strcat strncpy strncat strtok sprintf vsprintf gets atoi atol atoll localtime gmtime ctime
#endif
