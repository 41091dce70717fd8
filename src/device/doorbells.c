// SPDX-License-Identifier: BSD-3-Clause
#include "device/doorbells.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "device/device_vault.h"
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
        return ob_fault_set(fault, -EINVAL, "%s: doorbell at 0x%" PRIx64 ": outside of BAR %u",
                            device->name, doorbell->offset, doorbell->bar);
    if (size > 8 || size & (size - 1) || doorbell->number >= OB_DOORBELL_NUMBERS)
        return ob_fault_set(
            fault, -EINVAL,
            "%s: doorbell at 0x%" PRIx64
            ": got %u bytes, expected 0, 1, 2, 4 or 8; got number %u, expected less than %u",
            device->name, doorbell->offset, size, doorbell->number, OB_DOORBELL_NUMBERS);
    return 0;
}

/* One line for each number up to the highest that is used. */
static int make_lines(struct ob_device *device)
{
    struct doorbells *doorbells = &device->pci->doorbells;
    for (unsigned i = 0; i < doorbells->count; i++)
        if (doorbells->list[i].number >= doorbells->num_lines)
            doorbells->num_lines = doorbells->list[i].number + 1;
    doorbells->lines = calloc(doorbells->num_lines, sizeof(doorbells->lines[0]));
    if (!doorbells->lines)
        return -ENOMEM;
    for (unsigned i = 0; i < doorbells->num_lines; i++)
        doorbells->lines[i] = (struct doorbell_line){.device = device, .fd = -1};
    return 0;
}

int doorbells_init(struct ob_device *device, const struct ob_device_desc *desc,
                   struct ob_fault *fault)
{
    struct doorbells *doorbells = &device->pci->doorbells;
    if (desc->num_doorbells > OB_DOORBELLS)
        return ob_fault_set(fault, -EINVAL, "%s: got %u doorbells, expected at most %u", desc->name,
                            desc->num_doorbells, OB_DOORBELLS);
    if (desc->num_doorbells == 0)
        return 0;
    doorbells->list = calloc(desc->num_doorbells, sizeof(doorbells->list[0]));
    int err = doorbells->list ? 0 : -ENOMEM;
    for (unsigned i = 0; err == 0 && i < desc->num_doorbells; i++) {
        err = check(device, &desc->doorbells[i], fault);
        if (err == 0)
            doorbells->list[doorbells->count++] = desc->doorbells[i];
    }
    if (err == 0)
        err = make_lines(device);
    return err < 0 ? ob_fault_set(fault, err, "%s: no memory for its doorbells", desc->name) : 0;
}

const struct ob_doorbell *doorbells_list(const struct ob_device *device, unsigned *ret_count)
{
    *ret_count = device->pci->doorbells.count;
    return device->pci->doorbells.list;
}

void doorbells_done(struct ob_device *device)
{
    struct doorbells *doorbells = &device->pci->doorbells;
    free(doorbells->lines);
    free(doorbells->list);
}

static void rung(void *argument)
{
    struct doorbell_line *line = argument;
    struct ob_device *device = line->device;
    unsigned number = (unsigned)(line - device->pci->doorbells.lines);
    if (trace_is_on(device->traces))
        trace_say(device, "doorbell %u rings", number);
    device_wake(device);
    if (device->ops.doorbell)
        device->ops.doorbell(device->state, number);
}

/* Watches an eventfd by which the number is rung. */
static int use(struct ob_device *device, unsigned number, int fd)
{
    const struct server_host *host = device->host;
    struct doorbell_line *line = &device->pci->doorbells.lines[number];
    int err = host->event_watch(host->context, fd, rung, line);
    if (err == 0) {
        line->fd = fd;
        device_keep(device, VAULT_DOORBELL, number, 0, fd);
    }
    return err;
}

int doorbells_resume(struct ob_device *device, uint64_t number, int fd)
{
    const struct server_host *host = device->host;
    if (number >= device->pci->doorbells.num_lines || device->pci->doorbells.lines[number].fd >= 0)
        return -EINVAL;
    int err = host->event_check(host->context, fd);
    return err < 0 ? err : use(device, (unsigned)number, fd);
}

void doorbells_ring_all(struct ob_device *device)
{
    struct doorbells *doorbells = &device->pci->doorbells;
    for (unsigned i = 0; i < doorbells->num_lines; i++)
        if (doorbells->lines[i].fd >= 0)
            rung(&doorbells->lines[i]);
}

int doorbells_fd(struct ob_device *device, unsigned number)
{
    const struct server_host *host = device->host;
    int fd = device->pci->doorbells.lines[number].fd;
    if (fd >= 0)
        return fd;
    int err = host->event_new(host->context, &fd);
    if (err < 0)
        return err;
    err = use(device, number, fd);
    if (err < 0)
        host->close(host->context, fd);
    return err < 0 ? err : fd;
}

void doorbells_disconnect(struct ob_device *device)
{
    const struct server_host *host = device->host;
    struct doorbells *doorbells = &device->pci->doorbells;
    for (unsigned i = 0; doorbells->lines && i < doorbells->num_lines; i++) {
        struct doorbell_line *line = &doorbells->lines[i];
        if (line->fd < 0)
            continue;
        host->event_unwatch(host->context, line->fd);
        device_let_go(device, line->fd);
        device_keep(device, VAULT_DOORBELL, i, 0, -1);
        line->fd = -1;
    }
}
