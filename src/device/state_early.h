// SPDX-License-Identifier: BSD-3-Clause
/*
 * The part of a device's state that can be told while it still runs, ahead of the state itself: which device
 * it is, and the content of its memory BARs. A destination can refuse it there and then.
 *
 * It comes in blocks of 512 bytes: u32 magic, u32 how many bytes of the rest are used, 504 bytes.
 * The bytes in them, one block after the other, are the head of a state (state.h), u32 length and
 * bytes of configuration space, u32 length of MSI-X table and pending bits, and the memory BARs as
 * in a state. The state that follows has everything once more and does not need the blocks: a
 * client may stop reading them behind any block, throw them away, or pass them on with the state.
 */
#ifndef OUTBOARD_DEVICE_STATE_EARLY_H
#define OUTBOARD_DEVICE_STATE_EARLY_H

#include "device/device.h"

#define STATE_EARLY_BLOCK 512u

/* Bytes of all blocks; 0: the device can't be saved. */
size_t state_early_len(const struct ob_device *device);

/* Writes all blocks of a device that may be running. 0 or -ENOMEM. */
int state_early_save(const struct ob_device *device, uint8_t *ret_buf);

/* Checks the blocks that came ahead of a state, whole ones, as many as there are; none is fine.
 * Returns 0 with their length, -ENOMEM, or -EINVAL with the fault filled. */
int state_early_check(const struct ob_device *device, const uint8_t *buf, size_t len,
                      size_t *ret_len, struct ob_fault *fault);

#endif
