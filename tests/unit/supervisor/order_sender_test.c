// SPDX-License-Identifier: BSD-3-Clause
#include "supervisor/order_sender.h"

#include "support.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/limits.h"
#include "os/clock.h"

struct scene {
    struct timers timers;
    struct order_sender sender;
    int process; /* its end */
    int answers, err;
    uint64_t len;
    char why[64];
};

static void set_up(struct scene *scene)
{
    *scene = (struct scene){0};
    timers_init(&scene->timers);
    int ours;
    assert_int_equal(order_sender_pair(3, &ours, &scene->process), 0);
    order_sender_begin(&scene->sender, &scene->timers, ours);
}

static void tear_down(struct scene *scene)
{
    order_sender_end(&scene->sender);
    close(scene->process);
}

static void on_answer(void *argument, int err, uint64_t len, const char *why)
{
    struct scene *scene = argument;
    scene->answers++;
    scene->err = err;
    scene->len = len;
    snprintf(scene->why, sizeof(scene->why), "%s", why);
}

static int send_reset(struct scene *scene)
{
    const struct order order = {.code = ORDER_RESET};
    return order_sender_send(&scene->sender, &order, -1, on_answer, scene);
}

/* What the process receives. */
static struct order take(const struct scene *scene)
{
    struct order order = {0};
    assert_int_equal(recv(scene->process, &order, sizeof(order), MSG_DONTWAIT), sizeof(order));
    return order;
}

static void hear(struct scene *scene, uint32_t id, int error, uint64_t len, const char *why)
{
    struct ready_told told = {.has_answer = true, .answer = {.id = id, .error = error, .len = len}};
    snprintf(told.answer.why, sizeof(told.answer.why), "%s", why);
    order_sender_hear(&scene->sender, &told);
}

static void test_an_answer(void **state)
{
    struct scene scene;
    set_up(&scene);
    assert_int_equal(send_reset(&scene), 0);
    const struct order order = take(&scene);
    assert_int_equal(order.code, ORDER_RESET);
    hear(&scene, order.id + 1, 0, 5, ""); /* to an order that there is not */
    order_sender_hear(&scene.sender, &(struct ready_told){0});
    assert_int_equal(scene.answers, 0);
    hear(&scene, order.id, 0, 5, "");
    assert_int_equal(scene.answers, 1);
    assert_int_equal(scene.err, 0);
    assert_int_equal(scene.len, 5);
    hear(&scene, order.id, 0, 5, ""); /* again */
    assert_int_equal(scene.answers, 1);
    tear_down(&scene);
}

static void test_a_refusal(void **state)
{
    struct scene scene;
    set_up(&scene);
    assert_int_equal(send_reset(&scene), 0);
    hear(&scene, take(&scene).id, EBUSY, 0, "no");
    assert_int_equal(scene.err, -EBUSY);
    assert_string_equal(scene.why, "no");
    assert_int_equal(send_reset(&scene), 0);
    hear(&scene, take(&scene).id, EBUSY, 0, "");
    assert_string_equal(scene.why, strerror(EBUSY));
    tear_down(&scene);
}

/* Answers come in any order; the fifth order at a time is refused. */
static void test_several(void **state)
{
    struct scene scene;
    uint32_t ids[ORDERS_PENDING];
    set_up(&scene);
    for (unsigned i = 0; i < ORDERS_PENDING; i++) {
        assert_int_equal(send_reset(&scene), 0);
        ids[i] = take(&scene).id;
    }
    assert_int_equal(send_reset(&scene), -EBUSY);
    hear(&scene, ids[2], 0, 2, "");
    assert_int_equal(scene.len, 2);
    hear(&scene, ids[0], 0, 7, "");
    assert_int_equal(scene.len, 7);
    assert_int_equal(send_reset(&scene), 0);
    assert_int_equal(scene.answers, 2);
    tear_down(&scene); /* tells the others */
    assert_int_equal(scene.answers, 5);
    assert_int_equal(scene.err, -ENOTCONN);
}

static void test_no_answer(void **state)
{
    struct scene scene;
    set_up(&scene);
    assert_int_equal(send_reset(&scene), 0);
    timers_run(&scene.timers, clock_now_ns());
    assert_int_equal(scene.answers, 0);
    timers_run(&scene.timers, clock_now_ns() + LIMIT_ORDER_MS * 1000000ull);
    assert_int_equal(scene.err, -ETIMEDOUT);
    assert_int_equal(timers_next(&scene.timers), TIMER_NEVER);
    hear(&scene, take(&scene).id, 0, 0, ""); /* too late */
    assert_int_equal(scene.answers, 1);
    tear_down(&scene);
}

/* The process can't send anything there. */
static void test_one_way(void **state)
{
    struct scene scene;
    set_up(&scene);
    assert_true(send(scene.process, "x", 1, MSG_NOSIGNAL | MSG_DONTWAIT) < 0);
    assert_int_equal(errno, EPIPE);
    tear_down(&scene);
    assert_int_equal(send_reset(&scene), -ENOTCONN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_an_answer), TEST(test_a_refusal), TEST(test_several),
        TEST(test_no_answer), TEST(test_one_way),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
