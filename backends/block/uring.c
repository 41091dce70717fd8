// SPDX-License-Identifier: BSD-3-Clause
/*
 * Raw files and block devices through io_uring(7).
 *
 * start() puts an entry into the ring, submit() hands them to the kernel, several with one call,
 * and the ring's descriptor becomes readable when something has ended. Data goes straight between
 * the file and the caller's memory. An operation may take several entries, one after the other:
 * an operation that the kernel did in part is continued, zeroes are tried in ways that get slower, and zeroes
 * that must be on stable storage are followed by a flush. There are never more entries at a time
 * than operations, of which the caller has fewer than the ring has room. An entry is judged by its
 * request, which block_io keeps: ways to write zeroes are given up while others are on their
 * way.
 *
 * With direct I/O, memory that is not aligned as the device wants it goes through a second
 * descriptor, past whose page cache the kernel keeps both in step.
 *
 * Entries that the kernel has begun can't be called back: on a file system that hangs they stay in flight.
 * Nothing else waits for it: where the file system waits for others, a thread asks for the size. The
 * ring keeps files and locks until the kernel has taken it apart, so the lock lasts as long as
 * something may still be written; at an orderly end it is given back by hand. Entries that the kernel
 * has not begun can: stop() cancels them, and an operation with more pieces ends behind the one under way.
 */
#include "block/block.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include <outboard/watch.h>

#include "block/image_format.h"
#include "block/image_lock.h"
#include "block/ring.h"
#include "block/size_look.h"

#define ZEROES_LEN    65536u
#define ZEROES_IOVECS 16u
#define SECTOR        512u

/* The length that is discarded at a time: the kernel can't be stopped within it. */
#define DISCARD_LEN (UINT64_C(4) << 30)

/* The disk is to begin while there are more entries to come, with this number of them. Past the page
 * cache, one that has nothing to do begins with the first of all, and each with one whose memory the
 * kernel takes long to go through. */
#define SUBMIT_AT_ONCE 8u
#define SUBMIT_LEN     65536u

/* Ways to write zeroes, best first; each is tried until the file system says that it has no such
 * thing. */
enum zero_method {
    ZERO_PUNCH, /* only if the space may go */
    ZERO_RANGE,
    ZERO_WRITE,
};

/* The meaning of a completion that belongs to no operation. */
#define CANCELLATION NULL

/* The ring's files. */
#define IMAGE    0
#define BUFFERED 1

/* A program that was killed may have requests until the kernel has taken its ring apart: the longest
 * wait for that, and its steps. */
#define LOCK_PATIENCE_MS 3000u
#define LOCK_STEP_MS     10u

/* Where an operation is: block_io.step. */
enum step {
    STEP_WORK = 0,
    STEP_SYNC, /* zeroes that must be stable */
};

struct uring {
    struct block block;
    struct io_uring ring;
    int fd;
    int buffered_fd; /* -1: fd is not direct */
    int lock_fd;     /* has the image's lock, and is not a file of the ring */
    uint32_t align;  /* of direct I/O and of changes of space; bytes */
    bool is_device;
    bool waits;     /* for the locks: barrier() */
    bool may_block; /* the file system waits for others, even where it is asked not to */
    bool no_punch;
    bool no_zero_range;
    struct size_look *size_look; /* NULL: the file system tells the size at once */
    uint8_t *zeroes;
    struct iovec zero_iov[ZEROES_IOVECS];
};

static struct uring *uring_of(struct block *block)
{
    return (struct uring *)block;
}

static struct io_uring_sqe *next_entry(struct uring *uring)
{
    struct io_uring_sqe *entry = io_uring_get_sqe(&uring->ring);
    if (!entry) {
        io_uring_submit(&uring->ring);
        entry = io_uring_get_sqe(&uring->ring);
    }
    assert(entry);
    return entry;
}

static bool aligned(const struct uring *uring, const struct block_io *io)
{
    for (unsigned i = 0; i < io->iov_count; i++)
        if ((uintptr_t)io->iov[i].iov_base % SECTOR || io->iov[i].iov_len % uring->align)
            return false;
    return true;
}

static int file_for(const struct uring *uring, const struct block_io *io)
{
    return uring->buffered_fd >= 0 && !aligned(uring, io) ? BUFFERED : IMAGE;
}

