// SPDX-License-Identifier: BSD-3-Clause
/*
 * Block: an image that can be read and written, whatever is behind it.
 *
 * An operation is described by a struct block_io of the caller's and ends with its done(). The
 * back end owns the block_io in between, and its iovecs, which it may change. Operations run side
 * by side and end in any order: a flush covers writes that had ended when it was started.
 *
 * done() is never called from within start(), and may start further operations.
 */
#ifndef OUTBOARD_DEVICES_NVME_BLOCK_H
#define OUTBOARD_DEVICES_NVME_BLOCK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include <outboard/device.h>

struct block;

enum block_op {
    BLOCK_READ,
    BLOCK_WRITE,
    BLOCK_FLUSH,        /* what was written before is on stable storage when it ends */
    BLOCK_WRITE_ZEROES, /* the range reads as zeroes from now on */
    BLOCK_DISCARD,      /* the range is not needed; it may read as anything it was or as zeroes */
};

enum block_flag {
    BLOCK_FUA = 1u << 0,       /* on stable storage when it ends; writes and write zeroes */
    BLOCK_MAY_UNMAP = 1u << 1, /* zeroes need take no space; write zeroes */
};

struct block_io {
    enum block_op op;
    unsigned flags;  /* enum block_flag */
    uint64_t offset; /* bytes, whole blocks */
    uint64_t len;
    struct iovec *iov; /* reads and writes; len bytes in all */
    unsigned iov_count;
    /* err: 0 or a negative errno; -EAGAIN: nothing is known of it, since the back end has lost what
     * is behind it and goes for it again (struct block.away). */
    void (*done)(struct block_io *io, int err);
    void *context; /* for done() */
    bool busy;     /* between start() and done() */
    uint64_t since_ms;

    /* The back end's. */
    struct block *block;
    uint64_t progress; /* bytes that are done with */
    unsigned parts;    /* pieces that the back end waits for */
    unsigned step;
    int err;
    uint8_t *bounce; /* memory that the data goes through, or NULL */
    struct block_io *next;
};

struct block_ops {
    /* Waits for the descriptors of the back end on the device's loop. 0 or a negative errno. */
    int (*watch)(struct block *block, struct ob_device *device);
    /* Begins an operation. It may wait for submit(). */
    void (*start)(struct block *block, struct block_io *io);
    /* Sees to it that all that was started makes progress. Returns whether some of it could not be
     * taken now, so that submit() must be called again. */
    bool (*submit)(struct block *block);
    /* Calls done() of what has ended; waits for nothing. */
    void (*reap)(struct block *block);
    /* Waits until nothing is in flight, what done() started included, or until the time is over. A
     * back end that can give up what it has in flight does so then. */
    void (*drain)(struct block *block, unsigned timeout_ms);
    /* Called every second or so, never waits. Looks whether the image has another size by now,
     * keeps it in block->size, and says whether it has. */
    bool (*resized)(struct block *block);
    /* The guest starts anew, and expects no more to find than what is on stable storage. May be
     * NULL.
     */
    void (*restart)(struct block *block);
    /* Gives up what is in flight: it ends soon, and memory is touched no more. NULL: it can't be
     * called back. */
    void (*give_up)(struct block *block);
    /* Nothing may be in flight. */
    void (*close)(struct block *block);
};

struct block {
    const struct block_ops *ops;
    const char *name; /* for messages; stays the opener's */
    uint64_t size;    /* bytes */
    bool readonly;
    bool can_discard;
    bool zeroes_discarded; /* what is discarded reads as zeroes, if it is at all */
    bool away;             /* what is behind it is lost, and looked for again */
};

/* How an image is to be opened. */
struct block_options {
    const char *path; /* or nbd://, nbd+unix:// */
    bool readonly;
    bool direct;         /* past the page cache */
    bool raw;            /* its bytes are the disk's, whatever they look like */
    uint32_t block_size; /* of all offsets and lengths that will come */
};

/* Open an image. 0, or a negative errno with the fault filled. */
int block_uring_open(const struct block_options *options, struct block **ret_block,
                     struct ob_fault *fault);
int block_nbd_open(const struct block_options *options, struct block **ret_block,
                   struct ob_fault *fault);

#endif
