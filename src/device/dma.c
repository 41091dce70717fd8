// SPDX-License-Identifier: BSD-3-Clause
/* include/outboard/dma.h: the guest's memory behind the gate of bus mastering. */
#include <outboard/dma.h>

#include <errno.h>
#include <inttypes.h>

#include "base/fault_point.h"
#include "device/internal.h"
#include "device/virtio_part.h"

/* An author's slips; a range of no bytes needs no buffer. */
static int check_call(const struct ob_device *device, const void *buf, size_t len)
{
    return device && (buf || len == 0) ? 0 : -EINVAL;
}

static bool is_direction(enum ob_dma_direction direction)
{
    return direction == OB_DMA_TO_DEVICE || direction == OB_DMA_FROM_DEVICE;
}

int device_may_master(const struct ob_device *device)
{
    if (device->dormant)
        return -ENOTCONN;
    if (device->virtio && !virtio_is_on_pci(device->virtio))
        return 0; /* the wire has no bus */
    return pci_function_may_master(&device->pci->function) ? 0 : -EPERM;
}

static int read_memory(struct ob_device *device, uint64_t iova, void *ret_buf, size_t len)
{
    int err = device_may_master(device);
    return err < 0 ? err : memory_read(&device->memory, iova, ret_buf, len);
}

static int write_memory(struct ob_device *device, uint64_t iova, const void *buf, size_t len)
{
    int err = device_may_master(device);
    return err < 0 ? err : memory_write(&device->memory, iova, buf, len);
}

/* A device that can't do without memory that is not shared fails in ways that hide the reason. */
static int tell_of_unshared(struct ob_device *device, uint64_t iova, int err)
{
    if (err != -EREMOTE || device->told.of_memory)
        return err;
    ob_device_warn(
        device,
        "the VMM does not share the memory at 0x%" PRIx64
        ", which this device needs; share it (QEMU: -object memory-backend-memfd,share=on)",
        iova);
    device->told.of_memory = true;
    return err;
}

int ob_dma_read(struct ob_device *device, uint64_t iova, void *ret_buf, size_t len)
{
    int err = check_call(device, ret_buf, len);
    return err < 0 ? err : tell_of_unshared(device, iova, read_memory(device, iova, ret_buf, len));
}

int ob_dma_write(struct ob_device *device, uint64_t iova, const void *buf, size_t len)
{
    int err = check_call(device, buf, len);
    if (err == 0)
        err = tell_of_unshared(device, iova, write_memory(device, iova, buf, len));
    fault_point("dma-write");
    return err;
}

int device_check_dma(struct ob_device *device, const struct ob_dma_request *request)
{
    int err = device_may_master(device);
    return err < 0 ? err
                   : memory_check(&device->memory, request->iova, request->len,
                                  request->direction == OB_DMA_FROM_DEVICE);
}

/* Copies at once, or returns -EREMOTE when the VMM has to be asked and can be. */
static int copy_now(struct ob_device *device, const struct ob_dma_request *request)
{
    bool to_guest = request->direction == OB_DMA_FROM_DEVICE;
    int err = to_guest ? write_memory(device, request->iova, request->buf, request->len)
                       : read_memory(device, request->iova, request->buf, request->len);
    if (err != -EREMOTE)
        return err;
    if (!device->messenger)
        return -EFAULT;
    err = device_check_dma(device, request);
    return err < 0 ? err : -EREMOTE;
}

void ob_dma_submit(struct ob_device *device, struct ob_dma_request *request)
{
    if (!request || !request->done) {
        ob_device_warn(device, "ob_dma_submit() was given no request, or one without done()");
        return;
    }
    int result = check_call(device, request->buf, request->len);
    if (result == 0)
        result = is_direction(request->direction) ? copy_now(device, request) : -EINVAL;
    if (result == -EREMOTE)
        device->messenger->submit(device->messenger->context, request);
    else
        request->done(request, result);
}

void ob_dma_cancel(struct ob_device *device, struct ob_dma_request *request)
{
    if (device && device->messenger && request)
        device->messenger->cancel(device->messenger->context, request);
}

static bool is_zero(const uint8_t *bytes, size_t len)
{
    while (len > 0 && *bytes == 0) {
        bytes++;
        len--;
    }
    return len == 0;
}

void ob_dma_check_command(struct ob_device *device, const void *command, size_t len)
{
    if (device->told.of_zeroes)
        return;
    device->told.of_zeroes = true;
    if (is_zero(command, len))
        ob_device_warn(
            device, "the first command in the guest's memory is all zeroes: the VMM may keep that "
                    "memory private; share it (QEMU: -object memory-backend-memfd,share=on)");
}

int ob_dma_map(struct ob_device *device, uint64_t iova, size_t len, enum ob_dma_direction direction,
               struct ob_dma_span *ret_spans, unsigned max_spans)
{
    int err = check_call(device, ret_spans, max_spans);
    if (err == 0 && !is_direction(direction))
        err = -EINVAL;
    if (err < 0)
        return err;
    err = device_may_master(device);
    if (err == 0)
        err = memory_map(&device->memory, iova, len, direction == OB_DMA_FROM_DEVICE, ret_spans,
                         max_spans);
    return tell_of_unshared(device, iova, err);
}

void ob_dma_unmap(struct ob_device *device, struct ob_dma_span *spans, unsigned num_spans)
{
    if (device && spans)
        memory_unmap(&device->memory, spans, num_spans);
}

bool ob_dma_is_current(const struct ob_device *device, const struct ob_dma_span *span)
{
    return span && span->region && span->region->current;
}
