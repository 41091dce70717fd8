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

#include "pci/msix.h"

/* The most vectors that a kind can have. */
#define IRQ_MAX_VECTORS MSIX_MAX_VECTORS

/* In the order of Linux' VFIO. */
enum irq_kind {
    IRQ_INTX,
    IRQ_MSI,
    IRQ_MSIX,
    IRQ_ERROR,
    IRQ_REQUEST,
    IRQ_KIND_COUNT,
};

/* How many vectors of a kind there are. */
unsigned irq_count(const struct ob_device *device, enum irq_kind kind);

/* Whether the guest uses MSI-X, as far as the VMM lets the device know. */
bool irq_uses_msix(const struct ob_device *device);

/* Whether the wire's INTx is masked by being signalled, until it is unmasked. */
void irq_automask_intx(struct ob_device *device, bool automasks);

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
