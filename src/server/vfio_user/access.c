// SPDX-License-Identifier: BSD-3-Clause
/*
 * Register accesses of a vfio-user client: REGION_READ, REGION_WRITE and REGION_WRITE_MULTI, of any
 * length that fits a message here; section "Read and Write Operations". The agreement of VERSION
 * binds us in messages that we send unasked: libvfio-user's client offers 1 KiB and accesses 12 KiB at once.
 */
#include <errno.h>
#include <linux/vfio.h>

#include "device/pci.h"
#include "server/vfio_user/vfio_user.h"

static int read_region(struct ob_device *device, const struct vfio_user_access *access,
                       uint8_t *ret_data)
{
    if (access->region <= VFIO_PCI_BAR5_REGION_INDEX)
        return device_bar_read_bytes(device, access->region, access->offset, ret_data,
                                     access->count);
    if (access->region == VFIO_PCI_CONFIG_REGION_INDEX)
        return device_config_read_bytes(device, access->offset, ret_data, access->count);
    return -EINVAL;
}

static int write_region(struct ob_device *device, const struct vfio_user_access *access,
                        const uint8_t *data)
{
    if (access->region <= VFIO_PCI_BAR5_REGION_INDEX)
        return device_bar_write_bytes(device, access->region, access->offset, data, access->count);
    if (access->region == VFIO_PCI_CONFIG_REGION_INDEX)
        return device_config_write_bytes(device, access->offset, data, access->count);
    return -EINVAL;
}

uint64_t vfio_user_longest_transfer(const struct engine_ops *ops)
{
    return ops->rx_len - VFIO_USER_HEADER_LEN - VFIO_USER_ACCESS_LEN;
}

static bool is_too_long(const struct vfio_user_request *request,
                        const struct vfio_user_access *access)
{
    return access->count > vfio_user_longest_transfer(request->server->engine.ops);
}

int vfio_user_region_read(struct vfio_user_request *request)
{
    struct vfio_user_access access = {0};
    vfio_user_access_get(request->payload, VFIO_USER_ACCESS_LEN, &access);
    if (is_too_long(request, &access))
        return -E2BIG;
    uint8_t *head = wr_room(&request->reply, VFIO_USER_ACCESS_LEN);
    vfio_user_access_put(head, VFIO_USER_ACCESS_LEN, &access);
    return read_region(request->device, &access, wr_room(&request->reply, access.count));
}

int vfio_user_region_write(struct vfio_user_request *request)
{
    struct vfio_user_access access = {0};
    vfio_user_access_get(request->payload, VFIO_USER_ACCESS_LEN, &access);
    if (is_too_long(request, &access))
        return -E2BIG;
    if (access.count != request->len - VFIO_USER_ACCESS_LEN)
        return -EINVAL;
    uint8_t *head = wr_room(&request->reply, VFIO_USER_ACCESS_LEN);
    vfio_user_access_put(head, VFIO_USER_ACCESS_LEN, &access);
    return write_region(request->device, &access, request->payload + VFIO_USER_ACCESS_LEN);
}

/* Stops at the first write that can't be done; those before it stay done. */
static int write_some(struct vfio_user_request *request, struct rd *rd, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        struct vfio_user_access access = {0};
        vfio_user_access_get(rd_take(rd, VFIO_USER_ACCESS_LEN), VFIO_USER_ACCESS_LEN, &access);
        const uint8_t *data = rd_take(rd, 8);
        int err = access.count <= 8 ? write_region(request->device, &access, data) : -EINVAL;
        if (err < 0)
            return err;
    }
    return 0;
}

/* 0 wr_cnt, 8 writes of 24 bytes: 0 offset, 8 region, 12 count, 16 data */
int vfio_user_region_write_multi(struct vfio_user_request *request)
{
    struct rd rd = rd_init(request->payload, request->len);
    uint64_t count = rd_u64(&rd);
    if (count > LIMIT_VFIO_USER_WRITES || rd.left != count * VFIO_USER_WRITE_LEN)
        return -EINVAL;
    wr_u64(&request->reply, count);
    return write_some(request, &rd, count);
}
