// SPDX-License-Identifier: BSD-3-Clause
/*
 * The saved state of a virtio device: the driver's registers, the rings with the chains that were
 * given back unused, and the device's own part behind it.
 *
 * A state may come from a process that was taken over. Every value is checked; the rings are checked once
 * more whenever they are used, as for any driver.
 */
#include <errno.h>
#include <string.h>

#include <outboard/state.h>

#include "device/internal.h"
#include "device/virtio_part.h"

/* Bytes of the fields of each kind, at most. */
#define HEAD_LEN  64u
#define QUEUE_LEN 64u
#define CHAIN_LEN 16u
#define FORMAT    1u

size_t virtio_state_len(const struct ob_virtio_desc *desc)
{
    size_t len = HEAD_LEN + desc->state_len;
    for (unsigned i = 0; i < desc->num_queues; i++)
        len += QUEUE_LEN + CHAIN_LEN * (desc->queues[i].size ? desc->queues[i].size : 256u);
    return len;
}

static void head(struct ob_state_fields *fields, struct device_virtio *virtio, uint8_t *format,
                 uint16_t *num_queues)
{
    struct virtio_registers *registers = &virtio->registers;
    ob_state_u8(fields, format);
    ob_state_u16(fields, num_queues);
    ob_state_u8(fields, &virtio->status);
    ob_state_u8(fields, &virtio->config.generation);
    ob_state_bool(fields, &virtio->negotiated);
    ob_state_bool(fields, &virtio->driver_ok);
    ob_state_bool(fields, &virtio->resetting);
    ob_state_u64(fields, &virtio->accepted);
    ob_state_u32(fields, &registers->feature_select);
    ob_state_u32(fields, &registers->driver_feature_select);
    ob_state_u64(fields, &registers->driver_features);
    ob_state_u16(fields, &registers->config_vector);
    ob_state_u16(fields, &registers->queue_select);
    ob_state_u8(fields, &registers->isr);
}

static void ring(struct ob_state_fields *fields, struct virtio_part_queue *queue, bool *running,
                 uint16_t *chains)
{
    struct virtio_ring *place = &queue->ring.ring;
    ob_state_bool(fields, &queue->enabled);
    ob_state_bool(fields, &queue->resetting);
    ob_state_bool(fields, running);
    ob_state_u16(fields, &queue->size);
    ob_state_u16(fields, &queue->vector);
    ob_state_u64(fields, &queue->desc);
    ob_state_u64(fields, &queue->driver);
    ob_state_u64(fields, &queue->device);
    ob_state_u16(fields, &place->next);
    ob_state_u16(fields, &place->used);
    ob_state_bool(fields, &place->next_wrap);
    ob_state_bool(fields, &place->used_wrap);
    ob_state_u16(fields, chains);
}

static void chain_fields(struct ob_state_fields *fields, struct virtio_chain *chain, bool *done)
{
    ob_state_u16(fields, &chain->id);
    ob_state_u16(fields, &chain->at);
    ob_state_u16(fields, &chain->count);
    ob_state_bool(fields, &chain->at_wrap);
    ob_state_bool(fields, done);
    ob_state_u32(fields, &chain->written);
}

static void save_queue(struct ob_state_fields *fields, struct virtio_part_queue *queue)
{
    const struct list *chains = &queue->ring.chains;
    uint16_t count = 0;
    bool running = queue->life != QUEUE_STOPPED;
    for (const struct list *link = chains->next; link != chains; link = link->next)
        count++;
    ring(fields, queue, &running, &count);
    for (const struct list *link = chains->next; link != chains; link = link->next) {
        struct virtio_chain *chain = list_entry(link, struct virtio_chain, link);
        bool done = chain->state == CHAIN_DONE;
        chain_fields(fields, chain, &done);
    }
}

int virtio_rings_save(struct device_virtio *virtio, uint8_t *ret_buf, size_t size)
{
    struct ob_state_fields fields = ob_state_saved(ret_buf, size);
    uint8_t format = FORMAT;
    uint16_t num_queues = (uint16_t)virtio->num_queues;
    head(&fields, virtio, &format, &num_queues);
    for (unsigned i = 0; i < virtio->num_queues; i++)
        save_queue(&fields, &virtio->queues[i]);
    return ob_state_done(&fields);
}

