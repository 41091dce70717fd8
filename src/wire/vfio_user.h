// SPDX-License-Identifier: BSD-3-Clause
/*
 * vfio-user: PCI devices over a Unix socket, as a pure codec.
 *
 * A message is a header of 16 bytes and a payload. Both sides send commands: the client (the VMM)
 * to the device, the server (the device) to the guest's memory. Integers are those of the host,
 * here little endian. Flags and indexes have the values of Linux' VFIO, <linux/vfio.h>.
 *
 * Source: QEMU, docs/interop/vfio-user.rst, protocol version 0.0, release 10.1 (the sections named
 * below are its); device feature and migration data: libvfio-user, include/vfio-user.h.
 */
#ifndef OUTBOARD_WIRE_VFIO_USER_H
#define OUTBOARD_WIRE_VFIO_USER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/limits.h"

#define VFIO_USER_HEADER_LEN        16u
#define VFIO_USER_VERSION_LEN       4u /* without the JSON text */
#define VFIO_USER_DMA_MAP_LEN       32u
#define VFIO_USER_DMA_UNMAP_LEN     24u
#define VFIO_USER_DEVICE_INFO_LEN   16u
#define VFIO_USER_REGION_INFO_LEN   32u /* without capabilities */
#define VFIO_USER_SPARSE_LEN        32u /* the capability with one area */
#define VFIO_USER_REGION_IO_FDS_LEN 16u /* without sub-regions */
#define VFIO_USER_SUB_REGION_LEN    40u
#define VFIO_USER_IRQ_INFO_LEN      16u
#define VFIO_USER_IRQ_SET_LEN       20u /* without data */
#define VFIO_USER_ACCESS_LEN        16u /* of a region or of memory, without data */
#define VFIO_USER_WRITE_LEN         24u /* one of REGION_WRITE_MULTI */
#define VFIO_USER_FEATURE_LEN       8u  /* without data */
#define VFIO_USER_MIG_DATA_LEN      8u  /* without data */

/* A whole message, the longest that either side may send. */
#define VFIO_USER_FRAME_LEN (VFIO_USER_HEADER_LEN + VFIO_USER_ACCESS_LEN + LIMIT_VFIO_USER_DATA)

enum vfio_user_command {
    VFIO_USER_VERSION = 1,
    VFIO_USER_DMA_MAP = 2,
    VFIO_USER_DMA_UNMAP = 3,
    VFIO_USER_DEVICE_GET_INFO = 4,
    VFIO_USER_DEVICE_GET_REGION_INFO = 5,
    VFIO_USER_DEVICE_GET_REGION_IO_FDS = 6,
    VFIO_USER_DEVICE_GET_IRQ_INFO = 7,
    VFIO_USER_DEVICE_SET_IRQS = 8,
    VFIO_USER_REGION_READ = 9,
    VFIO_USER_REGION_WRITE = 10,
    VFIO_USER_DMA_READ = 11,
    VFIO_USER_DMA_WRITE = 12,
    VFIO_USER_DEVICE_RESET = 13,
    VFIO_USER_REGION_WRITE_MULTI = 15,
    VFIO_USER_DEVICE_FEATURE = 16,
    VFIO_USER_MIG_DATA_READ = 17,
    VFIO_USER_MIG_DATA_WRITE = 18,
    VFIO_USER_COMMAND_COUNT,
};

enum vfio_user_flag {
    VFIO_USER_TYPE_MASK = 0xf,
    VFIO_USER_TYPE_COMMAND = 0x0,
    VFIO_USER_TYPE_REPLY = 0x1,
    VFIO_USER_NO_REPLY = 0x10,
    VFIO_USER_ERROR = 0x20,
};

struct vfio_user_header {
    uint16_t id;
    uint16_t command;
    uint32_t size; /* of the whole message, bytes */
    uint32_t flags;
    uint32_t error; /* errno, in a reply with VFIO_USER_ERROR */
};

struct vfio_user_dma_map {
    uint32_t argsz;
    uint32_t flags; /* VFIO_DMA_MAP_FLAG_READ, _WRITE */
    uint64_t offset;
    uint64_t iova;
    uint64_t size;
};

struct vfio_user_dma_unmap {
    uint32_t argsz;
    uint32_t flags;
    uint64_t iova;
    uint64_t size;
};

