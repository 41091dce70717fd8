// SPDX-License-Identifier: BSD-3-Clause
#include "wire/vhost_user.h"

#include <errno.h>

#include "base/cursor.h"

const char *vhost_user_request_name(uint32_t request)
{
    static const char *const names[VHOST_USER_REQUEST_COUNT] = {
        [VHOST_USER_GET_FEATURES] = "GET_FEATURES",
        [VHOST_USER_SET_FEATURES] = "SET_FEATURES",
        [VHOST_USER_SET_OWNER] = "SET_OWNER",
        [VHOST_USER_RESET_OWNER] = "RESET_OWNER",
        [VHOST_USER_SET_MEM_TABLE] = "SET_MEM_TABLE",
        [VHOST_USER_SET_LOG_BASE] = "SET_LOG_BASE",
        [VHOST_USER_SET_LOG_FD] = "SET_LOG_FD",
        [VHOST_USER_SET_VRING_NUM] = "SET_VRING_NUM",
        [VHOST_USER_SET_VRING_ADDR] = "SET_VRING_ADDR",
        [VHOST_USER_SET_VRING_BASE] = "SET_VRING_BASE",
        [VHOST_USER_GET_VRING_BASE] = "GET_VRING_BASE",
        [VHOST_USER_SET_VRING_KICK] = "SET_VRING_KICK",
        [VHOST_USER_SET_VRING_CALL] = "SET_VRING_CALL",
        [VHOST_USER_SET_VRING_ERR] = "SET_VRING_ERR",
        [VHOST_USER_GET_PROTOCOL_FEATURES] = "GET_PROTOCOL_FEATURES",
        [VHOST_USER_SET_PROTOCOL_FEATURES] = "SET_PROTOCOL_FEATURES",
        [VHOST_USER_GET_QUEUE_NUM] = "GET_QUEUE_NUM",
        [VHOST_USER_SET_VRING_ENABLE] = "SET_VRING_ENABLE",
        [VHOST_USER_SET_BACKEND_REQ_FD] = "SET_BACKEND_REQ_FD",
        [VHOST_USER_IOTLB_MSG] = "IOTLB_MSG",
        [VHOST_USER_GET_CONFIG] = "GET_CONFIG",
        [VHOST_USER_SET_CONFIG] = "SET_CONFIG",
        [VHOST_USER_GET_INFLIGHT_FD] = "GET_INFLIGHT_FD",
        [VHOST_USER_SET_INFLIGHT_FD] = "SET_INFLIGHT_FD",
        [VHOST_USER_RESET_DEVICE] = "RESET_DEVICE",
        [VHOST_USER_GET_MAX_MEM_SLOTS] = "GET_MAX_MEM_SLOTS",
        [VHOST_USER_ADD_MEM_REG] = "ADD_MEM_REG",
        [VHOST_USER_REM_MEM_REG] = "REM_MEM_REG",
        [VHOST_USER_SET_STATUS] = "SET_STATUS",
        [VHOST_USER_GET_STATUS] = "GET_STATUS",
        [VHOST_USER_SET_DEVICE_STATE_FD] = "SET_DEVICE_STATE_FD",
        [VHOST_USER_CHECK_DEVICE_STATE] = "CHECK_DEVICE_STATE",
    };
    return request < VHOST_USER_REQUEST_COUNT && names[request] ? names[request] : "?";
}

/* 0 request, 4 flags, 8 size */
int vhost_user_header_get(const uint8_t *buf, size_t len, struct vhost_user_header *ret_header)
{
    struct rd rd = rd_init(buf, len);
    struct vhost_user_header header;
    header.request = rd_u32(&rd);
    header.flags = rd_u32(&rd);
    header.size = rd_u32(&rd);
    int err = rd_done(&rd);
    if (err == 0)
        *ret_header = header;
    return err;
}

int vhost_user_header_put(uint8_t *buf, size_t len, const struct vhost_user_header *header)
{
    struct wr wr = wr_init(buf, len);
    wr_u32(&wr, header->request);
    wr_u32(&wr, header->flags);
    wr_u32(&wr, header->size);
    return wr_done(&wr);
}

