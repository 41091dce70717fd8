// SPDX-License-Identifier: BSD-3-Clause
#include "supervisor/device_process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/statistics.h"
#include "os/clock.h"
#include "os/log.h"

static void set_patience(struct device_process *device, unsigned ms)
{
    timer_set(device->host->timers, &device->patience, clock_now_ns() + ms * 1000000ull);
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

static void end_gap(struct gaps *gaps)
{
    uint64_t ns = gaps->since_ns ? clock_now_ns() - gaps->since_ns : 0;
    gaps->since_ns = 0;
    gaps->total_ns += ns;
    gaps->longest_ns = ns > gaps->longest_ns ? ns : gaps->longest_ns;
}

/* A sign of life of one that hung. */
static void revive(struct device_process *device)
{
    device->hung = false;
    log_line("%s: gives signs of life again", device->plan->id);
    tell(device, DEVICE_ALIVE);
}

static void on_told(void *argument, const struct ready_told *told)
{
    struct device_process *device = argument;
    bool becomes_ready = told->ready && device->state == DEVICE_PROCESS_STARTING;
    take_status(device, told);
    order_sender_hear(&device->orders, told);
    if (!told->ready && !told->alive)
        return;
    if (device->stopping || (!becomes_ready && device->state != DEVICE_PROCESS_READY))
        return;
    if (!device->expects_end)
        timer_cancel(&device->patience);
    if (device->plan->watchdog_ms > 0 && !device->expects_end)
        set_patience(device, device->plan->watchdog_ms);
    if (device->hung)
        revive(device);
    if (becomes_ready) {
        end_gap(&device->gaps);
        if (device->restarts)
            restart_ready(&device->restart);
        if (device->traces)
            device_process_trace(device, true, take_fd(&device->trace_fd), NULL, NULL);
        change(device, DEVICE_PROCESS_READY);
    }
}

static int spawn_again(struct device_process *device);

/* The device is given up, before or behind its process. */
static void give_up(struct device_process *device, const char *reason)
{
    log_line("%s: can't be restarted: %s", device->plan->id, reason);
    restart_end(&device->restart);
    device->restarts = false;
    device->failed = true;
    snprintf(device->why_given_up, sizeof(device->why_given_up), "%s", reason);
}

/* The process has died. Whether another one will continue. */
static bool is_restarted(struct device_process *device, int status)
{
    struct ob_fault reason = {0};
    if (!device->restarts || device->stopping || device->expects_end ||
        (device->hung && device->on_hang != PLAN_PAUSE))
        return false;
    int wait_ms = restart_judge(&device->restart, clock_now_ns(), &reason);
    if (wait_ms < 0) {
        give_up(device, reason.text);
        return false;
    }
    device->failed = false;
    log_line("%s: was ended by signal %d (%s); restarts it", device->plan->id, WTERMSIG(status),
             strsignal(WTERMSIG(status)));
    device->state = DEVICE_PROCESS_STARTING;
    device->gaps.count++;
    device->gaps.since_ns = clock_now_ns();
    tell(device, DEVICE_RESTARTS);
    timer_set(device->host->timers, &device->again, clock_now_ns() + wait_ms * 1000000ull);
    return true;
}

static void on_again(void *argument)
{
    struct device_process *device = argument;
    int err = spawn_again(device);
    if (err < 0) {
        give_up(device, strerror(-err));
        change(device, DEVICE_PROCESS_ENDED);
    }
}

/* Between two processes there is nothing to be asked to end. Whether it was so. */
static bool end_between(struct device_process *device)
{
    if (device->child || device->state != DEVICE_PROCESS_STARTING || !device->restarts)
        return false;
    timer_cancel(&device->again);
    restart_end(&device->restart);
    change(device, DEVICE_PROCESS_ENDED);
    return true;
}

static void on_end(void *argument, int status)
{
    struct device_process *device = argument;
    device->child = NULL;
    device->status = status;
    order_sender_end(&device->orders);
    /* A channel ends with its VMM, and tells by its status if its session was cut. */
    bool fails = !WIFEXITED(status) || (WEXITSTATUS(status) != 0 && !device->plan->is_channel);
    device->failed |= !device->stopping && (device->state == DEVICE_PROCESS_STARTING || fails);
    timer_cancel(&device->patience);
    child_log_free(device->log); /* its last words come before ours */
    device->log = NULL;
    if (WIFSIGNALED(status) && is_restarted(device, status))
        return;
    if (device->restarts)
        restart_end(&device->restart);
    if (child_exec_error(status))
        log_line("%s: can't start %s: %s", device->plan->id, device->plan->command.word[0],
                 strerror(child_exec_error(status)));
    else if (WIFSIGNALED(status))
        log_line("%s: was ended by signal %d (%s)", device->plan->id, WTERMSIG(status),
                 strsignal(WTERMSIG(status)));
    else if (WEXITSTATUS(status) != 0 || device->state == DEVICE_PROCESS_STARTING)
        log_line("%s: ended with status %d%s", device->plan->id, WEXITSTATUS(status),
                 device->state == DEVICE_PROCESS_STARTING ? " before it was ready" : "");
    change(device, DEVICE_PROCESS_ENDED);
}

static void on_silence(struct device_process *device)
{
    bool waits = device->on_hang == PLAN_PAUSE;
    log_line("%s: has given no sign of life for %u ms; %s", device->plan->id,
             device->plan->watchdog_ms, waits ? "pauses the VM" : "sends SIGKILL");
    device->hung = true;
    tell(device, DEVICE_HUNG);
    if (!waits)
        child_signal(device->child, SIGKILL);
}

static void on_patience(void *argument)
{
    struct device_process *device = argument;
    if (device->stopping) {
        log_line("%s: has not ended within %u s of SIGTERM; sends SIGKILL", device->plan->id,
                 LIMIT_STOP_MS / 1000);
        child_signal(device->child, SIGKILL);
        return;
    }
    if (device->state == DEVICE_PROCESS_READY && !device->expects_end) {
        on_silence(device);
        return;
    }
    device->failed = device->state == DEVICE_PROCESS_STARTING;
    if (device->failed)
        log_line("%s: is not ready after %u s; ends it", device->plan->id, LIMIT_START_MS / 1000);
    else
        log_line("%s: has not ended within %u s of its VMM; sends SIGTERM", device->plan->id,
                 LIMIT_STOP_MS / 1000);
    device_process_stop(device);
}

/* Its first strings are the supervisor's. */
static void free_environment(const struct device_process *device, char **environment)
{
    char *const *ours = device->host->environment;
    for (char **added = environment; *added; added++) {
        if (*ours)
            ours++;
        else
            free(*added);
    }
    free(environment);
}

/* The supervisor's environment, with the device's own ready socket and watchdog. */
static int set_environment(const struct device_process *device, const char *vault, int first_fd,
                           char ***ret_environment)
{
    char *const *ours = device->host->environment;
    unsigned count = 0;
    while (ours[count])
        count++;
    char **environment = calloc(count + 6, sizeof(*environment));
    if (!environment)
        return -ENOMEM;
    memcpy(environment, ours, count * sizeof(*environment));
    int len = asprintf(&environment[count], "NOTIFY_SOCKET=%s", ready_socket_name(device->ready));
    if (len >= 0)
        len = asprintf(&environment[count + 1], STATISTICS_VARIABLE "=%d", first_fd);
    if (len >= 0)
        len = asprintf(&environment[count + 2], ORDERS_VARIABLE "=%d", first_fd + 1);
    if (len >= 0 && vault)
        len = (environment[count + 3] = strdup(vault)) ? 0 : -1;
    if (len >= 0 && device->plan->watchdog_ms > 0)
        len = asprintf(&environment[count + 3 + (vault != NULL)], "WATCHDOG_USEC=%u000",
                       device->plan->watchdog_ms);
    if (len < 0) {
        free_environment(device, environment);
        return -ENOMEM;
    }
    *ret_environment = environment;
    return 0;
}

static int spawn(struct device_process *device, int socket_fd, int log_fd)
{
    char **environment = NULL;
    AUTO_FREE char *vault = NULL;
    AUTO_FD orders_fd = -1;
    int passed[3 + RESTART_FDS] = {socket_fd};
    unsigned count = socket_fd >= 0, more = 0;
    const int first_fd = PLAN_FIRST_FD + (int)count;
    int err = order_sender_begin(&device->orders, device->host->timers, SPARE_FD, &orders_fd);
    passed[count++] = device->statistics_fd;
    passed[count++] = orders_fd;
    if (err == 0 && device->restarts)
        err = restart_prepare(&device->restart, PLAN_FIRST_FD + (int)count, passed + count, &more,
                              &vault);
    if (err == 0)
        err = set_environment(device, vault, first_fd, &environment);
    if (err < 0)
        return err;
    const struct child_spec spec = {
        .argv = device->plan->command.word,
        .environment = environment,
        .fd = {-1, log_fd, log_fd},
        .passed = passed,
        .passed_count = count + more,
    };
    err = child_spawn(device->host->children, &spec, &device->child);
    if (device->restarts)
        restart_started(&device->restart);
    free_environment(device, environment);
    return err;
}

/* A process with a log and a ready socket of its own. */
static int begin(struct device_process *device, int socket_fd)
{
    struct loop *loop = device->host->loop;
    AUTO_FD log_fd = -1;
    int err = child_log_new(loop, device->host->timers, device->plan->id, &device->log, &log_fd);
    if (err == 0)
        err = ready_socket_new(loop, device->host->timers, on_told, device, &device->ready);
    if (err == 0)
        err = spawn(device, socket_fd, log_fd);
    if (err < 0)
        return err;
    child_watch(device->child, on_end, device);
    return ready_socket_trust(device->ready, child_pid(device->child));
}

static int spawn_again(struct device_process *device)
{
    ready_socket_free(device->ready);
    device->ready = NULL;
    int err = begin(device, device->restart.socket_fd);
    if (err == 0)
        set_patience(device, LIMIT_START_MS);
    return err;
}

/* A page whose length the device can't change, above the numbers that descriptors have there. */
static int make_statistics(struct device_process *device)
{
    AUTO_FD fd = memfd_create("outboard-statistics", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0 || ftruncate(fd, STATISTICS_LEN) < 0 ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) < 0)
        return -errno;
    device->statistics_fd = fcntl(fd, F_DUPFD_CLOEXEC, SPARE_FD);
    return device->statistics_fd < 0 ? -errno : 0;
}

int device_process_start(struct device_process *device, const struct plan_device *plan,
                         int socket_fd, const struct device_process_host *host,
                         struct ob_fault *fault)
{
    *device = (struct device_process){
        .host = host, .plan = plan, .on_hang = plan->on_hang, .statistics_fd = -1, .trace_fd = -1};
    timer_init(&device->patience, on_patience, device);
    timer_init(&device->again, on_again, device);
    int err = make_statistics(device);
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
    set_patience(device, LIMIT_STOP_MS);
}

void device_process_done(struct device_process *device)
{
    timer_cancel(&device->patience);
    timer_cancel(&device->again);
    if (device->restarts)
        restart_end(&device->restart);
    child_forget(device->child);
    order_sender_end(&device->orders);
    child_log_free(device->log);
    ready_socket_free(device->ready);
    auto_close(&device->statistics_fd);
    auto_close(&device->trace_fd);
}
