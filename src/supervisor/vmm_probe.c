// SPDX-License-Identifier: BSD-3-Clause
#include "supervisor/vmm_probe.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/auto.h"
#include "os/clock.h"

#define OUTPUT_MAX    (1u << 20) /* QEMU 7.2 prints 50 KiB */
#define PROBE_TIME_MS 20000u

static int spawn(const char *program, int output_fd, pid_t *ret_pid)
{
    char *argv[] = {(char *)program, "-device", "help", NULL};
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, output_fd, STDOUT_FILENO);
    int err = posix_spawnp(ret_pid, program, &actions, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    return -err;
}

/* Reads to the end. Bytes beyond the room are read and dropped. */
static int read_all(int fd, char *text, size_t size)
{
    char rest[4096] = "";
    size_t len = 0;
    uint64_t until_ns = clock_now_ns() + PROBE_TIME_MS * 1000000ull;
    for (;;) {
        struct pollfd waiting = {.fd = fd, .events = POLLIN};
        uint64_t now_ns = clock_now_ns();
        if (now_ns >= until_ns)
            return -ETIMEDOUT;
        if (poll(&waiting, 1, (int)((until_ns - now_ns) / 1000000u) + 1) <= 0)
            continue;
        bool room = len + 1 < size;
        ssize_t got = read(fd, room ? text + len : rest, room ? size - len - 1 : sizeof(rest));
        if (got <= 0)
            break;
        len += room ? (size_t)got : 0;
    }
    text[len] = '\0';
    return 0;
}

static int ask(const char *program, char *text, size_t size)
{
    int ends[2];
    pid_t pid;
    if (pipe2(ends, O_CLOEXEC) < 0)
        return -errno;
    AUTO_FD output_fd = ends[0];
    int err = spawn(program, ends[1], &pid);
    close(ends[1]);
    if (err < 0)
        return err;
    err = read_all(output_fd, text, size);
    if (err < 0)
        kill(pid, SIGKILL);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
    return err;
}

int vmm_probe(const char *program, struct vmm_ability *ret_ability, struct ob_fault *fault)
{
    const char *slash = strrchr(program, '/');
    struct vmm_ability ability = {.qemu = strstr(slash ? slash : program, "qemu") != NULL};
    if (ability.qemu) {
        AUTO_FREE char *text = malloc(OUTPUT_MAX);
        int err = text ? ask(program, text, OUTPUT_MAX) : -ENOMEM;
        if (err < 0)
            return ob_fault_set(fault, err, "[machine]: can't ask %.100s -device help: %s", program,
                                strerror(-err));
        ability.vfio_user = strstr(text, "name \"vfio-user-pci\"") != NULL;
        ability.mpqemu = strstr(text, "name \"x-pci-proxy-dev\"") != NULL;
    }
    *ret_ability = ability;
    return 0;
}
