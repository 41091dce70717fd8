// SPDX-License-Identifier: BSD-3-Clause
/*
 * Eventfds: our own, and those that a peer has sent, which may be anything.
 *
 * Whether a peer's eventfd blocks is the peer's business: the flag is one that both share, and a
 * peer that reads it to wait for an interrupt would find no interrupt. It may set and
 * clear it at any time, so no flag makes write(2) safe. A signal that never waits is a completion
 * of aio: see io_submit(2), IOCB_FLAG_RESFD.
 */
#ifndef OUTBOARD_OS_EVENT_H
#define OUTBOARD_OS_EVENT_H

#include <stdbool.h>

/* Sets up aio for this process, unless that was done. To be called before the first byte of a peer
 * is read, and again in a child after fork(2). Without aio (the kernel lacks it, or a sandbox
 * forbids it) event_signal() looks for room and then writes, and waits for ever for a peer that
 * fills its eventfd in between. */
void event_prepare(void);
/* The same for a program all of whose signals come from this thread (guarded_event.h); if the kernel
 * has no timer for it, it is set up as above. */
void event_prepare_program(void);

/* Makes an eventfd at zero. Returns the descriptor or a negative errno. */
int event_new(void);
/* 0; -EINVAL when fd is no eventfd; or another errno. Whatever fd is, it is not asked. */
int event_check(int fd);
/* Whether both are the same eventfd, under one number or two. */
bool event_is_same(int one, int other);
/* Adds one. An event that is full already is as good as signalled, and is not waited for. */
void event_signal(int fd);
/* Sets one of our own back to zero. */
void event_drain(int fd);
/* The same for a peer's, which may be blocking and empty, or count down by one (EFD_SEMAPHORE): it
 * may be readable still. */
void event_drain_nowait(int fd);

#endif
