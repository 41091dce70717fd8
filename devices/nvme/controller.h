// SPDX-License-Identifier: BSD-3-Clause
/*
 * The controller's registers and the states behind them, sections 3.1 and 7.6.
 *
 * OFF --CC.EN=1--> ON --CC.EN=0--> STOPPING --nothing in flight--> OFF
 *
 * OFF: no queue exists. ON: CSTS.RDY is set and queues are fetched from. STOPPING: nothing is
 * fetched, CSTS.RDY stays set until the last back-end operation has ended: when the guest sees
 * RDY=0, none of its memory is touched any more.
 *
 * A shutdown (CC.SHN) waits in the same way, then flushes all images. A reset of the function can't
 * be answered later, so it waits there and then, for a bounded time.
 *
 * An image that does not answer can't be called back where the kernel may still write to the
 * guest's memory. Then STOPPING lasts until it does, and CSTS.CFS tells the guest not to wait.
 */
#ifndef OUTBOARD_DEVICES_NVME_CONTROLLER_H
#define OUTBOARD_DEVICES_NVME_CONTROLLER_H

#include <stdint.h>

struct nvme;

enum nvme_state {
    NVME_OFF = 0,
    NVME_ON,
    NVME_STOPPING,
};

enum nvme_shutdown {
    SHUTDOWN_NONE = 0,
    SHUTDOWN_DRAINS,  /* waits for I/O in flight */
    SHUTDOWN_FLUSHES, /* waits for the images */
    SHUTDOWN_COMPLETE,
};

struct nvme_controller {
    enum nvme_state state;
    enum nvme_shutdown shutdown;
    unsigned flushing; /* images that a shutdown waits for */
    uint32_t cc;
    uint32_t csts;
    uint32_t aqa;
    uint32_t intms;
    uint64_t asq;
    uint64_t acq;
};

uint64_t controller_read(struct nvme *nvme, uint64_t offset, unsigned size);
void controller_write(struct nvme *nvme, uint64_t offset, unsigned size, uint64_t value);

/* Continues work that waited for I/O in flight. */
void controller_update(struct nvme *nvme);
/* The function is reset: waits for I/O in flight, for a bounded time. */
void controller_reset(struct nvme *nvme);

#endif
