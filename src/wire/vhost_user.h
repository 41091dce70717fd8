// SPDX-License-Identifier: BSD-3-Clause
/*
 * vhost-user: virtio devices over a Unix socket, as a pure codec.
 *
 * A message is a header of 12 bytes and a payload. The front end (the VMM) asks on its socket. The
 * back end (the device) asks on a second socket, the back-end channel, which the front end passes
 * by a message. Integers are those of the host, here little endian.
 *
 * Source: QEMU, docs/interop/vhost-user.rst, release 10.2 (the sections named below are its).
 */
#ifndef OUTBOARD_WIRE_VHOST_USER_H
#define OUTBOARD_WIRE_VHOST_USER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/limits.h"

#define VHOST_USER_HEADER_LEN      12u
#define VHOST_USER_U64_LEN         8u
#define VHOST_USER_VRING_STATE_LEN 8u
#define VHOST_USER_VRING_ADDR_LEN  40u
#define VHOST_USER_REGION_LEN      32u
#define VHOST_USER_TABLE_LEN       8u  /* without regions */
#define VHOST_USER_MEM_REG_LEN     40u /* one region, padded */
#define VHOST_USER_LOG_LEN         16u
#define VHOST_USER_IOTLB_LEN       32u
#define VHOST_USER_CONFIG_LEN      12u /* without data */
#define VHOST_USER_INFLIGHT_LEN    20u /* QEMU sends 24, with padding */
#define VHOST_USER_TRANSFER_LEN    8u

/* A whole message, the longest that either side may send. */
#define VHOST_USER_FRAME_LEN                                                                       \
    (VHOST_USER_HEADER_LEN + VHOST_USER_CONFIG_LEN + LIMIT_VHOST_USER_CONFIG +                     \
     LIMIT_VHOST_USER_REGIONS * VHOST_USER_REGION_LEN)

/* Section "Front-end message types". */
enum vhost_user_request {
    VHOST_USER_GET_FEATURES = 1,
    VHOST_USER_SET_FEATURES = 2,
    VHOST_USER_SET_OWNER = 3,
    VHOST_USER_RESET_OWNER = 4,
    VHOST_USER_SET_MEM_TABLE = 5,
    VHOST_USER_SET_LOG_BASE = 6,
    VHOST_USER_SET_LOG_FD = 7,
    VHOST_USER_SET_VRING_NUM = 8,
    VHOST_USER_SET_VRING_ADDR = 9,
    VHOST_USER_SET_VRING_BASE = 10,
    VHOST_USER_GET_VRING_BASE = 11,
    VHOST_USER_SET_VRING_KICK = 12,
    VHOST_USER_SET_VRING_CALL = 13,
    VHOST_USER_SET_VRING_ERR = 14,
    VHOST_USER_GET_PROTOCOL_FEATURES = 15,
    VHOST_USER_SET_PROTOCOL_FEATURES = 16,
    VHOST_USER_GET_QUEUE_NUM = 17,
    VHOST_USER_SET_VRING_ENABLE = 18,
    VHOST_USER_SET_BACKEND_REQ_FD = 21,
    VHOST_USER_IOTLB_MSG = 22,
    VHOST_USER_GET_CONFIG = 24,
    VHOST_USER_SET_CONFIG = 25,
    VHOST_USER_GET_INFLIGHT_FD = 31,
    VHOST_USER_SET_INFLIGHT_FD = 32,
    VHOST_USER_RESET_DEVICE = 34,
    VHOST_USER_GET_MAX_MEM_SLOTS = 36,
    VHOST_USER_ADD_MEM_REG = 37,
    VHOST_USER_REM_MEM_REG = 38,
    VHOST_USER_SET_STATUS = 39,
    VHOST_USER_GET_STATUS = 40,
    VHOST_USER_SET_DEVICE_STATE_FD = 42,
    VHOST_USER_CHECK_DEVICE_STATE = 43,
    VHOST_USER_REQUEST_COUNT,
};

/* Section "Back-end message types". */
enum vhost_user_backend_request {
    VHOST_USER_BACKEND_IOTLB_MSG = 1,
    VHOST_USER_BACKEND_CONFIG_CHANGE_MSG = 2,
};

/* Section "Header": flags. */
enum vhost_user_flag {
    VHOST_USER_VERSION = 1,
    VHOST_USER_VERSION_MASK = 3,
    VHOST_USER_REPLY = 4,
    VHOST_USER_NEED_REPLY = 8,
};

/* Section "Protocol features": bit numbers. */
enum vhost_user_protocol_feature {
    VHOST_USER_F_MQ = 0,
    VHOST_USER_F_LOG_SHMFD = 1,
    VHOST_USER_F_REPLY_ACK = 3,
    VHOST_USER_F_BACKEND_REQ = 5,
    VHOST_USER_F_CONFIG = 9,
    VHOST_USER_F_INFLIGHT_SHMFD = 12,
    VHOST_USER_F_RESET_DEVICE = 13,
    VHOST_USER_F_CONFIGURE_MEM_SLOTS = 15,
    VHOST_USER_F_STATUS = 16,
    VHOST_USER_F_DEVICE_STATE = 19,
};

/* Of the virtio features on this wire, two are the wire's own. */
#define VHOST_USER_F_LOG_ALL           26
#define VHOST_USER_F_PROTOCOL_FEATURES 30

