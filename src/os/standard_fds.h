// SPDX-License-Identifier: BSD-3-Clause
#ifndef OUTBOARD_OS_STANDARD_FDS_H
#define OUTBOARD_OS_STANDARD_FDS_H

/* Opens those of descriptors 0 to 2 that are closed, on /dev/null. Called before anything else is
 * opened: a file or a socket that became descriptor 2 would get the log. 0 or a negative errno. */
int standard_fds_open(void);

#endif
