// SPDX-License-Identifier: BSD-3-Clause
/* What a device does and does not do between two peers: it is dormant. */
#include "device/device.h"

#include "device/internal.h"
#include "fake/server_host.h"
#include "server/engine.h"
#include "support.h"

#include <outboard/irq.h>

#include <errno.h>
#include <linux/pci_regs.h>

#define MEMORY_AT UINT64_C(0x10000)

struct seen {
    unsigned reads, polls, waits, holds, listens, resets, rings, pauses, resumes, disconnects;
};

static uint64_t on_read(void *state, unsigned bar, uint64_t offset, unsigned size)
{
    ((struct seen *)state)->reads++;
    return 0;
}

static void on_ring(void *state, unsigned number)
{
    ((struct seen *)state)->rings++;
}

static void on_reset(void *state)
{
    ((struct seen *)state)->resets++;
}

static bool on_poll(void *state)
{
    ((struct seen *)state)->polls++;
    return true;
}

static bool on_io_in_flight(void *state)
{
    ((struct seen *)state)->waits++;
    return true;
}

static bool on_deferred_work(void *state)
{
    ((struct seen *)state)->holds++;
    return true;
}

static bool on_sleep(void *state)
{
    ((struct seen *)state)->listens++;
    return true;
}

static void on_pause(void *state, bool paused)
{
    struct seen *seen = state;
    *(paused ? &seen->pauses : &seen->resumes) += 1;
}

static void on_disconnected(void *state)
{
    ((struct seen *)state)->disconnects++;
}

static const struct ob_doorbell doorbells[] = {{.bar = 0, .offset = 8, .number = 3}};
static const struct ob_device_desc desc = {
    .name = "test",
    .intx = true,
    .msix_vectors = 2,
    .msix_bar = 0,
    .msix_offset = 2048,
    .bars = {[0] = {.kind = OB_BAR_MEM64, .size = 4096},
             [2] = {.kind = OB_BAR_MEM32, .size = 4096, .flags = OB_BAR_MEMORY}},
    .doorbells = doorbells,
    .num_doorbells = 1,
};
static const struct ob_device_ops ops = {.read = on_read,
                                         .doorbell = on_ring,
                                         .reset = on_reset,
                                         .poll = on_poll,
                                         .has_io_in_flight = on_io_in_flight,
                                         .has_deferred_work = on_deferred_work,
                                         .before_sleep = on_sleep,
                                         .pause = on_pause,
                                         .disconnected = on_disconnected};

struct fixture {
    struct fake_host fake;
    struct seen seen;
    struct ob_device *device;
    struct engine *engine; /* of the peer that is there */
};

static void come(struct fixture *f, const struct engine_ops *wire)
{
    assert_int_equal(engine_new(wire, f->device, &f->engine, NULL), 0);
}

static void go(struct fixture *f)
{
    engine_free(f->engine);
    f->engine = NULL;
}

/* The memory and the eventfds of the new guest. Returns the eventfd of INTx or of vector 0. */
static int give(struct fixture *f, enum irq_kind kind)
{
    int file = fake_file(&f->fake, 1), event = fake_event(&f->fake);
    const struct memory_region_desc region = {
        .gpa = MEMORY_AT, .len = FAKE_FILE_LEN, .fd = file, .writable = true};
    assert_int_equal(memory_add(device_memory(f->device), &region, 1, NULL), 0);
    f->fake.host.close(f->fake.host.context, file);
    assert_int_equal(irq_assign(f->device, kind, 0, 1, &event), 0);
    return event;
}

/* A device that masters the bus and has lost its first peer; the second one is there. */
static void set_up(struct fixture *f)
{
    *f = (struct fixture){0};
    fake_host_init(&f->fake);
    assert_int_equal(device_new(&desc, &ops, &f->seen, &f->fake.host, &f->device, NULL), 0);
    come(f, &vfio_user_engine);
    device_config_write(f->device, PCI_COMMAND, 2, PCI_COMMAND_MASTER);
    go(f);
    come(f, &vfio_user_engine);
}

static void tear_down(struct fixture *f)
{
    engine_free(f->engine);
    device_free(f->device);
    assert_true(fake_is_empty(&f->fake));
}

static int write_one(struct fixture *f)
{
    const uint8_t byte = 1;
    return ob_dma_write(f->device, MEMORY_AT, &byte, 1);
}

static void keep_result(struct ob_dma_request *request, int result)
{
    *(int *)request->context = result;
}

static int submit_one(struct fixture *f)
{
    uint8_t byte = 1;
    int result = 1;
    struct ob_dma_request request = {.iova = MEMORY_AT,
                                     .buf = &byte,
                                     .len = 1,
                                     .direction = OB_DMA_FROM_DEVICE,
                                     .done = keep_result,
                                     .context = &result};
    ob_dma_submit(f->device, &request);
    return result;
}

