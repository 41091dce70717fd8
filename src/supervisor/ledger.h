// SPDX-License-Identifier: BSD-3-Clause
/*
 * Ledger: what another supervisor has to know of a machine to take it over: processes, and the numbers
 * of descriptors in the table that the guardian keeps (guardian.h). It lies in a memory file. There are
 * two copies; the lowest bit of `number` selects the one that counts.
 */
#ifndef OUTBOARD_SUPERVISOR_LEDGER_H
#define OUTBOARD_SUPERVISOR_LEDGER_H

#include <limits.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/limits.h"

#define LEDGER_MAGIC   0x474c424fu /* "OBLG" */
#define LEDGER_VERSION 2u

enum ledger_fd {
    LEDGER_PROCESS, /* a pidfd */
    LEDGER_LOG,
    LEDGER_READY,
    LEDGER_STATISTICS,
    LEDGER_VAULT,
    LEDGER_SOCKET,
    LEDGER_OWNER,
    LEDGER_NEWEST,
    LEDGER_ORDERS,
    LEDGER_NEXT, /* a pidfd: of a process that an upgrade has started, and that has no place yet */
    LEDGER_FDS,
};

struct ledger_device {
    char id[LIMIT_DEVICE_ID + 1];
    int32_t pid;            /* 0: there is no process */
    int32_t fd[LEDGER_FDS]; /* -1: none */
    uint64_t owner, newest; /* numbers of lives */
    uint64_t silent_ns;     /* since when no process serves; 0: one does */
    uint32_t on_hang, has_client, is_ready, restarts;
};

struct ledger_state {
    int32_t vmm_pid, vmm_fd; /* 0: there is no VMM; a pidfd */
    uint32_t count, reserved;
    struct ledger_device devices[LIMIT_DEVICES];
};

struct ledger {
    uint32_t magic, version;
    uint64_t len;
    uint64_t number;
    uint64_t orphaned_ns; /* when the supervisor ended, as its guardian saw it */
    struct ledger_state copy[2];
    char file[PATH_MAX]; /* the configuration's */
};

struct supervisor;

/* 0 or a negative errno. The descriptor is the caller's. */
int ledger_new(const char *file, struct ledger **ret_ledger, int *ret_fd);
/* Writes the state of now. */
void ledger_write(struct ledger *ledger, const struct supervisor *supervisor);
/* NULL is fine. */
void ledger_free(struct ledger *ledger);

static inline const struct ledger_state *ledger_state(const struct ledger *ledger)
{
    return &ledger->copy[ledger->number & 1];
}

#endif
