// SPDX-License-Identifier: BSD-3-Clause
/*
 * Client: a VMM's side of a remote device. The server is a program of this project, QEMU's x-remote
 * (mpqemu), or any vfio-user server.
 *
 * A client connects, publishes guest memory, probes the device, and then forwards the guest's
 * accesses. A remote can't stop or crash the VMM. Every call has a time limit: `timeout_ms` for
 * each message that it sends. The greeting counts as 15 messages, and a vfio-user transfer in parts
 * as one for each part. If the device does not answer, a read gives all ones, as on a PCI bus, and
 * the fault records the reason.
 *
 * A remote is alive, hung or lost. It is hung if it has not answered in time. It is lost if its
 * socket ended, it broke the rules of the wire, or a policy gave it up. While it is hung, no call
 * waits for it. When the late answers arrive, it is alive again. A remote may also refuse a
 * request: the call returns -EREMOTEIO, ob_client_refusal() returns the reason, and the client's
 * state is unchanged.
 *
 * All functions work over every wire, unless their description begins with "vfio-user": over mpqemu
 * those return -EOPNOTSUPP. The first call that needs a vfio-user remote greets it. If the greeting
 * fails, the remote is lost and the call returns one of these:
 * - -EPROTONOSUPPORT: it speaks another version of the protocol;
 * - -EPROTO: its description of itself is inconsistent;
 * - -ENODEV: its device is not a PCI device;
 * - -EREMOTEIO: it refuses the greeting; the refusal is -EBUSY if it serves another VMM;
 * - -ENOTCONN: it did not answer in time, or has closed the connection.
 *
 * While a process has a client, a thread of the library closes descriptors that a remote sent. The
 * reason: close(2) of such a file may hang. The thread blocks all signals and calls none
 * of your code. The last ob_client_free() ends it. If a close hangs, that call does not wait: the
 * thread ends when the close does.
 *
 * Calls on one client must not overlap. Callbacks run inside a call, and must not call the client,
 * except ob_client_state(), ob_client_fault() and ob_client_intx_eoi(). Between calls, call
 * ob_client_dispatch() whenever ob_client_fd() is readable; it handles interrupts and the
 * heartbeat, and never waits.
 *
 * This header declares the client itself and accesses to the device. client_memory.h declares guest
 * memory and the log of written pages, client_irq.h interrupts, client_state.h migration.
 */
#ifndef OUTBOARD_CLIENT_H
#define OUTBOARD_CLIENT_H

#include <stddef.h>

#include <outboard/device.h>

