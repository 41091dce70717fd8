// SPDX-License-Identifier: BSD-3-Clause
/*
 * The inflight buffer: GET_INFLIGHT_FD, SET_INFLIGHT_FD.
 *
 * It has a mark for each chain that was taken and not completed, in memory that the front end keeps
 * and hands to the next process after this one has died. That one takes the marked chains again, in
 * their old order. Section "Inflight I/O tracking"; the part of a packed ring is in inflight_packed.c.
 *
 * A split ring, per queue, from a multiple of 64 bytes on: 0 features, 8 version, 10 descriptors, 12 head of the
 * last batch, 14 used index; from 16 on for each descriptor 16 bytes: 0 in flight, 6 next of the
 * batch, 8 counter. A batch here is one chain.
 *
 * The buffer is as hostile as the guest.
 */
#include <errno.h>
#include <inttypes.h>
#include <linux/virtio_config.h>
#include <string.h>

#include "server/vhost_user/vhost_user.h"

#define VERSION    1u
#define HEADER_LEN 16u
#define ENTRY_LEN  16u

struct header {
    uint64_t features;
    uint16_t version;
    uint16_t desc_num;
    uint16_t last_batch_head;
    uint16_t used_idx;
};

struct entry {
    uint8_t inflight;
    uint8_t padding[5];
    uint16_t next;
    uint64_t counter;
};

_Static_assert(sizeof(struct header) == HEADER_LEN && sizeof(struct entry) == ENTRY_LEN,
               "the layout of the specification");

/* A split queue's part of the buffer. */
struct part {
    struct header *header;
    struct entry *entries;
    uint16_t count;
};

static const struct server_host *host_of(const struct vhost_user_server *server)
{
    return device_host(server->engine.device);
}

static bool is_packed(const struct vhost_user_server *server)
{
    return server->features & UINT64_C(1) << VIRTIO_F_RING_PACKED;
}

/* False: the buffer has nothing for this queue, or nothing for a split one. */
static bool find_part(const struct vhost_user_server *server, unsigned queue, struct part *ret_part)
{
    uint8_t *at = vhost_user_inflight_part(server, queue, false);
    if (!at)
        return false;
    *ret_part = (struct part){.header = (struct header *)at,
                              .entries = (struct entry *)(at + HEADER_LEN),
                              .count = server->inflight.queue_size};
    return true;
}

static void drop_buffer(struct vhost_user_server *server)
{
    const struct memory_host *host = &host_of(server)->memory;
    struct vhost_user_shared *buffer = &server->inflight.buffer;
    if (buffer->bytes)
        host->unmap(host->context, buffer->bytes, buffer->len);
    *buffer = (struct vhost_user_shared){0};
}

void vhost_user_inflight_stop(struct vhost_user_server *server)
{
    drop_buffer(server);
}

static bool is_size_ok(const struct vhost_user_server *server,
                       const struct vhost_user_inflight *inflight)
{
    return !server->engine.vault && inflight->num_queues > 0 &&
           inflight->num_queues <= server->num_rings && inflight->queue_size > 0 &&
           inflight->queue_size <= OB_VIRTIO_QUEUE_SIZE;
}

/* Before a driver has accepted features, its rings may become packed ones. */
static bool may_be_packed(const struct vhost_user_server *server)
{
    return is_packed(server) || !server->has_features;
}

/* As long as the one that was asked for: QEMU takes no other. */
int vhost_user_get_inflight_fd(struct vhost_user_message *message)
{
    const struct vhost_user_server *server = message->server;
    struct vhost_user_inflight inflight = {0};
    vhost_user_inflight_get(message->payload, message->len, &inflight);
    uint8_t *to = wr_room(&message->reply, message->len);
    memset(to, 0, message->len);
    if (!is_size_ok(server, &inflight)) {
        ob_device_warn(message->device, "refused GET_INFLIGHT_FD: got %u queues of %u entries",
                       inflight.num_queues, inflight.queue_size);
        return 0;
    }
    inflight.mmap_size =
        virtio_inflight_len(inflight.num_queues, inflight.queue_size, may_be_packed(server));
    inflight.mmap_offset = 0;
    message->reply_fd = virtio_inflight_take(message->device, inflight.mmap_size);
    vhost_user_inflight_put(to, VHOST_USER_INFLIGHT_LEN, &inflight);
    return 0;
}

