// SPDX-License-Identifier: BSD-3-Clause
#include "supervisor/upgrade.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "os/clock.h"
#include "os/log.h"

#define NS_PER_MS 1000000ull
#define LOOK_MS   1

static void set_patience(struct upgrade *upgrade, unsigned ms)
{
    timer_set(upgrade->spec.timers, &upgrade->patience, clock_now_ns() + ms * NS_PER_MS);
}

/* Of the new process only the spoils of upgrade_take() are left. */
static void reset(struct upgrade *upgrade)
{
    timer_cancel(&upgrade->patience);
    timer_cancel(&upgrade->look);
    successor_end(&upgrade->next);
    free(upgrade->program);
    upgrade->program = NULL;
    auto_close(&upgrade->vault_fd);
    upgrade->vault_fd = -1;
    upgrade->stage = UPGRADE_NONE;
}

/* It may have been asked to drain, may stand still, or neither. */
static void let_old_continue(struct upgrade *upgrade)
{
    const struct order order = {.code = ORDER_DRAIN, .number = 0};
    if (upgrade_holds(upgrade))
        restart_take_back(upgrade->restart);
    if (upgrade->stage < UPGRADE_DRAINING || !upgrade->old)
        return;
    child_continue(upgrade->old);
    order_sender_send(upgrade->orders, &order, -1, NULL, NULL);
}

static void fail(struct upgrade *upgrade, const char *reason)
{
    char text[OB_FAULT_TEXT_LEN];
    snprintf(text, sizeof(text), "%s", reason);
    let_old_continue(upgrade);
    reset(upgrade);
    upgrade->events->failed(upgrade->events->argument, text);
}

/* The old process may continue only when the new one has ended. */
static void kill_next(struct upgrade *upgrade, const char *reason)
{
    snprintf(upgrade->reason, sizeof(upgrade->reason), "%s", reason);
    if (upgrade->stage != UPGRADE_TAKING) {
        fail(upgrade, upgrade->reason);
        return;
    }
    upgrade->stage = UPGRADE_ENDING;
    child_signal(upgrade->next.life.child, SIGKILL);
}

/* The old process stands still: its vault is complete. */
static void on_stopped(void *argument)
{
    struct upgrade *upgrade = argument;
    int err = restart_copy_vault(upgrade->restart, upgrade->vault_fd);
    if (err == 0)
        err = successor_go(&upgrade->next, upgrade->restart);
    if (err < 0)
        fail(upgrade, strerror(-err));
    else
        upgrade->stage = UPGRADE_TAKING;
}

static void look_at_old(void *argument)
{
    struct upgrade *upgrade = argument;
    if (upgrade->stage != UPGRADE_STOPPING || !upgrade->old)
        return;
    if (child_stands_still(upgrade->old))
        on_stopped(upgrade);
    else
        timer_set(upgrade->spec.timers, &upgrade->look, clock_now_ns() + LOOK_MS * NS_PER_MS);
}

static void stop_old(struct upgrade *upgrade)
{
    upgrade->stage = UPGRADE_STOPPING;
    upgrade->events->stops(upgrade->events->argument);
    set_patience(upgrade, LIMIT_UPGRADE_MS);
    child_stop(upgrade->old, on_stopped, upgrade);
    if (child_is_adopted(upgrade->old))
        look_at_old(upgrade);
}

/* A request that it did not end is done again by the new process, as after a death. */
static void stop_undrained(struct upgrade *upgrade, const char *reason)
{
    log_line("%s: is not drained before its upgrade: %s", upgrade->spec.plan->id, reason);
    stop_old(upgrade);
}

/* May come late, when another process serves or another upgrade is under way. */
static void on_drained(void *argument, int err, uint64_t len, const char *why)
{
    struct upgrade *upgrade = argument;
    upgrade->asked = false;
    if (upgrade->stage != UPGRADE_DRAINING)
        return;
    upgrade->drained = err == 0;
    if (err == -ENOTCONN)
        return; /* it has ended, which upgrade_old_ended() tells */
    if (err < 0)
        stop_undrained(upgrade, why);
    else
        stop_old(upgrade);
}

static void drain_old(struct upgrade *upgrade)
{
    const struct order order = {.code = ORDER_DRAIN, .number = LIMIT_DRAIN_MS};
    upgrade->stage = UPGRADE_DRAINING;
    set_patience(upgrade, LIMIT_DRAIN_ANSWER_MS);
    int err = upgrade->asked ? -EBUSY
                             : order_sender_send(upgrade->orders, &order, -1, on_drained, upgrade);
    if (err < 0)
        stop_undrained(upgrade, strerror(-err));
    else
        upgrade->asked = true;
}

