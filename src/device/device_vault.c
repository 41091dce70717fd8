// SPDX-License-Identifier: BSD-3-Clause
#include "device/device_vault.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <outboard/irq.h>

#include "base/auto.h"
#include "base/fault_point.h"
#include "device/internal.h"

/* The library's flags, as they lie in the vault. */
struct flags {
    uint8_t dormant, stopped, intx_raised;
};

#define MASKS (IRQ_KIND_COUNT + 2u * IRQ_MAX_VECTORS)

struct vault *device_vault(const struct ob_device *device)
{
    return device->vault;
}

/* The masks of all vectors, one byte each. Returns how many there are. */
static unsigned collect_masks(const struct ob_device *device, uint8_t *ret_masks)
{
    const struct device_irqs *irqs = &device->pci->irqs;
    unsigned count = 0;
    for (unsigned kind = 0; kind < IRQ_KIND_COUNT; kind++)
        for (unsigned i = 0; i < irqs->count[kind]; i++)
            ret_masks[count++] = irqs->vectors[kind][i].masked;
    return count;
}

void device_vault_put(struct ob_device *device)
{
    struct vault *vault = device->vault;
    const struct device_pci *pci = device->pci;
    const struct flags flags = {device->dormant, device->stopped, pci->irqs.intx_raised};
    uint8_t masks[MASKS];
    vault_put(vault, VAULT_PART_DEVICE, &flags, sizeof(flags), 0);
    vault_put(vault, VAULT_PART_CONFIG, pci->function.config, pci->function.config_len, 0);
    vault_put(vault, VAULT_PART_MASKS, masks, collect_masks(device, masks), 0);
    vault_put(vault, VAULT_PART_MSIX, pci->irqs.msix.bytes, pci->irqs.msix.len, 0);
    if (!device->kept.save)
        vault_put(vault, VAULT_PART_STATE, device->kept.bytes, device->kept.len,
                  device->kept.version);
}

void device_vault_save(struct ob_device *device)
{
    const struct ob_vault_state *kept = &device->kept;
    int len = kept->save ? kept->save(device->state, kept->bytes) : -1;
    if (len >= 0 && (size_t)len <= kept->len)
        vault_put(device->vault, VAULT_PART_STATE, kept->bytes, (size_t)len, kept->version);
}

int ob_vault_commit(struct ob_device *device)
{
    if (!device || !device->vault)
        return 0;
    if (device->vault->in_message)
        return -EBUSY;
    device_vault_put(device);
    device_vault_save(device);
    vault_commit(device->vault);
    fault_point("committed");
    device->vault->shared->progress++;
    return 0;
}

bool ob_vault_begin_effect(struct ob_device *device)
{
    struct vault *vault = device ? device->vault : NULL;
    return vault && vault->in_message && vault_begin_effect(vault);
}

int device_use_vault(struct ob_device *device, struct vault *vault, struct ob_fault *fault)
{
    if (!device->kept.bytes)
        return ob_fault_set(fault, -EINVAL,
                            "%s: got on-death = \"restart\", but the program does not name its "
                            "state (ob_vault_keep()); use on-death = \"fail\"",
                            device->name);
    device->vault = vault;
    for (unsigned i = 0; i < OB_BAR_COUNT; i++)
        if (device->pci->bar_memory[i].address)
            device_keep(device, VAULT_BAR, i, 0, device->pci->bar_memory[i].fd);
    device_keep_files(device);
    device_vault_put(device);
    device_vault_save(device);
    vault_commit(vault);
    return 0;
}

static int refuse(const char *part, struct ob_fault *fault)
{
    return ob_fault_set(fault, -EINVAL, "the vault: got %s that this device can't have", part);
}

/* A part of exactly this length, or NULL. */
static const uint8_t *take(const struct vault *vault, enum vault_part part, size_t len,
                           uint32_t version)
{
    const struct vault_copy *copy = vault_get(vault, part);
    return copy && copy->len == len && copy->version == version ? copy->bytes : NULL;
}

static int resume_flags(struct ob_device *device, struct vault *vault, struct ob_fault *fault)
{
    struct flags flags;
    const uint8_t *bytes = take(vault, VAULT_PART_DEVICE, sizeof(flags), 0);
    if (!bytes)
        return refuse("flags", fault);
    memcpy(&flags, bytes, sizeof(flags));
    if (flags.dormant > 1 || flags.stopped > 1 || flags.intx_raised > 1 ||
        (flags.intx_raised && device->pci->irqs.count[IRQ_INTX] == 0))
        return refuse("flags", fault);
    device->dormant = true; /* nothing is signalled until all is there */
    if (flags.intx_raised)
        ob_irq_raise(device);
    device->stopped = flags.stopped;
    return 0;
}

static int resume_registers(struct ob_device *device, struct vault *vault, struct ob_fault *fault)
{
    struct device_pci *pci = device->pci;
    uint8_t masks[MASKS];
    unsigned count = collect_masks(device, masks), next = 0;
    const uint8_t *config = take(vault, VAULT_PART_CONFIG, pci->function.config_len, 0);
    const uint8_t *masked = take(vault, VAULT_PART_MASKS, count, 0);
    const uint8_t *msix = take(vault, VAULT_PART_MSIX, pci->irqs.msix.len, 0);
    if (!config || pci_function_restore(&pci->function, config) < 0)
        return refuse("a configuration space", fault);
    if (!masked || !msix)
        return refuse("interrupts", fault);
    for (unsigned kind = 0; kind < IRQ_KIND_COUNT; kind++)
        for (unsigned i = 0; i < pci->irqs.count[kind]; i++)
            pci->irqs.vectors[kind][i].masked = masked[next++];
    if (pci->irqs.msix.len > 0)
        memcpy(pci->irqs.msix.bytes, msix, pci->irqs.msix.len);
    return 0;
}

