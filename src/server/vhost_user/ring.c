// SPDX-License-Identifier: BSD-3-Clause
/*
 * Rings: SET_VRING_* and GET_VRING_BASE.
 *
 * A ring runs as long as it has a size, addresses, an eventfd for kicks, and is enabled (a front end
 * that has not set PROTOCOL_FEATURES enables none, and needs not). The front end may send these in
 * any order. It sends no kick for chains that the driver has made available before, so the device looks at
 * once. A ring whose addresses can't be read yet, because the IOMMU's translation is not known, is
 * tried again when something comes in.
 *
 * A front end that continues a guest gives back the base that GET_VRING_BASE has told it. Another base
 * is that of a driver that has begun again: the guest was reset, of which QEMU 7.2 sends no other
 * message. So the device is reset before its rings start.
 *
 * GET_VRING_BASE takes the kick away, and is answered when the device has completed all that it had
 * taken. Disabling waits in the same way.
 */
#include <errno.h>
#include <inttypes.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "device/device_vault.h"
#include "server/vhost_user/vhost_user.h"

#define WRAP        0x8000u
#define PACKED_BASE 0x80008000u /* both counters of wraps begin with 1 */

static const struct server_host *host_of(const struct vhost_user_server *server)
{
    return device_host(server->engine.device);
}

static bool has_feature(const struct vhost_user_server *server, unsigned bit)
{
    return server->features & UINT64_C(1) << bit;
}

static unsigned index_of(const struct vhost_user_ring *ring)
{
    return (unsigned)(ring - ring->server->rings);
}

int vhost_user_rings_start(struct vhost_user_server *server)
{
    server->rings = calloc(server->num_rings, sizeof(server->rings[0]));
    if (!server->rings)
        return -ENOMEM;
    for (unsigned i = 0; i < server->num_rings; i++)
        server->rings[i] = (struct vhost_user_ring){.server = server, .fd = {-1, -1, -1}};
    return 0;
}

/* Replaces an eventfd; -1: by nothing. With a vault, the next process has it too. */
static void set_event(struct vhost_user_ring *ring, enum vhost_user_event event, int fd)
{
    struct ob_device *device = ring->server->engine.device;
    int *slot = &ring->fd[event];
    if (*slot >= 0)
        device_let_go(device, *slot);
    if (*slot >= 0 || fd >= 0)
        device_keep(device, VAULT_RING, index_of(ring) * VHOST_USER_EVENTS + event, 0, fd);
    *slot = fd;
}

static void drop_kick(struct vhost_user_ring *ring)
{
    const struct server_host *host = host_of(ring->server);
    if (ring->fd[VHOST_USER_KICK] >= 0)
        host->event_unwatch(host->context, ring->fd[VHOST_USER_KICK]);
    set_event(ring, VHOST_USER_KICK, -1);
}

void vhost_user_rings_stop(struct vhost_user_server *server)
{
    for (unsigned i = 0; i < server->num_rings; i++) {
        drop_kick(&server->rings[i]);
        set_event(&server->rings[i], VHOST_USER_CALL, -1);
        set_event(&server->rings[i], VHOST_USER_ERR, -1);
        free(server->rings[i].marks);
    }
    free(server->rings);
    server->rings = NULL;
    server->num_rings = 0;
}

void vhost_user_signal_queue(void *context, unsigned queue)
{
    const struct vhost_user_server *server = context;
    const struct server_host *host = host_of(server);
    if (queue < server->num_rings && server->rings[queue].fd[VHOST_USER_CALL] >= 0)
        host->event_signal(host->context, server->rings[queue].fd[VHOST_USER_CALL]);
}

static bool is_packed(const struct vhost_user_server *server)
{
    return has_feature(server, VIRTIO_F_RING_PACKED);
}

/* An address of the front end as the device sees it. -EFAULT: it is in no region. */
static int to_device(struct vhost_user_server *server, uint64_t address, uint64_t *ret_address)
{
    uint64_t offset, left;
    *ret_address = address;
    if (server->iotlb.on)
        return 0;
    const struct ob_dma_region *region = vhost_user_find_user(server, address, &offset, &left);
    if (!region)
        return -EFAULT;
    *ret_address = region->gpa + offset;
    return 0;
}

