// SPDX-License-Identifier: BSD-3-Clause
/* Processes that a bench measures, bound to a processor: started with one end of a socketpair, or
 * found at a path. */
#ifndef OUTBOARD_BENCH_PROCESS_H
#define OUTBOARD_BENCH_PROCESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* The number under which a started program finds its end of the socketpair: give it --fd=3. */
#define BENCH_PEER_FD 3

struct bench_process {
    pid_t pid;
    int fd;              /* our end of its socket */
    uint64_t started_ns; /* when it was asked for */
    bool foreign;        /* somebody else has started it */
};

/* Memory of a process, KiB. */
struct bench_memory {
    unsigned long private_kib; /* in no other process */
    unsigned long resident_kib;
};

/* Which processor a side runs on; -1: wherever the scheduler likes. */
struct bench_processors {
    int client;
    int server;
};

/* Finds two processors that this process may use; both -1 when there is only one. */
struct bench_processors bench_two_processors(void);
/* Binds the calling process; -1: does nothing. */
void bench_bind(int processor);

/* Starts a program. notify_path: an abstract name for $NOTIFY_SOCKET, or NULL. */
struct bench_process bench_start(char *const argv[], int processor, const char *notify_path);
/* Starts a function in a process of its own, with its end of the socketpair. */
struct bench_process bench_fork(void (*run)(int fd, const void *argument), const void *argument,
                                int processor);
/* Connects to a process that somebody else has started, and binds it to a processor. */
struct bench_process bench_connect(const char *path, int processor);
/* Closes our end and waits for the process, which ends at that, unless somebody else started it. */
void bench_end(struct bench_process *process);

/* Returns once the process's first thread sleeps: it waits for something to do. */
void bench_wait_asleep(pid_t pid);

struct bench_memory bench_memory_of(pid_t pid);

/* Ends the bench with a message: a bench that can't measure has nothing to say. */
void bench_die(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));

#endif
