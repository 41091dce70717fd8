// SPDX-License-Identifier: BSD-3-Clause
/*
 * Interrupts.
 *
 * INTx is a level: raise it while the condition holds, lower it when the guest has dealt with it.
 * The library does the rest: it signals the VMM, signals again when the guest's end of interrupt
 * finds the level still raised, and keeps the status bit and the disable bit of configuration space
 * (PCI Local Bus 3.0, section 6.2.2 and 6.2.3). Without a way to the guest (no descriptor yet, no
 * KVM under the VMM) the level is kept and signalled when there is one.
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

#ifdef __cplusplus
}
#endif
#endif
