// SPDX-License-Identifier: BSD-3-Clause
/*
 * Plays a guest's driver, mostly a hostile one, against a virtio device: registers, rings, memory
 * that goes and comes back, pauses, saved states.
 *
 * The input is a list of steps. The device of queue 0 completes chains at once, that of queue 1
 * holds them and completes or returns them when a step says so. What must hold: each call ends, and
 * so takes a bounded number of chains; a chain lies in guest memory; no more chains are held than the
 * ring has room for; a reset is done once nothing is held; nothing stays mapped at the end.
 */
#include <errno.h>
#include <string.h>

#include <outboard/virtio.h>

#include "base/limits.h"
#include "check.h"
#include "device/pci.h"
#include "guest_model.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define STEPS      400
#define MAX_HELD   64u
#define CONFIG_LEN 12u

struct guest {
    struct guest_model model; /* first */
    struct ob_virtio_chain *held[MAX_HELD];
    unsigned num_held;
    uint8_t config[CONFIG_LEN];
    unsigned taken; /* chains, in this turn of the loop */
    uint8_t kept;   /* the device's own state */
};

static uint8_t take(struct guest *guest)
{
    return guest_take(&guest->model);
}

static void check_spans(struct guest *guest, const struct ob_dma_span *spans, unsigned count,
                        size_t len, int fill)
{
    const uint8_t *all = guest_memory(&guest->model);
    size_t total = 0;
    for (unsigned i = 0; i < count; i++) {
        const uint8_t *at = spans[i].address;
        CHECK(all && at >= all && at + spans[i].len <= all + FAKE_FILE_LEN);
        CHECK(ob_dma_is_current(guest->model.device, &spans[i]));
        total += spans[i].len;
        if (fill >= 0 && spans[i].len > 0)
            memset(spans[i].address, fill, spans[i].len);
    }
    CHECK(total == len);
}

static void check_chain(struct guest *guest, const struct ob_virtio_chain *chain)
{
    uint8_t first = 0;
    check_spans(guest, chain->readable, chain->num_readable, chain->readable_len, -1);
    CHECK(ob_virtio_read(chain, 0, &first, 1) == (chain->readable_len > 0));
    if (first & 1) /* what the device writes may be the ring itself */
        check_spans(guest, chain->writable, chain->num_writable, chain->writable_len, first);
    else
        CHECK(ob_virtio_write(chain, first, &first, 1) == (chain->writable_len > first));
}

static bool notified(void *state, unsigned queue)
{
    struct guest *guest = state;
    struct ob_virtio_chain *chain;
    CHECK(queue < GUEST_QUEUES);
    while (guest->num_held < MAX_HELD && (chain = ob_virtio_take(guest->model.device, queue))) {
        CHECK(chain->queue == queue && !chain->context);
        CHECK(++guest->taken <= GUEST_QUEUES * LIMIT_VIRTIO_TURN);
        check_chain(guest, chain);
        if (queue == 1)
            guest->held[guest->num_held++] = chain;
        else
            ob_virtio_complete(chain, chain->writable_len);
    }
    return false;
}

static void give_back(struct guest *guest, unsigned which, uint8_t how)
{
    if (guest->num_held == 0)
        return;
    which %= guest->num_held;
    struct ob_virtio_chain *chain = guest->held[which];
    guest->held[which] = guest->held[--guest->num_held];
    if (how & 1)
        ob_virtio_return(chain);
    else
        ob_virtio_complete(chain, how);
}

static int save(void *state, uint8_t *ret_buf, size_t size)
{
    CHECK(size == 1);
    *ret_buf = ((struct guest *)state)->kept;
    return 1;
}

static int load(void *state, uint32_t version, const uint8_t *buf, size_t len,
                struct ob_fault *fault)
{
    if (len != 1)
        return ob_fault_set(fault, -EINVAL, "got %zu bytes, expected 1", len);
    ((struct guest *)state)->kept = *buf;
    return 0;
}

