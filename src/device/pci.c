// SPDX-License-Identifier: BSD-3-Clause
#include "device/pci.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/fault_point.h"
#include "base/limits.h"
#include "device/internal.h"

static void free_bar_memory(struct ob_device *device)
{
    for (unsigned i = 0; i < OB_BAR_COUNT; i++) {
        struct bar_memory *memory = &device->pci->bar_memory[i];
        if (memory->address)
            device->host->memory_free(device->host->context, memory->address,
                                      memory->range.offset + memory->range.len, memory->fd);
    }
}

static int make_bar_memory(struct ob_device *device, struct ob_fault *fault)
{
    for (unsigned i = 0; i < OB_BAR_COUNT; i++) {
        const struct ob_bar *bar = &device->pci->function.bars[i];
        if (bar->kind == OB_BAR_NONE || !(bar->flags & OB_BAR_MEMORY))
            continue;
        struct bar_memory *memory = &device->pci->bar_memory[i];
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

int device_pci_new(struct ob_device *device, const struct ob_device_desc *desc,
                   struct ob_fault *fault)
{
    struct device_pci *pci = calloc(1, sizeof(*pci));
    if (!pci)
        return -ENOMEM;
    pci->irqs.intx_mask_fd = pci->irqs.intx_unmask_fd = -1;
    device->pci = pci;
    int err = pci_function_init(&pci->function, desc, fault);
    if (err == 0)
        err = irqs_init(device, desc, fault);
    if (err == 0)
        err = make_bar_memory(device, fault);
    return err < 0 ? err : doorbells_init(device, desc, fault);
}

void device_pci_free(struct ob_device *device)
{
    if (!device->pci)
        return;
    doorbells_done(device);
    free_bar_memory(device);
    irqs_done(device);
    pci_function_done(&device->pci->function);
    free(device->pci);
}

void device_pci_disconnect(struct ob_device *device)
{
    if (!device->pci)
        return;
    doorbells_disconnect(device);
    irqs_disconnect(device);
}

void device_pci_reset(struct ob_device *device)
{
    pci_function_reset(&device->pci->function);
    irqs_reset(device);
}

void *ob_device_bar_memory(const struct ob_device *device, unsigned bar)
{
    if (!device || bar >= OB_BAR_COUNT || !device->pci->bar_memory[bar].address)
        return NULL;
    return device->pci->bar_memory[bar].address + device->pci->bar_memory[bar].range.offset;
}

bool device_bar_has_memory(const struct ob_device *device, unsigned bar, uint64_t offset,
                           size_t len)
{
    const struct bar_memory *memory = &device->pci->bar_memory[bar];
    return memory->address && offset >= memory->range.offset &&
           offset - memory->range.offset <= memory->range.len &&
           len <= memory->range.len - (offset - memory->range.offset);
}

void device_set_pci_ids(struct ob_device *device, uint16_t vendor_id, uint16_t device_id)
{
    pci_function_set_ids(&device->pci->function, vendor_id, device_id);
}

uint16_t ob_device_vendor_id(const struct ob_device *device)
{
    const uint8_t *config = device ? device->pci->function.config : NULL;
    return config ? (uint16_t)(config[0] | config[1] << 8) : 0xffff;
}

int ob_device_add_capability(struct ob_device *device, uint8_t id, const uint8_t *body,
                             const uint8_t *writable, size_t len)
{
    if (!device || !id || (len > 0 && !body))
        return -EINVAL;
    if (device->served)
        return -EBUSY;
    return pci_function_add_capability(&device->pci->function, id, body, writable, len);
}

const struct ob_bar *device_bar(const struct ob_device *device, unsigned bar)
{
    return &device->pci->function.bars[bar];
}

int device_bar_file(const struct ob_device *device, unsigned bar, struct ob_bar_range *ret_range)
{
    const struct bar_memory *memory = &device->pci->bar_memory[bar];
    if (!memory->address)
        return -1;
    *ret_range = memory->range;
    return memory->fd;
}

int device_decode(const struct ob_device *device, bool memory_space, uint64_t address,
                  unsigned size, uint64_t *ret_offset)
{
    return pci_function_decode(&device->pci->function, memory_space, address, size, ret_offset);
}

void device_hide_capability(struct ob_device *device, uint8_t id)
{
    pci_function_hide_capability(&device->pci->function, id);
}

int device_narrow_bars(struct ob_device *device, struct ob_fault *fault)
{
    return pci_function_narrow_bars(&device->pci->function, fault);
}

void device_unfit(struct ob_device *device)
{
    pci_function_unfit(&device->pci->function);
}

uint32_t device_config_len(const struct ob_device *device)
{
    return device->pci->function.config_len;
}

static void accessed(struct ob_device *device, uint32_t offset, unsigned size, bool written)
{
    if (device->pci->config_accessed)
        device->pci->config_accessed(device, offset, size, written);
}

int device_config_read(struct ob_device *device, uint32_t offset, unsigned size,
                       uint32_t *ret_value)
{
    accessed(device, offset, size, false);
    return pci_config_read(&device->pci->function, offset, size, ret_value);
}

/* The value as the guest sees it in an access of this size. */
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
            device, "register access: got %u bytes, expected 1, 2, 4 or 8 (reported once)", size);
        device->told.of_size = true;
    }
    return false;
}

