// SPDX-License-Identifier: BSD-3-Clause
/* Vectors of a vfio-user remote: DEVICE_SET_IRQS. */
#include "support.h"

#include <errno.h>
#include <limits.h>
#include <linux/vfio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <outboard/client_irq.h>

#include "os/event.h"
#include "remote/fixture.h"
#include "remote/vfio_user.h"

#define VECTORS 20u

/* What SET_IRQS brought. */
struct sets {
    struct vfio_user_irq_set set[8];
    unsigned num_fds[8];
    unsigned count;
};

static size_t answer(struct fake_remote *remote, struct message *message)
{
    struct sets *sets = remote->context;
    if (message->header.command == VFIO_USER_DEVICE_GET_IRQ_INFO) {
        message->payload[12] = message->payload[8] == OB_CLIENT_MSIX ? VECTORS : 0;
        return message->len;
    }
    if (message->header.command == VFIO_USER_DEVICE_SET_IRQS) {
        const unsigned i = sets->count++ % 8;
        vfio_user_irq_set_get(message->payload, VFIO_USER_IRQ_SET_LEN, &sets->set[i]);
        sets->num_fds[i] = message->num_fds;
    }
    return fake_remote_answer(remote, message);
}

/* A remote with VECTORS of MSI-X, none of another kind, that takes 8 descriptors a message. */
static void start(struct fixture *f, struct sets *sets)
{
    uint32_t value;
    *sets = (struct sets){0};
    f->client = fake_remote_start(&f->remote, &fixture_defaults);
    f->remote.answer = answer;
    f->remote.context = sets;
    assert_int_equal(FIXTURE_SERVED(f, GREETING + 1, fixture_read_ids(f, &value)), 0);
}

static void check_set(const struct sets *sets, unsigned index, uint32_t flags, unsigned from,
                      unsigned count)
{
    assert_int_equal(sets->set[index].argsz, VFIO_USER_IRQ_SET_LEN);
    assert_int_equal(sets->set[index].flags, flags);
    assert_int_equal(sets->set[index].index, OB_CLIENT_MSIX);
    assert_int_equal(sets->set[index].start, from);
    assert_int_equal(sets->set[index].count, count);
}

static void vectors_are_set_in_pieces_of_the_descriptors_that_the_remote_takes(void **state)
{
    const uint32_t flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER;
    int fds[VECTORS];
    struct fixture f;
    struct sets sets;
    start(&f, &sets);
    const int fd = eventfd(0, EFD_CLOEXEC);
    for (unsigned i = 0; i < VECTORS; i++)
        fds[i] = fd;
    assert_int_equal(
        FIXTURE_SERVED(&f, 3, ob_client_set_vectors(f.client, OB_CLIENT_MSIX, 1, 19, fds)), 0);
    for (unsigned i = 0; i < 3; i++) {
        check_set(&sets, i, flags, 1 + 8 * i, i < 2 ? 8 : 3);
        assert_int_equal(sets.num_fds[i], i < 2 ? 8 : 3);
    }
    close(fd);
    fixture_stop(&f);
}

static void vectors_are_taken_away_by_one_message(void **state)
{
    struct fixture f;
    struct sets sets;
    start(&f, &sets);
    assert_int_equal(
        FIXTURE_SERVED(&f, 1, ob_client_set_vectors(f.client, OB_CLIENT_MSIX, 2, 18, NULL)), 0);
    check_set(&sets, 0, VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER, 2, 18);
    assert_int_equal(
        FIXTURE_SERVED(&f, 1, ob_client_set_vectors(f.client, OB_CLIENT_MSIX, 2, 0, NULL)), 0);
    check_set(&sets, 1, VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER, 0, 0);
    assert_int_equal(sets.num_fds[0] + sets.num_fds[1], 0);
    fixture_stop(&f);
}

static void vectors_are_masked_and_triggered(void **state)
{
    struct fixture f;
    struct sets sets;
    start(&f, &sets);
    assert_int_equal(
        FIXTURE_SERVED(&f, 1, ob_client_mask_vectors(f.client, OB_CLIENT_MSIX, 3, 4, true)), 0);
    assert_int_equal(
        FIXTURE_SERVED(&f, 1, ob_client_mask_vectors(f.client, OB_CLIENT_MSIX, 3, 4, false)), 0);
    assert_int_equal(
        FIXTURE_SERVED(&f, 1, ob_client_trigger_vectors(f.client, OB_CLIENT_MSIX, 19, 1)), 0);
    check_set(&sets, 0, VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_MASK, 3, 4);
    check_set(&sets, 1, VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_UNMASK, 3, 4);
    check_set(&sets, 2, VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER, 19, 1);
    fixture_stop(&f);
}

static void vectors_that_there_are_not_are_not_asked_for(void **state)
{
    static const struct {
        unsigned kind, start, count;
    } cases[] = {{OB_CLIENT_MSIX, 0, VECTORS + 1},
                 {OB_CLIENT_MSIX, VECTORS, 1},
                 {OB_CLIENT_MSIX, UINT_MAX, 2},
                 {OB_CLIENT_MSIX, 2, UINT_MAX},
                 {OB_CLIENT_MSI, 0, 1},
                 {OB_CLIENT_IRQ_KINDS, 0, 1}};
    struct fixture f;
    struct sets sets;
    start(&f, &sets);
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const enum ob_client_irq kind = (enum ob_client_irq)cases[i].kind;
        const unsigned from = cases[i].start, count = cases[i].count;
        assert_int_equal(ob_client_set_vectors(f.client, kind, from, count, NULL), -EINVAL);
        assert_int_equal(ob_client_mask_vectors(f.client, kind, from, count, true), -EINVAL);
        assert_int_equal(ob_client_trigger_vectors(f.client, kind, from, count), -EINVAL);
    }
    assert_int_equal(ob_client_mask_vectors(f.client, OB_CLIENT_MSIX, 0, 0, true), -EINVAL);
    assert_int_equal(ob_client_trigger_vectors(f.client, OB_CLIENT_MSIX, 0, 0), -EINVAL);
    assert_int_equal(ob_client_set_vectors(f.client, OB_CLIENT_MSIX, 0, 1, (int[]){-1}), -EBADF);
    assert_int_equal(vfio_user_set_intx(f.client, 0, 0), -EINVAL);
    assert_int_equal(sets.count, 0);
    assert_int_equal(fixture_read_some(&f.remote, 1), 0);
    fixture_stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(vectors_are_set_in_pieces_of_the_descriptors_that_the_remote_takes),
        TEST(vectors_are_taken_away_by_one_message),
        TEST(vectors_are_masked_and_triggered),
        TEST(vectors_that_there_are_not_are_not_asked_for),
    };
    event_prepare(); /* what a process has once, before descriptors are counted */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
