// SPDX-License-Identifier: BSD-3-Clause
/* A virtio device whose process dies between any two steps of a completion. */
#include "device/device_vault.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <outboard/vault.h>

#include "device/device.h"
#include "device/virtio.h"
#include "fake/server_host.h"
#include "support.h"
#include "virtio/internal.h"

#define SIZE   4u
#define DESC   0x1000u
#define DRIVER 0x2000u
#define DEVICE 0x3000u
#define DATA   0x4000u

/* One life of the device, in a world of its own; the guest's memory is copied from the one before. */
struct life {
    struct fake_host fake;
    struct ob_device *device;
    struct virtio_wire wire;
    struct vault vault;
    int file;
    uint8_t *memory;
    struct ob_virtio_chain *held[SIZE];
    unsigned num_held, signals, resumed;
    uint32_t own;
};

static void on_signal(void *context, unsigned queue)
{
    ((struct life *)context)->signals++;
}

static bool on_notified(void *state, unsigned queue)
{
    struct life *life = state;
    struct ob_virtio_chain *chain;
    while (life->num_held < SIZE && (chain = ob_virtio_take(life->device, queue)))
        life->held[life->num_held++] = chain;
    return false;
}

static int check(void *state, const void *bytes, size_t len, struct ob_fault *fault)
{
    const uint32_t *own = bytes;
    return *own < 100 ? 0 : ob_fault_set(fault, -EINVAL, "too much");
}

static void on_resumed(void *state)
{
    ((struct life *)state)->resumed++;
}

static void begin(struct life *life)
{
    static const struct ob_virtio_queue queue = {.size = SIZE};
    static const struct ob_virtio_desc desc = {
        .size = sizeof(desc), .name = "test", .type = 42, .queues = &queue, .num_queues = 1};
    static const struct ob_virtio_ops ops = {.size = sizeof(ops), .notified = on_notified};
    *life = (struct life){0};
    const struct ob_vault_state kept = {.size = sizeof(kept),
                                        .bytes = &life->own,
                                        .len = sizeof(life->own),
                                        .version = 3,
                                        .check = check,
                                        .resumed = on_resumed};
    fake_host_init(&life->fake);
    life->file = fake_file(&life->fake, 1);
    assert_int_equal(device_virtio_new(&desc, &ops, life, &life->fake.host, &life->device, NULL),
                     0);
    assert_int_equal(ob_vault_keep(life->device, &kept), 0);
    assert_int_equal(ob_vault_keep(life->device, &kept), -EBUSY);
    life->wire = (struct virtio_wire){.signal_queue = on_signal, .context = life};
    virtio_set_wire(life->device, &life->wire);
    const struct memory_region_desc region = {
        .len = FAKE_FILE_LEN, .fd = life->file, .writable = true};
    assert_int_equal(memory_add(device_memory(life->device), &region, 8, NULL), 0);
    assert_int_equal(memory_at(device_memory(life->device), 0, FAKE_FILE_LEN, true, &life->memory),
                     0);
}

static void end(struct life *life)
{
    device_free(life->device);
    life->fake.host.close(life->fake.host.context, life->file);
}

static struct vault_shared *new_shared(void)
{
    struct vault_shared *shared = aligned_alloc(_Alignof(struct vault_shared), sizeof(*shared));
    assert_non_null(shared);
    memset(shared, 0, sizeof(*shared));
    return shared;
}

/* The driver's half of a ring. */
static void offer(struct life *life, bool packed, uint16_t number)
{
    const uint64_t address = DATA + 16u * number;
    const uint32_t len = 16;
    uint8_t *desc = life->memory + DESC + number % SIZE * VIRTIO_DESC_LEN;
    const uint16_t id = number % SIZE;
    uint16_t flags = VIRTIO_DESC_WRITE;
    memcpy(desc, &address, 8);
    memcpy(desc + 8, &len, 4);
    if (packed) {
        flags |= number / SIZE % 2 ? VIRTIO_DESC_USED : VIRTIO_DESC_AVAIL;
        memcpy(desc + 12, &id, 2);
        memcpy(desc + 14, &flags, 2);
    } else {
        memcpy(desc + 12, &flags, 2);
        store16(life->memory + DRIVER + VIRTIO_AVAIL_RING + 2 * id, id);
        store16(life->memory + DRIVER + VIRTIO_AVAIL_IDX, (uint16_t)(number + 1));
    }
    virtio_queue_kick(life->device, 0);
}

