// SPDX-License-Identifier: BSD-3-Clause
/*
 * Both ends of the orders to a device process (base/orders.h), each with the other end hostile.
 *
 * An input whose first byte is odd is a list of orders to src/program/orders.c: whole ones, and messages of other
 * lengths, with descriptors and without, to a device that comes to rest when the input says so. What must hold:
 * each whole order has one answer, with its number, in the order of the orders; a device is paused only if the
 * last order that was carried out says so; no descriptor stays open.
 *
 * Else it is a list of messages of a device process to src/supervisor/ready_socket.c, which go on to an
 * order_sender. What must hold: words are printable and end; nobody is told of a message that says nothing, or
 * that another process has sent; an order is answered once.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "check.h"
#include "device/device.h"
#include "fake/server_host.h"
#include "os/closer.h"
#include "os/ticker.h"
#include "program/orders.h"
#include "supervisor/order_sender.h"
#include "supervisor/ready_socket.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int __wrap_ticker_new(unsigned interval_ms);
void __wrap_ticker_set(int fd, unsigned interval_ms);
void __wrap_ticker_drain(int fd);
void __wrap_closer_close(int fd);

#define MESSAGE_MAX 512u
#define STEPS_MAX   64u
#define DESCRIPTORS 128 /* that are looked at */

struct input {
    const uint8_t *at, *end;
};

static uint8_t byte(struct input *input)
{
    return input->at < input->end ? *input->at++ : 0;
}

/* --- a ticker without a clock, and closes without a thread ------------------------------------ */

int __wrap_ticker_new(unsigned interval_ms)
{
    return eventfd(interval_ms > 0, EFD_NONBLOCK | EFD_CLOEXEC);
}

void __wrap_ticker_set(int fd, unsigned interval_ms)
{
    uint64_t count = 1;
    ssize_t done =
        interval_ms > 0 ? write(fd, &count, sizeof(count)) : read(fd, &count, sizeof(count));
    (void)done;
}

void __wrap_ticker_drain(int fd)
{
    uint64_t count;
    ssize_t done = read(fd, &count, sizeof(count));
    (void)done;
}

void __wrap_closer_close(int fd)
{
    close(fd);
}

/* --- orders to a device ------------------------------------------------------------------------- */

struct world {
    struct ob_device *device; /* stays */
    struct loop *loop;
    struct orders orders;
    struct trace trace;
    struct hold hold;
    int supervisor_fd, told_fd;
    bool paused;
    int rests; /* what at_rest() says */
    uint32_t asked[STEPS_MAX];
    unsigned orders_asked, orders_answered;
};

static void pause_device(void *state, bool paused)
{
    ((struct world *)state)->paused = paused;
}

static int at_rest(void *state, struct ob_fault *fault)
{
    const struct world *world = state;
    CHECK(world->paused);
    return world->rests < 0 ? ob_fault_set(fault, -ETIMEDOUT, "does\nnot rest") : world->rests;
}

static int save(void *state, uint8_t *ret_buf, size_t size)
{
    memset(ret_buf, 7, 4);
    return 4;
}

static int load(void *state, uint32_t version, const uint8_t *buf, size_t len,
                struct ob_fault *fault)
{
    return len == 4 ? 0 : -EINVAL;
}

/* Made once, as its host is. */
static struct ob_device *make_device(struct world *world, bool saves)
{
    static struct fake_host fakes[2];
    struct ob_device *device;
    struct ob_fault fault;
    const struct ob_device_desc desc = {.size = sizeof(desc),
                                        .name = "fuzzed",
                                        .vendor_id = 0x1af4,
                                        .device_id = 0x10f3,
                                        .class_code = 0xff0000,
                                        .state_len = saves ? 16 : 0,
                                        .bars = {{.kind = OB_BAR_MEM32, .size = 4096}}};
    const struct ob_device_ops ops = {.size = sizeof(ops),
                                      .pause = pause_device,
                                      .at_rest = at_rest,
                                      .save = saves ? save : NULL,
                                      .load = saves ? load : NULL};
    fake_host_init(&fakes[saves]);
    CHECK(device_new(&desc, &ops, world, &fakes[saves].host, &device, &fault) == 0);
    return device;
}