static bool fits(struct ob_device *device, unsigned bar, uint64_t offset, unsigned size)
{
    if (bar >= OB_BAR_COUNT || !device_check_size(device, size))
        return false;
    const struct ob_bar *desc = &device->pci->function.bars[bar];
    return desc->kind != OB_BAR_NONE && offset < desc->size && size <= desc->size - offset;
}

uint64_t device_register_read(struct ob_device *device, unsigned bar, uint64_t offset,
                              unsigned size)
{
    device_wake(device);
    uint64_t value = UINT64_MAX;
    if (device_bar_has_memory(device, bar, offset, size))
        memcpy(&value, device->pci->bar_memory[bar].address + offset, size);
    else if (msix_covers(&device->pci->irqs.msix, bar, offset, size))
        value = msix_read(&device->pci->irqs.msix, offset, size);
    else if (device->ops.read)
        value = device->ops.read(device->state, bar, offset, size);
    fault_point("callback");
    return truncate_to(value, size);
}

void device_register_write(struct ob_device *device, unsigned bar, uint64_t offset, unsigned size,
                           uint64_t value)
{
    device_wake(device);
    if (device_bar_has_memory(device, bar, offset, size))
        memcpy(device->pci->bar_memory[bar].address + offset, &value, size);
    else if (msix_covers(&device->pci->irqs.msix, bar, offset, size))
        msix_write(&device->pci->irqs.msix, offset, size, value);
    else if (device->ops.write)
        device->ops.write(device->state, bar, offset, size, truncate_to(value, size));
    fault_point("callback");
}

uint64_t device_bar_read(struct ob_device *device, unsigned bar, uint64_t offset, unsigned size)
{
    return fits(device, bar, offset, size) ? device_register_read(device, bar, offset, size)
                                           : UINT64_MAX;
}

void device_bar_write(struct ob_device *device, unsigned bar, uint64_t offset, unsigned size,
                      uint64_t value)
{
    if (fits(device, bar, offset, size))
        device_register_write(device, bar, offset, size, value);
}

int device_space_read(struct ob_device *device, bool memory_space, uint64_t address, unsigned size,
                      uint64_t *ret_value)
{
    uint64_t offset;
    int bar = device_check_size(device, size)
                  ? device_decode(device, memory_space, address, size, &offset)
                  : -ENXIO;
    if (bar < 0)
        return bar;
    *ret_value = device_register_read(device, (unsigned)bar, offset, size);
    return 0;
}

int device_space_write(struct ob_device *device, bool memory_space, uint64_t address, unsigned size,
                       uint64_t value)
{
    uint64_t offset;
    int bar = device_check_size(device, size)
                  ? device_decode(device, memory_space, address, size, &offset)
                  : -ENXIO;
    if (bar < 0)
        return bar;
    device_register_write(device, (unsigned)bar, offset, size, value);
    return 0;
}

int device_config_write(struct ob_device *device, uint32_t offset, unsigned size, uint32_t value)
{
    bool was_disabled = pci_function_intx_disabled(&device->pci->function);
    int err = pci_config_write(&device->pci->function, offset, size, value);
    irqs_config_changed(device, was_disabled);
    accessed(device, offset, size, true);
    return err;
}
