// SPDX-License-Identifier: BSD-3-Clause
#include "wire/vfio_user.h"

#include <errno.h>

#include "base/cursor.h"

const char *vfio_user_command_name(unsigned command)
{
    static const char *const names[VFIO_USER_COMMAND_COUNT] = {
        [VFIO_USER_VERSION] = "VERSION",
        [VFIO_USER_DMA_MAP] = "DMA_MAP",
        [VFIO_USER_DMA_UNMAP] = "DMA_UNMAP",
        [VFIO_USER_DEVICE_GET_INFO] = "DEVICE_GET_INFO",
        [VFIO_USER_DEVICE_GET_REGION_INFO] = "DEVICE_GET_REGION_INFO",
        [VFIO_USER_DEVICE_GET_REGION_IO_FDS] = "DEVICE_GET_REGION_IO_FDS",
        [VFIO_USER_DEVICE_GET_IRQ_INFO] = "DEVICE_GET_IRQ_INFO",
        [VFIO_USER_DEVICE_SET_IRQS] = "DEVICE_SET_IRQS",
        [VFIO_USER_REGION_READ] = "REGION_READ",
        [VFIO_USER_REGION_WRITE] = "REGION_WRITE",
        [VFIO_USER_DMA_READ] = "DMA_READ",
        [VFIO_USER_DMA_WRITE] = "DMA_WRITE",
        [VFIO_USER_DEVICE_RESET] = "DEVICE_RESET",
        [VFIO_USER_REGION_WRITE_MULTI] = "REGION_WRITE_MULTI",
        [VFIO_USER_DEVICE_FEATURE] = "DEVICE_FEATURE",
        [VFIO_USER_MIG_DATA_READ] = "MIG_DATA_READ",
        [VFIO_USER_MIG_DATA_WRITE] = "MIG_DATA_WRITE",
    };
    return command < VFIO_USER_COMMAND_COUNT && names[command] ? names[command] : "?";
}

/* 0 message id, 2 command, 4 message size, 8 flags, 12 error */
int vfio_user_header_get(const uint8_t *buf, size_t len, struct vfio_user_header *ret_header)
{
    struct rd rd = rd_init(buf, len);
    struct vfio_user_header header;
    header.id = rd_u16(&rd);
    header.command = rd_u16(&rd);
    header.size = rd_u32(&rd);
    header.flags = rd_u32(&rd);
    header.error = rd_u32(&rd);
    int err = rd_done(&rd);
    if (err == 0)
        *ret_header = header;
    return err;
}

int vfio_user_header_put(uint8_t *buf, size_t len, const struct vfio_user_header *header)
{
    struct wr wr = wr_init(buf, len);
    wr_u16(&wr, header->id);
    wr_u16(&wr, header->command);
    wr_u32(&wr, header->size);
    wr_u32(&wr, header->flags);
    wr_u32(&wr, header->error);
    return wr_done(&wr);
}

/* 0 argsz, 4 flags, 8 offset, 16 address, 24 size */
int vfio_user_dma_map_get(const uint8_t *buf, size_t len, struct vfio_user_dma_map *ret_map)
{
    struct rd rd = rd_init(buf, len);
    struct vfio_user_dma_map map;
    map.argsz = rd_u32(&rd);
    map.flags = rd_u32(&rd);
    map.offset = rd_u64(&rd);
    map.iova = rd_u64(&rd);
    map.size = rd_u64(&rd);
    int err = rd_done(&rd);
    if (err == 0)
        *ret_map = map;
    return err;
}

int vfio_user_dma_map_put(uint8_t *buf, size_t len, const struct vfio_user_dma_map *map)
{
    struct wr wr = wr_init(buf, len);
    wr_u32(&wr, map->argsz);
    wr_u32(&wr, map->flags);
    wr_u64(&wr, map->offset);
    wr_u64(&wr, map->iova);
    wr_u64(&wr, map->size);
    return wr_done(&wr);
}

