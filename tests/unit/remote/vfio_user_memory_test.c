// SPDX-License-Identifier: BSD-3-Clause
/* Guest memory of a vfio-user remote: what it is told, and what it may ask for. */
#include "support.h"

#include <errno.h>
#include <string.h>
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

static struct ob_client_region lent(unsigned page, void *memory)
{
    return (struct ob_client_region){
        .gpa = RAM_AT + page * 4096UL, .len = 4096, .fd = -1, .memory = memory};
}

static int map(struct fixture *f, const struct ob_client_region *region)
{
    return FIXTURE_SERVED(f, 1, ob_client_map_memory(f->client, region, NULL));
}

static void what_stays_published_is_not_said_again(void **state)
{
    struct fixture f;
    static uint8_t pages[3][4096];
    const struct ob_client_region all[] = {lent(0, pages[0]), lent(2, pages[1]), lent(4, pages[2])};
    uint64_t iova;
    fixture_start_greeted(&f, &fixture_defaults);
    assert_int_equal(FIXTURE_SERVED(&f, 2, ob_client_publish_memory(f.client, all, 2, NULL)), 0);
    assert_int_equal(ob_client_publish_memory(f.client, all, 2, NULL), 0);
    assert_int_equal(FIXTURE_SERVED(&f, 2, ob_client_publish_memory(f.client, all + 1, 2, NULL)),
                     0); /* takes back the first, then maps the third */
    assert_int_equal(f.remote.last.header.command, VFIO_USER_DMA_MAP);
    memcpy(&iova, f.remote.last.payload + 16, sizeof(iova));
    assert_int_equal(iova, all[2].gpa);
    assert_int_equal(FIXTURE_SERVED(&f, 2, ob_client_publish_memory(f.client, NULL, 0, NULL)), 0);
    assert_int_equal(f.remote.last.header.command, VFIO_USER_DMA_UNMAP);
    fixture_stop(&f);
}

static void a_region_that_does_not_fit_is_not_said(void **state)
{
    struct fixture f;
    struct ob_fault fault = {0};
    static uint8_t page[2 * 4096];
    const struct ob_client_region closed = {.gpa = RAM_AT, .len = 4096, .fd = -1};
    struct ob_client_region region = lent(0, page);
    fixture_start_probed(&f, NULL);
    assert_int_equal(ob_client_map_memory(f.client, &closed, &fault), -EBADF);
    assert_int_equal(map(&f, &region), 0);
    region.len = 2UL * 4096;
    assert_int_equal(ob_client_map_memory(f.client, &region, &fault), -EEXIST);
    assert_int_equal(ob_client_unmap_memory(f.client, RAM_AT, 2UL * 4096), -ENOENT);
    assert_int_equal(fixture_read_some(&f.remote, 1), 0);
    fixture_stop(&f);
    fixture_start_probed(&f, "{\"capabilities\":{\"pgsizes\":65536}}");
    assert_int_equal(ob_client_map_memory(f.client, &region, &fault), -EINVAL);
    assert_int_equal(fixture_read_some(&f.remote, 1), 0);
    fixture_stop(&f);
}

static void a_remote_gets_no_more_regions_than_it_takes(void **state)
{
    struct fixture f;
    static uint8_t pages[2][4096];
    const struct ob_client_region first = lent(0, pages[0]), second = lent(2, pages[1]);
    fixture_start_probed(&f, "{\"capabilities\":{\"max_dma_maps\":1}}");
    assert_int_equal(map(&f, &first), 0);
    assert_int_equal(ob_client_map_memory(f.client, &second, NULL), -ENOSPC);
    assert_int_equal(FIXTURE_SERVED(&f, 1, ob_client_unmap_memory(f.client, RAM_AT, 4096)), 0);
    assert_int_equal(map(&f, &second), 0);
    fixture_stop(&f);
}

