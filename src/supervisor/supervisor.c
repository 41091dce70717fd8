// SPDX-License-Identifier: BSD-3-Clause
#include "supervisor/supervisor.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/auto.h"
#include "endpoint/environment.h"
#include "os/clock.h"
#include "os/closer.h"
#include "os/log.h"
#include "os/notify.h"
#include "supervisor/adoption.h"
#include "supervisor/commands.h"
#include "supervisor/device_socket.h"
#include "supervisor/guardian.h"
#include "supervisor/health.h"
#include "supervisor/internal.h"
#include "supervisor/notice.h"
#include "supervisor/progress.h"
#include "supervisor/view.h"

static void fail(struct supervisor *supervisor, enum supervisor_status who)
{
    if (supervisor->status == SUPERVISOR_OK)
        supervisor->status = who;
}

static void stop_devices(struct supervisor *supervisor)
{
    for (unsigned i = 0; i < supervisor->started; i++)
        device_process_stop(&supervisor->devices[i]);
}

/* A device that listens does not end with its VMM; it has to be asked. */
static void stop_listeners(struct supervisor *supervisor)
{
    for (unsigned i = 0; i < supervisor->started; i++)
        if (supervisor->devices[i].plan->socket != PLAN_PAIR)
            device_process_stop(&supervisor->devices[i]);
}

static void vmm_ended(void *argument, int status)
{
    struct supervisor *supervisor = argument;
    supervisor->vmm = NULL;
    timer_cancel(&supervisor->vmm_patience);
    if (child_exec_error(status))
        log_line("[machine]: can't start %s: %s", supervisor->plan->vmm.word[0],
                 strerror(child_exec_error(status)));
    else if (WIFSIGNALED(status) && !supervisor->ending)
        log_line("the VMM was ended by signal %d (%s)", WTERMSIG(status),
                 strsignal(WTERMSIG(status)));
    else if (WIFEXITED(status) && WEXITSTATUS(status) != 0)
        log_line("the VMM ended with status %d", WEXITSTATUS(status));
    if (WIFEXITED(status) ? WEXITSTATUS(status) != 0 : !supervisor->ending)
        fail(supervisor, SUPERVISOR_VMM);
    supervisor->ending = true;
    stop_listeners(supervisor);
    for (unsigned i = 0; i < supervisor->started; i++)
        device_process_expect_end(&supervisor->devices[i]);
}

static void vmm_too_slow(void *argument)
{
    struct supervisor *supervisor = argument;
    log_line("the VMM has not ended within %u s of SIGTERM; sends SIGKILL", LIMIT_STOP_MS / 1000);
    child_signal(supervisor->vmm, SIGKILL);
}

static void close_vmm_fds(struct supervisor *supervisor)
{
    while (supervisor->vmm_fd_count > 0)
        close(supervisor->vmm_fds[--supervisor->vmm_fd_count]);
}

static void on_qmp(void *argument, const char *event, const struct json *data)
{
    health_on_qmp(argument, event);
    hotplug_on_qmp(argument, event, data);
}

static void connect_qmp(struct supervisor *supervisor)
{
    const char *path = supervisor->plan->qmp;
    if (!path)
        return;
    int err =
        qmp_new(supervisor->loop, &supervisor->timers, path, on_qmp, supervisor, &supervisor->qmp);
    if (err < 0)
        log_line("can't connect to the VMM's QMP: %s", strerror(-err));
    else
        health_start(supervisor);
}

/* QEMU's listener for QMP is the last of its descriptors. */
static int make_qmp(struct supervisor *supervisor)
{
    int fd;
    int err = supervisor->plan->qmp ? device_socket_listen(supervisor->plan->qmp, &fd) : 0;
    if (err == 0 && supervisor->plan->qmp)
        supervisor->vmm_fds[supervisor->vmm_fd_count++] = fd;
    return err;
}

static void start_vmm(struct supervisor *supervisor)
{
    struct child_spec spec = {
        .argv = supervisor->plan->vmm.word,
        .environment = supervisor->environment,
        .fd = {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO},
        .passed = supervisor->vmm_fds,
        .attached = true,
    };
    int err = make_qmp(supervisor);
    spec.passed_count = supervisor->vmm_fd_count;
    if (err == 0)
        err = child_spawn(supervisor->children, &spec, &supervisor->vmm);
    close_vmm_fds(supervisor);
    if (err < 0) {
        log_line("[machine]: can't start %s: %s", supervisor->plan->vmm.word[0], strerror(-err));
        fail(supervisor, SUPERVISOR_VMM);
        supervisor->ending = true;
        stop_devices(supervisor);
        return;
    }
    child_watch(supervisor->vmm, vmm_ended, supervisor);
    connect_qmp(supervisor);
}

