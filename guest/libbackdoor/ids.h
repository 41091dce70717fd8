// SPDX-License-Identifier: BSD-3-Clause
/* The PCI ids by which a backdoor is known. */
#ifndef OUTBOARD_GUEST_IDS_H
#define OUTBOARD_GUEST_IDS_H

#include <stdint.h>

#include <outboard/fault.h>

struct backdoor_ids {
    uint16_t vendor;
    uint16_t device;
};

/* Those of OUTBOARD_BACKDOOR_PCI_ID, or 1af4:10f0. 0; or -EINVAL when the variable has no ids, with
 * the fault filled. */
int backdoor_ids(struct backdoor_ids *ret_ids, struct ob_fault *fault);

#endif
