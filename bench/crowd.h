// SPDX-License-Identifier: BSD-3-Clause
/*
 * Crowd: many streams of one device, each with a program of the host that sends back what it gets,
 * and one more, the first, that can be blocked in both directions.
 */
#ifndef OUTBOARD_BENCH_CROWD_H
#define OUTBOARD_BENCH_CROWD_H

#include <stdbool.h>
#include <stdint.h>

#include "process.h"
#include "virtio_driver.h"

#define CROWD_MAX 1000u /* streams, with the one that blocks */

struct crowd;

struct crowd_kind {
    const char *name;    /* "ports" */
    const char *program; /* of the device */
    unsigned members;
    uint64_t features;
    uint64_t memory_len;
    /* Puts the device's options behind what is there. They stay the kind's. */
    void (*add_options)(const char *folder, char **argv, unsigned *count);
    /* Before the driver: the process of echoes. Returns a poll set's descriptor. */
    int (*open_echoes)(const char *folder);
    /* More sockets for the set, when its listener is readable. */
    void (*accept_echoes)(int set, int listener);
    /* Sets the device up; all streams are open and served behind it. fd: the blocked stream's host end. */
    void (*open)(struct crowd *crowd, const char *folder, int *ret_fd);
    /* Sends bytes on a stream. The device is told by flush(). */
    void (*send)(struct crowd *crowd, unsigned member, uint32_t len);
    /* Bytes of a stream. False: none at present. */
    bool (*receive)(struct crowd *crowd, unsigned *ret_member, uint32_t *ret_len);
    void (*flush)(struct crowd *crowd);
    /* Whether bytes may be sent on the first stream, and whether its guest reads. */
    bool (*has_room)(const struct crowd *crowd);
    void (*read_first)(struct crowd *crowd, bool reads);
    void (*close)(struct crowd *crowd);
};

extern const struct crowd_kind crowd_ports, crowd_connections;

struct crowd {
    const struct crowd_kind *kind;
    struct bench_process device, echoes;
    struct virtio_driver driver;
    int first_fd; /* of the host, for the first stream */
    void *own;    /* the kind's */
};

/* Opens a Unix socket: connects to the path, or listens there. Ends the bench if that fails. */
int crowd_socket(const char *path, bool listens);
/* Adds a descriptor to the set of the process of echoes. */
void crowd_watch(int set, int fd, bool is_listener);

#endif
