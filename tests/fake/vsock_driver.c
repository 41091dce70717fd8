// SPDX-License-Identifier: BSD-3-Clause
#include "fake/vsock_driver.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <outboard/program.h>
#include <outboard/timer.h>
#include <outboard/vault.h>
#include <outboard/virtio.h>
#include <outboard/watch.h>

#include "port/stream.h"

#define WATCHES 1024u
#define SPLIT   40u /* where the first descriptor of a chain ends: within the header */

struct watch {
    unsigned events;
    ob_watch_fn ready;
    void *argument;
};

struct ob_device {
    struct ob_virtio_ops ops;
    void *state;
    struct watch watches[WATCHES];
    int last; /* the highest descriptor that was ever watched */
    uint64_t now_ns;
};

struct ob_timer {
    ob_timer_fn due;
    void *argument;
    uint64_t at_ns; /* 0: not set */
};

/* One device at a time. */
static struct driver *the_driver;
static struct ob_timer the_timer;

struct chain {
    struct ob_virtio_chain public;
    struct ob_dma_span spans[2];
    uint8_t bytes[PACKET_HEADER_LEN + PACKET_PAYLOAD_MAX + 64];
};

static struct chain sent; /* the one chain in the transmit queue */
static bool is_sent;
static struct chain buffer; /* the receive buffer that the device has taken */

/* --- the public API ------------------------------------------------------------------------ */

int ob_virtio_new(const struct ob_virtio_desc *desc, const struct ob_virtio_ops *ops, void *state,
                  struct ob_device **ret_device, struct ob_fault *fault)
{
    struct ob_device *device = calloc(1, sizeof(*device));
    if (!device)
        return -ENOMEM;
    device->ops = *ops;
    device->state = state;
    device->now_ns = 1;
    *ret_device = device;
    return 0;
}

void ob_device_free(struct ob_device *device)
{
    free(device);
}

static void make_spans(struct chain *chain, size_t len, bool writable, unsigned queue)
{
    size_t first = len < SPLIT ? len : SPLIT;
    unsigned count = len > SPLIT ? 2 : 1;
    chain->spans[0] = (struct ob_dma_span){.address = chain->bytes, .len = first};
    chain->spans[1] = (struct ob_dma_span){.address = chain->bytes + first, .len = len - first};
    chain->public = (struct ob_virtio_chain){.queue = queue};
    if (writable) {
        chain->public.writable = chain->spans;
        chain->public.num_writable = count;
        chain->public.writable_len = len;
    } else {
        chain->public.readable = chain->spans;
        chain->public.num_readable = count;
        chain->public.readable_len = len;
    }
}

struct ob_virtio_chain *ob_virtio_take(struct ob_device *device, unsigned queue)
{
    if (queue == 1 && is_sent) {
        is_sent = false;
        return &sent.public;
    }
    if ((queue == 0 && the_driver->buffers > 0) || queue == 2) {
        the_driver->buffers -= queue == 0;
        make_spans(&buffer, queue == 0 ? DRIVER_BUFFER : 4, true, queue);
        return &buffer.public;
    }
    return NULL;
}

static void keep(struct driver *driver, size_t written)
{
    struct driver_packet packet;
    packet_get(buffer.bytes, &packet.header);
    if (driver->num_got == DRIVER_GOT || written != PACKET_HEADER_LEN + packet.header.len) {
        driver->lost++;
        return;
    }
    packet.payload = malloc(packet.header.len + 1);
    memcpy(packet.payload, buffer.bytes + PACKET_HEADER_LEN, packet.header.len);
    driver->got[(driver->first + driver->num_got++) % DRIVER_GOT] = packet;
}

void ob_virtio_complete(struct ob_virtio_chain *chain, size_t written)
{
    if (chain == &buffer.public && chain->queue == 0)
        keep(the_driver, written);
    else if (chain == &buffer.public)
        the_driver->events += written == 4;
}

void ob_virtio_return(struct ob_virtio_chain *chain)
{
    if (chain == &buffer.public && chain->queue == 0)
        the_driver->buffers++;
}

size_t ob_virtio_read(const struct ob_virtio_chain *chain, size_t offset, void *ret_buf, size_t len)
{
    if (offset > chain->readable_len)
        return 0;
    if (len > chain->readable_len - offset)
        len = chain->readable_len - offset;
    memcpy(ret_buf, sent.bytes + offset, len);
    return len;
}

