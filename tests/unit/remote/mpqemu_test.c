// SPDX-License-Identifier: BSD-3-Clause
/* mpqemu above its engine: memory that the wire can say, and the eventfds of INTx. */
#include "support.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <outboard/client_irq.h>
#include <outboard/client_memory.h>

#include "base/auto.h"
#include "os/event.h"
#include "os/socket.h"
#include "wire/mpqemu.h"

#define PAGE 4096u

struct fixture {
    struct ob_client *client;
    int remote;
    int ram;
};

static void start(struct fixture *f)
{
    const struct ob_client_options options = {.size = sizeof(options), .wire = "mpqemu"};
    int ends[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    assert_int_equal(ob_client_new(ends[0], &options, &f->client, NULL), 0);
    f->remote = ends[1];
    f->ram = memfd_create("ram", MFD_CLOEXEC);
    assert_int_equal(ftruncate(f->ram, 16L * PAGE), 0);
}

static void stop(struct fixture *f)
{
    ob_client_free(f->client);
    close(f->remote);
    close(f->ram);
}

/* Takes one message, of a command with so many descriptors, and gives its payload. */
static void take(struct fixture *f, enum mpqemu_command command, unsigned num_fds,
                 uint8_t *ret_payload, size_t max)
{
    uint8_t bytes[1024];
    struct received_fds fds;
    struct mpqemu_header header;
    ssize_t len = socket_receive(f->remote, bytes, sizeof(bytes), &fds);
    assert_true(len >= (ssize_t)MPQEMU_HEADER_LEN);
    assert_int_equal(mpqemu_header_get(bytes, MPQEMU_HEADER_LEN, &header), 0);
    assert_int_equal(mpqemu_command_from(MPQEMU_SHIPPED, header.number), command);
    assert_int_equal(header.size, (size_t)len - MPQEMU_HEADER_LEN);
    assert_int_equal(fds.count, num_fds);
    for (unsigned i = 0; i < fds.count; i++)
        close(fds.fd[i]);
    if (max > 0)
        memcpy(ret_payload, bytes + MPQEMU_HEADER_LEN, max);
}

static void check_nothing_was_said(struct fixture *f)
{
    char byte;
    assert_int_equal(recv(f->remote, &byte, 1, MSG_DONTWAIT), -1);
    assert_int_equal(ob_client_state(f->client), OB_CLIENT_ALIVE);
}

/* So many pages, every other one from 0 on, in the guest and in the file. */
static int publish(struct fixture *f, unsigned count, struct ob_fault *fault)
{
    struct ob_client_region regions[8] = {0};
    for (unsigned i = 0; i < count; i++)
        regions[i] = (struct ob_client_region){
            .gpa = 2UL * PAGE * i, .len = PAGE, .offset = 2UL * PAGE * i, .fd = f->ram};
    return ob_client_publish_memory(f->client, regions, count, fault);
}

static void seven_regions_are_published_and_eight_are_not(void **state)
{
    struct fixture f;
    struct ob_fault fault = {0};
    uint64_t gpas[7];
    start(&f);
    assert_int_equal(publish(&f, 8, &fault), -E2BIG);
    assert_int_equal(fault.code, -E2BIG);
    check_nothing_was_said(&f);
    assert_int_equal(publish(&f, 7, NULL), 0); /* nobody answers, and nobody waits */
    take(&f, MPQEMU_SYNC_SYSMEM, 7, (uint8_t *)gpas, sizeof(gpas));
    for (unsigned i = 0; i < 7; i++)
        assert_int_equal(gpas[i], 2 * PAGE * i);
    stop(&f);
}

static void regions_that_touch_are_one(void **state)
{
    struct fixture f;
    struct ob_client_region regions[8] = {0};
    start(&f);
    for (unsigned i = 0; i < 8; i++)
        regions[i] = (struct ob_client_region){
            .gpa = (uint64_t)PAGE * i, .len = PAGE, .offset = (uint64_t)PAGE * i, .fd = f.ram};
    assert_int_equal(ob_client_publish_memory(f.client, regions, 8, NULL), 0);
    take(&f, MPQEMU_SYNC_SYSMEM, 1, NULL, 0);
    stop(&f);
}

static void memory_that_the_wire_can_not_say_is_refused(void **state)
{
    struct fixture f;
    static uint8_t page[PAGE] = {0};
    start(&f);
    const struct ob_client_region regions[] = {
        {.len = PAGE, .fd = -1, .memory = page},
        {.len = PAGE, .fd = f.ram, .read_only = true},
    };
    for (unsigned i = 0; i < 2; i++) {
        struct ob_fault fault = {0};
        assert_int_equal(ob_client_publish_memory(f.client, &regions[i], 1, &fault), -EOPNOTSUPP);
        assert_int_equal(fault.code, -EOPNOTSUPP);
    }
    check_nothing_was_said(&f);
    stop(&f);
}

static void intx_takes_two_eventfds(void **state)
{
    struct fixture f;
    start(&f);
    AUTO_FD trigger = event_new();
    AUTO_FD resample = event_new();
    assert_int_equal(ob_client_set_intx(f.client, trigger, -1), -EBADF);
    assert_int_equal(ob_client_set_intx(f.client, -1, resample), -EBADF);
    check_nothing_was_said(&f);
    assert_int_equal(publish(&f, 1, NULL), 0);
    take(&f, MPQEMU_SYNC_SYSMEM, 1, NULL, 0);
    assert_int_equal(ob_client_set_intx(f.client, trigger, resample), 0);
    take(&f, MPQEMU_SET_IRQFD, 2, NULL, 0);
    stop(&f);
}

static void more_regions_than_any_wire_takes_are_refused_first(void **state)
{
    struct fixture f;
    struct ob_fault fault = {0};
    start(&f);
    assert_int_equal(ob_client_publish_memory(f.client, NULL, LIMIT_CLIENT_REGIONS + 1, &fault),
                     -E2BIG);
    check_nothing_was_said(&f);
    stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(seven_regions_are_published_and_eight_are_not),      TEST(regions_that_touch_are_one),
        TEST(memory_that_the_wire_can_not_say_is_refused),        TEST(intx_takes_two_eventfds),
        TEST(more_regions_than_any_wire_takes_are_refused_first),
    };
    event_prepare(); /* what a process has once, before descriptors are counted */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
