// SPDX-License-Identifier: BSD-3-Clause
/*
 * The virtio-pci function of a virtio device: virtio 1.2, section 4.1, modern alone.
 *
 * BAR 0, a page each: common configuration, ISR, device configuration, notifications (four bytes for
 * each queue, so that each has an eventfd of its own). BAR 1: MSI-X. Registers of the common
 * configuration are read as bytes of an image of it, and written by a table of fields; an access of
 * another width than the field's is the driver's error and is taken as far as it makes sense.
 *
 * A reset that takes its time shows the status as it was until it is done, since the driver waits
 * for 0; queue_reset reads 1 in the same way.
 *
 * Interrupts. The ISR bit is set before the interrupt. With MSI-X the queue's vector is signalled,
 * and no vector is no interrupt.
 */
#include <errno.h>
#include <linux/pci_regs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <outboard/irq.h>

#include "base/access.h"
#include "base/cursor.h"
#include "device/internal.h"
#include "device/virtio_part.h"

#define VENDOR       0x1af4u
#define FIRST_DEVICE 0x1040u /* of modern ones */
#define CLASS_OTHER  0x00ff00u

enum {
    REGISTER_BAR = 0,
    MSIX_BAR = 1,
};
#define COMMON_AT   0x0000u
#define COMMON_LEN  64u /* as far as admin_queue_num: RING_RESET needs 60 */
#define ISR_AT      0x1000u
#define CONFIG_AT   0x2000u
#define NOTIFY_AT   0x3000u
#define NOTIFY_STEP 4u
#define BAR_LEN     0x4000u
#define MSIX_LEN    0x1000u

#define ISR_QUEUE  1u
#define ISR_CONFIG 2u

/* 4.1.4: cfg_type */
enum {
    CAP_COMMON = 1,
    CAP_NOTIFY,
    CAP_ISR,
    CAP_DEVICE,
    CAP_PCI,
};
#define CAP_LEN 16u

static struct device_virtio *virtio_of(void *state)
{
    return state;
}

/* The queue that queue_select names; NULL: it does not exist. */
static struct virtio_part_queue *selected(struct device_virtio *virtio)
{
    const uint16_t number = virtio->registers.queue_select;
    return number < virtio->num_queues ? &virtio->queues[number] : NULL;
}

static void raise(struct device_virtio *virtio, uint8_t bit)
{
    virtio->registers.isr |= bit;
    ob_irq_raise(virtio->device);
}

static void signal_queue(void *context, unsigned queue)
{
    struct device_virtio *virtio = context;
    const uint16_t vector = virtio->queues[queue].vector;
    if (!irq_uses_msix(virtio->device))
        raise(virtio, ISR_QUEUE);
    else if (vector != VIRTIO_NO_VECTOR)
        ob_irq_signal(virtio->device, vector);
}

static void signal_config(void *context)
{
    struct device_virtio *virtio = context;
    const uint16_t vector = virtio->registers.config_vector;
    if (!irq_uses_msix(virtio->device)) {
        raise(virtio, ISR_CONFIG);
        return;
    }
    virtio->registers.isr |= ISR_CONFIG;
    if (vector != VIRTIO_NO_VECTOR)
        ob_irq_signal(virtio->device, vector);
}

void virtio_pci_use(struct device_virtio *virtio)
{
    virtio->pci_wire = (struct virtio_wire){
        .signal_queue = signal_queue, .signal_config = signal_config, .context = virtio};
    virtio->wire = &virtio->pci_wire;
}

/* 4.1.4.3: the fields, in their order. */
static void put_common(struct device_virtio *virtio, uint8_t *ret_image)
{
    const struct virtio_registers *registers = &virtio->registers;
    static const struct virtio_part_queue absent = {.vector = VIRTIO_NO_VECTOR};
    const struct virtio_part_queue *queue = selected(virtio);
    const unsigned offered = registers->feature_select, accepted = registers->driver_feature_select;
    struct wr wr = wr_init(ret_image, COMMON_LEN);
    if (!queue)
        queue = &absent;
    wr_u32(&wr, offered);
    wr_u32(&wr, offered < 2 ? (uint32_t)(virtio->offered >> (32 * offered)) : 0);
    wr_u32(&wr, accepted);
    wr_u32(&wr, accepted < 2 ? (uint32_t)(registers->driver_features >> (32 * accepted)) : 0);
    wr_u16(&wr, registers->config_vector);
    wr_u16(&wr, (uint16_t)virtio->num_queues);
    wr_u8(&wr, virtio->status);
    wr_u8(&wr, virtio->config.generation);
    wr_u16(&wr, registers->queue_select);
    wr_u16(&wr, queue->size);
    wr_u16(&wr, queue->vector);
    wr_u16(&wr, queue->enabled);
    wr_u16(&wr, queue == &absent ? 0 : registers->queue_select);
    wr_u64(&wr, queue->desc);
    wr_u64(&wr, queue->driver);
    wr_u64(&wr, queue->device);
    wr_u16(&wr, 0); /* queue_notif_config_data */
    wr_u16(&wr, queue->resetting);
    wr_zero(&wr, 4); /* admin queues */
}