size_t ob_virtio_write(const struct ob_virtio_chain *chain, size_t offset, const void *buf,
                       size_t len)
{
    if (offset > chain->writable_len)
        return 0;
    if (len > chain->writable_len - offset)
        len = chain->writable_len - offset;
    memcpy(buffer.bytes + offset, buf, len);
    return len;
}

uint64_t ob_virtio_features(const struct ob_device *device)
{
    return 3;
}

void ob_virtio_fail(struct ob_device *device, const char *format, ...)
{
    the_driver->failed = true;
}

int ob_device_watch(struct ob_device *device, int fd, unsigned events, ob_watch_fn ready,
                    void *argument)
{
    if (fd < 0 || (unsigned)fd >= WATCHES)
        return -EBADF;
    device->watches[fd] = (struct watch){events, ready, argument};
    if (fd > device->last)
        device->last = fd;
    return 0;
}

void ob_device_unwatch(struct ob_device *device, int fd)
{
    if (fd >= 0 && (unsigned)fd < WATCHES)
        device->watches[fd].events = 0;
}

uint64_t ob_timer_now_ns(void)
{
    return the_driver->device ? the_driver->device->now_ns : 1;
}

int ob_timer_new(struct ob_device *device, ob_timer_fn due, void *argument,
                 struct ob_timer **ret_timer, struct ob_fault *fault)
{
    the_timer = (struct ob_timer){.due = due, .argument = argument};
    *ret_timer = &the_timer;
    return 0;
}

void ob_timer_set(struct ob_timer *timer, uint64_t at_ns)
{
    timer->at_ns = at_ns;
}

void ob_timer_free(struct ob_timer *timer)
{
    timer->at_ns = 0;
}

void ob_log(const char *format, ...)
{
}

ssize_t port_stream_read(int fd, const struct iovec *pieces, unsigned count)
{
    const struct msghdr message = {.msg_iov = (struct iovec *)pieces, .msg_iovlen = count};
    ssize_t got = recvmsg(fd, (struct msghdr *)&message, MSG_DONTWAIT);
    return got < 0 ? -errno : got;
}

void port_stream_close(int fd)
{
    close(fd);
}

/* --- the driver ---------------------------------------------------------------------------- */

static int dial(void *context, uint32_t call, struct connection_peer peer, enum packet_type type)
{
    struct driver *driver = context;
    driver->call = call;
    driver->dialled_cid = peer.cid;
    driver->dialled_port = peer.port;
    driver->dialled_type = type;
    driver->dials++;
    return driver->dial_error;
}

void driver_begin(struct driver *driver, uint32_t connections)
{
    static const struct vsock_ops ops = {.dial = dial};
    const struct vsock_options options = {
        .guest_cid = DRIVER_CID, .connections = connections, .ops = &ops, .context = driver};
    *driver = (struct driver){.buffers = 128};
    the_driver = driver;
    is_sent = false;
    if (vsock_new(&options, &driver->vsock, &driver->device, NULL) < 0)
        abort();
    struct ob_device *device = driver->device;
    device->ops.started(device->state);
    device->ops.notified(device->state, 0);
}

void driver_end(struct driver *driver)
{
    struct ob_device *device = driver->device;
    device->ops.disconnected(device->state);
    vsock_free(driver->vsock);
    while (driver_next(driver).header.op)
        ;
    driver_next(driver);
    ob_device_free(device);
    the_driver = NULL;
}

void driver_send_raw(struct driver *driver, const uint8_t *bytes, size_t len)
{
    struct ob_device *device = driver->device;
    if (len > sizeof(sent.bytes))
        len = sizeof(sent.bytes);
    memcpy(sent.bytes, bytes, len);
    make_spans(&sent, len, false, 1);
    is_sent = true;
    while (device->ops.notified(device->state, 1))
        ;
}

void driver_send(struct driver *driver, const struct packet *header, const void *payload,
                 size_t payload_len)
{
    static uint8_t bytes[sizeof(sent.bytes)];
    if (payload_len > sizeof(bytes) - PACKET_HEADER_LEN)
        payload_len = sizeof(bytes) - PACKET_HEADER_LEN;
    packet_put(header, bytes);
    if (payload_len > 0)
        memcpy(bytes + PACKET_HEADER_LEN, payload, payload_len);
    driver_send_raw(driver, bytes, PACKET_HEADER_LEN + payload_len);
}

