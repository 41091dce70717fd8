// SPDX-License-Identifier: BSD-3-Clause
#include "device/device.h"

#include "device/irq.h"
#include "device/pci.h"
#include "failing_alloc.h"
#include "fake/server_host.h"
#include "support.h"

#include <outboard/irq.h>

#include <errno.h>
#include <linux/pci_regs.h>
#include <string.h>

/* What the device's callbacks saw last. */
struct seen {
    unsigned reads, writes, resets;
    unsigned bar, size;
    uint64_t offset, value;
};

static uint64_t on_read(void *state, unsigned bar, uint64_t offset, unsigned size)
{
    struct seen *seen = state;
    seen->reads++;
    seen->bar = bar;
    seen->offset = offset;
    seen->size = size;
    return 0x1122334455667788;
}

static void on_write(void *state, unsigned bar, uint64_t offset, unsigned size, uint64_t value)
{
    struct seen *seen = state;
    seen->writes++;
    seen->bar = bar;
    seen->offset = offset;
    seen->size = size;
    seen->value = value;
}

static void on_reset(void *state)
{
    struct seen *seen = state;
    seen->resets++;
}

static const struct ob_device_desc desc = {
    .name = "test",
    .intx = true,
    .bars = {[0] = {.kind = OB_BAR_MEM32, .size = 4096},
             [1] = {.kind = OB_BAR_MEM32, .size = 8192, .flags = OB_BAR_MEMORY}},
};
static const struct ob_device_ops all_ops = {.read = on_read, .write = on_write, .reset = on_reset};

struct fixture {
    struct fake_host fake;
    struct seen seen;
    struct ob_device *device;
};

static void set_up_with(struct fixture *f, const struct ob_device_ops *ops)
{
    *f = (struct fixture){0};
    fake_host_init(&f->fake);
    assert_int_equal(device_new(&desc, ops, &f->seen, &f->fake.host, &f->device, NULL), 0);
}

static void set_up(struct fixture *f)
{
    set_up_with(f, &all_ops);
}

static void tear_down(struct fixture *f)
{
    device_free(f->device);
    assert_true(fake_is_empty(&f->fake));
}

static void set_command(struct fixture *f, uint32_t command)
{
    assert_int_equal(device_config_write(f->device, PCI_COMMAND, 2, command), 0);
}

static bool status_bit(const struct fixture *f)
{
    uint32_t status;
    assert_int_equal(device_config_read(f->device, PCI_STATUS, 2, &status), 0);
    return status & PCI_STATUS_INTERRUPT;
}

static void accesses_reach_the_callbacks(void **state)
{
    struct fixture f;
    set_up(&f);
    for (unsigned size = 1; size <= 8; size *= 2) {
        uint64_t mask = size == 8 ? UINT64_MAX : (UINT64_C(1) << 8 * size) - 1;
        assert_true(device_bar_read(f.device, 0, 4096 - size, size) == (0x1122334455667788 & mask));
        assert_int_equal(f.seen.size, size);
        assert_int_equal(f.seen.offset, 4096 - size);
        device_bar_write(f.device, 0, 1, size, UINT64_MAX);
        assert_true(f.seen.value == mask);
        assert_int_equal(f.seen.offset, 1);
    }
    assert_int_equal(f.seen.reads, 4);
    assert_int_equal(f.seen.writes, 4);
    assert_int_equal(f.fake.warnings, 0);
    tear_down(&f);
}

static void accesses_that_do_not_fit_reach_nobody(void **state)
{
    static const struct {
        unsigned bar, size;
        uint64_t offset;
    } misfits[] = {
        {0, 1, 4096}, {0, 2, 4095}, {0, 8, 4089}, {0, 1, UINT64_MAX}, {0, 8, UINT64_MAX - 3},
        {1, 1, 8192}, {1, 8, 8185}, {2, 1, 0},    {5, 4, 0},          {6, 4, 0},
        {~0u, 4, 0},
    };
    struct fixture f;
    set_up(&f);
    for (size_t i = 0; i < sizeof(misfits) / sizeof(misfits[0]); i++) {
        unsigned bar = misfits[i].bar, size = misfits[i].size;
        assert_true(device_bar_read(f.device, bar, misfits[i].offset, size) == UINT64_MAX);
        device_bar_write(f.device, bar, misfits[i].offset, size, 0);
    }
    assert_int_equal(f.seen.reads + f.seen.writes, 0);
    tear_down(&f);
}

