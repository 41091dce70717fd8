// SPDX-License-Identifier: BSD-3-Clause
#include "os/counted.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fault_point.h"
#include "os/carried.h"
#include "os/closer.h"

static void barrier(void)
{
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
}

static int stream_error(void)
{
    return errno == ECONNRESET || errno == EPIPE ? -ENOTCONN : -errno;
}

void counted_begin(struct counted *counted)
{
    counted->rx.armed = counted->tx.armed = 0;
    barrier();
    counted->rx.base = counted->rx.total = counted->rx.fd_base = counted->rx.fd_total = 0;
    counted->tx.base = counted->tx.total = 0;
}

static void arm(struct counted_transfer *transfer, void *buf, size_t len, size_t control_len)
{
    transfer->part = (struct iovec){.iov_base = buf, .iov_len = len};
    transfer->header.msg_hdr =
        (struct msghdr){.msg_iov = &transfer->part,
                        .msg_iovlen = 1,
                        .msg_control = control_len > 0 ? transfer->control : NULL,
                        .msg_controllen = control_len};
    transfer->base = transfer->total;
    transfer->fd_base = transfer->fd_total;
    transfer->header.msg_len = 0;
    barrier();
    transfer->armed = 1;
    barrier();
}

static void disarm(struct counted_transfer *transfer)
{
    barrier();
    transfer->armed = 0;
    barrier();
}

/* Counts the descriptors of a receive. Those descriptors that are too many are not listed. Whether
 * all are. */
static bool settle_fds(struct counted *counted, unsigned column)
{
    struct counted_transfer *rx = &counted->rx;
    struct msghdr message = rx->header.msg_hdr;
    message.msg_control = rx->control;
    uint64_t number = rx->fd_base;
    bool all = !(message.msg_flags & MSG_CTRUNC);
    struct carried carried = carried_begin(&message);
    for (int fd; (fd = carried_take(&carried)) >= 0;) {
        if (number - rx->fd_base == LIMIT_FDS_PER_RECEIVE) {
            all = false;
            break;
        }
        struct counted_fd *slot = &counted->fds[number++ % COUNTED_FDS];
        slot->end = rx->base + rx->header.msg_len;
        slot->fd[column] = fd;
    }
    rx->fd_total = number;
    return all;
}

static bool settle_received(struct counted *counted, unsigned column)
{
    struct counted_transfer *rx = &counted->rx;
    bool all = true;
    rx->total = rx->base + rx->header.msg_len;
    if (rx->header.msg_hdr.msg_controllen > 0 || rx->header.msg_hdr.msg_flags & MSG_CTRUNC)
        all = settle_fds(counted, column);
    disarm(rx);
    return all;
}

/* Closes all descriptors of a receive. */
static void close_all(struct counted_transfer *rx)
{
    struct carried carried = carried_begin(&rx->header.msg_hdr);
    for (int fd; (fd = carried_take(&carried)) >= 0;)
        closer_close(fd);
}

ssize_t counted_receive(struct counted *counted, unsigned column, int fd, void *buf, size_t len,
                        struct received_fds *ret_fds)
{
    struct counted_transfer *rx = &counted->rx;
    long count;
    ret_fds->count = 0;
    do {
        arm(rx, buf, len, sizeof(rx->control));
        count = syscall(SYS_recvmmsg, fd, &rx->header, 1, MSG_DONTWAIT | MSG_CMSG_CLOEXEC, NULL);
    } while (count < 0 && errno == EINTR);
    if (count < 0) {
        int err = stream_error();
        disarm(rx);
        return err;
    }
    fault_point("receive-uncounted");
    uint64_t first = rx->fd_base;
    bool all = settle_received(counted, column);
    if (!all) {
        close_all(rx);
        return -EPROTO;
    }
    for (uint64_t i = first; i < rx->fd_total; i++)
        ret_fds->fd[ret_fds->count++] = counted->fds[i % COUNTED_FDS].fd[column];
    if (ret_fds->count > 0 && !socket_has_room(ret_fds))
        return -EPROTO;
    return rx->header.msg_len == 0 && len > 0 ? -ENOTCONN : (ssize_t)rx->header.msg_len;
}

ssize_t counted_send(struct counted *counted, int fd, const void *buf, size_t len, const int *fds,
                     unsigned num_fds)
{
    struct counted_transfer *tx = &counted->tx;
    const size_t control_len = num_fds > 0 ? CMSG_SPACE(num_fds * sizeof(int)) : 0;
    long count;
    assert(num_fds <= LIMIT_FDS_PER_RECEIVE);
    if (num_fds > 0) {
        struct cmsghdr *cmsg = (struct cmsghdr *)tx->control;
        memset(tx->control, 0, control_len);
        *cmsg = (struct cmsghdr){.cmsg_len = CMSG_LEN(num_fds * sizeof(int)),
                                 .cmsg_level = SOL_SOCKET,
                                 .cmsg_type = SCM_RIGHTS};
        memcpy(CMSG_DATA(cmsg), fds, num_fds * sizeof(int));
    }
    do {
        arm(tx, (void *)buf, len, control_len);
        count = syscall(SYS_sendmmsg, fd, &tx->header, 1, MSG_DONTWAIT | MSG_NOSIGNAL);
    } while (count < 0 && errno == EINTR);
    if (count < 0) {
        int err = stream_error();
        disarm(tx);
        return err;
    }
    fault_point("send-uncounted");
    tx->total = tx->base + tx->header.msg_len;
    disarm(tx);
    return (ssize_t)tx->header.msg_len;
}

int counted_settle(struct counted *counted, unsigned column, struct ob_fault *fault)
{
    struct counted_transfer *rx = &counted->rx, *tx = &counted->tx;
    if (rx->header.msg_hdr.msg_controllen > sizeof(rx->control) ||
        (rx->armed && rx->header.msg_len > rx->part.iov_len) ||
        (tx->armed && tx->header.msg_len > tx->part.iov_len))
        return ob_fault_set(fault, -EINVAL, "the vault's last call can't have been one");
    if (rx->armed && rx->header.msg_len > 0)
        settle_received(counted, column);
    if (tx->armed)
        tx->total = tx->base + tx->header.msg_len;
    disarm(tx);
    return 0;
}
