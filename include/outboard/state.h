// SPDX-License-Identifier: BSD-3-Clause
/*
 * State: the fields of a saved state, little endian, one after the other.
 *
 * ob_device_ops.load() must read the fields in the order in which ob_device_ops.save() writes them.
 * A device therefore names its fields once, in a function that is called for both. Each ob_state_
 * function below writes the value when saving, and reads it when loading. An error is sticky: after
 * the first field that does not fit, nothing is written, and zeroes are read.
 *
 * Loaded fields are not checked. A device loads into memory of its own, checks all values, and then
 * uses them.
 */
#ifndef OUTBOARD_STATE_H
#define OUTBOARD_STATE_H

#include <outboard/device.h>

#ifdef __cplusplus
extern "C" {
#endif

struct ob_state_fields {
    /* The library's. */
    uint8_t *to;         /* NULL: fields are loaded */
    const uint8_t *from; /* NULL: fields are saved */
    size_t left;         /* bytes of room, or still to be read */
    size_t len;          /* bytes written or read */
    bool failed;
};

/** Fields that are written to a buffer with room for @size bytes. */
OB_API struct ob_state_fields ob_state_saved(void *ret_buf, size_t size);

/** Fields that are read from @len bytes, which stay the caller's. */
OB_API struct ob_state_fields ob_state_loaded(const void *buf, size_t len);

/** Save or load an integer. */
OB_API void ob_state_u8(struct ob_state_fields *fields, uint8_t *value);
OB_API void ob_state_u16(struct ob_state_fields *fields, uint16_t *value);
OB_API void ob_state_u32(struct ob_state_fields *fields, uint32_t *value);
OB_API void ob_state_u64(struct ob_state_fields *fields, uint64_t *value);

/** Save or load a truth value, one byte. One that is neither 0 nor 1 does not fit. */
OB_API void ob_state_bool(struct ob_state_fields *fields, bool *value);

/** Save or load bytes as they are. */
OB_API void ob_state_bytes(struct ob_state_fields *fields, void *bytes, size_t len);

/**
 * Whether all went well.
 *
 * Returns how many bytes were written or read; -ENOSPC when there was no room for saved fields;
 * -EINVAL when the loaded bytes are shorter or longer than the fields, or a truth value is neither
 * 0 nor 1.
 */
OB_API int ob_state_done(const struct ob_state_fields *fields);

#ifdef __cplusplus
}
#endif
#endif
