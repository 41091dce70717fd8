// SPDX-License-Identifier: BSD-3-Clause
/*
 * Keeper: a process that shares a device process's table of descriptors and does nothing, so that
 * SIGKILL of the device process closes none of them. It gives those that a successor asks for by
 * number, and ends when nobody can ask any more. A question has a tag, and so has its answer: one who
 * has asked and died leaves an answer behind, which is not for the next.
 *
 * It is a fork without a copy of the table. Its memory is a copy from before the first byte of a
 * peer was read. It leaves the program's process group, whose signals are not for it.
 */
#ifndef OUTBOARD_OS_KEEPER_H
#define OUTBOARD_OS_KEEPER_H

/* Descriptors of one request. */
#define KEEPER_BATCH 16u

/* Starts it; `channel` is its end of a SOCK_SEQPACKET pair, and `confine`, if not NULL, is called in
 * it first. Its process id or a negative errno. */
int keeper_start(int channel, int (*confine)(void *argument), void *argument);

/* Gives descriptors of this process to the other end of a channel. 0 when that has said that it wants
 * no more, by a message without a tag; -ENOTCONN when it has ended. */
int keeper_serve(int channel);

/* The same with numbers of another table: here() tells the number that each has in this one, -1: none. */
int keeper_serve_as(int channel, int (*here)(const void *argument, int number),
                    const void *argument);

/* Asks the other end for descriptors by their numbers there, at most KEEPER_BATCH. 0; -ENOTCONN when
 * the keeper has ended; -EBADF when it has not all of them; -ETIMEDOUT; or another errno. */
int keeper_ask(int channel, const int *numbers, unsigned count, int *ret_fds);

#endif
