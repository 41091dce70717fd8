// SPDX-License-Identifier: BSD-3-Clause
/* backends/block/nbd_dial.h without a thread, and nbd_connector.h without a process: each dial has
 * ended at once. */
#ifndef OUTBOARD_TESTS_FAKE_NBD_DIAL_H
#define OUTBOARD_TESTS_FAKE_NBD_DIAL_H

struct nbd_handle;

/* The user's: the handle of a new connection, or NULL if there is none. */
struct nbd_handle *fake_nbd_dialled(void);

#endif
