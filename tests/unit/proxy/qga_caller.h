// SPDX-License-Identifier: BSD-3-Clause
/* A caller that is an agent with qemu-ga's wire: it hears requests with a sync behind each. */
#ifndef OUTBOARD_TESTS_PROXY_QGA_CALLER_H
#define OUTBOARD_TESTS_PROXY_QGA_CALLER_H

#include "caller.h"

/* Hears the next request and the sync behind it, whose number is returned. */
long long qga_hear_request(struct caller *caller, char *ret_request, size_t size);
void qga_expect_request(struct caller *caller, const char *expected, long long *ret_number);
void qga_say_text(struct caller *caller, const char *text);
/* The answer of a sync. */
void qga_say_sync(struct caller *caller, long long number);

#endif