static void odd_sizes_are_told_once(void **state)
{
    static const unsigned odd[] = {0, 3, 5, 6, 7, 9, 16, 1u << 31, ~0u};
    struct fixture f;
    set_up(&f);
    for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
        assert_true(device_bar_read(f.device, 0, 0, odd[i]) == UINT64_MAX);
        device_bar_write(f.device, 0, 0, odd[i], 0);
        assert_int_equal(f.fake.warnings, 1);
    }
    assert_int_equal(f.seen.reads + f.seen.writes, 0);
    tear_down(&f);
}

static void a_device_without_callbacks_reads_ones(void **state)
{
    static const struct ob_device_ops none;
    struct fixture f;
    set_up_with(&f, &none);
    assert_int_equal(device_bar_read(f.device, 0, 0, 4), UINT32_MAX);
    device_bar_write(f.device, 0, 0, 4, 0);
    device_reset(f.device);
    tear_down(&f);
}

static void memory_bars_need_no_callback(void **state)
{
    struct fixture f;
    set_up(&f);
    uint8_t *memory = ob_device_bar_memory(f.device, 1);
    assert_non_null(memory);
    assert_null(ob_device_bar_memory(f.device, 0));
    assert_null(ob_device_bar_memory(f.device, OB_BAR_COUNT));
    device_bar_write(f.device, 1, 8191, 1, 0x5a);
    device_bar_write(f.device, 1, 3, 8, 0x0807060504030201);
    assert_int_equal(memory[8191], 0x5a);
    assert_memory_equal(memory, "\0\0\0\1\2\3\4\5\6\7\10\0", 12);
    assert_int_equal(device_bar_read(f.device, 1, 4, 2), 0x0302);
    device_reset(f.device);
    assert_int_equal(memory[8191], 0x5a);
    assert_int_equal(f.seen.reads + f.seen.writes, 0);
    tear_down(&f);
}

static void a_raised_level_is_signalled_once(void **state)
{
    struct fixture f;
    set_up(&f);
    int trigger = fake_event(&f.fake), resample = fake_event(&f.fake);
    assert_int_equal(irq_set_intx(f.device, trigger, resample), 0);
    ob_irq_raise(f.device);
    ob_irq_raise(f.device);
    assert_int_equal(fake_signals(&f.fake, trigger), 1);
    assert_true(status_bit(&f));
    fake_fire(&f.fake, resample); /* the guest has ended the interrupt, its cause is still there */
    assert_int_equal(fake_signals(&f.fake, trigger), 2);
    ob_irq_lower(f.device);
    assert_false(status_bit(&f));
    fake_fire(&f.fake, resample);
    assert_int_equal(fake_signals(&f.fake, trigger), 2);
    ob_irq_raise(f.device);
    assert_int_equal(fake_signals(&f.fake, trigger), 3);
    tear_down(&f);
}

static bool lower_level(void *state)
{
    struct ob_device **device = state;
    ob_irq_lower(*device);
    return false;
}

/* The guest may have said in memory that it has dealt with everything. */
static void a_level_is_looked_at_before_it_is_signalled_again(void **state)
{
    static const struct ob_device_ops ops = {.poll = lower_level};
    struct fake_host fake;
    struct ob_device *device = NULL;
    fake_host_init(&fake);
    assert_int_equal(device_new(&desc, &ops, &device, &fake.host, &device, NULL), 0);
    int trigger = fake_event(&fake), resample = fake_event(&fake);
    assert_int_equal(irq_set_intx(device, trigger, resample), 0);
    ob_irq_raise(device);
    fake_fire(&fake, resample);
    assert_int_equal(fake_signals(&fake, trigger), 1);
    device_free(device);
    assert_true(fake_is_empty(&fake));
}

