// SPDX-License-Identifier: BSD-3-Clause
/*
 * Outside: a process in a cell (sandbox/cell.h) asks a process outside to connect, to listen, to
 * start commands, and to open its channel. That process
 * (proxy/connector.h) decides by its own copy of the options, and answers with descriptors.
 *
 * Both are the same program, forked, with a SOCK_SEQPACKET pair between them. A message is a struct
 * of fixed size. The process outside always reads, so a request waits for a moment at most. A call
 * that opens something at once waits for its answer, as the system call would. Other answers that
 * come meanwhile are kept for the loop.
 */
#ifndef OUTBOARD_ENDPOINT_OUTSIDE_H
#define OUTBOARD_ENDPOINT_OUTSIDE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/list.h"
#include "endpoint/address.h"
#include "endpoint/command.h"
#include "os/child.h"
#include "os/loop.h"
#include "os/timer.h"

#define OUTSIDE_NAME_MAX 255

/* Descriptors of one answer. */
#define OUTSIDE_FDS_MAX 3

enum outside_verb {
    OUTSIDE_DIAL = 1, /* text: the address. Answered later. */
    OUTSIDE_CANCEL,   /* a DIAL. No answer. */
    OUTSIDE_LISTEN,   /* text: the address */
    OUTSIDE_UNLISTEN, /* no answer */
    OUTSIDE_RUN, /* text: a service; number: bytes of arguments, in the memfd with it, each ended by a NUL */
    OUTSIDE_SIGNAL, /* number, to a RUN. No answer. */
    OUTSIDE_OPEN,   /* the channel's device */
    OUTSIDE_WATCH,  /* where the channel will appear: an inotify descriptor */
    OUTSIDE_USER, /* of the peer of the socket with it, which a cell's user namespace does not have */
};

struct outside_request {
    uint32_t verb;
    uint32_t id; /* the asker's, above 0; all ids that it has differ */
    int32_t number;
    uint16_t rows, columns;
    uint8_t by_rules; /* DIAL: only where the rules of the options allow it */
    uint8_t declared; /* RUN: the command of the service, not the arguments */
    uint8_t terminal;
    uint8_t joined; /* stdin and stdout are one descriptor */
    char text[ADDRESS_TEXT_MAX];
    char variable[OUTSIDE_NAME_MAX + 1]; /* RUN: "TERM=..."; "": none */
};

struct outside_answer {
    uint32_t id;
    uint32_t
        exited; /* 1: the command of a RUN has ended, result is its status, as child.h tells it */
    int32_t result; /* 0 with descriptors, or a negative errno */
    uint32_t user;  /* USER */
};

struct outside;

/* A wait for an answer. Its owner fills the last two members. */
struct outside_call {
    struct list link;
    uint32_t id; /* 0: waits for none */
    /* fd: the callee's; or a negative errno. Called from the loop. */
    void (*answered)(void *argument, int fd);
    void *argument;
};

/* Takes the descriptor. gone: the process outside has ended, nothing can be asked for any more.
 * Loop, timers and children must outlive it. 0 or a negative errno. */
int outside_new(struct loop *loop, struct timers *timers, struct children *children, int fd,
                void (*gone)(void *argument), void *argument, struct outside **ret_outside);
/* Waits until the process outside has removed its paths and ended. NULL is fine. */
void outside_free(struct outside *outside);

/* by_rules: a peer has named the address, and the rules are to allow it; else the options name it.
 * 0 or a negative errno; the answer comes from the loop. */
int outside_dial(struct outside *outside, const struct address *address, bool by_rules,
                 struct outside_call *call);
/* No answer comes. A call that waits for none is fine. */
void outside_cancel(struct outside *outside, struct outside_call *call);

/* The listening descriptor, or a negative errno. */
int outside_listen(struct outside *outside, const struct address *address, uint32_t *ret_id);
/* Removes its path. */
void outside_unlisten(struct outside *outside, uint32_t id);

/* As command_start() and, joined, command_start_joined(), which then fills ret_pipes->in alone. */
int outside_run(struct outside *outside, const struct command *command, bool joined,
                struct command_pipes *ret_pipes, struct child **ret_child);

/* Opens the channel's device, or an inotify descriptor for its folder. A descriptor or a negative
 * errno. */
int outside_open(struct outside *outside, enum outside_verb verb);

/* The user at the other end of a Unix socket, as the process outside sees it. 0 or a negative errno. */
int outside_user(struct outside *outside, int fd, uid_t *ret_user);

#endif
