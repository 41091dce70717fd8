// SPDX-License-Identifier: BSD-3-Clause
/*
 * The device's own state, for a migration: SET_DEVICE_STATE_FD, CHECK_DEVICE_STATE. Section "Migrating
 * back-end state".
 *
 * The front end passes a pipe while no ring runs. When saving, the state is taken at once, and written as
 * the pipe has room. When loading, it is read until the front end closes its end, and loaded then; the
 * check is answered after that. The rings' places and the features are the front end's matter, so the
 * state is that of virtio_save_own(), behind the head that each saved state has.
 *
 * A pipe alone is accepted, since any other file can have somebody behind it who never answers.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "device/device_vault.h"
#include "device/state.h"
#include "server/vhost_user/vhost_user.h"

static const struct server_host *host_of(const struct vhost_user_server *server)
{
    return device_host(server->engine.device);
}

/* The pipe is closed, whatever the other end still does. */
static void finish(struct vhost_user_server *server, int result)
{
    struct vhost_user_transfer_state *transfer = &server->transfer;
    const struct server_host *host = host_of(server);
    if (transfer->fd >= 0) {
        host->unwatch(host->context, transfer->fd);
        device_let_go(server->engine.device, transfer->fd);
    }
    free(transfer->bytes);
    *transfer = (struct vhost_user_transfer_state){.fd = -1, .result = result};
}

void vhost_user_transfer_stop(struct vhost_user_server *server)
{
    finish(server, -ENODATA);
}

static int load(struct vhost_user_server *server)
{
    const struct vhost_user_transfer_state *transfer = &server->transfer;
    struct ob_device *device = server->engine.device;
    struct rd rd = rd_init(transfer->bytes, transfer->len);
    struct ob_fault fault = {0};
    uint32_t version = 0;
    int err = state_load_head(device, &rd, &version, &fault);
    if (err == 0 && rd.bad)
        err = ob_fault_set(&fault, -EINVAL, "the state is too short");
    if (err == 0)
        err = virtio_load_own(device, version, rd.at, rd.left, &fault);
    if (err < 0)
        ob_device_warn(device, "a state that was transferred is refused: %s",
                       fault.code ? fault.text : strerror(-err));
    return err;
}

/* Once the bytes have ended, the transfer is over. */
static void read_some(struct vhost_user_server *server)
{
    struct vhost_user_transfer_state *transfer = &server->transfer;
    const struct server_host *host = host_of(server);
    for (;;) {
        const ssize_t got =
            host->pipe_read(host->context, transfer->fd, transfer->bytes + transfer->len,
                            transfer->room - transfer->len);
        if (got == -EAGAIN || got == -EINTR)
            return;
        if (got > 0)
            transfer->len += (size_t)got;
        if (got == 0 || got < 0 || transfer->len == transfer->room) {
            const bool fits =
                transfer->len < transfer->room; /* there is room for one byte too many */
            finish(server, got < 0 ? (int)got : fits ? load(server) : -EFBIG);
            return;
        }
    }
}

static void write_some(struct vhost_user_server *server)
{
    struct vhost_user_transfer_state *transfer = &server->transfer;
    const struct server_host *host = host_of(server);
    while (transfer->at < transfer->len) {
        const ssize_t sent =
            host->pipe_write(host->context, transfer->fd, transfer->bytes + transfer->at,
                             transfer->len - transfer->at);
        if (sent == -EAGAIN || sent == -EINTR)
            return;
        if (sent < 0) {
            finish(server, (int)sent);
            return;
        }
        transfer->at += (size_t)sent;
    }
    finish(server, 0);
}

static void ready(void *argument, unsigned events)
{
    struct vhost_user_server *server = argument;
    if (server->transfer.loads)
        read_some(server);
    else
        write_some(server);
}

static int save(struct vhost_user_server *server, uint8_t *to, size_t room)
{
    struct ob_device *device = server->engine.device;
    struct wr wr = wr_init(to, room);
    state_save_head(device, &wr);
    if (wr_done(&wr) < 0)
        return -ENOSPC;
    const int own = virtio_save_own(device, wr.at, wr.left);
    return own < 0 ? own : (int)wr.len + own;
}

static int begin(struct vhost_user_message *message, const struct vhost_user_transfer *wanted)
{
    struct vhost_user_server *server = message->server;
    struct vhost_user_transfer_state *transfer = &server->transfer;
    const struct server_host *host = host_of(server);
    const size_t room = vhost_user_transfer_limit(server) + 1;
    const bool loads = wanted->direction == VHOST_USER_TRANSFER_LOAD;
    uint8_t *bytes = malloc(room);
    int len = !bytes ? -ENOMEM : loads ? 0 : save(server, bytes, room);
    int err = len < 0 ? len
                      : host->watch(host->context, message->fds->fd[0],
                                    loads ? OB_WATCH_READABLE : OB_WATCH_WRITABLE, ready, server);
    if (err < 0) {
        free(bytes);
        return vhost_user_refuse(message, err, "the state can't be transferred: %s",
                                 strerror(-err));
    }
    *transfer = (struct vhost_user_transfer_state){.fd = vhost_user_take_fd(message),
                                                   .loads = loads,
                                                   .bytes = bytes,
                                                   .len = (size_t)len,
                                                   .room = room};
    return 0;
}

static int check(struct vhost_user_message *message)
{
    struct vhost_user_server *server = message->server;
    const struct server_host *host = host_of(server);
    struct vhost_user_transfer wanted = {0};
    vhost_user_transfer_get(message->payload, message->len, &wanted);
    if (!vhost_user_has_protocol(server, VHOST_USER_F_DEVICE_STATE))
        return vhost_user_refuse(message, -EPROTO, "got it without DEVICE_STATE");
    if (wanted.direction > VHOST_USER_TRANSFER_LOAD || wanted.phase != 0)
        return vhost_user_refuse(message, -EINVAL,
                                 "got direction %" PRIu32 " and phase %" PRIu32
                                 ", expected 0 or 1, and 0",
                                 wanted.direction, wanted.phase);
    if (vhost_user_any_ring_runs(server))
        return vhost_user_refuse(message, -EBUSY, "a ring runs; stop it first");
    if (message->fds->count != 1 || host->pipe_check(host->context, message->fds->fd[0]) < 0)
        return vhost_user_refuse(message, -EINVAL, "got %u descriptors, expected a pipe",
                                 message->fds->count);
    finish(server, -ENODATA); /* one that is under way */
    return begin(message, &wanted);
}

int vhost_user_set_device_state_fd(struct vhost_user_message *message)
{
    int err = check(message);
    if (err < 0)
        ob_device_warn(message->device, "refused SET_DEVICE_STATE_FD: %s", message->fault.text);
    wr_u64(&message->reply, VHOST_USER_STATE_NO_FD | (err < 0 ? 1 : 0));
    return 0;
}

int vhost_user_check_device_state(struct vhost_user_message *message)
{
    struct vhost_user_server *server = message->server;
    if (server->transfer.fd >= 0)
        return ENGINE_LATER;
    wr_u64(&message->reply, server->transfer.result == 0 ? 0 : 1);
    return 0;
}