static void an_access_ends_an_interrupt_where_no_descriptor_does(void **state)
{
    struct fixture f;
    set_up(&f);
    assert_true(ob_irq_ends_by_access(f.device));
    assert_int_equal(irq_set_intx(f.device, fake_event(&f.fake), fake_event(&f.fake)), 0);
    assert_false(ob_irq_ends_by_access(f.device));
    assert_int_equal(irq_set_intx(f.device, fake_event(&f.fake), -1), 0);
    assert_true(ob_irq_ends_by_access(f.device));
    tear_down(&f);
}

static void a_level_waits_for_a_way_to_the_guest(void **state)
{
    struct fixture f;
    set_up(&f);
    ob_irq_raise(f.device);
    int first = fake_event(&f.fake);
    assert_int_equal(irq_set_intx(f.device, first, fake_event(&f.fake)), 0);
    assert_int_equal(fake_signals(&f.fake, first), 1);
    /* Set again while asserted: the new descriptor hears of it, the old ones are closed. */
    int second = fake_event(&f.fake), resample = fake_event(&f.fake);
    unsigned open = fake_open_count(&f.fake);
    assert_int_equal(irq_set_intx(f.device, second, resample), 0);
    assert_int_equal(fake_signals(&f.fake, second), 1);
    assert_int_equal(fake_open_count(&f.fake), open - 2);
    fake_fire(&f.fake, resample);
    assert_int_equal(fake_signals(&f.fake, second), 2);
    tear_down(&f);
}

static void the_disable_bit_holds_a_level_back(void **state)
{
    struct fixture f;
    set_up(&f);
    int trigger = fake_event(&f.fake), resample = fake_event(&f.fake);
    assert_int_equal(irq_set_intx(f.device, trigger, resample), 0);
    set_command(&f, PCI_COMMAND_INTX_DISABLE);
    ob_irq_raise(f.device);
    assert_true(status_bit(&f)); /* section 6.2.3: regardless of the disable bit */
    fake_fire(&f.fake, resample);
    assert_int_equal(fake_signals(&f.fake, trigger), 0);
    set_command(&f, PCI_COMMAND_INTX_DISABLE | PCI_COMMAND_MASTER);
    assert_int_equal(fake_signals(&f.fake, trigger), 0);
    set_command(&f, 0);
    assert_int_equal(fake_signals(&f.fake, trigger), 1);
    set_command(&f, PCI_COMMAND_MASTER);
    assert_int_equal(fake_signals(&f.fake, trigger), 1);
    tear_down(&f);
}

static void bad_interrupt_descriptors_leave_the_old_ones(void **state)
{
    struct fixture f;
    set_up(&f);
    int trigger = fake_event(&f.fake), resample = fake_event(&f.fake);
    int other = fake_open(&f.fake, FAKE_OTHER, 0), file = fake_file(&f.fake, 1);
    int event = fake_event(&f.fake), second = fake_event(&f.fake);
    assert_int_equal(irq_set_intx(f.device, trigger, resample), 0);
    assert_int_equal(irq_set_intx(f.device, other, event), -EINVAL);
    assert_int_equal(irq_set_intx(f.device, event, file), -EINVAL);
    f.fake.refuses_watch = true;
    assert_int_equal(irq_set_intx(f.device, event, second), -ENOMEM);
    ob_irq_raise(f.device);
    fake_fire(&f.fake, resample);
    assert_int_equal(fake_signals(&f.fake, trigger), 2);
    f.fake.host.close(&f.fake, other);
    f.fake.host.close(&f.fake, file);
    f.fake.host.close(&f.fake, event);
    f.fake.host.close(&f.fake, second);
    tear_down(&f);
}

/* Two descriptors of one eventfd. */
static int event_of(struct fixture *f, uint64_t inode)
{
    return fake_open(&f->fake, FAKE_EVENT, inode);
}

