// SPDX-License-Identifier: BSD-3-Clause
/* An image of an NBD server before the libnbd(3) of tests/fake. */
#include "block/block.h"

#include "support.h"

#include <errno.h>
#include <string.h>

#include "fake/libnbd.h"

#define LEN 512u

struct operation {
    struct block_io io;
    struct iovec piece;
    uint8_t bytes[LEN];
    unsigned ended;
    int err;
};

static void on_done(struct block_io *io, int err)
{
    struct operation *operation = io->context;
    operation->ended++;
    operation->err = err;
}

static void start_read(struct block *block, struct operation *operation)
{
    *operation = (struct operation){0};
    operation->piece = (struct iovec){.iov_base = operation->bytes, .iov_len = LEN};
    operation->io = (struct block_io){.op = BLOCK_READ,
                                      .len = LEN,
                                      .iov = &operation->piece,
                                      .iov_count = 1,
                                      .done = on_done,
                                      .context = operation};
    block->ops->start(block, &operation->io);
}

/* The connection is let go while no VM is there. A read has it made again, and comes before it is
 * there. */
static void a_read_while_the_connection_is_made_is_to_be_repeated(void **state)
{
    const struct block_options options = {.path = "nbd://images.test", .block_size = LEN};
    struct ob_fault fault = {0};
    struct block *block = NULL;
    struct operation operation;
    fake_nbd = (struct fake_nbd){.size = FAKE_NBD_LEN,
                                 .min_block = 1,
                                 .preferred = 4096,
                                 .max_data = 65536,
                                 .has_fua = true};
    memset(fake_nbd.data, 'x', LEN);
    assert_int_equal(block_nbd_open(&options, &block, &fault), 0);
    block->ops->rest(block);
    assert_true(block->away);

    start_read(block, &operation);
    block->ops->reap(block);
    assert_int_equal(operation.ended, 1);
    assert_int_equal(operation.err, -EAGAIN);
    assert_false(block->away);

    start_read(block, &operation);
    fake_nbd.answers = 1;
    block->ops->reap(block);
    assert_int_equal(operation.ended, 1);
    assert_int_equal(operation.err, 0);
    assert_int_equal(operation.bytes[LEN - 1], 'x');
    block->ops->close(block);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_read_while_the_connection_is_made_is_to_be_repeated),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
