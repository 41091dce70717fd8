// SPDX-License-Identifier: BSD-3-Clause
/*
 * The device object behind include/outboard/device.h: the functions for engines. Those for
 * its PCI part stand in pci.h, irq.h and doorbells.h; its layout in internal.h,
 * which is this folder's alone.
 *
 * A device is made before it is known which wire will serve it, and outlives its peers:
 * device_disconnect() takes back all that came from one, so that the next can start afresh. An
 * engine calls the functions below, one message at a time.
 *
 * A device that has lost its peer is dormant. The next peer gives its memory and its eventfds
 * before it resets the device, and queues and doorbells of the guest before would be looked for in
 * that memory. So a dormant device is not polled, its DMA is refused, and its interrupts are kept
 * back. It keeps its state, for a peer that takes the same VM further. It wakes when the next peer
 * accesses a BAR, rings a doorbell, resets it or loads a state into it; configuration space does
 * not wake it, since every VMM reads and writes that first.
 */
#ifndef OUTBOARD_DEVICE_DEVICE_H
#define OUTBOARD_DEVICE_DEVICE_H

#include <outboard/device.h>
#include <outboard/dma.h>

#include "base/list.h"
#include "device/host.h"
#include "memory/memory.h"

/* How a wire reaches memory that its peer has not shared. */
struct device_messenger {
    void (*submit)(void *context, struct ob_dma_request *request);
    /* Forgets the request; its buffer is not touched any more. */
    void (*cancel)(void *context, struct ob_dma_request *request);
    /* Ends all requests with this errno. */
    void (*cancel_all)(void *context, int err);
    /* Whether no request is there, and no answer is awaited. */
    bool (*is_idle)(void *context);
    void *context;
};

/* An object that has something of a device is told when that is freed. */
struct device_ending {
    struct list link;
    void (*ended)(struct device_ending *ending);
};

/* As ob_device_new(), with the host that the device will use for as long as it lives. */
int device_new(const struct ob_device_desc *desc, const struct ob_device_ops *ops, void *state,
               const struct server_host *host, struct ob_device **ret_device,
               struct ob_fault *fault);
void device_free(struct ob_device *device);

/* Has ended(ending) called before the device is freed, unless it is forgotten. */
void device_tell_of_end(struct ob_device *device, struct device_ending *ending,
                        void (*ended)(struct device_ending *ending));
void device_forget_ending(struct device_ending *ending);

/* Other ids of the PCI function than those of its description; before a VMM has seen the device. */
void device_set_pci_ids(struct ob_device *device, uint16_t vendor_id, uint16_t device_id);

/* For messages. */
const char *device_name(const struct ob_device *device);
const struct server_host *device_host(const struct ob_device *device);
/* The guest's memory, which the engine fills. */
struct memory *device_memory(struct ob_device *device);
/* The engine's way to memory that the peer has not shared; NULL: the engine lacks it. */
void device_set_messenger(struct ob_device *device, const struct device_messenger *messenger);

/* Whether events of the device are traced, trace.h; from now on they are, or are not. */
bool device_traces(const struct ob_device *device);
void device_trace(struct ob_device *device, bool traces);

/* Where messages and I/O are counted from now on; NULL: nowhere. */
struct statistics;
void device_set_statistics(struct ob_device *device, struct statistics *statistics);
struct statistics *device_statistics(const struct ob_device *device);

/* A peer is served from now on: its view of the device stays as it is. */
void device_begin_serving(struct ob_device *device);
/* Gives up everything of the peer: memory, interrupt descriptors. The device is dormant then. */
void device_disconnect(struct ob_device *device);
/* Whether a request may be carried out: 0, -EPERM, -EFAULT or -EACCES as ob_dma_write(). */
int device_check_dma(struct ob_device *device, const struct ob_dma_request *request);

/* Has the device begin to let go of the guest's memory, unless it is at it. Never waits. */
void device_quiesce(struct ob_device *device);
/* Whether it has let go, or waiting for it is no use. To be asked again after any callback of the
 * device until it is so: the device does nothing new until then. */
bool device_is_quiet(struct ob_device *device);
/* The peer has gone: both in one, to be called again until it is true, before
 * device_disconnect(). */
bool device_leave(struct ob_device *device);

/* As ob_device_ops.pause(), when it changes something. A dormant device resumes when it wakes. */
void device_pause(struct ob_device *device, bool paused);
/* Whether device_pause() was asked last to pause it. */
bool device_is_stopped(const struct ob_device *device);
/* Pauses it too, until another process continues: that one is not paused. */
void device_drain(struct ob_device *device, bool drains);
/* As device_at_rest(), and no message to the VMM is on its way. */
int device_is_drained(struct ob_device *device, struct ob_fault *fault);
/* As ob_device_ops.at_rest(). */
int device_at_rest(struct ob_device *device, struct ob_fault *fault);

/* Resets the device once it has let go of the guest's memory: whether it has been done; if not, to
 * be called again after any callback of the device. */
bool device_reset_when_quiet(struct ob_device *device);
/* Resets a device that has nothing in flight, or whatever it has in flight. */
void device_reset(struct ob_device *device);

/* Has the device do the work that is due. Returns whether anything was done or more is due right now. */
bool device_poll(struct ob_device *device);
/* As ob_device_ops.has_io_in_flight(). */
bool device_has_io_in_flight(const struct ob_device *device);
/* As ob_device_ops.has_deferred_work(). */
bool device_has_deferred_work(const struct ob_device *device);
/* To be called before waiting. Returns whether there is something to do instead. */
bool device_before_sleep(struct ob_device *device);

#endif