static void a_device_is_never_signalled_by_itself(void **state)
{
    struct fixture f;
    set_up(&f);
    int trigger = event_of(&f, 1), resample = event_of(&f, 2);
    int same_as_trigger = event_of(&f, 1), same_as_resample = event_of(&f, 2);
    assert_int_equal(irq_set_intx(f.device, trigger, same_as_trigger), -EINVAL);
    assert_int_equal(irq_set_intx(f.device, trigger, trigger), -EINVAL);
    assert_int_equal(irq_set_intx(f.device, trigger, resample), 0);
    assert_int_equal(irq_unmask_by(f.device, same_as_trigger), -EINVAL);
    assert_int_equal(irq_assign(f.device, IRQ_INTX, 0, 1, &same_as_resample), -EINVAL);
    assert_int_equal(irq_assign(f.device, IRQ_REQUEST, 0, 1, &same_as_resample), -EINVAL);
    f.fake.host.close(&f.fake, same_as_trigger);
    /* The same ones again are fine. */
    assert_int_equal(irq_unmask_by(f.device, same_as_resample), 0);
    tear_down(&f);
}

static void a_device_without_a_pin_stays_silent(void **state)
{
    struct ob_device_desc mute = desc;
    mute.intx = false;
    struct fixture f = {0};
    fake_host_init(&f.fake);
    assert_int_equal(device_new(&mute, &all_ops, &f.seen, &f.fake.host, &f.device, NULL), 0);
    int trigger = fake_event(&f.fake);
    assert_int_equal(irq_set_intx(f.device, trigger, fake_event(&f.fake)), 0);
    ob_irq_raise(f.device);
    assert_int_equal(fake_signals(&f.fake, trigger), 0);
    assert_false(status_bit(&f));
    ob_irq_lower(f.device);
    tear_down(&f);
}

static void reset_lowers_and_forgets(void **state)
{
    struct fixture f;
    set_up(&f);
    int trigger = fake_event(&f.fake), resample = fake_event(&f.fake);
    assert_int_equal(irq_set_intx(f.device, trigger, resample), 0);
    set_command(&f, PCI_COMMAND_MASTER);
    ob_irq_raise(f.device);
    device_reset(f.device);
    assert_int_equal(f.seen.resets, 1);
    assert_false(status_bit(&f));
    fake_fire(&f.fake, resample);
    assert_int_equal(fake_signals(&f.fake, trigger), 1);
    uint8_t byte;
    assert_int_equal(ob_dma_read(f.device, 0, &byte, 1), -EPERM);
    ob_irq_raise(f.device); /* the descriptors stay */
    assert_int_equal(fake_signals(&f.fake, trigger), 2);
    tear_down(&f);
}

static int share(struct fixture *f, uint64_t inode)
{
    int fd = fake_file(&f->fake, inode);
    const struct memory_region_desc region = {
        .gpa = 0x1000, .len = 0x1000, .fd = fd, .writable = true};
    int err = memory_replace(device_memory(f->device), &region, 1, NULL);
    f->fake.host.close(&f->fake, fd);
    return err;
}

static void memory_that_is_not_shared_is_told_of_once(void **state)
{
    const struct memory_region_desc unshared = {
        .gpa = 0x100000, .len = 0x1000, .fd = -1, .writable = true};
    struct fixture f;
    uint8_t byte = 0;
    struct ob_dma_span span;
    set_up(&f);
    set_command(&f, PCI_COMMAND_MASTER);
    assert_int_equal(memory_add(device_memory(f.device), &unshared, 1000, NULL), 0);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(ob_dma_read(f.device, 0x100000, &byte, 1), -EREMOTE);
        assert_int_equal(ob_dma_write(f.device, 0x100000, &byte, 1), -EREMOTE);
        assert_int_equal(ob_dma_map(f.device, 0x100000, 1, OB_DMA_TO_DEVICE, &span, 1), -EREMOTE);
        assert_int_equal(f.fake.warnings, 1);
    }
    tear_down(&f);
}

