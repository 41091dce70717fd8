// SPDX-License-Identifier: BSD-3-Clause
/*
 * The PCI part of a device: a function with its configuration space and its BARs. Its interrupts
 * are in irq.h, its doorbells in doorbells.h.
 */
#ifndef OUTBOARD_DEVICE_PCI_H
#define OUTBOARD_DEVICE_PCI_H

#include <outboard/device.h>

/* The description of a BAR; as the wire presents it, if that has narrowed it. */
const struct ob_bar *device_bar(const struct ob_device *device, unsigned bar);
/* Which part of a BAR is memory, and the file behind the BAR, which stays the device's; -1: none.
 * Offsets in the file are the BAR's. */
int device_bar_file(const struct ob_device *device, unsigned bar, struct ob_bar_range *ret_range);

/* Finds the BAR that decodes an access, as pci_function_decode(). */
int device_decode(const struct ob_device *device, bool memory_space, uint64_t address,
                  unsigned size, uint64_t *ret_offset);

/* Register access. All ones, or nothing, for an access that does not fit the BAR. */
uint64_t device_bar_read(struct ob_device *device, unsigned bar, uint64_t offset, unsigned size);
void device_bar_write(struct ob_device *device, unsigned bar, uint64_t offset, unsigned size,
                      uint64_t value);

/* The same by an address of the guest's memory or port space. -ENXIO when no BAR decodes it, or no
 * register has that size. */
int device_space_read(struct ob_device *device, bool memory_space, uint64_t address, unsigned size,
                      uint64_t *ret_value);
int device_space_write(struct ob_device *device, bool memory_space, uint64_t address, unsigned size,
                       uint64_t value);

/* The same for any number of bytes, in registers' sizes as far as the device sees them. -EINVAL
 * when they do not lie in the BAR. */
int device_bar_read_bytes(struct ob_device *device, unsigned bar, uint64_t offset, uint8_t *ret_buf,
                          size_t len);
int device_bar_write_bytes(struct ob_device *device, unsigned bar, uint64_t offset,
                           const uint8_t *buf, size_t len);

/* Whether a register access may have this size. Warns, once, when it may not. */
bool device_check_size(struct ob_device *device, unsigned size);

/* Bytes of configuration space. */
uint32_t device_config_len(const struct ob_device *device);
/* As pci_config_read(). */
int device_config_read(struct ob_device *device, uint32_t offset, unsigned size,
                       uint32_t *ret_value);
/* As pci_config_write(), with the consequences for interrupts. */
int device_config_write(struct ob_device *device, uint32_t offset, unsigned size, uint32_t value);

/* Configuration space in any number of bytes. -EINVAL when they do not lie in it. */
int device_config_read_bytes(struct ob_device *device, uint64_t offset, uint8_t *ret_buf,
                             size_t len);
int device_config_write_bytes(struct ob_device *device, uint64_t offset, const uint8_t *buf,
                              size_t len);

/* Whether all of an access lies in the BAR's memory. */
bool device_bar_has_memory(const struct ob_device *device, unsigned bar, uint64_t offset,
                           size_t len);

/* Fits the function to a wire, as pci_function_hide_capability() and pci_function_narrow_bars();
 * device_unfit() undoes both for the next one. */
void device_hide_capability(struct ob_device *device, uint8_t id);
int device_narrow_bars(struct ob_device *device, struct ob_fault *fault);
void device_unfit(struct ob_device *device);

#endif