/* 0 argsz, 4 flags, 8 address, 16 size */
int vfio_user_dma_unmap_get(const uint8_t *buf, size_t len, struct vfio_user_dma_unmap *ret_unmap)
{
    struct rd rd = rd_init(buf, len);
    struct vfio_user_dma_unmap unmap;
    unmap.argsz = rd_u32(&rd);
    unmap.flags = rd_u32(&rd);
    unmap.iova = rd_u64(&rd);
    unmap.size = rd_u64(&rd);
    int err = rd_done(&rd);
    if (err == 0)
        *ret_unmap = unmap;
    return err;
}

int vfio_user_dma_unmap_put(uint8_t *buf, size_t len, const struct vfio_user_dma_unmap *unmap)
{
    struct wr wr = wr_init(buf, len);
    wr_u32(&wr, unmap->argsz);
    wr_u32(&wr, unmap->flags);
    wr_u64(&wr, unmap->iova);
    wr_u64(&wr, unmap->size);
    return wr_done(&wr);
}

/* 0 argsz, 4 flags, 8 num_regions, 12 num_irqs */
int vfio_user_device_info_get(const uint8_t *buf, size_t len,
                              struct vfio_user_device_info *ret_info)
{
    struct rd rd = rd_init(buf, len);
    struct vfio_user_device_info info;
    info.argsz = rd_u32(&rd);
    info.flags = rd_u32(&rd);
    info.num_regions = rd_u32(&rd);
    info.num_irqs = rd_u32(&rd);
    int err = rd_done(&rd);
    if (err == 0)
        *ret_info = info;
    return err;
}

int vfio_user_device_info_put(uint8_t *buf, size_t len, const struct vfio_user_device_info *info)
{
    struct wr wr = wr_init(buf, len);
    wr_u32(&wr, info->argsz);
    wr_u32(&wr, info->flags);
    wr_u32(&wr, info->num_regions);
    wr_u32(&wr, info->num_irqs);
    return wr_done(&wr);
}

/* 0 argsz, 4 flags, 8 index, 12 cap_offset, 16 size, 24 offset */
int vfio_user_region_info_get(const uint8_t *buf, size_t len,
                              struct vfio_user_region_info *ret_info)
{
    struct rd rd = rd_init(buf, len);
    struct vfio_user_region_info info;
    info.argsz = rd_u32(&rd);
    info.flags = rd_u32(&rd);
    info.index = rd_u32(&rd);
    info.cap_offset = rd_u32(&rd);
    info.size = rd_u64(&rd);
    info.offset = rd_u64(&rd);
    int err = rd_done(&rd);
    if (err == 0)
        *ret_info = info;
    return err;
}

int vfio_user_region_info_put(uint8_t *buf, size_t len, const struct vfio_user_region_info *info)
{
    struct wr wr = wr_init(buf, len);
    wr_u32(&wr, info->argsz);
    wr_u32(&wr, info->flags);
    wr_u32(&wr, info->index);
    wr_u32(&wr, info->cap_offset);
    wr_u64(&wr, info->size);
    wr_u64(&wr, info->offset);
    return wr_done(&wr);
}

/* 0 argsz, 4 flags, 8 index, 12 count */
int vfio_user_irq_info_get(const uint8_t *buf, size_t len, struct vfio_user_irq_info *ret_info)
{
    struct rd rd = rd_init(buf, len);
    struct vfio_user_irq_info info;
    info.argsz = rd_u32(&rd);
    info.flags = rd_u32(&rd);
    info.index = rd_u32(&rd);
    info.count = rd_u32(&rd);
    int err = rd_done(&rd);
    if (err == 0)
        *ret_info = info;
    return err;
}

int vfio_user_irq_info_put(uint8_t *buf, size_t len, const struct vfio_user_irq_info *info)
{
    struct wr wr = wr_init(buf, len);
    wr_u32(&wr, info->argsz);
    wr_u32(&wr, info->flags);
    wr_u32(&wr, info->index);
    wr_u32(&wr, info->count);
    return wr_done(&wr);
}