void driver_say(struct driver *driver, enum packet_op op, uint32_t guest_port, uint32_t host_port,
                const void *payload, uint32_t len)
{
    const struct packet header = {.src_cid = DRIVER_CID,
                                  .dst_cid = VSOCK_CID_HOST,
                                  .src_port = guest_port,
                                  .dst_port = host_port,
                                  .len = len,
                                  .type = PACKET_STREAM,
                                  .op = (uint16_t)op,
                                  .buf_alloc = 256 << 10};
    driver_send(driver, &header, payload, len);
}

void driver_give(struct driver *driver, unsigned buffers)
{
    driver->buffers += buffers;
    driver->device->ops.notified(driver->device->state, 0);
}

/* The watched descriptors, for poll(). */
static unsigned list_watches(const struct ob_device *device, struct pollfd *ret_looks)
{
    unsigned count = 0;
    for (int fd = 0; fd <= device->last; fd++) {
        const unsigned events = device->watches[fd].events;
        if (events)
            ret_looks[count++] =
                (struct pollfd){.fd = fd,
                                .events = (short)((events & OB_WATCH_READABLE ? POLLIN : 0) |
                                                  (events & OB_WATCH_WRITABLE ? POLLOUT : 0))};
    }
    return count;
}

static bool turn_sockets(struct driver *driver)
{
    struct pollfd looks[WATCHES];
    const unsigned count = list_watches(driver->device, looks);
    if (count == 0 || poll(looks, count, 0) <= 0)
        return false;
    for (unsigned i = 0; i < count; i++) {
        const struct watch watch = driver->device->watches[looks[i].fd];
        unsigned ready = 0;
        if (looks[i].revents & (POLLIN | POLLHUP | POLLERR))
            ready |= OB_WATCH_READABLE;
        if (looks[i].revents & (POLLOUT | POLLHUP | POLLERR))
            ready |= OB_WATCH_WRITABLE;
        if (ready & watch.events) /* a socket before it may have ended this one */
            watch.ready(watch.argument, ready & watch.events);
    }
    return true;
}

void driver_turn(struct driver *driver)
{
    struct ob_device *device = driver->device;
    bool did = true;
    while (did) {
        did = turn_sockets(driver);
        while (device->ops.poll(device->state))
            did = true;
    }
}

void driver_pass_s(struct driver *driver, unsigned seconds)
{
    for (unsigned i = 0; i < seconds; i++) {
        driver->device->now_ns += UINT64_C(1000000000);
        if (the_timer.at_ns != 0 && the_timer.at_ns <= driver->device->now_ns) {
            the_timer.at_ns = 0;
            the_timer.due(the_timer.argument);
        }
        driver_turn(driver);
    }
}

struct driver_packet driver_next(struct driver *driver)
{
    static struct driver_packet last;
    free(last.payload);
    last = (struct driver_packet){0};
    if (driver->num_got > 0) {
        last = driver->got[driver->first];
        driver->first = (driver->first + 1) % DRIVER_GOT;
        driver->num_got--;
    }
    return last;
}

void driver_restart(struct driver *driver)
{
    struct ob_device *device = driver->device;
    device->ops.queue_started(device->state, 0);
    device->ops.notified(device->state, 0);
}

void driver_reset(struct driver *driver)
{
    struct ob_device *device = driver->device;
    device->ops.reset(device->state);
    device->ops.started(device->state);
    device->ops.notified(device->state, 0);
}

int driver_move(struct driver *driver, const uint8_t *state, size_t len)
{
    const struct ob_device *device = driver->device;
    uint8_t config[8], saved[8];
    struct ob_fault fault;
    device->ops.config(device->state, config);
    if (device->ops.save(device->state, saved, sizeof(saved)) != (int)sizeof(saved) ||
        memcmp(config, saved, sizeof(saved)) != 0)
        abort();
    int err = device->ops.load(device->state, 1, state, len, &fault);
    device->ops.notified(device->state, 2);
    return err;
}

enum ob_vault_role ob_vault_role(void)
{
    return OB_VAULT_NONE;
}

int ob_vault_keep(struct ob_device *device, const struct ob_vault_state *state)
{
    return 0;
}

int ob_vault_keep_fd(struct ob_device *device, unsigned number, int fd)
{
    return 0;
}

int ob_vault_kept_fd(const struct ob_device *device, unsigned number)
{
    return -ENOENT;
}

int ob_vault_commit(struct ob_device *device)
{
    return 0;
}
