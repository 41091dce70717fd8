// SPDX-License-Identifier: BSD-3-Clause
/*
 * The device object behind include/outboard/device.h: what an engine does to it.
 *
 * A device is made before it is known which wire will serve it, and outlives its peers:
 * device_disconnect() takes back all that came from one, so that the next can start afresh. An
 * engine calls the functions below, one message at a time.
 *
 * A device that has lost its peer is dormant. The next peer gives its memory and its eventfds
 * before it resets the device, and queues and doorbells of the guest before would be looked for in
 * that memory. So a dormant device is not polled, its DMA is refused, and its interrupts are kept
 * back. It keeps its state, for a peer that takes the same VM further. It wakes when the next peer
 * accesses a BAR, rings a doorbell, resets it or loads a state into it; configuration space does
 * not wake it, since every VMM reads and writes that first.
 */
#ifndef OUTBOARD_DEVICE_DEVICE_H
#define OUTBOARD_DEVICE_DEVICE_H

#include <outboard/device.h>
#include <outboard/dma.h>

#include "base/list.h"
#include "device/doorbells.h"
#include "device/host.h"
#include "device/irq.h"
#include "memory/memory.h"
#include "pci/function.h"

/* The memory of a BAR. The file, and the mapping, begin where the BAR does, so that offsets are the
 * same everywhere; what lies before the range is never touched. */
struct bar_memory {
    uint8_t *address; /* NULL: the BAR has no memory */
    int fd;
    struct ob_bar_range range;
};

/* How a wire reaches memory that its peer has not shared. */
struct device_messenger {
    void (*submit)(void *context, struct ob_dma_request *request);
    /* Forgets the request; its buffer is not touched any more. */
    void (*cancel)(void *context, struct ob_dma_request *request);
    /* Ends all requests with this errno. */
    void (*cancel_all)(void *context, int err);
    void *context;
};

/* What a person was told on account of this peer, and is not told again until the next. */
struct device_told {
    bool of_size;   /* an access of an odd size */
    bool of_memory; /* memory that is not shared */
    bool of_zeroes; /* memory that seems to be private, or the first command was not all zeroes */
};

/* Whoever has something of a device is told when that is freed. */
struct device_ending {
    struct list link;
    void (*ended)(struct device_ending *ending);
};

struct ob_device {
    struct ob_device_ops ops;
    void *state;
    char *name;
    const struct server_host *host;
    struct pci_function function;
    struct memory memory;
    struct device_irqs irqs;
    struct bar_memory bar_memory[OB_BAR_COUNT];
    struct doorbells doorbells;
    const struct device_messenger *messenger; /* NULL: this wire has none */
    size_t state_len;                         /* as ob_device_desc */
    uint32_t state_version;
    struct list endings;
    bool traces;  /* see trace.h */
    bool served;  /* a peer has been served: what it has seen of the device stays */
    bool dormant; /* the peer has gone, and no other has taken the device over */
    bool stopped; /* the peer wants it paused */
    bool paused;  /* the device was told so */
    struct device_told told;
};

/* As ob_device_new(), with the host that the device will use for as long as it lives. */
int device_new(const struct ob_device_desc *desc, const struct ob_device_ops *ops, void *state,
               const struct server_host *host, struct ob_device **ret_device,
               struct ob_fault *fault);
void device_free(struct ob_device *device);

/* Has ended(ending) called before the device is freed, unless it is forgotten. */
void device_tell_of_end(struct ob_device *device, struct device_ending *ending,
                        void (*ended)(struct device_ending *ending));
void device_forget_ending(struct device_ending *ending);

/* Gives up what the peer gave: memory, interrupt descriptors. The device is dormant then. */
void device_disconnect(struct ob_device *device);
/* The peer has taken the device over. */
void device_wake(struct ob_device *device);

/* Register access. All ones, or nothing, for an access that does not fit the BAR. */
uint64_t device_bar_read(struct ob_device *device, unsigned bar, uint64_t offset, unsigned size);
void device_bar_write(struct ob_device *device, unsigned bar, uint64_t offset, unsigned size,
                      uint64_t value);

/* The same for any number of bytes, in registers' sizes as far as the device sees them. -EINVAL
 * when they do not lie in the BAR. */
int device_bar_read_bytes(struct ob_device *device, unsigned bar, uint64_t offset, uint8_t *ret_buf,
                          size_t len);
int device_bar_write_bytes(struct ob_device *device, unsigned bar, uint64_t offset,
                           const uint8_t *buf, size_t len);

/* Whether a register access may have this size. Warns, once, when it may not. */
bool device_check_size(struct ob_device *device, unsigned size);

/* As pci_config_write(), with what follows for interrupts. */
int device_config_write(struct ob_device *device, uint32_t offset, unsigned size, uint32_t value);

/* Configuration space in any number of bytes. -EINVAL when they do not lie in it. */
int device_config_read_bytes(const struct ob_device *device, uint64_t offset, uint8_t *ret_buf,
                             size_t len);
int device_config_write_bytes(struct ob_device *device, uint64_t offset, const uint8_t *buf,
                              size_t len);

/* Whether all of an access lies in the BAR's memory. */
bool device_bar_has_memory(const struct ob_device *device, unsigned bar, uint64_t offset,
                           size_t len);

/* Whether a request may be carried out: 0, -EPERM, -EFAULT or -EACCES as ob_dma_write(). */
int device_check_dma(struct ob_device *device, const struct ob_dma_request *request);

/* As ob_device_ops.pause(), when it changes something. A dormant device resumes when it wakes. */
void device_pause(struct ob_device *device, bool paused);
/* As ob_device_ops.at_rest(). */
int device_at_rest(struct ob_device *device, struct ob_fault *fault);

void device_reset(struct ob_device *device);

/* Has the device do what is due. Returns whether anything was done or more is due right now. */
bool device_poll(struct ob_device *device);
/* As ob_device_ops.waits(). */
bool device_waits(const struct ob_device *device);
/* As ob_device_ops.holds(). */
bool device_holds(const struct ob_device *device);
/* To be called before waiting. Returns whether there is something to do instead. */
bool device_listen(struct ob_device *device);

#endif