/* Ends everything, VMM first. */
static void end(struct supervisor *supervisor)
{
    supervisor->ending = true;
    if (supervisor->vmm) {
        child_signal(supervisor->vmm, SIGTERM);
        timer_set(&supervisor->timers, &supervisor->vmm_patience,
                  clock_now_ns() + LIMIT_STOP_MS * 1000000ull);
    } else {
        close_vmm_fds(supervisor);
        stop_devices(supervisor);
    }
}

static unsigned count(const struct supervisor *supervisor, enum device_process_state state)
{
    unsigned number = 0;
    for (unsigned i = 0; i < supervisor->started; i++)
        number += supervisor->devices[i].state == state;
    return number;
}

/* A device has hung, and its VMM shall not outlive that. */
static void kill_vmm(struct supervisor *supervisor)
{
    if (!supervisor->vmm || supervisor->ending)
        return;
    log_line("sends SIGKILL to the VMM, as on-hang = \"kill\" says");
    supervisor->ending = true;
    child_signal(supervisor->vmm, SIGKILL);
}

static void tell_launcher(const struct supervisor *supervisor, const char *text)
{
    notify_send_to(supervisor->notify_fd, text);
}

/* From now on the processes can outlive this one. */
static void guard(struct supervisor *supervisor)
{
    int pid =
        guardian_start(supervisor->plan, supervisor->guard.ledger, supervisor->guard.ledger_fd);
    if (pid < 0)
        log_line("can't start a guardian, so nobody could take the machine over: %s",
                 strerror(-pid));
    supervisor->guard.guardian = pid;
}

/* All devices are ready. */
static void run(struct supervisor *supervisor)
{
    supervisor->running = true;
    progress_end();
    ledger_write(supervisor->guard.ledger, supervisor);
    guard(supervisor);
    tell_launcher(supervisor, "READY=1\nSTATUS=running");
    if (supervisor->plan->vmm.count > 0)
        start_vmm(supervisor);
}

static void device_told(void *argument, const struct device_process *device,
                        enum device_event event)
{
    static const char *const names[] = {
        [DEVICE_BECAME_READY] = "DEVICE_READY", [DEVICE_ENDED] = "DEVICE_GONE",
        [DEVICE_HUNG] = "DEVICE_HUNG",          [DEVICE_ALIVE] = "DEVICE_ALIVE",
        [DEVICE_RESTARTS] = "DEVICE_RESTARTS",  [DEVICE_CLIENT_CAME] = "CLIENT_CAME",
        [DEVICE_CLIENT_WENT] = "CLIENT_WENT",   [DEVICE_UPGRADED] = "DEVICE_UPGRADED",
    };
    const struct supervisor *supervisor = argument;
    notice_device(supervisor, names[event], device);
    if (event == DEVICE_HUNG || event == DEVICE_ALIVE)
        health_on_device(argument);
    if (event == DEVICE_ENDED)
        saving_forget(argument, (unsigned)(device - supervisor->devices));
}

/* A device has become ready, or has ended. */
static void device_changed(void *argument)
{
    struct supervisor *supervisor = argument;
    bool starting = !supervisor->running && !supervisor->ending;
    for (unsigned i = 0; i < supervisor->started; i++) {
        const struct device_process *device = &supervisor->devices[i];
        if (device->failed && !hotplug_expects_end(&supervisor->plugs[i]))
            fail(supervisor, SUPERVISOR_DEVICE);
        if (device->hung && device->on_hang == PLAN_KILL)
            kill_vmm(supervisor);
    }
    hotplug_on_change(supervisor);
    if (starting)
        progress_show(count(supervisor, DEVICE_PROCESS_READY), supervisor->plan->device_count);
    if (starting && count(supervisor, DEVICE_PROCESS_ENDED) > 0)
        end(supervisor);
    else if (starting && count(supervisor, DEVICE_PROCESS_READY) == supervisor->plan->device_count)
        run(supervisor);
}

static void on_signal(void *argument, uint32_t events)
{
    struct supervisor *supervisor = argument;
    struct signalfd_siginfo info;
    while (read(supervisor->signal_fd, &info, sizeof(info)) == sizeof(info)) {
        if (!supervisor->ending)
            end(supervisor);
        else if (supervisor->vmm)
            child_signal(supervisor->vmm, SIGKILL);
    }
}