static void on_patience(void *argument)
{
    struct upgrade *upgrade = argument;
    switch (upgrade->stage) {
    case UPGRADE_STARTING:
        kill_next(upgrade, "the new process has not been ready to continue for 30 s");
        break;
    case UPGRADE_DRAINING:
        stop_undrained(upgrade, "the old process does not answer");
        break;
    case UPGRADE_STOPPING:
        kill_next(upgrade, "the old process has not stopped for 4 s of SIGSTOP");
        break;
    default:
        kill_next(upgrade, "the new process has not continued for 4 s");
        break;
    }
}

/* Ready or killed meanwhile: its first word counts, since it may have read bytes of the VMM. */
static void on_told(void *argument, const struct ready_told *told)
{
    struct upgrade *upgrade = argument;
    bool takes = upgrade->stage == UPGRADE_TAKING || upgrade->stage == UPGRADE_ENDING;
    if (told->waiting && upgrade->stage == UPGRADE_STARTING)
        drain_old(upgrade);
    else if (told->ready && takes)
        upgrade->events->succeeded(upgrade->events->argument);
}

static void on_end(void *argument, int status)
{
    struct upgrade *upgrade = argument;
    const char *reason = upgrade->stage == UPGRADE_ENDING
                             ? upgrade->reason
                             : "the new process has ended; the log of outboard run says why";
    ready_socket_finish(upgrade->next.life.ready);
    if (upgrade->stage == UPGRADE_NONE) {
        upgrade->events->ended(upgrade->events->argument, status);
        return;
    }
    upgrade->next.life.child = NULL;
    fail(upgrade, reason);
}

void upgrade_init(struct upgrade *upgrade, const struct upgrade_events *events)
{
    *upgrade = (struct upgrade){.events = events, .vault_fd = -1};
    successor_init(&upgrade->next);
    timer_init(&upgrade->patience, on_patience, upgrade);
    timer_init(&upgrade->look, look_at_old, upgrade);
}

int upgrade_begin(struct upgrade *upgrade, const struct device_life_spec *spec, const char *program,
                  struct child *old, struct order_sender *orders, struct restart *restart)
{
    upgrade->program = program ? strdup(program) : NULL;
    if (program && !upgrade->program)
        return -ENOMEM;
    upgrade->old = old;
    upgrade->orders = orders;
    upgrade->drained = false;
    upgrade->restart = restart;
    upgrade->spec = *spec;
    upgrade->spec.program = upgrade->program;
    upgrade->spec.told = on_told;
    upgrade->spec.ended = on_end;
    upgrade->spec.argument = upgrade;
    int err = restart_new_vault(restart, &upgrade->vault_fd);
    if (err == 0)
        err = successor_start(&upgrade->next, &upgrade->spec, upgrade->vault_fd);
    if (err < 0) {
        reset(upgrade);
        return err;
    }
    upgrade->stage = UPGRADE_STARTING;
    set_patience(upgrade, LIMIT_START_MS);
    return 0;
}

struct device_life upgrade_take(struct upgrade *upgrade, char **ret_program)
{
    struct device_life life = successor_take(&upgrade->next);
    *ret_program = upgrade->program;
    upgrade->program = NULL;
    restart_use_vault(upgrade->restart, take_fd(&upgrade->vault_fd));
    reset(upgrade);
    return life;
}

const char *upgrade_stage_name(const struct upgrade *upgrade)
{
    static const char *const names[] = {[UPGRADE_STARTING] = "starting",
                                        [UPGRADE_DRAINING] = "draining",
                                        [UPGRADE_STOPPING] = "stopping",
                                        [UPGRADE_TAKING] = "continuing",
                                        [UPGRADE_ENDING] = "ending"};
    return names[upgrade->stage];
}

bool upgrade_old_ended(struct upgrade *upgrade)
{
    upgrade->old = NULL;
    if (upgrade->stage == UPGRADE_TAKING || upgrade->stage == UPGRADE_ENDING)
        return true;
    if (upgrade->stage != UPGRADE_NONE)
        fail(upgrade, "the old process has ended");
    return false;
}

void upgrade_cancel(struct upgrade *upgrade)
{
    if (upgrade->stage == UPGRADE_NONE)
        return;
    let_old_continue(upgrade);
    reset(upgrade);
}