static void a_device_that_no_peer_has_left_is_awake(void **state)
{
    struct fixture f = {0};
    fake_host_init(&f.fake);
    assert_int_equal(device_new(&desc, &ops, &f.seen, &f.fake.host, &f.device, NULL), 0);
    come(&f, &vfio_user_engine);
    assert_true(device_poll(f.device));
    assert_int_equal(f.seen.polls, 1);
    tear_down(&f);
}

static void a_dormant_device_is_not_asked_to_do_anything(void **state)
{
    struct fixture f;
    set_up(&f);
    assert_false(device_poll(f.device));
    assert_false(device_has_io_in_flight(f.device));
    assert_false(device_has_deferred_work(f.device));
    assert_false(device_before_sleep(f.device));
    assert_int_equal(f.seen.polls + f.seen.waits + f.seen.holds + f.seen.listens, 0);
    device_bar_read(f.device, 0, 0, 4);
    assert_true(device_poll(f.device) && device_has_io_in_flight(f.device));
    assert_true(device_has_deferred_work(f.device) && device_before_sleep(f.device));
    tear_down(&f);
}

static void a_dormant_device_reaches_no_memory_of_the_next_guest(void **state)
{
    struct fixture f;
    struct ob_dma_span span;
    uint8_t byte;
    set_up(&f);
    give(&f, IRQ_INTX);
    assert_int_equal(write_one(&f), -ENOTCONN);
    assert_int_equal(ob_dma_read(f.device, MEMORY_AT, &byte, 1), -ENOTCONN);
    assert_int_equal(ob_dma_map(f.device, MEMORY_AT, 1, OB_DMA_TO_DEVICE, &span, 1), -ENOTCONN);
    assert_int_equal(submit_one(&f), -ENOTCONN);
    assert_int_equal(device_config_write(f.device, PCI_COMMAND, 2, PCI_COMMAND_MASTER), 0);
    assert_int_equal(write_one(&f), -ENOTCONN);
    device_bar_read(f.device, 0, 0, 4);
    assert_int_equal(write_one(&f), 0);
    assert_int_equal(submit_one(&f), 0);
    tear_down(&f);
}

static void what_a_dormant_device_signals_waits_for_an_access(void **state)
{
    struct fixture f;
    set_up(&f);
    int line = give(&f, IRQ_INTX);
    ob_irq_raise(f.device);
    irq_unmask(f.device, IRQ_INTX, 0);
    assert_int_equal(fake_signals(&f.fake, line), 0);
    device_bar_read(f.device, 0, 0, 4);
    assert_int_equal(fake_signals(&f.fake, line), 1);
    tear_down(&f);
}

static void messages_of_a_dormant_device_wait_for_an_access(void **state)
{
    struct fixture f;
    set_up(&f);
    int event = give(&f, IRQ_MSIX);
    assert_int_equal(ob_irq_signal(f.device, 0), 0);
    irq_unmask(f.device, IRQ_MSIX, 0);
    assert_int_equal(fake_signals(&f.fake, event), 0);
    device_bar_read(f.device, 0, 0, 4);
    assert_int_equal(fake_signals(&f.fake, event), 1);
    tear_down(&f);
}

static void what_was_pending_does_not_outlive_a_reset(void **state)
{
    struct fixture f;
    set_up(&f);
    int event = give(&f, IRQ_MSIX);
    assert_int_equal(ob_irq_signal(f.device, 0), 0);
    device_reset(f.device);
    assert_int_equal(fake_signals(&f.fake, event), 0);
    assert_true(device_poll(f.device));
    tear_down(&f);
}

/* What the guest before has left raised must not be the first thing that the next one hears. */
static void eventfds_that_a_new_peer_gives_are_not_signalled(void **state)
{
    struct fixture f;
    set_up(&f);
    device_bar_read(f.device, 0, 0, 4);
    ob_irq_raise(f.device);
    go(&f);
    come(&f, &vfio_user_engine);
    int line = give(&f, IRQ_INTX);
    assert_int_equal(fake_signals(&f.fake, line), 0);
    device_reset(f.device);
    assert_int_equal(fake_signals(&f.fake, line), 0);
    tear_down(&f);
}

static void memory_bars_wake_the_device_as_registers_do(void **state)
{
    struct fixture f;
    uint8_t bytes[16];
    set_up(&f);
    assert_int_equal(device_bar_read_bytes(f.device, 2, 0, bytes, sizeof(bytes)), 0);
    assert_true(device_poll(f.device));
    tear_down(&f);
}

static void a_doorbell_wakes_the_device(void **state)
{
    struct fixture f;
    set_up(&f);
    fake_fire(&f.fake, doorbells_fd(f.device, 3));
    assert_int_equal(f.seen.rings, 1);
    assert_true(device_poll(f.device));
    tear_down(&f);
}

