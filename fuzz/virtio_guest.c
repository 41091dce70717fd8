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
#include "device/device.h"
#include "device/pci.h"
#include "device/state.h"
#include "device/virtio.h"
#include "fake/server_host.h"
#include "virtio/spec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define STEPS      400
#define BAR        0
#define CONFIG_AT  0x2000u
#define NOTIFY_AT  0x3000u
#define QUEUES     2u
#define RING_AT(q) (0x1000u * (1 + (q))) /* descriptors, 0x800 behind them the driver's part... */
#define DEVICE_AT  0xc00u                /* ...and the device's */
#define DATA_AT    0x4000u
#define MAX_HELD   64u
#define CONFIG_LEN 12u

struct guest {
    struct fake_host fake;
    struct ob_device *device;
    const uint8_t *at;
    size_t left;
    int file;
    struct ob_virtio_chain *held[MAX_HELD];
    unsigned num_held;
    uint16_t size[QUEUES]; /* of the rings as the driver made them */
    uint16_t avail[QUEUES];
    bool packed;
    bool wrap[QUEUES];
    uint8_t config[CONFIG_LEN];
    bool paused;
    unsigned taken; /* chains, in this turn of the loop */
    uint8_t kept;   /* the device's own state */
    struct virtio_wire wire;
};

static uint8_t take(struct guest *guest)
{
    if (guest->left == 0)
        return 0;
    guest->left--;
    return *guest->at++;
}

static uint64_t take_bytes(struct guest *guest, unsigned count)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < count; i++)
        value |= (uint64_t)take(guest) << (8 * i);
    return value;
}

/* Guest memory, or NULL while it is gone. */
static uint8_t *memory(struct guest *guest)
{
    uint8_t *at = NULL;
    memory_at(device_memory(guest->device), 0, FAKE_FILE_LEN, true, &at);
    return at;
}

static void put(struct guest *guest, uint32_t address, const void *bytes, size_t len)
{
    uint8_t *at = memory(guest);
    if (at && address + len <= FAKE_FILE_LEN)
        memcpy(at + address, bytes, len);
}

