// SPDX-License-Identifier: BSD-3-Clause
/* The parts of the inflight buffer that both kinds of rings have in common. */
#include <linux/virtio_config.h>
#include <stdlib.h>

#include "server/vhost_user/vhost_user.h"

static bool is_packed(const struct vhost_user_server *server)
{
    return server->features & UINT64_C(1) << VIRTIO_F_RING_PACKED;
}

uint8_t *vhost_user_inflight_part(const struct vhost_user_server *server, unsigned queue,
                                  bool packed)
{
    const struct vhost_user_inflight_state *inflight = &server->inflight;
    if (!inflight->buffer.bytes || queue >= inflight->num_queues || packed != is_packed(server) ||
        inflight->buffer.len < virtio_inflight_len(queue + 1, inflight->queue_size, packed))
        return NULL;
    return inflight->buffer.bytes + virtio_inflight_len(queue, inflight->queue_size, packed);
}

static int compare(const void *left, const void *right)
{
    const struct vhost_user_marked *a = left, *b = right;
    return (a->counter > b->counter) - (a->counter < b->counter);
}

void vhost_user_marked_sort(struct vhost_user_server *server, struct vhost_user_marked *list,
                            unsigned count)
{
    qsort(list, count, sizeof(list[0]), compare);
    if (count > 0 && list[count - 1].counter >= server->inflight.counter)
        server->inflight.counter = list[count - 1].counter + 1;
}
