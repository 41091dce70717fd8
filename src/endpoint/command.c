// SPDX-License-Identifier: BSD-3-Clause
#include "endpoint/command.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/auto.h"
#include "endpoint/environment.h"
#include "endpoint/outside.h"
#include "os/socket.h"

#define TERMINAL_PATH_MAX 64

static int make_environment(const struct command *command, char ***ret_environment)
{
    char **environment;
    char variable[300];
    snprintf(variable, sizeof(variable), "OUTBOARD_SERVICE=%s",
             command->service ? command->service : "");
    int err = environment_new(environ, "/etc/passwd", geteuid(), &environment);
    if (err < 0)
        return err;
    err = environment_set(&environment, variable);
    if (err == 0 && command->terminal_type)
        err = environment_set(&environment, command->terminal_type);
    if (err < 0)
        environment_free(environment);
    else
        *ret_environment = environment;
    return err;
}

static int spawn(struct children *children, const struct command *command, struct child_spec spec,
                 struct child **ret_child)
{
    char *const shell[] = {"/bin/sh", "-c", (char *)command->shell, NULL};
    char **environment;
    int err = make_environment(command, &environment);
    if (err < 0)
        return err;
    spec.argv = command->shell ? shell : command->argv;
    spec.environment = environment;
    spec.open_files = command->open_files;
    err = child_spawn(children, &spec, ret_child);
    environment_free(environment);
    return err;
}

/* Returns the master of a new pseudo terminal, non-blocking, or a negative errno. */
static int open_terminal(const struct command *command, char ret_path[TERMINAL_PATH_MAX])
{
    struct winsize size = {.ws_row = command->rows, .ws_col = command->columns};
    AUTO_FD master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
    if (master < 0 || grantpt(master) < 0 || unlockpt(master) < 0 ||
        ptsname_r(master, ret_path, TERMINAL_PATH_MAX) != 0)
        return -errno;
    if (size.ws_row > 0)
        ioctl(master, TIOCSWINSZ, &size);
    return take_fd(&master);
}

static int start_on_terminal(struct children *children, const struct command *command,
                             struct child **ret_child)
{
    char path[TERMINAL_PATH_MAX];
    AUTO_FD master = open_terminal(command, path);
    if (master < 0)
        return master;
    struct child_spec spec = {.terminal = path};
    int err = spawn(children, command, spec, ret_child);
    return err < 0 ? err : take_fd(&master);
}

int command_start_joined(struct children *children, const struct command *command,
                         struct child **ret_child)
{
    struct command_pipes pipes;
    int ends[2];
    if (command->outside) {
        int err = outside_run(command->outside, command, true, &pipes, ret_child);
        return err < 0 ? err : pipes.in;
    }
    if (command->terminal)
        return start_on_terminal(children, command, ret_child);
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
        return -errno;
    AUTO_FD ours = ends[0];
    AUTO_FD theirs = ends[1];
    socket_refuse_fds(ours);
    if (fcntl(ours, F_SETFL, O_NONBLOCK) < 0)
        return -errno;
    struct child_spec spec = {.fd = {theirs, theirs, STDERR_FILENO}};
    int err = spawn(children, command, spec, ret_child);
    return err < 0 ? err : take_fd(&ours);
}

static int open_pipe(int *ret_reader, int *ret_writer)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return -errno;
    *ret_reader = ends[0];
    *ret_writer = ends[1];
    return 0;
}

static int open_pipes(struct command_pipes *ours, int theirs[3])
{
    int err = open_pipe(&theirs[0], &ours->in);
    if (err == 0)
        err = open_pipe(&ours->out, &theirs[1]);
    if (err == 0)
        err = open_pipe(&ours->err, &theirs[2]);
    if (err == 0 &&
        (fcntl(ours->in, F_SETFL, O_NONBLOCK) < 0 || fcntl(ours->out, F_SETFL, O_NONBLOCK) < 0 ||
         fcntl(ours->err, F_SETFL, O_NONBLOCK) < 0))
        err = -errno;
    return err;
}

int command_start(struct children *children, const struct command *command,
                  struct command_pipes *ret_pipes, struct child **ret_child)
{
    struct command_pipes ours = {-1, -1, -1};
    int theirs[3] = {-1, -1, -1};
    if (command->outside)
        return outside_run(command->outside, command, false, ret_pipes, ret_child);
    if (command->terminal) {
        int master = start_on_terminal(children, command, ret_child);
        *ret_pipes = (struct command_pipes){.in = master, .out = master, .err = -1};
        return master < 0 ? master : 0;
    }
    int err = open_pipes(&ours, theirs);
    if (err == 0) {
        struct child_spec spec = {.fd = {theirs[0], theirs[1], theirs[2]}};
        err = spawn(children, command, spec, ret_child);
    }
    for (int i = 0; i < 3; i++)
        auto_close(&theirs[i]);
    if (err < 0)
        command_pipes_close(&ours);
    else
        *ret_pipes = ours;
    return err;
}

char **command_split(char *arguments, size_t len)
{
    size_t count = 0;
    char *end = arguments + len;
    for (const char *at = arguments; at < end; at += strlen(at) + 1)
        count++;
    char **argv = calloc(count + 1, sizeof(*argv));
    if (!argv)
        return NULL;
    count = 0;
    for (char *at = arguments; at < end; at += strlen(at) + 1)
        argv[count++] = at;
    return argv;
}

void command_pipes_close(struct command_pipes *pipes)
{
    auto_close(&pipes->in);
    if (pipes->out != pipes->in)
        auto_close(&pipes->out);
    auto_close(&pipes->err);
    *pipes = (struct command_pipes){-1, -1, -1};
}
