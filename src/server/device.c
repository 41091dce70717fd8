// SPDX-License-Identifier: BSD-3-Clause
#include "server/device.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <outboard/dma.h>
#include <outboard/irq.h>

#include "base/limits.h"

static void free_bar_memory(struct ob_device *device)
{
    for (unsigned i = 0; i < OB_BAR_COUNT; i++) {
        struct bar_memory *memory = &device->bar_memory[i];
        if (memory->address)
            device->host->memory_free(device->host->context, memory->address,
                                      device->function.bars[i].size, memory->fd);
    }
}

static int make_bar_memory(struct ob_device *device, struct ob_fault *fault)
{
    for (unsigned i = 0; i < OB_BAR_COUNT; i++) {
        const struct ob_bar *bar = &device->function.bars[i];
        if (bar->kind == OB_BAR_NONE || !(bar->flags & OB_BAR_MEMORY))
            continue;
        struct bar_memory *memory = &device->bar_memory[i];
        int err = device->host->memory_new(device->host->context, bar->size, &memory->address,
                                           &memory->fd);
        if (err < 0)
            return ob_fault_set(fault, err, "%s: no memory for BAR %u of %" PRIu64 " bytes: %s",
                                device->name, i, bar->size, strerror(-err));
    }
    return 0;
}

int device_new(const struct ob_device_desc *desc, const struct ob_device_ops *ops, void *state,
               const struct server_host *host, struct ob_device **ret_device,
               struct ob_fault *fault)
{
    struct ob_device *device = calloc(1, sizeof(*device));
    if (!device)
        return ob_fault_set(fault, -ENOMEM, "%s: no memory for the device", desc->name);
    *device = (struct ob_device){
        .ops = *ops,
        .state = state,
        .host = host,
        .name = strdup(desc->name),
        .intx = {.present = desc->intx, .trigger_fd = -1, .resample_fd = -1},
    };
    memory_init(&device->memory, host->memory);
    int err = device->name ? pci_function_init(&device->function, desc, fault) : -ENOMEM;
    if (err == 0)
        err = make_bar_memory(device, fault);
    if (err < 0) {
        device_free(device);
        return ob_fault_set(fault, err, "%s: no memory for the device", desc->name);
    }
    *ret_device = device;
    return 0;
}

void device_free(struct ob_device *device)
{
    if (!device)
        return;
    device_disconnect(device);
    free_bar_memory(device);
    pci_function_done(&device->function);
    free(device->name);
    free(device);
}

void *ob_device_bar_memory(const struct ob_device *device, unsigned bar)
{
    return bar < OB_BAR_COUNT ? device->bar_memory[bar].address : NULL;
}

int ob_device_add_capability(struct ob_device *device, uint8_t id, const uint8_t *body,
                             const uint8_t *writable, size_t len)
{
    return pci_function_add_capability(&device->function, id, body, writable, len);
}

/* The value as the guest sees it in so many bytes. */
static uint64_t truncate_to(uint64_t value, unsigned size)
{
    return size < 8 ? value & ((UINT64_C(1) << (8 * size)) - 1) : value;
}

bool device_check_size(struct ob_device *device, unsigned size)
{
    if (size > 0 && size <= LIMIT_ACCESS_BYTES && !(size & (size - 1)))
        return true;
    if (!device->warned_of_size) {
        char sentence[OB_FAULT_TEXT_LEN];
        snprintf(sentence, sizeof(sentence),
                 "%s: refused an access of %u bytes; registers have 1, 2, 4 or 8 (said once)",
                 device->name, size);
        device->host->warn(device->host->context, sentence);
        device->warned_of_size = true;
    }
    return false;
}

static bool fits(struct ob_device *device, unsigned bar, uint64_t offset, unsigned size)
{
    if (bar >= OB_BAR_COUNT || !device_check_size(device, size))
        return false;
    const struct ob_bar *desc = &device->function.bars[bar];
    return desc->kind != OB_BAR_NONE && offset < desc->size && size <= desc->size - offset;
}

uint64_t device_bar_read(struct ob_device *device, unsigned bar, uint64_t offset, unsigned size)
{
    if (!fits(device, bar, offset, size))
        return UINT64_MAX;
    uint64_t value = UINT64_MAX;
    if (device->bar_memory[bar].address)
        memcpy(&value, device->bar_memory[bar].address + offset, size);
    else if (device->ops.read)
        value = device->ops.read(device->state, bar, offset, size);
    return truncate_to(value, size);
}