/* A feature that stands on another. */
static int negotiated(void *state, uint64_t features)
{
    return features & 2 && !(features & 1) ? -EINVAL : 0;
}

static void let_go(void *state, unsigned queue)
{
    struct guest *guest = state;
    if (queue == 1 && take(guest) & 1)
        while (guest->num_held > 0) {
            const uint8_t which = take(guest);
            give_back(guest, which, take(guest));
        }
}

static void config(void *state, uint8_t *ret_config)
{
    memcpy(ret_config, ((struct guest *)state)->config, CONFIG_LEN);
}

static void config_written(void *state, size_t offset, const uint8_t *bytes, size_t len)
{
    struct guest *guest = state;
    CHECK(offset < CONFIG_LEN && len <= CONFIG_LEN - offset);
    memcpy(guest->config + offset, bytes, len);
}

/* A ring whose used part is its available part feeds itself: it has work in every turn of the loop,
 * but never more than a turn's share. */
static void poll(struct guest *guest)
{
    unsigned turns = 0;
    do
        guest->taken = 0;
    while (turns++ < 20 &&
           (device_poll(guest->model.device) || device_before_sleep(guest->model.device)));
}

static void start(struct guest *guest)
{
    const uint8_t kind = take(guest);
    guest_set(&guest->model, 20, 1, 0);
    poll(guest);
    CHECK(guest_get(&guest->model, 20, 1) == 0 || guest->num_held > 0);
    guest_start(&guest->model, kind, kind >> 6);
}

static void waits(struct guest_model *model)
{
    struct guest *guest = (struct guest *)model;
    give_back(guest, 0, take(guest));
}

static void signal_queue(void *context, unsigned queue)
{
    const struct guest *guest = context;
    CHECK(queue < GUEST_QUEUES && guest->model.device);
}

static bool miss(void *context, uint64_t iova, uint64_t len, bool write)
{
    return guest_take(context) & 1;
}

/* What an engine does that knows virtio itself. */
static void drive_directly(struct guest *guest, uint8_t how)
{
    const struct virtio_wire wire = {.signal_queue = signal_queue, .miss = miss, .context = guest};
    struct virtio_place place;
    guest->model.wire = wire;
    if (how & 1)
        ob_virtio_fail(guest->model.device, "it was told to");
    virtio_set_wire(guest->model.device, how & 2 ? &guest->model.wire : NULL);
    if (how & 8 && virtio_queue_stop(guest->model.device, how >> 4 & 1)) {
        const struct virtio_desc desc = {.iova = GUEST_DATA_AT, .len = 16, .flags = 2, .next = how};
        const struct virtio_flight flights[] = {
            {.id = how >> 5, .num_descs = how & 1, .descs = how & 1 ? &desc : NULL},
            {.id = how >> 6, .num_descs = how & 1, .descs = how & 1 ? &desc : NULL}};
        virtio_queue_place(guest->model.device, how >> 4 & 1, &place);
        virtio_queue_restart(guest->model.device, how >> 4 & 1, &place, flights, how & 4 ? 2 : 0);
    }
    virtio_retry(guest->model.device);
}

/* The steps of the model, by the numbers that this target has for them; 0: none of them. */
static uint8_t step_of_model(uint8_t what)
{
    static const uint8_t steps[17] = {[3] = 1, [4] = 4,  [5] = 5,   [6] = 6,  [8] = 8,
                                      [9] = 3, [10] = 9, [11] = 10, [12] = 7, [13] = 2};
    return steps[what];
}

static void step(struct guest *guest)
{
    const uint8_t what = take(guest);
    uint8_t how;
    switch (what % 17) {
    case 0:
        start(guest);
        break;
    case 1:
    case 2:
        guest_add_any(&guest->model, what >> 7);
        break;
    case 7:
        how = take(guest);
        give_back(guest, how, take(guest));
        break;
    case 14:
        guest->config[0]++;
        ob_virtio_config_changed(guest->model.device);
        break;
    case 15:
        drive_directly(guest, take(guest));
        break;
    case 16:
        guest_set(&guest->model, GUEST_NOTIFY_AT + take(guest) % 64, 2, 0);
        break;
    default:
        guest_step(&guest->model, step_of_model(what % 17));
        break;
    }
    if (what & 64)
        poll(guest);
}

