// SPDX-License-Identifier: BSD-3-Clause
#include "device/device.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "device/description.h"

static void free_bar_memory(struct ob_device *device)
{
    for (unsigned i = 0; i < OB_BAR_COUNT; i++) {
        struct bar_memory *memory = &device->bar_memory[i];
        if (memory->address)
            device->host->memory_free(device->host->context, memory->address,
                                      memory->range.offset + memory->range.len, memory->fd);
    }
}

static int make_bar_memory(struct ob_device *device, struct ob_fault *fault)
{
    for (unsigned i = 0; i < OB_BAR_COUNT; i++) {
        const struct ob_bar *bar = &device->function.bars[i];
        if (bar->kind == OB_BAR_NONE || !(bar->flags & OB_BAR_MEMORY))
            continue;
        struct bar_memory *memory = &device->bar_memory[i];
        memory->range = bar->memory.len ? bar->memory : (struct ob_bar_range){.len = bar->size};
        int err = device->host->memory_new(device->host->context,
                                           memory->range.offset + memory->range.len,
                                           &memory->address, &memory->fd);
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
    int err = description_check(desc, ops, fault);
    if (err < 0)
        return err;
    struct ob_device *device = calloc(1, sizeof(*device));
    if (!device)
        return ob_fault_set(fault, -ENOMEM, "%s: no memory for the device", desc->name);
    *device = (struct ob_device){
        .ops = *ops,
        .state = state,
        .host = host,
        .state_len = desc->state_len,
        .state_version = desc->state_version,
        .irqs = {.intx_mask_fd = -1, .intx_unmask_fd = -1},
        .name = strdup(desc->name),
    };
    list_init(&device->endings);
    memory_init(&device->memory, host->memory);
    if (ops->quiesce)
        memory_on_leaving(&device->memory, ops->quiesce, state);
    err = device->name ? pci_function_init(&device->function, desc, fault) : -ENOMEM;
    if (err == 0)
        err = irqs_init(device, desc, fault);
    if (err == 0)
        err = make_bar_memory(device, fault);
    if (err == 0)
        err = doorbells_init(device, desc, fault);
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
    while (!list_empty(&device->endings)) {
        struct device_ending *ending =
            list_entry(list_take(&device->endings), struct device_ending, link);
        ending->ended(ending);
    }
    device_disconnect(device);
    doorbells_done(device);
    free_bar_memory(device);
    irqs_done(device);
    pci_function_done(&device->function);
    free(device->name);
    free(device);
}

void device_tell_of_end(struct ob_device *device, struct device_ending *ending,
                        void (*ended)(struct device_ending *ending))
{
    ending->ended = ended;
    list_append(&device->endings, &ending->link);
}

void device_forget_ending(struct device_ending *ending)
{
    list_remove(&ending->link);
}

void *ob_device_bar_memory(const struct ob_device *device, unsigned bar)
{
    if (!device || bar >= OB_BAR_COUNT || !device->bar_memory[bar].address)
        return NULL;
    return device->bar_memory[bar].address + device->bar_memory[bar].range.offset;
}

bool device_bar_has_memory(const struct ob_device *device, unsigned bar, uint64_t offset,
                           size_t len)
{
    const struct bar_memory *memory = &device->bar_memory[bar];
    return memory->address && offset >= memory->range.offset &&
           offset - memory->range.offset <= memory->range.len &&
           len <= memory->range.len - (offset - memory->range.offset);
}

int ob_device_add_capability(struct ob_device *device, uint8_t id, const uint8_t *body,
                             const uint8_t *writable, size_t len)
{
    if (!device || !id || (len > 0 && !body))
        return -EINVAL;
    if (device->served)
        return -EBUSY;
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
    if (!device->told.of_size) {
        ob_device_warn(
            device, "refused an access of %u bytes; registers have 1, 2, 4 or 8 (said once)", size);
        device->told.of_size = true;
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
    device_wake(device);
    uint64_t value = UINT64_MAX;
    if (device_bar_has_memory(device, bar, offset, size))
        memcpy(&value, device->bar_memory[bar].address + offset, size);
    else if (msix_covers(&device->irqs.msix, bar, offset, size))
        value = msix_read(&device->irqs.msix, offset, size);
    else if (device->ops.read)
        value = device->ops.read(device->state, bar, offset, size);
    return truncate_to(value, size);
}

void device_bar_write(struct ob_device *device, unsigned bar, uint64_t offset, unsigned size,
                      uint64_t value)
{
    if (!fits(device, bar, offset, size))
        return;
    device_wake(device);
    if (device_bar_has_memory(device, bar, offset, size))
        memcpy(device->bar_memory[bar].address + offset, &value, size);
    else if (msix_covers(&device->irqs.msix, bar, offset, size))
        msix_write(&device->irqs.msix, offset, size, value);
    else if (device->ops.write)
        device->ops.write(device->state, bar, offset, size, truncate_to(value, size));
}

int device_config_write(struct ob_device *device, uint32_t offset, unsigned size, uint32_t value)
{
    bool was_disabled = pci_function_intx_disabled(&device->function);
    int err = pci_config_write(&device->function, offset, size, value);
    irqs_config_changed(device, was_disabled);
    return err;
}

void device_reset(struct ob_device *device)
{
    if (device->messenger)
        device->messenger->cancel_all(device->messenger->context, -ECANCELED);
    pci_function_reset(&device->function);
    irqs_reset(device);
    if (device->ops.reset)
        device->ops.reset(device->state);
    device_wake(device);
}

int device_at_rest(struct ob_device *device, struct ob_fault *fault)
{
    return device->ops.at_rest ? device->ops.at_rest(device->state, fault) : 1;
}

int ob_device_watch(struct ob_device *device, int fd, unsigned events, ob_watch_fn ready,
                    void *argument)
{
    const unsigned known = OB_WATCH_READABLE | OB_WATCH_WRITABLE;
    if (!device || !ready || !events || events & ~known)
        return -EINVAL;
    if (fd < 0)
        return -EBADF;
    return device->host->watch(device->host->context, fd, events, ready, argument);
}

void ob_device_unwatch(struct ob_device *device, int fd)
{
    if (device && fd >= 0)
        device->host->unwatch(device->host->context, fd);
}

void ob_device_warn(struct ob_device *device, const char *format, ...)
{
    char sentence[OB_FAULT_TEXT_LEN];
    va_list args;
    if (!device || !format)
        return;
    va_start(args, format);
    vsnprintf(sentence, sizeof(sentence), format, args);
    va_end(args);
    device->host->warn(device->host->context, format, sentence);
}

void device_disconnect(struct ob_device *device)
{
    if (device->ops.quiesce)
        device->ops.quiesce(device->state);
    device->dormant = true;
    irqs_disconnect(device);
    memory_done(&device->memory);
    device->told = (struct device_told){0};
    if (device->ops.disconnected)
        device->ops.disconnected(device->state);
}
