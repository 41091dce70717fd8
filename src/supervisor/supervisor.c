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
#include "supervisor/device_process.h"

/* Descriptors of ours lie above the numbers that they will have in the VMM. */
#define SPARE_FD (PLAN_FIRST_FD + (int)LIMIT_DEVICES)

struct supervisor {
    const struct plan *plan;
    struct loop *loop;
    struct timers timers;
    struct children *children;
    char **environment;
    struct device_process_host host;
    struct device_process devices[LIMIT_DEVICES];
    unsigned started;
    int vmm_fds[LIMIT_DEVICES]; /* the VMM's ends, until it has them */
    unsigned vmm_fd_count;
    struct child *vmm; /* NULL: not yet, or has ended */
    struct timer vmm_patience;
    int signal_fd;
    struct loop_source *signals;
    bool running; /* all devices were ready */
    bool ending;
    enum supervisor_status status; /* the first failure */
};

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
    if (WIFSIGNALED(status) && !supervisor->ending)
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

static void start_vmm(struct supervisor *supervisor)
{
    const struct child_spec spec = {
        .argv = supervisor->plan->vmm.word,
        .environment = supervisor->environment,
        .fd = {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO},
        .passed = supervisor->vmm_fds,
        .passed_count = supervisor->vmm_fd_count,
        .attached = true,
    };
    int err = child_spawn(supervisor->children, &spec, &supervisor->vmm);
    close_vmm_fds(supervisor);
    if (err < 0) {
        log_line("[machine]: can't start %s: %s", supervisor->plan->vmm.word[0], strerror(-err));
        fail(supervisor, SUPERVISOR_VMM);
        supervisor->ending = true;
        stop_devices(supervisor);
        return;
    }
    child_watch(supervisor->vmm, vmm_ended, supervisor);
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

/* All devices are ready. */
static void run(struct supervisor *supervisor)
{
    supervisor->running = true;
    if (supervisor->plan->vmm.count > 0)
        start_vmm(supervisor);
}

/* A device has become ready, or has ended. */
static void device_changed(void *argument)
{
    struct supervisor *supervisor = argument;
    bool starting = !supervisor->running && !supervisor->ending;
    for (unsigned i = 0; i < supervisor->started; i++) {
        const struct device_process *device = &supervisor->devices[i];
        if (device->failed)
            fail(supervisor, SUPERVISOR_DEVICE);
        if (device->hung && device->plan->on_hang == PLAN_KILL)
            kill_vmm(supervisor);
    }
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

static int move_up(int fd)
{
    int high = fcntl(fd, F_DUPFD_CLOEXEC, SPARE_FD);
    int err = high < 0 ? -errno : high;
    close(fd);
    return err;
}

static int make_pair(struct supervisor *supervisor, int *ret_fd)
{
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
        return -errno;
    AUTO_FD theirs = move_up(ends[1]);
    AUTO_FD vmm = move_up(ends[0]);
    if (theirs < 0 || vmm < 0)
        return theirs < 0 ? theirs : vmm;
    supervisor->vmm_fds[supervisor->vmm_fd_count++] = take_fd(&vmm);
    *ret_fd = take_fd(&theirs);
    return 0;
}

/* The folder is ours alone, so that the socket's mode does not matter. */
static int make_listener(const char *path, int *ret_fd)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    AUTO_FD fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    memcpy(address.sun_path, path, strlen(path));
    if (fd < 0 || bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 ||
        listen(fd, SOMAXCONN) < 0)
        return -errno;
    int high = move_up(take_fd(&fd));
    if (high >= 0)
        *ret_fd = high;
    return high < 0 ? high : 0;
}

/* Makes the device's descriptor 3, which is the caller's; -1: it makes its own socket. */
static int make_socket(struct supervisor *supervisor, const struct plan_device *plan, int *ret_fd)
{
    switch (plan->socket) {
    case PLAN_PAIR:
        return make_pair(supervisor, ret_fd);
    case PLAN_LISTENER:
        return make_listener(plan->path, ret_fd);
    case PLAN_PATH:
        break;
    }
    return 0;
}

static int start_device(struct supervisor *supervisor, const struct plan_device *plan,
                        struct ob_fault *fault)
{
    AUTO_FD fd = -1;
    int err = make_socket(supervisor, plan, &fd);
    if (err < 0)
        return ob_fault_set(fault, err, "[device \"%s\"]: can't make its socket: %s", plan->id,
                            strerror(-err));
    return device_process_start(&supervisor->devices[supervisor->started++], plan, fd,
                                &supervisor->host, fault);
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
    timer_init(&supervisor->vmm_patience, vmm_too_slow, supervisor);
    int err = loop_new(&supervisor->loop);
    err = err ? err : watch_signals(supervisor);
    err = err ? err : children_new(supervisor->loop, &supervisor->children);
    err = err ? err : closer_start();
    err = err ? err : environment_new(environ, "", getuid(), &supervisor->environment);
    supervisor->host = (struct device_process_host){
        .loop = supervisor->loop,
        .timers = &supervisor->timers,
        .children = supervisor->children,
        .environment = supervisor->environment,
        .spare_fd = SPARE_FD,
        .changed = device_changed,
        .argument = supervisor,
    };
    return err;
}

static bool is_over(const struct supervisor *supervisor)
{
    return !supervisor->vmm && count(supervisor, DEVICE_PROCESS_ENDED) == supervisor->started;
}

static int wait_ms(const struct supervisor *supervisor)
{
    uint64_t due_ns = timers_next(&supervisor->timers), now_ns = clock_now_ns();
    if (due_ns == TIMER_NEVER)
        return -1;
    return due_ns <= now_ns ? 0 : (int)((due_ns - now_ns) / 1000000u) + 1;
}

static void done(struct supervisor *supervisor)
{
    for (unsigned i = 0; i < supervisor->started; i++) {
        if (supervisor->devices[i].plan->socket == PLAN_LISTENER)
            unlink(supervisor->devices[i].plan->path);
        device_process_done(&supervisor->devices[i]);
    }
    close_vmm_fds(supervisor);
    children_free(supervisor->children);
    loop_remove(supervisor->signals);
    if (supervisor->signal_fd >= 0)
        close(supervisor->signal_fd);
    loop_free(supervisor->loop);
    environment_free(supervisor->environment);
    closer_stop(CLOSER_PATIENCE_MS);
    free(supervisor);
}

enum supervisor_status supervisor_run(const struct plan *plan)
{
    struct supervisor *supervisor = calloc(1, sizeof(*supervisor));
    int err = supervisor ? 0 : -ENOMEM;
    if (supervisor) {
        supervisor->plan = plan;
        supervisor->signal_fd = -1;
        err = prepare(supervisor);
    }
    if (err < 0) {
        log_line("can't start: %s", strerror(-err));
        if (supervisor)
            done(supervisor);
        return SUPERVISOR_SELF;
    }
    start_devices(supervisor);
    while (!is_over(supervisor)) {
        loop_wait(supervisor->loop, wait_ms(supervisor));
        timers_run(&supervisor->timers, clock_now_ns());
    }
    enum supervisor_status status = supervisor->status;
    done(supervisor);
    return status;
}