/* 0 index, 4 num */
int vhost_user_vring_state_get(const uint8_t *buf, size_t len,
                               struct vhost_user_vring_state *ret_state)
{
    struct rd rd = rd_init(buf, len);
    struct vhost_user_vring_state state;
    state.index = rd_u32(&rd);
    state.num = rd_u32(&rd);
    int err = rd_done(&rd);
    if (err == 0)
        *ret_state = state;
    return err;
}

int vhost_user_vring_state_put(uint8_t *buf, size_t len, const struct vhost_user_vring_state *state)
{
    struct wr wr = wr_init(buf, len);
    wr_u32(&wr, state->index);
    wr_u32(&wr, state->num);
    return wr_done(&wr);
}

/* 0 index, 4 flags, 8 descriptor, 16 used, 24 available, 32 log */
int vhost_user_vring_addr_get(const uint8_t *buf, size_t len,
                              struct vhost_user_vring_addr *ret_addr)
{
    struct rd rd = rd_init(buf, len);
    struct vhost_user_vring_addr addr;
    addr.index = rd_u32(&rd);
    addr.flags = rd_u32(&rd);
    addr.desc = rd_u64(&rd);
    addr.used = rd_u64(&rd);
    addr.avail = rd_u64(&rd);
    addr.log = rd_u64(&rd);
    int err = rd_done(&rd);
    if (err == 0)
        *ret_addr = addr;
    return err;
}

int vhost_user_vring_addr_put(uint8_t *buf, size_t len, const struct vhost_user_vring_addr *addr)
{
    struct wr wr = wr_init(buf, len);
    wr_u32(&wr, addr->index);
    wr_u32(&wr, addr->flags);
    wr_u64(&wr, addr->desc);
    wr_u64(&wr, addr->used);
    wr_u64(&wr, addr->avail);
    wr_u64(&wr, addr->log);
    return wr_done(&wr);
}

/* 0 guest address, 8 size, 16 user address, 24 mmap offset */
int vhost_user_region_get(const uint8_t *buf, size_t len, struct vhost_user_region *ret_region)
{
    struct rd rd = rd_init(buf, len);
    struct vhost_user_region region;
    region.gpa = rd_u64(&rd);
    region.size = rd_u64(&rd);
    region.user_address = rd_u64(&rd);
    region.mmap_offset = rd_u64(&rd);
    int err = rd_done(&rd);
    if (err == 0)
        *ret_region = region;
    return err;
}

int vhost_user_region_put(uint8_t *buf, size_t len, const struct vhost_user_region *region)
{
    struct wr wr = wr_init(buf, len);
    wr_u64(&wr, region->gpa);
    wr_u64(&wr, region->size);
    wr_u64(&wr, region->user_address);
    wr_u64(&wr, region->mmap_offset);
    return wr_done(&wr);
}

/* 0 size, 8 offset */
int vhost_user_log_get(const uint8_t *buf, size_t len, struct vhost_user_log *ret_log)
{
    struct rd rd = rd_init(buf, len);
    struct vhost_user_log log;
    log.size = rd_u64(&rd);
    log.offset = rd_u64(&rd);
    int err = rd_done(&rd);
    if (err == 0)
        *ret_log = log;
    return err;
}

int vhost_user_log_put(uint8_t *buf, size_t len, const struct vhost_user_log *log)
{
    struct wr wr = wr_init(buf, len);
    wr_u64(&wr, log->size);
    wr_u64(&wr, log->offset);
    return wr_done(&wr);
}

/* 0 iova, 8 size, 16 user address, 24 permissions, 25 type, 26 padding */
int vhost_user_iotlb_get(const uint8_t *buf, size_t len, struct vhost_user_iotlb *ret_iotlb)
{
    struct rd rd = rd_init(buf, len);
    struct vhost_user_iotlb iotlb;
    iotlb.iova = rd_u64(&rd);
    iotlb.size = rd_u64(&rd);
    iotlb.user_address = rd_u64(&rd);
    iotlb.perm = rd_u8(&rd);
    iotlb.type = rd_u8(&rd);
    rd_skip(&rd, 6);
    int err = rd_done(&rd);
    if (err == 0)
        *ret_iotlb = iotlb;
    return err;
}

int vhost_user_iotlb_put(uint8_t *buf, size_t len, const struct vhost_user_iotlb *iotlb)
{
    struct wr wr = wr_init(buf, len);
    wr_u64(&wr, iotlb->iova);
    wr_u64(&wr, iotlb->size);
    wr_u64(&wr, iotlb->user_address);
    wr_u8(&wr, iotlb->perm);
    wr_u8(&wr, iotlb->type);
    wr_zero(&wr, 6);
    return wr_done(&wr);
}