/* What an author can get wrong is refused with the reason. */
static void refuse(struct guest *guest, const struct ob_virtio_desc *right,
                   const struct ob_virtio_ops *ops)
{
    const struct ob_virtio_queue odd = {.size = 3}, long_chain = {.max_segments = 2000};
    const struct ob_virtio_ops nothing = {.size = sizeof(nothing)};
    struct ob_virtio_desc wrong[8];
    for (unsigned i = 0; i < 8; i++)
        wrong[i] = *right;
    wrong[0].num_queues = 0;
    wrong[1].vectors = OB_VIRTIO_VECTORS + 1;
    wrong[2].config_len = OB_VIRTIO_CONFIG_LEN + 1;
    wrong[3].type = 0;
    wrong[4].features = VIRTIO_VERSION_1;
    wrong[5].migratable = false;
    wrong[6].queues = &odd;
    wrong[6].num_queues = 1;
    wrong[7].queues = &long_chain;
    wrong[7].num_queues = 1;
    for (unsigned i = 0; i < 9; i++) {
        struct ob_fault fault = {0};
        struct ob_device *device = NULL;
        int err = device_virtio_new(i < 8 ? &wrong[i] : right, i < 8 ? ops : &nothing, guest,
                                    &guest->model.fake.host, &device, &fault);
        CHECK(err == -EINVAL && !device && fault.text[0]);
    }
}

static void make(struct guest *guest, bool in_order)
{
    static const struct ob_virtio_queue queues[GUEST_QUEUES] = {{.size = 32},
                                                                {.size = 32, .max_segments = 6}};
    const struct ob_virtio_desc desc = {.size = sizeof(desc),
                                        .name = "fuzzed",
                                        .type = 42,
                                        .features = 3,
                                        .in_order = in_order,
                                        .queues = queues,
                                        .num_queues = GUEST_QUEUES,
                                        .config_len = CONFIG_LEN,
                                        .migratable = true,
                                        .state_len = 1};
    static const struct ob_virtio_ops ops = {.size = sizeof(ops),
                                             .notified = notified,
                                             .let_go = let_go,
                                             .config = config,
                                             .config_written = config_written,
                                             .negotiated = negotiated,
                                             .save = save,
                                             .load = load};
    refuse(guest, &desc, &ops);
    CHECK(device_virtio_new(&desc, &ops, guest, &guest->model.fake.host, &guest->model.device,
                            NULL) == 0);
    CHECK(device_is_virtio(guest->model.device) && virtio_type(guest->model.device) == desc.type);
    CHECK(virtio_num_queues(guest->model.device) == GUEST_QUEUES);
    CHECK(virtio_queue_max_size(guest->model.device, 1) == queues[1].size);
    CHECK(virtio_config_len(guest->model.device) == CONFIG_LEN &&
          !virtio_has_failed(guest->model.device));
    CHECK((virtio_offered(guest->model.device) & 7) == 3 &&
          !ob_virtio_features(guest->model.device));
    guest->model.waits = waits;
    guest_connect(&guest->model, GUEST_QUEUES);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct guest guest;
    guest.num_held = guest.taken = 0;
    guest.kept = 0;
    memset(guest.config, 0, sizeof(guest.config));
    guest_init(&guest.model, data, size);
    make(&guest, take(&guest) & 1);
    for (unsigned i = 0; i < STEPS && guest.model.left > 0; i++)
        step(&guest);
    guest.model.left = 0;
    while (guest.num_held > 0)
        give_back(&guest, 0, 0);
    guest_set(&guest.model, 20, 1, 0);
    poll(&guest);
    CHECK(guest_get(&guest.model, 20, 1) == 0);
    device_free(guest.model.device);
    guest_done(&guest.model);
    return 0;
}