struct vfio_user_device_info {
    uint32_t argsz;
    uint32_t flags; /* VFIO_DEVICE_FLAGS_* */
    uint32_t num_regions;
    uint32_t num_irqs;
};

struct vfio_user_region_info {
    uint32_t argsz;
    uint32_t flags; /* VFIO_REGION_INFO_FLAG_* */
    uint32_t index;
    uint32_t cap_offset;
    uint64_t size;
    uint64_t offset;
};

struct vfio_user_irq_info {
    uint32_t argsz;
    uint32_t flags; /* VFIO_IRQ_INFO_* */
    uint32_t index;
    uint32_t count;
};

struct vfio_user_region_io_fds {
    uint32_t argsz;
    uint32_t flags;
    uint32_t index;
    uint32_t count;
};

/* Where a write signals an eventfd. */
struct vfio_user_sub_region {
    uint64_t offset;
    uint64_t size;
    uint32_t fd_index;
    uint32_t type;
    uint32_t flags;
    uint64_t datamatch;
};

#define VFIO_USER_IO_FD_TYPE_IOEVENTFD 0u

struct vfio_user_irq_set {
    uint32_t argsz;
    uint32_t flags; /* VFIO_IRQ_SET_* */
    uint32_t index;
    uint32_t start;
    uint32_t count;
};

/* DEVICE_FEATURE, as struct vfio_device_feature. */
struct vfio_user_feature {
    uint32_t argsz;
    uint32_t flags; /* VFIO_DEVICE_FEATURE_*: the number, and the action */
};

/* The kernel's numbers, of which older headers lack some. */
enum vfio_user_feature_number {
    VFIO_USER_FEATURE_MIGRATION = 1,
    VFIO_USER_FEATURE_DEVICE_STATE = 2,
    VFIO_USER_FEATURE_LOGGING_START = 6,
    VFIO_USER_FEATURE_LOGGING_STOP = 7,
    VFIO_USER_FEATURE_LOGGING_REPORT = 8,
};

/* The states of a device that migrates; the kernel's numbers, of which older headers lack some. */
enum vfio_user_mig_state {
    VFIO_USER_MIG_ERROR = 0,
    VFIO_USER_MIG_STOP = 1,
    VFIO_USER_MIG_RUNNING = 2,
    VFIO_USER_MIG_STOP_COPY = 3,
    VFIO_USER_MIG_RESUMING = 4,
    VFIO_USER_MIG_RUNNING_P2P = 5,
    VFIO_USER_MIG_PRE_COPY = 6,
    VFIO_USER_MIG_STATE_COUNT,
};

/* In reply to the feature "migration". */
#define VFIO_USER_MIG_FLAG_STOP_COPY 1u
#define VFIO_USER_MIG_FLAG_PRE_COPY  4u

struct vfio_user_mig_data {
    uint32_t argsz;
    uint32_t size;
};

/* Of the client's memory. */
struct vfio_user_dma_access {
    uint64_t iova;
    uint64_t count;
};

/* Of a region. */
struct vfio_user_access {
    uint64_t offset;
    uint32_t region;
    uint32_t count;
};

/* The client's offer in VERSION, and the part that the server accepts. */
struct vfio_user_capabilities {
    uint32_t max_msg_fds;
    uint64_t max_data_xfer_size;
    uint64_t pgsizes; /* page sizes, or-ed */
    uint32_t max_dma_maps;
    bool write_multiple;
};

struct vfio_user_version {
    uint16_t major;
    uint16_t minor;
    struct vfio_user_capabilities capabilities;
    bool migration; /* offers "migration", which the specification has no more and QEMU still has */
    size_t json_len; /* bytes of JSON text with its NUL, 0: none */
};

/* As the specification calls a command, without its prefix; "?" for none. */
const char *vfio_user_command_name(unsigned command);

/* Each get reads exactly the bytes given: 0, or -EPROTO when they are too few or too many. Each put
 * returns the length written, or -ENOSPC. */
