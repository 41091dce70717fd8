// SPDX-License-Identifier: BSD-3-Clause
#include "supervisor/ready_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/limits.h"
#include "base/orders.h"
#include "base/printable.h"
#include "os/clock.h"
#include "os/closer.h"
#include "os/socket.h"

#define MESSAGE_MAX       4096
#define MESSAGES_PER_TURN 16
#define REST_NS           10000000u

struct ready_socket {
    int fd;
    struct loop_source *source;
    ready_fn ready;
    void *argument;
    pid_t pid; /* 0: none yet, and the socket is not read */
    struct loop *loop;
    struct timers *timers;
    struct timer rest; /* of one that has sent as much as a turn takes */
    char name[sizeof(((struct sockaddr_un *)0)->sun_path) + 2];
};

/* Whether one of the lines is this assignment. */
static bool says(const char *text, const char *word)
{
    for (; text; text = strchr(text, '\n') ? strchr(text, '\n') + 1 : NULL)
        if (strncmp(text, word, strlen(word)) == 0 && strchr("\n", text[strlen(word)]))
            return true;
    return false;
}

static void close_all(const struct cmsghdr *header)
{
    size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; i++) {
        int fd;
        memcpy(&fd, CMSG_DATA(header) + i * sizeof(fd), sizeof(fd));
        closer_close(fd);
    }
}

/* 0: not known. The name in the second field of proc(5)'s stat may hold anything, a ')' too. */
static pid_t parent_of(pid_t pid)
{
    char path[32], text[256];
    int parent = 0;
    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    AUTO_FD fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t len = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    if (len < 0)
        return 0;
    text[len] = '\0';
    const char *behind = strrchr(text, ')');
    return behind && sscanf(behind, ") %*c %d", &parent) == 1 ? parent : 0;
}

/* The process, or a child of it: the device of `outboard disk` is one. */
static bool is_trusted(const struct ready_socket *socket, pid_t pid)
{
    return pid > 0 && (pid == socket->pid || parent_of(pid) == socket->pid);
}

/* The value of an assignment, up to the end of its line. NULL: it is not assigned. */
static const char *value_of(const char *text, const char *name)
{
    size_t len = strlen(name);
    for (; text; text = strchr(text, '\n') ? strchr(text, '\n') + 1 : NULL)
        if (strncmp(text, name, len) == 0)
            return text + len;
    return NULL;
}

static void read_answer(const char *text, struct ready_told *told)
{
    const char *answer = value_of(text, ORDERS_ANSWER), *why = value_of(text, ORDERS_FAULT);
    unsigned long long len;
    if (!answer || sscanf(answer, "%u %d %llu", &told->answer.id, &told->answer.error, &len) != 3)
        return;
    told->has_answer = told->answer.error >= 0;
    told->answer.len = len;
    if (why)
        printable_copy(told->answer.why, sizeof(told->answer.why), why, strcspn(why, "\n"));
}

static void read_told(const char *text, struct ready_told *told)
{
    const char *status = value_of(text, "STATUS=");
    const char *client = value_of(text, "X_OUTBOARD_CLIENT=");
    told->ready = says(text, "READY=1");
    told->stopping = says(text, "STOPPING=1");
    told->waiting = says(text, "X_OUTBOARD_WAITING=1");
    told->alive = says(text, "WATCHDOG=1");
    if (client) {
        told->has_client = true;
        told->client = *client == '1';
    }
    if (status)
        printable_copy(told->status, sizeof(told->status), status, strcspn(status, "\n"));
    read_answer(text, told);
}

/* Receives one message. There is room for all descriptors that may ride on it: those that the kernel
 * has to close, it closes in the call, which may wait. Returns whether there was a message. */
