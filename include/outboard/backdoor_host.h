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
 * - A shared object with the functions backdoor_init, backdoor, backdoor_fini, backdoor_cut and
 *   backdoor_state, as the members of struct ob_backdoor_ops, loaded with `outboard-backdoor --library=PATH`. Only `backdoor` must be
 *   there. The names of 2011, qemu_backdoor_init and qemu_backdoor, are found too.
 * - A program of your own that calls ob_backdoor_main() and links with liboutboard-backdoor
 *   (`pkg-config outboard-backdoor`).
 *
 * The guest can change the data channel at any time: copy data, then check the copy. A write to
 * stdout waits for its reader, and the guest waits with it; ob_log() (program.h) does not wait.
 *
 * With on-death = "restart" the backdoor outlives its process (vault.h). The data channel does too,
 * and the memory that state() names. Other variables of your code begin as at the start of the
 * program. A process may die in the midst of a call. Only your code knows if such a call can be
 * repeated. So cut() must be there: it has the call repeated, or reports it to the guest.
 */
#ifndef OUTBOARD_BACKDOOR_HOST_H
#define OUTBOARD_BACKDOOR_HOST_H

#include <stddef.h>
#include <stdint.h>

#include <outboard/api.h>

#ifdef __cplusplus
extern "C" {
#endif

/** The most memory that ob_backdoor_ops.state() may name, bytes. */
#define OB_BACKDOOR_STATE_BYTES 65528u

/** The end of a call that was cut short: the result of ob_backdoor_ops.cut(). */
enum {
    OB_BACKDOOR_REPORTED, /* the command counts as done; cut() has told the guest */
    OB_BACKDOOR_REPEAT,   /* call() gets the command once more */
};

/** Without a size: liboutboard-backdoor is linked statically, so it and the program are of one
 * version. */
struct ob_backdoor_ops {
    /** Called once, before the first command. @size: of the data channel, bytes. May be NULL. */
    void (*init)(uint64_t size);
    /** The guest sends @command. @data: the data channel, the same at every call. */
    void (*call)(uint64_t command, void *data);
    /** Called once when the device ends, if init was. May be NULL. */
    void (*fini)(void);
    /**
     * A process has died after it had got @command, and this one continues. The command may have been
     * carried out, in part or wholly, or not begun. Called before any other command, after init().
     * A report goes into the data channel. May be NULL: then the device refuses
     * on-death = "restart".
     *
     * Returns OB_BACKDOOR_REPORTED or OB_BACKDOOR_REPEAT.
     */
    int (*cut)(uint64_t command, void *data);
    /**
     * Memory of your code that outlives the process, with on-death = "restart". It is committed when
     * call() or cut() has returned, and has the earlier contents if a process dies before that. The
     * next process finds it in init(), which must check it: the process that wrote it may have been
     * taken over. May be NULL: there is no such memory.
     *
     * @ret_len: bytes, 1 to OB_BACKDOOR_STATE_BYTES, the same in each process.
     *
     * Returns its address, which stays the same as long as the process.
     */
    void *(*state)(size_t *ret_len);
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
