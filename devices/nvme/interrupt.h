// SPDX-License-Identifier: BSD-3-Clause
/*
 * Interrupts, section 7.5.1: INTx is a level, up as long as the guest has completions to read in
 * any queue whose interrupts are enabled and whose vector is not masked (INTMS). MSI-X is an edge
 * for each batch of completions that a queue got. Both are told; the guest has enabled one.
 *
 * An interrupt costs a guest more than many a command. A guest that keeps many commands in flight
 * goes on sending them while completions wait, so these are held back until there are enough of
 * them or no command has come for a while. A guest that waits for each command would only lose
 * time. Which of them it is shows in what a wait brings: now and then one is tried, and as long as
 * it brings some completions together there are more, about as long as commands take to follow each
 * other. Time is counted in rounds of poll(); before the server sleeps all is told.
 */
#ifndef OUTBOARD_DEVICES_NVME_INTERRUPT_H
#define OUTBOARD_DEVICES_NVME_INTERRUPT_H

struct nvme;

/* To be called whenever a head or a mask has changed. */
void interrupt_update(struct nvme *nvme);
/* To be called in each round, when it has posted what there was. */
void interrupt_round(struct nvme *nvme);
/* Tells of all completions that are held back. */
void interrupt_tell(struct nvme *nvme);

#endif
