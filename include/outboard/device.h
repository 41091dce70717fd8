// SPDX-License-Identifier: BSD-3-Clause
/*
 * Device: one PCI function, described once and served over any wire.
 *
 * A device program describes the function in a struct ob_device_desc and its callbacks in a struct
 * ob_device_ops. ob_device_new() makes an ob_device of both. ob_program_main() (program.h) serves
 * it, or a server on a loop of your own (server.h). All callbacks run on the one thread that serves
 * the device, and every function here must be called on that thread unless it says otherwise.
 * Another thread can't call a device; it signals a wake-up (wake.h), and the serving thread does
 * the work.
 *
 * A device has one VMM at a time and outlives it. When a VMM disconnects, the device keeps its
 * state, and the next VMM finds it unchanged. Most VMMs reset it before their guest uses it, but
 * only after they have shared the guest's memory. Therefore a device that has lost its VMM is
 * dormant. It wakes when the next VMM accesses a BAR, rings a doorbell, resets the device or loads
 * a state. While it is dormant:
 *
 * - the library does not call poll, has_io_in_flight, has_deferred_work or before_sleep, but it
 *   still reports the end of a pause;
 * - DMA (dma.h) returns -ENOTCONN, so that data of the previous VM can't reach the memory of the
 *   new one; keep or drop the data that was not transferred;
 * - interrupts (irq.h) are held, and signalled when the device wakes unless a reset woke it;
 * - watched descriptors (watch.h) are still watched, and timers (timer.h) fire, so I/O ends.
 *
 * An access to configuration space does not wake the device.
 */
#ifndef OUTBOARD_DEVICE_H
#define OUTBOARD_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <outboard/api.h>
#include <outboard/fault.h>

