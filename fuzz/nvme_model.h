// SPDX-License-Identifier: BSD-3-Clause
/*
 * The guest's memory as the guest knows it: which bytes the controller may write.
 *
 * Allowed are the completion queues that the guest has named, and the data of the commands that it
 * has sent, found by a PRP walk of the model's own. After every step all other bytes must be as
 * they were. Pages from MODEL_GUARD on are named by no command at all, so they must never change,
 * also when the model has lost sight of what is in flight.
 */
#ifndef OUTBOARD_FUZZ_NVME_MODEL_H
#define OUTBOARD_FUZZ_NVME_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#define MODEL_PAGE   UINT64_C(4096)
#define MODEL_PAGES  32u
#define MODEL_LEN    (MODEL_PAGES * MODEL_PAGE)
#define MODEL_GUARD  16u /* the first of... */
#define MODEL_GUARDS 8u  /* ...so many pages that nothing names */
#define MODEL_SPLIT  24u /* the page from which on memory may be taken away */

struct model {
    uint8_t *memory; /* what guest and controller share */
    uint8_t before[MODEL_LEN];
    bool allowed[MODEL_LEN];  /* by commands */
    bool is_queue[MODEL_LEN]; /* completion queues */
    bool lost_sight;          /* only the guard pages are checked */
};

/* One mapping of the memory, filled anew for each run; *ret_fd is shared with the controller. */
void model_init(struct model *model, int *ret_fd);

/* The guest writes to its own memory. */
void model_write(struct model *model, uint64_t address, const void *data, uint64_t len);

void model_allow_queue(struct model *model, uint64_t base, uint64_t len);
/* The data of a command with these PRPs. */
void model_allow_data(struct model *model, uint64_t prp1, uint64_t prp2, uint64_t len);
/* Nothing is in flight any more. */
void model_settle(struct model *model);

/* Aborts when the controller has written where it may not. */
void model_check(struct model *model);

#endif
