// SPDX-License-Identifier: BSD-3-Clause
/*
 * A device's description for a vfio-user client: regions (the six BARs, ROM, configuration space, VGA)
 * and interrupts (INTx, MSI, MSI-X, error, request), with the numbers of Linux' VFIO.
 *
 * Where a reply can be longer than its fixed part, the client says in argsz how much it takes and
 * is told in argsz how much there is; section "Message sizes".
 */
#include <errno.h>
#include <linux/kvm.h>
#include <linux/vfio.h>

#include "device/doorbells.h"
#include "device/irq.h"
#include "device/pci.h"
#include "server/vfio_user/vfio_user.h"

int vfio_user_device_get_info(struct vfio_user_request *request)
{
    struct vfio_user_device_info info = {0};
    vfio_user_device_info_get(request->payload, request->len, &info);
    if (info.argsz < VFIO_USER_DEVICE_INFO_LEN)
        return -EINVAL;
    info = (struct vfio_user_device_info){.argsz = VFIO_USER_DEVICE_INFO_LEN,
                                          .flags = VFIO_DEVICE_FLAGS_RESET | VFIO_DEVICE_FLAGS_PCI,
                                          .num_regions = VFIO_PCI_NUM_REGIONS,
                                          .num_irqs = VFIO_PCI_NUM_IRQS};
    uint8_t *at = wr_room(&request->reply, VFIO_USER_DEVICE_INFO_LEN);
    vfio_user_device_info_put(at, VFIO_USER_DEVICE_INFO_LEN, &info);
    return 0;
}

/* A BAR; those that are memory can be mapped by the descriptor that rides on the reply. */
static void describe_bar(struct vfio_user_request *request, struct vfio_user_region_info *info)
{
    const struct ob_bar *bar = device_bar(request->device, info->index);
    if (bar->kind == OB_BAR_NONE)
        return;
    info->size = bar->size;
    info->flags = VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE;
    struct ob_bar_range range;
    int fd = device_bar_file(request->device, info->index, &range);
    if (fd < 0)
        return;
    info->flags |= VFIO_REGION_INFO_FLAG_MMAP;
    request->reply_fds[request->num_reply_fds++] = fd;
    if (range.len < bar->size) {
        info->flags |= VFIO_REGION_INFO_FLAG_CAPS;
        info->cap_offset = VFIO_USER_REGION_INFO_LEN;
        info->argsz += VFIO_USER_SPARSE_LEN;
    }
}

int vfio_user_device_get_region_info(struct vfio_user_request *request)
{
    struct vfio_user_region_info info = {0};
    vfio_user_region_info_get(request->payload, VFIO_USER_REGION_INFO_LEN, &info);
    if (info.argsz < VFIO_USER_REGION_INFO_LEN || info.index >= VFIO_PCI_NUM_REGIONS)
        return -EINVAL;
    uint32_t argsz = info.argsz;
    info = (struct vfio_user_region_info){.argsz = VFIO_USER_REGION_INFO_LEN, .index = info.index};
    if (info.index <= VFIO_PCI_BAR5_REGION_INDEX) {
        describe_bar(request, &info);
    } else if (info.index == VFIO_PCI_CONFIG_REGION_INDEX) {
        info.size = device_config_len(request->device);
        info.flags = VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE;
    }
    uint8_t *at = wr_room(&request->reply, VFIO_USER_REGION_INFO_LEN);
    vfio_user_region_info_put(at, VFIO_USER_REGION_INFO_LEN, &info);
    if (argsz < info.argsz)
        request->num_reply_fds =
            0; /* it rides on the reply that is whole, which will be asked for */
    if (info.flags & VFIO_REGION_INFO_FLAG_CAPS && argsz >= info.argsz) {
        struct ob_bar_range range = {0};
        device_bar_file(request->device, info.index, &range);
        at = wr_room(&request->reply, VFIO_USER_SPARSE_LEN);
        vfio_user_sparse_put(at, VFIO_USER_SPARSE_LEN, range.offset, range.len);
    }
    return 0;
}

_Static_assert(VFIO_USER_REGION_IO_FDS_LEN + OB_DOORBELLS * VFIO_USER_SUB_REGION_LEN <=
                   LIMIT_VFIO_USER_DATA,
               "all doorbells fit a reply");

