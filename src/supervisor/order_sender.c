// SPDX-License-Identifier: BSD-3-Clause
#include "supervisor/order_sender.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/limits.h"
#include "os/clock.h"
#include "os/socket.h"

/* The oldest, or any other, is not pending any more. */
static void finish(struct order_sender *sender, unsigned number, int err, uint64_t len,
                   const char *why)
{
    const struct order_pending order = sender->pending[number];
    sender->count--;
    memmove(&sender->pending[number], &sender->pending[number + 1],
            (sender->count - number) * sizeof(order));
    if (sender->count == 0)
        timer_cancel(&sender->patience);
    if (order.answered)
        order.answered(order.argument, err, len, why);
}

static void fail_all(struct order_sender *sender, int err, const char *why)
{
    for (unsigned left = sender->count; left > 0 && sender->count > 0; left--)
        finish(sender, 0, err, 0, why);
}

static void on_late(void *argument)
{
    fail_all(argument, -ETIMEDOUT, "the device process does not answer");
}

int order_sender_pair(int spare_fd, int *ret_ours, int *ret_theirs)
{
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
        return -errno;
    AUTO_FD ours = ends[0];
    AUTO_FD theirs = ends[1];
    /* Nothing is ever received there, so nothing of the process can lie there either. */
    if (shutdown(ours, SHUT_RD) < 0)
        return -errno;
    AUTO_FD high = fcntl(ours, F_DUPFD_CLOEXEC, spare_fd);
    int theirs_high = high < 0 ? -1 : fcntl(theirs, F_DUPFD_CLOEXEC, spare_fd);
    if (theirs_high < 0)
        return -errno;
    *ret_ours = take_fd(&high);
    *ret_theirs = theirs_high;
    return 0;
}

void order_sender_begin(struct order_sender *sender, struct timers *timers, int fd)
{
    *sender = (struct order_sender){.timers = timers, .fd = fd, .next_id = sender->next_id};
    timer_init(&sender->patience, on_late, sender);
}

void order_sender_end(struct order_sender *sender)
{
    if (!sender->timers)
        return;
    int fd = take_fd(&sender->fd);
    if (fd >= 0)
        close(fd);
    fail_all(sender, -ENOTCONN, "the device process has ended");
    timer_cancel(&sender->patience);
}

int order_sender_send(struct order_sender *sender, const struct order *order, int fd,
                      order_fn answered, void *argument)
{
    struct order numbered = *order;
    if (!sender->timers || sender->fd < 0)
        return -ENOTCONN;
    if (sender->count == ORDERS_PENDING)
        return -EBUSY;
    numbered.id = ++sender->next_id;
    ssize_t sent = socket_send(sender->fd, &numbered, sizeof(numbered), fd);
    if (sent < 0)
        return (int)sent;
    sender->pending[sender->count++] =
        (struct order_pending){.id = numbered.id, .answered = answered, .argument = argument};
    timer_set(sender->timers, &sender->patience, clock_now_ns() + LIMIT_ORDER_MS * 1000000ull);
    return 0;
}

void order_sender_hear(struct order_sender *sender, const struct ready_told *told)
{
    if (!told->has_answer)
        return;
    for (unsigned i = 0; i < sender->count; i++)
        if (sender->pending[i].id == told->answer.id) {
            int err = -told->answer.error;
            finish(sender, i, err, told->answer.len,
                   told->answer.why[0] ? told->answer.why : strerror(told->answer.error));
            return;
        }
}
