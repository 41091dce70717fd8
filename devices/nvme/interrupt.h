// SPDX-License-Identifier: BSD-3-Clause
/*
 * Interrupts, section 7.5.1: INTx is a level, up as long as the guest has completions to read in
 * any queue whose interrupts are enabled and whose vector is not masked (INTMS). MSI-X is an edge
 * for each batch of completions that a queue got. Both are told; the guest has enabled one.
 */
#ifndef OUTBOARD_DEVICES_NVME_INTERRUPT_H
#define OUTBOARD_DEVICES_NVME_INTERRUPT_H

struct nvme;

/* To be called whenever a head, a tail or a mask has changed. */
void interrupt_update(struct nvme *nvme);

#endif