static void a_peer_that_has_gone_rings_no_doorbell_of_the_next(void **state)
{
    struct fixture f;
    set_up(&f);
    int before = doorbells_fd(f.device, 3);
    go(&f);
    assert_int_equal(fake_event(&f.fake), before); /* closed, so the number is free */
    come(&f, &vfio_user_engine);
    assert_int_not_equal(doorbells_fd(f.device, 3), before);
    fake_fire(&f.fake, before);
    assert_int_equal(f.seen.rings, 0);
    f.fake.host.close(f.fake.host.context, before);
    tear_down(&f);
}

static void a_stopped_device_resumes_when_it_wakes(void **state)
{
    struct fixture f;
    set_up(&f);
    device_bar_read(f.device, 0, 0, 4);
    device_pause(f.device, true);
    go(&f);
    come(&f, &vfio_user_engine);
    device_pause(f.device, false); /* as a new session does */
    assert_int_equal(f.seen.pauses, 1);
    assert_int_equal(f.seen.resumes, 0);
    device_bar_read(f.device, 0, 0, 4);
    assert_int_equal(f.seen.resumes, 1);
    tear_down(&f);
}

static void each_peer_is_told_once(void **state)
{
    struct fixture f;
    set_up(&f);
    for (unsigned peer = 1; peer <= 2; peer++) {
        device_check_size(f.device, 3);
        device_check_size(f.device, 3);
        assert_int_equal(f.fake.warnings, peer);
        go(&f);
        come(&f, &vfio_user_engine);
    }
    tear_down(&f);
}

static void a_device_is_told_that_its_vmm_has_gone(void **state)
{
    struct fixture f;
    set_up(&f);
    assert_int_equal(f.seen.disconnects, 1);
    go(&f);
    assert_int_equal(f.seen.disconnects, 2);
    tear_down(&f);
}

static uint32_t config(struct fixture *f, uint32_t offset, unsigned size)
{
    uint32_t value = 0;
    assert_int_equal(device_config_read(f->device, offset, size, &value), 0);
    return value;
}

/* mpqemu has neither 64-bit BARs nor MSI-X, and the function is fitted to it. */
static void a_peer_of_one_wire_leaves_the_function_whole_for_another(void **state)
{
    struct fixture f;
    set_up(&f);
    uint32_t bar = config(&f, PCI_BASE_ADDRESS_0, 4);
    uint32_t capabilities = config(&f, PCI_CAPABILITY_LIST, 1);
    assert_int_not_equal(capabilities, 0);
    go(&f);
    come(&f, &mpqemu_engine);
    assert_int_not_equal(config(&f, PCI_BASE_ADDRESS_0, 4), bar);
    assert_int_equal(config(&f, PCI_CAPABILITY_LIST, 1), 0);
    assert_false(f.device->pci->irqs.intx_automasks);
    device_config_write(f.device, PCI_INTERRUPT_LINE, 1, 5);
    go(&f);
    come(&f, &vfio_user_engine);
    assert_int_equal(config(&f, PCI_BASE_ADDRESS_0, 4), bar);
    assert_int_equal(config(&f, PCI_CAPABILITY_LIST, 1), capabilities);
    assert_true(config(&f, PCI_STATUS, 2) & PCI_STATUS_CAP_LIST);
    assert_int_equal(config(&f, PCI_INTERRUPT_LINE, 1), 5);
    device_config_write(f.device, PCI_BASE_ADDRESS_0 + 4, 4, UINT32_MAX);
    assert_int_equal(config(&f, PCI_BASE_ADDRESS_0 + 4, 4), UINT32_MAX);
    assert_int_equal(f.device->pci->function.bars[0].kind, OB_BAR_MEM64);
    tear_down(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_device_that_no_peer_has_left_is_awake),
        TEST(a_dormant_device_is_not_asked_to_do_anything),
        TEST(a_dormant_device_reaches_no_memory_of_the_next_guest),
        TEST(what_a_dormant_device_signals_waits_for_an_access),
        TEST(messages_of_a_dormant_device_wait_for_an_access),
        TEST(what_was_pending_does_not_outlive_a_reset),
        TEST(eventfds_that_a_new_peer_gives_are_not_signalled),
        TEST(memory_bars_wake_the_device_as_registers_do),
        TEST(a_doorbell_wakes_the_device),
        TEST(a_peer_that_has_gone_rings_no_doorbell_of_the_next),
        TEST(a_stopped_device_resumes_when_it_wakes),
        TEST(each_peer_is_told_once),
        TEST(a_device_is_told_that_its_vmm_has_gone),
        TEST(a_peer_of_one_wire_leaves_the_function_whole_for_another),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
