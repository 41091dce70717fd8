// SPDX-License-Identifier: BSD-3-Clause
#include "queue.h"

#include "nvme/fixture.h"
#include "support.h"

static struct fixture fixture;

static const struct nvme_command flush = {.opcode = NVME_IO_FLUSH, .nsid = 1};

static void set_head(unsigned queue, unsigned head)
{
    fixture_set_register(&fixture, NVME_REG_DOORBELLS + 8 * (uint64_t)queue + 4, 4, head);
}

/* Every tail in every state of a small ring: those are taken that leave one entry free. */
static void test_tails(void **state)
{
    for (uint32_t head = 0; head < 5; head++)
        for (uint32_t used = 0; used < 5; used++)
            for (uint32_t tail = 0; tail < 8; tail++) {
                struct nvme_sq sq = {.size = 5, .head = head, .tail = (head + used) % 5};
                uint32_t added = (tail + 5 - sq.tail) % 5;
                bool possible = tail < 5 && used + added < 5;
                assert_int_equal(queue_set_sq_tail(&sq, tail), possible);
                assert_int_equal(sq.tail, possible ? tail : (head + used) % 5);
            }
}

/* Every head: those are taken that are not beyond the tail. */
static void test_heads(void **state)
{
    for (uint32_t head = 0; head < 5; head++)
        for (uint32_t used = 0; used < 5; used++)
            for (uint32_t to = 0; to < 8; to++) {
                struct nvme_cq cq = {.size = 5, .head = head, .tail = (head + used) % 5};
                bool possible = to < 5 && (to + 5 - head) % 5 <= used;
                assert_int_equal(queue_set_cq_head(&cq, to), possible);
                assert_int_equal(cq.head, possible ? to : head);
            }
}

static void test_the_phase_flips_with_each_round(void **state)
{
    fixture_start_enabled(&fixture, 1);
    for (unsigned i = 0; i < 3 * QUEUE_LEN; i++) {
        struct nvme_command command = flush;
        command.id = (uint16_t)(1000 + i);
        fixture_send(&fixture, 1, &command);
        struct completion done = fixture_completion(&fixture, 1, i % QUEUE_LEN);
        assert_int_equal(done.phase, i / QUEUE_LEN % 2 == 0);
        assert_int_equal(done.command_id, 1000 + i);
        assert_int_equal(done.sq_id, 1);
        assert_int_equal(done.sq_head, (i + 1) % QUEUE_LEN);
        set_head(1, (i + 1) % QUEUE_LEN);
    }
    fixture_stop(&fixture);
}

static void test_a_full_queue_holds_completions_back(void **state)
{
    fixture_start_enabled(&fixture, 1);
    fixture.disk.holds = true;
    for (unsigned i = 0; i < QUEUE_LEN - 1; i++)
        fixture_send(&fixture, 1, &flush);
    for (unsigned i = 0; i < 4; i++) { /* four completions are read, so four more are sent */
        fake_disk_finish(&fixture.disk, 0, 0);
        fixture_send(&fixture, 1, &flush);
    }
    while (fixture.disk.pending_count > 0)
        fake_disk_finish(&fixture.disk, 0, 0);
    fixture_poll(&fixture);
    assert_true(fixture_completion(&fixture, 1, QUEUE_LEN - 2).phase);
    assert_false(fixture_completion(&fixture, 1, QUEUE_LEN - 1).phase);
    set_head(1, 4);
    fixture_poll(&fixture);
    assert_true(fixture_completion(&fixture, 1, QUEUE_LEN - 1).phase);
    assert_false(fixture_completion(&fixture, 1, 2).phase); /* the next round */
    assert_true(fixture_completion(&fixture, 1, 3).phase);  /* the last entry stays free */
    fixture_stop(&fixture);
}

/* Each queue in turn gives a burst, whatever the others have. */
static void test_queues_take_turns(void **state)
{
    fixture_start_enabled(&fixture, 4);
    fixture.disk.holds = true;
    for (unsigned queue = 1; queue <= 4; queue++) {
        for (unsigned i = 0; i < QUEUE_LEN - 1; i++)
            fixture_put(&fixture, queue, &flush);
        fixture_ring(&fixture, queue);
    }
    unsigned started[5] = {0};
    device_poll(fixture.device);
    for (unsigned i = 0; i < 4 * NVME_BURST; i++) {
        const struct nvme_request *request =
            (const struct nvme_request *)((const char *)fixture.disk.pending[i] -
                                          offsetof(struct nvme_request, io));
        started[request->sq->id]++;
    }
    for (unsigned queue = 1; queue <= 4; queue++)
        assert_int_equal(started[queue], NVME_BURST);
    assert_int_equal(fixture.disk.pending_count, 4 * (QUEUE_LEN - 1));
    fixture_stop(&fixture);
}

static void test_deletion_waits_for_commands_in_flight(void **state)
{
    fixture_start_enabled(&fixture, 1);
    fixture.disk.holds = true;
    fixture_send(&fixture, 1, &flush);
    fixture_send(&fixture, 1, &flush);
    struct nvme_command deletion = {.opcode = NVME_ADMIN_DELETE_SQ, .id = 77};
    deletion.dword[10] = 1;
    fixture_send(&fixture, 0, &deletion);
    assert_false(fixture_completion(&fixture, 0, 2).phase);
    fixture_send(&fixture, 1, &flush); /* fetched from no more */
    assert_int_equal(fixture.disk.pending_count, 2);
    fake_disk_finish(&fixture.disk, 0, 0);
    fixture_poll(&fixture);
    assert_false(fixture_completion(&fixture, 0, 2).phase);
    fake_disk_finish(&fixture.disk, 0, 0);
    fixture_poll(&fixture);
    struct completion done = fixture_completion(&fixture, 0, 2);
    assert_true(done.phase && done.command_id == 77 && done.status == NVME_SUCCESS);
    assert_null(queue_sq(fixture.nvme, 1));
    fixture_stop(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_tails),
        TEST(test_heads),
        TEST(test_the_phase_flips_with_each_round),
        TEST(test_a_full_queue_holds_completions_back),
        TEST(test_queues_take_turns),
        TEST(test_deletion_waits_for_commands_in_flight),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
