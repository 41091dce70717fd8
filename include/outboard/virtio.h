// SPDX-License-Identifier: BSD-3-Clause
/*
 * Virtio: a virtio device, described once and served over any wire.
 *
 * ob_virtio_new() makes the same kind of object as ob_device_new() (device.h). Programs, watched
 * descriptors, timers, wake-ups and warnings work with it in the same way. mpqemu and vfio-user
 * show it as a modern virtio-pci function, vhost-user shows its queues directly. The device does
 * not learn which. The library implements the rings (split and packed), features, status, reset,
 * interrupts, suppression of notifications, and the state of all these.
 *
 * A device takes chains from a queue and completes them:
 *
 *     static bool notified(void *state, unsigned queue)
 *     {
 *         struct ob_virtio_chain *chain;
 *         while ((chain = ob_virtio_take(device, queue)))
 *             ob_virtio_complete(chain, fill(chain->writable, chain->num_writable));
 *         return false;
 *     }
 *
 * A chain is one request of the driver: memory that the device reads, then memory that it writes.
 * The library has copied the descriptors once and checked them, and the spans (dma.h) stay valid
 * until the chain is given back. Their contents are the guest's, which may change them at any time:
 * copy a header before you check it. The driver may split a chain into descriptors at any place.
 *
 * A driver that breaks the rules of the rings stops the device. Its status gets NEEDS_RESET, and the
 * log has the reason. ob_virtio_take() then gives no chain until the driver resets the device.
 *
 * All callbacks and functions belong to the one thread that serves the device. The library calls
 * none of the callbacks for queues and chains while the device is dormant (device.h).
 *
 * Source: OASIS virtio 1.2 (2022). The sections named below are those of its chapter 2.
 */
#ifndef OUTBOARD_VIRTIO_H
#define OUTBOARD_VIRTIO_H

#include <outboard/device.h>
#include <outboard/dma.h>