static struct world *make_world(bool saves)
{
    static struct world worlds[2];
    struct world *world = &worlds[saves];
    struct ob_device *device = world->device ? world->device : make_device(world, saves);
    struct ob_fault fault;
    int orders[2], told[2];
    *world = (struct world){.device = device, .rests = 1};
    CHECK(loop_new(&world->loop) == 0);
    CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, orders) == 0);
    CHECK(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, told) == 0);
    world->supervisor_fd = orders[0];
    world->told_fd = told[0];
    CHECK(orders_begin(&world->orders, world->loop, orders[1], told[1]) == 0);
    world->orders.device = world->device;
    world->orders.trace = &world->trace;
    world->orders.hold = &world->hold;
    CHECK(trace_open(&world->trace, "", "fuzzed", &fault) == 0);
    return world;
}

static void end_world(struct world *world)
{
    int notify_fd = world->orders.notify_fd;
    orders_end(&world->orders);
    close(notify_fd);
    close(world->supervisor_fd);
    close(world->told_fd);
    trace_close(&world->trace);
    loop_free(world->loop);
    device_drain(world->device, false);
    device_pause(world->device, false);
    CHECK(!world->paused);
}

static void hear_answers(struct world *world)
{
    char text[MESSAGE_MAX * 2];
    for (ssize_t len; (len = recv(world->told_fd, text, sizeof(text) - 1, MSG_DONTWAIT)) >= 0;) {
        unsigned id;
        int error;
        unsigned long long state_len;
        text[len] = '\0';
        CHECK(sscanf(text, ORDERS_ANSWER "%u %d %llu\n", &id, &error, &state_len) == 3);
        CHECK(error >= 0 && world->orders_answered < world->orders_asked);
        CHECK(id == world->asked[world->orders_answered++]);
        CHECK(strstr(text, "\n" ORDERS_FAULT));
        CHECK(!strchr(strstr(text, "\n" ORDERS_FAULT) + 1, '\n'));
    }
}

static void run_loop(struct world *world)
{
    for (unsigned turn = 0; turn < 8; turn++)
        CHECK(loop_wait(world->loop, 0) >= 0);
    hear_answers(world);
}

static int make_file(uint8_t kind)
{
    int ends[2];
    switch (kind % 4) {
    case 0:
        return -1;
    case 1:
        return memfd_create("state", MFD_CLOEXEC);
    case 2:
        return open("/dev/null", O_RDONLY | O_CLOEXEC);
    default:
        CHECK(pipe2(ends, O_CLOEXEC) == 0);
        close(ends[1]);
        return ends[0];
    }
}

/* Sends bytes, and a descriptor unless it is -1, which is closed here. Whether it was sent. */
static bool send_with(int socket, const struct sockaddr_un *to, socklen_t to_len, const void *bytes,
                      size_t len, int fd)
{
    union {
        struct cmsghdr align;
        char room[CMSG_SPACE(sizeof(int))]; // cppcheck-suppress unusedStructMember ; for its size
    } control = {0};
    struct iovec iov = {.iov_base = (void *)bytes, .iov_len = len};
    struct msghdr message = {
        .msg_name = (void *)to, .msg_namelen = to_len, .msg_iov = &iov, .msg_iovlen = 1};
    if (fd >= 0) {
        message.msg_control = &control;
        message.msg_controllen = sizeof(control);
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(header), &fd, sizeof(int));
    }
    bool sent = sendmsg(socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0;
    if (fd >= 0)
        close(fd);
    return sent;
}

static void give_order(struct world *world, struct input *input)
{
    uint8_t kind = byte(input), file = byte(input);
    struct order order = {.code = kind & 15, .id = byte(input), .number = byte(input)};
    if (kind & 32)
        order.number <<= 56;
    if (order.code == ORDER_DRAIN && order.number > 0)
        order.number =
            world->rests == 0 ? 1 : 1000; /* a time that passes soon, or counts for nothing */
    size_t len = kind & 16 ? byte(input) % sizeof(order) : sizeof(order);
    if (!send_with(world->supervisor_fd, NULL, 0, &order, len, make_file(file)))
        return;
    if (len == sizeof(order) && world->orders_asked < STEPS_MAX)
        world->asked[world->orders_asked++] = order.id;
}

