// SPDX-License-Identifier: BSD-3-Clause
/*
 * Upgrade: a process of the same or another program continues for one that still lives.
 *
 * Start: the new process starts on an empty vault of its own, and waits. The old one serves.
 * Drain: the old process begins no request, ends those in flight, and then takes no message of its VMM
 * (ORDER_DRAIN). If it can't within LIMIT_DRAIN_MS, its requests are done again, as after a death.
 * Stop: the old process gets SIGSTOP. From the moment that no thread of it runs, its vault is
 * complete, as at its death; the new process gets a copy of it, and its turn.
 * Take: the new process continues from the copy. When it is ready, the old one is killed. If it
 * refuses, ends or is late, it is killed; the old process gets SIGCONT and is drained no more, and
 * nothing has changed for it. The two never run at the same time, but for the new one's check of the vault.
 *
 * The guest's registers wait from the end of Drain on, LIMIT_UPGRADE_MS at most: QEMU gives a vfio-user message 5 s.
 */
#ifndef OUTBOARD_SUPERVISOR_UPGRADE_H
#define OUTBOARD_SUPERVISOR_UPGRADE_H

#include "supervisor/successor.h"

enum upgrade_stage {
    UPGRADE_NONE,
    UPGRADE_STARTING,
    UPGRADE_DRAINING,
    UPGRADE_STOPPING,
    UPGRADE_TAKING,
    UPGRADE_ENDING, /* the new process was killed, and has not ended yet */
};

/* Its owner's side. */
struct upgrade_events {
    void (*stops)(void *argument); /* from now on the old process gives no sign of life */
    /* The new process is ready, and becomes the owner's by upgrade_take(). */
    void (*succeeded)(void *argument);
    /* The old process continues, unless it has died. */
    void (*failed)(void *argument, const char *reason);
    /* The new process has ended after succeeded(), before the owner could see it. */
    void (*ended)(void *argument, int status);
    void *argument;
};

struct upgrade {
    enum upgrade_stage stage;
    const struct upgrade_events *events;
    struct successor next;
    struct device_life_spec spec; /* of the new process; its program is ours */
    char *program;                /* NULL: the plan's */
    int vault_fd;                 /* the new process's; -1: none */
    struct child *old;            /* NULL: has died */
    struct order_sender *orders;  /* to the old one */
    bool asked;                   /* a process was told to drain, and has not answered */
    bool drained;                 /* nothing has to be done again */
    struct restart *restart;
    struct timer patience;
    struct timer look;              /* at an adopted process, which is nobody's child */
    char reason[OB_FAULT_TEXT_LEN]; /* why the new process was killed */
};

void upgrade_init(struct upgrade *upgrade, const struct upgrade_events *events);

/* Begins; `spec` but for program, told, ended and argument. program: NULL for the one of before. 0 or a
 * negative errno. */
int upgrade_begin(struct upgrade *upgrade, const struct device_life_spec *spec, const char *program,
                  struct child *old, struct order_sender *orders, struct restart *restart);

/* After succeeded(): the new process, its program (the caller's, may be NULL) and its vault, which is in
 * use. */
struct device_life upgrade_take(struct upgrade *upgrade, char **ret_program);

/* The old process has died. Whether the new one continues for it in any case; else the upgrade is
 * over. */
bool upgrade_old_ended(struct upgrade *upgrade);

/* Ends it without another word; the old process continues. */
void upgrade_cancel(struct upgrade *upgrade);

/* For people; NULL: no upgrade is under way. */
const char *upgrade_stage_name(const struct upgrade *upgrade);

/* Whether the old process stands still. */
static inline bool upgrade_holds(const struct upgrade *upgrade)
{
    return upgrade->stage >= UPGRADE_STOPPING;
}

#endif
