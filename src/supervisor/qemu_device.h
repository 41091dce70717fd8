// SPDX-License-Identifier: BSD-3-Clause
/* QEMU's side of a device: the value of its -device. */
#ifndef OUTBOARD_SUPERVISOR_QEMU_DEVICE_H
#define OUTBOARD_SUPERVISOR_QEMU_DEVICE_H

#include "supervisor/plan.h"

/* Properties of the front end in a [device]: those of QEMU's object, "vmm.bus" for example. */
#define QEMU_DEVICE_PREFIX "vmm."

/* QEMU's vfio-user-pci, which takes a path only. Returns the text, to be freed; NULL: no memory. */
char *qemu_device_vfio_user(const struct plan_device *device, const struct config_section *section);
/* The arguments of QMP's device_add for a device that is added: its path, or the descriptor that
 * getfd has named outboard-ID. Likewise. */
char *qemu_device_plug_arguments(const struct plan_device *device,
                                 const struct config_section *section);
/* QEMU's x-pci-proxy-dev, which takes a descriptor only. Likewise. */
char *qemu_device_mpqemu(const struct plan_device *device, const struct config_section *section);

#endif