#ifdef __cplusplus
extern "C" {
#endif

struct ob_client;

enum ob_client_state {
    OB_CLIENT_ALIVE,
    OB_CLIENT_HUNG, /* has not answered in time; calls fail at once until it does */
    OB_CLIENT_LOST, /* for good; its socket is closed */
};

/** The policy for a remote that does not answer in time. */
enum ob_client_policy {
    OB_CLIENT_REPORT, /* it is hung until its late answers come */
    OB_CLIENT_FAIL,   /* it is lost */
    OB_CLIENT_ASK,    /* the callback `hung` decides */
};

struct ob_client_callbacks {
    /** The state has changed. @fault: why; nothing is recorded when it is alive again. */
    void (*state_changed)(void *argument, enum ob_client_state state, const struct ob_fault *fault);
    /** For OB_CLIENT_ASK: returns OB_CLIENT_REPORT or OB_CLIENT_FAIL. */
    enum ob_client_policy (*hung)(void *argument, const struct ob_fault *fault);
    /** For ob_client_emulate_intx() (client_irq.h): the interrupt line goes up. */
    void (*intx_raised)(void *argument);
    void (*reserved[8])(void); /* NULL */
};

/** Options of a client. Zero selects the default of each but the size. */
struct ob_client_options {
    size_t size;         /* sizeof(struct ob_client_options) */
    const char *wire;    /* "mpqemu" (also NULL), "mpqemu-v8" or "vfio-user" */
    unsigned timeout_ms; /* the longest that one answer is waited for; 0: 1000 */
    unsigned poll_us;    /* poll so long for an answer before blocking; 0: never */
    /* Look after the remote so often; 0: never. A vfio-user remote: once a call has greeted it. */
    unsigned heartbeat_ms;
    enum ob_client_policy policy;
    struct ob_client_callbacks callbacks; /* any may be NULL */
    void *argument;                       /* handed to the callbacks */
    bool posted_writes;                   /* vfio-user: writes to memory BARs are not waited for */
};

/** A BAR as a probe finds it. */
struct ob_client_bar {
    enum ob_bar_kind kind;
    unsigned flags; /* OB_BAR_PREFETCHABLE; OB_BAR_MEMORY: parts of it can be mapped */
    uint64_t size;  /* bytes, a power of two */
};

/** Kinds of interrupts; the numbers are those of Linux' VFIO. */
enum ob_client_irq {
    OB_CLIENT_INTX,
    OB_CLIENT_MSI,
    OB_CLIENT_MSIX,
    OB_CLIENT_ERROR,   /* the device has failed */
    OB_CLIENT_REQUEST, /* the device asks to be unplugged */
    OB_CLIENT_IRQ_KINDS,
};

/** The result of a probe. */
struct ob_client_info {
    uint16_t vendor_id;
    uint16_t device_id;
    uint16_t subsystem_vendor_id;
    uint16_t subsystem_id;
    uint32_t class_code; /* base class << 16 | subclass << 8 | programming interface */
    uint8_t revision;
    bool intx; /* has an interrupt pin */
    /* Offset 0x28 answers as a BAR would. QEMU's proxy would take it for a seventh one. */
    bool seventh_region;
    struct ob_client_bar bars[OB_BAR_COUNT];
    uint32_t config_len;                   /* bytes of configuration space, 256 or 4096 */
    uint32_t vectors[OB_CLIENT_IRQ_KINDS]; /* of each kind; mpqemu tells of INTx alone */
    uint64_t reserved[8];                  /* 0 */
};

/**
 * Make a client of a connected stream socket.
 *
 * @fd:         becomes the client's on success.
 * @options:    NULL: the defaults. Copied.
 * @ret_client: free it with ob_client_free().
 * @fault:      may be NULL.
 *
 * Returns 0; -EINVAL for impossible options; -E2BIG for ones that this library does not know
 * (api.h); -ENOTSOCK, -EPROTOTYPE or -ENOTCONN when @fd is no
 * connected stream socket; -ENOMEM or the errno of making descriptors. Nothing is sent yet.
 */
OB_API int ob_client_new(int fd, const struct ob_client_options *options,
                         struct ob_client **ret_client, struct ob_fault *fault);

/**
 * Connect to a device program that listens at a path, and make a client.
 *
 * Returns as ob_client_new(), or the errno of connect(2); -ETIMEDOUT when nobody accepts.
 */
OB_API int ob_client_connect(const char *path, const struct ob_client_options *options,
                             struct ob_client **ret_client, struct ob_fault *fault);

/** End the connection and free everything. NULL is fine. Not from a callback. */
OB_API void ob_client_free(struct ob_client *client);

OB_API enum ob_client_state ob_client_state(const struct ob_client *client);

/**
 * Change ob_client_options.timeout_ms for later calls. Some calls take longer than others: a change
 * to OB_CLIENT_STOPPED waits for the device's I/O. Returns 0 or -EINVAL.
 */
OB_API int ob_client_set_timeout(struct ob_client *client, unsigned timeout_ms);

/** Why the remote is hung or lost. Valid until the next call; its code is 0 while it is alive. */
OB_API const struct ob_fault *ob_client_fault(const struct ob_client *client);

/** The negative errno with which the remote last refused a call, or 0 if it has not refused any. */
OB_API int ob_client_refusal(const struct ob_client *client);

/** A descriptor that is readable when ob_client_dispatch() has work. It belongs to the client. */
OB_API int ob_client_fd(const struct ob_client *client);

/** Receive interrupts, send and check heartbeats, and detect a remote that has ended. Never
 * waits. */
OB_API void ob_client_dispatch(struct ob_client *client);

/**
 * Probe the device by the accesses of QEMU's proxy. Read the ids. Then, for each BAR and for offset
 * 0x28, write all ones and read the bits that remain. BARs keep their addresses. A vfio-user remote
 * reports the sizes of its BARs itself.
 *
 * Returns 0; -ENODEV when all ids are ones; -EPROTO when a BAR is impossible (its size is not a
 * power of two, or too large); or the errno of an access.
 */
OB_API int ob_client_probe(struct ob_client *client, struct ob_client_info *ret_info,
                           struct ob_fault *fault);

/**
 * Access configuration space.
 *
 * @offset: bytes from its start.
 * @size:   1, 2 or 4 bytes.
 *
 * Returns 0; -EINVAL for another size; -ETIMEDOUT while the remote is hung; -ENOTCONN when it is
 * lost. A read that fails gives all ones.
 */
OB_API int ob_client_config_read(struct ob_client *client, uint32_t offset, unsigned size,
                                 uint32_t *ret_value);
OB_API int ob_client_config_write(struct ob_client *client, uint32_t offset, unsigned size,
                                  uint32_t value);

/** Regions beyond the BARs, for the two functions below. */
#define OB_CLIENT_REGION_ROM    6
#define OB_CLIENT_REGION_CONFIG 7

/**
 * Access any number of bytes of a BAR, the ROM or configuration space. vfio-user uses one message
 * per 1 MiB, or per transfer of the remote's maximum if that is less; mpqemu uses one per register.
 * Except for configuration space, call it after a probe. Over vfio-user that is one message per 1
 * MiB, or whatever less the remote takes; over mpqemu it is one per register. After a probe, unless
 * it is configuration space.
 *
 * @region: 0 to 5: a BAR; OB_CLIENT_REGION_ROM (vfio-user) or OB_CLIENT_REGION_CONFIG.
 *
 * Returns as ob_client_config_read(), -EINVAL for a range outside the region. If a read fails, the
 * bytes that it did not get are ones.
 */
OB_API int ob_client_read_bytes(struct ob_client *client, unsigned region, uint64_t offset,
                                void *ret_buf, size_t len);
OB_API int ob_client_write_bytes(struct ob_client *client, unsigned region, uint64_t offset,
                                 const void *buf, size_t len);

/**
 * Act as firmware after a probe: give every BAR an address and enable decoding.
 *
 * @memory: where memory BARs go, upwards from here; below 4 GiB.
 * @port:   where port BARs go, upwards from here.
 *
 * Returns 0, -EINVAL before a probe, -ENOSPC when they do not fit, or the errno of an access.
 */
OB_API int ob_client_place_bars(struct ob_client *client, uint32_t memory, uint32_t port);

/**
 * Access a BAR. After a probe; over mpqemu it must have an address and be decoded.
 *
 * @bar:    0 to 5.
 * @offset: bytes from the start of the BAR.
 * @size:   1, 2, 4 or 8 bytes.
 *
 * Returns as ob_client_config_read(), -EINVAL also for an access that the BAR does not have.
 */
OB_API int ob_client_bar_read(struct ob_client *client, unsigned bar, uint64_t offset,
                              unsigned size, uint64_t *ret_value);
OB_API int ob_client_bar_write(struct ob_client *client, unsigned bar, uint64_t offset,
                               unsigned size, uint64_t value);

/** A register write. */
struct ob_client_write {
    unsigned bar;
    uint64_t offset;
    unsigned size; /* 1, 2, 4 or 8 bytes */
    uint64_t value;
};

/**
 * Write many registers, in order: in one message if the remote supports it (vfio-user with
 * write_multiple), else in one message each.
 *
 * Returns as ob_client_bar_write(), or -ENOMEM; -EINVAL when ob_client_bar_write() would refuse one
 * of them; then nothing was written.
 */
OB_API int ob_client_bar_write_many(struct ob_client *client, const struct ob_client_write *writes,
                                    unsigned count);

/** A part of a BAR that can be mapped into the VM. */
struct ob_client_area {
    uint64_t offset;      /* into the BAR */
    uint64_t len;         /* bytes */
    int fd;               /* the client's, open until the remote is lost or it is freed */
    uint64_t file_offset; /* of the area in it */
    /* The remote can't cut the file short. An access to an unsealed file may raise SIGBUS. */
    bool sealed;
};

/**
 * vfio-user: the parts of a BAR that can be mapped, for mmap(2) with MAP_SHARED. After a probe.
 *
 * Returns the number of parts, of which the first @max are filled in (0 if the whole BAR is
 * registers); -EINVAL for no such BAR.
 */
OB_API int ob_client_bar_areas(struct ob_client *client, unsigned bar,
                               struct ob_client_area *ret_areas, unsigned max);

/** A register whose write may be signalled past the client, by KVM_IOEVENTFD for instance. */
struct ob_client_eventfd {
    uint64_t offset; /* into the BAR */
    uint64_t size;   /* of the write, bytes; 0: any */
    bool matches;    /* only a write of `value` */
    uint64_t value;
    int fd; /* several may share one */
};

/**
 * vfio-user: get the registers that have an eventfd (GET_REGION_IO_FDS). Call it after a probe.
 *
 * @ret_eventfds: filled in up to @max. Its descriptors are the caller's.
 *
 * Returns the number that was filled in, -EINVAL for no such BAR, -ENOMEM, or the errno of a call
 * or of duplicating a descriptor.
 */
OB_API int ob_client_bar_eventfds(struct ob_client *client, unsigned bar,
                                  struct ob_client_eventfd *ret_eventfds, unsigned max);

/** Reset the device. Returns as ob_client_config_read(). */
OB_API int ob_client_reset(struct ob_client *client);

#ifdef __cplusplus
}
#endif
#endif
