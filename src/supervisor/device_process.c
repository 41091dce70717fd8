// SPDX-License-Identifier: BSD-3-Clause
#include "supervisor/device_process.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "base/auto.h"
#include "os/clock.h"
#include "os/log.h"
#include "supervisor/control_group.h"
#include "supervisor/device_end.h"

static int continue_device(struct device_process *device);
static void make_spare(void *argument);
static void end_spare(struct device_process *device);
static void end_upgrade(struct device_process *device);
static void on_end(void *argument, int status);

static void set_patience(struct device_process *device, unsigned ms)
{
    timer_set(device->host->timers, &device->patience, clock_now_ns() + ms * 1000000ull);
}

/* A process that stands still for an upgrade tells nothing. */
static void watch_over(struct device_process *device)
{
    if (device->plan->watchdog_ms > 0 && !device->expects_end &&
        !upgrade_holds(&device->next.upgrading.upgrade))
        set_patience(device, device->plan->watchdog_ms);
}

static void tell(const struct device_process *device, enum device_event event)
{
    device->host->told(device->host->argument, device, event);
}

static void change(struct device_process *device, enum device_process_state state)
{
    device->state = state;
    tell(device, state == DEVICE_PROCESS_READY ? DEVICE_BECAME_READY : DEVICE_ENDED);
    device->host->changed(device->host->argument);
}

static void take_status(struct device_process *device, const struct ready_told *told)
{
    bool had_client = device->has_client;
    if (told->status[0])
        memcpy(device->status_text, told->status, sizeof(device->status_text));
    if (told->has_client)
        device->has_client = told->client;
    if (device->has_client != had_client)
        tell(device, had_client ? DEVICE_CLIENT_WENT : DEVICE_CLIENT_CAME);
}

/* A sign of life of one that hung. */
static void revive(struct device_process *device)
{
    device->hung = false;
    restart_silent(&device->restart, 0);
    log_line("%s: gives signs of life again", device->plan->id);
    tell(device, DEVICE_ALIVE);
}

static void on_told(void *argument, const struct ready_told *told)
{
    struct device_process *device = argument;
    bool becomes_ready = told->ready && device->state == DEVICE_PROCESS_STARTING;
    take_status(device, told);
    order_sender_hear(&device->orders, told);
    device->next.said_end |= told->stopping;
    if (!told->ready && !told->alive)
        return;
    if (device->stopping || (!becomes_ready && device->state != DEVICE_PROCESS_READY))
        return;
    if (!device->expects_end)
        timer_cancel(&device->patience);
    watch_over(device);
    if (device->hung)
        revive(device);
    if (becomes_ready) {
        gaps_end(&device->gaps, clock_now_ns());
        if (device->restarts)
            restart_ready(&device->restart);
        if (device->traces)
            device_process_trace(device, true, take_fd(&device->trace_fd), NULL, NULL);
        change(device, DEVICE_PROCESS_READY);
        make_spare(device);
    }
}

static void restart_in(struct device_process *device, int wait_ms)
{
    device->state = DEVICE_PROCESS_STARTING;
    device->gaps.count++;
    device->gaps.since_ns = clock_now_ns();
    tell(device, DEVICE_RESTARTS);
    timer_set(device->host->timers, &device->next.again, clock_now_ns() + wait_ms * 1000000ull);
}

/* With an empty vault, if the one that there is can't be trusted, and there may be another VMM. */
static bool begins_afresh(struct device_process *device, struct ob_fault *reason)
{
    if (!restart_is_distrusted(&device->restart) || device->plan->socket != PLAN_LISTENER)
        return false;
    log_line("%s: begins afresh for the next VMM: %s", device->plan->id, reason->text);
    int wait_ms = restart_afresh(&device->restart, clock_now_ns(), reason);
    if (wait_ms < 0)
        return false;
    end_spare(device); /* it has the old vault */
    device->failed = true;
    if (device->has_client)
        take_status(device, &(struct ready_told){.has_client = true});
    restart_in(device, wait_ms);
    return true;
}

