// SPDX-License-Identifier: BSD-3-Clause
#include "guest_model.h"

#include <string.h>

#include "check.h"
#include "device/pci.h"
#include "device/state.h"

#define BAR 0

uint8_t guest_take(struct guest_model *guest)
{
    if (guest->left == 0)
        return 0;
    guest->left--;
    return *guest->at++;
}

uint64_t guest_take_bytes(struct guest_model *guest, unsigned count)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < count; i++)
        value |= (uint64_t)guest_take(guest) << (8 * i);
    return value;
}

void guest_init(struct guest_model *guest, const uint8_t *data, size_t size)
{
    *guest = (struct guest_model){.at = data, .left = size};
    fake_host_init(&guest->fake);
    guest->file = fake_file(&guest->fake, 1);
}

void guest_connect(struct guest_model *guest, unsigned num_queues)
{
    guest->num_queues = num_queues;
    device_begin_serving(guest->device);
    device_config_write(guest->device, 4, 2, 6);
    guest_map(guest);
}

void guest_done(struct guest_model *guest)
{
    guest->fake.host.close(guest->fake.host.context, guest->file);
    CHECK(fake_is_empty(&guest->fake));
}

uint8_t *guest_memory(struct guest_model *guest)
{
    uint8_t *at = NULL;
    memory_at(device_memory(guest->device), 0, FAKE_FILE_LEN, true, &at);
    return at;
}

void guest_put(struct guest_model *guest, uint32_t address, const void *bytes, size_t len)
{
    uint8_t *at = guest_memory(guest);
    if (at && address + len <= FAKE_FILE_LEN)
        memcpy(at + address, bytes, len);
}

uint64_t guest_get(struct guest_model *guest, uint64_t offset, unsigned size)
{
    return device_bar_read(guest->device, BAR, offset, size);
}

void guest_set(struct guest_model *guest, uint64_t offset, unsigned size, uint64_t value)
{
    device_bar_write(guest->device, BAR, offset, size, value);
}

void guest_notify(struct guest_model *guest, unsigned queue)
{
    if (guest->direct)
        virtio_queue_kick(guest->device, queue);
    else
        guest_set(guest, GUEST_NOTIFY_AT + 4 * queue, 2, queue);
}

/* Waits once more. What takes for ever is a finding. */
static void wait_once(struct guest_model *guest, unsigned *count)
{
    CHECK(++*count < GUEST_WAITS);
    guest->waits(guest);
}

void guest_stop(struct guest_model *guest)
{
    unsigned count = 0;
    if (guest->direct) {
        while (!virtio_reset(guest->device))
            wait_once(guest, &count);
        return;
    }
    guest_set(guest, 20, 1, 0);
    while (guest_get(guest, 20, 1) != 0)
        wait_once(guest, &count);
}

static void make_ring(struct guest_model *guest, unsigned queue)
{
    static const uint8_t zeroes[0x1000];
    guest_put(guest, GUEST_RING_AT(queue), zeroes, sizeof(zeroes));
    guest->size[queue] = (uint16_t)(1u << (1 + guest_take(guest) % 5));
    guest->avail[queue] = guest->desc[queue] = 0;
    guest->wrap[queue] = true;
}

static void enable(struct guest_model *guest, unsigned queue)
{
    make_ring(guest, queue);
    guest_set(guest, 22, 2, queue);
    guest_set(guest, 24, 2, guest->size[queue]);
    guest_set(guest, 32, 8, GUEST_RING_AT(queue));
    guest_set(guest, 40, 8, GUEST_RING_AT(queue) + 0x800);
    guest_set(guest, 48, 8, GUEST_RING_AT(queue) + GUEST_DEVICE_AT);
    guest_set(guest, 28, 2, 1);
}

static uint64_t features_of(uint8_t kind)
{
    return VIRTIO_VERSION_1 | (kind & 1 ? VIRTIO_RING_PACKED : 0) |
           (kind & 2 ? VIRTIO_EVENT_IDX : 0) | (kind & 4 ? VIRTIO_INDIRECT_DESC : 0) |
           (kind & 8 ? VIRTIO_RING_RESET : 0) | (kind & 16 ? VIRTIO_IN_ORDER : 0);
}

static void signal_queue(void *context, unsigned queue)
{
    const struct guest_model *guest = context;
    CHECK(queue < guest->num_queues);
}

static void start_directly(struct guest_model *guest, uint64_t features)
{
    guest->wire = (struct virtio_wire){.signal_queue = signal_queue, .context = guest};
    virtio_set_wire(guest->device, &guest->wire);
    virtio_wake(guest->device);
    if (virtio_negotiate(guest->device, features) < 0)
        return;
    for (unsigned queue = 0; queue < guest->num_queues; queue++) {
        make_ring(guest, queue);
        const struct virtio_place place = {.desc = GUEST_RING_AT(queue),
                                           .driver = GUEST_RING_AT(queue) + 0x800,
                                           .device = GUEST_RING_AT(queue) + GUEST_DEVICE_AT,
                                           .size = guest->size[queue],
                                           .next_wrap = true,
                                           .used_wrap = true};
        CHECK(virtio_queue_start(guest->device, queue, &place) == 0);
    }
}

