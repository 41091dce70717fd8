// SPDX-License-Identifier: BSD-3-Clause
#include "device/state.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include <outboard/irq.h>

#include "base/cursor.h"
#include "base/limits.h"
#include "device/internal.h"
#include "device/state_early.h"

static int save_own(struct ob_device *device, struct wr *wr)
{
    struct wr length = wr_init(wr_room(wr, 4), 4);
    int len = wr->left < device->state_len
                  ? -ENOSPC
                  : device->ops.save(device->state, wr->at, device->state_len);
    if (len < 0)
        return len;
    if ((size_t)len > device->state_len) {
        ob_device_warn(device, "save(): got %d bytes, expected at most state_len, %zu", len,
                       device->state_len);
        return -EOVERFLOW;
    }
    wr_u32(&length, (uint32_t)len);
    wr_room(wr, (size_t)len);
    return 0;
}

int state_save(struct ob_device *device, uint8_t *ret_buf, size_t size)
{
    struct wr wr = wr_init(ret_buf, size);
    state_save_head(device, &wr);
    wr_u32(&wr, device->pci->function.config_len);
    wr_bytes(&wr, device->pci->function.config, device->pci->function.config_len);
    wr_u8(&wr, device->pci->irqs.intx_raised);
    wr_u32(&wr, (uint32_t)device->pci->irqs.msix.len);
    wr_bytes(&wr, device->pci->irqs.msix.bytes, device->pci->irqs.msix.len);
    state_save_bars(device, &wr);
    int err = wr_done(&wr) < 0 ? -ENOSPC : save_own(device, &wr);
    return err < 0 ? err : wr_done(&wr);
}

static int refuse(const char *part, struct ob_fault *fault)
{
    return ob_fault_set(
        fault, -EINVAL,
        "%s in the state does not match this device; start it with the options of the saved device",
        part);
}

static int load_registers(struct ob_device *device, struct rd *rd, struct ob_fault *fault)
{
    struct msix *msix = &device->pci->irqs.msix;
    uint32_t config_len = rd_u32(rd);
    const uint8_t *config = rd_take(rd, config_len);
    if (!config || config_len != device->pci->function.config_len ||
        pci_function_restore(&device->pci->function, config) < 0)
        return refuse("configuration space", fault);
    if (rd_u8(rd))
        ob_irq_raise(device);
    uint32_t msix_len = rd_u32(rd);
    if (msix_len != msix->len)
        return refuse("the MSI-X table", fault);
    if (msix_len > 0)
        rd_bytes(rd, msix->bytes, msix_len);
    return 0;
}

static int load_bars(struct ob_device *device, struct rd *rd, struct ob_fault *fault)
{
    for (unsigned i = 0; i < OB_BAR_COUNT; i++) {
        const struct bar_memory *memory = &device->pci->bar_memory[i];
        if (!memory->address)
            continue;
        if (rd_u8(rd) != i || rd_u64(rd) != memory->range.len)
            return refuse("a memory BAR", fault);
        rd_bytes(rd, memory->address + memory->range.offset, memory->range.len);
    }
    return rd_u8(rd) == STATE_END_OF_BARS ? 0 : refuse("a memory BAR", fault);
}

static int load_own(struct ob_device *device, struct rd *rd, uint32_t version,
                    struct ob_fault *fault)
{
    uint32_t len = rd_u32(rd);
    const uint8_t *bytes = rd_take(rd, len);
    if (rd_done(rd) < 0)
        return ob_fault_set(fault, -EINVAL, "the state is too short or too long");
    int err = device->ops.load(device->state, version, bytes, len, fault);
    return err < 0 ? ob_fault_set(fault, err, "its state was refused: %s", strerror(-err)) : 0;
}

int state_load(struct ob_device *device, const uint8_t *buf, size_t len, struct ob_fault *fault)
{
    size_t early = 0;
    uint32_t version = 0;
    int err = state_early_check(device, buf, len, &early, fault);
    struct rd rd = rd_init(buf + early, len - early);
    device_reset(device);
    if (err == 0)
        err = state_load_head(device, &rd, &version, fault);
    if (err == 0)
        err = load_registers(device, &rd, fault);
    if (err == 0)
        err = load_bars(device, &rd, fault);
    if (err == 0)
        err = load_own(device, &rd, version, fault);
    if (err < 0)
        device_reset(device);
    return err;
}
