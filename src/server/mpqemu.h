// SPDX-License-Identifier: BSD-3-Clause
/* Shared by the files of the mpqemu engine; nobody else includes this. */
#ifndef OUTBOARD_SERVER_MPQEMU_H
#define OUTBOARD_SERVER_MPQEMU_H

#include "server/engine.h"
#include "wire/mpqemu.h"

struct mpqemu_server {
    struct engine engine; /* first: an engine of this wire is one of these */
    bool dialect_known;
    enum mpqemu_dialect dialect;
    bool replaced; /* memory was, by the SYNC_SYSMEM that waits for the device to let go of it */
    const struct mpqemu_row *row; /* of the frame whose header was read last */
};

#endif