/* How many chains of the first round the driver sees as used. */
static unsigned shown(const struct life *life, bool packed)
{
    unsigned count = 0;
    if (!packed)
        return load16(life->memory + DEVICE + VIRTIO_USED_IDX);
    for (unsigned i = 0; i < SIZE; i++) {
        const uint16_t flags = load16(life->memory + DESC + i * VIRTIO_DESC_LEN + 14);
        count += flags & VIRTIO_DESC_AVAIL && flags & VIRTIO_DESC_USED;
    }
    return count;
}

static void live(struct life *life, struct vault_shared *shared, bool packed)
{
    const struct virtio_place place = {.desc = DESC,
                                       .driver = DRIVER,
                                       .device = DEVICE,
                                       .size = SIZE,
                                       .next_wrap = packed,
                                       .used_wrap = packed};
    begin(life);
    memset(life->memory, 0, FAKE_FILE_LEN);
    vault_begin(&life->vault, shared, 1);
    assert_int_equal(device_use_vault(life->device, &life->vault, NULL), 0);
    const uint64_t features = VIRTIO_VERSION_1 | (packed ? VIRTIO_RING_PACKED : 0);
    assert_int_equal(virtio_negotiate(life->device, features), 0);
    assert_int_equal(virtio_queue_start(life->device, 0, &place), 0);
    life->own = 7;
}

static int succeed(struct life *life, const struct life *before, struct vault_shared *shared,
                   bool packed)
{
    struct ob_fault fault = {0};
    begin(life);
    memcpy(life->memory, before->memory, FAKE_FILE_LEN);
    assert_int_equal(vault_check(&life->vault, shared, 2, &fault), 0);
    vault_own(&life->vault);
    /* Memory is not in this vault: it stays as it is here. */
    const struct memory_region_desc region = {
        .len = FAKE_FILE_LEN, .fd = life->file, .writable = true};
    int err = device_resume(life->device, &life->vault, &fault);
    if (err < 0)
        return err;
    assert_int_equal(memory_add(device_memory(life->device), &region, 8, NULL), 0);
    assert_int_equal(memory_at(device_memory(life->device), 0, FAKE_FILE_LEN, true, &life->memory),
                     0);
    memcpy(life->memory, before->memory, FAKE_FILE_LEN);
    device_resumed(life->device);
    device_poll(life->device);
    return 0;
}

static void a_chain_is_committed_before_it_is_shown(bool packed)
{
    struct life life;
    struct vault_shared *shared = new_shared();
    live(&life, shared, packed);
    offer(&life, packed, 0);
    device_poll(life.device);
    ob_virtio_complete(life.held[0], 16);
    assert_int_equal(shown(&life, packed), 0);
    assert_false(virtio_queue_stop(life.device, 0));
    const uint64_t committed = shared->committed;
    device_poll(life.device);
    // cppcheck-suppress knownConditionTrueFalse ; the device has committed
    assert_true(shared->committed > committed);
    assert_int_equal(shown(&life, packed), 1);
    assert_int_equal(life.signals, 1);
    end(&life);
    free(shared);
}

static void split_chain_is_committed_first(void **state)
{
    a_chain_is_committed_before_it_is_shown(false);
}

static void packed_chain_is_committed_first(void **state)
{
    a_chain_is_committed_before_it_is_shown(true);
}

/* Three chains: one is done and two are not, or all are; the ring shows `seen` of those done, and the
 * driver has used the place of the first once more. */
