// SPDX-License-Identifier: BSD-3-Clause
/*
 * outboard pair: for a VMM without a path for the device's socket (x-pci-proxy-dev of QEMU
 * takes a descriptor): makes a socket pair for each device, starts the devices, and becomes the
 * VMM.
 *
 * A device is a grandchild, so that the VMM has no child that it does not know of. A pipe that
 * closes at the exec tells whether that went well.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/auto.h"
#include "command.h"
#include "os/log.h"

#define FIRST_FD   3
#define MAX_PAIRS  32
#define CANT_START 127 /* as a shell has it */

/* Both ends lie above the numbers that they will have. */
#define SPARE_FD (FIRST_FD + MAX_PAIRS)

static const char fd_option[] = "--fd=3";

static void print_help(void)
{
    puts(
        "usage: outboard pair DEVICE [ARGUMENT...] -- [DEVICE [ARGUMENT...] --]... VMM "
        "[ARGUMENT...]\n"
        "\n"
        "Starts each device program with --fd=3 behind its arguments, one end of a socket pair, "
        "and\n"
        "becomes the VMM, which has the other ends as descriptors 3, 4 and so on, in the order of\n"
        "the devices. A device ends with its VMM.\n"
        "\n"
        "    outboard pair outboard-backdoor --library=./mine.so -- \\\n"
        "        qemu-system-x86_64 ... -device x-pci-proxy-dev,id=backdoor,fd=3");
}

static int move_up(int fd)
{
    int high = fcntl(fd, F_DUPFD_CLOEXEC, SPARE_FD);
    close(fd);
    return high;
}

/* The grandchild. Returns only if that fails. */
static void become_device(char **argv, int argc, int fd)
{
    char **arguments = calloc((size_t)argc + 2, sizeof(*arguments));
    if (!arguments)
        return;
    memcpy(arguments, argv, (size_t)argc * sizeof(*arguments));
    arguments[argc] = (char *)fd_option;
    log_give_back_signals();
    if (dup2(fd, FIRST_FD) == FIRST_FD)
        execvp(arguments[0], arguments);
    free(arguments);
}

/* Forks twice. Returns in the first process, with the child's pid or -1. */
static pid_t fork_device(char **argv, int argc, int fd, int failure_fd)
{
    pid_t child = fork();
    if (child != 0)
        return child;
    pid_t grandchild = fork();
    if (grandchild == 0)
        become_device(argv, argc, fd);
    int err = errno;
    if (grandchild <= 0 && write(failure_fd, &err, sizeof(err)) < 0)
        _exit(CANT_START);
    _exit(0);
}

/* Starts a device on one end. 0 or a negative errno. */
static int start_device(char **argv, int argc, int fd)
{
    int pipe_fd[2], err = 0;
    if (pipe2(pipe_fd, O_CLOEXEC) < 0)
        return -errno;
    AUTO_FD told_fd = move_up(pipe_fd[0]);
    int failure_fd = move_up(pipe_fd[1]);
    pid_t child = fork_device(argv, argc, fd, failure_fd);
    if (child < 0)
        err = errno;
    close(failure_fd);
    if (child > 0) {
        waitpid(child, NULL, 0);
        if (read(told_fd, &err, sizeof(err)) != sizeof(err))
            err = 0;
    }
    return -err;
}

/* Gives the VMM its ends by their numbers. */
static int hand_over(const int *fds, int count)
{
    for (int i = 0; i < count; i++) {
        if (dup2(fds[i], FIRST_FD + i) < 0)
            return -errno;
    }
    return 0;
}

static int start_pair(char **argv, int argc, int *ret_fd)
{
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
        return -errno;
    AUTO_FD theirs = move_up(ends[1]);
    AUTO_FD ours = move_up(ends[0]);
    int err = ours < 0 || theirs < 0 ? -EMFILE : start_device(argv, argc, theirs);
    if (err == 0)
        *ret_fd = take_fd(&ours);
    return err;
}

/* Words up to the next "--", or all. */
static int count_words(char **argv)
{
    int count = 0;
    while (argv[count] && strcmp(argv[count], "--") != 0)
        count++;
    return count;
}

static int cant_start(const char *name, int err)
{
    log_line("can't start %s: %s", name, strerror(-err));
    return CANT_START;
}

int cmd_pair(int argc, char **argv)
{
    int fds[MAX_PAIRS], pairs = 0;
    char **words = argv + 1;
    if (log_start("outboard pair") < 0)
        return EXIT_FAILURE;
    if (argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
        print_help();
        return EXIT_SUCCESS;
    }
    for (int count; words[count = count_words(words)]; words += count + 1) {
        int err = pairs < MAX_PAIRS ? 0 : -E2BIG;
        if (count == 0 || words[0][0] == '-')
            break;
        if (err == 0)
            err = start_pair(words, count, &fds[pairs++]);
        if (err < 0)
            return cant_start(words[0], err);
    }
    if (pairs == 0 || !words[0] || words[0][0] == '-') {
        log_line("got no %s; give DEVICE [ARGUMENT...] -- VMM [ARGUMENT...]",
                 pairs == 0 ? "device" : "VMM");
        return EXIT_USAGE;
    }
    int err = hand_over(fds, pairs);
    log_give_back_signals();
    if (err == 0)
        execvp(words[0], words);
    return cant_start(words[0], err < 0 ? err : -errno);
}
