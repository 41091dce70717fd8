// SPDX-License-Identifier: BSD-3-Clause
/*
 * The io_uring back end before a ring whose kernel is the input: entries end in any order, in part,
 * with any errno, or are cancelled; a way to make zeroes may stop to be known while others are on
 * their way.
 *
 * What must hold is what block_model.h says, and that no entry asks for what is not on the image.
 * The file has the size of the image and is never read or written: that is the model's memory.
 */
#include <errno.h>
#include <liburing.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "block/ring.h"
#include "block_model.h"
#include "check.h"
#include "device/device.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define STEP_LEN 4u
#define ENTRIES  1024u

static struct {
    uint8_t image[MODEL_LEN];
    struct io_uring_sqe sqes[ENTRIES];
    struct io_uring_cqe cqes[ENTRIES];
    unsigned sq_head, cq_head, cq_tail;
    struct io_uring_sqe taken[ENTRIES]; /* and not yet ended */
    unsigned taken_count;
    bool no_punch, no_zero_range;
} kernel;

int ring_make(const int *fds, unsigned count, struct io_uring *ring)
{
    CHECK(count == 1);
    *ring = (struct io_uring){.ring_fd = -1, .features = IORING_FEAT_EXT_ARG};
    ring->sq.khead = &kernel.sq_head;
    ring->sq.sqes = kernel.sqes;
    ring->sq.ring_mask = ENTRIES - 1;
    ring->sq.ring_entries = ENTRIES;
    ring->cq.khead = &kernel.cq_head;
    ring->cq.ktail = &kernel.cq_tail;
    ring->cq.cqes = kernel.cqes;
    ring->cq.ring_mask = ENTRIES - 1;
    ring->cq.ring_entries = ENTRIES;
    return 0;
}

void io_uring_queue_exit(struct io_uring *ring)
{
    CHECK(kernel.taken_count == 0);
}

static void complete(unsigned index, int result)
{
    struct io_uring_cqe *cqe = &kernel.cqes[kernel.cq_tail % ENTRIES];
    CHECK(kernel.cq_tail - kernel.cq_head < ENTRIES);
    *cqe = (struct io_uring_cqe){.user_data = kernel.taken[index].user_data, .res = result};
    kernel.cq_tail++;
    kernel.taken[index] = kernel.taken[--kernel.taken_count];
}

int io_uring_submit(struct io_uring *ring)
{
    int count = 0;
    for (; ring->sq.sqe_head != ring->sq.sqe_tail; ring->sq.sqe_head++, count++) {
        const struct io_uring_sqe *entry = &kernel.sqes[ring->sq.sqe_head % ENTRIES];
        CHECK(kernel.taken_count < ENTRIES);
        CHECK(entry->flags == RING_ENTRY_FLAGS);
        CHECK(entry->fd == 0 || entry->opcode == IORING_OP_ASYNC_CANCEL);
        kernel.taken[kernel.taken_count++] = *entry;
    }
    kernel.sq_head = ring->sq.sqe_head;
    return count;
}

int __io_uring_get_cqe(struct io_uring *ring, struct io_uring_cqe **ret_cqe, unsigned submit,
                       unsigned wait, sigset_t *mask)
{
    *ret_cqe = NULL;
    return -EAGAIN;
}

int io_uring_submit_and_wait_timeout(struct io_uring *ring, struct io_uring_cqe **ret_cqe,
                                     unsigned wait, struct __kernel_timespec *timeout,
                                     sigset_t *mask)
{
    io_uring_submit(ring);
    *ret_cqe = NULL;
    return -ETIME;
}

/* Moves up to max bytes between the image and the pieces of memory. Returns how many. */
static int transfer(const struct iovec *iov, unsigned count, uint64_t offset, bool writes,
                    size_t max)
{
    size_t done = 0;
    for (unsigned i = 0; i < count && done < max; i++) {
        size_t len = iov[i].iov_len < max - done ? iov[i].iov_len : max - done;
        CHECK(offset + done <= MODEL_LEN && len <= MODEL_LEN - offset - done);
        if (writes)
            memcpy(kernel.image + offset + done, iov[i].iov_base, len);
        else
            memcpy(iov[i].iov_base, kernel.image + offset + done, len);
        done += len;
    }
    return (int)done;
}

