// SPDX-License-Identifier: BSD-3-Clause
/* The log of written pages of a vfio-user remote. */
#include "support.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include <outboard/client_memory.h>

#include "os/event.h"
#include "remote/client.h"
#include "remote/fixture.h"

static void a_report_that_came_too_late_is_made_up_for(void **state)
{
    const struct ob_client_range range = {.gpa = RAM_AT, .len = 4UL * 4096};
    struct fixture f;
    struct message message;
    uint8_t bits[8], answer[40] = {0};
    fixture_start_greeted(&f, &fixture_defaults);
    fixture_start_log(&f, range.len);
    f.client->options.timeout_ms = 20;
    assert_int_equal(ob_client_log_report(f.client, 4096, &range, bits), -ETIMEDOUT);
    fake_remote_take(&f.remote, &message);
    fake_remote_say(&f.remote, message.header.id, message.header.command, VFIO_USER_TYPE_REPLY,
                    answer, sizeof(answer));
    fixture_dispatch(&f);
    fixture_check_state(&f, OB_CLIENT_ALIVE);
    f.client->options.timeout_ms = PATIENCE_MS;
    for (unsigned i = 0; i < 2; i++) {
        fake_remote_serve(&f.remote, 1);
        assert_int_equal(ob_client_log_report(f.client, 4096, &range, bits), 0);
        fake_remote_join(&f.remote);
        assert_memory_equal(bits, i == 0 ? "\x0f\0\0\0\0\0\0" : "\0\0\0\0\0\0\0", 8);
    }
    fixture_stop(&f);
}

/* What the remote was asked, and the bits that it answers with. */
struct reports {
    uint64_t start[8], len[8];
    unsigned count;
    uint64_t bits;
};

/* LOGGING_REPORT: 8 start, 16 len, 24 page, 32 bits; all else as usual. */
static size_t report(struct fake_remote *remote, struct message *message)
{
    struct reports *reports = remote->context;
    struct vfio_user_feature feature = {0};
    if (message->header.command == VFIO_USER_DEVICE_FEATURE)
        vfio_user_feature_get(message->payload, VFIO_USER_FEATURE_LEN, &feature);
    if ((feature.flags & 0xffff) == VFIO_USER_FEATURE_LOGGING_REPORT) {
        const unsigned i = reports->count++ % 8;
        memcpy(&reports->start[i], message->payload + 8, 8);
        memcpy(&reports->len[i], message->payload + 16, 8);
        memcpy(message->payload + 32, &reports->bits, 8);
        reports->bits = 0;
    }
    return fake_remote_answer(remote, message);
}

static void start(struct fixture *f, struct reports *reports, const char *version)
{
    *reports = (struct reports){0};
    fixture_start_probed(f, version);
    f->remote.answer = report;
    f->remote.context = reports;
}

/* A client whose remote keeps a log of that many bytes, without answers of its own. */
static void start_logged(struct fixture *f, uint64_t len)
{
    fixture_start_probed(f, NULL);
    fixture_start_log(f, len);
}

static int get_report(struct fixture *f, unsigned messages, uint64_t pages, uint8_t *ret_bits)
{
    const struct ob_client_range range = {.gpa = RAM_AT, .len = pages * 4096};
    return FIXTURE_SERVED(f, messages, ob_client_log_report(f->client, 4096, &range, ret_bits));
}

static void what_the_remote_has_written_is_told_once(void **state)
{
    struct fixture f;
    struct reports reports;
    uint8_t bits[8];
    start(&f, &reports, NULL);
    fixture_start_log(&f, 4UL * 4096);
    reports.bits = 0x5;
    assert_int_equal(get_report(&f, 1, 4, bits), 0);
    assert_memory_equal(bits, "\x05\0\0\0\0\0\0", 8);
    assert_int_equal(get_report(&f, 1, 4, bits), 0);
    assert_memory_equal(bits, "\0\0\0\0\0\0\0", 8);
    fixture_stop(&f);
}

static void a_log_of_all_memory_has_what_the_remote_has_written(void **state)
{
    struct fixture f;
    struct reports reports;
    uint8_t bits[8];
    start(&f, &reports, NULL);
    fixture_map_file(&f, 8UL * 4096);
    assert_int_equal(FIXTURE_SERVED(&f, 1, ob_client_log_start(f.client, 4096, NULL, 0)), 0);
    reports.bits = 0x82;
    assert_int_equal(get_report(&f, 1, 8, bits), 0);
    assert_memory_equal(bits, "\x82\0\0\0\0\0\0", 8);
    assert_int_equal(reports.start[0], RAM_AT);
    assert_int_equal(reports.len[0], 8 * 4096);
    fixture_stop(&f);
}

