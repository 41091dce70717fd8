// SPDX-License-Identifier: BSD-3-Clause
/* A controller with a disk of memory, and the guest's memory at hand. */
#ifndef OUTBOARD_TESTS_UNIT_NVME_FIXTURE_H
#define OUTBOARD_TESTS_UNIT_NVME_FIXTURE_H

#include <stdint.h>

#include "device/device.h"
#include "fake/disk.h"
#include "nvme.h"

#define PAGE       UINT64_C(4096)
#define MEMORY_LEN (512 * PAGE) /* from address 0 on; the last page is a region of its own */
#define LAST_PAGE  (MEMORY_LEN - PAGE)
#define READ_ONLY  UINT64_C(0x40000000) /* a page that may not be written */
#define ADMIN_SQ   UINT64_C(0x1000)
#define ADMIN_CQ   UINT64_C(0x2000)
#define DATA       UINT64_C(0x20000) /* free for tests from here on */
#define QUEUE_LEN  16u
#define SQ(id)     (UINT64_C(0x3000) + PAGE * 2 * (id))
#define CQ(id)     (SQ(id) + PAGE)

struct fixture {
    struct fake_disk disk;
    struct nvme *nvme;
    struct ob_device *device;
    uint8_t *memory;
    int fd;
    unsigned tail[8]; /* of submission queues */
};

struct completion {
    uint32_t result;
    uint16_t sq_head;
    uint16_t sq_id;
    uint16_t command_id;
    uint16_t status; /* without the phase */
    bool phase;
};

/* A controller that is off, with memory and bus mastering. */
void fixture_start(struct fixture *fixture);
/* As fixture_start(), enabled, with queue pairs 1 to count of QUEUE_LEN entries. */
void fixture_start_enabled(struct fixture *fixture, unsigned count);
/* Frees all; operations in flight are waited for. */
void fixture_stop(struct fixture *fixture);
/* Resets the function, as an engine does. */
void fixture_reset(struct fixture *fixture);

void fixture_map(struct fixture *fixture, bool last_page);
uint64_t fixture_register(struct fixture *fixture, uint64_t offset, unsigned size);
void fixture_set_register(struct fixture *fixture, uint64_t offset, unsigned size, uint64_t value);
/* Polls until nothing is due. */
void fixture_poll(struct fixture *fixture);

/* Puts a command into a submission queue; the doorbell stays as it is. */
void fixture_put(struct fixture *fixture, unsigned queue, const struct nvme_command *command);
/* Tells the controller of all that was put. */
void fixture_ring(struct fixture *fixture, unsigned queue);
/* Puts, rings, polls. */
void fixture_send(struct fixture *fixture, unsigned queue, const struct nvme_command *command);
/* Entry number index of a completion queue, as it is. */
struct completion fixture_completion(struct fixture *fixture, unsigned queue, unsigned index);

#endif
