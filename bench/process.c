// SPDX-License-Identifier: BSD-3-Clause
#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "os/clock.h"
#include "os/socket.h"

#define CONNECT_TIMEOUT_MS 1000

/* What the started programs say, for the case that one fails; made at the first use. */
static int programs_log(void)
{
    static int log_fd = -1;
    if (log_fd < 0)
        log_fd = memfd_create("bench-log", MFD_CLOEXEC);
    return log_fd;
}

static void show_log(void)
{
    char text[1024];
    off_t end = lseek(programs_log(), 0, SEEK_END);
    off_t from = end > (off_t)sizeof(text) ? end - (off_t)sizeof(text) : 0;
    ssize_t len = pread(programs_log(), text, sizeof(text), from);
    if (len > 0)
        fprintf(stderr, "what the programs said last:\n%.*s", (int)len, text);
}

void bench_die(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("bench: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    show_log();
    exit(EXIT_FAILURE);
}

struct bench_processors bench_two_processors(void)
{
    cpu_set_t allowed;
    int found[2], count = 0;
    if (sched_getaffinity(0, sizeof(allowed), &allowed) < 0)
        bench_die("can't learn which processors there are: %s", strerror(errno));
    for (int i = 0; i < CPU_SETSIZE && count < 2; i++)
        if (CPU_ISSET(i, &allowed))
            found[count++] = i;
    if (count < 2)
        return (struct bench_processors){.client = -1, .server = -1};
    return (struct bench_processors){.client = found[0], .server = found[1]};
}

static void bind_process(pid_t pid, int processor)
{
    cpu_set_t only;
    if (processor < 0)
        return;
    CPU_ZERO(&only);
    CPU_SET(processor, &only);
    if (sched_setaffinity(pid, sizeof(only), &only) < 0)
        bench_die("can't use processor %d: %s", processor, strerror(errno));
}

void bench_bind(int processor)
{
    bind_process(0, processor);
}

/* Forks with a socketpair between the two. Returns in both; pid is 0 in the child. */
static struct bench_process split(int processor)
{
    int pair[2];
    struct bench_process process = {.started_ns = clock_now_ns()};
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        bench_die("no socketpair: %s", strerror(errno));
    process.pid = fork();
    if (process.pid < 0)
        bench_die("can't fork: %s", strerror(errno));
    process.fd = pair[process.pid ? 0 : 1];
    close(pair[process.pid ? 1 : 0]);
    if (process.pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        bench_bind(processor);
    }
    return process;
}

struct bench_process bench_start(char *const argv[], int processor, const char *notify_path)
{
    int log_fd = programs_log();
    struct bench_process process = split(processor);
    if (process.pid)
        return process;
    if (process.fd == BENCH_PEER_FD)
        fcntl(process.fd, F_SETFD, 0);
    else
        dup2(process.fd, BENCH_PEER_FD);
    if (notify_path)
        setenv("NOTIFY_SOCKET", notify_path, 1);
    dup2(log_fd, STDERR_FILENO);
    execvp(argv[0], argv);
    _exit(EXIT_FAILURE);
}

struct bench_process bench_fork(void (*run)(int fd, const void *argument), const void *argument,
                                int processor)
{
    struct bench_process process = split(processor);
    if (process.pid)
        return process;
    /* Without our ends of other processes' sockets, whose closing would be seen by nobody. */
    dup2(process.fd, BENCH_PEER_FD);
    close_range(BENCH_PEER_FD + 1, ~0u, 0);
    run(BENCH_PEER_FD, argument);
    _exit(EXIT_SUCCESS);
}

struct bench_process bench_connect(const char *path, int processor)
{
    struct ucred peer;
    socklen_t len = sizeof(peer);
    struct bench_process process = {.started_ns = clock_now_ns(),
                                    .foreign = true,
                                    .fd = socket_connect(path, CONNECT_TIMEOUT_MS)};
    if (process.fd < 0)
        bench_die("can't connect to %s: %s", path, strerror(-process.fd));
    if (getsockopt(process.fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0)
        bench_die("can't learn who listens at %s: %s", path, strerror(errno));
    process.pid = peer.pid;
    bind_process(process.pid, processor);
    return process;
}

void bench_end(struct bench_process *process)
{
    close(process->fd);
    if (!process->foreign)
        waitpid(process->pid, NULL, 0);
    process->fd = -1;
}

/* The state letter of a process, proc(5). */
static char state_of(pid_t pid)
{
    char path[64], state;
    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    FILE *file = fopen(path, "re");
    if (!file || fscanf(file, "%*d (%*[^)]) %c", &state) != 1)
        bench_die("can't read %s: %s", path, strerror(errno));
    fclose(file);
    return state;
}

void bench_wait_asleep(pid_t pid)
{
    while (state_of(pid) != 'S')
        sched_yield();
}

struct bench_memory bench_memory_of(pid_t pid)
{
    struct bench_memory memory = {0};
    char path[64], line[256];
    snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", (int)pid);
    FILE *file = fopen(path, "re");
    if (!file)
        bench_die("can't read %s: %s", path, strerror(errno));
    while (fgets(line, sizeof(line), file)) {
        unsigned long kib;
        if (sscanf(line, "Rss: %lu", &kib) == 1)
            memory.resident_kib = kib;
        else if (sscanf(line, "Private_Clean: %lu", &kib) == 1 ||
                 sscanf(line, "Private_Dirty: %lu", &kib) == 1)
            memory.private_kib += kib;
    }
    fclose(file);
    return memory;
}