int virtio_state_save(void *state, uint8_t *ret_buf, size_t size)
{
    struct device_virtio *virtio = state;
    int len = virtio_rings_save(virtio, ret_buf, size);
    if (len < 0)
        return len;
    int own = virtio_save_own(virtio->device, ret_buf + len, size - (size_t)len);
    return own < 0 ? own : len + own;
}

static int refuse(const struct device_virtio *virtio, const char *of, struct ob_fault *fault)
{
    return ob_fault_set(fault, -EINVAL, "%s: the saved %s can't be", virtio->device->name, of);
}

static int load_head(struct device_virtio *virtio, struct ob_state_fields *fields,
                     struct ob_fault *fault)
{
    uint8_t format = 0;
    uint16_t num_queues = 0;
    head(fields, virtio, &format, &num_queues);
    if (fields->failed || format != FORMAT || num_queues != virtio->num_queues)
        return refuse(virtio, "number of queues", fault);
    const uint64_t features = virtio->accepted;
    const bool driver_ok = virtio->driver_ok, negotiated = virtio->negotiated;
    virtio->accepted = 0;
    virtio->driver_ok = false;
    if (driver_ok && !negotiated)
        return refuse(virtio, "status", fault);
    if (negotiated && virtio_negotiate(virtio->device, features) < 0)
        return refuse(virtio, "set of features", fault);
    if (driver_ok)
        virtio_driver_ok(virtio->device);
    return 0;
}

static int load_chains(struct virtio_part_queue *queue, struct ob_state_fields *fields,
                       unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        struct virtio_chain chain = {0};
        bool done = false;
        chain_fields(fields, &chain, &done);
        chain.state = done ? CHAIN_DONE : CHAIN_RETURNED;
        if (fields->failed || (queue->ring.ring.packed && chain.at >= queue->ring.ring.size) ||
            chain.count > queue->ring.ring.size)
            return -EINVAL;
        int err = virtqueue_restore(&queue->ring, &chain);
        if (err < 0)
            return err;
    }
    return 0;
}

static int load_queue(struct virtio_part_queue *queue, struct ob_state_fields *fields,
                      struct ob_fault *fault)
{
    struct device_virtio *virtio = queue->virtio;
    uint16_t count = 0;
    bool running = false;
    ring(fields, queue, &running, &count);
    struct virtio_place place;
    virtio_queue_place(virtio->device, queue->ring.index, &place);
    place.desc = queue->desc;
    place.driver = queue->driver;
    place.device = queue->device;
    place.size = queue->size;
    const bool fits = queue->size > 0 && queue->size <= queue->max_size && count <= queue->size;
    if (fields->failed || !fits || (running && !virtio->driver_ok) || (count > 0 && !running))
        return refuse(virtio, "queue", fault);
    if (running && virtio_queue_start(virtio->device, queue->ring.index, &place) < 0)
        return refuse(virtio, "place of a queue", fault);
    if (load_chains(queue, fields, count) < 0)
        return refuse(virtio, "chain of a queue", fault);
    if (queue->resetting)
        virtio->ending++;
    /* The last signal is not known: one too many is right. */
    queue->ring.ring.unsignalled = 1;
    virtio_queue_is_due(queue);
    return 0;
}

int virtio_rings_load(struct device_virtio *virtio, const uint8_t *buf, size_t len,
                      size_t *ret_used, struct ob_fault *fault)
{
    struct ob_state_fields fields = ob_state_loaded(buf, len);
    int err = load_head(virtio, &fields, fault);
    for (unsigned i = 0; err == 0 && i < virtio->num_queues; i++)
        err = load_queue(&virtio->queues[i], &fields, fault);
    if (err == 0)
        *ret_used = fields.len;
    return err;
}

int virtio_state_load(void *state, uint32_t version, const uint8_t *buf, size_t len,
                      struct ob_fault *fault)
{
    struct device_virtio *virtio = state;
    size_t used = 0;
    int err = virtio_rings_load(virtio, buf, len, &used, fault);
    return err < 0 ? err : virtio_load_own(virtio->device, version, buf + used, len - used, fault);
}