#ifdef __cplusplus
extern "C" {
#endif

#define OB_BAR_COUNT 6

struct ob_device;

/** Address space and width of a BAR (PCI Local Bus 3.0, section 6.2.5.1). */
enum ob_bar_kind {
    OB_BAR_NONE = 0, /* not implemented */
    OB_BAR_IO,       /* port space, 4 to 256 bytes */
    OB_BAR_MEM32,    /* memory below 4 GiB, 16 bytes to 2 GiB */
    OB_BAR_MEM64,    /* memory anywhere, 16 bytes to 4 GiB; takes the next BAR's register too */
};

/** Properties of a BAR, or-ed. */
enum ob_bar_flag {
    /* Reads have no side effect and writes may be merged. Memory BARs only. */
    OB_BAR_PREFETCHABLE = 1u << 0,
    /* Plain memory that the library provides: accesses go to it without a callback, wires that can
     * map it into the VM do. See ob_device_bar_memory(). */
    OB_BAR_MEMORY = 1u << 1,
};

/** A part of a BAR, in whole pages of 4096 bytes. */
struct ob_bar_range {
    uint64_t offset;
    uint64_t len;
};

struct ob_bar {
    enum ob_bar_kind kind;
    unsigned flags; /* enum ob_bar_flag */
    uint64_t size;  /* bytes, a power of two; OB_BAR_MEMORY needs whole pages of 4096 */
    /* The part of an OB_BAR_MEMORY BAR that is memory; len 0: all of it. The rest is registers. */
    struct ob_bar_range memory;
};

/** A register whose written value does not matter (an ioeventfd). */
struct ob_doorbell {
    unsigned bar;
    uint64_t offset;
    unsigned size;   /* of the write: 1, 2, 4 or 8 bytes; 0: any */
    unsigned number; /* handed to ob_device_ops.doorbell, below OB_DOORBELL_NUMBERS */
};

#define OB_DOORBELL_NUMBERS 2048 /* several doorbells may share a number */
#define OB_DOORBELLS        4096

/** The description of a function. Copied by ob_device_new(). */
struct ob_device_desc {
    size_t size;      /* sizeof(struct ob_device_desc) */
    const char *name; /* for messages: "backdoor" */
    uint16_t vendor_id;
    uint16_t device_id;
    uint16_t subsystem_vendor_id;
    uint16_t subsystem_id;
    uint32_t class_code; /* base class << 16 | subclass << 8 | programming interface */
    uint8_t revision;
    /* 4096 bytes of configuration space instead of 256. It adds no capability: a guest takes the
     * function for PCI Express if ob_device_add_capability() has given it one (id 10h). */
    bool express;
    bool intx; /* has an interrupt pin (INTA) */
    /* The bus master bit of the command register is hardwired to one, for VMMs that drive devices
     * without a guest and never write it. A guest relies on being able to clear it. */
    bool always_master;
    struct ob_bar bars[OB_BAR_COUNT];
    /* MSI: 1, 2, 4, 8, 16 or 32 vectors; 0: none. */
    uint8_t msi_vectors;
    /* MSI-X: up to 2048 vectors; 0: none. Table and pending bits lie in the memory BAR msix_bar, at
     * msix_offset, which must be a multiple of 8. The table has 16 bytes for each vector; one bit
     * for each vector follows, in whole 8 bytes. The library answers accesses there. */
    uint16_t msix_vectors;
    uint8_t msix_bar;
    uint32_t msix_offset;
    /* Registers that a wire with eventfds connects to a callback without the VMM; may be NULL. */
    const struct ob_doorbell *doorbells;
    unsigned num_doorbells;
    /* The largest state that ob_device_ops.save() writes, in bytes (0: the device can't be saved),
     * and the version of its layout. The library saves its own state of the device too. */
    size_t state_len;
    uint32_t state_version;
};

/** The behaviour of a function. Copied by ob_device_new(). Unused callbacks may be NULL. */
struct ob_device_ops {
    size_t size; /* sizeof(struct ob_device_ops) */

    /**
     * The guest reads a register.
     *
     * @state:  the pointer given to ob_device_new().
     * @bar:    index of the BAR, 0 to 5.
     * @offset: bytes from the start of the BAR; offset + size never exceeds the BAR.
     * @size:   1, 2, 4 or 8 bytes; not necessarily aligned.
     *
     * Returns the value in its low @size bytes. NULL: reads are all ones.
     */
    uint64_t (*read)(void *state, unsigned bar, uint64_t offset, unsigned size);

    /** The guest writes a register; arguments as for read. NULL: writes are ignored. */
    void (*write)(void *state, unsigned bar, uint64_t offset, unsigned size, uint64_t value);

    /** The guest has written doorbells with this number, once or more often. The written value is
     * not known: the device reads guest memory. A VMM may not support doorbells, or may accept
     * fewer eventfds than the BAR has numbers (QEMU accepts 16). For the other doorbells, the
     * library calls write. */
    void (*doorbell)(void *state, unsigned number);

    /** The guest or the VMM resets the function. Interrupts have been lowered, configuration space
     * is at its defaults, DMA is off. The library calls it when a VMM requests a reset, and around
     * load(), and at no other time. A first VMM may access registers before any reset: when
     * ob_device_new() is called, the device must be in its reset state. */
    void (*reset)(void *state);

    /**
     * Do the work that is due: work that a register write has noted, and completions that have
     * arrived. It is called between messages and before the server waits. It must be cheap if no
     * work is due, and return after a bounded amount of work.
     *
     * Returns true if it did work or more work is due now. The server then calls it again without
     * waiting, and adapts the time for which it polls.
     */
    bool (*poll)(void *state);

    /**
     * Returns true while the device has I/O in flight, for example at a disk or a network, whose
     * completion makes a watched descriptor ready. Meanwhile the server yields its processor
     * between polls, and sleeps sooner than it would for the guest alone. NULL: never.
     */
    bool (*has_io_in_flight)(void *state);

    /**
     * Returns true while the device defers work for a number of polls, for example to coalesce
     * interrupts. The device would have to do that work at once if the server slept, so a server
     * that may poll continues to poll. The device must do the work after a bounded number of polls.
     * NULL: never.
     */
    bool (*has_deferred_work)(void *state);

    /**
     * The server is about to sleep until a message or a watched descriptor. A device that polls
     * guest memory may have told the guest not to write registers. It must now tell the guest to
     * write them again, and then check guest memory once more: the guest may have added work in
     * between.
     *
     * Returns true if there is work; the server then calls poll instead of sleeping.
     */
    bool (*before_sleep)(void *state);

    /**
     * The VMM removes memory on which the device holds spans (dma.h), resets the function, or has
     * disconnected. Begin to end or cancel the I/O in flight, give all spans back, and return at
     * once. Start nothing new until quiesced() has returned something other than 0, or
     * disconnected() or reset() is called. Requests of ob_dma_submit() can't end meanwhile: cancel
     * those that the I/O needs. NULL: the memory stays mapped until its spans are given back, and
     * I/O in flight continues in it.
     */
    void (*quiesce)(void *state);

    /**
     * The VM is about to stop, or runs again. A paused device starts no DMA and no interrupt of its
     * own accord. Requests in flight may end, until at_rest() reports it, or be kept for save().
     * Registers may still be accessed; a write must not start a request.
     */
    void (*pause)(void *state, bool paused);

    /**
     * Asks if a paused device has come to rest: nothing in flight can access guest memory or signal
     * an interrupt. Only then does the library report to the VM that the device has stopped, or
     * save the device. NULL: it is at rest when pause() returns.
     *
     * @fault: says why the device can't come to rest.
     *
     * Returns 1 when it is at rest, or 0 when not yet; the library asks again after any callback of
     * the device. A negative errno means that the device can't come to rest: it is resumed, and the
     * VMM gets an error.
     */
    int (*at_rest)(void *state, struct ob_fault *fault);

    /**
     * Write the state of the device, which is paused and at rest. state.h helps.
     *
     * @ret_buf: room for ob_device_desc.state_len bytes.
     *
     * Returns the number of bytes that it wrote, or a negative errno.
     */
    int (*save)(void *state, uint8_t *ret_buf, size_t size);

    /**
     * Load a state that save() wrote, maybe in another process. The device is paused and has been
     * reset. The library's part (configuration space, memory BARs, MSI-X, the level of INTx) is
     * already loaded. Check every value of the state.
     *
     * @version: ob_device_desc.state_version of the device that wrote it, never above this one's.
     * @fault:   gives the reason of a failure.
     *
     * Returns 0 or a negative errno; then the device is reset again.
     */
    int (*load)(void *state, uint32_t version, const uint8_t *buf, size_t len,
                struct ob_fault *fault);

    /**
     * The VMM has disconnected, and its memory and interrupts are gone. The device is dormant until
     * the next VMM takes it over. Discard state that is meaningful only to that VM, such as the
     * first half of a register access. Called after quiesce, also when the device is about to be
     * freed.
     */
    void (*disconnected)(void *state);

    /**
     * Asks if the request of quiesce() is done. The library asks after quiesce() and then after any
     * callback of the device, which is still polled. Meanwhile the VMM waits for its answer, and
     * the next VMM for its turn, so set a time limit. If poll() ended the last of the I/O, it
     * returns true. NULL: it is done when quiesce() returns.
     *
     * Returns 1 when all spans are given back and no I/O is in flight, or 0 when not yet. A
     * negative errno ends the wait: the memory of the remaining spans stays mapped. A vfio-user VMM
     * is told that memory is free only when its last span is given back.
     */
    int (*quiesced)(void *state);
};

/**
 * Make a device.
 *
 * @desc:       its description.
 * @ops:        its callbacks.
 * @state:      handed to every callback; stays the caller's.
 * @ret_device: the device; free it with ob_device_free().
 * @fault:      filled if @desc is wrong; may be NULL.
 *
 * Returns 0, -EINVAL when the description is impossible (a field that is missing or out of its
 * bounds, fields that contradict each other), -E2BIG when it has fields that this library does not
 * know (api.h), -ENOMEM, or the errno of making the memory of an OB_BAR_MEMORY BAR.
 */
OB_API int ob_device_new(const struct ob_device_desc *desc, const struct ob_device_ops *ops,
                         void *state, struct ob_device **ret_device, struct ob_fault *fault);

/** Free a device and everything that it holds of the guest. If the device has a VMM, the library
 * calls quiesce() and does not wait for it. NULL is fine. Not from a callback of the device. */
OB_API void ob_device_free(struct ob_device *device);

/**
 * The memory behind an OB_BAR_MEMORY BAR: as long as ob_bar.memory says, page aligned, zeroed at
 * start, valid until the device is freed. The guest may change it at any time. NULL for other BARs.
 */
OB_API void *ob_device_bar_memory(const struct ob_device *device, unsigned bar);

/**
 * Add a capability to configuration space (PCI Local Bus 3.0, section 6.7). Before serving only.
 *
 * @id:       capability id.
 * @body:     the bytes behind the two-byte header.
 * @writable: one mask byte per byte of @body: the bits that the guest may change; NULL for none.
 * @len:      bytes in @body and @writable.
 *
 * Returns the capability's offset, -EINVAL for the id 0 or a body that is not there, -EBUSY once a
 * VMM has seen the device, or -ENOSPC when no room is left.
 */
OB_API int ob_device_add_capability(struct ob_device *device, uint8_t id, const uint8_t *body,
                                    const uint8_t *writable, size_t len);

/** The vendor id in configuration space: that of ob_device_desc, or of --pci-id (program.h). A
 * device that repeats the id in a register or a command's data needs it. @device NULL: 0xffff. Any
 * callback of the device. */
OB_API uint16_t ob_device_vendor_id(const struct ob_device *device);

/** Write a warning to the program's log, as ob_log() (program.h) does. The text is one sentence
 * about a condition that does not stop the device. Give each warning once. Any callback of the
 * device. */
OB_API void ob_device_warn(struct ob_device *device, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/** Kinds of I/O that ob_device_count_io() counts. */
enum ob_io_kind {
    OB_IO_READ = 0, /* data went to the guest */
    OB_IO_WRITE,    /* data came from the guest */
    OB_IO_OTHER,    /* no data: a flush, for example */
};

/** Whether somebody reads the counts of ob_device_count_io(). If not, the device need not look at the
 * clock. Any callback of the device. */
OB_API bool ob_device_counts_io(const struct ob_device *device);

/**
 * Count one request of the guest that the device has completed, for `outboard ctl stats`.
 *
 * @kind:        its kind.
 * @len:         bytes of data.
 * @duration_ns: from the request to its completion; see ob_timer_now_ns() (timer.h).
 *
 * Any callback of the device.
 */
OB_API void ob_device_count_io(struct ob_device *device, enum ob_io_kind kind, uint64_t len,
                               uint64_t duration_ns);

#ifdef __cplusplus
}
#endif
#endif
