// SPDX-License-Identifier: BSD-3-Clause
/*
 * Pairs of Unix sockets in memory, stream and seqpacket, in the place of the kernel's: a target that makes
 * many of them for each input is faster by these. The linker puts socketpair(), send(), sendmsg(), recv(),
 * recvmsg(), shutdown(), poll() and close() of this file in the place of the C library's
 * (pair_wraps in meson.build).
 *
 * They behave as unix(7) and Linux's net/unix/af_unix.c say for sockets that never wait.
 */
#ifndef OUTBOARD_FUZZ_PAIR_MODEL_H
#define OUTBOARD_FUZZ_PAIR_MODEL_H

/* Sockets that are open. */
unsigned pair_count_open(void);

#endif
