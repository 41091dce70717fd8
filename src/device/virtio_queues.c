// SPDX-License-Identifier: BSD-3-Clause
/*
 * The life of queues and of their chains.
 *
 * The driver of a queue that was found empty is asked to notify it. If the queues have no order, the
 * server looks at them itself while it polls, and the driver is asked before the server sleeps
 * (virtio_queues_listen()).
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/limits.h"
#include "device/internal.h"
#include "device/virtio_part.h"

#define DEFAULT_SIZE 256u

static struct virtio_part_queue *queue_of(const struct ob_device *device, unsigned queue)
{
    return device && device->virtio && queue < device->virtio->num_queues
               ? &device->virtio->queues[queue]
               : NULL;
}

/* The driver's registers as after a reset, 4.1.4.3. */
void virtio_queue_defaults(struct virtio_part_queue *queue)
{
    queue->size = queue->max_size;
    queue->vector = VIRTIO_NO_VECTOR;
    queue->enabled = queue->resetting = false;
    queue->desc = queue->driver = queue->device = 0;
}

void virtio_queues_init(struct device_virtio *virtio, const struct ob_virtio_queue *queues)
{
    list_init(&virtio->lists.kicked);
    list_init(&virtio->lists.due);
    list_init(&virtio->lists.watched);
    for (unsigned i = 0; i < virtio->num_queues; i++) {
        struct virtio_part_queue *queue = &virtio->queues[i];
        const unsigned segments =
            queues[i].max_segments ? queues[i].max_segments : LIMIT_VIRTIO_SEGMENTS;
        queue->virtio = virtio;
        queue->max_size = queues[i].size ? queues[i].size : DEFAULT_SIZE;
        virtio_queue_defaults(queue);
        list_init(&queue->kicked);
        list_init(&queue->due);
        list_init(&queue->watched);
        virtqueue_init(&queue->ring, i, segments, queue);
    }
}

void virtio_part_free(struct device_virtio *virtio)
{
    if (!virtio)
        return;
    for (unsigned i = 0; virtio->queues && i < virtio->num_queues; i++)
        virtqueue_done(&virtio->queues[i].ring);
    free(virtio->queues);
    free(virtio->config.bytes);
    free(virtio->own.kept_bytes);
    free(virtio->scratch);
    free(virtio);
}

unsigned virtio_num_queues(const struct ob_device *device)
{
    return device->virtio->num_queues;
}

uint16_t virtio_queue_max_size(const struct ob_device *device, unsigned queue)
{
    return queue_of(device, queue)->max_size;
}

bool virtio_queue_is_running(const struct ob_device *device, unsigned queue)
{
    return queue_of(device, queue)->life == QUEUE_RUNNING;
}

static bool has_turns(const struct virtio_part_queue *queue)
{
    return queue->life == QUEUE_RUNNING || queue->life == QUEUE_FINISHING;
}

void virtio_queue_wake(struct virtio_part_queue *queue)
{
    if (has_turns(queue) && list_empty(&queue->kicked))
        list_append(&queue->virtio->lists.kicked, &queue->kicked);
}

void virtio_queue_kick(struct ob_device *device, unsigned queue)
{
    struct virtio_part_queue *kicked = queue_of(device, queue);
    if (!kicked)
        return;
    kicked->was_kicked = kicked->life == QUEUE_RUNNING;
    virtio_queue_wake(kicked);
}

/* Whether chains may be taken now, and given back to the driver. */
static bool may_take(const struct virtio_part_queue *queue)
{
    const struct device_virtio *virtio = queue->virtio;
    return has_turns(queue) && !queue->is_at_a_loss && !virtio->paused && !virtio->holding &&
           !virtio->resetting && !(virtio->status & VIRTIO_NEEDS_RESET) &&
           device_may_master(virtio->device) == 0;
}

bool ob_virtio_queue_runs(const struct ob_device *device, unsigned queue)
{
    const struct virtio_part_queue *found = queue_of(device, queue);
    return found && may_take(found);
}

