// SPDX-License-Identifier: BSD-3-Clause
/* Messages of vfio-user: questions, answers, and clients of another wire. */
#include "support.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <outboard/client_irq.h>
#include <outboard/client_state.h>

#include "os/event.h"
#include "remote/fixture.h"
#include "remote/vfio_user.h"

static void another_wire_has_no_messages(void **state)
{
    const struct ob_client_options options = {.size = sizeof(options), .wire = "mpqemu"};
    const struct ob_client_range range = {.gpa = RAM_AT, .len = 4096};
    const struct ob_client_region region = {.gpa = RAM_AT, .len = 4096, .fd = 0};
    struct ob_client_area area;
    struct ob_client_eventfd eventfd;
    enum ob_client_run_state run_state;
    struct ob_client *client;
    uint8_t bytes[8];
    int ends[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    assert_int_equal(ob_client_new(ends[0], &options, &client, NULL), 0);
    assert_int_equal(vfio_user_meet(client), -EOPNOTSUPP);
    assert_int_equal(ob_client_map_memory(client, &region, NULL), -EOPNOTSUPP);
    assert_int_equal(ob_client_unmap_memory(client, RAM_AT, 4096), -EOPNOTSUPP);
    assert_int_equal(ob_client_bar_areas(client, 0, &area, 1), -EOPNOTSUPP);
    assert_int_equal(ob_client_bar_eventfds(client, 0, &eventfd, 1), -EOPNOTSUPP);
    assert_int_equal(ob_client_set_vectors(client, OB_CLIENT_MSI, 0, 0, NULL), -EOPNOTSUPP);
    assert_int_equal(ob_client_mask_vectors(client, OB_CLIENT_MSI, 0, 1, true), -EOPNOTSUPP);
    assert_int_equal(ob_client_trigger_vectors(client, OB_CLIENT_MSI, 0, 1), -EOPNOTSUPP);
    assert_int_equal(ob_client_can_migrate(client, NULL), -EOPNOTSUPP);
    assert_int_equal(ob_client_get_run_state(client, &run_state), -EOPNOTSUPP);
    assert_int_equal(ob_client_set_run_state(client, OB_CLIENT_STOPPED), -EOPNOTSUPP);
    assert_int_equal(ob_client_save(client, bytes, 8), -EOPNOTSUPP);
    assert_int_equal(ob_client_load(client, bytes, 8), -EOPNOTSUPP);
    assert_int_equal(ob_client_log_start(client, 4096, &range, 1), -EOPNOTSUPP);
    assert_int_equal(ob_client_log_stop(client), -EOPNOTSUPP);
    assert_int_equal(ob_client_log_report(client, 4096, &range, bytes), -EOPNOTSUPP);
    assert_int_equal(recv(ends[1], bytes, 1, MSG_DONTWAIT), -1);
    ob_client_free(client);
    close(ends[1]);
}

static void a_question_and_its_data_are_one_message(void **state)
{
    struct fixture f;
    uint8_t head[4], data[4];
    const struct vfio_user_question question = {.message = {.command = VFIO_USER_DMA_UNMAP,
                                                            .head = (const uint8_t *)"head",
                                                            .head_len = 4,
                                                            .data = (const uint8_t *)"data",
                                                            .data_len = 4}};
    struct client_reply reply = {.head = head, .head_len = 4, .data = data, .data_len = 4};
    fixture_start_greeted(&f, &fixture_defaults);
    assert_int_equal(FIXTURE_SERVED(&f, 1, vfio_user_ask(f.client, &question, &reply)), 0);
    assert_memory_equal(f.remote.last.payload, "headdata", 8);
    assert_int_equal(reply.len, 8); /* this command is answered with what it said */
    assert_memory_equal(head, "head", 4);
    assert_memory_equal(data, "data", 4);
    fixture_stop(&f);
}

static void a_posted_question_is_not_waited_for(void **state)
{
    struct fixture f;
    struct message message;
    const struct vfio_user_question question = {
        .message = {.command = VFIO_USER_DEVICE_RESET, .posted = true}};
    fixture_start_greeted(&f, &fixture_defaults);
    assert_int_equal(vfio_user_ask(f.client, &question, NULL), 0); /* nobody serves */
    fake_remote_take(&f.remote, &message);
    assert_int_equal(message.header.flags, VFIO_USER_NO_REPLY);
    fixture_stop(&f);
}

static void an_answer_that_makes_no_sense_is_the_reason(void **state)
{
    struct fixture f;
    struct ob_fault fault = {0};
    fixture_start_greeted(&f, &fixture_defaults);
    ob_fault_set(&fault, -EPROTO, "it says nonsense");
    assert_int_equal(vfio_user_reject(f.client, &fault), -EPROTO);
    fixture_check_state(&f, OB_CLIENT_LOST);
    assert_string_equal(ob_client_fault(f.client)->text, "it says nonsense");
    fixture_stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(another_wire_has_no_messages),
        TEST(a_question_and_its_data_are_one_message),
        TEST(a_posted_question_is_not_waited_for),
        TEST(an_answer_that_makes_no_sense_is_the_reason),
    };
    event_prepare(); /* what a process has once, before descriptors are counted */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