/* 0 argsz, 4 flags, 8 index, 12 count */
int vfio_user_region_io_fds_get(const uint8_t *buf, size_t len,
                                struct vfio_user_region_io_fds *ret_io_fds)
{
    struct rd rd = rd_init(buf, len);
    struct vfio_user_region_io_fds io_fds;
    io_fds.argsz = rd_u32(&rd);
    io_fds.flags = rd_u32(&rd);
    io_fds.index = rd_u32(&rd);
    io_fds.count = rd_u32(&rd);
    int err = rd_done(&rd);
    if (err == 0)
        *ret_io_fds = io_fds;
    return err;
}

int vfio_user_region_io_fds_put(uint8_t *buf, size_t len,
                                const struct vfio_user_region_io_fds *io_fds)
{
    struct wr wr = wr_init(buf, len);
    wr_u32(&wr, io_fds->argsz);
    wr_u32(&wr, io_fds->flags);
    wr_u32(&wr, io_fds->index);
    wr_u32(&wr, io_fds->count);
    return wr_done(&wr);
}

/* 0 offset, 8 size, 16 fd_index, 20 type, 24 flags, 28 padding, 32 datamatch */
int vfio_user_sub_region_get(const uint8_t *buf, size_t len,
                             struct vfio_user_sub_region *ret_sub_region)
{
    struct rd rd = rd_init(buf, len);
    struct vfio_user_sub_region sub_region;
    sub_region.offset = rd_u64(&rd);
    sub_region.size = rd_u64(&rd);
    sub_region.fd_index = rd_u32(&rd);
    sub_region.type = rd_u32(&rd);
    sub_region.flags = rd_u32(&rd);
    rd_skip(&rd, 4);
    sub_region.datamatch = rd_u64(&rd);
    int err = rd_done(&rd);
    if (err == 0)
        *ret_sub_region = sub_region;
    return err;
}

int vfio_user_sub_region_put(uint8_t *buf, size_t len,
                             const struct vfio_user_sub_region *sub_region)
{
    struct wr wr = wr_init(buf, len);
    wr_u64(&wr, sub_region->offset);
    wr_u64(&wr, sub_region->size);
    wr_u32(&wr, sub_region->fd_index);
    wr_u32(&wr, sub_region->type);
    wr_u32(&wr, sub_region->flags);
    wr_zero(&wr, 4);
    wr_u64(&wr, sub_region->datamatch);
    return wr_done(&wr);
}

/* 0 argsz, 4 flags, 8 index, 12 start, 16 count */
int vfio_user_irq_set_get(const uint8_t *buf, size_t len, struct vfio_user_irq_set *ret_set)
{
    struct rd rd = rd_init(buf, len);
    struct vfio_user_irq_set set;
    set.argsz = rd_u32(&rd);
    set.flags = rd_u32(&rd);
    set.index = rd_u32(&rd);
    set.start = rd_u32(&rd);
    set.count = rd_u32(&rd);
    int err = rd_done(&rd);
    if (err == 0)
        *ret_set = set;
    return err;
}

int vfio_user_irq_set_put(uint8_t *buf, size_t len, const struct vfio_user_irq_set *set)
{
    struct wr wr = wr_init(buf, len);
    wr_u32(&wr, set->argsz);
    wr_u32(&wr, set->flags);
    wr_u32(&wr, set->index);
    wr_u32(&wr, set->start);
    wr_u32(&wr, set->count);
    return wr_done(&wr);
}

/* 0 argsz, 4 flags */
int vfio_user_feature_get(const uint8_t *buf, size_t len, struct vfio_user_feature *ret_feature)
{
    struct rd rd = rd_init(buf, len);
    struct vfio_user_feature feature;
    feature.argsz = rd_u32(&rd);
    feature.flags = rd_u32(&rd);
    int err = rd_done(&rd);
    if (err == 0)
        *ret_feature = feature;
    return err;
}