static void what_comes_by_messages_is_logged_here(void **state)
{
    const struct ob_client_range range = {.gpa = RAM_AT, .len = RAM_LEN};
    struct fixture f;
    struct message message;
    uint8_t bits[RAM_LEN / 4096 / 8], payload[VFIO_USER_ACCESS_LEN + 2] = {0};
    const struct vfio_user_dma_access access = {.iova = RAM_AT + 3 * 4096 - 1, .count = 2};
    fixture_start_probed(&f, NULL);
    uint8_t *ram = fixture_lend_memory(&f);
    assert_int_equal(FIXTURE_SERVED(&f, 1, ob_client_log_start(f.client, 4096, &range, 1)), 0);
    vfio_user_dma_access_put(payload, VFIO_USER_ACCESS_LEN, &access);
    fake_remote_say(&f.remote, 1, VFIO_USER_DMA_WRITE, 0, payload, sizeof(payload));
    fixture_dispatch(&f);
    fake_remote_take(&f.remote, &message);
    assert_int_equal(message.header.flags, VFIO_USER_TYPE_REPLY);
    /* Nobody is asked: the remote reaches this memory by messages alone. */
    assert_int_equal(ob_client_log_report(f.client, 4096, &range, bits), 0);
    assert_int_equal(bits[0], 0x0c);
    munmap(ram, RAM_LEN);
    fixture_stop(&f);
}

static void a_log_that_is_refused_is_not_on(void **state)
{
    const struct ob_client_range range = {.gpa = RAM_AT, .len = 4096};
    struct fixture f;
    uint8_t bits[8];
    fixture_start_probed(&f, NULL);
    f.remote.refused[VFIO_USER_DEVICE_FEATURE] = ENOTSUP;
    for (unsigned i = 0; i < 2; i++) /* the second is not -EBUSY */
        assert_int_equal(FIXTURE_SERVED(&f, 1, ob_client_log_start(f.client, 4096, &range, 1)),
                         -EREMOTEIO);
    assert_int_equal(ob_client_log_report(f.client, 4096, &range, bits), -EINVAL);
    fixture_check_state(&f, OB_CLIENT_ALIVE);
    fixture_stop(&f);
}

static void a_report_is_asked_for_in_pieces_that_the_remote_can_answer(void **state)
{
    struct fixture f;
    struct reports reports;
    uint8_t bits[24];
    start(&f, &reports, "{\"capabilities\":{\"max_data_xfer_size\":32}}"); /* bits: 8 bytes */
    fixture_start_log(&f, 130UL * 4096);
    assert_int_equal(get_report(&f, 3, 130, bits), 0);
    assert_int_equal(reports.count, 3);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(reports.start[i], RAM_AT + i * 64 * 4096);
        assert_int_equal(reports.len[i], (i < 2 ? 64 : 2) * 4096);
    }
    fixture_stop(&f);
}

static void memory_that_left_counts_as_written_when_the_remote_has_forgotten_it(void **state)
{
    struct fixture f;
    uint8_t bits[8];
    const struct ob_client_range range = {.gpa = RAM_AT, .len = 4UL * 4096};
    start_logged(&f, range.len);
    f.remote.refused[VFIO_USER_DEVICE_FEATURE] = EINVAL;
    assert_int_equal(FIXTURE_SERVED(&f, 2, ob_client_unmap_memory(f.client, RAM_AT, range.len)), 0);
    assert_int_equal(ob_client_log_report(f.client, 4096, &range, bits), 0);
    assert_memory_equal(bits, "\x0f\0\0\0\0\0\0", 8);
    fixture_stop(&f);
}

static void a_log_that_is_over_reports_nothing(void **state)
{
    const struct ob_client_range range = {.gpa = RAM_AT, .len = 4096};
    struct fixture f;
    uint8_t bits[8];
    start_logged(&f, range.len);
    assert_int_equal(ob_client_log_start(f.client, 4096, &range, 1), -EBUSY);
    assert_int_equal(FIXTURE_SERVED(&f, 1, ob_client_log_stop(f.client)), 0);
    assert_int_equal(ob_client_log_report(f.client, 4096, &range, bits), -EINVAL);
    fixture_stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_report_that_came_too_late_is_made_up_for),
        TEST(what_the_remote_has_written_is_told_once),
        TEST(a_log_of_all_memory_has_what_the_remote_has_written),
        TEST(what_comes_by_messages_is_logged_here),
        TEST(a_log_that_is_refused_is_not_on),
        TEST(a_report_is_asked_for_in_pieces_that_the_remote_can_answer),
        TEST(memory_that_left_counts_as_written_when_the_remote_has_forgotten_it),
        TEST(a_log_that_is_over_reports_nothing),
    };
    event_prepare(); /* what a process has once, before descriptors are counted */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
