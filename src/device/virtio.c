// SPDX-License-Identifier: BSD-3-Clause
/* How a virtio device is made: a device whose callbacks are those of virtio. */
#include "device/virtio.h"

#include <errno.h>
#include <stdlib.h>

#include "base/limits.h"
#include "device/internal.h"
#include "device/virtio_part.h"

#define RING_FEATURES                                                                              \
    (VIRTIO_VERSION_1 | VIRTIO_INDIRECT_DESC | VIRTIO_EVENT_IDX | VIRTIO_RING_PACKED |             \
     VIRTIO_RING_RESET | VIRTIO_NOTIFICATION_DATA)

static int check_queue(const struct ob_virtio_desc *desc, unsigned index, struct ob_fault *fault)
{
    const struct ob_virtio_queue *queue = &desc->queues[index];
    const unsigned size = queue->size;
    if (size == 1 || size > OB_VIRTIO_QUEUE_SIZE || size & (size - 1))
        return ob_fault_set(fault, -EINVAL,
                            "%s: queue %u: got size %u, expected a power of two from 2 to %u",
                            desc->name, index, size, OB_VIRTIO_QUEUE_SIZE);
    if (queue->max_segments > LIMIT_VIRTIO_SEGMENTS)
        return ob_fault_set(fault, -EINVAL,
                            "%s: queue %u: got max_segments %u, expected at most %u", desc->name,
                            index, queue->max_segments, LIMIT_VIRTIO_SEGMENTS);
    return 0;
}

static int check_numbers(const struct ob_virtio_desc *desc, struct ob_fault *fault)
{
    if (!desc->queues || desc->num_queues == 0 || desc->num_queues > OB_VIRTIO_QUEUES)
        return ob_fault_set(fault, -EINVAL, "%s: got %u queues, expected 1 to %u", desc->name,
                            desc->queues ? desc->num_queues : 0, OB_VIRTIO_QUEUES);
    if (desc->vectors > OB_VIRTIO_VECTORS)
        return ob_fault_set(fault, -EINVAL, "%s: got %u vectors, expected at most %u", desc->name,
                            desc->vectors, OB_VIRTIO_VECTORS);
    if (desc->config_len > OB_VIRTIO_CONFIG_LEN)
        return ob_fault_set(fault, -EINVAL, "%s: config_len: got %zu, expected at most %u",
                            desc->name, desc->config_len, OB_VIRTIO_CONFIG_LEN);
    if (desc->type == 0 || desc->type > 63)
        return ob_fault_set(fault, -EINVAL, "%s: type: got %u, expected 1 to 63", desc->name,
                            desc->type);
    return 0;
}

static int check(const struct ob_virtio_desc *desc, const struct ob_virtio_ops *ops,
                 struct ob_fault *fault)
{
    if (!desc || !ops || !desc->name)
        return ob_fault_set(fault, -EINVAL,
                            "the virtio device has no description, operations or "
                            "name; set them");
    if (!ops->notified)
        return ob_fault_set(fault, -EINVAL, "%s: notified() is missing; set it", desc->name);
    int err = check_numbers(desc, fault);
    if (err == 0 && desc->features & ~VIRTIO_TYPE_FEATURES)
        err = ob_fault_set(fault, -EINVAL,
                           "%s: features: got a bit from 24 to 49, which are the library's",
                           desc->name);
    if (err == 0 && desc->config_len > 0 && !ops->config)
        err = ob_fault_set(fault, -EINVAL, "%s: got config_len %zu without config(); set it",
                           desc->name, desc->config_len);
    if (err == 0 && desc->state_len > 0 && !(ops->save && ops->load && desc->migratable))
        err =
            ob_fault_set(fault, -EINVAL,
                         "%s: state_len needs save(), load() and migratable; set them", desc->name);
    for (unsigned i = 0; err == 0 && i < desc->num_queues; i++)
        err = check_queue(desc, i, fault);
    return err;
}

static void reset(void *state)
{
    struct device_virtio *virtio = state;
    virtio->holding = false;
    virtio_reset_now(virtio);
}

static bool poll(void *state)
{
    struct device_virtio *virtio = state;
    virtio_pci_poll(virtio);
    bool works = virtio_queues_notify(virtio);
    if (virtio->ops.poll)
        works |= virtio->ops.poll(virtio->state);
    if (!virtio->device->vault || virtio_kept_post(virtio))
        virtio_queues_signal(virtio);
    return works;
}

static bool before_sleep(void *state)
{
    return virtio_queues_listen(state);
}

static bool has_io_in_flight(void *state)
{
    struct device_virtio *virtio = state;
    return virtio->ops.has_io_in_flight && virtio->ops.has_io_in_flight(virtio->state);
}

static void quiesce(void *state)
{
    struct device_virtio *virtio = state;
    virtio->holding = true;
    virtio_queues_let_go(virtio);
}

