// SPDX-License-Identifier: BSD-3-Clause
/*
 * Vault: the memory by which a device outlives its process.
 *
 * A device of `outboard run` may have on-death = "restart". Then the VMM's connection, the
 * descriptors that it sent, and a memory file, the vault, outlive the process. Another process
 * continues, and the guest sees a pause. docs/restart.md lists the fields that survive.
 *
 * The device names the memory that is its whole state. After each message of the VMM, the library
 * commits the state together with the answer. It also commits the state after other callbacks. A
 * message is therefore either done and answered, or it was never begun and is done again. The
 * effects of a register access on that memory happen once.
 *
 * Effects elsewhere may happen twice: the process may die between an effect and the commit. An
 * interrupt may be signalled twice. DMA in flight is lost; resumed() starts it again. A device whose
 * effect must not happen twice asks ob_vault_begin_effect().
 */
#ifndef OUTBOARD_VAULT_H
#define OUTBOARD_VAULT_H

#include <outboard/device.h>

#ifdef __cplusplus
extern "C" {
#endif

/** The largest state that a vault takes, bytes. */
#define OB_VAULT_STATE_BYTES 65536u

/** The state of a device. */
struct ob_vault_state {
    size_t size;      /* sizeof(struct ob_vault_state) */
    void *bytes;      /* plain data without pointers; stays where it is as long as the device */
    size_t len;       /* 1 to OB_VAULT_STATE_BYTES; of a virtio device also 0, with bytes NULL */
    uint32_t version; /* of its layout: a successor with another version refuses the state */
    /**
     * A successor has found a state. Check every value: the process that wrote it may have been
     * taken over. NULL: any bytes are a valid state.
     *
     * @state: the pointer given to ob_device_new().
     * @bytes: a copy of the state.
     * @len:   its length; that of the field unless save() is set.
     * @fault: gives the reason of a refusal.
     *
     * Returns 0 or a negative errno; the process then ends, and the device has failed.
     */
    int (*check)(void *state, const void *bytes, size_t len, struct ob_fault *fault);
    /** The state is in place, and so are memory and interrupts. Set timers, and start again
     * whatever was in flight. NULL: nothing. */
    void (*resumed)(void *state);
    /**
     * Write the state to @ret_bytes, which is the field bytes, before each commit. A device whose
     * state is not in one place needs it. check() then also takes the state over. NULL: the bytes
     * are the state.
     *
     * Returns the length, at most the field's, or a negative errno: the last state then stays.
     */
    int (*save)(void *state, void *ret_bytes);
};

/** The part of this process in the life of a device. */
enum ob_vault_role {
    OB_VAULT_NONE,      /* there is no vault */
    OB_VAULT_FIRST,     /* the first process with this vault */
    OB_VAULT_SUCCESSOR, /* another process of the device has died */
};

/** Before ob_program.open(): OB_VAULT_NONE. */
OB_API enum ob_vault_role ob_vault_role(void);

/**
 * Name the state of a device, in ob_program.create(), after ob_device_new(). Without a vault this
 * has no effect. Of a virtio device, the library keeps the queues and registers itself, and @state is
 * the device's own. A chain that the device has not completed is taken again by the next process. One
 * that it has completed is shown to the driver behind the next commit.
 *
 * A program that is given a vault and names no state ends with a message.
 *
 * Returns 0, -EINVAL for a length or a pointer that is impossible, -E2BIG if the struct has fields
 * that this library does not know, or -EBUSY if the device is served or has named a state.
 */
OB_API int ob_vault_keep(struct ob_device *device, const struct ob_vault_state *state);

/**
 * Commit the state now, outside of a message: in ob_device_ops.poll, a timer or a watch. A device
 * that writes to the guest's memory commits its intent first.
 *
 * Returns 0, also without a vault, or -EBUSY while a message is handled: its commit follows.
 */
OB_API int ob_vault_commit(struct ob_device *device);

/**
 * An effect outside of the state begins now, in a message: in ob_device_ops.read or write.
 *
 * Returns whether a process before has begun the same effect in this message and died before the
 * commit. The effect has then happened, or a part of it has, or it has not. Several effects of one
 * message are told apart by their order. Without a vault, and outside of a message: false.
 */
OB_API bool ob_vault_begin_effect(struct ob_device *device);

/** Numbers of the descriptors that a device keeps. */
#define OB_VAULT_FDS 2048u

/**
 * From the next commit on, the next process of the device can have this descriptor, in place of the
 * one with the same number. It stays the device's, and must stay open until then. It is for
 * connections whose requests are in flight, and for memory that the device shares.
 *
 * @number: below OB_VAULT_FDS.
 * @fd:     -1: no descriptor is kept under this number any more.
 *
 * Returns 0, also without a vault, -EINVAL, or -ENOMEM.
 */
OB_API int ob_vault_keep_fd(struct ob_device *device, unsigned number, int fd);

/**
 * The descriptor that a process before has kept under this number, from ob_vault_state.resumed() on.
 * Each call returns the same one, which is the caller's to close when another was kept and
 * committed. Check its kind: the process that kept it may have been taken over.
 *
 * Returns -ENOENT if there is no such descriptor.
 */
OB_API int ob_vault_kept_fd(const struct ob_device *device, unsigned number);

#ifdef __cplusplus
}
#endif
#endif