static enum zero_method zero_method(const struct uring *uring, const struct block_io *io)
{
    if (uring->is_device && (io->offset | io->len) % uring->align)
        return ZERO_WRITE;
    if (io->flags & BLOCK_MAY_UNMAP && !uring->no_punch)
        return ZERO_PUNCH;
    return uring->no_zero_range ? ZERO_WRITE : ZERO_RANGE;
}

static void prepare_zeroes(struct uring *uring, struct block_io *io, struct io_uring_sqe *entry)
{
    uint64_t offset = io->offset + io->progress;
    uint64_t left = io->len - io->progress;
    io->piece = left;
    io->method = zero_method(uring, io);
    switch (io->method) {
    case ZERO_PUNCH:
        io_uring_prep_fallocate(entry, IMAGE, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                (off_t)offset, (off_t)left);
        break;
    case ZERO_RANGE:
        io_uring_prep_fallocate(entry, IMAGE, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
                                (off_t)offset, (off_t)left);
        break;
    case ZERO_WRITE:
        if (left >= ZEROES_LEN)
            io_uring_prep_writev(entry, IMAGE, uring->zero_iov,
                                 left / ZEROES_LEN < ZEROES_IOVECS ? (unsigned)(left / ZEROES_LEN)
                                                                   : ZEROES_IOVECS,
                                 offset);
        else
            io_uring_prep_write(entry, IMAGE, uring->zeroes, (unsigned)left, offset);
        break;
    }
}

static void prepare_discard(const struct uring *uring, struct block_io *io,
                            struct io_uring_sqe *entry)
{
    uint64_t left = io->len - io->progress;
    io->piece = left < DISCARD_LEN ? left : DISCARD_LEN;
    io_uring_prep_fallocate(entry, IMAGE, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                            (off_t)(io->offset + io->progress), (off_t)io->piece);
}

/* A single piece of memory needs no list of pieces, which the kernel would copy. */
static void prepare_transfer(const struct uring *uring, const struct block_io *io,
                             struct io_uring_sqe *entry)
{
    uint64_t offset = io->offset + io->progress;
    int file = file_for(uring, io);
    bool single = io->iov_count == 1;
    const void *pieces = single ? io->iov->iov_base : io->iov;
    unsigned count = single ? (unsigned)io->iov->iov_len : io->iov_count;
    if (io->op == BLOCK_READ)
        io_uring_prep_rw(single ? IORING_OP_READ : IORING_OP_READV, entry, file, pieces, count,
                         offset);
    else
        io_uring_prep_rw(single ? IORING_OP_WRITE : IORING_OP_WRITEV, entry, file, pieces, count,
                         offset);
    if (io->flags & BLOCK_FUA)
        entry->rw_flags = RWF_DSYNC;
}

/* Puts the next piece of an operation into the ring. */
static void prepare(struct uring *uring, struct block_io *io)
{
    struct io_uring_sqe *entry = next_entry(uring);
    if (io->step == STEP_SYNC || io->op == BLOCK_FLUSH)
        io_uring_prep_fsync(entry, IMAGE, IORING_FSYNC_DATASYNC);
    else if (io->op == BLOCK_READ || io->op == BLOCK_WRITE)
        prepare_transfer(uring, io, entry);
    else if (io->op == BLOCK_DISCARD)
        prepare_discard(uring, io, entry);
    else
        prepare_zeroes(uring, io, entry);
    entry->flags |= RING_ENTRY_FLAGS;
    if (uring->may_block)
        entry->flags |= IOSQE_ASYNC;
    io_uring_sqe_set_data(entry, io);
}

static void start(struct block *block, struct block_io *io)
{
    struct uring *uring = uring_of(block);
    bool is_direct = uring->buffered_fd >= 0;
    bool begins = is_direct && (block->in_flight == 0 || io->len >= SUBMIT_LEN);
    io->block = block;
    io->progress = 0;
    io->step = STEP_WORK;
    block->in_flight++;
    prepare(uring, io);
    if (begins || io_uring_sq_ready(&uring->ring) >= SUBMIT_AT_ONCE)
        io_uring_submit(&uring->ring);
}

static bool submit(struct block *block)
{
    struct uring *uring = uring_of(block);
    if (io_uring_sq_ready(&uring->ring) == 0)
        return false;
    io_uring_submit(&uring->ring); /* entries for which the kernel has no memory stay in the ring */
    return io_uring_sq_ready(&uring->ring) > 0;
}

