// SPDX-License-Identifier: BSD-3-Clause
/*
 * Saving: the state of each device at rest, by which a VM's devices move to another machine.
 *
 * Save: the VM is paused, then each device comes to rest and writes its state to a memfd. The states
 * are kept here, and a client reads them piece by piece, and writes them where it likes. So nothing
 * here waits for a file system. Restore is the other way round: pieces first, then each device of a
 * VM that does not run takes its state.
 *
 * Devices rest until the VM runs again, since a command that a device takes from the guest's memory
 * afterwards would be missing in its state. If any device fails, all continue.
 *
 * A device process may write anything into its memfd, up to LIMIT_STATE_BYTES; only the process that
 * takes the state looks at it.
 */
#ifndef OUTBOARD_SUPERVISOR_SAVING_H
#define OUTBOARD_SUPERVISOR_SAVING_H

#include <stdbool.h>
#include <stdint.h>

#include "base/limits.h"

struct monitor_call;
struct supervisor;

struct saved_state {
    struct supervisor *supervisor;
    int fd; /* -1: there is none */
    uint64_t len;
};

struct saving {
    struct monitor_call *call;                /* NULL: nothing is under way */
    bool loads;                               /* else it saves */
    bool paused_vm;                           /* on account of this call */
    bool rests;                               /* devices do, until the VM runs */
    unsigned waiting;                         /* devices that have not answered */
    char why[256];                            /* the first failure; "": none */
    struct saved_state states[LIMIT_DEVICES]; /* of the plug with this number */
};

void saving_init(struct supervisor *supervisor);
void saving_done(struct supervisor *supervisor);

/* The commands save, restore, read-state and write-state. */
void saving_save(struct supervisor *supervisor, struct monitor_call *call);
void saving_restore(struct supervisor *supervisor, struct monitor_call *call);
void saving_read(struct supervisor *supervisor, struct monitor_call *call);
void saving_write(struct supervisor *supervisor, struct monitor_call *call);

/* The VM runs, or is to: devices that rest on account of a command continue. */
void saving_resume(struct supervisor *supervisor);
/* The device with this number has ended: its state is not kept. */
void saving_forget(struct supervisor *supervisor, unsigned number);

#endif
