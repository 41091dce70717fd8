// SPDX-License-Identifier: BSD-3-Clause
/*
 * Dialling an NBD server: the connector connects to it, and it tells of its export.
 *
 * All of that can take long, and libnbd waits for some of it, so a thread does it. The result
 * is a handle that can be used at once. A thread that still dials is never waited for: if nobody
 * wants the handle any more, the thread frees it when it ends. One that has ended its
 * work is joined, so that a program that has opened its images has a single thread.
 */
#ifndef OUTBOARD_BACKENDS_BLOCK_NBD_DIAL_H
#define OUTBOARD_BACKENDS_BLOCK_NBD_DIAL_H

#include <stdbool.h>

#include <libnbd.h>

#include <outboard/fault.h>

#include "block/nbd_connector.h"

struct nbd_dial;

/* Begins. 0 or a negative errno. */
int nbd_dial_new(const struct nbd_connector *connector, struct nbd_dial **ret_dial);
/* Readable when it has ended. The dial's; gone with it. */
int nbd_dial_fd(const struct nbd_dial *dial);
bool nbd_dial_has_ended(struct nbd_dial *dial);
/* The handle, which becomes the caller's, once it has ended; or NULL with the fault filled. */
struct nbd_handle *nbd_dial_take(struct nbd_dial *dial, struct ob_fault *fault);
/* Has it end soon. */
void nbd_dial_hang_up(struct nbd_dial *dial);
/* At any time; NULL is fine. */
void nbd_dial_free(struct nbd_dial *dial);

/* Whether a thread still dials. libnbd's destructors must not run under it: then the process ends by
 * _exit(2). */
bool nbd_dial_any_runs(void);

#endif