/* The process has died, or has refused to continue. Whether another one will continue. */
static bool is_restarted(struct device_process *device, int status)
{
    struct ob_fault reason = {0};
    const bool refused = device_end_is_refusal(device, status);
    if (!device_end_may_restart(device, status))
        return false;
    int wait_ms = restart_judge(&device->restart, clock_now_ns(), refused, &reason);
    if (wait_ms < 0) {
        if (begins_afresh(device, &reason))
            return true;
        device_end_give_up(device, reason.text);
        return false;
    }
    device->failed = false;
    device_end_log_restart(device, status);
    restart_in(device, wait_ms);
    return true;
}

static void on_again(void *argument)
{
    struct device_process *device = argument;
    int err = continue_device(device);
    if (err < 0) {
        device_end_give_up(device, strerror(-err));
        change(device, DEVICE_PROCESS_ENDED);
    }
}

/* Between two processes there is nothing to be asked to end. Whether it was so. */
static bool end_between(struct device_process *device)
{
    if (device->child || device->state != DEVICE_PROCESS_STARTING || !device->restarts)
        return false;
    timer_cancel(&device->next.again);
    end_spare(device);
    restart_end(&device->restart);
    change(device, DEVICE_PROCESS_ENDED);
    return true;
}

static void on_end(void *argument, int status)
{
    struct device_process *device = argument;
    bool waits = upgrade_old_ended(&device->next.upgrading.upgrade);
    if (device->child && child_is_adopted(device->child)) { /* its status is its parent's secret */
        ready_socket_finish(device->ready);
        status = device->next.said_end ? 0 : SIGKILL;
    }
    device->child = NULL;
    device->status = status;
    if (waits)
        return;
    order_sender_end(&device->orders);
    /* A channel ends with its VMM, and tells by its status if its session was cut. */
    bool fails = !WIFEXITED(status) || (WEXITSTATUS(status) != 0 && !device->plan->is_channel);
    device->failed |= !device->stopping && (device->state == DEVICE_PROCESS_STARTING || fails);
    timer_cancel(&device->patience);
    child_log_free(device->log); /* its last words come before ours */
    device->log = NULL;
    if (is_restarted(device, status))
        return;
    end_spare(device);
    if (device->restarts)
        restart_end(&device->restart);
    device_end_log(device, status);
    change(device, DEVICE_PROCESS_ENDED);
}

static void on_silence(struct device_process *device)
{
    bool waits = device->on_hang == PLAN_PAUSE;
    log_line("%s: has given no sign of life for %u ms; %s", device->plan->id,
             device->plan->watchdog_ms, waits ? "pauses the VM" : "sends SIGKILL");
    device->hung = true;
    restart_silent(&device->restart, clock_now_ns() - device->plan->watchdog_ms * 1000000ull);
    tell(device, DEVICE_HUNG);
    if (!waits)
        child_signal(device->child, SIGKILL);
}

static void on_patience(void *argument)
{
    struct device_process *device = argument;
    if (device->stopping) {
        device_end_log_late(device);
        child_signal(device->child, SIGKILL);
        return;
    }
    if (device->state == DEVICE_PROCESS_READY && !device->expects_end) {
        on_silence(device);
        return;
    }
    device->failed = device->state == DEVICE_PROCESS_STARTING;
    device_end_log_late(device);
    device_process_stop(device);
}

static struct device_life_spec life_spec(struct device_process *device, ready_fn told,
                                         child_exit_fn ended)
{
    const struct device_process_host *host = device->host;
    return (struct device_life_spec){.loop = host->loop,
                                     .timers = host->timers,
                                     .children = host->children,
                                     .environment = host->environment,
                                     .plan = device->plan,
                                     .program = device->next.program,
                                     .socket_fd = device->restart.socket_fd,
                                     .statistics_fd = device->statistics_fd,
                                     .told = told,
                                     .ended = ended,
                                     .argument = device};
}

/* Its log and its socket take the place of those of the process before. */
static void use_life(struct device_process *device, const struct device_life *life)
{
    child_log_free(device->log);
    ready_socket_free(device->ready);
    order_sender_end(&device->orders);
    order_sender_begin(&device->orders, device->host->timers, life->orders_fd);
    device->next.said_end = false;
    device->child = life->child;
    device->log = life->log;
    device->ready = life->ready;
}

