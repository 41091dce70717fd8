// SPDX-License-Identifier: BSD-3-Clause
#include "program/orders.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <outboard/vault.h>

#include "base/auto.h"
#include "base/number.h"
#include "base/printable.h"
#include "device/state.h"
#include "os/clock.h"
#include "os/notify.h"
#include "os/ticker.h"

#define LATER   1
#define LOOK_MS 2

int orders_take(void)
{
    const char *text = getenv(ORDERS_VARIABLE);
    uint64_t number;
    int type = 0;
    socklen_t len = sizeof(type);
    if (!text || number_parse(text, 10, INT_MAX, &number) < 0 || number <= STDERR_FILENO)
        return -1;
    unsetenv(ORDERS_VARIABLE);
    int fd = (int)number;
    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0 || type != SOCK_SEQPACKET ||
        fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
        return -1;
    return fd;
}

/* Has the device rest. LATER, 0, or a negative errno with the fault filled. */
static int rest(struct orders *orders, struct ob_fault *fault)
{
    struct ob_device *device = orders->device;
    if (device_is_stopped(device) && !orders->rests)
        return ob_fault_set(fault, -EBUSY, "its VMM has stopped it by messages of vfio-user");
    orders->rests = true;
    device_pause(device, true);
    int rests = device_at_rest(device, fault);
    if (rests >= 0)
        return rests > 0 ? 0 : LATER;
    orders->rests = false;
    device_pause(device, false);
    return rests;
}

static int write_all(int fd, const uint8_t *bytes, size_t len)
{
    while (len > 0) {
        ssize_t written = write(fd, bytes, len);
        if (written < 0 && errno != EINTR)
            return -errno;
        bytes += written > 0 ? written : 0;
        len -= written > 0 ? (size_t)written : 0;
    }
    return 0;
}

static int read_all(int fd, uint8_t *bytes, size_t len)
{
    while (len > 0) {
        ssize_t got = read(fd, bytes, len);
        if (got == 0 || (got < 0 && errno != EINTR))
            return got == 0 ? -EPROTO : -errno;
        bytes += got > 0 ? got : 0;
        len -= got > 0 ? (size_t)got : 0;
    }
    return 0;
}

static int check_state(const struct orders *orders, struct ob_fault *fault)
{
    if (state_limit(orders->device) == 0)
        return ob_fault_set(fault, -ENOTSUP, "%s can't save its state",
                            device_name(orders->device));
    return orders->file_fd < 0 ? -EBADF : 0;
}

static int save(struct orders *orders, uint64_t *ret_len, struct ob_fault *fault)
{
    int err = check_state(orders, fault);
    if (err == 0)
        err = rest(orders, fault);
    if (err != 0)
        return err;
    const size_t size = state_limit(orders->device);
    AUTO_FREE uint8_t *bytes = malloc(size);
    int len = bytes ? state_save(orders->device, bytes, size) : -ENOMEM;
    err = len < 0 ? len : write_all(orders->file_fd, bytes, (size_t)len);
    if (err == 0)
        *ret_len = (uint64_t)len;
    return err;
}

static int load(struct orders *orders, struct ob_fault *fault)
{
    const uint64_t len = orders->now.number;
    int err = check_state(orders, fault);
    if (err == 0 && len > LIMIT_STATE_BYTES)
        err = -EFBIG;
    if (err == 0)
        err = rest(orders, fault);
    if (err != 0)
        return err;
    AUTO_FREE uint8_t *bytes = malloc(len + 1);
    err = bytes ? read_all(orders->file_fd, bytes, len) : -ENOMEM;
    if (err == 0)
        err = state_load(orders->device, bytes, len, fault);
    ob_vault_commit(orders->device);
    return err;
}

static int reset(const struct orders *orders)
{
    if (!device_reset_when_quiet(orders->device))
        return LATER;
    ob_vault_commit(orders->device);
    return 0;
}

static void resume(struct orders *orders)
{
    orders->rests = false;
    device_pause(orders->device, false);
    ob_vault_commit(orders->device);
}

static void end_drain(struct orders *orders)
{
    orders->hold->wanted = false;
    device_drain(orders->device, false);
}

/* Requests in flight end first, as messages of the VMM may be part of them. Then no message is taken, and
 * all replies are sent: nothing is left that a process which continues would have to do again. */
static int drain(struct orders *orders, struct ob_fault *fault)
{
    struct hold *hold = orders->hold;
    const uint64_t ms = orders->now.number, now_ns = clock_now_ns();
    if (!orders->is_busy)
        orders->deadline_ns = now_ns + (ms < LIMIT_ORDER_MS ? ms : LIMIT_ORDER_MS) * 1000000u;
    device_drain(orders->device, ms > 0);
    int rests = ms > 0 ? device_is_drained(orders->device, fault) : 0;
    hold->wanted = rests > 0;
    if (hold->wanted && (hold->is_held || !hold->served)) {
        ob_vault_commit(orders->device);
        return 0;
    }
    if (ms > 0 && rests >= 0 && now_ns < orders->deadline_ns)
        return LATER;
    end_drain(orders);
    if (ms == 0 || rests < 0)
        return rests;
    return ob_fault_set(fault, -ETIMEDOUT, "requests in flight have not ended within %llu ms",
                        (unsigned long long)ms);
}

