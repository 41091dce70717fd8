// SPDX-License-Identifier: BSD-3-Clause
/*
 * A small NVMe driver on top of our own client: one I/O queue, requests of one length.
 *
 * It does what Linux's driver and a VMM do: shadow doorbells where the controller has them, and
 * registers only when the event index asks for it. Over vfio-user, register writes are posted and
 * the interrupt is MSI-X; over mpqemu each write is answered and the interrupt is INTx, with an end
 * as KVM signals it. It either polls its completion queue with interrupts off, or blocks until the
 * interrupt.
 */
#ifndef OUTBOARD_BENCH_NVME_DRIVER_H
#define OUTBOARD_BENCH_NVME_DRIVER_H

#include <stdbool.h>
#include <stdint.h>

#include <outboard/client.h>

#include "workload.h"

#define NVME_DRIVER_DEPTH WORKLOAD_DEPTH
#define NVME_DRIVER_BYTES (128u << 10) /* of one request, at most */

struct nvme_driver_queue {
    uint64_t sq; /* guest addresses */
    uint64_t cq;
    uint32_t tail;
    uint32_t head;
    uint32_t told_head;
    bool phase;
};

struct nvme_driver {
    struct ob_client *client;
    uint8_t *memory; /* the guest's, from address 0 on */
    int memory_fd;
    int trigger_fd;
    int resample_fd; /* of INTx */
    bool polls;
    bool messages; /* MSI-X instead of INTx */
    bool has_shadow;
    struct nvme_driver_queue admin;
    struct nvme_driver_queue io;
    uint64_t blocks; /* of 512 bytes */
    unsigned long register_writes;
};

struct nvme_driver_options {
    const char *wire; /* as ob_client_options */
    bool polls;
    bool registers; /* leave shadow doorbells alone */
};

/* Takes over the socket of a device program, which has just started, and brings namespace 1 up.
 * Ends the bench when something fails. */
void nvme_driver_start(struct nvme_driver *driver, int fd,
                       const struct nvme_driver_options *options);
void nvme_driver_stop(struct nvme_driver *driver);

/* What workload_drive() drives. */
struct workload_disk nvme_driver_disk(struct nvme_driver *driver);

/* Where a request's data is. */
uint8_t *nvme_driver_data(const struct nvme_driver *driver, unsigned slot);

#endif
