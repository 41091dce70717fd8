// SPDX-License-Identifier: BSD-3-Clause
/*
 * A device's whole state as bytes: the library's part (configuration space, the level of
 * INTx, MSI-X, memory BARs) and the device's own part.
 *
 * Layout, little endian: u32 magic, u32 format, u8 length of the name, name, u32 version of the
 * device's own part, u32 length and bytes of configuration space, u8 level of INTx, u32 length and
 * bytes of MSI-X table and pending bits, for each memory BAR u8 index, u64 length and bytes, u8
 * 0xff, u32 length and bytes of the device's own part. A foreign or newer state is refused with
 * the reason; ours may still be a lie, and is checked. Ahead of it there may be the blocks that were
 * told while the device was running, state_early.h.
 */
#ifndef OUTBOARD_DEVICE_STATE_H
#define OUTBOARD_DEVICE_STATE_H

#include "base/cursor.h"
#include "device/device.h"

#define STATE_END_OF_BARS 0xffu

/* The most that state_save() writes; 0: the device can't be saved. */
size_t state_limit(const struct ob_device *device);

/* Writes the state of a paused device. Returns its length or a negative errno. */
int state_save(struct ob_device *device, uint8_t *ret_buf, size_t size);

/* state_parts.c: functions that state_early.c needs too: the head, up to the version... */
size_t state_head_len(const struct ob_device *device);
void state_save_head(const struct ob_device *device, struct wr *wr);
int state_load_head(const struct ob_device *device, struct rd *rd, uint32_t *ret_version,
                    struct ob_fault *fault);
/* ...and the memory BARs, with the byte behind the last. */
uint64_t state_bars_len(const struct ob_device *device);
void state_save_bars(const struct ob_device *device, struct wr *wr);

/* Puts a paused device into the state of the bytes. -EINVAL, or the device's errno, with
 * the fault filled; the device is then as after a reset. */
int state_load(struct ob_device *device, const uint8_t *buf, size_t len, struct ob_fault *fault);

#endif