/* Lines go to the file that came with the order, or to the log. */
static int trace(struct orders *orders)
{
    int err = trace_redirect(orders->trace, orders->file_fd);
    if (err < 0)
        return err;
    take_fd(&orders->file_fd);
    device_trace(orders->device, orders->now.number != 0);
    return 0;
}

/* 0, LATER, or a negative errno. */
static int carry_out(struct orders *orders, uint64_t *ret_len, struct ob_fault *fault)
{
    switch (orders->now.code) {
    case ORDER_RESET:
        return reset(orders);
    case ORDER_TRACE:
        return trace(orders);
    case ORDER_SAVE:
        return save(orders, ret_len, fault);
    case ORDER_LOAD:
        return load(orders, fault);
    case ORDER_RESUME:
        resume(orders);
        return 0;
    case ORDER_DRAIN:
        return drain(orders, fault);
    default:
        return -ENOSYS;
    }
}

static void set_busy(struct orders *orders, bool is_busy)
{
    orders->is_busy = is_busy;
    loop_change(orders->source, is_busy ? 0 : EPOLLIN);
    ticker_set(orders->ticker_fd, is_busy ? LOOK_MS : 0);
}

/* The answer is kept until the launcher's socket has room for it. */
static void send_answer(struct orders *orders)
{
    bool full = notify_send_to(orders->notify_fd, orders->answer) == -EAGAIN;
    if (!full)
        orders->answer[0] = '\0';
    set_busy(orders, full);
}

static void look(struct orders *orders)
{
    struct ob_fault fault = {0};
    char words[OB_FAULT_TEXT_LEN];
    uint64_t len = 0;
    if (orders->answer[0]) {
        send_answer(orders);
        return;
    }
    int err = carry_out(orders, &len, &fault);
    if (err == LATER) {
        set_busy(orders, true);
        return;
    }
    auto_close(&orders->file_fd);
    orders->file_fd = -1;
    printable_copy(words, sizeof(words), fault.text, strlen(fault.text));
    snprintf(orders->answer, sizeof(orders->answer),
             ORDERS_ANSWER "%u %d %llu\n" ORDERS_FAULT "%.300s", orders->now.id, -err,
             (unsigned long long)len, words);
    send_answer(orders);
}

/* One order, with a descriptor at most. Whether there was one. */
static bool receive(struct orders *orders)
{
    union {
        struct cmsghdr align;
        // cppcheck-suppress unusedStructMember ; recvmsg(2) fills it
        char room[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec iov = {.iov_base = &orders->now, .iov_len = sizeof(orders->now)};
    struct msghdr message = {.msg_iov = &iov,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof(control)};
    ssize_t len = recvmsg(orders->fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    const struct cmsghdr *header = len < 0 ? NULL : CMSG_FIRSTHDR(&message);
    orders->file_fd = -1;
    if (header && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS &&
        header->cmsg_len == CMSG_LEN(sizeof(int)))
        memcpy(&orders->file_fd, CMSG_DATA(header), sizeof(int));
    if (len == sizeof(orders->now))
        return true;
    auto_close(&orders->file_fd);
    orders->file_fd = -1;
    return false;
}

static void on_order(void *argument, uint32_t events)
{
    struct orders *orders = argument;
    if (!orders->is_busy && orders->device && receive(orders))
        look(orders);
    else if (events & (EPOLLHUP | EPOLLERR))
        orders_end(orders); /* the supervisor has ended */
}

static void on_tick(void *argument, uint32_t events)
{
    struct orders *orders = argument;
    ticker_drain(orders->ticker_fd);
    if (orders->is_busy)
        look(orders);
}

int orders_begin(struct orders *orders, struct loop *loop, int fd, int notify_fd)
{
    *orders = (struct orders){.fd = fd, .ticker_fd = -1, .notify_fd = notify_fd, .file_fd = -1};
    if (fd < 0)
        return 0;
    int err = orders->ticker_fd = ticker_new(0);
    if (err >= 0)
        err = loop_add(loop, orders->ticker_fd, EPOLLIN, on_tick, orders, &orders->ticker);
    if (err >= 0)
        err = loop_add(loop, fd, EPOLLIN, on_order, orders, &orders->source);
    return err < 0 ? err : 0;
}

void orders_end(struct orders *orders)
{
    loop_remove(orders->source);
    loop_remove(orders->ticker);
    orders->source = orders->ticker = NULL;
    auto_close(&orders->fd);
    auto_close(&orders->ticker_fd);
    auto_close(&orders->file_fd);
    orders->fd = orders->ticker_fd = orders->file_fd = -1;
}
