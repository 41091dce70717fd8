// SPDX-License-Identifier: BSD-3-Clause
/* Caller: who is at the other end of a Unix socket, for the log of another machine. */
#ifndef OUTBOARD_PROXY_CALLER_H
#define OUTBOARD_PROXY_CALLER_H

#define CALLER_TEXT_MAX 100

/* "uid N, pid N", as the kernel says it; of another kind of socket, "". */
void caller_describe(int fd, char ret_text[CALLER_TEXT_MAX]);

#endif