static void start_queue(struct virtio_part_queue *queue)
{
    struct device_virtio *virtio = queue->virtio;
    const struct virtio_place place = {.desc = queue->desc,
                                       .driver = queue->driver,
                                       .device = queue->device,
                                       .size = queue->size,
                                       .next_wrap = true,
                                       .used_wrap = true};
    if (virtio_queue_start(virtio->device, queue->ring.index, &place) < 0) {
        char reason[OB_FAULT_TEXT_LEN];
        snprintf(reason, sizeof(reason), "queue %u: got a size or an alignment that can't be",
                 queue->ring.index);
        virtio_fail(virtio, reason);
    }
}

static void set_driver_ok(struct device_virtio *virtio)
{
    virtio_driver_ok(virtio->device);
    for (unsigned i = 0; i < virtio->num_queues; i++)
        if (virtio->queues[i].enabled && virtio->queues[i].life == QUEUE_STOPPED)
            start_queue(&virtio->queues[i]);
}

/* 3.1.1: the steps of the driver; a bit that it may not set yet is not kept. */
static void write_status(struct device_virtio *virtio, uint8_t value)
{
    if (value == 0) {
        virtio_reset(virtio->device);
        return;
    }
    if (virtio->resetting)
        return;
    uint8_t set = value & (uint8_t)~virtio->status;
    if (set & VIRTIO_FEATURES_OK) {
        const uint64_t features = virtio->registers.driver_features;
        if (!(features & VIRTIO_VERSION_1) || virtio_negotiate(virtio->device, features) < 0)
            set &= (uint8_t)~VIRTIO_FEATURES_OK;
    }
    if (!((virtio->status | set) & VIRTIO_FEATURES_OK))
        set &= (uint8_t)~VIRTIO_DRIVER_OK;
    virtio->status |= set & (uint8_t)~VIRTIO_NEEDS_RESET;
    if (set & VIRTIO_DRIVER_OK)
        set_driver_ok(virtio);
}

static uint16_t checked_vector(const struct device_virtio *virtio, uint64_t value)
{
    return value < virtio->device->pci->irqs.msix.vectors ? (uint16_t)value : VIRTIO_NO_VECTOR;
}

/* A half of a 64-bit address, or all of it. */
static void put_address(uint64_t *address, unsigned into, unsigned size, uint64_t value)
{
    const uint64_t mask = (size < 8 ? (UINT64_C(1) << (8 * size)) - 1 : UINT64_MAX) << (8 * into);
    *address = (*address & ~mask) | (value << (8 * into) & mask);
}

static void end_queue(struct virtio_part_queue *queue)
{
    if (!virtio_queue_stop(queue->virtio->device, queue->ring.index))
        return;
    virtqueue_forget(&queue->ring);
    virtio_queue_defaults(queue);
    queue->virtio->ending--;
}

static void write_queue(struct virtio_part_queue *queue, unsigned offset, unsigned size,
                        uint64_t value)
{
    struct device_virtio *virtio = queue->virtio;
    const bool is_settled = queue->enabled || queue->resetting;
    if (offset == 26) {
        queue->vector = checked_vector(virtio, value);
    } else if (offset == 58) {
        if (value == 1 && virtio->accepted & VIRTIO_RING_RESET && queue->enabled &&
            !queue->resetting) {
            queue->resetting = true;
            virtio->ending++;
            end_queue(queue);
        }
    } else if (is_settled) {
        return;
    } else if (offset == 24) {
        if (value > 0 && value <= queue->max_size && !(value & (value - 1)))
            queue->size = (uint16_t)value;
    } else if (offset == 28) {
        queue->enabled = value == 1 && virtio->status & VIRTIO_FEATURES_OK;
        if (queue->enabled && virtio->status & VIRTIO_DRIVER_OK)
            start_queue(queue);
    } else if (offset >= 32 && offset < 40) {
        put_address(&queue->desc, offset - 32, size, value);
    } else if (offset >= 40 && offset < 48) {
        put_address(&queue->driver, offset - 40, size, value);
    } else if (offset >= 48 && offset < 56) {
        put_address(&queue->device, offset - 48, size, value);
    }
}

