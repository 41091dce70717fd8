// SPDX-License-Identifier: BSD-3-Clause
/*
 * Deeds by a ring, which no filter of system calls sees. In a cell the ring is the program's own.
 * That one is restricted without a cell too, so there each deed makes a ring, to show that the
 * operation works.
 */
#include "escape.h"
#include "ring.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <linux/openat2.h>
#include <linux/stat.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MARK ((__u64)0x657363617065)

static struct io_uring *kept;
static escape_make_ring_fn make_ring;

void escape_keep_ring(struct io_uring *ring)
{
    kept = ring;
}

void escape_ring_maker(escape_make_ring_fn maker)
{
    make_ring = maker;
}

static int find_ring(const struct escape_world *world, struct io_uring *own,
                     struct io_uring **ret_ring)
{
    *ret_ring = world->has_cell ? kept : own;
    if (world->has_cell)
        return kept ? 0 : -ENODEV;
    return make_ring ? make_ring(8, own, 0) : -ENODEV;
}

/* The functions of liburing are not linked: most programs don't have them. */
static void put(struct io_uring *ring, const struct io_uring_sqe *entry)
{
    unsigned tail = *ring->sq.ktail, index = tail & (ring->sq.ring_entries - 1);
    ring->sq.sqes[index] = *entry;
    ring->sq.sqes[index].user_data = MARK;
    ring->sq.array[index] = index;
    __atomic_store_n(ring->sq.ktail, tail + 1, __ATOMIC_RELEASE);
}

/* Completions of the program's own are passed over: it ends after the deed. */
static long take(struct io_uring *ring)
{
    for (;;) {
        unsigned head = *ring->cq.khead;
        if (head == __atomic_load_n(ring->cq.ktail, __ATOMIC_ACQUIRE)) {
            if (syscall(SYS_io_uring_enter, ring->ring_fd, 0, 1, IORING_ENTER_GETEVENTS, NULL, 0) <
                0)
                return -errno;
            continue;
        }
        const struct io_uring_cqe *done = &ring->cq.cqes[head & (ring->cq.ring_entries - 1)];
        __u64 mark = done->user_data;
        long result = done->res;
        __atomic_store_n(ring->cq.khead, head + 1, __ATOMIC_RELEASE);
        if (mark == MARK)
            return result < 0 ? result : 0;
    }
}

static long run(const struct escape_world *world, const struct io_uring_sqe *entry)
{
    struct io_uring own, *ring;
    int err = find_ring(world, &own, &ring);
    if (err < 0)
        return err;
    put(ring, entry);
    if (syscall(SYS_io_uring_enter, ring->ring_fd, 1, 0, 0, NULL, 0) < 0)
        return -errno;
    return take(ring);
}

/* For operations whose arguments the headers have no words for. */
static struct io_uring_sqe entry_of(unsigned operation, int fd, const void *address, unsigned len,
                                    __u64 offset)
{
    struct io_uring_sqe entry;
    memset(&entry, 0, sizeof(entry));
    io_uring_prep_rw((int)operation, &entry, fd, address, len, offset);
    return entry;
}

static long open_by_ring(const struct escape_world *world)
{
    const struct escape_path path = escape_in(world, "file");
    struct io_uring_sqe entry = entry_of(IORING_OP_OPENAT, AT_FDCWD, path.text, 0, 0);
    entry.open_flags = O_RDONLY;
    return run(world, &entry);
}

static long open_the_new_way(const struct escape_world *world)
{
    const struct open_how how = {.flags = O_RDONLY};
    const struct escape_path path = escape_in(world, "file");
    struct io_uring_sqe entry =
        entry_of(IORING_OP_OPENAT2, AT_FDCWD, path.text, sizeof(how), (__u64)(uintptr_t)&how);
    return run(world, &entry);
}

static long look_by_ring(const struct escape_world *world)
{
    struct statx status;
    const struct escape_path path = escape_in(world, "file");
    struct io_uring_sqe entry =
        entry_of(IORING_OP_STATX, AT_FDCWD, path.text, STATX_SIZE, (__u64)(uintptr_t)&status);
    return run(world, &entry);
}

static long remove_by_ring(const struct escape_world *world)
{
    const struct escape_path path = escape_in(world, "spare");
    struct io_uring_sqe entry = entry_of(IORING_OP_UNLINKAT, AT_FDCWD, path.text, 0, 0);
    return run(world, &entry);
}

static long make_a_folder_by_ring(const struct escape_world *world)
{
    const struct escape_path path = escape_in(world, "made");
    struct io_uring_sqe entry = entry_of(IORING_OP_MKDIRAT, AT_FDCWD, path.text, 0700, 0);
    return run(world, &entry);
}

