// SPDX-License-Identifier: BSD-3-Clause
#include "pair_model.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

#include "check.h"

#define FIRST_FD 64 /* numbers from here on are the model's */
#define ENDS     64u
#define CAPACITY 212992u /* net.core.wmem_default */
#define MESSAGES 256u    /* that lie in one seqpacket socket */

#define MAY_NOT_READ  1u
#define MAY_NOT_WRITE 2u

struct end {
    bool is_open;
    bool keeps_messages;
    bool was_reset; /* by the peer, to be told once */
    unsigned over;  /* MAY_NOT_... */
    struct end *peer;
    size_t start, len; /* bytes to be read */
    uint32_t messages[MESSAGES];
    unsigned first, num_messages;
    uint8_t bytes[2 * CAPACITY]; /* a message is taken whole if there is any room */
};

static struct end ends[ENDS];

static struct end *end_of(int fd)
{
    const bool is_ours = fd >= FIRST_FD && (unsigned)fd < FIRST_FD + ENDS;
    CHECK(is_ours && ends[fd - FIRST_FD].is_open);
    return &ends[fd - FIRST_FD];
}

unsigned pair_count_open(void)
{
    unsigned count = 0;
    for (unsigned i = 0; i < ENDS; i++)
        count += ends[i].is_open;
    return count;
}

static int fail(int error)
{
    errno = error;
    return -1;
}

static int open_end(bool keeps_messages)
{
    for (unsigned i = 0; i < ENDS; i++) {
        struct end *end = &ends[i];
        if (end->is_open)
            continue;
        end->is_open = true;
        end->keeps_messages = keeps_messages;
        end->was_reset = false;
        end->over = 0;
        end->start = end->len = 0;
        end->first = end->num_messages = 0;
        return FIRST_FD + (int)i;
    }
    CHECK(!"a free end");
    return -1;
}

int __wrap_socketpair(int family, int type, int protocol, int ret_fds[2]);
int __wrap_socketpair(int family, int type, int protocol, int ret_fds[2])
{
    const bool keeps_messages = (type & 0xf) == SOCK_SEQPACKET;
    CHECK(family == AF_UNIX && protocol == 0);
    for (unsigned i = 0; i < 2; i++)
        ret_fds[i] = open_end(keeps_messages);
    end_of(ret_fds[0])->peer = end_of(ret_fds[1]);
    end_of(ret_fds[1])->peer = end_of(ret_fds[0]);
    return 0;
}

/* The fuzzer's own files are closed by this too. */
int __real_close(int fd);
int __wrap_close(int fd);
int __wrap_close(int fd)
{
    if (fd < FIRST_FD || (unsigned)fd >= FIRST_FD + ENDS)
        return __real_close(fd);
    struct end *end = end_of(fd);
    struct end *peer = end->peer;
    if (peer) {
        peer->over = MAY_NOT_READ | MAY_NOT_WRITE;
        peer->was_reset = end->len > 0 || end->num_messages > 0;
        peer->peer = NULL;
    }
    end->peer = NULL;
    end->is_open = false;
    return 0;
}

int __wrap_shutdown(int fd, int how);
int __wrap_shutdown(int fd, int how)
{
    struct end *end = end_of(fd);
    const unsigned reads = how != SHUT_WR, writes = how != SHUT_RD;
    end->over |= (reads ? MAY_NOT_READ : 0) | (writes ? MAY_NOT_WRITE : 0);
    if (end->peer)
        end->peer->over |= (writes ? MAY_NOT_READ : 0) | (reads ? MAY_NOT_WRITE : 0);
    return 0;
}

static size_t total(const struct msghdr *message)
{
    size_t len = 0;
    for (size_t i = 0; i < message->msg_iovlen; i++)
        len += message->msg_iov[i].iov_len;
    return len;
}

/* Appends len bytes of a message. */
static void append(struct end *to, const struct msghdr *message, size_t len)
{
    if (to->start + to->len + len > sizeof(to->bytes)) {
        memmove(to->bytes, to->bytes + to->start, to->len);
        to->start = 0;
    }
    for (size_t i = 0; len > 0; i++) {
        const struct iovec *piece = &message->msg_iov[i];
        const size_t some = piece->iov_len < len ? piece->iov_len : len;
        if (some > 0)
            memcpy(to->bytes + to->start + to->len, piece->iov_base, some);
        to->len += some;
        len -= some;
    }
}

