// SPDX-License-Identifier: BSD-3-Clause
/* What the files of the vfio-user engine share. vfio_user.c tells the story. */
#ifndef OUTBOARD_SERVER_VFIO_USER_H
#define OUTBOARD_SERVER_VFIO_USER_H

#include "base/cursor.h"
#include "server/engine.h"
#include "wire/vfio_user.h"

struct vfio_user_server {
    struct engine engine;                       /* first: an engine of this wire is one of these */
    bool negotiated;                            /* VERSION is done */
    struct vfio_user_capabilities capabilities; /* as agreed */
};

/* One command, checked against its row. */
struct vfio_user_request {
    struct vfio_user_server *server;
    struct ob_device *device;
    const uint8_t *payload;
    size_t len;
    struct engine_fds *fds;
    struct wr reply; /* takes the payload of the reply */
    int reply_fds[LIMIT_VFIO_USER_FDS];
    unsigned num_reply_fds;
};

/* Carries a command out and writes the payload of its reply. Returns 0, or a negative errno that
 * the client gets instead. */
typedef int (*vfio_user_handler_fn)(struct vfio_user_request *request);

int vfio_user_device_get_info(struct vfio_user_request *request);
int vfio_user_device_get_region_info(struct vfio_user_request *request);
int vfio_user_device_get_irq_info(struct vfio_user_request *request);
int vfio_user_region_read(struct vfio_user_request *request);
int vfio_user_region_write(struct vfio_user_request *request);
int vfio_user_region_write_multi(struct vfio_user_request *request);

#endif
