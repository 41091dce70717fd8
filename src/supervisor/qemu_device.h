// SPDX-License-Identifier: BSD-3-Clause
/* QEMU's side of a device: the value of its -device. */
#ifndef OUTBOARD_SUPERVISOR_QEMU_DEVICE_H
#define OUTBOARD_SUPERVISOR_QEMU_DEVICE_H

#include "supervisor/plan.h"

/* Properties of the front end in a [device]: those of QEMU's object, "vmm.bus" for example. */
#define QEMU_DEVICE_PREFIX "vmm."

/* The bus of the channels' ports. */
#define QEMU_DEVICE_SERIAL_BUS "virtio-serial-pci,id=outboard-serial"

/* The chardev to which a channel's port or a vhost-user device refers. Returns the text, to be freed;
 * NULL: none is needed, or no memory. */
char *qemu_device_chardev(const struct plan_device *device);
/* QEMU's virtserialport. Likewise. */
char *qemu_device_channel(const struct plan_device *device, const struct config_section *section);
/* QEMU's front end of vhost-user for the program: vhost-user-blk-pci, for example. NULL also if it is
 * not known, and vmm.driver does not name it. */
char *qemu_device_vhost_user(const struct plan_device *device,
                             const struct config_section *section);
/* QEMU's vfio-user-pci, which takes a path only. Returns the text, to be freed; NULL: no memory. */
char *qemu_device_vfio_user(const struct plan_device *device, const struct config_section *section);
/* The arguments of QMP's device_add for a device that is added: its path, or the descriptor that
 * getfd has named outboard-ID. Likewise. */
char *qemu_device_plug_arguments(const struct plan_device *device,
                                 const struct config_section *section);
/* QEMU's x-pci-proxy-dev, which takes a descriptor only. Likewise. */
char *qemu_device_mpqemu(const struct plan_device *device, const struct config_section *section);

#endif
