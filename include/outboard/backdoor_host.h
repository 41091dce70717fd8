// SPDX-License-Identifier: BSD-3-Clause
/*
 * The host's side of the backdoor: code of yours that a guest calls.
 *
 * The backdoor is a PCI device (1af4:10f0) with two BARs. BAR 0 has the size of the data channel
 * and receives commands. BAR 1 is the data channel, memory that guest and host share. The guest's
 * store that completes a command returns when your code has returned. Your code defines the meaning
 * of a command and its byte order.
 *
 * There are two ways in:
 * - A shared object with the functions backdoor_init, backdoor and backdoor_fini, as declared below
 *   without the ob_ prefix, loaded with `outboard-backdoor --library=PATH`. Only `backdoor` must be
 *   there. The names of 2011, qemu_backdoor_init and qemu_backdoor, are found too.
 * - A program of your own that calls ob_backdoor_main() and links with liboutboard-backdoor
 *   (`pkg-config outboard-backdoor`).
 *
 * The guest can change the data channel at any time: copy data, then check the copy. A write to
 * stdout waits for its reader, and the guest waits with it; ob_log() (program.h) does not wait.
 */
#ifndef OUTBOARD_BACKDOOR_HOST_H
#define OUTBOARD_BACKDOOR_HOST_H

#include <stdint.h>

#include <outboard/api.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Without a size: liboutboard-backdoor is linked statically, so it and the program are of one
 * version. */
struct ob_backdoor_ops {
    /** Called once, before the first command. @size: of the data channel, bytes. May be NULL. */
    void (*init)(uint64_t size);
    /** The guest sends @command. @data: the data channel, the same at every call. */
    void (*call)(uint64_t command, void *data);
    /** Called once when the device ends, if init was. May be NULL. */
    void (*fini)(void);
};

/**
 * Run a backdoor device with these callbacks. Its options are those of outboard-backdoor without
 * --library. All callbacks run on the calling thread.
 *
 * Returns the exit status for main(): 0 after a clean end, 1 when something failed, 2 for wrong
 * usage.
 */
OB_API int ob_backdoor_main(const struct ob_backdoor_ops *ops, int argc, char **argv);

#ifdef __cplusplus
}
#endif
#endif