static void advance(struct block_io *io, size_t len)
{
    io->progress += len;
    while (io->iov_count > 0 && len >= io->iov->iov_len) {
        len -= io->iov->iov_len;
        io->iov++;
        io->iov_count--;
    }
    if (len > 0) {
        io->iov->iov_base = (uint8_t *)io->iov->iov_base + len;
        io->iov->iov_len -= len;
    }
}

/* The kernel's result for a piece: 1 if the operation has ended well, 0 if it continues, or its
 * errno. */
static int judge_transfer(struct block_io *io, int result)
{
    if (result <= 0)
        return result < 0 ? result : -EIO; /* the file has become shorter */
    advance(io, (size_t)result);
    return io->progress == io->len;
}

static int judge_zeroes(struct uring *uring, struct block_io *io, int result)
{
    bool is_written = io->method == ZERO_WRITE;
    if (result == -EOPNOTSUPP && !is_written) {
        uring->no_punch |= io->method == ZERO_PUNCH;
        uring->no_zero_range |= io->method == ZERO_RANGE;
        return 0;
    }
    if (result < 0)
        return result;
    io->progress += is_written ? (uint64_t)result : io->piece;
    if (io->progress < io->len)
        return result > 0 ? 0 : -EIO;
    if (!(io->flags & BLOCK_FUA))
        return 1;
    io->step = STEP_SYNC;
    return 0;
}

static int judge_discard(struct uring *uring, struct block_io *io, int result)
{
    if (result == -EOPNOTSUPP) {
        uring->block.can_discard = false;
        return 1;
    }
    /* Discarding is advice, which a device does not take for less than a sector of its own. */
    if (result < 0 && !(result == -EINVAL && uring->is_device))
        return result;
    io->progress += io->piece;
    return io->progress == io->len;
}

/* Nothing has been done, and it is to be asked for again: stop() or a signal came first. */
static bool is_untouched(int result)
{
    return result == -EINTR || result == -EAGAIN || result == -ECANCELED;
}

static int judge(struct uring *uring, struct block_io *io, int result)
{
    if (is_untouched(result))
        return 0;
    if (io->step == STEP_SYNC || io->op == BLOCK_FLUSH)
        return result < 0 ? result : 1;
    if (io->op == BLOCK_DISCARD)
        return judge_discard(uring, io, result);
    if (io->op == BLOCK_WRITE_ZEROES)
        return judge_zeroes(uring, io, result);
    return judge_transfer(io, result);
}

static void go_on(struct uring *uring, struct block_io *io, int verdict)
{
    struct block *block = &uring->block;
    block->answers++;
    if (verdict == 0 && !block->stops) {
        prepare(uring, io);
        return;
    }
    block->in_flight--;
    io->done(io, verdict == 0 ? -EAGAIN : verdict < 0 ? verdict : 0);
}

static void reap(struct block *block)
{
    struct uring *uring = uring_of(block);
    struct io_uring_cqe *completion;
    while (io_uring_peek_cqe(&uring->ring, &completion) == 0) {
        struct block_io *io = io_uring_cqe_get_data(completion);
        int result = completion->res;
        io_uring_cqe_seen(&uring->ring, completion);
        if (io != CANCELLATION)
            go_on(uring, io, judge(uring, io, result));
    }
}

static void stop(struct block *block)
{
    struct uring *uring = uring_of(block);
    struct io_uring_sqe *entry = next_entry(uring);
    io_uring_prep_cancel(entry, NULL, IORING_ASYNC_CANCEL_ALL | IORING_ASYNC_CANCEL_ANY);
    entry->flags |= RING_ENTRY_FLAGS;
    io_uring_sqe_set_data(entry, CANCELLATION);
    io_uring_submit(&uring->ring);
}

static int file_size(int fd, uint64_t *ret_size)
{
    struct stat status;
    if (fstat(fd, &status) < 0)
        return -errno;
    if (S_ISBLK(status.st_mode))
        return ioctl(fd, BLKGETSIZE64, ret_size) < 0 ? -errno : 0;
    *ret_size = (uint64_t)status.st_size;
    return S_ISREG(status.st_mode) ? 0 : -EINVAL;
}

static bool resized(struct block *block)
{
    const struct uring *uring = uring_of(block);
    uint64_t size = block->size;
    if (uring->size_look)
        size = size_look_take(uring->size_look);
    else
        file_size(uring->fd, &size);
    if (size == block->size)
        return false;
    block->size = size;
    return true;
}

static void ring_ready(void *argument, unsigned events)
{
    reap(argument);
}

