// SPDX-License-Identifier: BSD-3-Clause
/*
 * Loop: waits for descriptors and calls the functions that watch them. One thread. A source may be removed
 * from within any callback, its own included; it is freed after the round of callbacks.
 */
#ifndef OUTBOARD_OS_LOOP_H
#define OUTBOARD_OS_LOOP_H

#include <stdint.h>

struct loop;
struct loop_source;

/* events: EPOLLIN, EPOLLOUT and so on of epoll_ctl(2). */
typedef void (*loop_fn)(void *argument, uint32_t events);

int loop_new(struct loop **ret_loop);
/* Frees the sources too; their descriptors stay the callers'. */
void loop_free(struct loop *loop);

/* A descriptor that is readable while a source is ready, to be watched by another loop. It stays
 * the loop's. */
int loop_fd(const struct loop *loop);

int loop_add(struct loop *loop, int fd, uint32_t events, loop_fn ready, void *argument,
             struct loop_source **ret_source);
int loop_change(struct loop_source *source, uint32_t events);
/* NULL is fine. */
void loop_remove(struct loop_source *source);

/* Waits until a source is ready or timeout_ms are over (-1: for ever, 0: not at all) and calls the sources
 * that are ready. Returns how many were, or a negative errno; 0 may come early: after a signal, or when
 * the log had something to tell (log_tick()). */
int loop_wait(struct loop *loop, int timeout_ms);

#endif
