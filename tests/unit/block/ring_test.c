// SPDX-License-Identifier: BSD-3-Clause
#include "block/ring.h"

#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static bool is_forbidden(int err)
{
    return err == -EPERM || err == -EACCES || err == -ENOSYS;
}

static void make(struct io_uring *ring)
{
    int err = ring_make(ring);
    if (is_forbidden(err)) {
        print_message("skipped: io_uring is forbidden here: %s\n", strerror(-err));
        skip();
    }
    assert_int_equal(err, 0);
}

/* What the kernel answers to the entry that was prepared last. */
static int answer(struct io_uring *ring)
{
    struct io_uring_cqe *completion;
    assert_int_equal(io_uring_submit_and_wait(ring, 1), 1);
    assert_int_equal(io_uring_peek_cqe(ring, &completion), 0);
    int result = completion->res;
    io_uring_cqe_seen(ring, completion);
    return result;
}

static void an_image_is_read_and_written(void **state)
{
    struct io_uring ring;
    char bytes[4] = "";
    make(&ring);
    int fd = memfd_create("image", MFD_CLOEXEC);
    assert_true(fd >= 0);
    io_uring_prep_write(io_uring_get_sqe(&ring), fd, "abcd", 4, 0);
    assert_int_equal(answer(&ring), 4);
    io_uring_prep_fsync(io_uring_get_sqe(&ring), fd, IORING_FSYNC_DATASYNC);
    assert_int_equal(answer(&ring), 0);
    io_uring_prep_fallocate(io_uring_get_sqe(&ring), fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                            0, 4096);
    assert_int_equal(answer(&ring), 0);
    io_uring_prep_read(io_uring_get_sqe(&ring), fd, bytes, 4, 0);
    assert_int_equal(answer(&ring), 4);
    assert_memory_equal(bytes, "\0\0\0\0", 4);
    close(fd);
    io_uring_queue_exit(&ring);
}

static void nothing_is_opened_or_connected(void **state)
{
    struct io_uring ring;
    struct io_uring_sqe *entry;
    make(&ring);
    io_uring_prep_openat(io_uring_get_sqe(&ring), AT_FDCWD, "/etc/passwd", O_RDONLY, 0);
    assert_int_equal(answer(&ring), -EACCES);
    io_uring_prep_unlinkat(io_uring_get_sqe(&ring), AT_FDCWD, "/no/such", 0);
    assert_int_equal(answer(&ring), -EACCES);
    entry = io_uring_get_sqe(&ring);
    io_uring_prep_nop(entry);
    entry->opcode = IORING_OP_SOCKET;
    assert_int_equal(answer(&ring), -EACCES);
    io_uring_prep_connect(io_uring_get_sqe(&ring), 0, NULL, 0);
    assert_int_equal(answer(&ring), -EACCES);
    entry = io_uring_get_sqe(&ring);
    io_uring_prep_fsync(entry, 0, 0);
    entry->flags |= IOSQE_IO_LINK; /* no flag but IOSQE_ASYNC */
    assert_int_equal(answer(&ring), -EACCES);
    io_uring_queue_exit(&ring);
}

static void restrictions_are_for_ever(void **state)
{
    struct io_uring ring;
    struct io_uring_restriction all = {.opcode = IORING_RESTRICTION_SQE_OP,
                                       .sqe_op = IORING_OP_OPENAT};
    make(&ring);
    assert_true(
        syscall(SYS_io_uring_register, ring.ring_fd, IORING_REGISTER_RESTRICTIONS, &all, 1) < 0);
    io_uring_queue_exit(&ring);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_image_is_read_and_written),
        TEST(nothing_is_opened_or_connected),
        TEST(restrictions_are_for_ever),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