static int allocate(const struct io_uring_sqe *sqe)
{
    uint64_t len = sqe->addr;
    bool punches = sqe->len & FALLOC_FL_PUNCH_HOLE;
    CHECK(len > 0 && sqe->off <= MODEL_LEN && len <= MODEL_LEN - sqe->off);
    CHECK(sqe->len & FALLOC_FL_KEEP_SIZE);
    if (punches ? kernel.no_punch : kernel.no_zero_range)
        return -EOPNOTSUPP;
    memset(kernel.image + sqe->off, 0, len);
    return 0;
}

static int carry_out(const struct io_uring_sqe *sqe, size_t max)
{
    const struct iovec single = {(void *)(uintptr_t)sqe->addr, sqe->len};
    const struct iovec *several = (const struct iovec *)(uintptr_t)sqe->addr;
    switch (sqe->opcode) {
    case IORING_OP_READ:
    case IORING_OP_WRITE:
        return transfer(&single, 1, sqe->off, sqe->opcode == IORING_OP_WRITE, max);
    case IORING_OP_READV:
    case IORING_OP_WRITEV:
        return transfer(several, sqe->len, sqe->off, sqe->opcode == IORING_OP_WRITEV, max);
    case IORING_OP_FALLOCATE:
        return allocate(sqe);
    default:
        CHECK(sqe->opcode == IORING_OP_FSYNC || sqe->opcode == IORING_OP_ASYNC_CANCEL);
        return 0;
    }
}

/* Ends one of what the kernel has taken, as the bytes say. */
static void end_one(uint8_t pick, uint8_t how, uint8_t max)
{
    static const int errors[] = {EIO, EINTR, EAGAIN, ENOSPC, EOPNOTSUPP, EINVAL, ECANCELED, EBADF};
    if (kernel.taken_count == 0)
        return;
    unsigned index = pick % kernel.taken_count;
    size_t most = how & 16 ? MODEL_SECTOR * (1 + (size_t)max % 8) : SIZE_MAX;
    bool fails = how & 8;
    complete(index, fails ? -errors[how & 7] : carry_out(&kernel.taken[index], most));
}

enum step {
    STEP_START = 0, /* up to 9 */
    STEP_END = 10,  /* and 11 */
    STEP_FORGET = 12,
    STEP_STOP,
    STEP_LOOK,
    STEP_SUBMIT,
};

static void take_step(struct model *model, const uint8_t bytes[STEP_LEN])
{
    struct block *block = model->block;
    const uint8_t operation[4] = {bytes[1], bytes[2], bytes[3], bytes[0] >> 4};
    switch (bytes[0] % 16) {
    case STEP_END:
    case STEP_END + 1:
        end_one(bytes[1], bytes[2], bytes[3]);
        break;
    case STEP_FORGET:
        kernel.no_punch |= bytes[1] & 1;
        kernel.no_zero_range |= bytes[1] & 2;
        break;
    case STEP_STOP:
        block->stops = bytes[1] & 1;
        if (block->stops)
            block->ops->stop(block);
        break;
    case STEP_LOOK:
        CHECK(!block->ops->resized(block));
        break;
    case STEP_SUBMIT:
        block->ops->submit(block);
        break;
    default:
        model_start(model, operation);
        break;
    }
    block->ops->reap(block);
    CHECK(block->in_flight == model_busy(model));
}

static void finish(struct model *model)
{
    struct block *block = model->block;
    block->stops = false;
    for (unsigned i = 0; i < 10000 && (block->in_flight > 0 || kernel.taken_count > 0); i++) {
        end_one(0, 0, 0);
        block->ops->submit(block);
        block->ops->reap(block);
    }
    CHECK(block->in_flight == 0 && model_busy(model) == 0 && kernel.taken_count == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char path[64];
    static int fd = -1;
    const struct block_options options = {.path = path, .raw = true, .block_size = 512};
    struct block *block = NULL;
    struct model model;
    struct ob_fault fault = {0};
    if (fd < 0) {
        fd = memfd_create("image", MFD_CLOEXEC);
        CHECK(fd >= 0 && ftruncate(fd, MODEL_LEN) == 0);
        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    }
    memset(&kernel, 0, sizeof(kernel));
    for (size_t i = 0; i < MODEL_LEN; i++)
        kernel.image[i] = (uint8_t)(i / MODEL_SECTOR);
    CHECK(block_uring_open(&options, &block, &fault) == 0);
    model_init(&model, block, kernel.image);
    for (size_t at = 0; at + STEP_LEN <= size; at += STEP_LEN)
        take_step(&model, data + at);
    finish(&model);
    block->ops->close(block);
    return 0;
}
