// SPDX-License-Identifier: BSD-3-Clause
/*
 * A device's whole state as bytes: what the library holds of it (configuration space, the level of
 * INTx, MSI-X, memory BARs) and what the device itself saves.
 *
 * Layout, little endian: u32 magic, u32 format, u8 length of the name, name, u32 version of the
 * device's own part, u32 length and bytes of configuration space, u8 level of INTx, u32 length and
 * bytes of MSI-X table and pending bits, for each memory BAR u8 index, u64 length and bytes, u8
 * 0xff, u32 length and bytes of the device's own part. What is not ours, or newer, is refused with
 * the reason; what is ours may still be a lie, and is checked.
 */
#ifndef OUTBOARD_SERVER_STATE_H
#define OUTBOARD_SERVER_STATE_H

#include "server/device.h"

/* The most that state_save() writes; 0: the device can't be saved. */
size_t state_limit(const struct ob_device *device);

/* Writes the state of a paused device. Returns its length or a negative errno. */
int state_save(struct ob_device *device, uint8_t *ret_buf, size_t size);

/* Makes a paused device what it was when the bytes were saved. -EINVAL, or the device's errno, with
 * the fault filled; the device is then as after a reset. */
int state_load(struct ob_device *device, const uint8_t *buf, size_t len, struct ob_fault *fault);

#endif