/* A process with a log and a ready socket of its own. */
static int begin(struct device_process *device, int socket_fd)
{
    struct device_life_spec spec = life_spec(device, on_told, on_end);
    struct device_life_vault vault = {0};
    struct device_life life;
    int err = 0;
    spec.socket_fd = socket_fd;
    if (device->restarts)
        err = restart_prepare(&device->restart, device_life_first_fd(&spec), vault.fds,
                              &vault.count, &vault.variable);
    if (err < 0)
        return err;
    err = device_life_start(&spec, &vault, &life);
    free(vault.variable);
    if (device->restarts)
        restart_started(&device->restart);
    use_life(device, &life);
    return err;
}

static bool may_have_spare(const struct device_process *device)
{
    return device->plan->spare && device->restarts && device->state == DEVICE_PROCESS_READY &&
           !device->stopping && !device->expects_end &&
           device->next.upgrading.upgrade.stage == UPGRADE_NONE;
}

static void on_spare_told(void *argument, const struct ready_told *told)
{
    struct device_process *device = argument;
    device->next.spare.waits |= told->waiting;
}

static void end_spare(struct device_process *device)
{
    timer_cancel(&device->next.spare.again);
    successor_end(&device->next.spare.process);
    device->next.spare.waits = false;
}

/* A spare process that can't be had is tried for again; one by one, and not for ever. */
static void try_spare_again(struct device_process *device)
{
    struct spare *spare = &device->next.spare;
    if (++spare->idle < LIMIT_RESTART_LIVES)
        timer_set(device->host->timers, &spare->again,
                  clock_now_ns() + LIMIT_SPARE_AGAIN_MS * 1000000ull);
    else
        log_line("%s: has no spare process any more: %u in a row have ended", device->plan->id,
                 spare->idle);
}

static void on_spare_end(void *argument, int status)
{
    struct device_process *device = argument;
    device->next.spare.process.life.child = NULL;
    end_spare(device);
    log_line("%s: its spare process has ended", device->plan->id);
    try_spare_again(device);
}

static void make_spare(void *argument)
{
    struct device_process *device = argument;
    struct spare *spare = &device->next.spare;
    if (!may_have_spare(device) || successor_is_there(&spare->process))
        return;
    const struct device_life_spec spec = life_spec(device, on_spare_told, on_spare_end);
    int err = successor_start(&spare->process, &spec, device->restart.vault_fd);
    if (err == 0)
        return;
    log_line("%s: can't start a spare process: %s", device->plan->id, strerror(-err));
    try_spare_again(device);
}

static int use_spare(struct device_process *device)
{
    struct spare *spare = &device->next.spare;
    int err = successor_go(&spare->process, &device->restart);
    if (err < 0) {
        end_spare(device);
        return err;
    }
    struct device_life life = successor_take(&spare->process);
    device_life_watch(&life, on_told, on_end, device);
    use_life(device, &life);
    end_spare(device);
    spare->idle = 0;
    return 0;
}

/* The next process: the spare one, or one that is started now. */
static int continue_device(struct device_process *device)
{
    bool has_spare = successor_is_there(&device->next.spare.process);
    int err = has_spare && use_spare(device) == 0 ? 0 : begin(device, device->restart.socket_fd);
    if (err == 0)
        set_patience(device, LIMIT_START_MS);
    return err;
}

static void on_upgrade_stops(void *argument)
{
    struct device_process *device = argument;
    timer_cancel(&device->patience);
    device->gaps.since_ns = clock_now_ns();
    restart_silent(&device->restart, device->gaps.since_ns);
}

/* Its client is told once. */
static void tell_upgraded(struct device_process *device, const char *error)
{
    device_upgraded_fn done = device->next.upgrading.done;
    device->next.upgrading.done = NULL;
    if (done)
        done(device->next.upgrading.argument, device->next.upgrading.upgrade.drained, error);
}

static void on_upgrade_succeeded(void *argument)
{
    struct device_process *device = argument;
    struct device_life old = {device->child, device->log, device->ready, -1};
    device->child = NULL;
    device->log = NULL;
    device->ready = NULL;
    free(device->next.program);
    struct device_life life = upgrade_take(&device->next.upgrading.upgrade, &device->next.program);
    device_life_watch(&life, on_told, on_end, device);
    use_life(device, &life);
    device_life_kill(&old);
    end_spare(device);
    restart_ready(&device->restart);
    device->gaps.count++;
    gaps_end(&device->gaps, clock_now_ns());
    if (device->hung)
        revive(device);
    if (device->traces)
        device_process_trace(device, true, take_fd(&device->trace_fd), NULL, NULL);
    watch_over(device);
    log_line("%s: another process has taken its place", device->plan->id);
    tell(device, DEVICE_UPGRADED);
    tell_upgraded(device, NULL);
    make_spare(device);
}

