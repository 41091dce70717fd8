// SPDX-License-Identifier: BSD-3-Clause
/* Many bytes, many writes, and the ways past the client. */
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "os/event.h"
#include "remote/client.h"
#include "remote/fixture.h"

/* Three writes that are one message where the remote takes that. */
static const struct ob_client_write writes[] = {
    {.offset = 0, .size = 4}, {.offset = 8, .size = 8}, {.offset = 16, .size = 1}};

static int write_many(struct fixture *f, unsigned messages)
{
    fake_remote_serve(&f->remote, messages);
    int err = ob_client_bar_write_many(f->client, writes, 3);
    fake_remote_join(&f->remote);
    return err;
}

static void many_writes_are_no_longer_than_the_remote_takes(void **state)
{
    struct fixture f;
    fixture_start_probed(&f, NULL);
    assert_int_equal(write_many(&f, 1), 0);
    assert_int_equal(f.remote.last.payload[0], 3);
    fixture_stop(&f);
    fixture_start_probed(&f,
                         "{\"capabilities\":{\"max_data_xfer_size\":48,\"write_multiple\":true}}");
    assert_int_equal(write_many(&f, 2), 0);
    assert_int_equal(f.remote.last.payload[0], 1);
    fixture_stop(&f);
    fixture_start_probed(&f,
                         "{\"capabilities\":{\"max_data_xfer_size\":8,\"write_multiple\":true}}");
    assert_int_equal(write_many(&f, 3), 0);
    assert_int_equal(f.remote.last.header.command, VFIO_USER_REGION_WRITE);
    fixture_stop(&f);
}

static void writes_that_were_not_done_end_it(void **state)
{
    struct fixture f;
    fixture_start_probed(&f, NULL);
    f.remote.written = 2;
    assert_int_equal(write_many(&f, 1), -EPROTO);
    fixture_check_state(&f, OB_CLIENT_LOST);
    fixture_stop(&f);
}

static void bytes_go_in_pieces_that_the_remote_takes(void **state)
{
    struct fixture f;
    uint8_t bytes[40] = {0};
    fixture_start_probed(&f, "{\"capabilities\":{\"max_data_xfer_size\":16}}");
    assert_int_equal(FIXTURE_SERVED(&f, 3, ob_client_read_bytes(f.client, 0, 4, bytes, 40)), 0);
    /* The last: 8 bytes at 36 of BAR 0. */
    assert_memory_equal(f.remote.last.payload, "\x24\0\0\0\0\0\0\0\0\0\0\0\x08\0\0\0", 16);
    assert_int_equal(FIXTURE_SERVED(&f, 3, ob_client_write_bytes(f.client, 0, 4, bytes, 40)), 0);
    assert_int_equal(f.remote.last.len, VFIO_USER_ACCESS_LEN + 8);
    fixture_stop(&f);
}

static void bytes_that_were_not_read_are_ones(void **state)
{
    struct fixture f;
    uint8_t bytes[4] = {0};
    fixture_start_probed(&f, NULL);
    f.remote.refused[VFIO_USER_REGION_READ] = EIO;
    assert_int_equal(FIXTURE_SERVED(&f, 1, ob_client_read_bytes(f.client, 0, 0, bytes, 4)),
                     -EREMOTEIO);
    assert_memory_equal(bytes, "\xff\xff\xff\xff", 4);
    fixture_stop(&f);
}

static void regions_have_ends(void **state)
{
    static const struct {
        unsigned region;
        uint64_t offset;
        size_t len;
    } cases[] = {{0, BAR_LEN, 1}, {0, BAR_LEN - 1, 2},          {0, UINT64_MAX, 2},
                 {1, 0, 1},       {OB_CLIENT_REGION_ROM, 0, 1}, {OB_CLIENT_REGION_CONFIG, 255, 2},
                 {8, 0, 1}};
    struct fixture f;
    uint8_t bytes[2];
    fixture_start_probed(&f, NULL);
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const uint64_t at = cases[i].offset;
        assert_int_equal(ob_client_read_bytes(f.client, cases[i].region, at, bytes, cases[i].len),
                         -EINVAL);
        assert_int_equal(ob_client_write_bytes(f.client, cases[i].region, at, bytes, cases[i].len),
                         -EINVAL);
    }
    assert_int_equal(ob_client_bar_areas(f.client, 1, NULL, 0), -EINVAL);
    assert_int_equal(ob_client_bar_areas(f.client, 6, NULL, 0), -EINVAL);
    assert_int_equal(ob_client_bar_areas(f.client, 0, NULL, 0), 0); /* registers alone */
    assert_int_equal(fixture_read_some(&f.remote, 1), 0);
    fixture_stop(&f);
}

/* BAR 0 can be mapped, by the descriptor in `context`. */
static size_t describe(struct fake_remote *remote, struct message *message)
{
    const bool bar =
        message->header.command == VFIO_USER_DEVICE_GET_REGION_INFO && message->payload[8] == 0;
    const size_t len = fake_remote_answer(remote, message);
    if (bar) {
        message->payload[4] |= VFIO_REGION_INFO_FLAG_MMAP;
        remote->reply_fds[0] = *(const int *)remote->context;
        remote->num_reply_fds = 1;
    }
    return len;
}

