// SPDX-License-Identifier: BSD-3-Clause
/*
 * Interrupts.
 *
 * INTx is a level: raise it while the condition holds, lower it when the guest has dealt with it.
 * The library does the rest: it signals the VMM, signals again when the guest's end of interrupt
 * finds the level still raised, and keeps the status bit and the disable bit of configuration space
 * (PCI Local Bus 3.0, section 6.2.2 and 6.2.3). Without a way to the guest (no descriptor yet, no
 * KVM under the VMM) the level is kept and signalled when there is one.
 *
 * MSI and MSI-X are edges: a signal each time that something happened. A device with both kinds
 * does both: raise or lower INTx, and signal the vector. Whichever the guest has enabled reaches
 * it; a wire that can't carry MSI and MSI-X hides them, and the guest takes INTx.
 */
#ifndef OUTBOARD_IRQ_H
#define OUTBOARD_IRQ_H

#include <outboard/device.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Raise INTx. Nothing happens when it is raised already or the device has no pin. */
OB_API void ob_irq_raise(struct ob_device *device);

/** Lower INTx. */
OB_API void ob_irq_lower(struct ob_device *device);

/**
 * Whether the VMM takes the guest's next register access for the end of an INTx interrupt, as QEMU
 * does over vfio-user without KVM. A device whose guest can do without registers must have it
 * access one then. False where the VMM has an eventfd for that, and with MSI-X or MSI.
 */
OB_API bool ob_irq_ends_by_access(const struct ob_device *device);

/**
 * Signal an MSI-X or MSI vector.
 *
 * @vector: from 0. With MSI, a vector beyond those that the guest has granted wraps around.
 *
 * Returns 0 when the guest has or will get it (a masked vector stays pending), -ENOTCONN when the
 * guest has enabled neither MSI-X nor MSI, -EINVAL when there is no device or it has no such
 * vector.
 */
OB_API int ob_irq_signal(struct ob_device *device, unsigned vector);

/**
 * Tell the VMM that the device has met an error that it can't recover from. QEMU stops the VM.
 *
 * Returns 0, or -ENOTCONN when the VMM does not want to know.
 */
OB_API int ob_irq_report_error(struct ob_device *device);

/**
 * Ask the VMM to unplug the device.
 *
 * Returns 0, or -ENOTCONN when the VMM does not want to know.
 */
OB_API int ob_irq_request_removal(struct ob_device *device);

#ifdef __cplusplus
}
#endif
#endif