static int quiesced(void *state)
{
    struct device_virtio *virtio = state;
    if (!virtio_queues_are_quiet(virtio))
        return 0;
    virtio->holding = false;
    virtio_queues_resume(virtio);
    return 1;
}

static void set_paused(void *state, bool paused)
{
    struct device_virtio *virtio = state;
    virtio->paused = paused;
    if (virtio->ops.pause)
        virtio->ops.pause(virtio->state, paused);
    if (paused)
        virtio_queues_let_go(virtio);
    else
        virtio_queues_resume(virtio);
}

static int at_rest(void *state, struct ob_fault *fault)
{
    struct device_virtio *virtio = state;
    if (!virtio_queues_are_quiet(virtio))
        return 0;
    return virtio->ops.at_rest ? virtio->ops.at_rest(virtio->state, fault) : 1;
}

/* The queues keep their places for the next VMM, which may take the same VM further. */
static void disconnected(void *state)
{
    struct device_virtio *virtio = state;
    virtio->holding = false;
    if (virtio->ops.disconnected)
        virtio->ops.disconnected(virtio->state);
}

static const struct ob_device_ops virtio_ops = {
    .size = sizeof(virtio_ops),
    .read = virtio_pci_read,
    .write = virtio_pci_write,
    .doorbell = virtio_pci_doorbell,
    .reset = reset,
    .poll = poll,
    .has_io_in_flight = has_io_in_flight,
    .before_sleep = before_sleep,
    .quiesce = quiesce,
    .quiesced = quiesced,
    .pause = set_paused,
    .at_rest = at_rest,
    .save = virtio_state_save,
    .load = virtio_state_load,
    .disconnected = disconnected,
};

/* Everything that needs no device; NULL: no memory. */
static struct device_virtio *make(const struct ob_virtio_desc *desc,
                                  const struct ob_virtio_ops *ops, void *state)
{
    struct device_virtio *virtio = calloc(1, sizeof(*virtio));
    if (!virtio)
        return NULL;
    *virtio = (struct device_virtio){
        .ops = *ops,
        .state = state,
        .type = desc->type,
        .offered = (desc->features | RING_FEATURES | (desc->in_order ? VIRTIO_IN_ORDER : 0)) &
                   ~desc->withheld,
        .config.len = desc->config_len,
        .config.bytes = calloc(2, desc->config_len + 1),
        .num_queues = desc->num_queues,
        .queues = calloc(desc->num_queues, sizeof(*virtio->queues)),
        .scratch = malloc(sizeof(*virtio->scratch)),
        .registers.config_vector = VIRTIO_NO_VECTOR,
        .own.state_len = desc->state_len,
        .unordered = desc->unordered_queues,
    };
    virtio_pci_use(virtio);
    if (virtio->config.bytes && virtio->queues && virtio->scratch) {
        virtio_queues_init(virtio, desc->queues);
        return virtio;
    }
    free(virtio->queues); /* before they were initialised */
    virtio->queues = NULL;
    virtio_part_free(virtio);
    return NULL;
}

int device_virtio_new(const struct ob_virtio_desc *desc, const struct ob_virtio_ops *ops,
                      void *state, const struct server_host *host, struct ob_device **ret_device,
                      struct ob_fault *fault)
{
    int err = check(desc, ops, fault);
    if (err < 0)
        return err;
    struct ob_device_desc pci_desc;
    struct ob_doorbell *doorbells = NULL;
    struct device_virtio *virtio = make(desc, ops, state);
    struct ob_device *device = NULL;
    err = virtio ? virtio_pci_describe(desc, &pci_desc, &doorbells) : -ENOMEM;
    if (err == 0)
        err = device_new(&pci_desc, &virtio_ops, virtio, host, &device, fault);
    free(doorbells);
    if (err < 0) {
        virtio_part_free(virtio);
        return ob_fault_set(fault, err, "%s: no memory for the device", desc->name);
    }
    virtio->device = device;
    device->virtio = virtio;
    err = virtio_inflight_make(virtio, host);
    if (err < 0) {
        device_free(device);
        return ob_fault_set(fault, err, "%s: no memory for requests in flight: %s", desc->name,
                            strerror(-err));
    }
    err = virtio_pci_add_capabilities(virtio);
    if (err < 0) {
        device_free(device);
        return ob_fault_set(fault, err, "%s: configuration space has no room", desc->name);
    }
    virtio_config_refresh(virtio);
    virtio->config.generation = 0;
    *ret_device = device;
    return 0;
}

void virtio_set_wire(struct ob_device *device, const struct virtio_wire *wire)
{
    struct device_virtio *virtio = device->virtio;
    virtio_pci_use(virtio);
    if (!wire)
        return;
    virtio->wire = wire;
}

void virtio_wake(struct ob_device *device)
{
    device_wake(device);
}
