// SPDX-License-Identifier: BSD-3-Clause
/*
 * Pump: a descriptor that bytes go through, watched by edges for its whole life.
 *
 * An event sets the abilities of the descriptor, and the system call that says EAGAIN clears it. So who
 * waits for something else costs no system call at all, and nobody may wait for an event while
 * `readable` or `writable` still stands.
 */
#ifndef OUTBOARD_ENDPOINT_PUMP_H
#define OUTBOARD_ENDPOINT_PUMP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "os/loop.h"

/* The uses of a descriptor, or-ed. */
enum pump_use {
    PUMP_READS = 1,
    PUMP_WRITES = 2,
};

struct pump {
    int fd; /* its owner's; -1: none */
    struct loop_source *source;
    loop_fn ready; /* called behind each event, with its argument */
    void *argument;
    bool is_socket; /* descriptors may come with its bytes; they are not let in */
    /* A read that gives less than was asked for has left nothing, as sockets and pipes have it; a
     * virtio-serial port gives one of its buffers. */
    bool drains;
    bool readable; /* a read may give something */
    bool writable; /* a write may take something */
    bool hung_up;  /* no more events come for reading: read to the end */
    bool broken;   /* reset: only bytes that lie here can be read */
    bool closed;   /* the other end has closed both directions */
};

/* A pump without a descriptor, and of one that is not watched yet. */
void pump_init(struct pump *pump, int fd);

/* Watches it; the first event tells in which state it is. uses: enum pump_use. 0 or a negative
 * errno. */
int pump_watch(struct pump *pump, struct loop *loop, unsigned uses, loop_fn ready, void *argument);
/* Forgets it. Returns the descriptor, which is to be closed. */
int pump_stop(struct pump *pump);

/* Reads once. The length, 0 at the end, or a negative errno. */
ssize_t pump_read(struct pump *pump, void *ret_bytes, size_t len);
/* Writes once (SIGPIPE must be ignored). How many bytes were taken, or a negative errno. */
ssize_t pump_write(struct pump *pump, const struct iovec *spans, int count);

#endif
