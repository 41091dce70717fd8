// SPDX-License-Identifier: BSD-3-Clause
/*
 * What a device is, for a vfio-user client: regions (the six BARs, ROM, configuration space, VGA)
 * and interrupts (INTx, MSI, MSI-X, error, request), with the numbers of Linux' VFIO.
 *
 * Where a reply can be longer than its fixed part, the client says in argsz how much it takes and
 * is told in argsz how much there is; section "Message sizes".
 */
#include <errno.h>
#include <linux/vfio.h>

#include "server/vfio_user.h"

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
    const struct ob_bar *bar = &request->device->function.bars[info->index];
    if (bar->kind == OB_BAR_NONE)
        return;
    info->size = bar->size;
    info->flags = VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE;
    const struct bar_memory *memory = &request->device->bar_memory[info->index];
    if (memory->address) {
        info->flags |= VFIO_REGION_INFO_FLAG_MMAP;
        request->reply_fds[request->num_reply_fds++] = memory->fd;
    }
}

int vfio_user_device_get_region_info(struct vfio_user_request *request)
{
    struct vfio_user_region_info info = {0};
    vfio_user_region_info_get(request->payload, request->len, &info);
    if (info.argsz < VFIO_USER_REGION_INFO_LEN || info.index >= VFIO_PCI_NUM_REGIONS)
        return -EINVAL;
    info = (struct vfio_user_region_info){.argsz = VFIO_USER_REGION_INFO_LEN, .index = info.index};
    if (info.index <= VFIO_PCI_BAR5_REGION_INDEX) {
        describe_bar(request, &info);
    } else if (info.index == VFIO_PCI_CONFIG_REGION_INDEX) {
        info.size = request->device->function.config_len;
        info.flags = VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE;
    }
    uint8_t *at = wr_room(&request->reply, VFIO_USER_REGION_INFO_LEN);
    vfio_user_region_info_put(at, VFIO_USER_REGION_INFO_LEN, &info);
    return 0;
}

int vfio_user_device_get_irq_info(struct vfio_user_request *request)
{
    struct vfio_user_irq_info info = {0};
    vfio_user_irq_info_get(request->payload, request->len, &info);
    if (info.argsz < VFIO_USER_IRQ_INFO_LEN || info.index >= VFIO_PCI_NUM_IRQS)
        return -EINVAL;
    info = (struct vfio_user_irq_info){.argsz = VFIO_USER_IRQ_INFO_LEN, .index = info.index};
    if (info.index == VFIO_PCI_INTX_IRQ_INDEX && request->device->intx.present) {
        info.count = 1;
        info.flags = VFIO_IRQ_INFO_EVENTFD | VFIO_IRQ_INFO_MASKABLE | VFIO_IRQ_INFO_AUTOMASKED;
    }
    uint8_t *at = wr_room(&request->reply, VFIO_USER_IRQ_INFO_LEN);
    vfio_user_irq_info_put(at, VFIO_USER_IRQ_INFO_LEN, &info);
    return 0;
}
