/* SPDX-License-Identifier: Apache-2.0 */
/* programs.h - small static programs that this one carries and writes out (build/gen/runtime_programs.c). Private to the room. */
#ifndef RUNTIME_PROGRAMS_H
#define RUNTIME_PROGRAMS_H

#include <stddef.h>

extern const unsigned char program_pause[], program_crun_hybrid[];
extern const size_t program_pause_len, program_crun_hybrid_len;

#endif
