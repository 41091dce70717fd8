// SPDX-License-Identifier: BSD-3-Clause
/*
 * A kernel of the fuzzer's own: descriptors, connections, listeners and one epoll, all in memory.
 *
 * kernel_wraps.c puts it in the place of system calls. The other ends of connections are the
 * target's, which plays clients, servers and commands with them.
 *
 * Readiness is as strict as epoll(7) allows: a descriptor that is watched by edges is told again
 * only after something happened to it, and of room only after a write that found too little.
 */
#ifndef OUTBOARD_FUZZ_KERNEL_MODEL_H
#define OUTBOARD_FUZZ_KERNEL_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/types.h>

/* Numbers of descriptors from here on are the model's. */
#define KERNEL_FD_FIRST 1000
#define KERNEL_FDS      128
#define KERNEL_BACKLOG  4

enum end_kind {
    END_TCP,
    END_UNIX,
    END_PIPE, /* one direction only is used */
    END_TERMINAL,
    END_PORT, /* of virtio-serial: at its end while nobody has the other one */
};

/* One end of a connection, with what lies in it to be read. */
struct end {
    enum end_kind kind;
    unsigned holders; /* descriptors, commands, and the target */
    struct end *peer; /* NULL: gone */
    uint8_t *bytes;
    size_t start, len, capacity;
    int error;       /* of a connection that was reset, told once */
    bool ended;      /* nothing more will come */
    bool shut;       /* this end has said that nothing more comes from it */
    bool wants_room; /* a write found too little */
    bool abrupt;     /* to be closed with a reset */
    bool was_reset;  /* by the other end; the error is told once, and then reads are at an end */
    bool is_writer;  /* of a pipe */
    bool unopened;   /* a terminal, whose other end alone keeps it */
    int fd;          /* the descriptor that has it; -1: none */
};

enum descriptor_kind {
    DESCRIPTOR_FREE,
    DESCRIPTOR_SOCKET, /* not connected */
    DESCRIPTOR_CONNECTING,
    DESCRIPTOR_END,
    DESCRIPTOR_LISTENER,
    DESCRIPTOR_EVENT, /* readable while `count` is not 0 */
    DESCRIPTOR_OTHER, /* an epoll, or /dev/null */
};

struct descriptor {
    enum descriptor_kind kind;
    int family;
    struct end *end;
    struct end *waiting[KERNEL_BACKLOG]; /* to be accepted */
    unsigned count;                      /* of those */
    int error;                           /* of connecting */
    struct sockaddr_storage address;     /* listener: where; connecting: whereto */
    bool watched, edge;
    uint32_t events;
    void *data;
};

struct kernel {
    struct descriptor table[KERNEL_FDS];
    unsigned open, limit; /* descriptors, and how many there may be */
    size_t capacity;      /* of the ends that are made */
    size_t short_write;   /* the next write takes no more; 0: what there is room for */
    uint64_t now_ns;
    uint64_t progress; /* counts what was done */
    uint64_t random;
    unsigned order; /* which descriptor is looked at first */
};

extern struct kernel kernel;

/* What the target decides. */
struct kernel_ops {
    /* A choice, 0 where nothing unusual is to happen. */
    uint8_t (*choose)(void);
    /* The program waits: a turn of everybody else. -1: for ever. */
    void (*wait)(int timeout_ms);
    /* 0, -EINPROGRESS, or another negative errno. */
    int (*connect)(int fd);
    /* A log line was composed. */
    void (*said)(const char *line);
};
extern const struct kernel_ops *kernel_ops; /* NULL: system calls are the real ones */

void kernel_begin(const struct kernel_ops *ops, size_t capacity, unsigned limit);
void kernel_end(void);

/* Two ends that are connected, each held once. */
void end_pair(enum end_kind kind, struct end *ret_ends[2]);
void end_hold(struct end *end);
void end_release(struct end *end);
/* What a system call returns, or a negative errno. */
ssize_t end_write(struct end *end, const void *bytes, size_t len);
ssize_t end_read(struct end *end, void *bytes, size_t len, bool peek);
void end_shutdown(struct end *end);
size_t end_room(const struct end *end);

/* Returns a new descriptor or -EMFILE. */
int kernel_open(enum descriptor_kind kind, int family);
/* Gives an end to a descriptor; it is held by it from then on. */
void kernel_attach(int fd, struct end *end);
struct descriptor *kernel_find(int fd); /* NULL: none of the model's */
void kernel_close(int fd);

/* A client comes to a listener. Returns its end, or NULL: there is no room. */
struct end *kernel_visit(int fd);
/* A connection that was asked for is made, and its other end returned, or fails. */
struct end *kernel_connected(int fd);
void kernel_refused(int fd, int error);

/* Something happened to what this descriptor is. */
void kernel_wake(int fd);
bool kernel_has_events(void);
int kernel_events(struct epoll_event *ret_events, int max);

#endif
