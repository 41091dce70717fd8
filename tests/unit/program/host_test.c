// SPDX-License-Identifier: BSD-3-Clause
/* A device in the real world: eventfds, shared memory and a loop of the operating system. */
#include "program/host.h"

#include "failing_alloc.h"
#include "support.h"

#include <outboard/dma.h>
#include <outboard/irq.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/pci_regs.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "device/device.h"
#include "device/internal.h"
#include "device/irq.h"

static const struct ob_device_desc desc = {
    .size = sizeof(desc),
    .name = "test",
    .intx = true,
    .bars = {{.kind = OB_BAR_MEM32, .size = 4096, .flags = OB_BAR_MEMORY}},
};
static const struct ob_device_ops ops = {.size = sizeof(ops)};

struct fixture {
    struct loop *loop;
    struct ob_device *device;
    int trigger, resample; /* the peer's ends */
};

static void set_up(struct fixture *f)
{
    assert_int_equal(loop_new(&f->loop), 0);
    assert_int_equal(ob_device_new(&desc, &ops, NULL, &f->device, NULL), 0);
    program_host_use_loop(f->device, f->loop);
    f->trigger = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    f->resample = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
}

static void tear_down(struct fixture *f)
{
    ob_device_free(f->device);
    loop_free(f->loop);
    close(f->trigger);
    close(f->resample);
}

/* Gives the device descriptors of its own for the peer's events, as a socket would. */
static int connect_intx(struct fixture *f)
{
    int trigger = dup(f->trigger), resample = dup(f->resample);
    int err = irq_set_intx(f->device, trigger, resample);
    if (err < 0) {
        close(trigger);
        close(resample);
    }
    return err;
}

static eventfd_t count_of(int fd)
{
    eventfd_t value = 0;
    eventfd_read(fd, &value);
    return value;
}

static void interrupts_go_through_eventfds(void **state)
{
    struct fixture f;
    set_up(&f);
    assert_int_equal(connect_intx(&f), 0);
    ob_irq_raise(f.device);
    assert_int_equal(count_of(f.trigger), 1);
    assert_int_equal(loop_wait(f.loop, 0), 0);
    eventfd_write(f.resample, 1);
    assert_int_equal(loop_wait(f.loop, -1), 1);
    assert_int_equal(count_of(f.trigger), 1);
    assert_int_equal(loop_wait(f.loop, 0), 0); /* and is taken note of once */
    ob_irq_lower(f.device);
    eventfd_write(f.resample, 1);
    assert_int_equal(loop_wait(f.loop, -1), 1);
    assert_int_equal(count_of(f.trigger), 0);
    tear_down(&f);
}

static void replaced_events_are_not_watched_any_more(void **state)
{
    struct fixture f;
    set_up(&f);
    assert_int_equal(connect_intx(&f), 0);
    int open = open_descriptors();
    for (unsigned i = 0; i < 10; i++)
        assert_int_equal(connect_intx(&f), 0);
    assert_int_equal(open_descriptors(), open);
    eventfd_write(f.resample, 1);
    assert_int_equal(loop_wait(f.loop, -1), 1);
    device_disconnect(f.device);
    eventfd_write(f.resample, 1);
    assert_int_equal(loop_wait(f.loop, 0), 0);
    tear_down(&f);
}

static void no_memory_for_a_watch_keeps_the_old_one(void **state)
{
    struct fixture f;
    set_up(&f);
    assert_int_equal(connect_intx(&f), 0);
    for (unsigned nth = 1;; nth++) {
        fail_allocation(nth);
        int err = connect_intx(&f);
        if (!allocation_failed()) {
            assert_int_equal(err, 0);
            assert_int_equal(nth, 3); /* the watch and its source */
            break;
        }
        assert_int_equal(err, -ENOMEM);
        eventfd_write(f.resample, 1);
        assert_int_equal(loop_wait(f.loop, -1), 1);
    }
    tear_down(&f);
}

static void guest_memory_is_shared(void **state)
{
    struct fixture f;
    char text[6] = "";
    set_up(&f);
    int fd = memfd_create("guest", MFD_CLOEXEC);
    assert_int_equal(ftruncate(fd, 8192), 0);
    const struct memory_region_desc region = {
        .gpa = 0x10000, .len = 4096, .offset = 4096, .fd = fd, .writable = true};
    assert_int_equal(memory_replace(device_memory(f.device), &region, 1, NULL), 0);
    assert_int_equal(device_config_write(f.device, PCI_COMMAND, 2, PCI_COMMAND_MASTER), 0);
    assert_int_equal(ob_dma_write(f.device, 0x10005, "hello", 5), 0);
    assert_int_equal(pread(fd, text, 5, 4096 + 5), 5);
    assert_string_equal(text, "hello");
    close(fd);
    assert_int_equal(ob_dma_read(f.device, 0x10006, text, 4), 0);
    assert_memory_equal(text, "ello", 4);
    tear_down(&f);
}

static void memory_of_a_bar_can_be_mapped_by_others(void **state)
{
    struct fixture f;
    set_up(&f);
    int fd = f.device->pci->bar_memory[0].fd;
    uint8_t *theirs = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    assert_ptr_not_equal(theirs, MAP_FAILED);
    theirs[7] = 9;
    assert_int_equal(device_bar_read(f.device, 0, 7, 1), 9);
    assert_int_equal(ftruncate(fd, 0), -1);
    munmap(theirs, 4096);
    tear_down(&f);
}

static void no_memory_for_a_device_leaves_nothing(void **state)
{
    for (unsigned nth = 1;; nth++) {
        struct ob_device *device = NULL;
        struct ob_fault fault = {0};
        fail_allocation(nth);
        int err = ob_device_new(&desc, &ops, NULL, &device, &fault);
        if (!allocation_failed()) {
            assert_int_equal(err, 0);
            ob_device_free(device);
            assert_true(nth > 3);
            break;
        }
        assert_int_equal(err, -ENOMEM);
        assert_int_equal(fault.code, -ENOMEM);
        assert_null(device);
    }
    ob_device_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(interrupts_go_through_eventfds),
        TEST(replaced_events_are_not_watched_any_more),
        TEST(no_memory_for_a_watch_keeps_the_old_one),
        TEST(guest_memory_is_shared),
        TEST(memory_of_a_bar_can_be_mapped_by_others),
        TEST(no_memory_for_a_device_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