static long make_a_socket_by_ring(const struct escape_world *world)
{
    struct io_uring_sqe entry = entry_of(IORING_OP_SOCKET, AF_INET, NULL, 0, SOCK_STREAM);
    return run(world, &entry);
}

static long connect_by_ring(const struct escape_world *world)
{
    const struct sockaddr_un address = escape_at(world, "stream");
    struct io_uring_sqe entry =
        entry_of(IORING_OP_CONNECT, world->stream_fd, &address, 0, sizeof(address));
    return run(world, &entry);
}

static long send_by_ring(const struct escape_world *world)
{
    struct sockaddr_un address = escape_at(world, "datagram");
    struct iovec iov = {.iov_base = (char[]){'x'}, .iov_len = 1};
    const struct msghdr message = {
        .msg_name = &address, .msg_namelen = sizeof(address), .msg_iov = &iov, .msg_iovlen = 1};
    struct io_uring_sqe entry = entry_of(IORING_OP_SENDMSG, world->datagram_fd, &message, 1, 0);
    return run(world, &entry);
}

static long watch_by_ring(const struct escape_world *world)
{
    struct epoll_event event = {.events = EPOLLIN};
    int epoll_fd = world->has_cell ? -1 : epoll_create1(EPOLL_CLOEXEC);
    struct io_uring_sqe entry =
        entry_of(IORING_OP_EPOLL_CTL, epoll_fd, &event, EPOLL_CTL_ADD, (__u64)world->stream_fd);
    return run(world, &entry);
}

static long close_by_ring(const struct escape_world *world)
{
    struct io_uring_sqe entry = entry_of(IORING_OP_CLOSE, world->readonly_fd, NULL, 0, 0);
    return run(world, &entry);
}

static long poll_by_ring(const struct escape_world *world)
{
    struct io_uring_sqe entry = entry_of(IORING_OP_POLL_ADD, world->stream_fd, NULL, 0, 0);
    entry.poll32_events = EPOLLOUT | EPOLLHUP;
    return run(world, &entry);
}

static long advise_by_ring(const struct escape_world *world)
{
    struct io_uring_sqe entry = entry_of(IORING_OP_FADVISE, world->readonly_fd, NULL, 4096, 0);
    return run(world, &entry);
}

/* The ring is the image's: what else is open is out of its reach, by operations that it has. */
static long read_by_ring(const struct escape_world *world)
{
    char bytes[16];
    struct io_uring_sqe entry =
        entry_of(IORING_OP_READ, world->readonly_fd, bytes, sizeof(bytes), 0);
    return run(world, &entry);
}

static long write_by_ring(const struct escape_world *world)
{
    struct io_uring_sqe entry = entry_of(IORING_OP_WRITE, world->memory_fd, "x", 1, 0);
    return run(world, &entry);
}

static long punch_a_hole_by_ring(const struct escape_world *world)
{
    struct io_uring_sqe entry =
        entry_of(IORING_OP_FALLOCATE, world->memory_fd, (void *)(uintptr_t)4096,
                 FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0);
    return run(world, &entry);
}

static long do_nothing_by_ring(const struct escape_world *world)
{
    struct io_uring_sqe entry = entry_of(IORING_OP_NOP, -1, NULL, 0, 0);
    return run(world, &entry);
}

const struct escape_deed escape_ring[] = {
    {"open a file by the ring", "EACCES", open_by_ring, ESCAPE_RING},
    {"open a file by the ring's openat2(2)", "EACCES", open_the_new_way, ESCAPE_RING},
    {"remove a file by the ring", "EACCES", remove_by_ring, ESCAPE_RING},
    {"make a folder by the ring", "EACCES", make_a_folder_by_ring, ESCAPE_RING},
    {"look at a path by the ring", "EACCES", look_by_ring, ESCAPE_RING},
    {"make a socket by the ring", "EACCES", make_a_socket_by_ring, ESCAPE_RING},
    {"connect by the ring", "EACCES", connect_by_ring, ESCAPE_RING},
    {"send by the ring", "EACCES", send_by_ring, ESCAPE_RING},
    {"watch by the ring", "EACCES", watch_by_ring, ESCAPE_RING},
    {"close by the ring", "EACCES", close_by_ring, ESCAPE_RING},
    {"poll by the ring", "EACCES", poll_by_ring, ESCAPE_RING},
    {"advise by the ring", "EACCES", advise_by_ring, ESCAPE_RING},
    {"read another file by the ring", "EACCES", read_by_ring, ESCAPE_RING},
    {"write to another file by the ring", "EACCES", write_by_ring, ESCAPE_RING},
    {"punch a hole into guest memory by the ring", "EACCES", punch_a_hole_by_ring, ESCAPE_RING},
    {"do nothing by the ring", "EACCES", do_nothing_by_ring, ESCAPE_RING},
    {0},
};
