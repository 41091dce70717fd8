// SPDX-License-Identifier: BSD-3-Clause
/*
 * The driver of a virtio device that a fuzz target plays: what it does comes out of the input, one byte
 * after the other, and most of it is hostile. Rings of both formats lie in one region of guest memory:
 * a page for each queue, and data behind them.
 *
 * The device is the target's. It is driven by the registers of its virtio-pci function, as mpqemu and
 * vfio-user carry them, or by the calls that the vhost-user engine makes.
 */
#ifndef OUTBOARD_FUZZ_GUEST_MODEL_H
#define OUTBOARD_FUZZ_GUEST_MODEL_H

#include "device/device.h"
#include "device/virtio.h"
#include "fake/server_host.h"
#include "virtio/spec.h"

#define GUEST_QUEUES 2u
#define GUEST_RING_AT(q)                                                                           \
    (0x1000u * (1 + (q)))      /* descriptors, 0x800 behind them the driver's part... */
#define GUEST_DEVICE_AT 0xc00u /* ...and the device's */
#define GUEST_DATA_AT   0x4000u
#define GUEST_CONFIG_AT 0x2000u /* in the registers */
#define GUEST_NOTIFY_AT 0x3000u
#define GUEST_DESCS     24u
#define GUEST_WAITS     2000u /* times that the guest waits for one thing */

struct guest_model {
    struct fake_host fake;
    struct ob_device *device;
    const uint8_t *at; /* the input */
    size_t left;
    int file; /* guest memory */
    unsigned num_queues;
    uint16_t size[GUEST_QUEUES];  /* of the rings as the driver made them */
    uint16_t avail[GUEST_QUEUES]; /* the next place, free-running */
    uint16_t desc[GUEST_QUEUES];  /* the next descriptor of a split ring */
    bool packed;
    bool wrap[GUEST_QUEUES];
    bool direct; /* the vhost-user engine's way */
    struct virtio_wire wire;
    bool paused;
    /* The guest waits, while the world around the device goes on. */
    void (*waits)(struct guest_model *guest);
};

/* A chain: descriptors of the ring, and a table of the rest. */
struct guest_chain {
    struct virtio_desc descs[GUEST_DESCS];
    unsigned num_direct;
    unsigned num_indirect; /* in a table at... */
    uint32_t table_at;
    uint16_t table_flags;
    bool linked; /* NEXT and next are set as they should be, else they are as in descs */
};

uint8_t guest_take(struct guest_model *guest);
/* Little endian. */
uint64_t guest_take_bytes(struct guest_model *guest, unsigned count);

/* Makes the world around the device, which the caller makes then... */
void guest_init(struct guest_model *guest, const uint8_t *data, size_t size);
/* ...and the VMM connects: memory, bus mastering. */
void guest_connect(struct guest_model *guest, unsigned num_queues);
/* The device is freed already. */
void guest_done(struct guest_model *guest);

/* Guest memory, or NULL while it is gone. */
uint8_t *guest_memory(struct guest_model *guest);
void guest_put(struct guest_model *guest, uint32_t address, const void *bytes, size_t len);

uint64_t guest_get(struct guest_model *guest, uint64_t offset, unsigned size);
void guest_set(struct guest_model *guest, uint64_t offset, unsigned size, uint64_t value);
void guest_notify(struct guest_model *guest, unsigned queue);

/* Resets the device and waits for that, as drivers do. */
void guest_stop(struct guest_model *guest);
/* The other steps of a driver that does it right. kind: which features of the rings it takes. */
void guest_start(struct guest_model *guest, uint8_t kind, uint64_t type_features);
void guest_show(struct guest_model *guest, unsigned queue, const struct guest_chain *chain);
/* A chain of one descriptor, or of a table of up to four. */
void guest_add_any(struct guest_model *guest, unsigned queue);

void guest_map(struct guest_model *guest);
/* All memory goes, and comes back at once or later. */
void guest_unmap(struct guest_model *guest);
void guest_save_and_load(struct guest_model *guest);
void guest_reset(struct guest_model *guest);

#define GUEST_STEPS 12u
/* A step that has nothing to do with the type of the device; what: below GUEST_STEPS. */
void guest_step(struct guest_model *guest, uint8_t what);

#endif