#ifdef __cplusplus
extern "C" {
#endif

#define OB_VIRTIO_QUEUES         1024 /* queues of one device */
#define OB_VIRTIO_QUEUE_SIZE     1024 /* the largest queue size that can be offered */
#define OB_VIRTIO_CONFIG_LEN     4096 /* bytes of the device's configuration space */
#define OB_VIRTIO_VECTORS        128  /* MSI-X vectors of one device */
#define OB_VIRTIO_CHAIN_SEGMENTS 1024 /* descriptors with memory in one chain */

/** A queue as the device offers it. */
struct ob_virtio_queue {
    uint16_t
        size; /* a power of two, 2 to OB_VIRTIO_QUEUE_SIZE; 0: 256. The driver may shrink it. */
    /* Descriptors with memory in one chain; 0: OB_VIRTIO_CHAIN_SEGMENTS. A chain with more is the
     * driver's error. A hostile driver can make the library hold size * max_segments spans. */
    uint16_t max_segments;
};

/** The description of a virtio device. Copied by ob_virtio_new(). */
struct ob_virtio_desc {
    size_t size;      /* sizeof(struct ob_virtio_desc) */
    const char *name; /* for messages and saved states: "rng" */
    uint16_t type;    /* chapter 5: 2 block, 3 console, 4 rng, 19 vsock */
    /* PCI class, as ob_device_desc.class_code; 0: 0x00ff00, which virtio-pci drivers ignore. */
    uint32_t class_code;
    /* The device type's feature bits: 0 to 23 and 50 to 63. The library adds those of rings and
     * transport: VERSION_1, INDIRECT_DESC, EVENT_IDX, RING_PACKED, RING_RESET, NOTIFICATION_DATA. */
    uint64_t features;
    uint64_t withheld; /* bits that the library would add and must not */
    /* Offer IN_ORDER too. The library then holds a completion back until those before it are there,
     * so a device whose requests overtake each other should not. */
    bool in_order;
    const struct ob_virtio_queue *queues;
    unsigned num_queues; /* 1 to OB_VIRTIO_QUEUES */
    unsigned vectors;    /* MSI-X, up to OB_VIRTIO_VECTORS; 0: one more than queues, if that fits */
    size_t config_len;   /* bytes of configuration space that the type has; 0: none */
    /* The device can be saved. The library saves all that the driver has set, and the rings. */
    bool migratable;
    /* The largest state of its own that ob_virtio_ops.save() writes, bytes, and the version of its
     * layout. 0: no state of its own. */
    size_t state_len;
    uint32_t state_version;
    /* Chains of one queue have no order with those of another, as for a disk. While the server polls,
     * the library then looks at the queues itself, and has the driver notify them only before it
     * sleeps. */
    bool unordered_queues;
};

/**
 * One request of the driver, from ob_virtio_take() until ob_virtio_complete() or
 * ob_virtio_return(). The fields are read only but for context. The spans of a direction are in the
 * order of the chain. One descriptor may be several spans.
 */
struct ob_virtio_chain {
    const struct ob_dma_span *readable; /* the driver's bytes */
    const struct ob_dma_span *writable; /* room for the device's */
    unsigned num_readable;
    unsigned num_writable;
    size_t readable_len; /* bytes in all readable spans */
    size_t writable_len;
    unsigned queue;
    void *context; /* the device's; NULL when the chain is taken */
};

/** The behaviour of a virtio device. Copied by ob_virtio_new(). All but notified may be NULL. */
struct ob_virtio_ops {
    size_t size; /* sizeof(struct ob_virtio_ops) */

    /**
     * There may be chains in a queue: the driver has notified it, or the device or the queue has
     * started or resumes. Take chains until ob_virtio_take() returns NULL; only then is the next
     * call certain. A device that stops before that (it has no room) calls
     * ob_virtio_take() again by itself, from any callback.
     *
     * Returns true to be called again soon, for example after a bounded number of chains.
     */
    bool (*notified)(void *state, unsigned queue);

    /**
     * The driver has finished negotiation (FEATURES_OK): these are the feature bits that it has
     * accepted. Called once before any queue starts.
     *
     * Returns 0, or a negative errno if the device can't work with this set; the driver then finds
     * FEATURES_OK clear.
     */
    int (*negotiated)(void *state, uint64_t features);

    /** The driver has set DRIVER_OK, or a state with it was loaded. Over vhost-user: the first
     * queue has started. */
    void (*started)(void *state);

    /** A queue was enabled, and its rings are there. notified() follows. */
    void (*queue_started)(void *state, unsigned queue);

    /**
     * Give back all chains of a queue soon: complete each one, or return it. The library needs them
     * back for a reset, the end of a queue, a pause of the VM, or because memory goes. End or cancel
     * I/O in flight on their spans; ob_virtio_take() gives no chain meanwhile. The guest waits for a
     * reset without end, so set a time limit. NULL: the library waits for the chains.
     */
    void (*let_go)(void *state, unsigned queue);

    /** A queue has stopped, after let_go() and after its last chain was given back. */
    void (*queue_stopped)(void *state, unsigned queue);

    /** The driver or the VMM has reset the device. All queues have stopped, and no feature is
     * negotiated. */
    void (*reset)(void *state);

    /** Write the configuration space, @config_len bytes, with its present values in little endian. The
     * library compares it with the earlier bytes, and counts the generation. */
    void (*config)(void *state, uint8_t *ret_config);

    /** The driver has written bytes of configuration space; ignore those that it may not write.
     * NULL: all writes are ignored. */
    void (*config_written)(void *state, size_t offset, const uint8_t *bytes, size_t len);

    /** As in ob_device_ops. A virtio device needs them only for work besides its queues. When
     * pause() is called, let_go() follows. */
    bool (*poll)(void *state);
    bool (*has_io_in_flight)(void *state);
    void (*pause)(void *state, bool paused);
    int (*at_rest)(void *state, struct ob_fault *fault);
    int (*save)(void *state, uint8_t *ret_buf, size_t size);
    int (*load)(void *state, uint32_t version, const uint8_t *buf, size_t len,
                struct ob_fault *fault);
    void (*disconnected)(void *state);
};

/**
 * Make a virtio device. It needs shared memory: set ob_program.needs_shared_memory (program.h).
 *
 * @desc:       its description.
 * @ops:        its callbacks.
 * @state:      handed to every callback; stays the caller's.
 * @ret_device: the device; free it with ob_device_free().
 * @fault:      filled if @desc is wrong; may be NULL.
 *
 * Returns 0, -EINVAL when the description is impossible, -E2BIG when it has fields that this
 * library does not know (api.h), or -ENOMEM.
 */
OB_API int ob_virtio_new(const struct ob_virtio_desc *desc, const struct ob_virtio_ops *ops,
                         void *state, struct ob_device **ret_device, struct ob_fault *fault);

/**
 * Take the next chain of a queue. If the queue is empty, the library has the driver notify the next
 * chain (@unordered_queues: before the server sleeps). It then looks once more, so that no
 * notification is lost (section 2.7.13.4.1).
 *
 * Returns the chain, which the device must complete or return, or NULL. NULL: the queue is empty or
 * does not run. It runs from its start until it stops. It does not run while the VM is paused or the
 * device is dormant, and after a fault of the driver. Any callback of the device.
 */
OB_API struct ob_virtio_chain *ob_virtio_take(struct ob_device *device, unsigned queue);

/**
 * Give a chain back to the driver. The library sends the interrupt, unless the driver has
 * suppressed it, before the server waits; chains that are completed together share one.
 *
 * @chain:   is not valid any more. NULL is fine.
 * @written: bytes that the device has written, from the start of the writable part; cut to its
 *           length.
 *
 * A chain of a queue that is stopping is not shown to the driver if the device was reset.
 */
OB_API void ob_virtio_complete(struct ob_virtio_chain *chain, size_t written);

/** Give a chain back unused. ob_virtio_take() gives it again, before newer ones, unless the driver
 * resets the queue. @chain is not valid any more. NULL is fine. */
OB_API void ob_virtio_return(struct ob_virtio_chain *chain);

/**
 * Copy from the readable part of a chain.
 *
 * @offset: in the readable part; the range may lie beyond its end.
 *
 * Returns the number of bytes copied, less than @len only at the end of the part.
 */
OB_API size_t ob_virtio_read(const struct ob_virtio_chain *chain, size_t offset, void *ret_buf,
                             size_t len);

/** Copy into the writable part of a chain; arguments and result as for ob_virtio_read(). */
OB_API size_t ob_virtio_write(const struct ob_virtio_chain *chain, size_t offset, const void *buf,
                              size_t len);

/** Whether a queue runs: it was started and does not stop, the VM is not paused. Then
 * ob_virtio_take() gives its chains. */
OB_API bool ob_virtio_queue_runs(const struct ob_device *device, unsigned queue);

/** The feature bits that the driver has accepted; 0 before that. */
OB_API uint64_t ob_virtio_features(const struct ob_device *device);

/** The configuration space has changed by the device's doing: the driver gets a configuration
 * change interrupt if it runs. Any callback of the device. */
OB_API void ob_virtio_config_changed(struct ob_device *device);

/**
 * Stop the device until the driver resets it, because the driver has broken a rule of the device
 * type or the device has failed. Sets NEEDS_RESET (section 2.1.2) and writes the reason to the log.
 * Linux does not reset by itself. Any callback of the device.
 */
OB_API void ob_virtio_fail(struct ob_device *device, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#ifdef __cplusplus
}
#endif
#endif
