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
#ifndef OUTBOARD_BACKENDS_BLOCK_BLOCK_H
#define OUTBOARD_BACKENDS_BLOCK_BLOCK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include <outboard/device.h>

struct block;

/* How long an image may be silent before the device gives up on it, milliseconds: by default less
 * than the 30 s after which Linux's drivers lose patience. */
#define BLOCK_TIMEOUT_MS     20000u
#define BLOCK_TIMEOUT_MIN_MS 100u
#define BLOCK_TIMEOUT_MAX_MS 3600000u

/* Longest time that a reset, or memory that is taken back, waits for images, milliseconds; a VMM
 * waits for that long, and QEMU gives up after five seconds. */
#define BLOCK_DRAIN_MS 3000u

/* No file system tells of a file that has grown, so devices look (block_ops.resized). */
#define BLOCK_LOOK_MS 1000u

enum block_op {
    BLOCK_READ,
    BLOCK_WRITE,
    BLOCK_FLUSH,        /* earlier writes are on stable storage when it ends */
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
    /* err: 0 or a negative errno; -EAGAIN: nothing is known of it, and it is to be started again:
     * either the back end has lost its file or server and tries again (struct block.away), or
     * it was stopped. */
    void (*done)(struct block_io *io, int err);
    void *context; /* for done() */

    /* The back end's. */
    struct block *block;
    uint64_t progress; /* bytes that are done with */
    uint64_t piece;    /* bytes that it was last asked for */
    unsigned parts;    /* pieces that the back end waits for */
    unsigned step;
    unsigned method; /* by which it was last asked for: the answer is judged by that one */
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
    /* Calls done() of each operation that has ended; waits for nothing. */
    void (*reap)(struct block *block);
    /* block->stops has been set: operations that the back end has not begun end with -EAGAIN. May be NULL. */
    void (*stop)(struct block *block);
    /* Called every second or so, never waits. Looks whether the image has another size by now,
     * keeps it in block->size, and says whether it has. */
    bool (*resized)(struct block *block);
    /* The guest starts again, and expects to find only data that is on stable storage. May be
     * NULL.
     */
    void (*restart)(struct block *block);
    /* No VM is there, and nothing is in flight: lets go of files and connections that others may wait for, until
     * the next start() or restart(). May be NULL. */
    void (*rest)(struct block *block);
    /* Another process of the same device had the image, and has died: whether none of its requests
     * is in flight any more. Nothing may be started before. NULL: it is so. */
    bool (*barrier)(struct block *block);
    /* Gives up the operations in flight: they end soon, and memory is touched no more. NULL: it can't be
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
    bool zeroes_discarded; /* discarded blocks read as zeroes */
    bool away;             /* its file or server is lost, and is tried again */
    bool stops;            /* an operation with further pieces ends with -EAGAIN instead */
    unsigned in_flight;    /* operations between start() and done() */
    unsigned answers;      /* pieces of operations that have ended, ever */
    unsigned signs;        /* signs of life other than answers, ever: bytes that came or went */
    bool stuck;            /* waiting for it has failed... */
    unsigned stuck_at;     /* ...when it had given this number of answers */
};

/* How an image is to be opened. */
struct block_options {
    const char *path; /* or nbd://, nbd+unix:// */
    bool readonly;
    bool direct;         /* past the page cache */
    bool succeeds;       /* another process of the device may have it still: barrier() */
    unsigned number;     /* among the device's images; names the parts that outlive its process */
    bool raw;            /* its bytes are the disk's, whatever they look like */
    uint32_t block_size; /* of all offsets and lengths that will come */
};

/* Open an image. 0, or a negative errno with the fault filled. */
int block_uring_open(const struct block_options *options, struct block **ret_block,
                     struct ob_fault *fault);
int block_nbd_open(const struct block_options *options, struct block **ret_block,
                   struct ob_fault *fault);

/* A drain lasts until nothing is in flight in any of the blocks, operations that done() starts included, but
 * no longer than its time-out, whatever ends meanwhile. After half of it, operations are stopped
 * between their pieces; after all of it, they are given up where that is possible. A block that has
 * not answered since the last drain of it has failed is not waited for again. Nothing here waits:
 * the blocks are submitted and reaped as ever. */
struct block_drain {
    struct block *const *blocks; /* the caller's, for as long as it runs */
    unsigned count;
    bool runs;
    bool stops; /* operations, between their pieces */
    uint64_t stop_ms;
    uint64_t end_ms;
};

/* now_ms: block_clock_ms(). */
void block_drain_begin(struct block_drain *drain, struct block *const blocks[], unsigned count,
                       unsigned timeout_ms, uint64_t now_ms);
/* To be called when something has ended, and at block_drain_next_ms(). Whether the drain is over.
 */
bool block_drain_step(struct block_drain *drain, uint64_t now_ms);
uint64_t block_drain_next_ms(const struct block_drain *drain);
/* Ends it before its time. */
void block_drain_end(struct block_drain *drain);

/* How long a block has been silent while something was in flight. A server that is slow answers now
 * and then; one that hangs does not. One that sends bytes without end, and never a whole answer, is
 * given BLOCK_ANSWER_FACTOR times as long. */
#define BLOCK_ANSWER_FACTOR 8u

struct block_silence {
    unsigned answers; /* as the block had at... */
    uint64_t answered_ms;
    unsigned signs;
    uint64_t sign_ms;
};

/* Counts from now on. */
void block_silence_begin(struct block_silence *silence, const struct block *block, uint64_t now_ms);

/* To be called every now and then. Whether the block is silent for that long. */
bool block_is_silent(struct block_silence *silence, const struct block *block, uint64_t now_ms,
                     unsigned timeout_ms);

uint64_t block_clock_ms(void);

#endif
