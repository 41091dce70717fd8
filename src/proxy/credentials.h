// SPDX-License-Identifier: BSD-3-Clause
/* Credentials: who is at the other end of a Unix socket, for the log of another machine. */
#ifndef OUTBOARD_PROXY_CREDENTIALS_H
#define OUTBOARD_PROXY_CREDENTIALS_H

struct outside;

#define CREDENTIALS_TEXT_MAX 100

/* The caller's name in a guest's log: "the other end, " and a text of the size above. */
#define CALLER_TEXT_MAX (CREDENTIALS_TEXT_MAX + 15)

/* "uid N, pid N", as the kernel says it; of another kind of socket, "". A user that our user namespace
 * does not have is asked for outside; NULL, or no answer: "pid N". */
void credentials_describe(int fd, struct outside *outside, char ret_text[CREDENTIALS_TEXT_MAX]);

#endif
