// SPDX-License-Identifier: BSD-3-Clause
/* The backdoor as a PCI device. */
#ifndef OUTBOARD_DEVICES_BACKDOOR_H
#define OUTBOARD_DEVICES_BACKDOOR_H

#include <stdbool.h>
#include <stdint.h>

#include <outboard/backdoor_host.h>
#include <outboard/device.h>

#define BACKDOOR_PAGE      4096u
#define BACKDOOR_MAX_PAGES 255u

struct backdoor {
    struct ob_backdoor_ops ops;
    struct ob_device *device;
    uint64_t size;      /* of the data channel, bytes */
    uint8_t command[8]; /* gathers the bytes that the guest writes */
    bool called;        /* ops.init has been */
    void *data;
    void *state; /* of the code, or NULL */
    size_t state_len;
    uint8_t *kept; /* for the vault: the command, then the code's state; NULL: there is no vault */
};

/* Makes the device. pages: of its data channel, 1 to BACKDOOR_MAX_PAGES. The backdoor
 * must outlive it. As ob_device_new(). */
int backdoor_new(struct backdoor *backdoor, const struct ob_backdoor_ops *ops, unsigned pages,
                 struct ob_device **ret_device, struct ob_fault *fault);

/* Calls ops.fini if ops.init was called. */
void backdoor_done(struct backdoor *backdoor);

#endif