void device_bar_write(struct ob_device *device, unsigned bar, uint64_t offset, unsigned size,
                      uint64_t value)
{
    if (!fits(device, bar, offset, size))
        return;
    if (device->bar_memory[bar].address)
        memcpy(device->bar_memory[bar].address + offset, &value, size);
    else if (device->ops.write)
        device->ops.write(device->state, bar, offset, size, truncate_to(value, size));
}

/* Tells the VMM that the level is up, if it is and the guest lets it through. */
static void signal_intx(struct ob_device *device)
{
    struct device_intx *intx = &device->intx;
    if (intx->raised && intx->trigger_fd >= 0 && !pci_function_intx_disabled(&device->function))
        device->host->event_signal(device->host->context, intx->trigger_fd);
}

/* The guest has ended an interrupt: KVM has lowered the line and asks whether it is still up. */
static void resampled(void *argument)
{
    signal_intx(argument);
}

void ob_irq_raise(struct ob_device *device)
{
    if (!device->intx.present || device->intx.raised)
        return;
    device->intx.raised = true;
    pci_function_set_interrupt_status(&device->function, true);
    signal_intx(device);
}

void ob_irq_lower(struct ob_device *device)
{
    device->intx.raised = false;
    pci_function_set_interrupt_status(&device->function, false);
}

static void drop_intx(struct ob_device *device)
{
    const struct server_host *host = device->host;
    struct device_intx *intx = &device->intx;
    if (intx->resample_fd >= 0) {
        host->event_unwatch(host->context, intx->resample_fd);
        host->close(host->context, intx->resample_fd);
    }
    if (intx->trigger_fd >= 0)
        host->close(host->context, intx->trigger_fd);
    intx->trigger_fd = intx->resample_fd = -1;
}

int device_set_intx(struct ob_device *device, int trigger_fd, int resample_fd)
{
    const struct server_host *host = device->host;
    int err = trigger_fd >= 0 ? host->event_check(host->context, trigger_fd) : 0;
    if (err == 0 && resample_fd >= 0)
        err = host->event_check(host->context, resample_fd);
    if (err == 0 && resample_fd >= 0)
        err = host->event_watch(host->context, resample_fd, resampled, device);
    if (err < 0)
        return err;
    drop_intx(device);
    device->intx.trigger_fd = trigger_fd;
    device->intx.resample_fd = resample_fd;
    signal_intx(device);
    return 0;
}

int device_config_write(struct ob_device *device, uint32_t offset, unsigned size, uint32_t value)
{
    bool was_disabled = pci_function_intx_disabled(&device->function);
    int err = pci_config_write(&device->function, offset, size, value);
    if (was_disabled && !pci_function_intx_disabled(&device->function))
        signal_intx(device);
    return err;
}

void device_reset(struct ob_device *device)
{
    ob_irq_lower(device);
    pci_function_reset(&device->function);
    if (device->ops.reset)
        device->ops.reset(device->state);
}

void device_disconnect(struct ob_device *device)
{
    drop_intx(device);
    memory_done(&device->memory);
}

static int check_mastering(const struct ob_device *device)
{
    return pci_function_may_master(&device->function) ? 0 : -EPERM;
}

int ob_dma_read(struct ob_device *device, uint64_t iova, void *ret_buf, size_t len)
{
    int err = check_mastering(device);
    return err < 0 ? err : memory_read(&device->memory, iova, ret_buf, len);
}

int ob_dma_write(struct ob_device *device, uint64_t iova, const void *buf, size_t len)
{
    int err = check_mastering(device);
    return err < 0 ? err : memory_write(&device->memory, iova, buf, len);
}

int ob_dma_map(struct ob_device *device, uint64_t iova, size_t len, enum ob_dma_direction direction,
               struct ob_dma_span *ret_spans, unsigned max_spans)
{
    int err = check_mastering(device);
    return err < 0 ? err
                   : memory_map(&device->memory, iova, len, direction == OB_DMA_FROM_DEVICE,
                                ret_spans, max_spans);
}

void ob_dma_unmap(struct ob_device *device, struct ob_dma_span *spans, unsigned num_spans)
{
    memory_unmap(&device->memory, spans, num_spans);
}

bool ob_dma_is_current(const struct ob_device *device, const struct ob_dma_span *span)
{
    return span->region->current;
}
