// SPDX-License-Identifier: BSD-3-Clause
#include "pci/msix.h"

#include <errno.h>
#include <linux/pci_regs.h>
#include <stdlib.h>
#include <string.h>

/* Figure 6-12: 2 message control, 4 table offset, 8 pending bits' offset; behind the header. */
#define BODY_LEN 10u

static void put32(uint8_t *at, uint32_t value)
{
    for (unsigned i = 0; i < 4; i++)
        at[i] = (uint8_t)(value >> (8 * i));
}

static int check(const struct msix *msix, const struct ob_device_desc *desc, struct ob_fault *fault)
{
    if (msix->vectors > MSIX_MAX_VECTORS)
        return ob_fault_set(fault, -EINVAL, "%s: got %u MSI-X vectors, expected at most %u",
                            desc->name, msix->vectors, MSIX_MAX_VECTORS);
    if (msix->bar >= OB_BAR_COUNT || desc->bars[msix->bar].kind < OB_BAR_MEM32)
        return ob_fault_set(fault, -EINVAL, "%s: MSI-X lies in BAR %u, which is not a memory BAR",
                            desc->name, msix->bar);
    const struct ob_bar *bar = &desc->bars[msix->bar];
    if (msix->offset % 8 || msix->offset > bar->size || msix->len > bar->size - msix->offset)
        return ob_fault_set(fault, -EINVAL,
                            "%s: MSI-X of %u vectors does not fit BAR %u at offset 0x%x, or that "
                            "is no multiple of 8",
                            desc->name, msix->vectors, msix->bar, desc->msix_offset);
    uint64_t memory_len = bar->memory.len ? bar->memory.len : bar->size;
    if (bar->flags & OB_BAR_MEMORY && msix->offset < bar->memory.offset + memory_len &&
        bar->memory.offset < msix->offset + msix->len)
        return ob_fault_set(fault, -EINVAL, "%s: MSI-X overlaps the memory of BAR %u", desc->name,
                            msix->bar);
    return 0;
}

static int add_capability(struct msix *msix, struct pci_function *function)
{
    uint8_t body[BODY_LEN] = {(uint8_t)(msix->vectors - 1), (uint8_t)((msix->vectors - 1) >> 8)};
    const uint8_t writable[BODY_LEN] = {0, (PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL) >> 8};
    put32(&body[2], (uint32_t)msix->offset | msix->bar);
    put32(&body[6], (uint32_t)(msix->offset + msix->table_len) | msix->bar);
    int at = pci_function_add_capability(function, PCI_CAP_ID_MSIX, body, writable, BODY_LEN);
    if (at >= 0)
        msix->capability = (uint8_t)at;
    return at < 0 ? at : 0;
}

int msix_init(struct msix *msix, struct pci_function *function, const struct ob_device_desc *desc,
              struct ob_fault *fault)
{
    *msix = (struct msix){.vectors = desc->msix_vectors,
                          .bar = desc->msix_bar,
                          .offset = desc->msix_offset,
                          .table_len = (uint64_t)desc->msix_vectors * MSIX_ENTRY_LEN};
    if (msix->vectors == 0)
        return 0;
    msix->len = msix->table_len + (msix->vectors + 63) / 64 * sizeof(uint64_t);
    int err = check(msix, desc, fault);
    if (err < 0)
        return err;
    msix->bytes = malloc(msix->len);
    if (!msix->bytes)
        return ob_fault_set(fault, -ENOMEM, "%s: no memory for the MSI-X table", desc->name);
    msix_reset(msix);
    return add_capability(msix, function);
}

void msix_done(struct msix *msix)
{
    free(msix->bytes);
    *msix = (struct msix){0};
}

void msix_reset(struct msix *msix)
{
    memset(msix->bytes, 0, msix->len);
    for (unsigned i = 0; i < msix->vectors; i++)
        msix->bytes[i * MSIX_ENTRY_LEN + PCI_MSIX_ENTRY_VECTOR_CTRL] = PCI_MSIX_ENTRY_CTRL_MASKBIT;
}

bool msix_is_enabled(const struct msix *msix, const struct pci_function *function)
{
    return msix->vectors > 0 &&
           function->config[msix->capability + PCI_MSIX_FLAGS + 1] & (PCI_MSIX_FLAGS_ENABLE >> 8);
}

bool msix_covers(const struct msix *msix, unsigned bar, uint64_t offset, unsigned size)
{
    return msix->vectors > 0 && bar == msix->bar && offset >= msix->offset &&
           offset + size <= msix->offset + msix->len;
}

uint64_t msix_read(const struct msix *msix, uint64_t offset, unsigned size)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < size; i++)
        value |= (uint64_t)msix->bytes[offset - msix->offset + i] << (8 * i);
    return value;
}

void msix_write(struct msix *msix, uint64_t offset, unsigned size, uint64_t value)
{
    for (unsigned i = 0; i < size; i++)
        if (offset - msix->offset + i < msix->table_len)
            msix->bytes[offset - msix->offset + i] = (uint8_t)(value >> (8 * i));
}

void msix_set_pending(struct msix *msix, unsigned vector, bool pending)
{
    uint8_t *byte = &msix->bytes[msix->table_len + vector / 8];
    uint8_t bit = (uint8_t)(1u << vector % 8);
    *byte = (uint8_t)(pending ? *byte | bit : *byte & ~bit);
}

bool msix_is_pending(const struct msix *msix, unsigned vector)
{
    return msix->bytes[msix->table_len + vector / 8] >> vector % 8 & 1;
}