/* The index that the ring shows: completions may lie behind the base. -EAGAIN: not known yet. */
static int read_used(struct vhost_user_server *server, struct virtio_place *place)
{
    const uint64_t at = place->device + offsetof(struct vring_used, idx);
    uint8_t bytes[2];
    int err = memory_read(device_memory(server->engine.device), at, bytes, sizeof(bytes));
    if (err < 0)
        return vhost_user_miss(server, at, sizeof(bytes), true) ? -EAGAIN : err;
    struct rd rd = rd_init(bytes, sizeof(bytes));
    place->used = rd_u16(&rd);
    return (uint16_t)(place->next - place->used) <= place->size ? 0 : -ERANGE;
}

static int find_place(struct vhost_user_ring *ring, struct virtio_place *place)
{
    struct vhost_user_server *server = ring->server;
    *place = (struct virtio_place){.size = ring->size, .next = (uint16_t)ring->base};
    int err = to_device(server, ring->addr.desc, &place->desc);
    if (err == 0)
        err = to_device(server, ring->addr.avail, &place->driver);
    if (err == 0)
        err = to_device(server, ring->addr.used, &place->device);
    if (err < 0 || !is_packed(server))
        return err < 0 ? err : read_used(server, place);
    place->next = ring->base & (WRAP - 1);
    place->next_wrap = ring->base & WRAP;
    place->used = ring->base >> 16 & (WRAP - 1);
    place->used_wrap = ring->base >> 16 & WRAP;
    return 0;
}

static bool is_ready(const struct vhost_user_ring *ring)
{
    const struct vhost_user_server *server = ring->server;
    const bool enabled = ring->enabled || !has_feature(server, VHOST_USER_F_PROTOCOL_FEATURES);
    return enabled && server->has_features && ring->fd[VHOST_USER_KICK] >= 0 && ring->size > 0 &&
           ring->has_addr && !ring->runs;
}

/* 0 if the ring runs or lacks something, or a negative errno. */
static int try_start(struct vhost_user_ring *ring)
{
    struct vhost_user_server *server = ring->server;
    struct virtio_place place;
    if (!is_ready(ring))
        return 0;
    AUTO_FREE struct vhost_user_past *past = malloc(sizeof(*past));
    if (!past)
        return -ENOMEM;
    past->count = past->num_descs = 0;
    int err = find_place(ring, &place);
    if (err == 0)
        err = vhost_user_inflight_resume(server, index_of(ring), &place, past);
    if (err == 0)
        err = virtio_queue_restart(server->engine.device, index_of(ring), &place, past->flights,
                                   past->count);
    ring->runs = err == 0;
    if (ring->runs)
        virtio_wake(server->engine.device);
    return err == -EAGAIN ? 0 : err;
}

/* A ring that can't start stays as it is; the front end gives it other addresses, or nothing. */
static int start_or_refuse(struct vhost_user_message *message, struct vhost_user_ring *ring)
{
    int err = try_start(ring);
    return err < 0 ? vhost_user_refuse(message, err,
                                       "ring %u can't start at the addresses of "
                                       "SET_VRING_ADDR with size %u and base 0x%" PRIx32 ": %s",
                                       index_of(ring), ring->size, ring->base, strerror(-err))
                   : 0;
}

void vhost_user_rings_try(struct vhost_user_server *server)
{
    for (unsigned i = 0; i < server->num_rings; i++) {
        struct vhost_user_ring *ring = &server->rings[i];
        int err = try_start(ring);
        if (err == 0)
            continue;
        ob_device_warn(server->engine.device, "ring %u can't start: %s", i, strerror(-err));
        ring->has_addr = false;
    }
}

/* Has a ring stop and keeps how far it has come. 0 or ENGINE_LATER. */
static int stop_ring(struct vhost_user_ring *ring)
{
    struct ob_device *device = ring->server->engine.device;
    struct virtio_place place;
    if (!ring->runs)
        return 0;
    if (!virtio_queue_stop(device, index_of(ring)))
        return ENGINE_LATER;
    ring->runs = false;
    virtio_queue_place(device, index_of(ring), &place);
    ring->base = place.next;
    if (!is_packed(ring->server))
        return 0;
    vhost_user_packed_forget(ring->server, index_of(ring));
    ring->base = place.next | (place.next_wrap ? WRAP : 0) | (uint32_t)place.used << 16 |
                 (place.used_wrap ? WRAP << 16 : 0);
    return 0;
}