static bool receive(struct ready_socket *socket, struct ready_told *told)
{
    char text[MESSAGE_MAX + 1];
    union {
        struct cmsghdr align;
        // cppcheck-suppress unusedStructMember ; recvmsg(2) fills it
        char room[CMSG_SPACE(sizeof(struct ucred)) +
                  CMSG_SPACE(LIMIT_FDS_PER_MESSAGE * sizeof(int))];
    } control;
    struct iovec iov = {.iov_base = text, .iov_len = MESSAGE_MAX};
    struct msghdr message = {.msg_iov = &iov,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof(control)};
    struct ucred from = {0};
    ssize_t len = recvmsg(socket->fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (len < 0)
        return false;
    text[len] = '\0';
    for (struct cmsghdr *header = CMSG_FIRSTHDR(&message); header;
         header = CMSG_NXTHDR(&message, header)) {
        if (header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS)
            close_all(header);
        if (header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_CREDENTIALS)
            memcpy(&from, CMSG_DATA(header), sizeof(from));
    }
    if (!is_trusted(socket, from.pid))
        return true;
    read_told(text, told);
    return true;
}

static void on_rested(void *argument)
{
    struct ready_socket *socket = argument;
    loop_change(socket->source, EPOLLIN);
}

static void on_message(void *argument, uint32_t events)
{
    struct ready_socket *socket = argument;
    int count = 0;
    for (struct ready_told told = {0}; count < MESSAGES_PER_TURN && receive(socket, &told);
         told = (struct ready_told){0}) {
        count++;
        if (told.ready || told.alive || told.waiting || told.has_client || told.status[0] ||
            told.has_answer || told.stopping)
            socket->ready(socket->argument, &told);
    }
    if (count == MESSAGES_PER_TURN) {
        loop_change(socket->source, 0);
        timer_set(socket->timers, &socket->rest, clock_now_ns() + REST_NS);
    }
}

/* The kernel draws five digits: unix(7), "Autobind feature". */
static int bind_abstract(int fd, char *name, size_t size)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    socklen_t len = sizeof(address);
    int on = 1;
    if (bind(fd, (const struct sockaddr *)&address, sizeof(address.sun_family)) < 0 ||
        getsockname(fd, (struct sockaddr *)&address, &len) < 0 ||
        setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) < 0)
        return -errno;
    int name_len = (int)(len - offsetof(struct sockaddr_un, sun_path)) - 1;
    snprintf(name, size, "@%.*s", name_len, address.sun_path + 1);
    return 0;
}

int ready_socket_adopt(struct loop *loop, struct timers *timers, ready_fn ready, void *argument,
                       int fd, struct ready_socket **ret_socket)
{
    struct ready_socket *new = calloc(1, sizeof(*new));
    if (!new)
        return -ENOMEM;
    new->fd = fd;
    new->ready = ready;
    new->argument = argument;
    new->loop = loop;
    new->timers = timers;
    timer_init(&new->rest, on_rested, new);
    *ret_socket = new;
    return 0;
}

int ready_socket_new(struct loop *loop, struct timers *timers, ready_fn ready, void *argument,
                     struct ready_socket **ret_socket)
{
    AUTO_FD fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    char name[sizeof((*ret_socket)->name)];
    int err = fd < 0 ? -errno : bind_abstract(fd, name, sizeof(name));
    if (err == 0)
        err = ready_socket_adopt(loop, timers, ready, argument, fd, ret_socket);
    if (err < 0)
        return err;
    take_fd(&fd);
    memcpy((*ret_socket)->name, name, sizeof(name));
    return 0;
}

int ready_socket_fd(const struct ready_socket *socket)
{
    return socket->fd;
}

void ready_socket_free(struct ready_socket *socket)
{
    if (!socket)
        return;
    timer_cancel(&socket->rest);
    loop_remove(socket->source);
    socket_close(socket->fd);
    free(socket);
}

void ready_socket_watch(struct ready_socket *socket, ready_fn ready, void *argument)
{
    socket->ready = ready;
    socket->argument = argument;
}

void ready_socket_finish(struct ready_socket *socket)
{
    on_message(socket, EPOLLIN);
}

const char *ready_socket_name(const struct ready_socket *socket)
{
    return socket->name;
}

int ready_socket_trust(struct ready_socket *socket, pid_t pid)
{
    socket->pid = pid;
    return loop_add(socket->loop, socket->fd, EPOLLIN, on_message, socket, &socket->source);
}
