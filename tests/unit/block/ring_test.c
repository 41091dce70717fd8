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

/* A ring with one file, which is returned. */
static int make(struct io_uring *ring)
{
    int fd = memfd_create("image", MFD_CLOEXEC);
    assert_true(fd >= 0);
    int err = ring_make(&fd, 1, ring);
    if (is_forbidden(err)) {
        close(fd);
        print_message("skipped: io_uring is forbidden here: %s\n", strerror(-err));
        skip();
    }
    assert_int_equal(err, 0);
    // cppcheck-suppress deallocret ; skip() does not return
    return fd;
}

/* What the kernel answers to the entry. */
static int answer(struct io_uring *ring, struct io_uring_sqe *entry, unsigned flags)
{
    struct io_uring_cqe *completion;
    entry->flags |= (uint8_t)flags;
    assert_int_equal(io_uring_submit_and_wait(ring, 1), 1);
    assert_int_equal(io_uring_peek_cqe(ring, &completion), 0);
    int result = completion->res;
    io_uring_cqe_seen(ring, completion);
    return result;
}

/* Entries that are allowed to a ring, on its file number 0. */
static void an_image_is_read_and_written(void **state)
{
    struct io_uring ring;
    char bytes[4] = "";
    int fd = make(&ring);
    struct io_uring_sqe *entry = io_uring_get_sqe(&ring);
    io_uring_prep_write(entry, 0, "abcd", 4, 0);
    assert_int_equal(answer(&ring, entry, RING_ENTRY_FLAGS | IOSQE_ASYNC), 4);
    entry = io_uring_get_sqe(&ring);
    io_uring_prep_fsync(entry, 0, IORING_FSYNC_DATASYNC);
    assert_int_equal(answer(&ring, entry, RING_ENTRY_FLAGS), 0);
    assert_int_equal(pread(fd, bytes, 4, 0), 4);
    assert_memory_equal(bytes, "abcd", 4);
    entry = io_uring_get_sqe(&ring);
    io_uring_prep_fallocate(entry, 0, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096);
    assert_int_equal(answer(&ring, entry, RING_ENTRY_FLAGS), 0);
    entry = io_uring_get_sqe(&ring);
    io_uring_prep_read(entry, 0, bytes, 4, 0);
    assert_int_equal(answer(&ring, entry, RING_ENTRY_FLAGS), 4);
    assert_memory_equal(bytes, "\0\0\0\0", 4);
    entry = io_uring_get_sqe(&ring);
    io_uring_prep_cancel(entry, NULL, IORING_ASYNC_CANCEL_ALL | IORING_ASYNC_CANCEL_ANY);
    assert_int_equal(answer(&ring, entry, RING_ENTRY_FLAGS), 0);
    close(fd);
    io_uring_queue_exit(&ring);
}

static void no_other_descriptor_is_reached(void **state)
{
    struct io_uring ring;
    char bytes[4];
    int fd = make(&ring);
    struct io_uring_sqe *entry = io_uring_get_sqe(&ring);
    io_uring_prep_read(entry, fd, bytes, 4, 0);
    assert_int_equal(answer(&ring, entry, 0), -EACCES);
    entry = io_uring_get_sqe(&ring);
    io_uring_prep_read(entry, 1, bytes, 4, 0);
    assert_int_equal(answer(&ring, entry, RING_ENTRY_FLAGS), -EBADF);
    assert_true(io_uring_register_files_update(&ring, 0, &fd, 1) < 0);
    close(fd);
    io_uring_queue_exit(&ring);
}

static void nothing_is_opened_or_connected(void **state)
{
    static const uint8_t operations[] = {
        IORING_OP_OPENAT,   IORING_OP_OPENAT2, IORING_OP_STATX,    IORING_OP_UNLINKAT,
        IORING_OP_RENAMEAT, IORING_OP_MKDIRAT, IORING_OP_SOCKET,   IORING_OP_CONNECT,
        IORING_OP_ACCEPT,   IORING_OP_SENDMSG, IORING_OP_RECVMSG,  IORING_OP_SEND,
        IORING_OP_RECV,     IORING_OP_CLOSE,   IORING_OP_SPLICE,   IORING_OP_POLL_ADD,
        IORING_OP_NOP,      IORING_OP_MADVISE, IORING_OP_URING_CMD};
    struct io_uring ring;
    int fd = make(&ring);
    for (size_t i = 0; i < sizeof(operations); i++) {
        struct io_uring_sqe *entry = io_uring_get_sqe(&ring);
        io_uring_prep_nop(entry);
        entry->opcode = operations[i];
        assert_int_equal(answer(&ring, entry, RING_ENTRY_FLAGS), -EACCES);
    }
    struct io_uring_sqe *entry = io_uring_get_sqe(&ring);
    io_uring_prep_fsync(entry, 0, 0);
    assert_int_equal(answer(&ring, entry, RING_ENTRY_FLAGS | IOSQE_IO_LINK), -EACCES);
    close(fd);
    io_uring_queue_exit(&ring);
}

static void restrictions_are_for_ever(void **state)
{
    struct io_uring ring;
    struct io_uring_restriction all = {.opcode = IORING_RESTRICTION_SQE_OP,
                                       .sqe_op = IORING_OP_OPENAT};
    int fd = make(&ring);
    assert_true(
        syscall(SYS_io_uring_register, ring.ring_fd, IORING_REGISTER_RESTRICTIONS, &all, 1) < 0);
    close(fd);
    io_uring_queue_exit(&ring);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_image_is_read_and_written),
        TEST(no_other_descriptor_is_reached),
        TEST(nothing_is_opened_or_connected),
        TEST(restrictions_are_for_ever),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