static void try_orders(struct input *input)
{
    struct world *world = make_world(byte(input) & 1);
    for (unsigned step = 0; step < STEPS_MAX && input->at < input->end; step++) {
        uint8_t what = byte(input);
        world->rests = (what & 3) == 3 ? -1 : (what & 3) > 0;
        world->hold.served = what & 4;
        world->hold.is_held = world->hold.wanted && (what & 8);
        if (world->orders_asked < STEPS_MAX)
            give_order(world, input);
        run_loop(world);
    }
    /* What waits comes to an end when the device rests and the connection is held. */
    world->rests = 1;
    for (unsigned turn = 0; turn < 2 * STEPS_MAX && world->orders_answered < world->orders_asked;
         turn++) {
        world->hold.is_held = world->hold.wanted;
        run_loop(world);
    }
    CHECK(world->orders_answered == world->orders_asked);
    CHECK(world->paused ||
          (!world->hold.wanted && !world->orders.rests && !device_is_stopped(world->device)));
    end_world(world);
}

/* --- messages of a device process --------------------------------------------------------------- */

struct listener {
    struct order_sender sender;
    struct ready_socket *socket;
    unsigned told, orders_sent, orders_answered;
    bool trusts;
};

static void check_words(const char *words, size_t size)
{
    size_t len = strnlen(words, size);
    CHECK(len < size);
    for (size_t i = 0; i < len; i++)
        CHECK((uint8_t)words[i] >= 0x20 && words[i] != 0x7f);
}

static void on_told(void *argument, const struct ready_told *told)
{
    struct listener *listener = argument;
    CHECK(listener->trusts);
    CHECK(told->ready || told->stopping || told->waiting || told->alive || told->has_client ||
          told->has_answer || told->status[0]);
    check_words(told->status, sizeof(told->status));
    check_words(told->answer.why, sizeof(told->answer.why));
    CHECK(!told->has_answer || told->answer.error >= 0);
    listener->told++;
    order_sender_hear(&listener->sender, told);
}

static void on_answered(void *argument, int err, uint64_t len, const char *why)
{
    struct listener *listener = argument;
    CHECK(err <= 0 && why);
    listener->orders_answered++;
    CHECK(listener->orders_answered <= listener->orders_sent);
}

static socklen_t address_of(const struct ready_socket *socket, struct sockaddr_un *ret_address)
{
    const char *name = ready_socket_name(socket);
    *ret_address = (struct sockaddr_un){.sun_family = AF_UNIX};
    memcpy(ret_address->sun_path + 1, name + 1, strlen(name + 1));
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name));
}

static void try_messages(struct input *input)
{
    struct listener listener = {0};
    struct timers timers;
    struct loop *loop;
    struct sockaddr_un address;
    int ours, theirs, sender_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    const uint8_t who = byte(input) % 3;
    timers_init(&timers);
    CHECK(sender_fd >= 0 && loop_new(&loop) == 0);
    CHECK(ready_socket_new(loop, &timers, on_told, &listener, &listener.socket) == 0);
    listener.trusts = who < 2;
    CHECK(ready_socket_trust(listener.socket, who == 0   ? getpid()
                                              : who == 1 ? getppid()
                                                         : INT32_MAX) == 0);
    CHECK(order_sender_pair(3, &ours, &theirs) == 0);
    order_sender_begin(&listener.sender, &timers, ours);
    socklen_t address_len = address_of(listener.socket, &address);
    while (input->at < input->end) {
        const struct order order = {.code = ORDER_SAVE};
        uint8_t what = byte(input);
        size_t len = byte(input) | (size_t)(what & 1) << 8, left = (size_t)(input->end - input->at);
        len = len < left ? len : left;
        listener.orders_sent +=
            order_sender_send(&listener.sender, &order, -1, on_answered, &listener) == 0;
        send_with(sender_fd, &address, address_len, input->at, len, make_file(what >> 4));
        input->at += len;
        if (what & 2)
            CHECK(loop_wait(loop, 0) >= 0);
        if (what & 4)
            timers_run(&timers, timers_next(&timers) == TIMER_NEVER ? 0 : timers_next(&timers));
    }
    ready_socket_watch(listener.socket, on_told, &listener);
    ready_socket_finish(listener.socket);
    order_sender_end(&listener.sender);
    CHECK(listener.orders_answered == listener.orders_sent);
    close(theirs);
    close(sender_fd);
    ready_socket_free(listener.socket);
    loop_free(loop);
}

static unsigned open_descriptors(void)
{
    unsigned count = 0;
    for (int fd = 0; fd < DESCRIPTORS; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = {data, data + size};
    const unsigned before = open_descriptors();
    if (byte(&input) & 1)
        try_orders(&input);
    else
        try_messages(&input);
    CHECK(open_descriptors() == before);
    return 0;
}
