// SPDX-License-Identifier: BSD-3-Clause
/* What a successor makes of the last calls of a dead process, which may have written anything. */
#include "os/counted.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support.h"

struct pair {
    int ours, theirs;
};

static struct pair make_pair(void)
{
    int ends[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    return (struct pair){ends[0], ends[1]};
}

static void close_pair(const struct pair *pair)
{
    close(pair->ours);
    close(pair->theirs);
}

/* The state of a process that has received len bytes and a descriptor, and died before it had
 * counted them. */
static struct counted *die_after_receive(const struct pair *pair, size_t len, int *ret_fd)
{
    static char buffer[64];
    struct counted *counted = calloc(1, sizeof(*counted));
    struct received_fds fds;
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    assert_non_null(counted);
    assert_int_equal(socket_send_fds(pair->theirs, "0123456789", len, &fd, 1), (int)len);
    assert_int_equal(counted_receive(counted, 0, pair->ours, buffer, sizeof(buffer), &fds),
                     (int)len);
    close(fd);
    *ret_fd = fds.fd[0];
    counted->rx.armed = 1;
    counted->rx.total = counted->rx.base;
    counted->rx.fd_total = counted->rx.fd_base;
    return counted;
}

static void test_an_uncounted_receive_is_counted(void **state)
{
    struct pair pair = make_pair();
    int fd;
    struct counted *counted = die_after_receive(&pair, 7, &fd);
    assert_int_equal(counted_settle(counted, 0, NULL), 0);
    assert_int_equal(counted->rx.total, 7);
    assert_int_equal(counted->rx.fd_total, 1);
    assert_int_equal(counted->fds[0].fd[0], fd);
    assert_int_equal(counted->fds[0].end, 7);
    assert_int_equal(counted_settle(counted, 0, NULL), 0); /* each step can be done again */
    assert_int_equal(counted->rx.total, 7);
    close(fd);
    free(counted);
    close_pair(&pair);
}

static void test_an_uncounted_send_is_counted(void **state)
{
    struct pair pair = make_pair();
    struct counted *counted = calloc(1, sizeof(*counted));
    assert_non_null(counted);
    assert_int_equal(counted_send(counted, pair.ours, "0123", 4, NULL, 0), 4);
    counted->tx.armed = 1;
    counted->tx.total = 0;
    assert_int_equal(counted_settle(counted, 0, NULL), 0);
    assert_int_equal(counted->tx.total, 4);
    free(counted);
    close_pair(&pair);
}

static void test_every_byte_may_be_a_lie(void **state)
{
    static const uint8_t flips[] = {0x01, 0x80, 0xff};
    struct pair pair = make_pair();
    int fd;
    struct counted *truth = die_after_receive(&pair, 7, &fd);
    struct counted *lie = malloc(sizeof(*lie)); /* its end is the end of what may be touched */
    unsigned refused = 0;
    assert_non_null(lie);
    for (size_t at = 0; at < offsetof(struct counted, fds); at++)
        for (size_t k = 0; k < sizeof(flips); k++) {
            struct ob_fault fault = {0};
            memcpy(lie, truth, sizeof(*lie));
            ((uint8_t *)lie)[at] ^= flips[k];
            if (counted_settle(lie, 0, &fault) == 0)
                continue;
            assert_true(fault.text[0]);
            refused++;
        }
    assert_true(refused > 10);
    close(fd);
    free(lie);
    free(truth);
    close_pair(&pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_uncounted_receive_is_counted),
        cmocka_unit_test(test_an_uncounted_send_is_counted),
        cmocka_unit_test(test_every_byte_may_be_a_lie),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