static void on_upgrade_failed(void *argument, const char *reason)
{
    struct device_process *device = argument;
    log_line("%s: is not upgraded: %s", device->plan->id, reason);
    tell_upgraded(device, reason);
    if (!device->child) { /* the old one has died meanwhile */
        on_end(device, device->status);
        return;
    }
    device->gaps.since_ns = 0;
    restart_silent(&device->restart, 0);
    watch_over(device);
}

static void end_upgrade(struct device_process *device)
{
    upgrade_cancel(&device->next.upgrading.upgrade);
    tell_upgraded(device, "the device ends");
}

int device_process_upgrade(struct device_process *device, const char *program,
                           device_upgraded_fn done, void *argument, struct ob_fault *fault)
{
    struct device_upgrade *upgrading = &device->next.upgrading;
    const struct device_life_spec spec = life_spec(device, NULL, NULL);
    const char *id = device->plan->id;
    if (!device->restarts)
        return ob_fault_set(fault, -ENOTSUP,
                            "%s: got on-death = \"fail\", or a device that can't be restarted any "
                            "more; an upgrade needs on-death = \"restart\"",
                            id);
    if (device->state != DEVICE_PROCESS_READY || device->stopping || device->expects_end ||
        upgrading->upgrade.stage != UPGRADE_NONE)
        return ob_fault_set(fault, -EBUSY,
                            "%s: is starting, ending or being upgraded; try again later", id);
    int err = upgrade_begin(&upgrading->upgrade, &spec, program ? program : device->next.program,
                            device->child, &device->orders, &device->restart);
    if (err < 0)
        return ob_fault_set(fault, err, "%s: can't start another process: %s", id, strerror(-err));
    upgrading->done = done;
    upgrading->argument = argument;
    return 0;
}

pid_t device_process_spare(const struct device_process *device)
{
    const struct spare *spare = &device->next.spare;
    return spare->waits && successor_is_there(&spare->process)
               ? child_pid(spare->process.life.child)
               : 0;
}

static void init(struct device_process *device, const struct plan_device *plan,
                 const struct device_process_host *host)
{
    *device = (struct device_process){
        .host = host, .plan = plan, .on_hang = plan->on_hang, .statistics_fd = -1, .trace_fd = -1};
    device->next.upgrading.events = (struct upgrade_events){.stops = on_upgrade_stops,
                                                            .succeeded = on_upgrade_succeeded,
                                                            .failed = on_upgrade_failed,
                                                            .ended = on_end,
                                                            .argument = device};
    upgrade_init(&device->next.upgrading.upgrade, &device->next.upgrading.events);
    successor_init(&device->next.spare.process);
    timer_init(&device->next.spare.again, make_spare, device);
    timer_init(&device->patience, on_patience, device);
    timer_init(&device->next.again, on_again, device);
}

/* The process of before, or none, if it has died and nobody has seen it. */
static int adopt_process(struct device_process *device, const struct ledger_device *record)
{
    const struct device_process_host *host = device->host;
    const int *fd = record->fd;
    int err = 0;
    if (fd[LEDGER_LOG] >= 0)
        err = child_log_adopt(host->loop, host->timers, device->plan->id, fd[LEDGER_LOG],
                              &device->log);
    if (err == 0 && fd[LEDGER_READY] >= 0)
        err = ready_socket_adopt(host->loop, host->timers, on_told, device, fd[LEDGER_READY],
                                 &device->ready);
    if (err < 0 || record->pid == 0)
        return err;
    err = child_adopt_process(host->children, record->pid, fd[LEDGER_PROCESS], &device->child);
    if (err < 0)
        return err;
    order_sender_begin(&device->orders, host->timers, fd[LEDGER_ORDERS]);
    child_watch(device->child, on_end, device);
    child_continue(device->child); /* an upgrade may have drained and stopped it */
    order_sender_send(&device->orders, &(struct order){.code = ORDER_DRAIN}, -1, NULL, NULL);
    return device->ready ? ready_socket_trust(device->ready, record->pid) : 0;
}