int vhost_user_rings_reset(struct vhost_user_server *server)
{
    int result = 0;
    for (unsigned i = 0; i < server->num_rings; i++) {
        struct vhost_user_ring *ring = &server->rings[i];
        if (stop_ring(ring) != 0) {
            result = ENGINE_LATER;
            continue;
        }
        drop_kick(ring);
        ring->enabled = ring->has_addr = ring->told = false;
        ring->base = 0;
    }
    return result;
}

static struct vhost_user_ring *find_ring(struct vhost_user_message *message, uint32_t index)
{
    struct vhost_user_server *server = message->server;
    if (index < server->num_rings)
        return &server->rings[index];
    vhost_user_refuse(message, -EINVAL, "got ring %" PRIu32 ", expected one of %u", index,
                      server->num_rings);
    return NULL;
}

static struct vhost_user_ring *ring_of_state(struct vhost_user_message *message,
                                             struct vhost_user_vring_state *ret_state)
{
    vhost_user_vring_state_get(message->payload, message->len, ret_state);
    return find_ring(message, ret_state->index);
}

static int refuse_running(struct vhost_user_message *message, uint32_t index)
{
    return vhost_user_refuse(message, -EBUSY, "ring %" PRIu32 " runs; stop it first", index);
}

int vhost_user_set_vring_num(struct vhost_user_message *message)
{
    struct vhost_user_vring_state state = {0};
    struct vhost_user_ring *ring = ring_of_state(message, &state);
    if (!ring)
        return -EINVAL;
    if (ring->runs)
        return refuse_running(message, state.index);
    if (state.num == 0 || state.num > virtio_queue_max_size(message->device, state.index))
        return vhost_user_refuse(
            message, -EINVAL, "ring %" PRIu32 ": got size %" PRIu32 ", expected 1 to %u",
            state.index, state.num, virtio_queue_max_size(message->device, state.index));
    ring->size = (uint16_t)state.num;
    return 0;
}

/* While a ring runs, the same addresses may come again: with a log, or without. */
int vhost_user_set_vring_addr(struct vhost_user_message *message)
{
    struct vhost_user_vring_addr addr = {0};
    vhost_user_vring_addr_get(message->payload, message->len, &addr);
    struct vhost_user_ring *ring = find_ring(message, addr.index);
    if (!ring)
        return -EINVAL;
    const bool same = ring->has_addr && ring->addr.desc == addr.desc &&
                      ring->addr.avail == addr.avail && ring->addr.used == addr.used;
    if (!same && ring->runs)
        return refuse_running(message, addr.index);
    ring->addr = addr;
    ring->has_addr = true;
    return start_or_refuse(message, ring);
}

/* The features are those of the next driver already. 0, ENGINE_LATER or a negative errno. */
static int forget_driver(struct vhost_user_message *message)
{
    struct vhost_user_server *server = message->server;
    if (!virtio_reset(message->device))
        return ENGINE_LATER;
    for (unsigned i = 0; i < server->num_rings; i++)
        server->rings[i].told = false;
    if (!server->has_features)
        return 0;
    int err = virtio_negotiate(message->device, server->features & virtio_offered(message->device));
    return err < 0
               ? vhost_user_refuse(message, err, "the features of SET_FEATURES: %s", strerror(-err))
               : 0;
}

int vhost_user_set_vring_base(struct vhost_user_message *message)
{
    struct vhost_user_vring_state state = {0};
    struct vhost_user_ring *ring = ring_of_state(message, &state);
    if (!ring)
        return -EINVAL;
    if (ring->runs)
        return refuse_running(message, state.index);
    if (ring->told && state.num != ring->base && !vhost_user_any_ring_runs(message->server)) {
        int err = forget_driver(message);
        if (err != 0)
            return err;
    }
    ring->base = state.num;
    return 0;
}