static void check_spans(struct guest *guest, const struct ob_dma_span *spans, unsigned count,
                        size_t len, int fill)
{
    const uint8_t *all = memory(guest);
    size_t total = 0;
    for (unsigned i = 0; i < count; i++) {
        const uint8_t *at = spans[i].address;
        CHECK(all && at >= all && at + spans[i].len <= all + FAKE_FILE_LEN);
        CHECK(ob_dma_is_current(guest->device, &spans[i]));
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
    CHECK(queue < QUEUES);
    while (guest->num_held < MAX_HELD && (chain = ob_virtio_take(guest->device, queue))) {
        CHECK(chain->queue == queue && !chain->context);
        CHECK(++guest->taken <= QUEUES * LIMIT_VIRTIO_TURN);
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
        while (guest->num_held > 0)
            give_back(guest, take(guest), take(guest));
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
    while (turns++ < 20 && (device_poll(guest->device) || device_before_sleep(guest->device)));
}

static uint64_t get(struct guest *guest, uint64_t offset, unsigned size)
{
    return device_bar_read(guest->device, BAR, offset, size);
}

static void set(struct guest *guest, uint64_t offset, unsigned size, uint64_t value)
{
    device_bar_write(guest->device, BAR, offset, size, value);
}

static void enable(struct guest *guest, unsigned queue)
{
    const uint16_t size = (uint16_t)(1u << (1 + take(guest) % 5));
    static const uint8_t zeroes[0x1000];
    put(guest, RING_AT(queue), zeroes, sizeof(zeroes));
    set(guest, 22, 2, queue);
    set(guest, 24, 2, size);
    set(guest, 32, 8, RING_AT(queue));
    set(guest, 40, 8, RING_AT(queue) + 0x800);
    set(guest, 48, 8, RING_AT(queue) + DEVICE_AT);
    set(guest, 28, 2, 1);
    guest->size[queue] = size;
    guest->avail[queue] = 0;
    guest->wrap[queue] = true;
}

/* The steps of a driver that does it right, but for the features that it may take. */
static void start(struct guest *guest)
{
    const uint8_t kind = take(guest);
    const uint64_t features =
        VIRTIO_VERSION_1 | (kind & 1 ? VIRTIO_RING_PACKED : 0) | (kind & 2 ? VIRTIO_EVENT_IDX : 0) |
        (kind & 4 ? VIRTIO_INDIRECT_DESC : 0) | (kind & 8 ? VIRTIO_RING_RESET : 0) |
        (kind & 16 ? VIRTIO_IN_ORDER : 0) | (uint64_t)(kind >> 6);
    set(guest, 20, 1, 0);
    poll(guest);
    CHECK(get(guest, 20, 1) == 0 || guest->num_held > 0);
    set(guest, 20, 1, VIRTIO_ACKNOWLEDGE | VIRTIO_DRIVER);
    for (unsigned half = 0; half < 2; half++) {
        set(guest, 8, 4, half);
        set(guest, 12, 4, features >> (32 * half));
    }
    set(guest, 20, 1, VIRTIO_ACKNOWLEDGE | VIRTIO_DRIVER | VIRTIO_FEATURES_OK);
    guest->packed = features & VIRTIO_RING_PACKED;
    for (unsigned queue = 0; queue < QUEUES; queue++)
        enable(guest, queue);
    set(guest, 20, 1, 15);
}

static void put_descriptor(struct guest *guest, uint32_t address, uint64_t iova, uint32_t len,
                           uint16_t flags, uint16_t next)
{
    uint8_t bytes[VIRTIO_DESC_LEN];
    memcpy(bytes, &iova, 8);
    memcpy(bytes + 8, &len, 4);
    memcpy(bytes + 12, guest->packed ? &next : &flags, 2);
    memcpy(bytes + 14, guest->packed ? &flags : &next, 2);
    put(guest, address, bytes, sizeof(bytes));
}

/* A chain of one descriptor, or of a table of up to four. */
static void add_chain(struct guest *guest, unsigned queue)
{
    const uint8_t kind = take(guest);
    const uint16_t size = guest->size[queue] ? guest->size[queue] : 2;
    const uint16_t at = guest->avail[queue] & (size - 1);
    uint16_t flags = kind & 1 ? VIRTIO_DESC_WRITE : 0;
    uint32_t len = take(guest), address = DATA_AT + 64u * take(guest);
    if (kind & 2) {
        const unsigned entries = 1 + take(guest) % 4;
        for (unsigned i = 0; i < entries; i++)
            put_descriptor(guest, address + i * VIRTIO_DESC_LEN, DATA_AT + take(guest), take(guest),
                           (uint16_t)(take(guest) & (kind & 4 ? 7 : 3)), (uint16_t)(i + 1));
        len = entries * VIRTIO_DESC_LEN;
        flags |= VIRTIO_DESC_INDIRECT;
    }
    if (guest->packed)
        flags |= guest->wrap[queue] ? VIRTIO_DESC_AVAIL : VIRTIO_DESC_USED;
    put_descriptor(guest, RING_AT(queue) + at * VIRTIO_DESC_LEN, address, len, flags, at);
    guest->avail[queue]++;
    if (guest->packed) {
        guest->wrap[queue] ^= at + 1 == size;
    } else {
        put(guest, RING_AT(queue) + 0x800 + VIRTIO_AVAIL_RING + 2u * at, &at, 2);
        put(guest, RING_AT(queue) + 0x800 + VIRTIO_AVAIL_IDX, &guest->avail[queue], 2);
    }
    if (kind & 8)
        set(guest, NOTIFY_AT + 4 * queue, 2, queue);
}

static void scribble(struct guest *guest)
{
    uint8_t bytes[32];
    const uint32_t address = (uint32_t)take_bytes(guest, 2);
    const unsigned len = 1 + take(guest) % sizeof(bytes);
    for (unsigned i = 0; i < len; i++)
        bytes[i] = take(guest);
    put(guest, address, bytes, len);
}

static void map(struct guest *guest)
{
    const struct memory_region_desc desc = {
        .len = FAKE_FILE_LEN, .fd = guest->file, .writable = true};
    memory_add(device_memory(guest->device), &desc, 4, NULL);
}

/* All memory goes, and comes back at once or later. */
static void unmap(struct guest *guest)
{
    struct ob_dma_region *region;
    int err = memory_remove_any(device_memory(guest->device), &region);
    if (err < 0) {
        map(guest);
        return;
    }
    if (err == MEMORY_HELD)
        device_quiesce(guest->device);
    while (err == MEMORY_HELD && !device_is_quiet(guest->device))
        give_back(guest, 0, take(guest));
    CHECK(!memory_is_held(region));
    memory_drop(device_memory(guest->device), region);
    if (take(guest) & 1)
        map(guest);
}

static void save_and_load(struct guest *guest)
{
    static uint8_t bytes[65536];
    struct ob_fault fault = {0};
    device_pause(guest->device, true);
    while (device_at_rest(guest->device, &fault) == 0)
        give_back(guest, 0, take(guest));
    int len = state_save(guest->device, bytes, sizeof(bytes));
    CHECK(len > 0 && (size_t)len <= state_limit(guest->device));
    for (unsigned i = take(guest) % 4; i > 0; i--)
        bytes[(uint32_t)take_bytes(guest, 2) % (uint32_t)len] = take(guest);
    state_load(guest->device, bytes, (size_t)len, &fault);
    device_pause(guest->device, guest->paused);
}

static void reset(struct guest *guest)
{
    while (!device_reset_when_quiet(guest->device))
        give_back(guest, 0, take(guest));
    CHECK(get(guest, 20, 1) == 0 && get(guest, 12, 4) == 0);
    device_config_write(guest->device, 4, 2, 6);
}

static void signal_queue(void *context, unsigned queue)
{
    const struct guest *guest = context;
    CHECK(queue < QUEUES && guest->device);
}

static bool miss(void *context, uint64_t iova, uint64_t len, bool write)
{
    return take(context) & 1;
}

/* What an engine does that knows virtio itself. */
static void drive_directly(struct guest *guest, uint8_t how)
{
    const struct virtio_wire wire = {.signal_queue = signal_queue, .miss = miss, .context = guest};
    struct virtio_place place;
    guest->wire = wire;
    if (how & 1)
        ob_virtio_fail(guest->device, "it was told to");
    virtio_set_wire(guest->device, how & 2 ? &guest->wire : NULL);
    if (how & 8 && virtio_queue_stop(guest->device, how >> 4 & 1)) {
        const struct virtio_desc desc = {.iova = DATA_AT, .len = 16, .flags = 2, .next = how};
        const struct virtio_flight flights[] = {
            {.id = how >> 5, .num_descs = how & 1, .descs = how & 1 ? &desc : NULL},
            {.id = how >> 6, .num_descs = how & 1, .descs = how & 1 ? &desc : NULL}};
        virtio_queue_place(guest->device, how >> 4 & 1, &place);
        virtio_queue_restart(guest->device, how >> 4 & 1, &place, flights, how & 4 ? 2 : 0);
    }
    virtio_retry(guest->device);
}

/* Steps that a driver has no part in, or only by configuration space. */
static void step_of_others(struct guest *guest, uint8_t what)
{
    switch (what) {
    case 8:
        guest->paused = take(guest) & 1;
        device_pause(guest->device, guest->paused);
        break;
    case 9:
        unmap(guest);
        break;
    case 10:
        save_and_load(guest);
        break;
    case 11:
        reset(guest);
        break;
    case 12:
        device_config_write(guest->device, take(guest), 1u << take(guest) % 3,
                            (uint32_t)take_bytes(guest, 4));
        break;
    case 14:
        guest->config[0]++;
        ob_virtio_config_changed(guest->device);
        break;
    case 15:
        drive_directly(guest, take(guest));
        break;
    default:
        set(guest, NOTIFY_AT + take(guest) % 64, 2, 0);
        break;
    }
}

static void step(struct guest *guest)
{
    const uint8_t what = take(guest);
    switch (what % 17) {
    case 0:
        start(guest);
        break;
    case 1:
    case 2:
        add_chain(guest, what >> 7);
        break;
    case 3:
        scribble(guest);
        break;
    case 4:
        set(guest, take(guest) % 64, 1u << take(guest) % 4, take_bytes(guest, 4));
        break;
    case 5:
        get(guest, take(guest) % 64, 1u << take(guest) % 4);
        get(guest, 0x1000, 1);
        break;
    case 6:
        set(guest, CONFIG_AT + take(guest) % 16, 1u << take(guest) % 4, take_bytes(guest, 4));
        get(guest, CONFIG_AT + take(guest) % 16, 1u << take(guest) % 4);
        break;
    case 7:
        give_back(guest, take(guest), take(guest));
        break;
    case 13:
        set(guest, 22, 2, take(guest) % 3);
        set(guest, 58, 2, 1);
        break;
    default:
        step_of_others(guest, what % 17);
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
                                    &guest->fake.host, &device, &fault);
        CHECK(err == -EINVAL && !device && fault.text[0]);
    }
}

static void make(struct guest *guest, bool in_order)
{
    static const struct ob_virtio_queue queues[QUEUES] = {{.size = 32},
                                                          {.size = 32, .max_segments = 6}};
    const struct ob_virtio_desc desc = {.size = sizeof(desc),
                                        .name = "fuzzed",
                                        .type = 42,
                                        .features = 3,
                                        .in_order = in_order,
                                        .queues = queues,
                                        .num_queues = QUEUES,
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
    fake_host_init(&guest->fake);
    refuse(guest, &desc, &ops);
    guest->file = fake_file(&guest->fake, 1);
    CHECK(device_virtio_new(&desc, &ops, guest, &guest->fake.host, &guest->device, NULL) == 0);
    CHECK(device_is_virtio(guest->device) && virtio_type(guest->device) == desc.type);
    CHECK(virtio_num_queues(guest->device) == QUEUES);
    CHECK(virtio_queue_max_size(guest->device, 1) == queues[1].size);
    CHECK(virtio_config_len(guest->device) == CONFIG_LEN && !virtio_has_failed(guest->device));
    CHECK((virtio_offered(guest->device) & 7) == 3 && !ob_virtio_features(guest->device));
    device_begin_serving(guest->device);
    device_config_write(guest->device, 4, 2, 6);
    map(guest);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct guest guest;
    guest = (struct guest){.at = data, .left = size};
    make(&guest, take(&guest) & 1);
    for (unsigned i = 0; i < STEPS && guest.left > 0; i++)
        step(&guest);
    guest.left = 0;
    while (guest.num_held > 0)
        give_back(&guest, 0, 0);
    set(&guest, 20, 1, 0);
    poll(&guest);
    CHECK(get(&guest, 20, 1) == 0);
    device_free(guest.device);
    guest.fake.host.close(guest.fake.host.context, guest.file);
    CHECK(fake_is_empty(&guest.fake));
    return 0;
}
