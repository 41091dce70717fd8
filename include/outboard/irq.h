// SPDX-License-Identifier: BSD-3-Clause
/*
 * Interrupts.
 *
 * INTx is a level: raise it while the condition holds, lower it when the guest has handled the
 * condition. The library signals the VMM, and signals again if the level is still raised when the
 * guest ends the interrupt. It also keeps the status bit and the disable bit of configuration space
 * (PCI Local Bus 3.0, sections 6.2.2 and 6.2.3). If no descriptor connects the device to the guest
 * yet, the level is kept and signalled when there is one.
 *
 * MSI and MSI-X are edges: signal a vector for each event. A device with both kinds does both: it
 * raises or lowers INTx, and signals the vector. The library uses the kind that the guest has
 * enabled. A wire without MSI and MSI-X hides them, and the guest uses INTx.
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
 * Returns true if the VMM treats the guest's next register access as the end of an INTx interrupt,
 * as QEMU does over vfio-user without KVM. The device must then have its guest access a register
 * after each interrupt. False if the VMM has an eventfd for that, and with MSI-X or MSI.
 */
OB_API bool ob_irq_ends_by_access(const struct ob_device *device);

/**
 * Signal an MSI-X or MSI vector.
 *
 * @vector: from 0. With MSI, a vector beyond the number that the guest has granted wraps around.
 *
 * Returns 0 when the guest has or will get it (a masked vector stays pending), -ENOTCONN when the
 * guest has enabled neither MSI-X nor MSI, -EINVAL when there is no device or it has no such
 * vector.
 */
OB_API int ob_irq_signal(struct ob_device *device, unsigned vector);

/**
 * Report to the VMM that the device has failed and can't recover. QEMU then stops the VM.
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