/* Memory that is missing is asked for, where the wire can; else it is the driver's fault. */
static void miss(struct virtio_part_queue *queue, int err)
{
    struct device_virtio *virtio = queue->virtio;
    const struct virtio_range *range = &queue->ring.ring.missing;
    char reason[OB_FAULT_TEXT_LEN];
    if (virtio->wire->miss &&
        virtio->wire->miss(virtio->wire->context, range->iova, range->len, range->write)) {
        queue->is_at_a_loss = true;
        return;
    }
    const char *why = "which is not the guest's memory";
    if (err == -EREMOTE)
        why = "which the VMM does not share; share it (QEMU: -object memory-backend-memfd,"
              "share=on)";
    else if (err == -EACCES)
        why = "which is read only";
    else if (err == -E2BIG || err == -ENOMEM)
        why = "which lies in too many pieces";
    snprintf(reason, sizeof(reason), "queue %u: got 0x%" PRIx64 " with %" PRIu64 " bytes, %s",
             queue->ring.index, range->iova, range->len, why);
    virtio_fail(virtio, reason);
}

static void driver_fault(struct virtio_part_queue *queue, const struct ob_fault *fault)
{
    char reason[OB_FAULT_TEXT_LEN];
    snprintf(reason, sizeof(reason), "queue %u: %.200s", queue->ring.index, fault->text);
    virtio_fail(queue->virtio, reason);
}

/* Memory that the VMM keeps private reads as zeroes here: the driver's chains are not seen, and there
 * is no other symptom. */
static void tell_of_emptiness(struct virtio_part_queue *queue)
{
    struct ob_device *device = queue->virtio->device;
    if (!queue->was_kicked || queue->was_filled || device->told.of_zeroes)
        return;
    device->told.of_zeroes = true;
    ob_device_warn(device,
                   "queue %u: the driver has notified it, and it is empty: the VMM may keep the "
                   "guest's memory private; share it (QEMU: -object memory-backend-memfd,share=on)",
                   queue->ring.index);
}

static void is_empty(struct virtio_part_queue *queue)
{
    tell_of_emptiness(queue);
    if (queue->virtio->unordered && list_empty(&queue->watched))
        list_append(&queue->virtio->lists.watched, &queue->watched);
}

/* Whether it is known which chains the driver has seen. */
static bool settle(struct virtio_part_queue *queue)
{
    if (!queue->is_unsettled)
        return true;
    int err = virtqueue_pass_shown(&queue->ring);
    if (err < 0)
        miss(queue, err);
    queue->is_unsettled = err < 0;
    return err == 0;
}

struct ob_virtio_chain *ob_virtio_take(struct ob_device *device, unsigned queue)
{
    struct virtio_part_queue *from = queue_of(device, queue);
    if (!from || !may_take(from) || !settle(from))
        return NULL;
    if (from->turn != device->virtio->turn) {
        from->turn = device->virtio->turn;
        from->share = LIMIT_VIRTIO_TURN;
    }
    if (from->share == 0) {
        virtio_queue_wake(from);
        return NULL;
    }
    struct ob_fault fault = {0};
    struct virtio_chain *chain;
    int got = virtqueue_take(&from->ring, device->virtio->scratch, &chain, &fault);
    if (got == 0 && !device->virtio->unordered && virtqueue_listen(&from->ring))
        got = virtqueue_take(&from->ring, device->virtio->scratch, &chain, &fault);
    if (got == 1) {
        from->share--;
        from->was_filled = true;
        return &chain->chain;
    }
    if (got == 0)
        is_empty(from);
    else if (got == -EPROTO)
        driver_fault(from, &fault);
    else if (got < 0)
        miss(from, got);
    return NULL;
}

static struct virtio_chain *own(struct ob_virtio_chain *chain)
{
    return (struct virtio_chain *)chain;
}

void virtio_queue_is_due(struct virtio_part_queue *queue)
{
    if (list_empty(&queue->due))
        list_append(&queue->virtio->lists.due, &queue->due);
}

/* A device without memory or without a VMM keeps its results until it has them again. */
static void flush(struct virtio_part_queue *queue)
{
    if (queue->ring.done == 0 || queue->is_at_a_loss || queue->virtio->device->dormant)
        return;
    virtio_queue_is_due(queue);
    if (!queue->virtio->device->vault) /* else it is committed first: virtio_kept_post() */
        virtio_queue_post(queue);
}

