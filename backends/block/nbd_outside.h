// SPDX-License-Identifier: BSD-3-Clause
/* The rights that the process gives up that connects to an NBD server (nbd_connector.h). */
#ifndef OUTBOARD_BACKENDS_BLOCK_NBD_OUTSIDE_H
#define OUTBOARD_BACKENDS_BLOCK_NBD_OUTSIDE_H

#include <stdbool.h>

#include "block/nbd_uri.h"

/* Privileges by exec, programs, files but for reading, TCP ports to listen at, and signals to others. For a
 * server on a Unix socket also files and TCP; name services need both. keeps_proc: the process reaches the
 * server through /proc/self. Rights that the kernel can't take stay. */
void nbd_outside_confine(const struct nbd_uri *uri, bool keeps_proc);

#endif
