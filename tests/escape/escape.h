// SPDX-License-Identifier: BSD-3-Clause
/*
 * Escapes: deeds that a cell refuses, done by a process of the tree as if it had been taken over.
 *
 * The runner (runner.c) prepares a world: a sibling process, files, sockets. It starts a program
 * with the hook library (hook.c) preloaded, and shares memory with it as a VMM does. The hook does
 * one deed at the program's most privileged moment: the descriptor of the guest's memory has just
 * been received, and all else is open. In a program that is no device, the moment is the first wait
 * for a peer in the cell. The runner compares the outcome with the deed's row.
 *
 * A statically linked program has no preloaded library. Its test build links deeds*.c and calls
 * escape_prepare() first and escape_do() at its own moment.
 */
#ifndef OUTBOARD_TESTS_ESCAPE_H
#define OUTBOARD_TESTS_ESCAPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/un.h>

#define ESCAPE_VARIABLE "OUTBOARD_ESCAPE" /* the number of the descriptor of the world */

enum escape_state {
    ESCAPE_UNTRIED,
    ESCAPE_BEGUN,
    ESCAPE_ENDED
};

/* Shared between the runner and the process that was taken over. */
struct escape_world {
    char deed[64];
    char folder[64]; /* everybody may write here; has file, image, stream, datagram */
    /* The names of three sockets: this one, and with "-d" and "-n" behind it those of datagrams. The
     * last is the launcher's. */
    char abstract[64];
    char program[256];          /* a program that can be executed */
    char host[65];              /* the name of this one */
    pid_t sibling;              /* a process of the same user */
    int sibling_fd;             /* a pidfd of it */
    int stream_fd, datagram_fd; /* unconnected Unix sockets */
    int readonly_fd;            /* folder/file, opened read only */
    int listener_fd;            /* a listening TCP socket; -1: none */
    uint16_t port;              /* of another one, 127.0.0.1 */
    bool has_cell;
    bool at_wait;  /* the program is no device */
    bool outside;  /* a process that the program keeps outside its cell is taken over */
    int memory_fd; /* guest memory that the peer has shared; -1: none */
    volatile int state;
    volatile long result; /* 0: the deed is done; or a negative errno */
};

enum escape_flags {
    ESCAPE_ROOT = 1,      /* only root can do it without a cell */
    ESCAPE_DEPENDS = 2,   /* the kernel, its settings or a container may refuse it to everybody */
    ESCAPE_LEAVES = 4,    /* success replaces the program */
    ESCAPE_RING = 8,      /* only a program that has a ring can try it */
    ESCAPE_LISTENER = 16, /* the program holds a listening TCP socket */
};

struct escape_deed {
    const char *name;
    /* What a cell answers, alternatives with '|' between them: the name of the system call that is
     * named and ends the process, the name of an errno, or "?" if the process ends unnamed. Behind
     * a '/': what the rest of the cell answers if the policy allows the call (Linux 6.12). */
    const char *refused;
    long (*act)(const struct escape_world *world);
    unsigned flags; /* enum escape_flags */
};

/* Each array ends with a row without a name. */
extern const struct escape_deed escape_paths[], escape_sockets[], escape_processes[],
    escape_memory[], escape_kernel[], escape_descriptors[], escape_ring[];

/* All of them. NULL: no deed has this number. */
const struct escape_deed *escape_deed(size_t number);
const struct escape_deed *escape_find(const char *name);

/* A name in the world's folder, and as the address of a socket. */
struct escape_path {
    char text[128];
};
struct escape_path escape_in(const struct escape_world *world, const char *name);
struct sockaddr_un escape_at(const struct escape_world *world, const char *name);

/* Waits for the end of a deed, timeout_ms at most. */
void escape_await(const struct escape_world *world, int timeout_ms);

/* -errno if a system call failed, else 0. */
long escape_result(long value);

/* A program closes the descriptors that its launcher has left open (os/inherited.h). Those of the world stand
 * for its own: they are close-on-exec while it looks, from the start until it has its cell or none. */
void escape_keep_descriptors(const struct escape_world *world, bool begins);

/* Maps the world that the environment names. NULL: there is none, and nothing is to be done. */
struct escape_world *escape_prepare(void);

/* Does the world's deed, tells the runner, and ends the process. */
_Noreturn void escape_do(struct escape_world *world);

#endif
