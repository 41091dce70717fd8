// SPDX-License-Identifier: BSD-3-Clause
#include "device/doorbells.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "device/internal.h"
#include "device/trace.h"

static uint64_t bar_size(const struct ob_device *device, unsigned bar)
{
    const struct ob_bar *bars = device->pci->function.bars;
    return bar < OB_BAR_COUNT && bars[bar].kind != OB_BAR_NONE ? bars[bar].size : 0;
}

static int check(const struct ob_device *device, const struct ob_doorbell *doorbell,
                 struct ob_fault *fault)
{
    unsigned size = doorbell->size;
    uint64_t room = bar_size(device, doorbell->bar);
    if (doorbell->offset >= room || size > room - doorbell->offset)
        return ob_fault_set(fault, -EINVAL, "%s: a doorbell at 0x%" PRIx64 " is outside of BAR %u",
                            device->name, doorbell->offset, doorbell->bar);
    if (size > 8 || size & (size - 1) || doorbell->number >= OB_DOORBELL_NUMBERS)
        return ob_fault_set(fault, -EINVAL,
                            "%s: the doorbell at 0x%" PRIx64 " has %u bytes (0, 1, 2, 4 or 8) and "
                            "number %u (below %u)",
                            device->name, doorbell->offset, size, doorbell->number,
                            OB_DOORBELL_NUMBERS);
    return 0;
}

static int add(struct ob_device *device, const struct ob_doorbell *doorbell)
{
    struct doorbell_line *line = &device->pci->doorbells.lines[doorbell->number];
    device->pci->doorbells.list[device->pci->doorbells.count++] = *doorbell;
    return line->fd >= 0 ? 0 : device->host->event_new(device->host->context, &line->fd);
}

int doorbells_init(struct ob_device *device, const struct ob_device_desc *desc,
                   struct ob_fault *fault)
{
    struct doorbells *doorbells = &device->pci->doorbells;
    for (unsigned i = 0; i < OB_DOORBELL_NUMBERS; i++)
        doorbells->lines[i] = (struct doorbell_line){.device = device, .fd = -1};
    if (desc->num_doorbells > OB_DOORBELLS)
        return ob_fault_set(fault, -EINVAL, "%s: %u doorbells, more than %u", desc->name,
                            desc->num_doorbells, OB_DOORBELLS);
    if (desc->num_doorbells == 0)
        return 0;
    doorbells->list = calloc(desc->num_doorbells, sizeof(doorbells->list[0]));
    int err = doorbells->list ? 0 : -ENOMEM;
    for (unsigned i = 0; err == 0 && i < desc->num_doorbells; i++) {
        err = check(device, &desc->doorbells[i], fault);
        if (err == 0)
            err = add(device, &desc->doorbells[i]);
    }
    return err < 0 ? ob_fault_set(fault, err, "%s: no eventfds for its doorbells", desc->name) : 0;
}

const struct ob_doorbell *doorbells_list(const struct ob_device *device, unsigned *ret_count)
{
    *ret_count = device->pci->doorbells.count;
    return device->pci->doorbells.list;
}

int doorbells_fd(const struct ob_device *device, unsigned number)
{
    return device->pci->doorbells.lines[number].fd;
}

void doorbells_done(struct ob_device *device)
{
    struct doorbells *doorbells = &device->pci->doorbells;
    for (unsigned i = 0; doorbells->list && i < OB_DOORBELL_NUMBERS; i++)
        if (doorbells->lines[i].fd >= 0)
            device->host->close(device->host->context, doorbells->lines[i].fd);
    free(doorbells->list);
}

static void rung(void *argument)
{
    struct doorbell_line *line = argument;
    struct ob_device *device = line->device;
    if (trace_is_on(device->traces))
        trace_say(device, "doorbell %u rings", (unsigned)(line - device->pci->doorbells.lines));
    device_wake(device);
    if (device->ops.doorbell)
        device->ops.doorbell(device->state, (unsigned)(line - device->pci->doorbells.lines));
}

/* Ends watching the first so many lines. */
static void unwatch(struct ob_device *device, unsigned count)
{
    const struct server_host *host = device->host;
    for (unsigned i = 0; i < count; i++)
        if (device->pci->doorbells.lines[i].fd >= 0)
            host->event_unwatch(host->context, device->pci->doorbells.lines[i].fd);
}

/* Replaces an eventfd that a peer before may still have. */
static int renew(const struct server_host *host, struct doorbell_line *line)
{
    int fd;
    if (!line->used) {
        line->used = true;
        return 0;
    }
    int err = host->event_new(host->context, &fd);
    if (err < 0)
        return err;
    host->close(host->context, line->fd);
    line->fd = fd;
    return 0;
}

int doorbells_watch(struct ob_device *device)
{
    const struct server_host *host = device->host;
    for (unsigned i = 0; i < OB_DOORBELL_NUMBERS; i++) {
        struct doorbell_line *line = &device->pci->doorbells.lines[i];
        int err = line->fd >= 0 ? renew(host, line) : 0;
        if (err == 0 && line->fd >= 0)
            err = host->event_watch(host->context, line->fd, rung, line);
        if (err < 0) {
            unwatch(device, i);
            return err;
        }
    }
    return 0;
}

void doorbells_unwatch(struct ob_device *device)
{
    unwatch(device, OB_DOORBELL_NUMBERS);
}
