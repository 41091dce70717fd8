// SPDX-License-Identifier: BSD-3-Clause
/*
 * Interrupts, section 7.5: INTx is a level, up as long as the guest has completions to read in any
 * queue whose interrupts are enabled and whose vector is not masked (INTMS). MSI and MSI-X are
 * edges, one for each batch of completions that a queue got. INTMS masks MSI too: there is an edge
 * when a vector is unmasked, if there are completions to read. Level and edge are both told; the
 * guest has enabled one.
 *
 * An interrupt costs a guest more than many a command. A guest that keeps many commands in flight
 * continues to send them while completions wait, so these are held back until there are enough of
 * them or no command has come for a while. A guest that waits for each command would only lose
 * time. The result of a wait shows which of them it is: now and then one is tried, and as long as
 * it brings some completions together there are more, about as long as commands take to follow each
 * other. Time is counted in rounds of poll(), for which a server that may poll at all stays awake;
 * before it sleeps all is told.
 */
#ifndef OUTBOARD_DEVICES_NVME_INTERRUPT_H
#define OUTBOARD_DEVICES_NVME_INTERRUPT_H

#include <stdbool.h>
#include <stdint.h>

struct nvme;

/* The function's interrupts besides INTx. */
enum nvme_interrupts {
    NVME_MSIX,
    NVME_MSI,
    NVME_INTX, /* nothing */
};

/* How many vectors completion queues can have. */
unsigned interrupt_vectors(const struct nvme *nvme);

/* The guest masks or unmasks vectors, a bit each: INTMS and INTMC. */
void interrupt_mask(struct nvme *nvme, uint32_t vectors);
void interrupt_unmask(struct nvme *nvme, uint32_t vectors);

/* To be called whenever a head has changed. */
void interrupt_update(struct nvme *nvme);
/* To be called in each round, when it has posted all completions. */
void interrupt_round(struct nvme *nvme);
/* Whether completions are held back. */
bool interrupt_is_held(const struct nvme *nvme);
/* Tells of all completions that are held back. */
void interrupt_tell(struct nvme *nvme);

#endif
