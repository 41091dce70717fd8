// SPDX-License-Identifier: BSD-3-Clause
#include "gate.h"

#include "nvme.h"
#include "support.h"

static void test_what_each_state_permits(void **state)
{
    static const struct {
        enum nvme_state state;
        enum nvme_shutdown shutdown;
        bool paused;
        bool runs;
        bool fetches;
        bool goes_on;
    } rows[] = {
        {NVME_OFF, SHUTDOWN_NONE, false, false, false, false},
        {NVME_ON, SHUTDOWN_NONE, false, true, true, true},
        {NVME_ON, SHUTDOWN_NONE, true, true, false, false},
        {NVME_ON, SHUTDOWN_DRAINS, false, false, false, true},
        {NVME_ON, SHUTDOWN_FLUSHES, false, false, false, true},
        {NVME_ON, SHUTDOWN_COMPLETE, true, false, false, false},
        {NVME_STOPPING, SHUTDOWN_NONE, false, false, false, false},
    };
    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const struct nvme nvme = {
            .controller = {.state = rows[i].state, .shutdown = rows[i].shutdown},
            .paused = rows[i].paused};
        assert_int_equal(gate_runs(&nvme), rows[i].runs);
        assert_int_equal(gate_fetches(&nvme), rows[i].fetches);
        assert_int_equal(gate_goes_on(&nvme), rows[i].goes_on);
    }
}

/* What was fetched ends as it would have. */
static void test_a_failed_controller_fetches_no_more(void **state)
{
    struct nvme nvme = {.controller = {.state = NVME_ON, .csts = NVME_CSTS_RDY}};
    gate_fail(&nvme);
    assert_int_equal(nvme.controller.csts, NVME_CSTS_RDY | NVME_CSTS_CFS);
    assert_false(gate_runs(&nvme));
    assert_false(gate_fetches(&nvme));
    assert_true(gate_goes_on(&nvme));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_what_each_state_permits),
        TEST(test_a_failed_controller_fetches_no_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