int vfio_user_feature_put(uint8_t *buf, size_t len, const struct vfio_user_feature *feature)
{
    struct wr wr = wr_init(buf, len);
    wr_u32(&wr, feature->argsz);
    wr_u32(&wr, feature->flags);
    return wr_done(&wr);
}

/* 0 argsz, 4 size */
int vfio_user_mig_data_get(const uint8_t *buf, size_t len, struct vfio_user_mig_data *ret_data)
{
    struct rd rd = rd_init(buf, len);
    struct vfio_user_mig_data data;
    data.argsz = rd_u32(&rd);
    data.size = rd_u32(&rd);
    int err = rd_done(&rd);
    if (err == 0)
        *ret_data = data;
    return err;
}

int vfio_user_mig_data_put(uint8_t *buf, size_t len, const struct vfio_user_mig_data *data)
{
    struct wr wr = wr_init(buf, len);
    wr_u32(&wr, data->argsz);
    wr_u32(&wr, data->size);
    return wr_done(&wr);
}

/* 0 address, 8 count */
int vfio_user_dma_access_get(const uint8_t *buf, size_t len,
                             struct vfio_user_dma_access *ret_access)
{
    struct rd rd = rd_init(buf, len);
    struct vfio_user_dma_access access;
    access.iova = rd_u64(&rd);
    access.count = rd_u64(&rd);
    int err = rd_done(&rd);
    if (err == 0)
        *ret_access = access;
    return err;
}

int vfio_user_dma_access_put(uint8_t *buf, size_t len, const struct vfio_user_dma_access *access)
{
    struct wr wr = wr_init(buf, len);
    wr_u64(&wr, access->iova);
    wr_u64(&wr, access->count);
    return wr_done(&wr);
}

#define CAPABILITY_SPARSE_MMAP 1u
#define CAPABILITY_VERSION     1u

/* 0 id, 2 version, 4 next, 8 nr_areas, 12 reserved, 16 offset, 24 size */
int vfio_user_sparse_put(uint8_t *buf, size_t len, uint64_t area_offset, uint64_t area_size)
{
    struct wr wr = wr_init(buf, len);
    wr_u16(&wr, CAPABILITY_SPARSE_MMAP);
    wr_u16(&wr, CAPABILITY_VERSION);
    wr_u32(&wr, 0);
    wr_u32(&wr, 1);
    wr_zero(&wr, 4);
    wr_u64(&wr, area_offset);
    wr_u64(&wr, area_size);
    return wr_done(&wr);
}

int vfio_user_sparse_get(const uint8_t *buf, size_t len, uint64_t *ret_area_offset,
                         uint64_t *ret_area_size)
{
    struct rd rd = rd_init(buf, len);
    bool known = rd_u16(&rd) == CAPABILITY_SPARSE_MMAP && rd_u16(&rd) == CAPABILITY_VERSION;
    rd_skip(&rd, 4);
    known = known && rd_u32(&rd) == 1;
    rd_skip(&rd, 4);
    uint64_t offset = rd_u64(&rd);
    uint64_t size = rd_u64(&rd);
    if (rd_done(&rd) < 0 || !known)
        return -EPROTO;
    *ret_area_offset = offset;
    *ret_area_size = size;
    return 0;
}

/* 0 offset, 8 region, 12 count */
int vfio_user_access_get(const uint8_t *buf, size_t len, struct vfio_user_access *ret_access)
{
    struct rd rd = rd_init(buf, len);
    struct vfio_user_access access;
    access.offset = rd_u64(&rd);
    access.region = rd_u32(&rd);
    access.count = rd_u32(&rd);
    int err = rd_done(&rd);
    if (err == 0)
        *ret_access = access;
    return err;
}

int vfio_user_access_put(uint8_t *buf, size_t len, const struct vfio_user_access *access)
{
    struct wr wr = wr_init(buf, len);
    wr_u64(&wr, access->offset);
    wr_u32(&wr, access->region);
    wr_u32(&wr, access->count);
    return wr_done(&wr);
}