static void dies(bool packed, unsigned done, unsigned seen)
{
    struct life first, second;
    struct vault_shared *shared = new_shared();
    live(&first, shared, packed);
    for (uint16_t i = 0; i < 3; i++)
        offer(&first, packed, i);
    device_poll(first.device);
    assert_int_equal(first.num_held, 3);
    for (unsigned i = 0; i < done; i++)
        ob_virtio_complete(first.held[i], 16);
    assert_int_equal(ob_vault_commit(first.device), 0); /* the intent */
    struct vault_shared *dying = new_shared();
    memcpy(dying, shared, sizeof(*dying));
    if (seen > 0) { /* and some of the stores */
        uint8_t before[FAKE_FILE_LEN];
        memcpy(before, first.memory, sizeof(before));
        device_poll(first.device);
        assert_int_equal(shown(&first, packed), done);
        if (packed)
            for (unsigned i = seen; i < done; i++)
                memcpy(first.memory + DESC + i * VIRTIO_DESC_LEN,
                       before + DESC + i * VIRTIO_DESC_LEN, VIRTIO_DESC_LEN);
        else
            store16(first.memory + DEVICE + VIRTIO_USED_IDX, (uint16_t)seen);
        offer(&first, packed, 3);
        offer(&first, packed, SIZE); /* in the place of the first */
    }
    assert_int_equal(succeed(&second, &first, dying, packed), 0);
    assert_int_equal(second.own, 7);
    assert_int_equal(second.resumed, 1);
    assert_int_equal(second.signals, 1);
    /* The first place is not a used one any more, if the driver has taken it again. */
    assert_int_equal(shown(&second, packed), done - (packed && seen > 0));
    assert_int_equal(second.num_held, 3 - done + (seen > 0 ? 2 : 0));
    if (second.num_held > 0)
        assert_ptr_equal(second.held[0]->writable->address,
                         second.memory + DATA + 16u * (done < 3 ? done : 3));
    end(&second);
    end(&first);
    free(dying);
    free(shared);
}

static void it_dies_behind_each_step(void **state)
{
    for (unsigned packed = 0; packed < 2; packed++) {
        for (unsigned done = 1; done <= 3; done++)
            for (unsigned seen = 0; seen <= done; seen++)
                dies(packed, done, seen);
    }
}

/* The place of the used element is that of the first chain's descriptor. */
static void a_packed_ring_keeps_the_order(void **state)
{
    struct life first, second;
    struct vault_shared *shared = new_shared();
    live(&first, shared, true);
    offer(&first, true, 0);
    offer(&first, true, 1);
    device_poll(first.device);
    ob_virtio_complete(first.held[1], 16);
    device_poll(first.device);
    assert_int_equal(shown(&first, true), 0);
    assert_int_equal(ob_vault_commit(first.device), 0);
    assert_int_equal(succeed(&second, &first, shared, true), 0);
    assert_int_equal(second.num_held, 1);
    assert_ptr_equal(second.held[0]->writable->address, second.memory + DATA);
    assert_int_equal(shown(&second, true), 0);
    ob_virtio_complete(second.held[0], 16);
    device_poll(second.device);
    assert_int_equal(shown(&second, true), 2);
    end(&second);
    end(&first);
    free(shared);
}

static void a_state_of_its_own_is_checked(void **state)
{
    struct life first, second;
    struct vault_shared *shared = new_shared();
    live(&first, shared, false);
    first.own = 100;
    assert_int_equal(ob_vault_commit(first.device), 0);
    assert_int_equal(succeed(&second, &first, shared, false), -EINVAL);
    end(&second);
    end(&first);
    free(shared);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(split_chain_is_committed_first),
        cmocka_unit_test(packed_chain_is_committed_first),
        cmocka_unit_test(it_dies_behind_each_step),
        cmocka_unit_test(a_packed_ring_keeps_the_order),
        cmocka_unit_test(a_state_of_its_own_is_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
