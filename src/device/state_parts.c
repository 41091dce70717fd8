// SPDX-License-Identifier: BSD-3-Clause
/* The parts of a saved state that are told early, too: its head and the memory BARs. */
#include "device/state.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/limits.h"
#include "device/internal.h"

#define MAGIC  0x5453424fu /* "OBST" */
#define FORMAT 1u
/* The fields of fixed length, with room to spare. */
#define FIXED_LEN 64u

size_t state_head_len(const struct ob_device *device)
{
    return 4 + 4 + 1 + strlen(device->name) + 4;
}

uint64_t state_bars_len(const struct ob_device *device)
{
    uint64_t len = 1;
    for (unsigned i = 0; i < OB_BAR_COUNT; i++)
        if (device->pci->bar_memory[i].address)
            len += 9 + device->pci->bar_memory[i].range.len;
    return len;
}

size_t state_limit(const struct ob_device *device)
{
    uint64_t limit = FIXED_LEN + LIMIT_NAME_BYTES + device->pci->function.config_len +
                     device->pci->irqs.msix.len + device->state_len + state_bars_len(device);
    bool can = device->state_len > 0 && device->ops.save && device->ops.load &&
               strlen(device->name) <= LIMIT_NAME_BYTES && limit <= LIMIT_STATE_BYTES;
    return can ? (size_t)limit : 0;
}

void state_save_head(const struct ob_device *device, struct wr *wr)
{
    size_t name_len = strlen(device->name);
    wr_u32(wr, MAGIC);
    wr_u32(wr, FORMAT);
    wr_u8(wr, (uint8_t)name_len);
    wr_bytes(wr, device->name, name_len);
    wr_u32(wr, device->state_version);
}

void state_save_bars(const struct ob_device *device, struct wr *wr)
{
    for (unsigned i = 0; i < OB_BAR_COUNT; i++) {
        const struct bar_memory *memory = &device->pci->bar_memory[i];
        if (!memory->address)
            continue;
        wr_u8(wr, (uint8_t)i);
        wr_u64(wr, memory->range.len);
        wr_bytes(wr, memory->address + memory->range.offset, memory->range.len);
    }
    wr_u8(wr, STATE_END_OF_BARS);
}

int state_load_head(const struct ob_device *device, struct rd *rd, uint32_t *ret_version,
                    struct ob_fault *fault)
{
    if (rd_u32(rd) != MAGIC)
        return ob_fault_set(fault, -EINVAL, "the bytes are not a saved state of a device");
    uint32_t format = rd_u32(rd);
    if (format != FORMAT)
        return ob_fault_set(fault, -EINVAL, "format: got %" PRIu32 ", expected %u", format, FORMAT);
    size_t name_len = rd_u8(rd);
    const uint8_t *name = rd_take(rd, name_len);
    if (!name || name_len != strlen(device->name) || memcmp(name, device->name, name_len) != 0)
        return ob_fault_set(fault, -EINVAL, "the state is of another device, '%.*s'",
                            name ? (int)name_len : 0, (const char *)name);
    *ret_version = rd_u32(rd);
    if (*ret_version > device->state_version)
        return ob_fault_set(fault, -EINVAL,
                            "version: got %" PRIu32 ", expected at most %" PRIu32
                            "; load it into a program as new as the one that saved it",
                            *ret_version, device->state_version);
    return 0;
}
