// SPDX-License-Identifier: BSD-3-Clause
/*
 * How the virtio part of a device is built; for src/device alone.
 *
 * virtio_config.c has the configuration space, virtio_queues.c the life of queues and their chains,
 * virtio_pci.c the registers, virtio_state.c the saved state, virtio_vault.c the state that outlives
 * the process, virtio.c makes it all.
 */
#ifndef OUTBOARD_DEVICE_VIRTIO_PART_H
#define OUTBOARD_DEVICE_VIRTIO_PART_H

#include <outboard/vault.h>

#include "device/virtio.h"
#include "virtio/spec.h"
#include "virtio/virtqueue.h"

#define VIRTIO_NO_VECTOR 0xffffu

enum queue_life {
    QUEUE_STOPPED,
    QUEUE_RUNNING,
    QUEUE_STOPPING,  /* the device has chains of it still */
    QUEUE_FINISHING, /* it stops when the device has completed those that it gave back unused */
};

struct virtio_part_queue {
    struct device_virtio *virtio;
    struct virtqueue ring;
    struct list kicked;  /* in virtio_lists.kicked */
    struct list due;     /* in virtio_lists.due */
    struct list watched; /* in virtio_lists.watched */
    enum queue_life life;
    uint64_t turn;     /* device_virtio.turn when share was filled */
    unsigned share;    /* chains that it may take before the loop turns */
    bool letting_go;   /* let_go() was called, and the queue has not resumed since */
    bool is_at_a_loss; /* memory that the wire was asked for is missing */
    bool is_unsettled; /* another process may have shown chains that are done */
    bool was_kicked;   /* by the driver, since the start */
    bool was_filled;   /* a chain was there, since the start */
    uint16_t max_size;
    /* The driver's registers. */
    uint16_t size;
    uint16_t vector;
    bool enabled;
    bool resetting; /* queue_reset was written */
    uint64_t desc, driver, device;
};

/* Registers of the virtio-pci function, 4.1.4.3. */
struct virtio_registers {
    uint32_t feature_select;
    uint32_t driver_feature_select;
    uint64_t driver_features;
    uint16_t config_vector;
    uint16_t queue_select;
    uint8_t isr;
    uint8_t cfg_capability; /* offset of the capability that gives access to BARs */
};

struct virtio_config {
    size_t len;
    uint8_t *bytes; /* as the driver saw it last; room for the next reading behind it */
    uint8_t generation;
};

#define VIRTIO_INFLIGHT_MEMORIES 4u

/* virtio_inflight.c */
struct virtio_inflight {
    struct virtio_inflight_memory {
        uint8_t *address;
        int fd;
    } memories[VIRTIO_INFLIGHT_MEMORIES];
    unsigned count;
    unsigned next; /* to be handed out */
    uint64_t len;  /* of each */
};

/* The device's own state. */
struct virtio_own {
    size_t state_len;           /* the most that ops.save() writes */
    struct ob_vault_state kept; /* in a vault */
    uint8_t *kept_bytes;        /* with the library's; NULL: no state was named */
};

/* Queues: each is in any of these. */
struct virtio_lists {
    struct list kicked;  /* notified() is to be called */
    struct list due;     /* they have used chains */
    struct list watched; /* they were empty, and the driver does not notify them */
};

struct device_virtio {
    struct ob_device *device;
    struct ob_virtio_ops ops;
    void *state;
    const struct virtio_wire *wire;
    struct virtio_wire pci_wire; /* the virtio-pci function */
    uint16_t type;
    uint8_t status;
    bool negotiated;
    bool driver_ok;
    bool resetting;
    bool paused;
    bool holding;  /* memory goes: no chains until it has gone */
    uint64_t turn; /* of the loop */
    uint64_t offered;
    uint64_t accepted;
    struct virtio_config config;
    unsigned num_queues;
    unsigned ending; /* queues that the driver resets */
    struct virtio_part_queue *queues;
    bool unordered; /* ob_virtio_desc.unordered_queues */
    struct virtio_lists lists;
    struct virtio_fetched *scratch;
    struct virtio_registers registers;
    struct virtio_inflight inflight;
    struct virtio_own own;
};

