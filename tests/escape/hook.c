// SPDX-License-Identifier: BSD-3-Clause
/* Preloaded into a program: has it taken over when it receives the memory of a guest. */
#include "escape.h"
#include "ring.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>

#define HOOK __attribute__((visibility("default")))

struct io_uring;
struct io_uring_params;

HOOK int io_uring_queue_init(unsigned entries, struct io_uring *ring, unsigned flags);
HOOK int io_uring_queue_init_params(unsigned entries, struct io_uring *ring,
                                    struct io_uring_params *parameters);

static struct escape_world *world;

typedef ssize_t (*recvmsg_fn)(int fd, struct msghdr *message, int flags);
typedef int (*init_params_fn)(unsigned entries, struct io_uring *ring,
                              struct io_uring_params *parameters);

static recvmsg_fn real_recvmsg;
static escape_make_ring_fn real_init;
static init_params_fn real_init_params;

__attribute__((constructor)) static void prepare(void)
{
    *(void **)&real_recvmsg = dlsym(RTLD_NEXT, "recvmsg");
    *(void **)&real_init = dlsym(RTLD_NEXT, "io_uring_queue_init");
    *(void **)&real_init_params = dlsym(RTLD_NEXT, "io_uring_queue_init_params");
    world = escape_prepare();
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

HOOK ssize_t recvmsg(int fd, struct msghdr *message, int flags)
{
    ssize_t received = real_recvmsg(fd, message, flags);
    if (!world || received <= 0)
        return received;
    for (struct cmsghdr *header = CMSG_FIRSTHDR(message); header;
         header = CMSG_NXTHDR(message, header)) {
        if (header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS)
            world->memory_fd = find_memory(header);
        if (world->memory_fd >= 0)
            escape_do(world);
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
