// SPDX-License-Identifier: BSD-3-Clause
#include "pci/msi.h"

#include <errno.h>
#include <linux/pci_regs.h>
#include <string.h>

/* Figure 6-9, 64-bit with masking: 2 message control, 4 address, 8 its upper half, 12 data, 16 mask
 * bits, 20 pending bits; behind the header. */
#define BODY_LEN 22u
#define HEAD_LEN 2u

/* The vectors as a power of two, or -1 when they are no power of two. */
static int power_of(unsigned vectors)
{
    for (int power = 0; power <= 5; power++)
        if (vectors == 1u << power)
            return power;
    return -1;
}

int msi_init(struct msi *msi, struct pci_function *function, const struct ob_device_desc *desc,
             struct ob_fault *fault)
{
    *msi = (struct msi){.vectors = desc->msi_vectors};
    if (msi->vectors == 0)
        return 0;
    int power = power_of(msi->vectors);
    if (power < 0)
        return ob_fault_set(fault, -EINVAL, "%s: got %u MSI vectors, expected 1, 2, 4, 8, 16 or 32",
                            desc->name, msi->vectors);
    const uint16_t control = (uint16_t)(PCI_MSI_FLAGS_64BIT | PCI_MSI_FLAGS_MASKBIT | power << 1);
    const uint8_t body[BODY_LEN] = {(uint8_t)control, (uint8_t)(control >> 8)};
    uint8_t writable[BODY_LEN] = {PCI_MSI_FLAGS_ENABLE | PCI_MSI_FLAGS_QSIZE};
    writable[PCI_MSI_ADDRESS_LO - HEAD_LEN] = 0xfc;
    memset(&writable[PCI_MSI_ADDRESS_LO + 1 - HEAD_LEN], 0xff, 7); /* the rest of the address */
    memset(&writable[PCI_MSI_DATA_64 - HEAD_LEN], 0xff, 2);
    for (unsigned i = 0; i < msi->vectors; i++)
        writable[PCI_MSI_MASK_64 - HEAD_LEN + i / 8] |= (uint8_t)(1u << i % 8);
    int at = pci_function_add_capability(function, PCI_CAP_ID_MSI, body, writable, BODY_LEN);
    if (at >= 0)
        msi->capability = (uint8_t)at;
    return at < 0 ? at : 0;
}

static uint8_t *byte_at(const struct msi *msi, const struct pci_function *function, unsigned offset)
{
    return &function->config[msi->capability + offset];
}

bool msi_is_enabled(const struct msi *msi, const struct pci_function *function)
{
    return msi->vectors > 0 && *byte_at(msi, function, PCI_MSI_FLAGS) & PCI_MSI_FLAGS_ENABLE;
}

unsigned msi_granted(const struct msi *msi, const struct pci_function *function)
{
    unsigned granted = 1u << ((*byte_at(msi, function, PCI_MSI_FLAGS) & PCI_MSI_FLAGS_QSIZE) >> 4);
    return granted < msi->vectors ? granted : msi->vectors;
}

bool msi_is_masked(const struct msi *msi, const struct pci_function *function, unsigned vector)
{
    return *byte_at(msi, function, PCI_MSI_MASK_64 + vector / 8) >> vector % 8 & 1;
}

void msi_set_pending(const struct msi *msi, struct pci_function *function, unsigned vector,
                     bool pending)
{
    uint8_t *byte = byte_at(msi, function, PCI_MSI_PENDING_64 + vector / 8);
    uint8_t bit = (uint8_t)(1u << vector % 8);
    *byte = (uint8_t)(pending ? *byte | bit : *byte & ~bit);
}

bool msi_is_pending(const struct msi *msi, const struct pci_function *function, unsigned vector)
{
    return *byte_at(msi, function, PCI_MSI_PENDING_64 + vector / 8) >> vector % 8 & 1;
}
