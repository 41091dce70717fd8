// SPDX-License-Identifier: BSD-3-Clause
/* Chains of a virtqueue by the seam of src/device/virtio.h, as an engine drives it. */
#include "virtio/virtqueue.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "device/device.h"
#include "device/virtio.h"
#include "fake/server_host.h"
#include "support.h"
#include "virtio/internal.h"

#define SIZE   8u
#define DESC   0x1000u
#define AVAIL  0x2000u
#define USED   0x3000u
#define DATA   0x4000u
#define EVENTS 16u

struct fixture {
    struct fake_host fake;
    struct ob_device *device;
    struct virtio_wire wire;
    uint8_t *memory;
    int file;
    struct ob_virtio_chain *held[SIZE];
    unsigned num_held, let_go, stopped, resets, signals, misses;
    char events[EVENTS][32]; /* of the wire's in-flight calls */
    unsigned num_events;
    bool answers_misses;
};

static void note(struct fixture *f, const char *what, uint16_t head, unsigned used)
{
    assert_true(f->num_events < EVENTS);
    snprintf(f->events[f->num_events++], sizeof(f->events[0]), "%s %u %u", what, head, used);
}

static uint16_t on_taken(void *context, unsigned queue, const struct virtio_flight *flight)
{
    note(context, "taken", flight->id, 0);
    return flight->id;
}

static void on_completing(void *context, unsigned queue, uint16_t mark,
                          struct virtio_used_place used)
{
    note(context, "completing", mark, used.at);
}

static void on_completed(void *context, unsigned queue, uint16_t mark,
                         struct virtio_used_place used)
{
    note(context, "completed", mark, used.at);
}

static void on_signal(void *context, unsigned queue)
{
    ((struct fixture *)context)->signals++;
}

static bool on_miss(void *context, uint64_t iova, uint64_t len, bool write)
{
    struct fixture *f = context;
    f->misses++;
    return f->answers_misses;
}

static bool on_notified(void *state, unsigned queue)
{
    struct fixture *f = state;
    struct ob_virtio_chain *chain;
    while (f->num_held < SIZE && (chain = ob_virtio_take(f->device, queue)))
        f->held[f->num_held++] = chain;
    return false;
}

static void on_let_go(void *state, unsigned queue)
{
    ((struct fixture *)state)->let_go++;
}

static void on_stopped(void *state, unsigned queue)
{
    ((struct fixture *)state)->stopped++;
}

static void on_reset(void *state)
{
    ((struct fixture *)state)->resets++;
}

static void map(struct fixture *f)
{
    const struct memory_region_desc desc = {.len = FAKE_FILE_LEN, .fd = f->file, .writable = true};
    assert_int_equal(memory_add(device_memory(f->device), &desc, 8, NULL), 0);
    assert_int_equal(memory_at(device_memory(f->device), 0, FAKE_FILE_LEN, true, &f->memory), 0);
}

static void set_up(struct fixture *f)
{
    static const struct ob_virtio_queue queue = {.size = SIZE};
    static const struct ob_virtio_desc desc = {.size = sizeof(desc),
                                               .name = "test",
                                               .type = 42,
                                               .queues = &queue,
                                               .num_queues = 1,
                                               .migratable = true};
    static const struct ob_virtio_ops ops = {.size = sizeof(ops),
                                             .notified = on_notified,
                                             .let_go = on_let_go,
                                             .queue_stopped = on_stopped,
                                             .reset = on_reset};
    *f = (struct fixture){0};
    fake_host_init(&f->fake);
    f->file = fake_file(&f->fake, 1);
    assert_int_equal(device_virtio_new(&desc, &ops, f, &f->fake.host, &f->device, NULL), 0);
    f->wire = (struct virtio_wire){.signal_queue = on_signal,
                                   .miss = on_miss,
                                   .taken = on_taken,
                                   .completing = on_completing,
                                   .completed = on_completed,
                                   .context = f};
    virtio_set_wire(f->device, &f->wire);
    map(f);
    memset(f->memory, 0, FAKE_FILE_LEN);
}

static void tear_down(struct fixture *f)
{
    device_free(f->device);
    f->fake.host.close(f->fake.host.context, f->file);
    assert_true(fake_is_empty(&f->fake));
}

static struct virtio_place place_of(uint16_t next)
{
    return (struct virtio_place){
        .desc = DESC, .driver = AVAIL, .device = USED, .size = SIZE, .next = next, .used = next};
}

static void start(struct fixture *f, uint16_t next)
{
    const struct virtio_place place = place_of(next);
    assert_int_equal(virtio_negotiate(f->device, VIRTIO_VERSION_1), 0);
    assert_int_equal(virtio_queue_start(f->device, 0, &place), 0);
    assert_int_equal(virtio_queue_start(f->device, 0, &place), -EBUSY);
    assert_int_equal(virtio_negotiate(f->device, VIRTIO_VERSION_1), -EBUSY);
}

