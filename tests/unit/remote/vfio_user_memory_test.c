// SPDX-License-Identifier: BSD-3-Clause
/* Guest memory of a vfio-user remote: what it is told, and what it may ask for. */
#include "support.h"

#include <errno.h>
#include <sys/mman.h>

#include <outboard/client_memory.h>

#include "os/event.h"
#include "remote/client.h"
#include "remote/fixture.h"

static void a_region_that_the_remote_does_not_have_is_taken_back(void **state)
{
    struct fixture f;
    fixture_start_greeted(&f, &fixture_defaults);
    uint8_t *ram = fixture_lend_memory(&f);
    f.remote.refused[VFIO_USER_DMA_UNMAP] = EBUSY;
    fake_remote_serve(&f.remote, 1);
    assert_int_equal(ob_client_unmap_memory(f.client, RAM_AT, RAM_LEN), -EREMOTEIO);
    fake_remote_join(&f.remote);
    f.remote.refused[VFIO_USER_DMA_UNMAP] = ENOENT;
    fake_remote_serve(&f.remote, 1);
    assert_int_equal(ob_client_unmap_memory(f.client, RAM_AT, RAM_LEN), 0);
    fake_remote_join(&f.remote);
    assert_int_equal(ob_client_unmap_memory(f.client, RAM_AT, RAM_LEN), -ENOENT);
    munmap(ram, RAM_LEN);
    fixture_stop(&f);
}

static void memory_that_is_refused_is_not_kept(void **state)
{
    struct fixture f;
    struct ob_fault fault = {0};
    uint8_t page[4096];
    const struct ob_client_region region = {
        .gpa = RAM_AT, .len = sizeof(page), .fd = -1, .memory = page};
    fixture_start_greeted(&f, &fixture_defaults);
    f.remote.refused[VFIO_USER_DMA_MAP] = ENOSPC;
    for (unsigned i = 0; i < 2; i++) { /* the second is not -EEXIST */
        fake_remote_serve(&f.remote, 1);
        assert_int_equal(ob_client_publish_memory(f.client, &region, 1, &fault), -EREMOTEIO);
        fake_remote_join(&f.remote);
        assert_int_equal(fault.code, -EREMOTEIO);
    }
    fixture_stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_region_that_the_remote_does_not_have_is_taken_back),
        TEST(memory_that_is_refused_is_not_kept),
    };
    event_prepare(); /* what a process has once, before descriptors are counted */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