void guest_start(struct guest_model *guest, uint8_t kind, uint64_t type_features)
{
    const uint64_t features = features_of(kind) | type_features;
    guest->packed = features & VIRTIO_RING_PACKED;
    if (guest->direct) {
        start_directly(guest, features);
        return;
    }
    virtio_set_wire(guest->device, NULL);
    guest_set(guest, 20, 1, VIRTIO_ACKNOWLEDGE | VIRTIO_DRIVER);
    for (unsigned half = 0; half < 2; half++) {
        guest_set(guest, 8, 4, half);
        guest_set(guest, 12, 4, features >> (32 * half));
    }
    guest_set(guest, 20, 1, VIRTIO_ACKNOWLEDGE | VIRTIO_DRIVER | VIRTIO_FEATURES_OK);
    for (unsigned queue = 0; queue < guest->num_queues; queue++)
        enable(guest, queue);
    guest_set(guest, 20, 1, 15);
}

static void put_descriptor(struct guest_model *guest, uint32_t address,
                           const struct virtio_desc *desc)
{
    uint8_t bytes[VIRTIO_DESC_LEN];
    memcpy(bytes, &desc->iova, 8);
    memcpy(bytes + 8, &desc->len, 4);
    memcpy(bytes + 12, guest->packed ? &desc->next : &desc->flags, 2);
    memcpy(bytes + 14, guest->packed ? &desc->flags : &desc->next, 2);
    guest_put(guest, address, bytes, sizeof(bytes));
}

/* Puts a descriptor at the next place of the ring. */
static void put_in_ring(struct guest_model *guest, unsigned queue, const struct virtio_desc *desc,
                        bool links)
{
    const uint16_t size = guest->size[queue] ? guest->size[queue] : 2;
    uint16_t *cursor = guest->packed ? &guest->avail[queue] : &guest->desc[queue];
    const uint16_t at = *cursor & (size - 1);
    struct virtio_desc put = *desc;
    if (links)
        put.flags |= VIRTIO_DESC_NEXT;
    put.next = links && !guest->packed ? (at + 1) & (size - 1) : at;
    if (guest->packed)
        put.flags |= guest->wrap[queue] ? VIRTIO_DESC_AVAIL : VIRTIO_DESC_USED;
    put_descriptor(guest, GUEST_RING_AT(queue) + at * VIRTIO_DESC_LEN, &put);
    ++*cursor;
    if (guest->packed)
        guest->wrap[queue] ^= at + 1 == size;
}

static void put_table(struct guest_model *guest, const struct guest_chain *chain)
{
    for (unsigned i = 0; i < chain->num_indirect; i++) {
        struct virtio_desc desc = chain->descs[chain->num_direct + i];
        if (chain->linked && i + 1 < chain->num_indirect)
            desc.flags |= VIRTIO_DESC_NEXT;
        desc.next = (uint16_t)(i + 1);
        put_descriptor(guest, chain->table_at + i * VIRTIO_DESC_LEN, &desc);
    }
}

void guest_show(struct guest_model *guest, unsigned queue, const struct guest_chain *chain)
{
    const uint16_t size = guest->size[queue] ? guest->size[queue] : 2;
    const uint16_t head = guest->desc[queue] & (size - 1);
    const bool has_table = chain->num_indirect > 0;
    put_table(guest, chain);
    for (unsigned i = 0; i < chain->num_direct; i++)
        put_in_ring(guest, queue, &chain->descs[i],
                    chain->linked && (i + 1 < chain->num_direct || has_table));
    if (has_table) {
        const struct virtio_desc table = {.iova = chain->table_at,
                                          .len = chain->num_indirect * VIRTIO_DESC_LEN,
                                          .flags = chain->table_flags | VIRTIO_DESC_INDIRECT};
        put_in_ring(guest, queue, &table, false);
    }
    if (guest->packed)
        return;
    const uint16_t at = guest->avail[queue]++ & (size - 1);
    const uint32_t driver_at = GUEST_RING_AT(queue) + 0x800;
    guest_put(guest, driver_at + VIRTIO_AVAIL_RING + 2u * at, &head, 2);
    guest_put(guest, driver_at + VIRTIO_AVAIL_IDX, &guest->avail[queue], 2);
}

void guest_add_any(struct guest_model *guest, unsigned queue)
{
    struct guest_chain chain = {.num_direct = 1};
    const uint8_t kind = guest_take(guest);
    const uint16_t flags = kind & 1 ? VIRTIO_DESC_WRITE : 0;
    const uint32_t len = guest_take(guest), address = GUEST_DATA_AT + 64u * guest_take(guest);
    chain.descs[0] = (struct virtio_desc){.iova = address, .len = len, .flags = flags};
    if (kind & 2) {
        chain.num_direct = 0;
        chain.num_indirect = 1 + guest_take(guest) % 4;
        chain.table_at = address;
        chain.table_flags = flags;
        for (unsigned i = 0; i < chain.num_indirect; i++) {
            chain.descs[i].iova = GUEST_DATA_AT + guest_take(guest);
            chain.descs[i].len = guest_take(guest);
            chain.descs[i].flags = guest_take(guest) & (kind & 4 ? 7 : 3);
        }
    }
    guest_show(guest, queue, &chain);
    if (kind & 8)
        guest_notify(guest, queue);
}