int vhost_user_set_inflight_fd(struct vhost_user_message *message)
{
    struct vhost_user_server *server = message->server;
    const struct memory_host *host = &host_of(server)->memory;
    struct vhost_user_inflight inflight = {0};
    struct vhost_user_shared buffer = {0};
    struct memory_file file;
    vhost_user_inflight_get(message->payload, message->len, &inflight);
    buffer.len =
        virtio_inflight_len(inflight.num_queues, inflight.queue_size, may_be_packed(server));
    if (!is_packed(server) && inflight.mmap_size < buffer.len)
        buffer.len = virtio_inflight_len(inflight.num_queues, inflight.queue_size, false);
    if (!is_size_ok(server, &inflight) || inflight.mmap_size < buffer.len ||
        inflight.mmap_offset % MEMORY_PAGE || message->fds->count != 1)
        return vhost_user_refuse(message, -EINVAL,
                                 "got %u descriptors, %u queues of %u entries and "
                                 "%" PRIu64 " bytes",
                                 message->fds->count, inflight.num_queues, inflight.queue_size,
                                 inflight.mmap_size);
    if (vhost_user_any_ring_runs(server))
        return vhost_user_refuse(message, -EBUSY, "a ring runs; stop it first");
    int err = host->map(host->context, message->fds->fd[0], inflight.mmap_offset, buffer.len, true,
                        &buffer.bytes, &file, &message->fault);
    if (err < 0)
        return vhost_user_refuse(message, err, "can't map it: %s", strerror(-err));
    drop_buffer(server);
    server->inflight.buffer = buffer;
    server->inflight.num_queues = inflight.num_queues;
    server->inflight.queue_size = inflight.queue_size;
    return 0;
}

static int list_marked(struct vhost_user_server *server, const struct part *part,
                       struct virtio_place *place, struct vhost_user_past *past)
{
    struct vhost_user_marked list[OB_VIRTIO_QUEUE_SIZE];
    uint16_t count = 0;
    for (uint16_t head = 0; head < part->count; head++)
        if (__atomic_load_n(&part->entries[head].inflight, __ATOMIC_RELAXED))
            list[count++] = (struct vhost_user_marked){
                head, __atomic_load_n(&part->entries[head].counter, __ATOMIC_RELAXED)};
    if (count == 0) /* then the place is as the front end says */
        return 0;
    if (count > place->size)
        return -ERANGE;
    vhost_user_marked_sort(server, list, count);
    for (uint16_t i = 0; i < count; i++)
        past->flights[i] = (struct virtio_flight){.id = list[i].mark, .mark = list[i].mark};
    past->count = count;
    place->next = (uint16_t)(place->used + count);
    return 0;
}

int vhost_user_inflight_resume(struct vhost_user_server *server, unsigned queue,
                               struct virtio_place *place, struct vhost_user_past *past)
{
    struct part part;
    if (is_packed(server))
        return vhost_user_packed_resume(server, queue, place, past);
    if (!find_part(server, queue, &part))
        return 0;
    if (part.count < place->size)
        return -ERANGE;
    if (__atomic_load_n(&part.header->version, __ATOMIC_RELAXED) == 0) {
        *part.header = (struct header){.features = server->features,
                                       .version = VERSION,
                                       .desc_num = part.count,
                                       .used_idx = place->used};
        return 0;
    }
    uint16_t last = __atomic_load_n(&part.header->last_batch_head, __ATOMIC_RELAXED);
    /* The last completion was shown to the driver, and its mark not taken away. */
    if (part.header->used_idx != place->used && last < part.count)
        part.entries[last].inflight = 0;
    part.header->used_idx = place->used;
    return list_marked(server, &part, place, past);
}

/* Another process relies on this order of stores. */
static void ordered(void)
{
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

uint16_t vhost_user_inflight_taken(void *context, unsigned queue,
                                   const struct virtio_flight *flight)
{
    struct vhost_user_server *server = context;
    struct part part;
    if (flight->descs)
        return vhost_user_packed_taken(server, queue, flight);
    if (!find_part(server, queue, &part) || flight->id >= part.count)
        return flight->id;
    part.entries[flight->id].counter = server->inflight.counter++;
    ordered();
    part.entries[flight->id].inflight = 1;
    ordered();
    return flight->id;
}

void vhost_user_inflight_completing(void *context, unsigned queue, uint16_t mark,
                                    struct virtio_used_place used)
{
    struct vhost_user_server *server = context;
    struct part part;
    if (is_packed(server)) {
        vhost_user_packed_completing(server, queue, mark, used);
    } else if (find_part(server, queue, &part) && mark < part.count) {
        part.entries[mark].next = part.header->last_batch_head;
        part.header->last_batch_head = mark;
        ordered();
    }
}

void vhost_user_inflight_completed(void *context, unsigned queue, uint16_t mark,
                                   struct virtio_used_place used)
{
    struct vhost_user_server *server = context;
    struct part part;
    if (is_packed(server)) {
        vhost_user_packed_completed(server, queue, mark, used);
    } else if (find_part(server, queue, &part) && mark < part.count) {
        ordered();
        part.entries[mark].inflight = 0;
        ordered();
        part.header->used_idx = used.at;
    }
}
