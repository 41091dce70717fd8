// SPDX-License-Identifier: BSD-3-Clause
/* Numbers that somebody has typed. */
#ifndef OUTBOARD_BASE_NUMBER_H
#define OUTBOARD_BASE_NUMBER_H

#include <stdint.h>

/* Reads a text that is a whole number and nothing else: no sign, no spaces. base is as for
 * strtoull(3): 10, or 0, which takes 0x... too. 0, or -EINVAL when it is no number or above max. */
int number_parse(const char *text, int base, uint64_t max, uint64_t *ret_number);

#endif