static int watch(struct block *block, struct ob_device *device)
{
    struct uring *uring = uring_of(block);
    int err = 0;
    if (uring->may_block && !uring->is_device)
        err = size_look_new(uring->fd, block->size, &uring->size_look);
    return err < 0
               ? err
               : ob_device_watch(device, uring->ring.ring_fd, OB_WATCH_READABLE, ring_ready, block);
}

static void free_uring(struct uring *uring)
{
    if (uring->fd >= 0)
        close(uring->fd);
    if (uring->buffered_fd >= 0)
        close(uring->buffered_fd);
    if (uring->lock_fd >= 0)
        close(uring->lock_fd);
    free(uring->zeroes);
    free(uring);
}

static void close_block(struct block *block)
{
    struct uring *uring = uring_of(block);
    reap(block);
    io_uring_queue_exit(&uring->ring);
    if (block->in_flight == 0) {
        image_unlock(uring->fd);
        image_unlock(uring->lock_fd);
    }
    if (size_look_free(
            uring->size_look)) /* or the thread has the descriptor, and the program ends */
        free_uring(uring);
}

/* Served as raw, the guest's first mkfs would destroy it. The guest may also have written the mark
 * itself: then raw is right, and who starts us can say so. */
static int check_format(const struct uring *uring, const struct block_options *options,
                        struct ob_fault *fault)
{
    int fd = uring->buffered_fd >= 0 ? uring->buffered_fd : uring->fd;
    const char *format = options->raw ? NULL : image_format_of(fd, uring->block.size);
    if (!format)
        return 0;
    return ob_fault_set(
        fault, -EINVAL,
        "%.60s: got a %s image, expected a raw one; serve it by 'outboard disk' with ,format=%s or "
        "by 'qemu-nbd --persistent -f %s' (the manual's EXAMPLES), or give ,format=raw",
        options->path, format, format, format);
}

/* Only a killed program's requests are waited for: a program that lives keeps its image. */
static int lock_image(const struct uring *uring, bool readonly)
{
    const struct timespec step = {.tv_nsec = LOCK_STEP_MS * 1000000L};
    uint64_t until_ms = block_clock_ms() + LOCK_PATIENCE_MS;
    int err = image_lock(uring->lock_fd, readonly);
    if (err < 0)
        return err;
    err = image_lock_requests(uring->fd, readonly);
    while (err == -EAGAIN && block_clock_ms() < until_ms) {
        nanosleep(&step, NULL);
        err = image_lock_requests(uring->fd, readonly);
    }
    return err;
}

static int open_files(struct uring *uring, const struct block_options *options,
                      struct ob_fault *fault)
{
    const char *path = options->path;
    int flags = (options->readonly ? O_RDONLY : O_RDWR) | O_CLOEXEC;
    uring->fd = open(path, flags | (options->direct ? O_DIRECT : 0));
    if (uring->fd >= 0 && options->direct)
        uring->buffered_fd = open(path, flags);
    if (uring->fd >= 0)
        uring->lock_fd = open(path, flags);
    if (uring->fd < 0 || uring->lock_fd < 0 || (options->direct && uring->buffered_fd < 0))
        return ob_fault_set(fault, -errno, "can't open %s: %s%s", path, strerror(errno),
                            options->direct && errno == EINVAL
                                ? "; its file system has no direct I/O, leave 'direct' out"
                                : "");
    uring->waits = options->succeeds;
    int err = uring->waits ? 0 : lock_image(uring, options->readonly);
    if (err == -EAGAIN)
        return ob_fault_set(fault, err,
                            "%s: another process uses the image; end that process first", path);
    if (err < 0)
        return ob_fault_set(fault, err, "can't lock %s: %s", path, strerror(-err));
    err = file_size(uring->fd, &uring->block.size);
    if (err < 0)
        return ob_fault_set(fault, err, "%s: expected a file or a block device", path);
    int cant_write = 0;
    if (!options->readonly && ioctl(uring->fd, BLKROGET, &cant_write) == 0 && cant_write)
        return ob_fault_set(fault, -EROFS, "%s: the image is read only; give 'readonly'", path);
    return check_format(uring, options, fault);
}

/* A file system behind a server or a process waits for it within io_uring_enter(2), and then so
 * would we, unless the kernel is told to use a thread of its own. */
