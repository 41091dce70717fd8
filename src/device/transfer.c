// SPDX-License-Identifier: BSD-3-Clause
/* Transfers of any length, cut into the accesses that registers have. */
#include <errno.h>
#include <string.h>

#include "base/access.h"
#include "base/limits.h"
#include "device/internal.h"

static bool in_bar(const struct ob_device *device, unsigned bar, uint64_t offset, size_t len)
{
    if (bar >= OB_BAR_COUNT || device->pci->function.bars[bar].kind == OB_BAR_NONE)
        return false;
    uint64_t size = device->pci->function.bars[bar].size;
    return offset <= size && len <= size - offset;
}

/* One register, where the transfer is one, whatever its alignment; else aligned pieces. */
static unsigned register_size(uint64_t offset, size_t len)
{
    if (len == 1 || len == 2 || len == 4 || len == 8)
        return (unsigned)len;
    return access_piece(offset, len, LIMIT_ACCESS_BYTES);
}

int device_bar_read_bytes(struct ob_device *device, unsigned bar, uint64_t offset, uint8_t *ret_buf,
                          size_t len)
{
    if (!in_bar(device, bar, offset, len))
        return -EINVAL;
    if (device_bar_has_memory(device, bar, offset, len)) {
        device_wake(device);
        memcpy(ret_buf, device->pci->bar_memory[bar].address + offset, len);
        return 0;
    }
    while (len > 0) {
        unsigned size = register_size(offset, len);
        access_put(ret_buf, device_register_read(device, bar, offset, size), size);
        ret_buf += size;
        offset += size;
        len -= size;
    }
    return 0;
}

int device_bar_write_bytes(struct ob_device *device, unsigned bar, uint64_t offset,
                           const uint8_t *buf, size_t len)
{
    if (!in_bar(device, bar, offset, len))
        return -EINVAL;
    if (device_bar_has_memory(device, bar, offset, len)) {
        device_wake(device);
        memcpy(device->pci->bar_memory[bar].address + offset, buf, len);
        return 0;
    }
    while (len > 0) {
        unsigned size = register_size(offset, len);
        device_register_write(device, bar, offset, size, access_get(buf, size));
        buf += size;
        offset += size;
        len -= size;
    }
    return 0;
}

static bool in_config(const struct ob_device *device, uint64_t offset, size_t len)
{
    uint32_t size = device->pci->function.config_len;
    return offset <= size && len <= size - offset;
}

int device_config_read_bytes(struct ob_device *device, uint64_t offset, uint8_t *ret_buf,
                             size_t len)
{
    if (!in_config(device, offset, len))
        return -EINVAL;
    while (len > 0) {
        uint32_t value;
        unsigned size = access_piece(offset, len, 4);
        device_config_read(device, (uint32_t)offset, size, &value);
        access_put(ret_buf, value, size);
        ret_buf += size;
        offset += size;
        len -= size;
    }
    return 0;
}

int device_config_write_bytes(struct ob_device *device, uint64_t offset, const uint8_t *buf,
                              size_t len)
{
    if (!in_config(device, offset, len))
        return -EINVAL;
    while (len > 0) {
        unsigned size = access_piece(offset, len, 4);
        device_config_write(device, (uint32_t)offset, size, (uint32_t)access_get(buf, size));
        buf += size;
        offset += size;
        len -= size;
    }
    return 0;
}