void virtio_queue_post(struct virtio_part_queue *queue)
{
    if (queue->is_at_a_loss || !settle(queue))
        return;
    int err = virtqueue_flush(&queue->ring);
    if (err < 0)
        miss(queue, err);
}

/* Whether chains wait until they are committed and the driver can see them. */
static bool waits_for_commit(const struct virtio_part_queue *queue)
{
    const struct device_virtio *virtio = queue->virtio;
    return virtio->device->vault && queue->ring.done > 0 && !queue->is_at_a_loss &&
           !queue->resetting && !virtio->resetting && !virtio->device->dormant;
}

/* used.len, 2.7.8: never more than there was room for. */
static uint32_t cut(size_t written, size_t room)
{
    const size_t len = written < room ? written : room;
    return len < UINT32_MAX ? (uint32_t)len : UINT32_MAX;
}

void ob_virtio_complete(struct ob_virtio_chain *chain, size_t written)
{
    if (!chain)
        return;
    struct virtio_part_queue *queue = own(chain)->queue->owner;
    /* A driver that has reset the device or the queue gets nothing more. */
    if (queue->virtio->resetting || queue->resetting) {
        virtqueue_return(own(chain));
        return;
    }
    virtio_queue_is_due(queue);
    if (queue->virtio->device->vault) {
        virtqueue_finish(own(chain), cut(written, chain->writable_len));
        return;
    }
    int err = virtqueue_complete(own(chain), cut(written, chain->writable_len));
    if (err < 0 && !queue->virtio->device->dormant)
        miss(queue, err);
}

void ob_virtio_return(struct ob_virtio_chain *chain)
{
    if (!chain)
        return;
    struct virtio_part_queue *queue = own(chain)->queue->owner;
    virtqueue_return(own(chain));
    if (may_take(queue) && !queue->letting_go)
        virtio_queue_wake(queue);
}

static void let_go(struct virtio_part_queue *queue)
{
    const struct device_virtio *virtio = queue->virtio;
    if (queue->letting_go)
        return;
    queue->letting_go = true;
    if (virtio->ops.let_go)
        virtio->ops.let_go(virtio->state, queue->ring.index);
}

void virtio_queues_let_go(struct device_virtio *virtio)
{
    for (unsigned i = 0; i < virtio->num_queues; i++)
        if (virtio->queues[i].life == QUEUE_RUNNING)
            let_go(&virtio->queues[i]);
}

void virtio_queues_resume(struct device_virtio *virtio)
{
    if (virtio->paused || virtio->holding)
        return;
    for (unsigned i = 0; i < virtio->num_queues; i++) {
        virtio->queues[i].letting_go = virtio->queues[i].life != QUEUE_RUNNING;
        virtio_queue_wake(&virtio->queues[i]);
    }
}

void virtio_retry(struct ob_device *device)
{
    struct device_virtio *virtio = device->virtio;
    for (unsigned i = 0; i < virtio->num_queues; i++) {
        struct virtio_part_queue *queue = &virtio->queues[i];
        queue->is_at_a_loss = false;
        flush(queue);
        virtio_queue_wake(queue);
    }
}

bool virtio_queues_are_quiet(const struct device_virtio *virtio)
{
    for (unsigned i = 0; i < virtio->num_queues; i++)
        if (virtio->queues[i].ring.taken > 0 || waits_for_commit(&virtio->queues[i]))
            return false;
    return true;
}

/* A chain that another process has taken. It is at no place of the ring that the queue could go back to. */
static int resubmit(struct virtqueue *ring, const struct virtio_flight *flight)
{
    const bool packed = ring->ring.packed;
    const struct virtio_chain like = {.state = CHAIN_RETURNED,
                                      .id = flight->id,
                                      .mark = flight->mark,
                                      .at = packed ? VIRTIO_MAX_RING : 0,
                                      .at_wrap = true,
                                      .count = packed ? flight->num_descs : 1,
                                      .num_descs = flight->num_descs,
                                      .descs = (struct virtio_desc *)flight->descs};
    if (packed ? !flight->descs : flight->descs || flight->id >= ring->ring.size)
        return -EINVAL;
    return virtqueue_restore(ring, &like);
}

int virtio_queue_start(struct ob_device *device, unsigned queue, const struct virtio_place *place)
{
    return virtio_queue_restart(device, queue, place, NULL, 0);
}

