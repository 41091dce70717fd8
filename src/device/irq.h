// SPDX-License-Identifier: BSD-3-Clause
/*
 * Interrupts of a device: from include/outboard/irq.h to the eventfds that a peer has given.
 *
 * Each kind has vectors, and each vector at most one eventfd, which the VMM has connected to the
 * guest. INTx is a level: it is signalled when it rises and, if it is still up, when the VMM says
 * that the guest has ended the interrupt (unmasking: by message or by an eventfd of the VMM). MSI
 * and MSI-X are edges; one that finds its vector masked or without an eventfd is kept as a pending
 * bit and signalled as soon as it can be. A dormant device (device.h) signals nothing: its level
 * and its pending bits stay, and are signalled when it wakes.
 *
 * A vector with an eventfd may be signalled, whatever the MSI-X table here says: the VMM owns the
 * table that the guest sees.
 */
#ifndef OUTBOARD_DEVICE_IRQ_H
#define OUTBOARD_DEVICE_IRQ_H

#include <stdbool.h>

#include <outboard/device.h>

#include "pci/msi.h"
#include "pci/msix.h"

/* In the order of Linux' VFIO. */
enum irq_kind {
    IRQ_INTX,
    IRQ_MSI,
    IRQ_MSIX,
    IRQ_ERROR,
    IRQ_REQUEST,
    IRQ_KIND_COUNT,
};

struct irq_vector {
    int fd; /* -1: the peer gave none */
    bool masked;
};

struct device_irqs {
    struct irq_vector *vectors[IRQ_KIND_COUNT];
    unsigned count[IRQ_KIND_COUNT];
    struct irq_vector *all; /* what the above point into; INTx has one even without a pin */
    struct msi msi;
    struct msix msix;
    bool intx_raised;
    bool intx_automasks; /* the wire's INTx is masked by being signalled, until it is unmasked */
    int intx_mask_fd;    /* the peer masks INTx by it; -1: it gave none */
    int intx_unmask_fd;  /* the peer unmasks INTx by it; -1: it gave none */
};

/* Lays out what the description asks for; the function gets its capabilities. -EINVAL with the
 * fault filled, -ENOSPC, -ENOMEM. */
int irqs_init(struct ob_device *device, const struct ob_device_desc *desc, struct ob_fault *fault);
void irqs_done(struct ob_device *device);

/* Gives up what a peer gave: descriptors and masks. The level of INTx and what is pending stay. */
void irqs_disconnect(struct ob_device *device);
/* Signals what was kept back while the device was dormant. */
void irqs_wake(struct ob_device *device);
/* INTx low, nothing pending. */
void irqs_reset(struct ob_device *device);
/* To be called when configuration space has changed: signals what it now lets through. */
void irqs_config_changed(struct ob_device *device, bool intx_was_disabled);

/* Gives vectors an eventfd each, or takes it from them where fds is NULL or has -1. Takes the
 * descriptors over, or on failure none: -EINVAL when one is no eventfd, or one that the device
 * watches, or another errno. */
int irq_assign(struct ob_device *device, enum irq_kind kind, unsigned start, unsigned count,
               const int *fds);
/* Gives INTx the eventfd that signals it and the one that unmasks it, both or on failure none. A
 * device without a pin keeps them unused. As above; -EINVAL when they are the same. */
int irq_set_intx(struct ob_device *device, int trigger_fd, int unmask_fd);
/* As if the device had: for a peer's test of the path. */
void irq_trigger(struct ob_device *device, enum irq_kind kind, unsigned vector);
void irq_mask(struct ob_device *device, enum irq_kind kind, unsigned vector);
void irq_unmask(struct ob_device *device, enum irq_kind kind, unsigned vector);

/* Masks or unmasks INTx whenever the peer signals fd, which is taken over; -1: no longer. On
 * failure fd stays the caller's: -EINVAL when it is no eventfd, or the one that INTx is signalled
 * by is to unmask it; or another errno. */
int irq_mask_by(struct ob_device *device, int fd);
int irq_unmask_by(struct ob_device *device, int fd);

#endif