/* Shows a chain of one writable byte; its head is the number. */
static void show(struct fixture *f, uint16_t head, uint64_t address)
{
    const uint32_t len = 1;
    const uint16_t flags = VIRTIO_DESC_WRITE;
    uint8_t *desc = f->memory + DESC + head * VIRTIO_DESC_LEN;
    uint8_t *idx = f->memory + AVAIL + VIRTIO_AVAIL_IDX;
    const uint16_t at = load16(idx);
    memcpy(desc, &address, 8);
    memcpy(desc + 8, &len, 4);
    memcpy(desc + 12, &flags, 2);
    store16(f->memory + AVAIL + VIRTIO_AVAIL_RING + 2 * (at % SIZE), head);
    store16(idx, (uint16_t)(at + 1));
    virtio_queue_kick(f->device, 0);
}

static uint16_t used(const struct fixture *f)
{
    return load16(f->memory + USED + VIRTIO_USED_IDX);
}

static void an_engine_learns_of_each_chain_before_and_after(void **unused)
{
    struct fixture f;
    set_up(&f);
    start(&f, 0);
    show(&f, 3, DATA);
    device_poll(f.device);
    assert_int_equal(f.num_held, 1);
    ob_virtio_complete(f.held[0], 9);
    assert_string_equal(f.events[0], "taken 3 0");
    assert_string_equal(f.events[1], "completing 3 1");
    assert_string_equal(f.events[2], "completed 3 1");
    assert_int_equal(used(&f), 1);
    assert_int_equal(f.memory[USED + 8], 1); /* one byte fits, whatever the device says */
    assert_int_equal(f.signals, 0);
    device_poll(f.device);
    assert_int_equal(f.signals, 1);
    tear_down(&f);
}

static void a_queue_stops_when_its_chains_are_back(void **unused)
{
    struct fixture f;
    struct virtio_place place;
    set_up(&f);
    start(&f, 0);
    for (uint16_t head = 0; head < 3; head++)
        show(&f, head, DATA);
    device_poll(f.device);
    assert_false(virtio_queue_stop(f.device, 0));
    assert_int_equal(f.let_go, 1);
    ob_virtio_complete(f.held[0], 1);
    ob_virtio_return(f.held[1]);
    assert_false(virtio_queue_stop(f.device, 0));
    assert_int_equal(f.let_go, 1);
    ob_virtio_return(f.held[2]);
    assert_true(virtio_queue_stop(f.device, 0));
    assert_int_equal(f.stopped, 1);
    virtio_queue_place(f.device, 0, &place);
    assert_int_equal(place.next, 1); /* the two that were returned count as not taken */
    assert_int_equal(place.used, 1);
    assert_int_equal(f.signals, 1);
    tear_down(&f);
}

static void chains_of_a_process_before_are_taken_first(void **unused)
{
    struct fixture f;
    set_up(&f);
    for (uint16_t head = 0; head < 3; head++)
        show(&f, head, DATA + head);
    const struct virtio_place place = place_of(2);
    const struct virtio_flight one = {.id = 1}, beyond[] = {{.id = 1}, {.id = SIZE}};
    assert_int_equal(virtio_negotiate(f.device, VIRTIO_VERSION_1), 0);
    assert_int_equal(virtio_queue_restart(f.device, 0, &place, beyond, 2), -EINVAL);
    assert_int_equal(virtio_queue_restart(f.device, 0, &place, &one, 1), 0);
    device_poll(f.device);
    assert_int_equal(f.num_held, 2);
    assert_ptr_equal(f.held[0]->writable->address, f.memory + DATA + 1);
    assert_ptr_equal(f.held[1]->writable->address, f.memory + DATA + 2);
    ob_virtio_complete(f.held[1], 1);
    ob_virtio_return(f.held[0]); /* stays: it does not lie before the ring's place */
    device_poll(f.device);
    assert_int_equal(f.num_held, 3);
    assert_ptr_equal(f.held[2]->writable->address, f.memory + DATA + 1);
    ob_virtio_complete(f.held[2], 1);
    assert_int_equal(used(&f), 4);
    tear_down(&f);
}

static void a_reset_that_does_not_wait_makes_orphans(void **unused)
{
    struct fixture f;
    set_up(&f);
    start(&f, 0);
    show(&f, 0, DATA);
    show(&f, 1, DATA);
    device_poll(f.device);
    device_reset(f.device);
    assert_int_equal(f.resets, 1);
    assert_int_equal(f.stopped, 1);
    memset(f.memory, 0, FAKE_FILE_LEN);
    start(&f, 0);
    ob_virtio_complete(f.held[0], 1); /* of the driver before */
    assert_int_equal(used(&f), 0);
    show(&f, 2, DATA);
    device_poll(f.device);
    assert_int_equal(f.num_held, 3);
    ob_virtio_complete(f.held[2], 1);
    assert_int_equal(used(&f), 1);
    assert_int_equal(f.memory[USED + 4], 2);
    ob_virtio_return(f.held[1]);
    assert_int_equal(used(&f), 1);
    tear_down(&f);
}