int virtio_queue_restart(struct ob_device *device, unsigned queue, const struct virtio_place *place,
                         const struct virtio_flight *flights, unsigned num_flights)
{
    struct device_virtio *virtio = device->virtio;
    struct virtio_part_queue *started = queue_of(device, queue);
    struct virtio_ring *ring = &started->ring.ring;
    const bool packed = virtio->accepted & VIRTIO_RING_PACKED;
    if (started->life != QUEUE_STOPPED)
        return -EBUSY;
    *ring = (struct virtio_ring){
        .memory = &device->memory,
        .desc = place->desc,
        .driver = place->driver,
        .device = place->device,
        .size = place->size,
        .next = place->next,
        .used = place->used,
        .next_wrap = packed && place->next_wrap,
        .used_wrap = packed && place->used_wrap,
        .packed = packed,
        .event_idx = virtio->accepted & VIRTIO_EVENT_IDX,
        .indirect = virtio->accepted & VIRTIO_INDIRECT_DESC,
    };
    int err = virtio_ring_check(ring);
    for (unsigned i = 0; err == 0 && i < num_flights; i++)
        err = resubmit(&started->ring, &flights[i]);
    if (err < 0) {
        virtqueue_forget(&started->ring);
        return err;
    }
    /* Used elements of a packed ring are written over descriptors of older chains, which another process
     * may have to read again: with a vault they keep their order. */
    started->ring.in_order = virtio->accepted & VIRTIO_IN_ORDER || (packed && device->vault);
    started->ring.wire = virtio->wire;
    started->ring.quiet = false;
    started->size =
        place->size; /* as a virtio-pci driver has set them; of another wire, for the saved state */
    started->desc = place->desc;
    started->driver = place->driver;
    started->device = place->device;
    started->life = QUEUE_RUNNING;
    started->letting_go = started->is_at_a_loss = started->is_unsettled = false;
    started->was_kicked = started->was_filled = false;
    if (!virtio->driver_ok)
        virtio_driver_ok(device);
    if (virtio->ops.queue_started)
        virtio->ops.queue_started(virtio->state, queue);
    virtio_queue_wake(started);
    return 0;
}

/* The device has given all chains back. */
static void stopped(struct virtio_part_queue *queue)
{
    const struct device_virtio *virtio = queue->virtio;
    queue->life = QUEUE_STOPPED;
    list_remove(&queue->kicked);
    list_remove(&queue->watched);
    if (virtio->ops.queue_stopped)
        virtio->ops.queue_stopped(virtio->state, queue->ring.index);
}

static void signal_if_due(struct virtio_part_queue *queue)
{
    const struct virtio_wire *wire = queue->virtio->wire;
    list_remove(&queue->due);
    if (queue->life != QUEUE_STOPPED && virtio_ring_wants_interrupt(&queue->ring.ring))
        wire->signal_queue(wire->context, queue->ring.index);
}

/* Chains that were given back, and lie before others that were completed, are in no index of the
 * ring: a process that continues with it would lose them. So the device has to complete them. */
static bool must_finish(struct virtio_part_queue *queue)
{
    const struct device_virtio *virtio = queue->virtio;
    const enum queue_life life = queue->life;
    if (queue->ring.returned == 0 || virtio_is_on_pci(virtio) || virtio->resetting)
        return false;
    queue->life = QUEUE_FINISHING;
    if (may_take(queue))
        return true;
    queue->life = life;
    return false;
}

bool virtio_queue_stop(struct ob_device *device, unsigned queue)
{
    struct virtio_part_queue *stopping = queue_of(device, queue);
    if (stopping->life == QUEUE_STOPPED)
        return true;
    if (stopping->life == QUEUE_RUNNING || device->virtio->resetting)
        stopping->life = QUEUE_STOPPING;
    let_go(stopping);
    flush(stopping);
    if (stopping->ring.taken > 0 || waits_for_commit(stopping))
        return false;
    if (must_finish(stopping)) {
        stopping->ring.last_ones = true;
        virtio_queue_wake(stopping);
        return false;
    }
    if (!device->virtio->resetting && !stopping->resetting)
        signal_if_due(stopping);
    stopped(stopping);
    return true;
}

