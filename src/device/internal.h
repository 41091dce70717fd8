// SPDX-License-Identifier: BSD-3-Clause
/*
 * How a device is built: a core that knows no bus, and the part that a bus adds. Nobody outside of
 * src/device includes this (tools/check-includes); engines ask by the functions of device.h, pci.h,
 * irq.h and doorbells.h.
 *
 * The core has the author's operations, guest memory, the world around (host.h), pause, and who may
 * do DMA. The PCI part has the function, its BARs, interrupts and doorbells. A device of another
 * bus has another part beside `pci`: a virtio device has `virtio` (virtio_part.h), which its PCI
 * function shows where the wire knows no virtio.
 */
#ifndef OUTBOARD_DEVICE_INTERNAL_H
#define OUTBOARD_DEVICE_INTERNAL_H

#include <outboard/vault.h>

#include "device/device.h"
#include "device/doorbells.h"
#include "device/irq.h"
#include "device/pci.h"
#include "device/vault.h"
#include "pci/function.h"
#include "pci/msi.h"
#include "pci/msix.h"

/* The memory of a BAR. The file, and the mapping, begin where the BAR does, so that offsets are the
 * same everywhere; bytes before the range are never touched. */
struct bar_memory {
    uint8_t *address; /* NULL: the BAR has no memory */
    int fd;
    struct ob_bar_range range;
};

struct irq_vector {
    int fd; /* -1: the peer gave none */
    bool masked;
};

struct device_irqs {
    struct irq_vector *vectors[IRQ_KIND_COUNT];
    unsigned count[IRQ_KIND_COUNT];
    unsigned given[IRQ_KIND_COUNT]; /* how many of them have an eventfd */
    struct irq_vector
        *all; /* the array into which the above point; INTx has one even without a pin */
    struct msi msi;
    struct msix msix;
    bool intx_raised;
    bool intx_automasks; /* the wire's INTx is masked by being signalled, until it is unmasked */
    int intx_mask_fd;    /* the peer masks INTx by it; -1: it gave none */
    int intx_unmask_fd;  /* the peer unmasks INTx by it; -1: it gave none */
};

struct doorbell_line {
    struct ob_device *device;
    int fd; /* -1: the peer has not asked for it */
};

struct doorbells {
    struct ob_doorbell *list;
    unsigned count;
    struct doorbell_line *lines; /* by number */
    unsigned num_lines;
};

struct device_pci {
    struct pci_function function;
    struct bar_memory bar_memory[OB_BAR_COUNT];
    struct device_irqs irqs;
    struct doorbells doorbells;
    /* Of a capability whose bytes mean an access: told before a read of configuration space, and
     * after a write. NULL: there is no such capability. */
    void (*config_accessed)(struct ob_device *device, uint32_t offset, unsigned size, bool written);
};

/* Messages that a person got on account of this peer, and is not told again until the next. */
struct device_told {
    bool of_size;   /* an access of an odd size */
    bool of_memory; /* memory that is not shared */
    bool of_zeroes; /* memory that seems to be private, or the first command was not all zeroes */
};

struct ob_device {
    struct ob_device_ops ops;
    void *state;
    char *name;
    const struct server_host *host;
    struct memory memory;
    struct device_pci *pci;
    struct device_virtio *virtio;             /* NULL: not a virtio device */
    const struct device_messenger *messenger; /* NULL: this wire lacks it */
    size_t state_len;                         /* as ob_device_desc */
    uint32_t state_version;
    struct list endings;
    struct statistics *statistics; /* NULL: nobody wants any */
    bool traces;                   /* see trace.h */
    bool served;                   /* a peer has been served: its view of the device stays */
    bool dormant;                  /* the peer has gone, and no other has taken the device over */
    bool stopped;                  /* the peer wants it paused */
    bool draining;  /* its process is about to hand it over: paused, but not in the vault */
    bool paused;    /* the device was told so */
    bool quiescing; /* it was asked to let go of memory, and has not said that it has */
    bool leaving;   /* on account of the peer, which has gone */
    bool resetting; /* before a reset */
    struct device_told told;
    struct vault *vault;        /* NULL: the device ends with its process */
    struct ob_vault_state kept; /* .bytes is NULL: the author has named nothing */
    int *files; /* OB_VAULT_FDS that wait for the vault, each -1 or a descriptor; or NULL */
};

/* dma.c: whether the device may do DMA now: 0, -ENOTCONN or -EPERM. */
int device_may_master(const struct ob_device *device);

/* keep.c: the author's descriptors go into a vault that is there now. */
void device_keep_files(struct ob_device *device);

/* dormant.c: the peer has taken the device over. */
void device_wake(struct ob_device *device);

/* pci.c: makes the PCI part of the description. -EINVAL with the fault filled, or another
 * errno; then, too, device_pci_free() is to be called. */
int device_pci_new(struct ob_device *device, const struct ob_device_desc *desc,
                   struct ob_fault *fault);
void device_pci_free(struct ob_device *device);
/* Gives up everything that the peer gave, or has of the device. */
void device_pci_disconnect(struct ob_device *device);
/* Register access that is known to fit the BAR. */
uint64_t device_register_read(struct ob_device *device, unsigned bar, uint64_t offset,
                              unsigned size);
void device_register_write(struct ob_device *device, unsigned bar, uint64_t offset, unsigned size,
                           uint64_t value);
/* Configuration space and interrupts as after a reset. */
void device_pci_reset(struct ob_device *device);

/* Lays out the parts of the description; the function gets its capabilities. -EINVAL with the
 * fault filled, -ENOSPC, -ENOMEM. */
int irqs_init(struct ob_device *device, const struct ob_device_desc *desc, struct ob_fault *fault);
void irqs_done(struct ob_device *device);

/* Gives up a peer's descriptors and masks. The level of INTx and pending interrupts stay. */
void irqs_disconnect(struct ob_device *device);
/* Signals interrupts that were kept back while the device was dormant. */
void irqs_wake(struct ob_device *device);
/* INTx low, nothing pending. */
void irqs_reset(struct ob_device *device);
/* To be called when configuration space has changed: signals interrupts that it now lets through. */
void irqs_config_changed(struct ob_device *device, bool intx_was_disabled);

/* Takes the description's doorbells over. -EINVAL with the fault filled, or -ENOMEM. */
int doorbells_init(struct ob_device *device, const struct ob_device_desc *desc,
                   struct ob_fault *fault);
void doorbells_done(struct ob_device *device);
/* The eventfd of a number, from a process that has died: 0, -EINVAL or another errno. */
int doorbells_resume(struct ob_device *device, uint64_t number, int fd);
/* They may have been rung, and nobody has heard it. */
void doorbells_ring_all(struct ob_device *device);
/* Gives up the eventfds that the peer has. */
void doorbells_disconnect(struct ob_device *device);

#endif