static int resume_memory(struct ob_device *device, const struct vault *vault,
                         struct ob_fault *fault)
{
    AUTO_FREE struct memory_region_desc *descs = calloc(vault->used + 1, sizeof(*descs));
    unsigned count = 0;
    if (!descs)
        return ob_fault_set(fault, -ENOMEM, "no memory for the memory table");
    count = device_kept_memory(vault, VAULT_MEMORY, descs, vault->used);
    return memory_replace(&device->memory, descs, count, fault);
}

static int resume_vector(struct ob_device *device, const struct vault_role *role, int fd)
{
    if (role->a >= IRQ_KIND_COUNT)
        return -EINVAL;
    if (role->b >= device->pci->irqs.count[role->a] && (role->a != IRQ_INTX || role->b != 0))
        return -EINVAL;
    return irq_assign(device, (enum irq_kind)role->a, (unsigned)role->b, 1, &fd);
}

static int resume_bar(struct ob_device *device, const struct vault_role *role, int fd)
{
    struct bar_memory *memory =
        role->a < OB_BAR_COUNT ? &device->pci->bar_memory[role->a] : &(struct bar_memory){0};
    if (!memory->address)
        return -EINVAL;
    int err = device->host->memory_adopt(device->host->context, memory->address,
                                         memory->range.offset + memory->range.len, fd, memory->fd);
    if (err == 0)
        memory->fd = fd;
    return err;
}

static int resume_entry(struct ob_device *device, const struct vault_role *role, int fd)
{
    switch ((enum vault_kind)role->kind) {
    case VAULT_VECTOR:
        return resume_vector(device, role, fd);
    case VAULT_INTX_MASK:
        return irq_mask_by(device, fd);
    case VAULT_INTX_UNMASK:
        return irq_unmask_by(device, fd);
    case VAULT_DOORBELL:
        return doorbells_resume(device, role->a, fd);
    case VAULT_BAR:
        return resume_bar(device, role, fd);
    default:
        return 0;
    }
}

static int resume_entries(struct ob_device *device, const struct vault *vault,
                          struct ob_fault *fault)
{
    for (unsigned i = 0; i < vault->used; i++) {
        if (!vault_is_valid(vault, i))
            continue;
        int err = resume_entry(device, &vault_entry(vault, i)->role, vault_fd(vault, i));
        if (err < 0)
            return ob_fault_set(fault, err, "the vault: descriptor %u of kind %u is refused: %s", i,
                                vault_entry(vault, i)->role.kind, strerror(-err));
    }
    return 0;
}

/* The author checks a copy, which nobody can change meanwhile. */
static int resume_state(struct ob_device *device, const struct vault *vault, struct ob_fault *fault)
{
    const struct ob_vault_state *kept = &device->kept;
    const struct vault_copy *there = vault_get(vault, VAULT_PART_STATE);
    bool fits = there && (there->len == kept->len || (kept->save && there->len < kept->len));
    if (!fits || there->version != kept->version)
        return ob_fault_set(fault, -EINVAL,
                            "the vault: got a state of %u bytes, version %u, expected %zu bytes, "
                            "version %u",
                            there ? there->len : 0, there ? there->version : 0, kept->len,
                            kept->version);
    AUTO_FREE uint8_t *copy = malloc(kept->len);
    if (!copy)
        return ob_fault_set(fault, -ENOMEM, "no memory for the state");
    const size_t len = there->len <= kept->len ? there->len : kept->len;
    memcpy(copy, there->bytes, len);
    int err = kept->check ? kept->check(device->state, copy, len, fault) : 0;
    if (err < 0)
        return ob_fault_set(fault, err, "the vault: the state is refused: %s", strerror(-err));
    memcpy(kept->bytes, copy, len);
    return 0;
}

int device_resume(struct ob_device *device, struct vault *vault, struct ob_fault *fault)
{
    if (!device->kept.bytes)
        return device_use_vault(device, vault, fault);
    const struct vault_copy *flags = vault_get(vault, VAULT_PART_DEVICE);
    bool was_dormant = flags && flags->len > 0 && flags->bytes[0];
    int err = resume_flags(device, vault, fault);
    if (err == 0)
        err = resume_registers(device, vault, fault);
    if (err == 0)
        err = resume_memory(device, vault, fault);
    if (err == 0)
        err = resume_entries(device, vault, fault);
    if (err == 0)
        err = resume_state(device, vault, fault);
    if (err < 0)
        return err;
    device->vault = vault;
    /* The eventfd that unmasks INTx may have been read, and its effect lost. */
    if (device->pci->irqs.intx_unmask_fd >= 0)
        device->pci->irqs.vectors[IRQ_INTX][0].masked = false;
    if (!was_dormant)
        device_wake(device);
    return 0;
}

void device_resumed(struct ob_device *device)
{
    if (device->kept.resumed)
        device->kept.resumed(device->state);
    if (!device->dormant)
        doorbells_ring_all(device);
}
