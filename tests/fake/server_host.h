// SPDX-License-Identifier: BSD-3-Clause
/*
 * A world made of memory for devices and engines: what they ask a struct server_host for is
 * answered here, deterministically, for unit tests and fuzz targets.
 *
 * Descriptors are small numbers of this world, never of the kernel; it knows which are open, of
 * which kind, and aborts when one is closed twice. Each mapping of a file is a heap block of its
 * own, so that a sanitizer sees every access outside of it or after its end.
 */
#ifndef OUTBOARD_TESTS_FAKE_SERVER_HOST_H
#define OUTBOARD_TESTS_FAKE_SERVER_HOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "device/host.h"

#define FAKE_DESCRIPTORS 128u /* more than an engine may hold at a time */
#define FAKE_TRACE_LEN   8192u
#define FAKE_SENT_LEN    4096u
#define FAKE_PIPE_LEN    4096u
#define FAKE_FILE_LEN    UINT64_C(0x10000)

enum fake_kind {
    FAKE_CLOSED,
    FAKE_EVENT,
    FAKE_FILE,
    FAKE_PIPE,
    FAKE_OTHER, /* none of these */
};

struct fake_descriptor {
    enum fake_kind kind;
    uint64_t inode;   /* FAKE_FILE: equal for descriptors of the same file */
    unsigned signals; /* FAKE_EVENT: how often it was signalled */
    void (*fired)(void *argument);
    void *argument;
    ob_watch_fn ready; /* FAKE_PIPE, while it is watched */
};

/* The one pipe of the world, whose other end is the test's. */
struct fake_pipe {
    uint8_t bytes[FAKE_PIPE_LEN];
    size_t len;  /* in it */
    size_t room; /* bytes that it takes at a time; 0: none */
    bool ended;  /* the test writes, or reads, no more */
};

struct fake_host {
    struct fake_pipe pipe;
    struct server_host host;
    struct fake_descriptor descriptors[FAKE_DESCRIPTORS];
    unsigned mappings;          /* alive */
    unsigned memories;          /* of BARs, alive */
    unsigned warnings;          /* sentences said */
    unsigned traced;            /* lines */
    char trace[FAKE_TRACE_LEN]; /* the last ones of them, each with a newline */
    uint64_t now_ms;
    unsigned looks;              /* times of which the engine has asked to be called at */
    uint8_t sent[FAKE_SENT_LEN]; /* on peers' sockets, the last bytes */
    size_t sent_len;
    bool refuses_send;  /* send() fails with -EAGAIN */
    bool refuses_watch; /* event_watch() fails with -ENOMEM */
};

void fake_host_init(struct fake_host *fake);

/* Opens a descriptor. Returns -1 when the world has no more. */
int fake_open(struct fake_host *fake, enum fake_kind kind, uint64_t inode);
static inline int fake_event(struct fake_host *fake)
{
    return fake_open(fake, FAKE_EVENT, 0);
}
/* Opens a file of FAKE_FILE_LEN bytes; two descriptors with one inode are one file. */
static inline int fake_file(struct fake_host *fake, uint64_t inode)
{
    return fake_open(fake, FAKE_FILE, inode);
}

unsigned fake_open_count(const struct fake_host *fake);
/* Whether nothing is open, mapped or allocated. */
bool fake_is_empty(const struct fake_host *fake);
/* Tells whoever watches a pipe that it can go on. Whether it is watched. */
bool fake_pipe_ready(struct fake_host *fake);
/* Signals an event from outside: calls whoever watches it. */
void fake_fire(struct fake_host *fake, int fd);
unsigned fake_signals(const struct fake_host *fake, int fd);
/* The byte that a fresh mapping has for an offset of a file. */
uint8_t fake_file_byte(uint64_t inode, uint64_t offset);

#endif
