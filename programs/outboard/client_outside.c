// SPDX-License-Identifier: BSD-3-Clause
#include "client_outside.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/auto.h"
#include "os/socket.h"
#include "os/socket_child.h"
#include "proxy/serve.h"
#include "sandbox/outsider.h"

enum verb {
    CONNECT = 1,
    HANG_UP,
};

struct request {
    uint32_t verb;
    uint32_t timeout_s;
};

/* Connects to a proxy's control socket. Returns the descriptor, or a negative errno. */
static int reach_control(const char *path, uint32_t timeout_s)
{
    struct address address;
    struct sockaddr_storage kernel;
    struct ob_fault fault = {0};
    /* A listener that accepts nobody holds connect(2) up for so long. 0 would be for ever. */
    const struct timeval timeout = {.tv_sec = timeout_s, .tv_usec = timeout_s ? 0 : 1};
    if (address_parse_path(path, &address, &fault) < 0)
        return -ENAMETOOLONG;
    int len = address_to_kernel(&address, &kernel);
    AUTO_FD fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    socket_refuse_fds(fd);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout)) < 0)
        return -errno;
    if (connect(fd, (const struct sockaddr *)&kernel, (socklen_t)len) < 0)
        return errno == EAGAIN ? -ETIMEDOUT : -errno;
    return take_fd(&fd);
}

static int serve_parent(const struct proxy_options *options, int fd, pid_t parent)
{
    int status = EXIT_FAILURE;
    setsid();                  /* the keyboard's signals are for the command */
    unsetenv("NOTIFY_SOCKET"); /* who waits there waits for another program */
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent)
        return status;
    return serve_proxy(options, fd, NULL);
}

/* A descriptor or a negative errno. */
static int start_proxy(const struct proxy_options *options, pid_t *ret_proxy)
{
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
        return -errno;
    AUTO_FD ours = ends[0], theirs = ends[1];
    pid_t parent = getpid(), pid = fork();
    if (pid == 0) {
        close(ours);
        fcntl(theirs, F_SETFL, O_NONBLOCK);
        exit(serve_parent(options, theirs, parent));
    }
    if (pid < 0)
        return -errno;
    *ret_proxy = pid;
    return take_fd(&ours);
}

static void end_proxy(pid_t *proxy)
{
    if (*proxy <= 0)
        return;
    kill(*proxy, SIGTERM);
    waitpid(*proxy, NULL, 0);
    *proxy = 0;
}

/* Standard input and output are the command's alone: the reader of its output waits for the last process that
 * holds it. Signals of the keyboard are for the command. */
static int stand_aside(int fd, const struct client_target *target)
{
    sigset_t signals;
    if (!target->proxy)
        return socket_child_stand_alone(fd);
    sigfillset(&signals);
    sigdelset(&signals, SIGCHLD);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    if (target->proxy->channel.kind == CHANNEL_STDIO)
        return fd;
    AUTO_FD nothing = open("/dev/null", O_RDWR | O_CLOEXEC);
    return nothing < 0 || dup2(nothing, STDIN_FILENO) < 0 || dup2(nothing, STDOUT_FILENO) < 0
               ? -errno
               : fd;
}

static void answer(int outside, int result)
{
    const int32_t word = result < 0 ? result : 0;
    socket_send(outside, &word, sizeof(word), result > 0 ? result : -1);
}

static int work(int fd, const void *context)
{
    const struct client_target *target = context;
    const struct outsider_plan plan = {.dials_abstract =
                                           target->control && target->control[0] == '@'};
    struct request request;
    pid_t proxy = 0;
    int outside = stand_aside(fd, target);
    if (outside < 0)
        return EXIT_FAILURE;
    if (target->is_confined && !target->proxy)
        outsider_confine(&plan); /* as far as the kernel can */
    while (recv(outside, &request, sizeof(request), 0) == sizeof(request)) {
        end_proxy(&proxy);
        AUTO_FD connected = request.verb != CONNECT ? -1
                            : target->proxy         ? start_proxy(target->proxy, &proxy)
                                            : reach_control(target->control, request.timeout_s);
        answer(outside, request.verb == CONNECT ? connected : 0);
    }
    end_proxy(&proxy);
    return EXIT_SUCCESS;
}

int client_outside_start(const struct client_target *target)
{
    return socket_child_start(SOCK_SEQPACKET, work, target);
}

/* The process outside answers, or has gone. */
static int ask(int outside, const struct request *request)
{
    int32_t result = 0;
    struct received_fds fds = {.count = 0};
    ssize_t len = socket_send(outside, request, sizeof(*request), -1);
    if (len == sizeof(*request)) {
        int err = socket_wait(outside, POLLIN, UINT64_MAX);
        len = err < 0 ? err : socket_receive(outside, &result, sizeof(result), &fds);
    }
    if (len != sizeof(result))
        return -EPIPE;
    return fds.count > 0 ? fds.fd[0] : result;
}

int client_outside_connect(int outside, uint32_t timeout_s)
{
    const struct request request = {.verb = CONNECT, .timeout_s = timeout_s};
    int fd = ask(outside, &request);
    return fd == 0 ? -EPIPE : fd;
}

void client_outside_hang_up(int outside)
{
    const struct request request = {.verb = HANG_UP};
    ask(outside, &request);
}