static void dma_needs_bus_mastering(void **state)
{
    struct fixture f;
    set_up(&f);
    uint8_t bytes[4] = {1, 2, 3, 4};
    struct ob_dma_span span;
    assert_int_equal(share(&f, 3), 0);
    assert_int_equal(ob_dma_read(f.device, 0x1000, bytes, 4), -EPERM);
    assert_int_equal(ob_dma_write(f.device, 0x1000, bytes, 4), -EPERM);
    assert_int_equal(ob_dma_map(f.device, 0x1000, 4, OB_DMA_TO_DEVICE, &span, 1), -EPERM);
    set_command(&f, PCI_COMMAND_MASTER);
    assert_int_equal(ob_dma_write(f.device, 0x1000, bytes, 4), 0);
    assert_int_equal(ob_dma_read(f.device, 0x1002, bytes, 2), 0);
    assert_memory_equal(bytes, "\3\4\3\4", 4);
    assert_int_equal(ob_dma_map(f.device, 0x1000, 4, OB_DMA_FROM_DEVICE, &span, 1), 1);
    assert_true(ob_dma_is_current(f.device, &span));
    assert_int_equal(share(&f, 4), MEMORY_HELD);
    assert_false(ob_dma_is_current(f.device, &span));
    ob_dma_unmap(f.device, &span, 1);
    tear_down(&f);
}

static void disconnect_gives_up_what_the_peer_gave(void **state)
{
    struct fixture f;
    set_up(&f);
    unsigned own = fake_open_count(&f.fake); /* the memory of BAR 1 */
    assert_int_equal(irq_set_intx(f.device, fake_event(&f.fake), fake_event(&f.fake)), 0);
    assert_int_equal(share(&f, 3), 0);
    device_disconnect(f.device);
    assert_int_equal(fake_open_count(&f.fake), own);
    assert_int_equal(f.fake.mappings, 0);
    device_disconnect(f.device);
    assert_int_equal(share(&f, 3), 0); /* the next peer starts afresh */
    tear_down(&f);
}

static void no_memory_leaves_nothing_behind(void **state)
{
    struct fake_host fake;
    fake_host_init(&fake);
    for (unsigned nth = 1;; nth++) {
        struct ob_device *device = NULL;
        struct ob_fault fault = {0};
        fail_allocation(nth);
        int err = device_new(&desc, &all_ops, NULL, &fake.host, &device, &fault);
        if (!allocation_failed()) {
            assert_int_equal(err, 0);
            assert_true(nth > 4);
            device_free(device);
            break;
        }
        assert_int_equal(err, -ENOMEM);
        assert_int_equal(fault.code, -ENOMEM);
        assert_null(device);
        assert_true(fake_is_empty(&fake));
    }
    device_free(NULL);
    assert_true(fake_is_empty(&fake));
}

static void an_impossible_description_is_refused(void **state)
{
    struct fake_host fake;
    struct ob_device_desc odd = desc;
    struct ob_device *device = NULL;
    struct ob_fault fault = {0};
    fake_host_init(&fake);
    odd.bars[0].size = 4095;
    assert_int_equal(device_new(&odd, &all_ops, NULL, &fake.host, &device, &fault), -EINVAL);
    assert_non_null(strstr(fault.text, "BAR 0"));
    assert_true(fake_is_empty(&fake));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(accesses_reach_the_callbacks),
        TEST(accesses_that_do_not_fit_reach_nobody),
        TEST(odd_sizes_are_told_once),
        TEST(a_device_without_callbacks_reads_ones),
        TEST(memory_bars_need_no_callback),
        TEST(a_raised_level_is_signalled_once),
        TEST(a_level_is_looked_at_before_it_is_signalled_again),
        TEST(an_access_ends_an_interrupt_where_no_descriptor_does),
        TEST(a_level_waits_for_a_way_to_the_guest),
        TEST(the_disable_bit_holds_a_level_back),
        TEST(bad_interrupt_descriptors_leave_the_old_ones),
        TEST(a_device_is_never_signalled_by_itself),
        TEST(a_device_without_a_pin_stays_silent),
        TEST(reset_lowers_and_forgets),
        TEST(memory_that_is_not_shared_is_told_of_once),
        TEST(dma_needs_bus_mastering),
        TEST(disconnect_gives_up_what_the_peer_gave),
        TEST(no_memory_leaves_nothing_behind),
        TEST(an_impossible_description_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
