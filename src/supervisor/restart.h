// SPDX-License-Identifier: BSD-3-Clause
/*
 * Restart: a device that outlives its process, if the plan says on-death = "restart", and the
 * decision if another process is started.
 *
 * The supervisor makes the vault and keeps a copy of the device's socket. It has one end of a channel
 * to the keeper of each life (os/keeper.h). A life is a process of the device, by number. A
 * successor gets the channel to the keeper of the life that owns the vault. That is the last one
 * which took it over, and not always the last that was started.
 *
 * A device that dies again and again without having done anything is given up. A message that three
 * lives have died of is answered with an error; after LIMIT_RESTART_LIVES the device has failed. One that makes progress may be restarted as often in a minute as the configuration says.
 *
 * A life that refuses to continue counts as one that has died without having done anything. If all that
 * remains is a vault that nobody trusts, the device may begin afresh with an empty one.
 *
 * The vault was written by processes that may have been taken over. Only two numbers of it are read,
 * by pread(2), and only lives that there were are accepted.
 */
#ifndef OUTBOARD_SUPERVISOR_RESTART_H
#define OUTBOARD_SUPERVISOR_RESTART_H

#include <stdbool.h>
#include <stdint.h>

#include <outboard/fault.h>

#include "base/limits.h"

/* Descriptors that a device process gets besides its socket. */
#define RESTART_FDS 3u

struct restart {
    int vault_fd, socket_fd; /* socket_fd is -1: the device makes its own */
    int owner_fd;            /* to the keeper of the life that owns the vault; -1: none does */
    int newest_fd;           /* to that of the life that was started last; -1: it is the owner */
    int keeper_fd;           /* the other end, until the process has it */
    uint64_t owner, newest;
    uint64_t progress; /* when a process ended last */
    unsigned idle;     /* lives in a row that have done nothing */
    unsigned refusals; /* of these, those that have refused the vault */
    unsigned blamed;   /* lives in a row that have died of the same message */
    unsigned limit;    /* restarts within a minute */
    uint64_t window_ns;
    unsigned in_window;
    unsigned restarts;  /* ever */
    bool distrusted;    /* the vault */
    unsigned poisons;   /* messages that have killed each process, and are answered with an error */
    int spare_fd;       /* our descriptors are from here on */
    uint64_t silent_ns; /* since when no process serves; 0: one does */
};

/* Takes a copy of socket_fd; our descriptors are all at spare_fd or above. */
int restart_begin(struct restart *restart, int socket_fd, unsigned limit, int spare_fd);
void restart_end(struct restart *restart);
/* Continues for another supervisor: its descriptors, which are taken over, and numbers. */
void restart_adopt(struct restart *restart, const struct restart *from);

/* Another process is to be started. It gets these descriptors, RESTART_FDS at most; the first
 * becomes first_fd there. The variable, VAULT_VARIABLE=..., is to be freed. 0 or a negative errno. */
int restart_prepare(struct restart *restart, int first_fd, int ret_fds[RESTART_FDS],
                    unsigned *ret_count, char **ret_variable);
/* It was started: its descriptors are its own. */
void restart_started(struct restart *restart);

/* A process that waits (base/vault_head.h) has its turn as the next life. keeper_fd, to its keeper, is
 * taken over. 0; or a negative errno, when it has ended, and nothing has changed. */
int restart_give_turn(struct restart *restart, int turn_fd, int keeper_fd);
/* It has refused, and the life before continues. */
void restart_take_back(struct restart *restart);

/* Another vault for a process that may refuse what is in this one, and what this one holds. Each 0 or a
 * negative errno; *ret_fd is the caller's. */
int restart_new_vault(const struct restart *restart, int *ret_fd);
int restart_copy_vault(const struct restart *restart, int fd);
/* From now on fd, which is taken over, is the vault. */
void restart_use_vault(struct restart *restart, int fd);

/* It is ready. If the vault is its own, the keeper of the process before ends, and with it the locks
 * that its descriptors have. */
void restart_ready(struct restart *restart);

/* No process serves since then, or one does (0). A time that is known is kept. */
void restart_silent(struct restart *restart, uint64_t since_ns);

/* A process has died, or has refused the vault. Returns how long to wait until the next is started,
 * milliseconds, or -1 with the reason why none is. */
int restart_judge(struct restart *restart, uint64_t now_ns, bool refused, struct ob_fault *reason);

/* Whether the reason was that the vault is not to be trusted. */
bool restart_is_distrusted(const struct restart *restart);

/* Begins again with an empty vault. The keepers end, and so does the VMM's connection. Returns as
 * restart_judge(). */
int restart_afresh(struct restart *restart, uint64_t now_ns, struct ob_fault *reason);

#endif