static void write_features(struct device_virtio *virtio, uint32_t value)
{
    struct virtio_registers *registers = &virtio->registers;
    const unsigned half = registers->driver_feature_select;
    if (half < 2 && !(virtio->status & VIRTIO_FEATURES_OK))
        put_address(&registers->driver_features, 4 * half, 4, value);
}

static void write_common(struct device_virtio *virtio, unsigned offset, unsigned size,
                         uint64_t value)
{
    struct virtio_registers *registers = &virtio->registers;
    struct virtio_part_queue *queue = selected(virtio);
    if (offset == 0)
        registers->feature_select = (uint32_t)value;
    else if (offset == 8)
        registers->driver_feature_select = (uint32_t)value;
    else if (offset == 12)
        write_features(virtio, (uint32_t)value);
    else if (offset == 16)
        registers->config_vector = checked_vector(virtio, value);
    else if (offset == 20)
        write_status(virtio, (uint8_t)value);
    else if (offset == 22)
        registers->queue_select = (uint16_t)value;
    else if (offset >= 24 && queue)
        write_queue(queue, offset, size, value);
}

uint64_t virtio_pci_read(void *state, unsigned bar, uint64_t offset, unsigned size)
{
    struct device_virtio *virtio = virtio_of(state);
    uint8_t bytes[COMMON_LEN + 8] = {0};
    if (bar != REGISTER_BAR)
        return UINT64_MAX;
    if (offset < COMMON_LEN && offset + size <= COMMON_LEN) {
        if (offset <= 21 && offset + size > 21)
            virtio_config_refresh(virtio);
        put_common(virtio, bytes);
        return access_get(bytes + offset, size);
    }
    if (offset == ISR_AT) {
        const uint8_t isr = virtio->registers.isr;
        virtio->registers.isr = 0;
        ob_irq_lower(virtio->device);
        return isr;
    }
    if (offset >= CONFIG_AT && offset < NOTIFY_AT)
        virtio_config_read(virtio->device, offset - CONFIG_AT, bytes, size);
    return access_get(bytes, size);
}

void virtio_pci_write(void *state, unsigned bar, uint64_t offset, unsigned size, uint64_t value)
{
    struct device_virtio *virtio = virtio_of(state);
    if (bar != REGISTER_BAR)
        return;
    if (offset < COMMON_LEN) {
        write_common(virtio, (unsigned)offset, size, value);
    } else if (offset >= CONFIG_AT && offset < NOTIFY_AT) {
        uint8_t bytes[8];
        access_put(bytes, value, size);
        virtio_config_write(virtio->device, offset - CONFIG_AT, bytes, size);
    } else if (offset >= NOTIFY_AT) {
        virtio_queue_kick(virtio->device, (unsigned)(offset - NOTIFY_AT) / NOTIFY_STEP);
    }
}

void virtio_pci_doorbell(void *state, unsigned number)
{
    virtio_queue_kick(virtio_of(state)->device, number);
}

void virtio_pci_poll(struct device_virtio *virtio)
{
    if (virtio->resetting)
        virtio_reset(virtio->device);
    for (unsigned i = 0; virtio->ending > 0 && i < virtio->num_queues; i++)
        if (virtio->queues[i].resetting)
            end_queue(&virtio->queues[i]);
}

/* 4.1.4.9: an access of a BAR by way of configuration space; offsets in the capability. */
#define WINDOW_BAR    4u
#define WINDOW_OFFSET 8u
#define WINDOW_LEN    12u
#define WINDOW_DATA   16u

static void use_window(struct device_virtio *virtio, bool write)
{
    uint8_t *capability = virtio->device->pci->function.config + virtio->registers.cfg_capability;
    const uint64_t offset = access_get(capability + WINDOW_OFFSET, 4);
    const uint64_t len = access_get(capability + WINDOW_LEN, 4);
    uint8_t *data = capability + WINDOW_DATA;
    const bool fits = len == 1 || len == 2 || len == 4;
    if (capability[WINDOW_BAR] != REGISTER_BAR || !fits || offset % len || offset >= BAR_LEN)
        return;
    device_wake(virtio->device);
    if (write)
        virtio_pci_write(virtio, REGISTER_BAR, offset, (unsigned)len,
                         access_get(data, (unsigned)len));
    else
        access_put(data, virtio_pci_read(virtio, REGISTER_BAR, offset, (unsigned)len),
                   (unsigned)len);
}

