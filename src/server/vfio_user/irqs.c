// SPDX-License-Identifier: BSD-3-Clause
/*
 * DEVICE_SET_IRQS: the kind of data, the action, and the vectors; section
 * "VFIO_USER_DEVICE_SET_IRQS".
 *
 *              no data              booleans             eventfds
 *   mask       mask all named       mask the true ones   INTx: mask whenever signalled
 *   unmask     unmask all named     unmask the true ones INTx: unmask whenever signalled
 *   trigger    signal all named     signal the true ones signal these from now on
 *
 * Eventfds that are asked for and do not come take those away that were there. Trigger without data
 * and without vectors takes all of the kind away.
 */
#include <errno.h>
#include <linux/vfio.h>

#include "device/irq.h"
#include "server/vfio_user/vfio_user.h"

#define DATA_FLAGS (VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_DATA_BOOL | VFIO_IRQ_SET_DATA_EVENTFD)
#define ACTION_FLAGS                                                                               \
    (VFIO_IRQ_SET_ACTION_MASK | VFIO_IRQ_SET_ACTION_UNMASK | VFIO_IRQ_SET_ACTION_TRIGGER)

static bool is_one_bit(uint32_t flags)
{
    return flags && !(flags & (flags - 1));
}

static int check(const struct vfio_user_request *request, const struct vfio_user_irq_set *set)
{
    const size_t data_len = request->len - VFIO_USER_IRQ_SET_LEN;
    const unsigned fds = request->fds->count;
    if (set->argsz < VFIO_USER_IRQ_SET_LEN || set->index >= IRQ_KIND_COUNT ||
        set->flags & ~(uint32_t)(DATA_FLAGS | ACTION_FLAGS) ||
        !is_one_bit(set->flags & DATA_FLAGS) || !is_one_bit(set->flags & ACTION_FLAGS))
        return -EINVAL;
    unsigned present = irq_count(request->device, (enum irq_kind)set->index);
    if (set->start > present || set->count > present - set->start)
        return -EINVAL;
    if (data_len != ((set->flags & VFIO_IRQ_SET_DATA_BOOL) ? set->count : 0))
        return -EINVAL;
    return fds == 0 || (set->flags & VFIO_IRQ_SET_DATA_EVENTFD && fds == set->count) ? 0 : -EINVAL;
}

static int act_on_each(struct vfio_user_request *request, const struct vfio_user_irq_set *set)
{
    const uint8_t *wanted =
        (set->flags & VFIO_IRQ_SET_DATA_BOOL) ? request->payload + VFIO_USER_IRQ_SET_LEN : NULL;
    void (*act)(struct ob_device * device, enum irq_kind kind, unsigned vector) = irq_trigger;
    if (set->flags & VFIO_IRQ_SET_ACTION_MASK)
        act = irq_mask;
    else if (set->flags & VFIO_IRQ_SET_ACTION_UNMASK)
        act = irq_unmask;
    for (uint32_t i = 0; i < set->count; i++)
        if (!wanted || wanted[i])
            act(request->device, (enum irq_kind)set->index, set->start + i);
    return 0;
}

/* Says that descriptors are somebody else's now. */
static int taken(struct vfio_user_request *request, int err)
{
    for (unsigned i = 0; err == 0 && i < request->fds->count; i++)
        request->fds->fd[i] = -1;
    return err;
}

static int use_eventfds(struct vfio_user_request *request, const struct vfio_user_irq_set *set)
{
    const int *fds = request->fds->count > 0 ? request->fds->fd : NULL;
    if (set->count == 0)
        return -EINVAL;
    if (set->flags & VFIO_IRQ_SET_ACTION_TRIGGER)
        return taken(request, irq_assign(request->device, (enum irq_kind)set->index, set->start,
                                         set->count, fds));
    if (set->index != VFIO_PCI_INTX_IRQ_INDEX)
        return -EINVAL;
    int fd = fds ? fds[0] : -1;
    return taken(request, (set->flags & VFIO_IRQ_SET_ACTION_MASK)
                              ? irq_mask_by(request->device, fd)
                              : irq_unmask_by(request->device, fd));
}

static int disable(struct ob_device *device, enum irq_kind kind)
{
    if (kind == IRQ_INTX) {
        irq_mask_by(device, -1);
        irq_unmask_by(device, -1);
    }
    return irq_assign(device, kind, 0, irq_count(device, kind), NULL);
}

int vfio_user_device_set_irqs(struct vfio_user_request *request)
{
    struct vfio_user_irq_set set = {0};
    vfio_user_irq_set_get(request->payload, VFIO_USER_IRQ_SET_LEN, &set);
    int err = check(request, &set);
    if (err < 0)
        return err;
    if (set.flags & VFIO_IRQ_SET_DATA_EVENTFD)
        return use_eventfds(request, &set);
    if (set.start == 0 && set.count == 0)
        return set.flags == (VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER)
                   ? disable(request->device, (enum irq_kind)set.index)
                   : -EINVAL;
    return act_on_each(request, &set);
}
