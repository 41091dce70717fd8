// SPDX-License-Identifier: BSD-3-Clause
/*
 * MSI: the capability, with 64-bit addresses and a mask bit for each vector.
 *
 * Source: PCI Local Bus Specification 3.0, section 6.8.1.
 */
#ifndef OUTBOARD_PCI_MSI_H
#define OUTBOARD_PCI_MSI_H

#include "pci/function.h"

#define MSI_MAX_VECTORS 32u

struct msi {
    unsigned vectors;   /* 0: the function has no MSI */
    uint8_t capability; /* its offset */
};

/* Adds the capability as the description asks. -EINVAL with the fault filled, -ENOSPC. */
int msi_init(struct msi *msi, struct pci_function *function, const struct ob_device_desc *desc,
             struct ob_fault *fault);

/* Whether the guest has set MSI Enable. */
bool msi_is_enabled(const struct msi *msi, const struct pci_function *function);
/* How many vectors the guest has granted, 1 to msi.vectors. */
unsigned msi_granted(const struct msi *msi, const struct pci_function *function);

bool msi_is_masked(const struct msi *msi, const struct pci_function *function, unsigned vector);
void msi_set_pending(const struct msi *msi, struct pci_function *function, unsigned vector,
                     bool pending);
bool msi_is_pending(const struct msi *msi, const struct pci_function *function, unsigned vector);

#endif
