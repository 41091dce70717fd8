// SPDX-License-Identifier: BSD-3-Clause
#include "agent/helper.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/auto.h"

static const char *const folders[] = {"/usr/local/sbin", "/usr/local/bin", "/usr/sbin",
                                      "/usr/bin",        "/sbin",          "/bin"};

/* The path of a program, or "". */
static void find(const char *name, char *ret_path, size_t size)
{
    snprintf(ret_path, size, "%s", name);
    if (strchr(name, '/'))
        return;
    for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++) {
        snprintf(ret_path, size, "%s/%s", folders[i], name);
        if (access(ret_path, X_OK) == 0)
            return;
    }
    *ret_path = '\0';
}

int helper_exists(const char *name)
{
    char path[256];
    find(name, path, sizeof(path));
    return path[0] != '\0';
}

/* A file in memory with the input, at its beginning. */
static int make_input(const char *input, size_t len)
{
    if (!input)
        return open("/dev/null", O_RDONLY | O_CLOEXEC);
    AUTO_FD fd = memfd_create("input", MFD_CLOEXEC);
    if (fd < 0 || write(fd, input, len) != (ssize_t)len || lseek(fd, 0, SEEK_SET) != 0)
        return -errno;
    return take_fd(&fd);
}

/* The child dies with the worker, which is killed when its time is over. */
static pid_t start(const char *path, char *const *argv, int in, int out)
{
    pid_t parent = getpid();
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    signal(SIGXFSZ, SIG_DFL);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() == parent && dup2(in, 0) == 0 && dup2(out, 1) == 1 && dup2(out, 2) == 2) {
        closefrom(3);
        execv(path, argv);
    }
    _exit(127);
}

static void read_output(int fd, char *ret_output)
{
    char rest[256];
    size_t len = 0;
    ssize_t got;
    while (len + 1 < HELPER_OUTPUT_MAX &&
           (got = read(fd, ret_output + len, HELPER_OUTPUT_MAX - 1 - len)) > 0)
        len += (size_t)got;
    while (read(fd, rest, sizeof(rest)) > 0)
        ;
    while (len > 0 && ret_output[len - 1] == '\n')
        len--;
    ret_output[len] = '\0';
}

static int wait_for(pid_t pid)
{
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

int helper_run(char *const *argv, const char *input, size_t input_len,
               struct helper_result *ret_result)
{
    char path[256];
    int ends[2];
    find(argv[0], path, sizeof(path));
    if (!path[0])
        return -ENOENT;
    AUTO_FD in = make_input(input, input_len);
    if (in < 0)
        return in;
    if (pipe2(ends, O_CLOEXEC) < 0)
        return -errno;
    AUTO_FD out = ends[0];
    pid_t pid = start(path, argv, in, ends[1]);
    close(ends[1]);
    if (pid < 0)
        return -errno;
    read_output(out, ret_result->output);
    ret_result->status = wait_for(pid);
    return 0;
}

int helper_run_silent(const char *path, const char *word)
{
    char *const argv[] = {(char *)path, (char *)word, NULL};
    AUTO_FD nothing = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (nothing < 0)
        return -errno;
    pid_t pid = start(path, argv, nothing, nothing);
    return pid < 0 ? -errno : wait_for(pid);
}
