// SPDX-License-Identifier: BSD-3-Clause
/* The text of `outboard proxy status`. */
#ifndef OUTBOARD_PROXY_STATUS_H
#define OUTBOARD_PROXY_STATUS_H

#include <stdbool.h>
#include <stddef.h>

struct proxy;

/* The status as text for people or as one JSON object. The caller frees it; NULL: no memory. */
char *status_text(const struct proxy *proxy, bool json, size_t *ret_len);

#endif