int vhost_user_get_vring_base(struct vhost_user_message *message)
{
    struct vhost_user_vring_state state = {0};
    struct vhost_user_ring *ring = ring_of_state(message, &state);
    if (!ring)
        return -EINVAL;
    if (stop_ring(ring) != 0)
        return ENGINE_LATER;
    drop_kick(ring);
    ring->told = true;
    state.num = ring->base;
    vhost_user_vring_state_put(wr_room(&message->reply, VHOST_USER_VRING_STATE_LEN),
                               VHOST_USER_VRING_STATE_LEN, &state);
    return 0;
}

/* Reads the ring and the eventfd, -1 if the message says that it has no eventfd. The caller
 * becomes its owner. NULL: refused. */
static struct vhost_user_ring *take_event(struct vhost_user_message *message, int *ret_fd)
{
    const struct server_host *host = host_of(message->server);
    const uint64_t value = vhost_user_u64(message);
    const bool none = value & VHOST_USER_VRING_NO_FD;
    struct vhost_user_ring *ring = find_ring(message, value & VHOST_USER_VRING_INDEX_MASK);
    if (!ring)
        return NULL;
    if (none != (message->fds->count == 0)) {
        vhost_user_refuse(message, -EINVAL, "got %u descriptors, expected %u", message->fds->count,
                          none ? 0 : 1);
        return NULL;
    }
    if (!none && host->event_check(host->context, message->fds->fd[0]) < 0) {
        vhost_user_refuse(message, -EINVAL, "got another descriptor, expected an eventfd");
        return NULL;
    }
    *ret_fd = vhost_user_take_fd(message);
    return ring;
}

static void kicked(void *argument)
{
    const struct vhost_user_ring *ring = argument;
    virtio_queue_kick(ring->server->engine.device, index_of(ring));
}

/* Without a descriptor the device would have to look without end, which is not offered. */
int vhost_user_set_vring_kick(struct vhost_user_message *message)
{
    const struct server_host *host = host_of(message->server);
    int fd = -1;
    struct vhost_user_ring *ring = take_event(message, &fd);
    if (!ring)
        return -EINVAL;
    if (fd < 0)
        return vhost_user_refuse(message, -EINVAL, "got no eventfd for kicks, expected one");
    drop_kick(ring);
    int err = host->event_watch(host->context, fd, kicked, ring);
    if (err < 0) {
        device_let_go(message->device, fd);
        return vhost_user_refuse(message, err, "can't wait for kicks: %s", strerror(-err));
    }
    set_event(ring, VHOST_USER_KICK, fd);
    /* Nobody may have seen earlier kicks of this eventfd. */
    virtio_queue_kick(message->device, index_of(ring));
    return start_or_refuse(message, ring);
}

int vhost_user_ring_resume(struct vhost_user_ring *ring, enum vhost_user_event event, int fd)
{
    const struct server_host *host = host_of(ring->server);
    int err = ring->fd[event] >= 0 ? -EEXIST : host->event_check(host->context, fd);
    if (err == 0 && event == VHOST_USER_KICK)
        err = host->event_watch(host->context, fd, kicked, ring);
    if (err == 0) /* the vault has it */
        ring->fd[event] = fd;
    return err;
}

static int take_vring_event(struct vhost_user_message *message, enum vhost_user_event event)
{
    int fd = -1;
    struct vhost_user_ring *ring = take_event(message, &fd);
    if (!ring)
        return -EINVAL;
    set_event(ring, event, fd);
    return 0;
}

int vhost_user_set_vring_call(struct vhost_user_message *message)
{
    return take_vring_event(message, VHOST_USER_CALL);
}

int vhost_user_set_vring_err(struct vhost_user_message *message)
{
    return take_vring_event(message, VHOST_USER_ERR);
}

int vhost_user_set_vring_enable(struct vhost_user_message *message)
{
    struct vhost_user_vring_state state = {0};
    struct vhost_user_ring *ring = ring_of_state(message, &state);
    if (!ring)
        return -EINVAL;
    if (state.num > 1)
        return vhost_user_refuse(message, -EINVAL, "got %" PRIu32 ", expected 0 or 1", state.num);
    if (state.num == 0 && stop_ring(ring) != 0)
        return ENGINE_LATER;
    ring->enabled = state.num;
    return start_or_refuse(message, ring);
}