/* Configuration space is read or was written. A guest that turns bus mastering on may have notified
 * queues before. */
static void config_accessed(struct ob_device *device, uint32_t offset, unsigned size, bool written)
{
    struct device_virtio *virtio = device->virtio;
    const uint32_t data_at = virtio->registers.cfg_capability + WINDOW_DATA;
    if (offset < data_at + 4 && offset + size > data_at)
        use_window(virtio, written);
    if (written && offset < PCI_COMMAND + 2 && offset + size > PCI_COMMAND)
        virtio_retry(device);
}

/* 4.1.4: behind the two bytes that every capability has. Returns its offset or -ENOSPC. */
static int add_capability(struct device_virtio *virtio, uint8_t type, uint32_t offset, uint32_t len,
                          uint32_t last)
{
    uint8_t body[CAP_LEN + 2] = {0};
    uint8_t writable[CAP_LEN + 2] = {0};
    const bool is_longer = type == CAP_NOTIFY || type == CAP_PCI;
    const size_t body_len = is_longer ? sizeof(body) : sizeof(body) - 4;
    body[0] = (uint8_t)(body_len + 2);
    body[1] = type;
    body[2] = REGISTER_BAR;
    access_put(body + 6, offset, 4);
    access_put(body + 10, len, 4);
    access_put(body + 14, last, 4);
    if (type == CAP_PCI) {
        writable[2] = 0xff;
        memset(writable + 6, 0xff, 12);
    }
    return pci_function_add_capability(&virtio->device->pci->function, PCI_CAP_ID_VNDR, body,
                                       writable, body_len);
}

int virtio_pci_add_capabilities(struct device_virtio *virtio)
{
    const uint32_t config_len = (uint32_t)(virtio->config.len + 3) & ~3u;
    int err = add_capability(virtio, CAP_COMMON, COMMON_AT, COMMON_LEN, 0);
    if (err >= 0)
        err = add_capability(virtio, CAP_ISR, ISR_AT, 1, 0);
    if (err >= 0 && config_len > 0)
        err = add_capability(virtio, CAP_DEVICE, CONFIG_AT, config_len, 0);
    if (err >= 0)
        err = add_capability(virtio, CAP_NOTIFY, NOTIFY_AT, virtio->num_queues * NOTIFY_STEP,
                             NOTIFY_STEP);
    if (err >= 0)
        err = add_capability(virtio, CAP_PCI, 0, 0, 0);
    if (err < 0)
        return err;
    virtio->registers.cfg_capability = (uint8_t)err;
    virtio->device->pci->config_accessed = config_accessed;
    return 0;
}

int virtio_pci_describe(const struct ob_virtio_desc *virtio, struct ob_device_desc *ret_desc,
                        struct ob_doorbell **ret_doorbells)
{
    unsigned vectors = virtio->vectors;
    if (vectors == 0)
        vectors =
            virtio->num_queues < OB_VIRTIO_VECTORS ? virtio->num_queues + 1 : OB_VIRTIO_VECTORS;
    struct ob_doorbell *doorbells = calloc(virtio->num_queues, sizeof(*doorbells));
    if (!doorbells)
        return -ENOMEM;
    for (unsigned i = 0; i < virtio->num_queues; i++)
        doorbells[i] = (struct ob_doorbell){
            .bar = REGISTER_BAR, .offset = NOTIFY_AT + i * NOTIFY_STEP, .number = i};
    *ret_desc = (struct ob_device_desc){
        .size = sizeof(*ret_desc),
        .name = virtio->name,
        .vendor_id = VENDOR,
        .device_id = (uint16_t)(FIRST_DEVICE + virtio->type),
        .subsystem_vendor_id = VENDOR,
        .subsystem_id = 0x1100, /* QEMU's; from 0x40 on it tells nothing, 4.1.2.1 */
        .class_code = virtio->class_code ? virtio->class_code : CLASS_OTHER,
        .revision = 1,
        .intx = true,
        .bars = {[REGISTER_BAR] = {.kind = OB_BAR_MEM32, .size = BAR_LEN},
                 [MSIX_BAR] = {.kind = OB_BAR_MEM32, .size = MSIX_LEN}},
        .msix_vectors = (uint16_t)vectors,
        .msix_bar = MSIX_BAR,
        .doorbells = doorbells,
        .num_doorbells = virtio->num_queues,
        .state_len = virtio->migratable ? virtio_state_len(virtio) : 0,
        .state_version = virtio->state_version,
    };
    *ret_doorbells = doorbells;
    return 0;
}
