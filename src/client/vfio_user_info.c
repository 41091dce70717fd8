// SPDX-License-Identifier: BSD-3-Clause
#include "client/vfio_user_info.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/kvm.h>
#include <linux/vfio.h>

#include "base/cursor.h"

#define CAPABILITY_HEADER_LEN 8u
#define SPARSE_HEADER_LEN     8u /* behind the capability's header */
#define SPARSE_AREA_LEN       16u

static uint64_t smaller(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

int vfio_user_agreement_parse(const uint8_t *buf, size_t len,
                              const struct vfio_user_capabilities *offered,
                              struct vfio_user_capabilities *ret_agreed, struct ob_fault *fault)
{
    struct vfio_user_version version;
    if (vfio_user_version_get(buf, len, &version) < 0)
        return ob_fault_set(fault, -EPROTO, "the remote's VERSION is malformed");
    if (version.major != 0)
        return ob_fault_set(fault, -EPROTONOSUPPORT,
                            "the remote's VERSION: got major version %u, expected 0",
                            version.major);
    if (version.minor != 0)
        return ob_fault_set(fault, -EPROTONOSUPPORT,
                            "the remote's VERSION: got minor version %u, more than was offered",
                            version.minor);
    struct vfio_user_capabilities agreed = version.capabilities;
    agreed.max_data_xfer_size = smaller(agreed.max_data_xfer_size, offered->max_data_xfer_size);
    agreed.max_msg_fds = (uint32_t)smaller(agreed.max_msg_fds, offered->max_msg_fds);
    agreed.max_dma_maps = (uint32_t)smaller(agreed.max_dma_maps, offered->max_dma_maps);
    agreed.write_multiple = agreed.write_multiple && offered->write_multiple;
    if (agreed.max_data_xfer_size < LIMIT_ACCESS_BYTES || agreed.pgsizes == 0)
        return ob_fault_set(fault, -EPROTO,
                            "the remote's VERSION: got transfers of %" PRIu64
                            " bytes and page sizes 0x%" PRIx64 ", which are unusable",
                            agreed.max_data_xfer_size, agreed.pgsizes);
    *ret_agreed = agreed;
    return 0;
}

int vfio_user_device_parse(const uint8_t *buf, size_t len, struct client_device *ret_device,
                           struct ob_fault *fault)
{
    struct vfio_user_device_info info;
    if (vfio_user_device_info_get(buf, len, &info) < 0)
        return ob_fault_set(fault, -EPROTO,
                            "the remote's device is not a PCI device: its info has %zu bytes", len);
    if (!(info.flags & VFIO_DEVICE_FLAGS_PCI))
        return ob_fault_set(fault, -ENODEV, "the remote's device is not a PCI device");
    if (info.num_regions <= VFIO_PCI_CONFIG_REGION_INDEX)
        return ob_fault_set(
            fault, -ENODEV,
            "the remote's device is not a PCI device: it has %u regions, so no configuration space",
            info.num_regions);
    *ret_device = (struct client_device){
        .num_regions = (unsigned)smaller(info.num_regions, VFIO_PCI_NUM_REGIONS),
        .num_irqs = (unsigned)smaller(info.num_irqs, VFIO_PCI_NUM_IRQS),
        .can_reset = info.flags & VFIO_DEVICE_FLAGS_RESET,
    };
    return 0;
}

/* Adds an area, unless it does not lie in the region. */
static int add_area(struct client_region *region, uint64_t offset, uint64_t len)
{
    if (offset > region->size || len > region->size - offset)
        return -EPROTO;
    if (len > 0 && region->num_areas < LIMIT_CLIENT_AREAS)
        region->areas[region->num_areas++] = (struct client_area){.offset = offset, .len = len};
    return 0;
}

/* Body of a sparse mmap capability: 0 nr_areas, 4 reserved, 8 areas. */
static int take_sparse(const uint8_t *buf, size_t len, struct client_region *region)
{
    struct rd rd = rd_init(buf, len);
    uint32_t count = rd_u32(&rd);
    rd_skip(&rd, SPARSE_HEADER_LEN - 4);
    int err = 0;
    for (uint32_t i = 0; i < count && rd.left >= SPARSE_AREA_LEN && err == 0; i++) {
        uint64_t offset = rd_u64(&rd);
        err = add_area(region, offset, rd_u64(&rd));
    }
    return err;
}

/* Follows the chain of capabilities from `at` on, always forwards: 0 id, 2 version, 4 next. */
static int take_capabilities(const uint8_t *buf, size_t len, uint32_t at,
                             struct client_region *region, bool *ret_sparse)
{
    while (at >= VFIO_USER_REGION_INFO_LEN && at <= len && len - at >= CAPABILITY_HEADER_LEN) {
        struct rd rd = rd_init(buf + at, len - at);
        uint16_t id = rd_u16(&rd);
        rd_skip(&rd, 2);
        uint32_t next = rd_u32(&rd);
        if (id == VFIO_REGION_INFO_CAP_SPARSE_MMAP) {
            *ret_sparse = true;
            int err = take_sparse(rd.at, rd.left, region);
            if (err < 0)
                return err;
        }
        if (next <= at)
            return next == 0 ? 0 : -EPROTO;
        at = next;
    }
    return 0;
}

int vfio_user_region_parse(const uint8_t *buf, size_t len, unsigned index,
                           struct client_region *ret_region, struct ob_fault *fault)
{
    struct vfio_user_region_info info;
    if (len < VFIO_USER_REGION_INFO_LEN)
        return ob_fault_set(fault, -EPROTO, "the remote's info of region %u is too short", index);
    vfio_user_region_info_get(buf, VFIO_USER_REGION_INFO_LEN, &info);
    struct client_region region = {
        .size = info.size, .flags = info.flags, .file_offset = info.offset};
    bool sparse = false;
    int err = info.index == index ? 0 : -EPROTO;
    if (err == 0 && info.flags & VFIO_REGION_INFO_FLAG_CAPS)
        err = take_capabilities(buf, len, info.cap_offset, &region, &sparse);
    /* If there is more to say than was asked for, the rest may be areas that can't be mapped. */
    const bool whole = !sparse && info.argsz <= CLIENT_REGION_INFO_LEN;
    if (err == 0 && info.flags & VFIO_REGION_INFO_FLAG_MMAP && whole)
        err = add_area(&region, 0, region.size);
    if (err < 0)
        return ob_fault_set(
            fault, -EPROTO,
            "region %u: the remote's info is inconsistent (region %u, size 0x%" PRIx64
            ", capabilities at %u)",
            index, info.index, info.size, info.cap_offset);
    *ret_region = region;
    return 0;
}

int vfio_user_irqs_parse(const uint8_t *buf, size_t len, unsigned index, uint32_t *ret_count,
                         struct ob_fault *fault)
{
    struct vfio_user_irq_info info;
    if (vfio_user_irq_info_get(buf, len, &info) < 0 || info.index != index)
        return ob_fault_set(fault, -EPROTO, "interrupts %u: the remote's info is of another kind",
                            index);
    *ret_count = info.count;
    return 0;
}

int vfio_user_eventfds_parse(const uint8_t *buf, size_t len, unsigned index, unsigned num_fds,
                             struct ob_client_eventfd *ret_eventfds, unsigned max,
                             unsigned *ret_count, struct ob_fault *fault)
{
    struct vfio_user_region_io_fds info;
    unsigned filled = 0;
    if (len < VFIO_USER_REGION_IO_FDS_LEN)
        return ob_fault_set(fault, -EPROTO, "the remote's info of eventfds is too short");
    vfio_user_region_io_fds_get(buf, VFIO_USER_REGION_IO_FDS_LEN, &info);
    struct rd rd = rd_init(buf + VFIO_USER_REGION_IO_FDS_LEN, len - VFIO_USER_REGION_IO_FDS_LEN);
    for (uint32_t i = 0; i < info.count && rd.left >= VFIO_USER_SUB_REGION_LEN; i++) {
        struct vfio_user_sub_region sub;
        vfio_user_sub_region_get(rd_take(&rd, VFIO_USER_SUB_REGION_LEN), VFIO_USER_SUB_REGION_LEN,
                                 &sub);
        if (sub.type != VFIO_USER_IO_FD_TYPE_IOEVENTFD || filled == max)
            continue;
        if (info.index != index || sub.fd_index >= num_fds)
            return ob_fault_set(fault, -EPROTO,
                                "the remote's eventfd %u of region %u uses descriptor %u of %u", i,
                                info.index, sub.fd_index, num_fds);
        ret_eventfds[filled++] = (struct ob_client_eventfd){
            .offset = sub.offset,
            .size = sub.size,
            .matches = sub.flags & KVM_IOEVENTFD_FLAG_DATAMATCH,
            .value = sub.datamatch,
            .fd = (int)sub.fd_index,
        };
    }
    *ret_count = filled;
    return 0;
}
