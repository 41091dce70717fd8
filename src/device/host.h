// SPDX-License-Identifier: BSD-3-Clause
/*
 * The requests of devices and engines to the world around them: the one seam between this layer, which
 * does no I/O, and the program. src/program/host.c answers with system calls; tests and fuzz
 * targets answer with memory.
 */
#ifndef OUTBOARD_DEVICE_HOST_H
#define OUTBOARD_DEVICE_HOST_H

#include <sys/types.h>

#include <outboard/watch.h>

#include "memory/memory.h"

struct server_host {
    struct memory_host memory;

    /* Makes an eventfd, to be closed with close(). 0 or a negative errno. */
    int (*event_new)(void *context, int *ret_fd);
    /* Whether fd is an eventfd; it may be one that blocks. 0 or a negative errno. */
    int (*event_check)(void *context, int fd);
    /* Whether both are the same eventfd, under one number or two. */
    bool (*event_is_same)(void *context, int one, int other);
    /* Adds one to an eventfd that event_check() has accepted, without waiting. */
    void (*event_signal)(void *context, int fd);
    /* Calls fired(argument) whenever the eventfd has been signalled, until event_unwatch(): once
     * for each signal, whatever the eventfd still counts then. */
    int (*event_watch)(void *context, int fd, void (*fired)(void *argument), void *argument);
    void (*event_unwatch)(void *context, int fd);
    /* As ob_device_watch() and ob_device_unwatch(). */
    int (*watch)(void *context, int fd, unsigned events, ob_watch_fn ready, void *argument);
    void (*unwatch)(void *context, int fd);
    /* Shared memory of len bytes, zeroed, with a descriptor that others can map. */
    int (*memory_new)(void *context, uint64_t len, uint8_t **ret_address, int *ret_fd);
    /* The memory of a process that has died, at the address of memory that was made here, and as
     * long; fd is taken over, and the one there closed. 0; -EOVERFLOW if it is shorter; or another
     * errno. */
    int (*memory_adopt)(void *context, uint8_t *address, uint64_t len, int fd, int old_fd);
    void (*memory_free)(void *context, uint8_t *address, uint64_t len, int fd);
    /* Sends all bytes to a peer's socket, without waiting. 0; -EAGAIN when there is no room for them;
     * or another negative errno. After a failure some of them may have been sent. */
    int (*send)(void *context, int fd, const uint8_t *bytes, size_t len);
    /* A pipe that the peer has passed; as src/os/pipe.h. */
    int (*pipe_check)(void *context, int fd);
    ssize_t (*pipe_read)(void *context, int fd, uint8_t *ret_bytes, size_t len);
    ssize_t (*pipe_write)(void *context, int fd, const uint8_t *bytes, size_t len);
    /* Milliseconds of a clock that never runs backward. */
    uint64_t (*now_ms)(void *context);
    /* Calls engine_poke() once after that time, if not before. */
    void (*look_again)(void *context, unsigned after_ms);
    /* Closes any descriptor, a peer's too, without waiting. */
    void (*close)(void *context, int fd);
    /* Tells a person of something odd that changes nothing. kind: the format that the sentence was
     * made from; sentences of one kind are told at a bounded rate. */
    void (*warn)(void *context, const char *kind, const char *sentence);
    /* Takes a line of the trace, if ob_device.traces asks for one. */
    void (*trace)(void *context, const char *line);
    void *context;
};

#endif