void virtio_queue_place(const struct ob_device *device, unsigned queue,
                        struct virtio_place *ret_place)
{
    const struct virtio_ring *ring = &queue_of(device, queue)->ring.ring;
    *ret_place = (struct virtio_place){.desc = ring->desc,
                                       .driver = ring->driver,
                                       .device = ring->device,
                                       .size = ring->size,
                                       .next = ring->next,
                                       .used = ring->used,
                                       .next_wrap = ring->next_wrap,
                                       .used_wrap = ring->used_wrap};
}

/* Calls notified() for the queues that were kicked, each once. */
static void notify(struct device_virtio *virtio, struct list *now)
{
    while (!list_empty(&virtio->lists.kicked))
        list_append(now, list_take(&virtio->lists.kicked));
    while (!list_empty(now)) {
        struct virtio_part_queue *queue =
            list_entry(list_take(now), struct virtio_part_queue, kicked);
        if (may_take(queue) && virtio->ops.notified(virtio->state, queue->ring.index))
            virtio_queue_wake(queue);
    }
}

/* Finds the queues of those watched that have something now. */
static void look_at_watched(struct device_virtio *virtio, struct list *now)
{
    struct list *link = virtio->lists.watched.next;
    while (link != &virtio->lists.watched) {
        struct virtio_part_queue *queue = list_entry(link, struct virtio_part_queue, watched);
        link = link->next;
        if (!may_take(queue) || !virtqueue_has_next(&queue->ring))
            continue;
        list_remove(&queue->watched);
        list_remove(&queue->kicked);
        list_append(now, &queue->kicked);
    }
}

/* A queue whose chains may not be taken is looked at when it resumes. */
bool virtio_queues_listen(struct device_virtio *virtio)
{
    while (!list_empty(&virtio->lists.watched)) {
        struct virtio_part_queue *queue =
            list_entry(list_take(&virtio->lists.watched), struct virtio_part_queue, watched);
        if (may_take(queue) && virtqueue_listen(&queue->ring))
            virtio_queue_wake(queue);
    }
    return !list_empty(&virtio->lists.kicked);
}

bool virtio_queues_notify(struct device_virtio *virtio)
{
    virtio->turn++;
    struct list now;
    list_init(&now);
    look_at_watched(virtio, &now);
    bool works =
        !list_empty(&now) || !list_empty(&virtio->lists.kicked) || !list_empty(&virtio->lists.due);
    notify(virtio, &now);
    return works;
}

void virtio_queues_signal(struct device_virtio *virtio)
{
    while (!list_empty(&virtio->lists.due))
        signal_if_due(list_entry(virtio->lists.due.next, struct virtio_part_queue, due));
}

static void clear(struct device_virtio *virtio)
{
    for (unsigned i = 0; i < virtio->num_queues; i++) {
        struct virtio_part_queue *queue = &virtio->queues[i];
        virtqueue_forget(&queue->ring);
        list_remove(&queue->kicked);
        list_remove(&queue->due);
        list_remove(&queue->watched);
        queue->letting_go = queue->is_at_a_loss = false;
        virtio_queue_defaults(queue);
    }
    virtio->accepted = 0;
    virtio->ending = 0;
    virtio->status = 0;
    virtio->negotiated = virtio->driver_ok = virtio->resetting = false;
    virtio->registers = (struct virtio_registers){
        .config_vector = VIRTIO_NO_VECTOR, .cfg_capability = virtio->registers.cfg_capability};
    if (virtio->ops.reset)
        virtio->ops.reset(virtio->state);
}

bool virtio_reset(struct ob_device *device)
{
    struct device_virtio *virtio = device->virtio;
    virtio->resetting = true;
    bool all = true;
    for (unsigned i = 0; i < virtio->num_queues; i++)
        all &= virtio_queue_stop(device, i);
    if (all)
        clear(virtio);
    return all;
}

void virtio_reset_now(struct device_virtio *virtio)
{
    if (virtio_reset(virtio->device))
        return;
    for (unsigned i = 0; i < virtio->num_queues; i++)
        if (virtio->queues[i].life != QUEUE_STOPPED)
            stopped(&virtio->queues[i]);
    clear(virtio);
}