/* The remote reads or writes, by a message; 0, or the errno that it was answered. */
static int access_memory(struct fixture *f, uint16_t command, uint64_t iova, uint8_t *bytes,
                         uint64_t len)
{
    struct message message;
    uint8_t payload[VFIO_USER_ACCESS_LEN + 8] = {0};
    const struct vfio_user_dma_access access = {.iova = iova, .count = len};
    const bool writes = command == VFIO_USER_DMA_WRITE;
    vfio_user_dma_access_put(payload, VFIO_USER_ACCESS_LEN, &access);
    memcpy(payload + VFIO_USER_ACCESS_LEN, bytes, writes ? len : 0);
    fake_remote_say(&f->remote, 7, command, 0, payload,
                    VFIO_USER_ACCESS_LEN + (writes ? (size_t)len : 0));
    fixture_dispatch(f);
    fake_remote_take(&f->remote, &message);
    assert_int_equal(message.header.id, 7);
    if (message.header.flags & VFIO_USER_ERROR)
        return (int)message.header.error;
    if (!writes)
        memcpy(bytes, message.payload + VFIO_USER_ACCESS_LEN, len);
    return 0;
}

static void a_remote_reaches_what_is_mapped_and_no_more(void **state)
{
    struct fixture f;
    static uint8_t page[4096], fixed[4096];
    uint8_t bytes[8] = "written";
    const struct ob_client_region region = lent(0, page);
    struct ob_client_region read_only = lent(2, fixed);
    read_only.read_only = true;
    fixture_start_greeted(&f, &fixture_defaults);
    assert_int_equal(map(&f, &region), 0);
    assert_int_equal(map(&f, &read_only), 0);
    assert_int_equal(access_memory(&f, VFIO_USER_DMA_WRITE, RAM_AT + 8, bytes, 8), 0);
    assert_string_equal((const char *)page + 8, "written");
    assert_int_equal(access_memory(&f, VFIO_USER_DMA_WRITE, read_only.gpa, bytes, 8), EACCES);
    assert_int_equal(fixed[0], 0);
    fixed[0] = 'r';
    assert_int_equal(access_memory(&f, VFIO_USER_DMA_READ, read_only.gpa, bytes, 8), 0);
    assert_int_equal(bytes[0], 'r');
    assert_int_equal(access_memory(&f, VFIO_USER_DMA_READ, RAM_AT + 4092, bytes, 8), EFAULT);
    assert_int_equal(access_memory(&f, VFIO_USER_DMA_READ, UINT64_MAX - 3, bytes, 8), EFAULT);
    assert_int_equal(FIXTURE_SERVED(&f, 1, ob_client_unmap_memory(f.client, RAM_AT, 4096)), 0);
    assert_int_equal(access_memory(&f, VFIO_USER_DMA_READ, RAM_AT, bytes, 8), EFAULT);
    fixture_check_state(&f, OB_CLIENT_ALIVE);
    fixture_stop(&f);
}

static void a_region_that_is_not_answered_for_may_yet_be_touched(void **state)
{
    struct fixture f;
    struct message message;
    static uint8_t page[4096];
    const struct ob_client_region region = lent(0, page);
    fixture_start_greeted(&f, &fixture_defaults);
    assert_int_equal(ob_client_set_timeout(f.client, 20), 0);
    assert_int_equal(ob_client_map_memory(f.client, &region, NULL), -ETIMEDOUT);
    fake_remote_take(&f.remote, &message);
    fake_remote_say(&f.remote, message.header.id, message.header.command, VFIO_USER_TYPE_REPLY,
                    NULL, 0);
    fixture_dispatch(&f);
    fixture_check_state(&f, OB_CLIENT_ALIVE);
    assert_int_equal(ob_client_map_memory(f.client, &region, NULL), -EEXIST);
    fixture_stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_region_that_the_remote_does_not_have_is_taken_back),
        TEST(memory_that_is_refused_is_not_kept),
        TEST(what_stays_published_is_not_said_again),
        TEST(a_region_that_does_not_fit_is_not_said),
        TEST(a_remote_gets_no_more_regions_than_it_takes),
        TEST(a_remote_reaches_what_is_mapped_and_no_more),
        TEST(a_region_that_is_not_answered_for_may_yet_be_touched),
    };
    event_prepare(); /* what a process has once, before descriptors are counted */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
