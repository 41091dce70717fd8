// SPDX-License-Identifier: BSD-3-Clause
/*
 * Connector: a process outside the cell of a device program. It connects to addresses and starts
 * commands for the host ends of the device's channels, and removes the paths of its sockets at the
 * end.
 *
 * It is forked before the cell is entered. A request names a key, nothing else, and the process's own
 * copy of the options says which address or command that is. So a device that was taken over
 * reaches the targets of the options only.
 */
#ifndef OUTBOARD_PORT_CONNECTOR_H
#define OUTBOARD_PORT_CONNECTOR_H

#include <stdbool.h>
#include <stdint.h>

#include "endpoint/address.h"

/* Requests that may wait for an answer. */
#define CONNECTOR_CALLS 1024u

/* A target of a key. */
struct connector_target {
    const char *command;    /* for /bin/sh -c; NULL: an address */
    const char *service;    /* becomes OUTBOARD_SERVICE in its environment */
    bool messages;          /* by SOCK_SEQPACKET, to a Unix socket */
    struct address address; /* to connect to */
};

/* Needs of the targets of all keys. The process gives up the rights of its user that none of them needs. */
struct connector_needs {
    bool
        commands; /* everything: commands inherit each refusal, and may need set-user-ID programs */
    bool hosts;   /* TCP, names of hosts, abstract sockets */
    bool abstract; /* sockets, without hosts */
    bool removes;  /* end() removes paths */
};

struct connector_ops {
    /* Runs in the process. 0, or -EACCES for a key that stands for nothing. */
    int (*resolve)(const void *context, uint64_t key, struct connector_target *ret_target);
    /* The process ends: removes paths. */
    void (*end)(const void *context);
};

/* Of an answer; a descriptor is with it unless result is negative. */
struct connector_answer {
    uint32_t id;
    int32_t result;
};

/* The target of a key is an address. */
void connector_needs_address(struct connector_needs *needs, const struct address *address);

/* Starts it. The caller has one thread. Returns the descriptor behind which the process
 * stands, or a negative errno. */
int connector_start(const struct connector_ops *ops, const struct connector_needs *needs,
                    const void *context);

/* Asks for a key; id comes back with the answer. 0 or a negative errno: -EAGAIN if the process does
 * not take requests now. */
int connector_ask(int fd, uint32_t id, uint64_t key);

/* Takes an answer. ret_fd: -1 without a descriptor. 0, -EAGAIN, or -ENOTCONN: the process has ended. */
int connector_take(int fd, struct connector_answer *ret_answer, int *ret_fd);

/* Waits until it has ended. -1 is fine. */
void connector_finish(int fd);

#endif
