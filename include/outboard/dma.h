// SPDX-License-Identifier: BSD-3-Clause
/*
 * DMA: access of a device to the guest's memory.
 *
 * Guest memory is a table of regions that the VMM shares by descriptor and may replace at any
 * message. The copying calls look a range up each time. A mapped range keeps its memory alive until
 * it is unmapped, even if the VMM removes it. ob_dma_is_current() tells if it still belongs to the
 * guest.
 *
 * Without a device, a buffer or a valid direction, a call returns -EINVAL, and a request gets that
 * as its result.
 *
 * The guest can change its memory at any time: copy data, then check the copy.
 *
 * A VMM may announce memory and share no descriptor for it. Then the calls that copy or map at once
 * return -EREMOTE. Only ob_dma_submit() reaches that memory, by messages to the VMM. A device that
 * uses only ob_dma_submit() works in both cases, and can be run with --dma=messages. Then no memory
 * is ever mapped, and a compromised device process has no guest memory.
 */
#ifndef OUTBOARD_DMA_H
#define OUTBOARD_DMA_H

#include <outboard/device.h>

#ifdef __cplusplus
extern "C" {
#endif

enum ob_dma_direction {
    OB_DMA_TO_DEVICE,   /* the device reads guest memory */
    OB_DMA_FROM_DEVICE, /* the device writes guest memory */
};

struct ob_dma_region; /* the memory that a span keeps mapped */

/** A copy that ends later. The device owns the request and its buffer; both must remain until done
 * is called. */
struct ob_dma_request {
    uint64_t iova;
    void *buf;
    size_t len; /* bytes */
    enum ob_dma_direction direction;
    /**
     * The copy has ended. Called exactly once, from within ob_dma_submit() where the memory is
     * shared, later where it is not; may submit again and may free the request.
     *
     * @result: 0; -EFAULT, -EACCES, -EPERM as ob_dma_write(); -ECANCELED when the device was
     *          reset; -ENOTCONN when the VMM has gone and no other has taken the device over; or an
     *          errno that the VMM gave.
     */
    void (*done)(struct ob_dma_request *request, int result);
    void *context; /* the device's */
    /* The library's. */
    struct ob_dma_request *next;
    size_t moved;
    uint64_t reserved[2];
};

/** A piece of guest memory that is contiguous in this process. */
struct ob_dma_span {
    void *address;
    size_t len; /* bytes */
    struct ob_dma_region *region;
    enum ob_dma_direction direction;
};

/**
 * Copy from guest memory.
 *
 * @iova:    guest address; the range may cross regions that touch.
 * @ret_buf: filled on success, unspecified on failure.
 * @len:     bytes.
 *
 * Returns 0, -EFAULT when part of the range is not memory, -EREMOTE when part of it is not shared,
 * -EPERM while the guest has not enabled bus mastering (PCI Local Bus 3.0, section 6.2.2),
 * -ENOTCONN while no VMM has taken the device over (device.h). Any callback of the device.
 */
OB_API int ob_dma_read(struct ob_device *device, uint64_t iova, void *ret_buf, size_t len);

/**
 * Copy into guest memory. Nothing is written unless all of the range can be.
 *
 * Returns 0, -EFAULT when part of the range is not memory, -EREMOTE when part of it is not shared,
 * -EACCES when part of it is read only, -EPERM while the guest has not enabled bus mastering,
 * -ENOTCONN while no VMM has taken the device over. Any callback of the device.
 */
OB_API int ob_dma_write(struct ob_device *device, uint64_t iova, const void *buf, size_t len);

/** Start a copy from or to guest memory, wherever it is. Any callback of the device. */
OB_API void ob_dma_submit(struct ob_device *device, struct ob_dma_request *request);

/** Cancel a copy: done is not called, and the buffer is no longer accessed. A write in flight may
 * still reach the guest's memory. */
OB_API void ob_dma_cancel(struct ob_device *device, struct ob_dma_request *request);

/**
 * Map a range of guest memory for zero-copy I/O.
 *
 * @iova, @len: the range, in bytes.
 * @direction:  the device's access.
 * @ret_spans:  filled in address order.
 * @max_spans:  the room in @ret_spans.
 *
 * Returns the number of spans, each to be given back by ob_dma_unmap(), or -EFAULT, -EREMOTE,
 * -EACCES, -EPERM, -ENOTCONN as above, -E2BIG when more than @max_spans would be needed. On failure
 * nothing is held.
 */
OB_API int ob_dma_map(struct ob_device *device, uint64_t iova, size_t len,
                      enum ob_dma_direction direction, struct ob_dma_span *ret_spans,
                      unsigned max_spans);

/** Give spans back. If the VMM has removed a region, its memory is unmapped with its last span. */
OB_API void ob_dma_unmap(struct ob_device *device, struct ob_dma_span *spans, unsigned num_spans);

/**
 * Check a command that the device has read from guest memory. If the first command after a VMM has
 * connected is all zeroes, the VMM probably does not share the guest's memory (QEMU's share=off).
 * The guest's writes are then not visible here, and there is no other symptom. The log reports it,
 * once for each VMM.
 *
 * @command, @len: the bytes as they were read; a useful command must not be all zeroes.
 *
 * Costs next to nothing after the first call. Any callback of the device.
 */
OB_API void ob_dma_check_command(struct ob_device *device, const void *command, size_t len);

/** Returns true if the memory of a span still belongs to the guest: the VMM has not replaced it
 * since. */
OB_API bool ob_dma_is_current(const struct ob_device *device, const struct ob_dma_span *span);

#ifdef __cplusplus
}
#endif
#endif
