// SPDX-License-Identifier: BSD-3-Clause
/* Numbers of OASIS virtio 1.2 (2022), by its sections. All fields are little endian. */
#ifndef OUTBOARD_VIRTIO_SPEC_H
#define OUTBOARD_VIRTIO_SPEC_H

#include <stdint.h>

/* 2.1 Device status */
enum virtio_status {
    VIRTIO_ACKNOWLEDGE = 1,
    VIRTIO_DRIVER = 2,
    VIRTIO_DRIVER_OK = 4,
    VIRTIO_FEATURES_OK = 8,
    VIRTIO_NEEDS_RESET = 64,
    VIRTIO_FAILED = 128,
};

/* 6 Reserved feature bits */
#define VIRTIO_F(bit)            (UINT64_C(1) << (bit))
#define VIRTIO_INDIRECT_DESC     VIRTIO_F(28)
#define VIRTIO_EVENT_IDX         VIRTIO_F(29)
#define VIRTIO_VERSION_1         VIRTIO_F(32)
#define VIRTIO_ACCESS_PLATFORM   VIRTIO_F(33)
#define VIRTIO_RING_PACKED       VIRTIO_F(34)
#define VIRTIO_IN_ORDER          VIRTIO_F(35)
#define VIRTIO_NOTIFICATION_DATA VIRTIO_F(38)
#define VIRTIO_RING_RESET        VIRTIO_F(40)
/* 2.2: 0 to 23 and 50 to 63 are the device type's. */
#define VIRTIO_TYPE_FEATURES ((VIRTIO_F(24) - 1) | ~(VIRTIO_F(50) - 1))

/* 2.7.5, 2.8.13: a descriptor, in a table and in a packed ring, where the last four bytes differ. */
#define VIRTIO_DESC_LEN      16u
#define VIRTIO_DESC_NEXT     1u
#define VIRTIO_DESC_WRITE    2u
#define VIRTIO_DESC_INDIRECT 4u
#define VIRTIO_DESC_AVAIL    (1u << 7)
#define VIRTIO_DESC_USED     (1u << 15)

/* 2.7.6: flags, idx, ring of two bytes each, used_event. */
#define VIRTIO_AVAIL_IDX          2u
#define VIRTIO_AVAIL_RING         4u
#define VIRTIO_AVAIL_NO_INTERRUPT 1u
/* 2.7.8: flags, idx, ring of {id, len} of four bytes each, avail_event. */
#define VIRTIO_USED_IDX       2u
#define VIRTIO_USED_RING      4u
#define VIRTIO_USED_ELEMENT   8u
#define VIRTIO_USED_NO_NOTIFY 1u

/* 2.8.14: an event suppression structure, off_wrap and flags. */
#define VIRTIO_EVENT_LEN     4u
#define VIRTIO_EVENT_FLAGS   2u
#define VIRTIO_EVENT_ENABLE  0u
#define VIRTIO_EVENT_DISABLE 1u
#define VIRTIO_EVENT_DESC    2u
#define VIRTIO_EVENT_WRAP    (1u << 15)

#define VIRTIO_MAX_RING 32768u

#endif
