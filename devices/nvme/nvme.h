// SPDX-License-Identifier: BSD-3-Clause
/*
 * An NVM Express 1.4 controller with the NVM command set: the state that its parts share.
 *
 *   succession.c   how another process continues when this one has died
 *   state.c        all of it as bytes, from which another process continues
 *   controller.c   registers: enable, disable, shutdown, reset; where doorbells arrive
 *   schedule.c     which queue is fetched from next
 *   dispatch.c     which file carries a command out
 *   admin.c ...    admin commands: queue_admin.c, identify.c, log_page.c
 *   io.c ...       I/O commands: dataset.c, compare.c
 *   shadow.c       how the guest says without a register that it has moved a head or a tail
 *   doorbell.c     the consequences when it has moved one
 *   quiesce.c      how it lets go of guest memory
 *   watchdog.c     images that are late, or have another size
 *   feature.c      settings of the controller
 *   async_event.c  events of which the guest is told
 *   transfer.c     an I/O command's way to its image and back
 *   completion.c   how a command ends
 *   queue.c        submission and completion rings in guest memory
 *   interrupt.c    from completion queues to INTx, MSI or MSI-X
 *   prp.c          from PRPs to guest memory
 *   namespace.c    from namespaces to images
 *   log.c          counts and errors
 *   request.c      commands between their two queues
 *   gate.c         whether the controller runs, fetches and continues
 *   backends/block  images
 *
 * Calls go down this list only, and from the first file of a line to the others.
 *
 * A register write only notes the guest's wish; poll() then carries it out, so that the guest runs
 * meanwhile, and one round of system calls serves many commands.
 */
#ifndef OUTBOARD_DEVICES_NVME_NVME_H
#define OUTBOARD_DEVICES_NVME_NVME_H

#include <outboard/device.h>

#include "async_event.h"
#include "compare.h"
#include "controller.h"
#include "feature.h"
#include "interrupt.h"
#include "log.h"
#include "namespace.h"
#include "queue.h"
#include "quiesce.h"
#include "request.h"
#include "shadow.h"
#include "succession.h"
#include "watchdog.h"

struct nvme {
    struct ob_device *device;
    struct nvme_controller controller;
    struct nvme_queues queues;
    struct nvme_shadow shadow;
    struct nvme_requests requests;
    struct nvme_features features;
    struct nvme_events events;
    struct nvme_log log;
    struct nvme_namespaces namespaces;
    struct nvme_watchdog watchdog;
    struct nvme_quiesce quiesce;
    struct nvme_compare compare;
    enum nvme_interrupts interrupts;
    unsigned seen_turnover; /* when it was polled last */
    bool paused;            /* by the VMM: nothing is begun */
    struct nvme_succession succession;
    char serial[NVME_SERIAL_LEN + 1];
};

/* An image that becomes a namespace. */
struct nvme_image {
    struct block *block;
    uint32_t block_size; /* 512 or 4096 */
    uint8_t uuid[16];
};

struct nvme_options {
    const struct nvme_image *images; /* namespaces 1, 2 and so on */
    unsigned count;
    const char *serial;
    unsigned timeout_ms; /* of an operation of an image; BLOCK_TIMEOUT_MIN_MS to _MAX_MS */
    enum nvme_interrupts interrupts;
};

/* Makes the controller and its device, and takes the images over. 0, or a negative errno with the
 * fault filled; then the images stay the caller's. */
int nvme_new(const struct nvme_options *options, struct nvme **ret_nvme,
             struct ob_device **ret_device, struct ob_fault *fault);
/* Closes the images. The device is freed already. Memory of operations that are still in flight,
 * to which the kernel may write, is never freed: the program must end then. */
void nvme_free(struct nvme *nvme);

#endif