/* Whether the driver's wire is the virtio-pci function. */
static inline bool virtio_is_on_pci(const struct device_virtio *virtio)
{
    return virtio->wire == &virtio->pci_wire;
}

/* virtio_config.c. Whether the device's bytes have changed since the last look. */
bool virtio_config_refresh(struct device_virtio *virtio);

/* virtio_queues.c */
void virtio_queues_init(struct device_virtio *virtio, const struct ob_virtio_queue *queues);
void virtio_queue_defaults(struct virtio_part_queue *queue);
void virtio_part_free(struct device_virtio *virtio);
/* Has notified() called where there may be chains. Whether there was anything to do. */
bool virtio_queues_notify(struct device_virtio *virtio);
/* Signals the queues that have used chains, if the driver wants it. */
void virtio_queues_signal(struct device_virtio *virtio);
/* Has the drivers of empty queues notify them. Whether there is work meanwhile. */
bool virtio_queues_listen(struct device_virtio *virtio);
/* Asks for all chains back, as long as `paused` or `holding` is set. */
void virtio_queues_let_go(struct device_virtio *virtio);
/* Neither is any more: the device looks for chains. */
void virtio_queues_resume(struct device_virtio *virtio);
/* Whether the device has no chain. */
bool virtio_queues_are_quiet(const struct device_virtio *virtio);
/* Everything is as at first, whatever the device still has. */
void virtio_reset_now(struct device_virtio *virtio);
/* Asks soon if the driver wants an interrupt. */
void virtio_queue_is_due(struct virtio_part_queue *queue);
/* Shows the driver the chains of a queue that are done and committed. */
void virtio_queue_post(struct virtio_part_queue *queue);
/* Has notified() called for a queue that runs. */
void virtio_queue_wake(struct virtio_part_queue *queue);

/* virtio_inflight.c. 0 or a negative errno. */
int virtio_inflight_make(struct device_virtio *virtio, const struct server_host *host);
void virtio_inflight_free(struct device_virtio *virtio, const struct server_host *host);

/* virtio_features.c */
void virtio_fail(struct device_virtio *virtio, const char *reason);

/* virtio_pci.c: the function that shows the device on a bus. */
void virtio_pci_use(struct device_virtio *virtio);
/* Fills the PCI description; the doorbells are to be freed. 0 or -ENOMEM. */
int virtio_pci_describe(const struct ob_virtio_desc *virtio, struct ob_device_desc *ret_desc,
                        struct ob_doorbell **ret_doorbells);
/* 0, or -ENOSPC. */
int virtio_pci_add_capabilities(struct device_virtio *virtio);
/* As those of ob_device_ops; the state is the device_virtio. */
uint64_t virtio_pci_read(void *state, unsigned bar, uint64_t offset, unsigned size);
void virtio_pci_doorbell(void *state, unsigned number);
void virtio_pci_write(void *state, unsigned bar, uint64_t offset, unsigned size, uint64_t value);
/* Continues a reset, or the end of a queue, that the driver waits for. */
void virtio_pci_poll(struct device_virtio *virtio);

/* virtio_vault.c */
/* The state of an author becomes that of the device. 0 or -ENOMEM. */
int virtio_keep(struct device_virtio *virtio, const struct ob_vault_state *own,
                struct ob_vault_state *ret_kept);
/* Commits chains that are done, and shows them to the driver. False: not now. */
bool virtio_kept_post(struct device_virtio *virtio);

/* virtio_state.c */
/* All but the device's own part. The length or a negative errno; 0 with the number of bytes that it
 * took, or a negative errno with the fault filled. */
int virtio_rings_save(struct device_virtio *virtio, uint8_t *ret_buf, size_t size);
int virtio_rings_load(struct device_virtio *virtio, const uint8_t *buf, size_t len,
                      size_t *ret_used, struct ob_fault *fault);
size_t virtio_state_len(const struct ob_virtio_desc *desc);
int virtio_state_save(void *state, uint8_t *ret_buf, size_t size);
int virtio_state_load(void *state, uint32_t version, const uint8_t *buf, size_t len,
                      struct ob_fault *fault);

#endif
