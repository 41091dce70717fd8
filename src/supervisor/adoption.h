// SPDX-License-Identifier: BSD-3-Clause
/* Adoption: a machine whose supervisor was killed, as its guardian (guardian.h) hands it over. */
#ifndef OUTBOARD_SUPERVISOR_ADOPTION_H
#define OUTBOARD_SUPERVISOR_ADOPTION_H

#include <outboard/fault.h>

#include "supervisor/ledger.h"

struct adoption {
    int channel; /* to the guardian */
    struct ledger_state state;
    uint64_t orphaned_ns; /* when the supervisor ended */
    char file[PATH_MAX];
};

/* Connects to the guardian of the machine in a folder. 0; -ENOENT: there is none; or another negative
 * errno with the fault filled. */
int adoption_open(const char *folder, struct adoption *adoption, struct ob_fault *fault);
/* Fetches a descriptor by its number there, close-on-exec and above the numbers of other processes;
 * -1 gives -1. 0 or a negative errno. */
int adoption_fetch(const struct adoption *adoption, int number, int *ret_fd);
/* The record of a device with our descriptors. -ENOENT: it is not listed. */
int adoption_device(const struct adoption *adoption, const char *id,
                    struct ledger_device *ret_device);
/* All that is needed was fetched: the guardian ends, and closes the rest. */
void adoption_finish(struct adoption *adoption);
void adoption_close(struct adoption *adoption);

#endif
