// SPDX-License-Identifier: BSD-3-Clause
/*
 * MSI-X: the capability, and the table and pending bits in a BAR.
 *
 * On the wires of today the VMM owns the table: it traps the guest's accesses, or tells by an
 * eventfd per vector which may be signalled. So the table here is bytes that come back as they were
 * written; the pending bits are ours, and VMMs read them.
 *
 * Source: PCI Local Bus Specification 3.0, section 6.8.2.
 */
#ifndef OUTBOARD_PCI_MSIX_H
#define OUTBOARD_PCI_MSIX_H

#include "pci/function.h"

#define MSIX_MAX_VECTORS 2048u
#define MSIX_ENTRY_LEN   16u

struct msix {
    unsigned vectors; /* 0: the function has no MSI-X */
    unsigned bar;
    uint64_t offset;    /* of the table in the BAR */
    uint64_t table_len; /* bytes */
    uint64_t len;       /* of table and pending bits, bytes */
    uint8_t *bytes;
    uint8_t capability; /* its offset */
};

/* Adds the capability as the description asks. -EINVAL with the fault filled, -ENOMEM, -ENOSPC. */
int msix_init(struct msix *msix, struct pci_function *function, const struct ob_device_desc *desc,
              struct ob_fault *fault);
void msix_done(struct msix *msix);

/* Vectors masked, nothing pending. */
void msix_reset(struct msix *msix);

/* Whether the guest has set MSI-X Enable. */
bool msix_is_enabled(const struct msix *msix, const struct pci_function *function);

/* Whether an access of the BAR falls into table or pending bits. */
bool msix_covers(const struct msix *msix, unsigned bar, uint64_t offset, unsigned size);
uint64_t msix_read(const struct msix *msix, uint64_t offset, unsigned size);
/* Pending bits are read only. */
void msix_write(struct msix *msix, uint64_t offset, unsigned size, uint64_t value);

void msix_set_pending(struct msix *msix, unsigned vector, bool pending);
bool msix_is_pending(const struct msix *msix, unsigned vector);

#endif
