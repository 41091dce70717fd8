// SPDX-License-Identifier: BSD-3-Clause
/*
 * The device object behind include/outboard/device.h: what an engine does to it.
 *
 * A device is made before it is known which wire will serve it, and outlives its peers:
 * device_disconnect() takes back all that came from one, so that the next can start afresh. An
 * engine calls the functions below, one message at a time.
 */
#ifndef OUTBOARD_SERVER_DEVICE_H
#define OUTBOARD_SERVER_DEVICE_H

#include <outboard/device.h>

#include "memory/memory.h"
#include "pci/function.h"
#include "server/host.h"

/* INTx: a level, signalled over an eventfd and signalled again when the guest's end of interrupt
 * (the resample eventfd) finds it still raised. */
struct device_intx {
    bool present;
    bool raised;
    int trigger_fd;  /* -1: the peer gave none */
    int resample_fd; /* -1: the peer gave none */
};

struct bar_memory {
    uint8_t *address; /* NULL: the BAR is not memory */
    int fd;
};

struct ob_device {
    struct ob_device_ops ops;
    void *state;
    char *name;
    const struct server_host *host;
    struct pci_function function;
    struct memory memory;
    struct device_intx intx;
    struct bar_memory bar_memory[OB_BAR_COUNT];
    bool warned_of_size;
};

/* As ob_device_new(), with the host that the device will use for as long as it lives. */
int device_new(const struct ob_device_desc *desc, const struct ob_device_ops *ops, void *state,
               const struct server_host *host, struct ob_device **ret_device,
               struct ob_fault *fault);
void device_free(struct ob_device *device);

/* Gives up what the peer gave: memory, interrupt descriptors. */
void device_disconnect(struct ob_device *device);

/* Register access. All ones, or nothing, for an access that does not fit the BAR. */
uint64_t device_bar_read(struct ob_device *device, unsigned bar, uint64_t offset, unsigned size);
void device_bar_write(struct ob_device *device, unsigned bar, uint64_t offset, unsigned size,
                      uint64_t value);

/* Whether a register access may have this size. Warns, once, when it may not. */
bool device_check_size(struct ob_device *device, unsigned size);

/* As pci_config_write(), with what follows for interrupts. */
int device_config_write(struct ob_device *device, uint32_t offset, unsigned size, uint32_t value);

/* Takes both descriptors over; on failure they stay the caller's and the old ones in use. Signals
 * at once when the level is raised. Returns 0 or the errno of the host. */
int device_set_intx(struct ob_device *device, int trigger_fd, int resample_fd);

void device_reset(struct ob_device *device);

#endif