static void a_miss_holds_the_queue_up_until_it_is_answered(void **unused)
{
    struct fixture f;
    set_up(&f);
    f.answers_misses = true;
    start(&f, 0);
    show(&f, 0, FAKE_FILE_LEN);
    device_poll(f.device);
    assert_int_equal(f.misses, 1);
    assert_int_equal(f.num_held, 0);
    device_poll(f.device);
    assert_int_equal(f.misses, 1);
    const struct memory_region_desc more = {
        .gpa = FAKE_FILE_LEN, .len = 0x1000, .fd = f.file, .writable = true};
    assert_int_equal(memory_add(device_memory(f.device), &more, 8, NULL), 0);
    virtio_retry(f.device);
    device_poll(f.device);
    assert_int_equal(f.num_held, 1);
    f.answers_misses = false;
    show(&f, 1, 2 * FAKE_FILE_LEN);
    device_poll(f.device);
    assert_true(virtio_has_failed(f.device));
    assert_int_equal(f.fake.warnings, 1);
    ob_virtio_complete(f.held[0], 1);
    tear_down(&f);
}

static void a_result_waits_while_the_ring_is_missing(void **unused)
{
    struct fixture f;
    struct ob_dma_region *region;
    set_up(&f);
    f.answers_misses = true;
    start(&f, 0);
    show(&f, 0, DATA);
    device_poll(f.device);
    assert_int_equal(memory_remove_any(device_memory(f.device), &region), MEMORY_HELD);
    ob_virtio_complete(f.held[0], 1);
    assert_false(memory_is_held(region));
    memory_drop(device_memory(f.device), region);
    assert_int_equal(f.misses, 1);
    map(&f);
    virtio_retry(f.device);
    assert_string_equal(f.events[f.num_events - 1], "completed 0 1");
    tear_down(&f);
}

static void show_packed(struct fixture *f, uint16_t at, uint64_t address)
{
    const uint32_t len = 1;
    const uint16_t id = (uint16_t)(at + 10), flags = VIRTIO_DESC_WRITE | VIRTIO_DESC_AVAIL;
    uint8_t *desc = f->memory + DESC + at * VIRTIO_DESC_LEN;
    memcpy(desc, &address, 8);
    memcpy(desc + 8, &len, 4);
    memcpy(desc + 12, &id, 2);
    store16(desc + 14, flags);
    virtio_queue_kick(f->device, 0);
}

/* The used element of the second goes where the first has its descriptor, 2.8.6. */
static void a_packed_chain_is_taken_again_as_it_was(void **unused)
{
    const struct virtio_place place = {.desc = DESC,
                                       .driver = AVAIL,
                                       .device = USED,
                                       .size = SIZE,
                                       .next_wrap = true,
                                       .used_wrap = true};
    struct fixture f;
    set_up(&f);
    assert_int_equal(virtio_negotiate(f.device, VIRTIO_VERSION_1 | VIRTIO_RING_PACKED), 0);
    assert_int_equal(virtio_queue_start(f.device, 0, &place), 0);
    for (uint16_t at = 0; at < 3; at++)
        show_packed(&f, at, DATA + at);
    device_poll(f.device);
    assert_int_equal(f.num_held, 3);
    ob_virtio_complete(f.held[1], 0);
    ob_virtio_return(f.held[0]);
    device_poll(f.device);
    assert_int_equal(f.num_held, 4);
    assert_int_equal(f.held[3]->writable_len, 1);
    assert_ptr_equal(f.held[3]->writable->address, f.memory + DATA);
    ob_virtio_complete(f.held[3], 1);
    ob_virtio_complete(f.held[2], 1);
    assert_int_equal(load16(f.memory + DESC + 0 * VIRTIO_DESC_LEN + 12), 11);
    assert_int_equal(load16(f.memory + DESC + 1 * VIRTIO_DESC_LEN + 12), 10);
    assert_int_equal(load16(f.memory + DESC + 2 * VIRTIO_DESC_LEN + 12), 12);
    assert_false(virtio_has_failed(f.device));
    tear_down(&f);
}

/* 2.7.7.2, over the wrap of the index. */
static void an_event_index_is_passed_once(void **unused)
{
    assert_true(virtio_event_passed(0, 1, 1));
    assert_false(virtio_event_passed(1, 1, 1));
    assert_false(virtio_event_passed(0, 2, 1));
    assert_true(virtio_event_passed(0, 2, 2));
    assert_true(virtio_event_passed(0xffff, 0, 1));
    assert_true(virtio_event_passed(0xfffe, 3, 5));
    assert_false(virtio_event_passed(0xfffd, 3, 5));
    assert_true(virtio_event_passed(7, 3, 0x10000));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_engine_learns_of_each_chain_before_and_after),
        TEST(a_queue_stops_when_its_chains_are_back),
        TEST(chains_of_a_process_before_are_taken_first),
        TEST(a_reset_that_does_not_wait_makes_orphans),
        TEST(a_miss_holds_the_queue_up_until_it_is_answered),
        TEST(a_result_waits_while_the_ring_is_missing),
        TEST(a_packed_chain_is_taken_again_as_it_was),
        TEST(an_event_index_is_passed_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
