// SPDX-License-Identifier: BSD-3-Clause
/*
 * Host names as rules compare them. A name has many spellings that a resolver takes for the same
 * host: capitals, a dot at the end, escapes, numbers in other bases. There is one form here, and
 * whatever can't be brought into it is no host name.
 */
#ifndef OUTBOARD_ENDPOINT_HOSTNAME_H
#define OUTBOARD_ENDPOINT_HOSTNAME_H

#include <stdbool.h>

#include "endpoint/address.h"

/* Brings a name into its one form: small letters, digits, '-' and '_' in labels of 1 to 63 bytes,
 * no dot at the end, a last label that is no number (inet_aton(3) would read it as an address).
 * ret_name may be the text itself. 0, or -EINVAL when it is no host name. */
int hostname_canonical(const char *text, char ret_name[ADDRESS_NAME_MAX + 1]);

/* The same for the pattern of a rule, in which * stands for any bytes. */
int hostname_canonical_pattern(const char *text, char ret_name[ADDRESS_NAME_MAX + 1]);

#endif