/* How many areas BAR 0 has when that is its file, which is closed then. */
static int count_areas(int fd, struct ob_client_area *ret_area)
{
    struct fixture f;
    struct ob_client_info info;
    f.client = fake_remote_start(&f.remote, &fixture_defaults);
    f.remote.answer = describe;
    f.remote.context = &fd;
    assert_int_equal(FIXTURE_SERVED(&f, GREETING + 9, ob_client_probe(f.client, &info, NULL)), 0);
    const int count = ob_client_bar_areas(f.client, 0, ret_area, 1);
    assert_int_equal(info.bars[0].flags & OB_BAR_MEMORY, count > 0 ? OB_BAR_MEMORY : 0);
    fixture_stop(&f);
    close(fd);
    return count;
}

static int file(off_t len, int seals)
{
    const int fd = memfd_create("bar", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    assert_int_equal(ftruncate(fd, len), 0);
    assert_int_equal(fcntl(fd, F_ADD_SEALS, seals), 0);
    return fd;
}

static void memory_that_can_be_mapped_is_told(void **state)
{
    struct ob_client_area area;
    assert_int_equal(count_areas(file(BAR_LEN, 0), &area), 1);
    assert_false(area.sealed);
    assert_int_equal(area.len, BAR_LEN);
    assert_int_equal(count_areas(file(BAR_LEN, F_SEAL_SHRINK), &area), 1);
    assert_true(area.sealed);
    assert_int_equal(count_areas(file(BAR_LEN - 1, 0), &area), 0); /* would be a SIGBUS */
    assert_int_equal(count_areas(eventfd(0, EFD_CLOEXEC), &area), 0);
}

/* GET_REGION_IO_FDS: two registers of 4 bytes, at 0x40 and 0x44, that share the descriptor. */
static size_t say_eventfds(struct fake_remote *remote, struct message *message)
{
    const struct vfio_user_region_io_fds io_fds = {.argsz = 16 + 2 * 40, .count = 2};
    vfio_user_region_io_fds_put(message->payload, 16, &io_fds);
    for (unsigned i = 0; i < 2; i++) {
        const struct vfio_user_sub_region sub = {.offset = 0x40 + 4 * i, .size = 4};
        vfio_user_sub_region_put(message->payload + 16 + 40UL * i, 40, &sub);
    }
    remote->reply_fds[0] = *(const int *)remote->context;
    remote->num_reply_fds = 1;
    return 16 + 2 * 40;
}

static int get_eventfds(struct fixture *f, int *fd, struct ob_client_eventfd *ret_eventfds)
{
    fixture_start_probed(f, NULL);
    f->remote.answer = say_eventfds;
    f->remote.context = fd;
    return FIXTURE_SERVED(f, 1, ob_client_bar_eventfds(f->client, 0, ret_eventfds, 2));
}

static void each_eventfd_is_a_descriptor_of_its_own(void **state)
{
    struct fixture f;
    struct ob_client_eventfd eventfds[2];
    uint64_t signals = 0;
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    assert_int_equal(get_eventfds(&f, &fd, eventfds), 2);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(eventfds[i].offset, 0x40 + 4 * i);
        assert_int_equal(eventfds[i].size, 4);
        assert_int_equal(eventfd_write(eventfds[i].fd, 1), 0);
        close(eventfds[i].fd);
    }
    assert_int_equal(eventfd_read(fd, &signals), 0);
    assert_int_equal(signals, 2);
    fixture_stop(&f);
    close(fd);
}

static void what_is_no_eventfd_ends_it(void **state)
{
    struct fixture f;
    struct ob_client_eventfd eventfds[2];
    int fd = file(8, 0);
    assert_int_equal(get_eventfds(&f, &fd, eventfds), -EPROTO);
    fixture_check_state(&f, OB_CLIENT_LOST);
    fixture_stop(&f);
    close(fd);
}

static void writes_are_checked_before_the_first_is_made(void **state)
{
    struct fixture f;
    struct ob_client_write wrong[] = {{.size = 4}, {.offset = BAR_LEN, .size = 4}};
    fixture_start_probed(&f, NULL);
    assert_int_equal(ob_client_bar_write_many(f.client, wrong, 2), -EINVAL);
    wrong[1] = (struct ob_client_write){.size = 3};
    assert_int_equal(ob_client_bar_write_many(f.client, wrong, 2), -EINVAL);
    assert_int_equal(ob_client_bar_write_many(f.client, NULL, 0), 0);
    assert_int_equal(fixture_read_some(&f.remote, 1), 0);
    fixture_stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(many_writes_are_no_longer_than_the_remote_takes),
        TEST(writes_that_were_not_done_end_it),
        TEST(bytes_go_in_pieces_that_the_remote_takes),
        TEST(bytes_that_were_not_read_are_ones),
        TEST(regions_have_ends),
        TEST(memory_that_can_be_mapped_is_told),
        TEST(each_eventfd_is_a_descriptor_of_its_own),
        TEST(what_is_no_eventfd_ends_it),
        TEST(writes_are_checked_before_the_first_is_made),
    };
    event_prepare(); /* what a process has once, before descriptors are counted */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