static int start_device(struct supervisor *supervisor, const struct plan_device *plan,
                        struct ob_fault *fault)
{
    AUTO_FD fd = -1;
    int vmm_fd;
    int err = view_open(&supervisor->plugs[supervisor->started], fault);
    if (err < 0)
        return err;
    err = device_socket_make(plan, &fd, &vmm_fd);
    if (err == 0 && vmm_fd >= 0)
        supervisor->vmm_fds[supervisor->vmm_fd_count++] = vmm_fd;
    if (err < 0)
        return ob_fault_set(fault, err, "[device \"%s\"]: can't make its socket: %s", plan->id,
                            strerror(-err));
    struct device_process *device = &supervisor->devices[supervisor->started++];
    err = device_process_start(device, plan, fd, &supervisor->host, fault);
    if (err < 0 && !device->child)
        device->state = DEVICE_PROCESS_ENDED; /* nobody waits for its end */
    return err;
}

static void start_devices(struct supervisor *supervisor)
{
    struct ob_fault fault = {0};
    const struct plan *plan = supervisor->plan;
    for (unsigned i = 0; i < plan->device_count; i++) {
        if (start_device(supervisor, &plan->devices[i], &fault) == 0)
            continue;
        log_line("%s", fault.text);
        fail(supervisor, SUPERVISOR_DEVICE);
        end(supervisor);
        return;
    }
}

static int watch_signals(struct supervisor *supervisor)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
        return -errno;
    supervisor->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return supervisor->signal_fd < 0 ? -errno
                                     : loop_add(supervisor->loop, supervisor->signal_fd, EPOLLIN,
                                                on_signal, supervisor, &supervisor->signals);
}

static int prepare(struct supervisor *supervisor)
{
    timers_init(&supervisor->timers);
    saving_init(supervisor);
    timer_init(&supervisor->vmm_patience, vmm_too_slow, supervisor);
    int err = loop_new(&supervisor->loop);
    err = err ? err : watch_signals(supervisor);
    err = err ? err : children_new(supervisor->loop, &supervisor->children);
    err = err ? err : closer_start();
    err = err ? err : environment_new(environ, "", getuid(), &supervisor->environment);
    supervisor->start_ns = clock_now_ns();
    supervisor->notify_fd = -1;
    notify_connect(&supervisor->notify_fd); /* who can't be reached misses nothing that it needs */
    for (unsigned i = 0; i < LIMIT_DEVICES; i++) {
        supervisor->plugs[i] = (struct plug){.supervisor = supervisor, .vmm_fd = -1};
        supervisor->devices[i].statistics_fd = supervisor->devices[i].trace_fd = -1;
    }
    supervisor->host = (struct device_process_host){
        .loop = supervisor->loop,
        .timers = &supervisor->timers,
        .children = supervisor->children,
        .environment = supervisor->environment,
        .spare_fd = SPARE_FD,
        .changed = device_changed,
        .told = device_told,
        .argument = supervisor,
    };
    return err;
}

static bool is_over(const struct supervisor *supervisor)
{
    return !supervisor->vmm && count(supervisor, DEVICE_PROCESS_ENDED) == supervisor->started;
}

static void done(struct supervisor *supervisor)
{
    guardian_end(supervisor->guard.guardian);
    ledger_free(supervisor->guard.ledger);
    auto_close(&supervisor->guard.ledger_fd);
    hotplug_done(supervisor);
    saving_done(supervisor);
    qmp_free(supervisor->qmp);
    for (unsigned i = 0; i < supervisor->started; i++)
        order_sender_end(&supervisor->devices[i].orders);
    for (unsigned i = 0; i < LIMIT_DEVICES; i++)
        view_close(&supervisor->plugs[i]);
    monitor_free(supervisor->monitor);
    if (supervisor->plan->qmp)
        unlink(supervisor->plan->qmp);
    for (unsigned i = 0; i < supervisor->started; i++) {
        if (supervisor->plan->devices[i].socket == PLAN_LISTENER)
            unlink(supervisor->plan->devices[i].path);
        device_process_done(&supervisor->devices[i]);
    }
    close_vmm_fds(supervisor);
    children_free(supervisor->children);
    loop_remove(supervisor->signals);
    if (supervisor->signal_fd >= 0)
        close(supervisor->signal_fd);
    loop_free(supervisor->loop);
    auto_close(&supervisor->notify_fd);
    environment_free(supervisor->environment);
    closer_stop(CLOSER_PATIENCE_MS);
    free(supervisor);
}