/* The place of a number's eventfd among those of the reply, whose numbers these are. It joins them
 * if it is new, can be had, and the client has room for it; else -1. */
static int place_fd(struct vfio_user_request *request, unsigned number,
                    unsigned numbers[LIMIT_VFIO_USER_FDS])
{
    for (unsigned i = 0; i < request->num_reply_fds; i++)
        if (numbers[i] == number)
            return (int)i;
    if (request->num_reply_fds == request->server->capabilities.max_msg_fds)
        return -1;
    int fd = doorbells_fd(request->device, number);
    if (fd < 0)
        return -1;
    numbers[request->num_reply_fds] = number;
    request->reply_fds[request->num_reply_fds] = fd;
    return (int)request->num_reply_fds++;
}

/* Writes the doorbells of a region; those without an eventfd in the reply are left out, and rung by
 * messages. Returns how many it wrote. */
static uint32_t write_doorbells(struct vfio_user_request *request, uint32_t region, struct wr *wr)
{
    unsigned num_doorbells;
    const struct ob_doorbell *doorbells = doorbells_list(request->device, &num_doorbells);
    bool is_io = device_bar(request->device, region)->kind == OB_BAR_IO;
    uint32_t count = 0;
    unsigned numbers[LIMIT_VFIO_USER_FDS] = {0};
    for (unsigned i = 0; i < num_doorbells; i++) {
        const struct ob_doorbell *doorbell = &doorbells[i];
        int place = doorbell->bar == region ? place_fd(request, doorbell->number, numbers) : -1;
        if (place < 0)
            continue;
        const struct vfio_user_sub_region sub_region = {
            .offset = doorbell->offset,
            .size = doorbell->size,
            .fd_index = (uint32_t)place,
            .type = VFIO_USER_IO_FD_TYPE_IOEVENTFD,
            .flags = is_io ? KVM_IOEVENTFD_FLAG_PIO : 0,
        };
        uint8_t *at = wr_room(wr, VFIO_USER_SUB_REGION_LEN);
        vfio_user_sub_region_put(at, VFIO_USER_SUB_REGION_LEN, &sub_region);
        count++;
    }
    return count;
}

int vfio_user_device_get_region_io_fds(struct vfio_user_request *request)
{
    struct vfio_user_region_io_fds io_fds = {0};
    vfio_user_region_io_fds_get(request->payload, request->len, &io_fds);
    if (io_fds.argsz < VFIO_USER_REGION_IO_FDS_LEN || io_fds.flags || io_fds.count ||
        io_fds.index > VFIO_PCI_BAR5_REGION_INDEX)
        return -EINVAL;
    uint32_t argsz = io_fds.argsz;
    uint8_t *head = wr_room(&request->reply, VFIO_USER_REGION_IO_FDS_LEN);
    struct wr whole = request->reply;
    io_fds.count = write_doorbells(request, io_fds.index, &whole);
    io_fds.argsz = VFIO_USER_REGION_IO_FDS_LEN + io_fds.count * VFIO_USER_SUB_REGION_LEN;
    vfio_user_region_io_fds_put(head, VFIO_USER_REGION_IO_FDS_LEN, &io_fds);
    if (argsz >= io_fds.argsz)
        request->reply = whole;
    else
        request->num_reply_fds = 0;
    return 0;
}

int vfio_user_device_get_irq_info(struct vfio_user_request *request)
{
    struct vfio_user_irq_info info = {0};
    vfio_user_irq_info_get(request->payload, request->len, &info);
    if (info.argsz < VFIO_USER_IRQ_INFO_LEN || info.index >= VFIO_PCI_NUM_IRQS)
        return -EINVAL;
    info = (struct vfio_user_irq_info){.argsz = VFIO_USER_IRQ_INFO_LEN, .index = info.index};
    info.count = irq_count(request->device, (enum irq_kind)info.index);
    if (info.count > 0)
        info.flags = VFIO_IRQ_INFO_EVENTFD | VFIO_IRQ_INFO_MASKABLE;
    if (info.count > 0 && info.index == VFIO_PCI_INTX_IRQ_INDEX)
        info.flags |= VFIO_IRQ_INFO_AUTOMASKED;
    uint8_t *at = wr_room(&request->reply, VFIO_USER_IRQ_INFO_LEN);
    vfio_user_irq_info_put(at, VFIO_USER_IRQ_INFO_LEN, &info);
    return 0;
}