/* 0 mmap size, 8 mmap offset, 16 queues, 18 queue size, 20 padding of QEMU */
int vhost_user_inflight_get(const uint8_t *buf, size_t len,
                            struct vhost_user_inflight *ret_inflight)
{
    const size_t padded = VHOST_USER_INFLIGHT_LEN + 4;
    struct rd rd = rd_init(buf, len == padded ? VHOST_USER_INFLIGHT_LEN : len);
    struct vhost_user_inflight inflight;
    inflight.mmap_size = rd_u64(&rd);
    inflight.mmap_offset = rd_u64(&rd);
    inflight.num_queues = rd_u16(&rd);
    inflight.queue_size = rd_u16(&rd);
    int err = rd_done(&rd);
    if (err == 0)
        *ret_inflight = inflight;
    return err;
}

int vhost_user_inflight_put(uint8_t *buf, size_t len, const struct vhost_user_inflight *inflight)
{
    struct wr wr = wr_init(buf, len);
    wr_u64(&wr, inflight->mmap_size);
    wr_u64(&wr, inflight->mmap_offset);
    wr_u16(&wr, inflight->num_queues);
    wr_u16(&wr, inflight->queue_size);
    return wr_done(&wr);
}

/* 0 direction, 4 phase */
int vhost_user_transfer_get(const uint8_t *buf, size_t len,
                            struct vhost_user_transfer *ret_transfer)
{
    struct rd rd = rd_init(buf, len);
    struct vhost_user_transfer transfer;
    transfer.direction = rd_u32(&rd);
    transfer.phase = rd_u32(&rd);
    int err = rd_done(&rd);
    if (err == 0)
        *ret_transfer = transfer;
    return err;
}

int vhost_user_transfer_put(uint8_t *buf, size_t len, const struct vhost_user_transfer *transfer)
{
    struct wr wr = wr_init(buf, len);
    wr_u32(&wr, transfer->direction);
    wr_u32(&wr, transfer->phase);
    return wr_done(&wr);
}

/* 0 number of regions, 4 padding, 8 regions */
int vhost_user_table_get(const uint8_t *buf, size_t len, struct vhost_user_region *ret_regions)
{
    struct rd rd = rd_init(buf, len);
    uint32_t count = rd_u32(&rd);
    rd_skip(&rd, 4);
    if (rd.bad || count > LIMIT_VHOST_USER_REGIONS || rd.left != count * VHOST_USER_REGION_LEN)
        return -EPROTO;
    for (uint32_t i = 0; i < count; i++)
        vhost_user_region_get(rd_take(&rd, VHOST_USER_REGION_LEN), VHOST_USER_REGION_LEN,
                              &ret_regions[i]);
    return (int)count;
}

/* 0 padding, 8 region */
int vhost_user_mem_reg_get(const uint8_t *buf, size_t len, struct vhost_user_region *ret_region)
{
    const size_t padding = VHOST_USER_MEM_REG_LEN - VHOST_USER_REGION_LEN;
    return len < padding ? -EPROTO
                         : vhost_user_region_get(buf + padding, len - padding, ret_region);
}

/* 0 offset, 4 size, 8 flags, 12 data */
int vhost_user_config_get(const uint8_t *buf, size_t len, struct vhost_user_config *ret_config,
                          const uint8_t **ret_data)
{
    struct rd rd = rd_init(buf, len);
    struct vhost_user_config config;
    config.offset = rd_u32(&rd);
    config.size = rd_u32(&rd);
    config.flags = rd_u32(&rd);
    if (rd.bad || config.size != rd.left || config.size > LIMIT_VHOST_USER_CONFIG)
        return -EPROTO;
    *ret_data = rd_take(&rd, config.size);
    *ret_config = config;
    return 0;
}

int vhost_user_config_put(uint8_t *buf, size_t len, const struct vhost_user_config *config)
{
    struct wr wr = wr_init(buf, len);
    wr_u32(&wr, config->offset);
    wr_u32(&wr, config->size);
    wr_u32(&wr, config->flags);
    return wr_done(&wr);
}
