// SPDX-License-Identifier: BSD-3-Clause
/*
 * As much of a vfio-user client as the backdoor needs.
 *
 * One request is under way at a time: it is sent, and the next message must be its reply. The
 * server may be anything: the request bounds its bytes, and any other
 * message ends the connection.
 *
 * Source: QEMU, docs/interop/vfio-user.rst, protocol version 0.0. Integers are in the byte order of
 * the machine, which both ends are on.
 */
#ifndef OUTBOARD_GUEST_VFIO_USER_H
#define OUTBOARD_GUEST_VFIO_USER_H

#include <stddef.h>
#include <stdint.h>

#include <outboard/fault.h>

/* How long the server may take for each message until the connection is set up. */
#define VFIO_USER_SETUP_TIMEOUT_S 5

/* Index of the region that is configuration space, and flags of a region; <linux/vfio.h>. */
#define VFIO_USER_CONFIG_REGION 7
#define VFIO_USER_REGION_READ   0x1
#define VFIO_USER_REGION_WRITE  0x2
#define VFIO_USER_REGION_MMAP   0x4

struct vfio_user {
    const char *name;    /* the socket's path, for faults; not owned */
    int fd;              /* -1 once the connection is broken */
    uint16_t message_id; /* of the last request */
    uint32_t refusal;    /* the errno with which the server has last refused a request */
};

/* "VFIO_USER_DEVICE_GET_REGION_INFO", request and reply. */
struct vfio_user_region {
    uint32_t argsz;
    uint32_t flags;
    uint32_t index;
    uint32_t cap_offset;
    uint64_t size;
    uint64_t offset; /* where in the descriptor's file the region starts */
};

/* All functions return 0 or, with the fault filled,
 *   -ENOTCONN   the server has gone, now or before
 *   -ETIMEDOUT  it did not answer in time
 *   -EPROTO     it broke the protocol
 *   -EREMOTEIO  it refused the request; the connection is still good
 * After all but the last the connection is closed. */

/* Connects to a socket and negotiates the version. `user` must be {.fd = -1}. A server that says
 * that it is busy is asked again until VFIO_USER_SETUP_TIMEOUT_S is over. Besides the above,
 * returns the errno of connect(2). */
int vfio_user_connect(struct vfio_user *user, const char *path, struct ob_fault *fault);

/* Asks for a region. @ret_fd: the descriptor that came with it, the caller's to close, or -1. */
int vfio_user_get_region(struct vfio_user *user, uint32_t index,
                         struct vfio_user_region *ret_region, int *ret_fd, struct ob_fault *fault);

/* Reads or writes up to 8 bytes of a region; a write has been done when it returns. */
int vfio_user_read(struct vfio_user *user, uint32_t region, uint64_t offset, void *ret_buf,
                   uint32_t len, struct ob_fault *fault);
int vfio_user_write(struct vfio_user *user, uint32_t region, uint64_t offset, const void *buf,
                    uint32_t len, struct ob_fault *fault);

/* From now on the server may take as long as it likes. */
int vfio_user_wait_forever(struct vfio_user *user, struct ob_fault *fault);

void vfio_user_close(struct vfio_user *user);

#endif