static bool waits_for_others(int fd)
{
    static const uint32_t kinds[] = {FUSE_SUPER_MAGIC, NFS_SUPER_MAGIC,  SMB_SUPER_MAGIC,
                                     SMB2_SUPER_MAGIC, CIFS_SUPER_MAGIC, V9FS_MAGIC,
                                     CEPH_SUPER_MAGIC, AFS_SUPER_MAGIC};
    struct statfs status;
    bool waits = false;
    if (fstatfs(fd, &status) < 0)
        return true;
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        waits |= (uint32_t)status.f_type == kinds[i];
    return waits;
}

/* The sector of a device, or the alignment that a file system wants for direct I/O. */
static void learn_alignment(struct uring *uring, bool direct)
{
    struct statx status = {0};
    int sector = 0;
    uring->align = SECTOR;
    uring->is_device = ioctl(uring->fd, BLKSSZGET, &sector) == 0;
    if (uring->is_device && sector > (int)SECTOR)
        uring->align = (uint32_t)sector;
    if (!uring->is_device && direct &&
        statx(uring->fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &status) == 0 &&
        status.stx_dio_offset_align > SECTOR)
        uring->align = status.stx_dio_offset_align;
}

/* Direct I/O in blocks that are smaller than the disk's would need reading before writing. */
static int check_blocks(const struct uring *uring, const struct block_options *options,
                        struct ob_fault *fault)
{
    if (!options->direct || uring->align <= options->block_size)
        return 0;
    return ob_fault_set(fault, -EINVAL,
                        "%s: got sectors of %u bytes; give block-size=%u, or leave 'direct' out",
                        options->path, uring->align, uring->align);
}

/* Containers' seccomp filters forbid io_uring, and so does kernel.io_uring_disabled. */
static bool is_forbidden(int err)
{
    return err == -EPERM || err == -EACCES || err == -ENOSYS;
}

static int allocate(struct uring *uring, struct ob_fault *fault)
{
    if (posix_memalign((void **)&uring->zeroes, 4096, ZEROES_LEN) != 0)
        return -ENOMEM;
    memset(uring->zeroes, 0, ZEROES_LEN);
    for (unsigned i = 0; i < ZEROES_IOVECS; i++)
        uring->zero_iov[i] = (struct iovec){.iov_base = uring->zeroes, .iov_len = ZEROES_LEN};
    const int fds[] = {[IMAGE] = uring->fd, [BUFFERED] = uring->buffered_fd};
    int err = ring_make(fds, uring->buffered_fd < 0 ? 1 : 2, &uring->ring);
    if (is_forbidden(err))
        ob_fault_set(fault, err,
                     "io_uring: forbidden here, but files need it (%s; kernel.io_uring_disabled, "
                     "seccomp); serve %.60s by 'qemu-nbd --persistent' (the manual's EXAMPLES) or "
                     "'outboard disk' with ,nbd",
                     strerror(-err), uring->block.name);
    return err;
}

static bool barrier(struct block *block)
{
    struct uring *uring = uring_of(block);
    if (uring->waits && image_lock(uring->lock_fd, block->readonly) == 0 &&
        image_lock_requests(uring->fd, block->readonly) == 0)
        uring->waits = false;
    return !uring->waits;
}

static const struct block_ops ops = {
    .watch = watch,
    .barrier = barrier,
    .start = start,
    .submit = submit,
    .reap = reap,
    .stop = stop,
    .resized = resized,
    .close = close_block,
};

int block_uring_open(const struct block_options *options, struct block **ret_block,
                     struct ob_fault *fault)
{
    struct uring *uring = calloc(1, sizeof(*uring));
    if (!uring)
        return ob_fault_set(fault, -ENOMEM, "no memory for %s", options->path);
    uring->fd = uring->buffered_fd = uring->lock_fd = -1;
    uring->block = (struct block){
        .ops = &ops,
        .name = options->path,
        .readonly = options->readonly,
        .can_discard = !options->readonly,
        .zeroes_discarded = true,
    };
    int err = open_files(uring, options, fault);
    if (err == 0) {
        learn_alignment(uring, options->direct);
        uring->may_block = waits_for_others(uring->fd);
        err = check_blocks(uring, options, fault);
    }
    if (err == 0)
        err = allocate(uring, fault);
    if (err < 0) {
        free_uring(uring);
        return ob_fault_set(fault, err, "can't set up I/O for %s: %s", options->path,
                            strerror(-err));
    }
    *ret_block = &uring->block;
    return 0;
}