int device_process_adopt(struct device_process *device, const struct plan_device *plan,
                         const struct ledger_device *record, const struct device_process_host *host,
                         struct ob_fault *fault)
{
    init(device, plan, host);
    auto_close(&(int){record->fd[LEDGER_NEXT]});
    device->statistics_fd = record->fd[LEDGER_STATISTICS];
    device->on_hang = record->on_hang <= PLAN_RESTART ? record->on_hang : plan->on_hang;
    device->has_client = record->has_client;
    device->restarts = record->restarts;
    device->state = record->is_ready ? DEVICE_PROCESS_READY : DEVICE_PROCESS_STARTING;
    if (record->restarts)
        restart_adopt(&device->restart, &(struct restart){.vault_fd = record->fd[LEDGER_VAULT],
                                                          .socket_fd = record->fd[LEDGER_SOCKET],
                                                          .owner_fd = record->fd[LEDGER_OWNER],
                                                          .newest_fd = record->fd[LEDGER_NEWEST],
                                                          .owner = record->owner,
                                                          .newest = record->newest,
                                                          .limit = plan->restart_limit,
                                                          .silent_ns = record->silent_ns,
                                                          .spare_fd = host->spare_fd});
    int err = adopt_process(device, record);
    if (err < 0)
        return ob_fault_set(fault, err, "%s: can't take its process over: %s", plan->id,
                            strerror(-err));
    if (device->state == DEVICE_PROCESS_READY) {
        watch_over(device);
        make_spare(device);
    } else if (device->child) {
        set_patience(device, LIMIT_START_MS);
    } else if (device->restarts) {
        timer_set(host->timers, &device->next.again, clock_now_ns());
    } else {
        device->state = DEVICE_PROCESS_ENDED;
    }
    return 0;
}

int device_process_start(struct device_process *device, const struct plan_device *plan,
                         int socket_fd, const struct device_process_host *host,
                         struct ob_fault *fault)
{
    init(device, plan, host);
    if (control_group_make(plan->section, fault) < 0)
        return fault->code;
    int err = device_life_make_statistics(&device->statistics_fd);
    if (err == 0 && plan->on_death == PLAN_DEATH_RESTART) {
        err = restart_begin(&device->restart, socket_fd, plan->restart_limit, host->spare_fd);
        device->restarts = err == 0;
    }
    if (err == 0)
        err = begin(device, socket_fd);
    if (err < 0)
        return ob_fault_set(fault, err, "[device \"%s\"]: can't start %.100s: %s", plan->id,
                            plan->command.word[0], strerror(-err));
    set_patience(device, LIMIT_START_MS);
    return 0;
}

void device_process_stop(struct device_process *device)
{
    if (end_between(device))
        return;
    if (!device->child || device->stopping)
        return;
    device->stopping = true;
    end_upgrade(device);
    end_spare(device);
    child_signal(device->child, SIGTERM);
    set_patience(device, LIMIT_STOP_MS);
}

int device_process_trace(struct device_process *device, bool on, int fd, order_fn answered,
                         void *argument)
{
    const struct order order = {.code = ORDER_TRACE, .number = on};
    auto_close(&device->trace_fd);
    device->trace_fd = fd;
    device->traces = on;
    return order_sender_send(&device->orders, &order, fd, answered, argument);
}

void device_process_expect_end(struct device_process *device)
{
    if (end_between(device))
        return;
    if (!device->child || device->stopping)
        return;
    device->expects_end = true;
    end_upgrade(device);
    end_spare(device);
    set_patience(device, LIMIT_STOP_MS);
}

void device_process_done(struct device_process *device)
{
    timer_cancel(&device->patience);
    timer_cancel(&device->next.again);
    if (device->host) { /* it was started */
        end_upgrade(device);
        end_spare(device);
    }
    free(device->next.program);
    if (device->restarts)
        restart_end(&device->restart);
    child_forget(device->child);
    order_sender_end(&device->orders);
    child_log_free(device->log);
    ready_socket_free(device->ready);
    auto_close(&device->statistics_fd);
    auto_close(&device->trace_fd);
    control_group_remove(device->plan ? device->plan->section : NULL);
}
