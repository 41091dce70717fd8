// SPDX-License-Identifier: BSD-3-Clause
/* Credentials: who is at the other end of a Unix socket, for the log of another machine. */
#ifndef OUTBOARD_PROXY_CREDENTIALS_H
#define OUTBOARD_PROXY_CREDENTIALS_H

#define CREDENTIALS_TEXT_MAX 100

/* "uid N, pid N", as the kernel says it; "pid N" if the user is not known in our user namespace; of
 * another kind of socket, "". */
void credentials_describe(int fd, char ret_text[CREDENTIALS_TEXT_MAX]);

#endif