static int open_monitor(struct supervisor *supervisor)
{
    struct ob_fault fault = {0};
    const struct monitor_config config = {
        .loop = supervisor->loop,
        .timers = &supervisor->timers,
        .path = supervisor->plan->control,
        .machine = supervisor->plan->machine,
        .access = &supervisor->plan->control_access,
        .called = commands_call,
        .argument = supervisor,
    };
    int err = monitor_new(&config, &supervisor->monitor, &fault);
    if (err < 0)
        log_line("%s", fault.text);
    return err;
}

/* NULL: no memory, or another reason, which was told. */
static struct supervisor *make(struct plan *plan)
{
    struct supervisor *supervisor = calloc(1, sizeof(*supervisor));
    if (!supervisor) {
        log_line("can't start: %s", strerror(ENOMEM));
        return NULL;
    }
    supervisor->plan = plan;
    supervisor->signal_fd = supervisor->guard.ledger_fd = -1;
    int err = prepare(supervisor);
    if (err == 0)
        err =
            ledger_new(plan->config->path, &supervisor->guard.ledger, &supervisor->guard.ledger_fd);
    if (err < 0)
        log_line("can't start: %s", strerror(-err));
    else
        err = open_monitor(supervisor);
    if (err == 0)
        return supervisor;
    done(supervisor);
    return NULL;
}

/* Until the machine's end. The supervisor is freed. */
static enum supervisor_status serve(struct supervisor *supervisor)
{
    while (!is_over(supervisor)) {
        ledger_write(supervisor->guard.ledger, supervisor);
        loop_wait(supervisor->loop,
                  timer_wait_ms(timers_next(&supervisor->timers), clock_now_ns()));
        timers_run(&supervisor->timers, clock_now_ns());
    }
    enum supervisor_status status = supervisor->status;
    done(supervisor);
    return status;
}

enum supervisor_status supervisor_run(struct plan *plan)
{
    struct supervisor *supervisor = make(plan);
    if (!supervisor)
        return SUPERVISOR_SELF;
    tell_launcher(supervisor, "STATUS=starting devices");
    start_devices(supervisor);
    return serve(supervisor);
}

static int adopt_devices(struct supervisor *supervisor, const struct adoption *adoption,
                         struct ob_fault *fault)
{
    for (unsigned i = 0; i < supervisor->plan->device_count; i++) {
        const struct plan_device *plan = &supervisor->plan->devices[i];
        struct ledger_device record;
        int err = adoption_device(adoption, plan->id, &record);
        if (err < 0)
            return ob_fault_set(fault, err, "%s: can't take it over: %s", plan->id, strerror(-err));
        err = view_open(&supervisor->plugs[i], fault);
        if (err < 0)
            return err;
        err = device_process_adopt(&supervisor->devices[supervisor->started++], plan, &record,
                                   &supervisor->host, fault);
        if (err < 0)
            return err;
    }
    return 0;
}

static int adopt_vmm(struct supervisor *supervisor, const struct adoption *adoption,
                     struct ob_fault *fault)
{
    const struct ledger_state *state = &adoption->state;
    int fd = -1, err = 0;
    if (state->vmm_pid > 0)
        err = adoption_fetch(adoption, state->vmm_fd, &fd);
    if (err == 0 && fd >= 0)
        err = child_adopt_process(supervisor->children, state->vmm_pid, fd, &supervisor->vmm);
    if (err < 0)
        return ob_fault_set(fault, err, "can't take the VMM over: %s", strerror(-err));
    if (supervisor->vmm)
        child_watch(supervisor->vmm, vmm_ended, supervisor);
    return 0;
}

enum supervisor_status supervisor_adopt(struct plan *plan, struct adoption *adoption)
{
    struct ob_fault fault = {0};
    struct supervisor *supervisor = make(plan);
    int err = supervisor ? adopt_vmm(supervisor, adoption, &fault) : -ENOMEM;
    if (err == 0)
        err = adopt_devices(supervisor, adoption, &fault);
    if (err < 0) {
        adoption_close(adoption); /* its guardian waits for the next one */
        if (supervisor) {
            log_line("%s", fault.text);
            done(supervisor);
        }
        return SUPERVISOR_SELF;
    }
    supervisor->running = true;
    ledger_write(supervisor->guard.ledger, supervisor);
    guard(supervisor);
    adoption_finish(adoption);
    if (supervisor->vmm)
        connect_qmp(supervisor);
    tell_launcher(supervisor, "READY=1\nSTATUS=running");
    return serve(supervisor);
}