/* The u64 of SET_VRING_KICK, _CALL and _ERR. */
#define VHOST_USER_VRING_INDEX_MASK 0xffu
#define VHOST_USER_VRING_NO_FD      0x100u

/* The u64 that answers SET_DEVICE_STATE_FD. */
#define VHOST_USER_STATE_NO_FD 0x100u

#define VHOST_USER_VRING_ADDR_LOG 1u

struct vhost_user_header {
    uint32_t request;
    uint32_t flags;
    uint32_t size; /* of the payload, bytes */
};

struct vhost_user_vring_state {
    uint32_t index;
    uint32_t num;
};

struct vhost_user_vring_addr {
    uint32_t index;
    uint32_t flags; /* VHOST_USER_VRING_ADDR_LOG */
    uint64_t desc;  /* addresses of the front end, or IOVAs */
    uint64_t used;
    uint64_t avail;
    uint64_t log; /* guest address of the used ring */
};

struct vhost_user_region {
    uint64_t gpa;
    uint64_t size;
    uint64_t user_address;
    uint64_t mmap_offset;
};

struct vhost_user_log {
    uint64_t size;
    uint64_t offset;
};

/* Section "An IOTLB message". */
enum vhost_user_iotlb_type {
    VHOST_USER_IOTLB_MISS = 1,
    VHOST_USER_IOTLB_UPDATE = 2,
    VHOST_USER_IOTLB_INVALIDATE = 3,
    VHOST_USER_IOTLB_ACCESS_FAIL = 4,
};

#define VHOST_USER_IOTLB_READ  1u
#define VHOST_USER_IOTLB_WRITE 2u

struct vhost_user_iotlb {
    uint64_t iova;
    uint64_t size;
    uint64_t user_address;
    uint8_t perm;
    uint8_t type; /* enum vhost_user_iotlb_type */
};

struct vhost_user_config {
    uint32_t offset;
    uint32_t size;
    uint32_t flags;
};

struct vhost_user_inflight {
    uint64_t mmap_size;
    uint64_t mmap_offset;
    uint16_t num_queues;
    uint16_t queue_size;
};

enum vhost_user_transfer_direction {
    VHOST_USER_TRANSFER_SAVE = 0,
    VHOST_USER_TRANSFER_LOAD = 1,
};

struct vhost_user_transfer {
    uint32_t direction;
    uint32_t phase; /* 0: the device is stopped */
};

/* For messages to people: "GET_FEATURES", or "?". */
const char *vhost_user_request_name(uint32_t request);

/* Each _get() takes exactly one structure: 0, or -EPROTO for another length. Each _put() returns the
 * length written, or -ENOSPC. */
int vhost_user_header_get(const uint8_t *buf, size_t len, struct vhost_user_header *ret_header);
int vhost_user_header_put(uint8_t *buf, size_t len, const struct vhost_user_header *header);
int vhost_user_vring_state_get(const uint8_t *buf, size_t len,
                               struct vhost_user_vring_state *ret_state);
int vhost_user_vring_state_put(uint8_t *buf, size_t len,
                               const struct vhost_user_vring_state *state);
int vhost_user_vring_addr_get(const uint8_t *buf, size_t len,
                              struct vhost_user_vring_addr *ret_addr);
int vhost_user_vring_addr_put(uint8_t *buf, size_t len, const struct vhost_user_vring_addr *addr);
int vhost_user_region_get(const uint8_t *buf, size_t len, struct vhost_user_region *ret_region);
int vhost_user_region_put(uint8_t *buf, size_t len, const struct vhost_user_region *region);
int vhost_user_log_get(const uint8_t *buf, size_t len, struct vhost_user_log *ret_log);
int vhost_user_log_put(uint8_t *buf, size_t len, const struct vhost_user_log *log);
int vhost_user_iotlb_get(const uint8_t *buf, size_t len, struct vhost_user_iotlb *ret_iotlb);
int vhost_user_iotlb_put(uint8_t *buf, size_t len, const struct vhost_user_iotlb *iotlb);
int vhost_user_inflight_get(const uint8_t *buf, size_t len,
                            struct vhost_user_inflight *ret_inflight);
int vhost_user_inflight_put(uint8_t *buf, size_t len, const struct vhost_user_inflight *inflight);
int vhost_user_transfer_get(const uint8_t *buf, size_t len,
                            struct vhost_user_transfer *ret_transfer);
int vhost_user_transfer_put(uint8_t *buf, size_t len, const struct vhost_user_transfer *transfer);

/* SET_MEM_TABLE: the regions, at most LIMIT_VHOST_USER_REGIONS. Returns how many, or -EPROTO. */
int vhost_user_table_get(const uint8_t *buf, size_t len, struct vhost_user_region *ret_regions);
/* ADD_MEM_REG, REM_MEM_REG. 0 or -EPROTO. */
int vhost_user_mem_reg_get(const uint8_t *buf, size_t len, struct vhost_user_region *ret_region);
/* GET_CONFIG, SET_CONFIG: the data is size bytes, at *ret_data. 0, or -EPROTO if there are fewer or
 * more, or more than LIMIT_VHOST_USER_CONFIG. */
int vhost_user_config_get(const uint8_t *buf, size_t len, struct vhost_user_config *ret_config,
                          const uint8_t **ret_data);
int vhost_user_config_put(uint8_t *buf, size_t len, const struct vhost_user_config *config);

#endif