static void scribble(struct guest_model *guest)
{
    uint8_t bytes[32];
    const uint32_t address = (uint32_t)guest_take_bytes(guest, 2);
    const unsigned len = 1 + guest_take(guest) % sizeof(bytes);
    for (unsigned i = 0; i < len; i++)
        bytes[i] = guest_take(guest);
    guest_put(guest, address, bytes, len);
}

void guest_map(struct guest_model *guest)
{
    const struct memory_region_desc desc = {
        .len = FAKE_FILE_LEN, .fd = guest->file, .writable = true};
    memory_add(device_memory(guest->device), &desc, 4, NULL);
}

void guest_unmap(struct guest_model *guest)
{
    struct ob_dma_region *region;
    unsigned count = 0;
    int err = memory_remove_any(device_memory(guest->device), &region);
    if (err < 0) {
        guest_map(guest);
        return;
    }
    if (err == MEMORY_HELD)
        device_quiesce(guest->device);
    while (err == MEMORY_HELD && !device_is_quiet(guest->device))
        wait_once(guest, &count);
    CHECK(!memory_is_held(region));
    memory_drop(device_memory(guest->device), region);
    if (guest_take(guest) & 1)
        guest_map(guest);
}

void guest_save_and_load(struct guest_model *guest)
{
    struct ob_fault fault = {0};
    unsigned count = 0;
    int rests;
    device_pause(guest->device, true);
    while ((rests = device_at_rest(guest->device, &fault)) == 0)
        wait_once(guest, &count);
    if (rests > 0) {
        static uint8_t bytes[65536];
        int len = state_save(guest->device, bytes, sizeof(bytes));
        CHECK(len > 0 && (size_t)len <= state_limit(guest->device));
        for (unsigned i = guest_take(guest) % 4; i > 0; i--)
            bytes[(uint32_t)guest_take_bytes(guest, 2) % (uint32_t)len] = guest_take(guest);
        state_load(guest->device, bytes, (size_t)len, &fault);
    }
    device_pause(guest->device, guest->paused);
}

void guest_reset(struct guest_model *guest)
{
    unsigned count = 0;
    while (!device_reset_when_quiet(guest->device))
        wait_once(guest, &count);
    CHECK(guest_get(guest, 20, 1) == 0 && guest_get(guest, 12, 4) == 0);
    device_config_write(guest->device, 4, 2, 6);
}

/* A driver, or the vhost-user engine, has a queue end. */
static void end_queue(struct guest_model *guest, uint8_t queue)
{
    unsigned count = 0;
    if (!guest->direct) {
        guest_set(guest, 22, 2, queue % 3);
        guest_set(guest, 58, 2, 1);
        return;
    }
    queue = (uint8_t)(queue % guest->num_queues);
    while (!virtio_queue_stop(guest->device, queue))
        wait_once(guest, &count);
    struct virtio_place place;
    virtio_queue_place(guest->device, queue, &place);
    if (place.size > 0)
        virtio_queue_start(guest->device, queue, &place);
}

/* Configuration space of the function, and registers, with any value. */
static void access_registers(struct guest_model *guest, uint8_t what)
{
    const uint64_t offset = guest_take(guest);
    const unsigned size = 1u << guest_take(guest) % 4;
    const uint64_t value = what == 5 ? 0 : guest_take_bytes(guest, 4);
    switch (what) {
    case 4:
        guest_set(guest, offset % 64, size, value);
        break;
    case 5:
        guest_get(guest, offset % 64, size);
        guest_get(guest, 0x1000, 1);
        break;
    case 6:
        guest_set(guest, GUEST_CONFIG_AT + offset % 64, size, value);
        guest_get(guest, GUEST_CONFIG_AT + offset / 4, size);
        break;
    default:
        device_config_write(guest->device, (uint32_t)offset, size < 8 ? size : 1, (uint32_t)value);
        break;
    }
}

void guest_step(struct guest_model *guest, uint8_t what)
{
    switch (what) {
    case 0:
        guest_add_any(guest, guest_take(guest) % guest->num_queues);
        break;
    case 1:
        scribble(guest);
        break;
    case 2:
        end_queue(guest, guest_take(guest));
        break;
    case 3:
        guest_unmap(guest);
        break;
    case 8:
        guest->paused = guest_take(guest) & 1;
        device_pause(guest->device, guest->paused);
        break;
    case 9:
        guest_save_and_load(guest);
        break;
    case 10:
        guest_reset(guest);
        break;
    case 11:
        guest_notify(guest, guest_take(guest) % guest->num_queues);
        break;
    default:
        access_registers(guest, what);
        break;
    }
}
