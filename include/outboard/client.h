// SPDX-License-Identifier: BSD-3-Clause
/*
 * Client: a VMM's side of a remote device, whoever serves it: a program of this project, or QEMU's
 * x-remote.
 *
 * A client connects, publishes guest memory, probes what the device is, and then forwards the
 * guest's accesses. Nothing that the remote does or fails to do harms the VMM: every call ends
 * within a bound, reads of a device that does not answer give all ones as they do on a PCI bus, and
 * the reason is kept as a fault.
 *
 * A remote is alive, hung (it has not answered in time, though it may yet) or lost (its socket
 * ended, it broke the rules of the wire, or a policy gave it up). While it is hung no call waits
 * for it any more. If late answers come they are recognized as late, and it is alive again.
 *
 * The library starts no thread. Calls on one client must not overlap; callbacks run inside the call
 * that found the reason for them and must not call the client, except ob_client_state(),
 * ob_client_fault() and ob_client_intx_eoi(). Between calls, ob_client_dispatch() looks after
 * interrupts and the heartbeat whenever ob_client_fd() is readable; it never waits.
 */
#ifndef OUTBOARD_CLIENT_H
#define OUTBOARD_CLIENT_H

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

/** What follows when a remote does not answer in time. */
enum ob_client_policy {
    OB_CLIENT_REPORT, /* it is hung until its late answers come */
    OB_CLIENT_FAIL,   /* it is lost */
    OB_CLIENT_ASK,    /* what the callback `hung` says */
};

struct ob_client_callbacks {
    /** The state has changed. @fault: why; nothing is recorded when it is alive again. */
    void (*state_changed)(void *argument, enum ob_client_state state, const struct ob_fault *fault);
    /** For OB_CLIENT_ASK: returns OB_CLIENT_REPORT or OB_CLIENT_FAIL. */
    enum ob_client_policy (*hung)(void *argument, const struct ob_fault *fault);
    /** For ob_client_emulate_intx(): the interrupt line goes up. */
    void (*intx_raised)(void *argument);
};

/** How to speak to a remote. All zero is a good choice. */
struct ob_client_options {
    const char *wire;      /* "mpqemu" (also NULL) or "mpqemu-v8" */
    unsigned timeout_ms;   /* the longest that a call takes; 0: 1000 */
    unsigned poll_us;      /* poll so long for an answer before blocking; 0: never */
    unsigned heartbeat_ms; /* look after the remote so often; 0: never */
    enum ob_client_policy policy;
    struct ob_client_callbacks callbacks; /* any may be NULL */
    void *argument;                       /* handed to the callbacks */
};

/** A piece of guest memory. */
struct ob_client_region {
    uint64_t gpa;    /* guest address */
    uint64_t len;    /* bytes */
    uint64_t offset; /* into the file */
    int fd;          /* a file that can be mapped shared (memfd); stays the caller's */
};

/** A BAR as a probe finds it. */
struct ob_client_bar {
    enum ob_bar_kind kind;
    unsigned flags; /* OB_BAR_PREFETCHABLE or 0 */
    uint64_t size;  /* bytes, a power of two */
};

/** What a probe finds. */
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
};

/**
 * Make a client of a connected stream socket.
 *
 * @fd:         becomes the client's on success.
 * @options:    NULL: the defaults. Copied.
 * @ret_client: free it with ob_client_free().
 * @fault:      may be NULL.
 *
 * Returns 0; -EINVAL for impossible options; -ENOTSOCK, -EPROTOTYPE or -ENOTCONN when @fd is no
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

/** Why the remote is hung or lost. Valid until the next call; its code is 0 while it is alive. */
OB_API const struct ob_fault *ob_client_fault(const struct ob_client *client);

/** A descriptor that is readable when ob_client_dispatch() has something to do. The client's. */
OB_API int ob_client_fd(const struct ob_client *client);

/** Take interrupts, send and check heartbeats, notice a remote that has gone. Never waits. */
OB_API void ob_client_dispatch(struct ob_client *client);

/**
 * Tell the remote what guest memory is, in place of what it was told before. To be done first: an
 * mpqemu remote learns the dialect from it, and QEMU's own ends when it is told of no memory.
 *
 * Regions that touch in the guest and in the same file (the same @fd) are sent as one.
 *
 * Returns 0; -EINVAL for a region that is empty, not aligned to pages of 4096, wraps or overlaps
 * another; -E2BIG when more than 7 are left to be sent; -EBADF for a descriptor that is not open;
 * -ENOTCONN when the remote is lost. A remote that is hung is told all the same. The fault of all
 * but -ENOTCONN goes to @fault, which may be NULL.
 */
OB_API int ob_client_publish_memory(struct ob_client *client,
                                    const struct ob_client_region *regions, unsigned count,
                                    struct ob_fault *fault);

/**
 * Find out what the device is, in the accesses by which QEMU's proxy does: ids, then for each BAR,
 * and for offset 0x28, what stays of writing all ones. BARs keep their addresses.
 *
 * Returns 0; -ENODEV when all ids are ones; -EPROTO when a BAR can't be (its size is no power of
 * two); or the errno of an access.
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

/**
 * Do what firmware does after a probe: give every BAR an address and let it be decoded.
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

/**
 * Give INTx a way of the VMM's own: a KVM irqfd and its resample eventfd. Both stay the caller's.
 *
 * Returns 0; -EBADF for a descriptor that is not open; -ENOTCONN when the remote is lost.
 */
OB_API int ob_client_set_intx(struct ob_client *client, int trigger_fd, int resample_fd);

/**
 * Take INTx without KVM: the callback `intx_raised` is called when the line goes up, from
 * ob_client_dispatch(). The line stays up until ob_client_intx_eoi().
 *
 * Returns as ob_client_set_intx(), or the errno of making eventfds.
 */
OB_API int ob_client_emulate_intx(struct ob_client *client);

/** The guest has ended the interrupt: the line is down, and goes up again if the device still holds
 * its end. */
OB_API void ob_client_intx_eoi(struct ob_client *client);

/** Reset the device. Returns as ob_client_config_read(). */
OB_API int ob_client_reset(struct ob_client *client);

#ifdef __cplusplus
}
#endif
#endif
