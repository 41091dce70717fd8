// SPDX-License-Identifier: BSD-3-Clause
/*
 * The guest's side of the backdoor: a program in a virtual machine calls code on the host.
 *
 * A backdoor consists of a data channel, memory that both sides share, and commands. A command is a
 * 64-bit number; the host's code defines its meaning (backdoor_host.h). ob_backdoor_call() returns
 * when that code has returned.
 *
 * The same program works with and without a virtual machine; ob_backdoor_open() tries these, in
 * this order:
 * - the environment variable OUTBOARD_BACKDOOR names the socket of a process that was started by
 *   `outboard-backdoor --wire=vfio-user --socket-path=PATH`. A program that has more rights than
 *   the user who started it (set-user-ID, file capabilities) ignores the variable;
 * - the backdoor's PCI device (1af4:10f0), through /sys/bus/pci. This needs root. The variable
 *   OUTBOARD_BACKDOOR_PCI_ID replaces the ids 1af4:10f0. A program with more rights than its user
 *   ignores it too.
 *
 * Link with libbackdoor (`pkg-config backdoor`), static or shared; it needs libc alone.
 *
 * Threads: all functions may be called from any thread at any time, except ob_backdoor_close(),
 * which must be the last. Calls and copies run one after the other, even if several processes use
 * one PCI device. A child of fork(2) must therefore open the backdoor itself. Threads and processes
 * must agree on the use of the data channel's parts.
 *
 * Faults: where a function takes a struct ob_fault (it may be NULL), a failure fills it with the
 * missing part and the remedy.
 */
#ifndef OUTBOARD_BACKDOOR_H
#define OUTBOARD_BACKDOOR_H

#include <stddef.h>
#include <stdint.h>

#include <outboard/api.h>
#include <outboard/fault.h>

#ifdef __cplusplus
extern "C" {
#endif

/** The environment variable that names a backdoor's socket. Empty counts as not set. */
#define OB_BACKDOOR_ENVIRONMENT "OUTBOARD_BACKDOOR"

/** The environment variable with the PCI ids of the backdoor, "VENDOR:DEVICE" in hexadecimal, if its
 * process was started with --pci-id. Empty counts as not set: 1af4:10f0. */
#define OB_BACKDOOR_PCI_ID_ENVIRONMENT "OUTBOARD_BACKDOOR_PCI_ID"

struct ob_backdoor;

/**
 * Open the backdoor.
 *
 * @ret_backdoor: to be freed by ob_backdoor_close().
 *
 * Returns 0 or
 * - -ENODEV: there is no backdoor, or the socket leads to something else, or the device's process
 *   on the host has ended;
 * - -EACCES: this user may not use it;
 * - -EBUSY: a driver holds the PCI device;
 * - -ENXIO: the PCI device does not decode memory, and can't be made to;
 * - -ENOENT: nothing is at the socket's path;
 * - -ECONNREFUSED: nobody listens at the socket;
 * - -ETIMEDOUT: the process at the socket does not answer; it may be serving another client;
 * - -ENOTCONN: the process at the socket has ended meanwhile;
 * - -EPROTO: the process at the socket, or the device, breaks the protocol;
 * - -EREMOTEIO: the process at the socket refuses a request;
 * - -ENOMEM, or another errno of opening or mapping.
 */
OB_API int ob_backdoor_open(struct ob_backdoor **ret_backdoor, struct ob_fault *fault);

/** Close a backdoor and unmap its data channel. NULL is fine. */
OB_API void ob_backdoor_close(struct ob_backdoor *backdoor);

/** The opened backdoor: the PCI address ("0000:00:03.0") or the path of the socket. */
OB_API const char *ob_backdoor_name(const struct ob_backdoor *backdoor);

/** Size of the data channel, bytes; a multiple of 8 that is not 0. */
OB_API size_t ob_backdoor_size(const struct ob_backdoor *backdoor);

/**
 * The data channel itself, ob_backdoor_size() bytes, page aligned, valid until ob_backdoor_close().
 * Host code may change it at any time.
 *
 * On a PCI device it is device memory, with consequences that ob_backdoor_read() and
 * ob_backdoor_write() handle and a pointer does not:
 * - Use aligned loads and stores of 1, 2, 4 or 8 bytes. memcpy(3) and the like may pick vector
 *   instructions that a hypervisor can't emulate.
 * - One thread at a time. QEMU's x-pci-proxy-dev loses an access to a device that comes while
 *   another processor's access, such as a call, is under way.
 * - If the device is unplugged, its memory disappears, and an access raises SIGBUS.
 */
OB_API volatile void *ob_backdoor_data(struct ob_backdoor *backdoor);

/**
 * Copy from the data channel.
 *
 * @offset, @len: the part, in bytes.
 *
 * Returns 0, or -EINVAL when it reaches beyond the data channel, which copies nothing.
 */
OB_API int ob_backdoor_read(struct ob_backdoor *backdoor, size_t offset, void *ret_buf, size_t len);

/** Copy into the data channel; as ob_backdoor_read(). */
OB_API int ob_backdoor_write(struct ob_backdoor *backdoor, size_t offset, const void *buf,
                             size_t len);

/**
 * Have the host's code run a command, and wait until it returns. The host sees earlier writes to
 * the data channel; afterwards, the caller sees the host's writes.
 *
 * @command: handed to the host's code as it is.
 *
 * Returns 0 or
 * - -ENOTCONN: the process at the socket has ended, now or before;
 * - -EPROTO: the process at the socket breaks the protocol;
 * - -EREMOTEIO: the process at the socket refuses the command.
 *
 * With on-death = "restart" of `outboard run`, the host's process may die in the midst of a call and
 * another one continues. The host's code then has the call repeated, or reports it in the data
 * channel (backdoor_host.h), and the result is 0.
 *
 * A PCI device does not report a failure: if the host's process has ended, the command is lost and
 * the call returns 0. ob_backdoor_check() detects that.
 */
OB_API int ob_backdoor_call(struct ob_backdoor *backdoor, uint64_t command, struct ob_fault *fault);

/**
 * Ask whether the host's process still answers. Takes as long as a call.
 *
 * Returns 0, -ENODEV when a PCI device reads as all ones since its process has ended, or an
 * errno of ob_backdoor_call().
 */
OB_API int ob_backdoor_check(struct ob_backdoor *backdoor, struct ob_fault *fault);

#ifdef __cplusplus
}
#endif
#endif
