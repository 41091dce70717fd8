// SPDX-License-Identifier: BSD-3-Clause
/* What nvme_state_check() refuses, one change of a good state at a time. */
#include <string.h>

#include "nvme/fixture.h"
#include "state.h"
#include "support.h"

static struct fixture target;
static struct nvme_saved saved;

static const char *why_refused(void)
{
    static struct ob_fault fault;
    fault = (struct ob_fault){0};
    return nvme_state_check(target.nvme, &saved, &fault) < 0 ? fault.text : "";
}

#define ASSERT_REFUSED(change, reason)                                                             \
    do {                                                                                           \
        struct nvme_saved whole = saved;                                                           \
        change;                                                                                    \
        if (!strstr(why_refused(), reason))                                                        \
            fail_msg("%s gives '%s', not '%s'", #change, why_refused(), reason);                   \
        saved = whole;                                                                             \
    } while (0)

static void good_state(void)
{
    memset(&saved, 0, sizeof(saved));
    memcpy(saved.serial, "UNIT", 4);
    saved.namespace_count = 1;
    const struct nvme_namespace *ns = &target.nvme->namespaces.list[0];
    saved.namespaces[0] =
        (struct nvme_saved_namespace){.block_shift = 9, .blocks = FAKE_DISK_LEN / 512};
    memcpy(saved.namespaces[0].uuid, ns->uuid, sizeof(ns->uuid));
    saved.controller = (struct nvme_controller){.state = NVME_ON, .cc = 1, .csts = NVME_CSTS_RDY};
    saved.features = target.nvme->features;
    for (unsigned i = 0; i < 2; i++) {
        saved.queues.cq[i] = (struct nvme_cq){.exists = true, .interrupts = true, .size = 2};
        saved.queues.sq[i] = (struct nvme_sq){.state = SQ_LIVE, .size = 2};
        saved.completes[i] = (uint16_t)i;
    }
    assert_string_equal(why_refused(), "");
}

static void test_other_images(void **state)
{
    fixture_start(&target);
    good_state();
    ASSERT_REFUSED(saved.serial[0] = 'V', "give the first image the serial= of the state");
    ASSERT_REFUSED(saved.namespace_count = 2, "images: the state has 2, this controller has 1");
    ASSERT_REFUSED(saved.namespace_count = 0, "images: the state has 0");
    ASSERT_REFUSED(saved.namespaces[0].uuid[15]++, "the state was saved with another image");
    ASSERT_REFUSED(saved.namespaces[0].block_shift = 12, "give block-size=4096");
    ASSERT_REFUSED(saved.namespaces[0].readonly = true, "give 'readonly'");
    ASSERT_REFUSED(saved.namespaces[0].blocks++, "got 128 blocks, expected 129");
    fixture_stop(&target);
}

static void test_registers_that_can_not_be(void **state)
{
    fixture_start(&target);
    good_state();
    ASSERT_REFUSED(saved.controller.state = NVME_OFF, "a register");
    ASSERT_REFUSED(saved.controller.state = 3, "a register");
    ASSERT_REFUSED(saved.controller.shutdown = 4, "a register");
    ASSERT_REFUSED(saved.controller.shutdown = SHUTDOWN_DRAINS, "a register");
    ASSERT_REFUSED(saved.controller.csts = 0, "the admin queue");
    ASSERT_REFUSED(saved.controller.csts |= 0x10, "a register");
    ASSERT_REFUSED(saved.controller.cc |= 2, "a register");
    ASSERT_REFUSED(saved.controller.aqa = 0x1000, "a register");
    ASSERT_REFUSED(saved.controller.asq = 4, "a register");
    ASSERT_REFUSED(saved.controller.acq = 4095, "a register");
    ASSERT_REFUSED(saved.features.value[NVME_FEATURE_WRITE_CACHE] = 2, "a feature");
    ASSERT_REFUSED(saved.features.value[NVME_FEATURE_QUEUES] = 0, "a feature");
    ASSERT_REFUSED(saved.events.types[1].result = 1, "an event");
    ASSERT_REFUSED((saved.events.types[1].waiting = true, saved.events.types[1].result = 2),
                   "an event");
    ASSERT_REFUSED(saved.seconds = UINT64_MAX, "power on");
    ASSERT_REFUSED(saved.shadow = ((struct nvme_shadow){.on = true}), "a shadow doorbell");
    ASSERT_REFUSED(saved.shadow = ((struct nvme_shadow){.on = true, .events = 8}), "a shadow");
    fixture_stop(&target);
}

static void test_queues_that_can_not_be(void **state)
{
    fixture_start(&target);
    good_state();
    ASSERT_REFUSED(saved.queues.turn = NVME_IO_QUEUES, "the turn");
    ASSERT_REFUSED(saved.queues.cq[0].exists = false, "the admin queue");
    ASSERT_REFUSED(saved.queues.sq[0].state = SQ_ABSENT, "the admin queue");
    ASSERT_REFUSED(saved.queues.cq[0].vector = 1, "a completion queue");
    ASSERT_REFUSED(saved.queues.cq[0].interrupts = false, "a completion queue");
    ASSERT_REFUSED(saved.queues.cq[1].vector = NVME_VECTORS, "a completion queue");
    ASSERT_REFUSED(saved.queues.cq[1].size = 1, "a completion queue");
    target.nvme->interrupts = NVME_MSI;
    ASSERT_REFUSED(saved.queues.cq[1].vector = NVME_MSI_VECTORS, "a completion queue");
    target.nvme->interrupts = NVME_INTX;
    ASSERT_REFUSED(saved.queues.cq[1].vector = 1, "a completion queue");
    target.nvme->interrupts = NVME_MSIX;
    ASSERT_REFUSED(saved.queues.cq[1].size = NVME_QUEUE_ENTRIES + 1, "a completion queue");
    ASSERT_REFUSED(saved.queues.cq[1].head = 2, "a completion queue");
    ASSERT_REFUSED(saved.queues.cq[1].tail = 2, "a completion queue");
    ASSERT_REFUSED(saved.queues.cq[1].base = 8, "a completion queue");
    ASSERT_REFUSED(saved.queues.cq[1].exists = false, "a submission queue");
    ASSERT_REFUSED(saved.queues.sq[1].size = 0, "a submission queue");
    ASSERT_REFUSED(saved.queues.sq[1].head = 2, "a submission queue");
    ASSERT_REFUSED(saved.queues.sq[1].tail = UINT32_MAX, "a submission queue");
    ASSERT_REFUSED(saved.queues.sq[1].base = 1, "a submission queue");
    ASSERT_REFUSED(saved.completes[1] = 0, "a submission queue");
    ASSERT_REFUSED(saved.completes[1] = NVME_QUEUES, "a submission queue");
    ASSERT_REFUSED(saved.completes[0] = 1, "a submission queue");
    fixture_stop(&target);
}

static void add_requests(unsigned count, struct nvme_saved_request request)
{
    for (unsigned i = 0; i < count; i++)
        saved.requests[saved.request_count++] = request;
}

static struct nvme_saved_request waiting(uint16_t sq, uint8_t opcode, uint32_t dword10)
{
    struct nvme_saved_request request = {.sq = sq, .command = {.opcode = opcode}};
    request.command.dword[10] = dword10;
    return request;
}

static void test_commands_that_can_not_be(void **state)
{
    const struct nvme_saved_request finished = {.finished = true}, io = waiting(1, 1, 0);
    fixture_start(&target);
    good_state();
    ASSERT_REFUSED(saved.request_count = NVME_SAVED_REQUESTS + 1, "the number of commands");
    ASSERT_REFUSED(add_requests(1, waiting(2, 0, 0)), "a command");
    ASSERT_REFUSED(add_requests(1, waiting(NVME_QUEUES, 0, 0)), "a command");
    ASSERT_REFUSED(add_requests(NVME_ASYNC_EVENTS + 1, waiting(0, 0x0c, 0)), "a command");
    ASSERT_REFUSED(add_requests(1, waiting(0, NVME_ADMIN_IDENTIFY, 0)), "a command");
    ASSERT_REFUSED(add_requests(1, waiting(0, NVME_ADMIN_DELETE_SQ, 0)), "a command");
    ASSERT_REFUSED(add_requests(1, waiting(0, NVME_ADMIN_DELETE_SQ, 2)), "a command");
    ASSERT_REFUSED(add_requests(1, waiting(0, NVME_ADMIN_DELETE_SQ, 0xffff)), "a command");
    ASSERT_REFUSED(add_requests(2, waiting(0, NVME_ADMIN_DELETE_SQ, 1)), "a command");
    ASSERT_REFUSED(add_requests(NVME_ADMIN_REQUESTS + 1, finished), "a command");
    ASSERT_REFUSED(add_requests(NVME_IO_REQUESTS + 1, io), "a command");
    ASSERT_REFUSED((add_requests(1, io), add_requests(1, finished)), "the order");
    struct nvme_saved_request odd = io;
    odd.command.psdt = 4;
    ASSERT_REFUSED(add_requests(1, odd), "a command");
    odd = finished;
    odd.status = 0x8000;
    ASSERT_REFUSED(add_requests(1, odd), "a command");
    fixture_stop(&target);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_other_images),
        TEST(test_registers_that_can_not_be),
        TEST(test_queues_that_can_not_be),
        TEST(test_commands_that_can_not_be),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