ssize_t __wrap_sendmsg(int fd, const struct msghdr *message, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *message, int flags)
{
    const struct end *from = end_of(fd);
    struct end *to = from->peer;
    size_t len = total(message);
    CHECK(flags & MSG_NOSIGNAL);
    if (from->over & MAY_NOT_WRITE || !to)
        return fail(EPIPE);
    if (from->keeps_messages) {
        if (len > CAPACITY)
            return fail(EMSGSIZE);
        if (to->len >= CAPACITY || to->num_messages == MESSAGES)
            return fail(EAGAIN);
        to->messages[(to->first + to->num_messages++) % MESSAGES] = (uint32_t)len;
    } else if (len > CAPACITY - to->len) {
        len = CAPACITY - to->len;
        if (len == 0)
            return fail(EAGAIN);
    }
    append(to, message, len);
    return (ssize_t)len;
}

ssize_t __wrap_send(int fd, const void *bytes, size_t len, int flags);
ssize_t __wrap_send(int fd, const void *bytes, size_t len, int flags)
{
    struct iovec piece = {.iov_base = (void *)bytes, .iov_len = len};
    const struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1};
    return __wrap_sendmsg(fd, &message, flags);
}

/* Copies what there is room for. Returns how much that is. */
static size_t copy_out(const struct end *end, const struct msghdr *message, size_t len)
{
    size_t done = 0;
    for (size_t i = 0; i < message->msg_iovlen && done < len; i++) {
        const struct iovec *piece = &message->msg_iov[i];
        const size_t some = piece->iov_len < len - done ? piece->iov_len : len - done;
        memcpy(piece->iov_base, end->bytes + end->start + done, some);
        done += some;
    }
    return done;
}

/* There is nothing to be read. */
static ssize_t read_nothing(struct end *end)
{
    if (end->was_reset) {
        end->was_reset = false;
        return fail(ECONNRESET);
    }
    return (end->over & MAY_NOT_READ) ? 0 : fail(EAGAIN);
}

ssize_t __wrap_recvmsg(int fd, struct msghdr *message, int flags);
ssize_t __wrap_recvmsg(int fd, struct msghdr *message, int flags)
{
    struct end *end = end_of(fd);
    const bool has = end->keeps_messages ? end->num_messages > 0 : end->len > 0;
    if (!has || (end->keeps_messages && end->was_reset))
        return read_nothing(end);
    const size_t there = end->keeps_messages ? end->messages[end->first] : end->len;
    const size_t got = copy_out(end, message, there);
    message->msg_flags = end->keeps_messages && got < there ? MSG_TRUNC : 0;
    const size_t taken = end->keeps_messages ? there : got;
    if (!(flags & MSG_PEEK)) {
        end->start += taken;
        end->len -= taken;
        if (end->keeps_messages) {
            end->first = (end->first + 1) % MESSAGES;
            end->num_messages--;
        }
    }
    return (ssize_t)((flags & MSG_TRUNC) ? taken : got);
}

ssize_t __wrap_recv(int fd, void *ret_bytes, size_t len, int flags);
ssize_t __wrap_recv(int fd, void *ret_bytes, size_t len, int flags)
{
    struct iovec piece = {.iov_base = ret_bytes, .iov_len = len};
    struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1};
    return __wrap_recvmsg(fd, &message, flags);
}

/* As unix_poll(). */
static unsigned ready(const struct end *end)
{
    unsigned events = 0;
    if (end->len > 0 || end->num_messages > 0 || end->over & MAY_NOT_READ)
        events |= POLLIN;
    if (end->over == (MAY_NOT_READ | MAY_NOT_WRITE))
        events |= POLLHUP;
    if (end->was_reset)
        events |= POLLERR | POLLIN;
    if (!end->peer || (end->peer->len < CAPACITY / 4 && end->peer->num_messages < MESSAGES / 4))
        events |= POLLOUT;
    return events;
}

int __wrap_poll(struct pollfd *looks, nfds_t count, int timeout_ms);
int __wrap_poll(struct pollfd *looks, nfds_t count, int timeout_ms)
{
    int found = 0;
    CHECK(timeout_ms == 0);
    for (nfds_t i = 0; i < count; i++) {
        const unsigned asked = (unsigned)looks[i].events | POLLHUP | POLLERR;
        looks[i].revents = (short)(ready(end_of(looks[i].fd)) & asked);
        found += looks[i].revents != 0;
    }
    return found;
}
