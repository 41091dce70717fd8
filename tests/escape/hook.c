// SPDX-License-Identifier: BSD-3-Clause
/* Preloaded into a program: has it taken over when it receives the memory of a guest or, if it is no
 * device, when it waits in its cell. */
#include "escape.h"
#include "ring.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define HOOK __attribute__((visibility("default")))

struct io_uring;
struct io_uring_params;

HOOK int seccomp_load(void *filter);
HOOK int io_uring_queue_init(unsigned entries, struct io_uring *ring, unsigned flags);
HOOK int io_uring_queue_init_params(unsigned entries, struct io_uring *ring,
                                    struct io_uring_params *parameters);

static struct escape_world *world;
static unsigned loads; /* of filters: a cell has two, a process outside of one at most */
static pid_t program;  /* the process that was started */

typedef ssize_t (*recvmsg_fn)(int fd, struct msghdr *message, int flags);
typedef int (*init_params_fn)(unsigned entries, struct io_uring *ring,
                              struct io_uring_params *parameters);

typedef int (*load_fn)(void *filter);
typedef int (*epoll_wait_fn)(int fd, struct epoll_event *events, int size, int timeout);
typedef int (*poll_fn)(struct pollfd *fds, nfds_t count, int timeout);
typedef int (*ppoll_fn)(struct pollfd *fds, nfds_t count, const struct timespec *timeout,
                        const sigset_t *mask);

static load_fn real_load;
static epoll_wait_fn real_epoll_wait;
static poll_fn real_poll;
static ppoll_fn real_ppoll;
static recvmsg_fn real_recvmsg;
static escape_make_ring_fn real_init;
static init_params_fn real_init_params;

__attribute__((constructor)) static void prepare(void)
{
    *(void **)&real_recvmsg = dlsym(RTLD_NEXT, "recvmsg");
    *(void **)&real_load = dlsym(RTLD_NEXT, "seccomp_load");
    *(void **)&real_epoll_wait = dlsym(RTLD_NEXT, "epoll_wait");
    *(void **)&real_poll = dlsym(RTLD_NEXT, "poll");
    *(void **)&real_ppoll = dlsym(RTLD_NEXT, "ppoll");
    *(void **)&real_init = dlsym(RTLD_NEXT, "io_uring_queue_init");
    *(void **)&real_init_params = dlsym(RTLD_NEXT, "io_uring_queue_init_params");
    world = escape_prepare();
    program = getpid();
    escape_ring_maker(real_init);
}

/* Memory is what has seals. */
static int find_memory(const struct cmsghdr *header)
{
    size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; i++) {
        int fd;
        memcpy(&fd, CMSG_DATA(header) + i * sizeof(fd), sizeof(fd));
        if (fcntl(fd, F_GET_SEALS) >= 0)
            return fd;
    }
    return -1;
}

static void take_over(void)
{
    if (!world->has_cell)
        escape_keep_descriptors(world, false);
    escape_do(world);
}

/* A process outside has given up what it can give up when it waits for a request. */
static void outside_begins(void)
{
    if (!world || !world->outside || getpid() == program || (loads > 0) != world->has_cell)
        return;
    dup2(socket(AF_UNIX, SOCK_STREAM, 0), world->stream_fd); /* it has closed what it inherited */
    dup2(socket(AF_UNIX, SOCK_DGRAM, 0), world->datagram_fd);
    escape_do(world);
}

HOOK ssize_t recvmsg(int fd, struct msghdr *message, int flags)
{
    outside_begins();
    ssize_t received = real_recvmsg(fd, message, flags);
    if (!world || world->at_wait || world->outside || received <= 0)
        return received;
    for (struct cmsghdr *header = CMSG_FIRSTHDR(message); header;
         header = CMSG_NXTHDR(message, header)) {
        if (header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS)
            world->memory_fd = find_memory(header);
        if (world->memory_fd >= 0)
            take_over();
    }
    return received;
}

HOOK int io_uring_queue_init(unsigned entries, struct io_uring *ring, unsigned flags)
{
    escape_keep_ring(ring);
    return real_init(entries, ring, flags);
}

HOOK int io_uring_queue_init_params(unsigned entries, struct io_uring *ring,
                                    struct io_uring_params *parameters)
{
    escape_keep_ring(ring);
    return real_init_params(entries, ring, parameters);
}

HOOK int seccomp_load(void *filter)
{
    if (world && loads++ == 0)
        escape_keep_descriptors(world, false);
    return real_load(filter);
}

static void wait_begins(void)
{
    outside_begins();
    if (world && world->at_wait && !world->outside && (loads > 1) == world->has_cell)
        take_over();
}

HOOK int epoll_wait(int fd, struct epoll_event *events, int size, int timeout)
{
    wait_begins();
    return real_epoll_wait(fd, events, size, timeout);
}

HOOK int poll(struct pollfd *fds, nfds_t count, int timeout)
{
    wait_begins();
    return real_poll(fds, count, timeout);
}

HOOK int ppoll(struct pollfd *fds, nfds_t count, const struct timespec *timeout,
               const sigset_t *mask)
{
    wait_begins();
    return real_ppoll(fds, count, timeout, mask);
}