int vfio_user_header_get(const uint8_t *buf, size_t len, struct vfio_user_header *ret_header);
int vfio_user_header_put(uint8_t *buf, size_t len, const struct vfio_user_header *header);
int vfio_user_dma_map_get(const uint8_t *buf, size_t len, struct vfio_user_dma_map *ret_map);
int vfio_user_dma_map_put(uint8_t *buf, size_t len, const struct vfio_user_dma_map *map);
int vfio_user_dma_unmap_get(const uint8_t *buf, size_t len, struct vfio_user_dma_unmap *ret_unmap);
int vfio_user_dma_unmap_put(uint8_t *buf, size_t len, const struct vfio_user_dma_unmap *unmap);
int vfio_user_device_info_get(const uint8_t *buf, size_t len,
                              struct vfio_user_device_info *ret_info);
int vfio_user_device_info_put(uint8_t *buf, size_t len, const struct vfio_user_device_info *info);
int vfio_user_region_info_get(const uint8_t *buf, size_t len,
                              struct vfio_user_region_info *ret_info);
int vfio_user_region_info_put(uint8_t *buf, size_t len, const struct vfio_user_region_info *info);
int vfio_user_irq_info_get(const uint8_t *buf, size_t len, struct vfio_user_irq_info *ret_info);
int vfio_user_irq_info_put(uint8_t *buf, size_t len, const struct vfio_user_irq_info *info);
int vfio_user_region_io_fds_get(const uint8_t *buf, size_t len,
                                struct vfio_user_region_io_fds *ret_io_fds);
int vfio_user_region_io_fds_put(uint8_t *buf, size_t len,
                                const struct vfio_user_region_io_fds *io_fds);
int vfio_user_sub_region_get(const uint8_t *buf, size_t len,
                             struct vfio_user_sub_region *ret_sub_region);
int vfio_user_sub_region_put(uint8_t *buf, size_t len,
                             const struct vfio_user_sub_region *sub_region);
int vfio_user_irq_set_get(const uint8_t *buf, size_t len, struct vfio_user_irq_set *ret_set);
int vfio_user_irq_set_put(uint8_t *buf, size_t len, const struct vfio_user_irq_set *set);
int vfio_user_feature_get(const uint8_t *buf, size_t len, struct vfio_user_feature *ret_feature);
int vfio_user_feature_put(uint8_t *buf, size_t len, const struct vfio_user_feature *feature);
int vfio_user_mig_data_get(const uint8_t *buf, size_t len, struct vfio_user_mig_data *ret_data);
int vfio_user_mig_data_put(uint8_t *buf, size_t len, const struct vfio_user_mig_data *data);
int vfio_user_dma_access_get(const uint8_t *buf, size_t len,
                             struct vfio_user_dma_access *ret_access);
int vfio_user_dma_access_put(uint8_t *buf, size_t len, const struct vfio_user_dma_access *access);
int vfio_user_access_get(const uint8_t *buf, size_t len, struct vfio_user_access *ret_access);
int vfio_user_access_put(uint8_t *buf, size_t len, const struct vfio_user_access *access);

/* The sparse mmap capability of a region, with one area; VFIO_USER_SPARSE_LEN bytes. */
int vfio_user_sparse_put(uint8_t *buf, size_t len, uint64_t area_offset, uint64_t area_size);
int vfio_user_sparse_get(const uint8_t *buf, size_t len, uint64_t *ret_area_offset,
                         uint64_t *ret_area_size);

/* Has the JSON library draw the seed of its hashes, for which it may read /dev/urandom. Without
 * this, it does that at the first payload. Call it once, before other threads use the functions
 * below. */
void vfio_user_version_prepare(void);

/* The payload of VERSION. A capability that the peer leaves out has the value of the specification.
 * -EPROTO when the payload is too short, its text is no NUL-terminated JSON object, or a capability
 * has another type than it should. */
int vfio_user_version_get(const uint8_t *buf, size_t len, struct vfio_user_version *ret_version);

/* The payload of a VERSION that offers all that a version says, json_len apart. */
int vfio_user_version_offer_put(uint8_t *buf, size_t len, const struct vfio_user_version *version);

/* The answer to a VERSION whose payload is `offered`: JSON text with the capabilities that were
 * offered, and no other, with the values given; never longer than the offer, unless that had no
 * text at all. */
int vfio_user_version_reply_put(uint8_t *buf, size_t len, const uint8_t *offered,
                                size_t offered_len, const struct vfio_user_version *version);

#endif
