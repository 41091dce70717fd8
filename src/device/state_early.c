// SPDX-License-Identifier: BSD-3-Clause
#include "device/state_early.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/cursor.h"
#include "device/internal.h"
#include "device/state.h"

#define MAGIC      0x4553424fu /* "OBSE" */
#define HEADER_LEN 8u
#define USED_LEN   (STATE_EARLY_BLOCK - HEADER_LEN)

/* Bytes in the blocks. */
static size_t payload_len(const struct ob_device *device)
{
    return state_head_len(device) + 4 + device->pci->function.config_len + 4 +
           state_bars_len(device);
}

static size_t block_count(size_t len)
{
    return (len + USED_LEN - 1) / USED_LEN;
}

size_t state_early_len(const struct ob_device *device)
{
    return state_limit(device) > 0 ? block_count(payload_len(device)) * STATE_EARLY_BLOCK : 0;
}

static void cut(const uint8_t *payload, size_t len, struct wr *wr)
{
    while (len > 0) {
        uint32_t used = len < USED_LEN ? (uint32_t)len : USED_LEN;
        wr_u32(wr, MAGIC);
        wr_u32(wr, used);
        wr_bytes(wr, payload, used);
        wr_zero(wr, USED_LEN - used);
        payload += used;
        len -= used;
    }
}

int state_early_save(const struct ob_device *device, uint8_t *ret_buf)
{
    size_t len = payload_len(device);
    AUTO_FREE uint8_t *payload = malloc(len);
    if (!payload)
        return -ENOMEM;
    struct wr wr = wr_init(payload, len), blocks = wr_init(ret_buf, state_early_len(device));
    state_save_head(device, &wr);
    wr_u32(&wr, device->pci->function.config_len);
    wr_bytes(&wr, device->pci->function.config, device->pci->function.config_len);
    wr_u32(&wr, (uint32_t)device->pci->irqs.msix.len);
    state_save_bars(device, &wr);
    cut(payload, len, &blocks);
    return 0;
}

/* Takes the next block if there is one. Returns its bytes, or NULL; a damaged block, or one that lies
 * about its use, is left to the next reader. */
static const uint8_t *take_block(struct rd *rd, uint32_t *ret_used)
{
    struct rd ahead = *rd;
    uint32_t magic = rd_u32(&ahead), used = rd_u32(&ahead);
    const uint8_t *bytes = rd_take(&ahead, USED_LEN);
    if (!bytes || magic != MAGIC || used == 0 || used > USED_LEN)
        return NULL;
    *rd = ahead;
    *ret_used = used;
    return bytes;
}

static int refuse(const char *part, struct ob_fault *fault)
{
    return ob_fault_set(fault, -EINVAL,
                        "%s in front of the state does not match this device; start it with the "
                        "options of the saved device",
                        part);
}

/* The blocks may end anywhere behind the head: missing blocks can't be wrong. */
static int check_payload(const struct ob_device *device, struct rd *rd, struct ob_fault *fault)
{
    uint32_t version = 0;
    int err = state_load_head(device, rd, &version, fault);
    if (err < 0)
        return err;
    uint32_t config_len = rd_u32(rd);
    if (!rd->bad && config_len != device->pci->function.config_len)
        return refuse("configuration space", fault);
    const uint8_t *config = rd_take(rd, config_len);
    if (config && !pci_function_matches(&device->pci->function, config))
        return refuse("configuration space", fault);
    uint32_t msix_len = rd_u32(rd);
    if (!rd->bad && msix_len != device->pci->irqs.msix.len)
        return refuse("the MSI-X table", fault);
    for (unsigned i = 0; i < OB_BAR_COUNT; i++) {
        const struct bar_memory *memory = &device->pci->bar_memory[i];
        if (!memory->address)
            continue;
        bool same = rd_u8(rd) == i && rd_u64(rd) == memory->range.len;
        if (!rd->bad && !same)
            return refuse("a memory BAR", fault);
        rd_take(rd, memory->range.len);
    }
    uint8_t end = rd_u8(rd);
    return rd->bad || (end == STATE_END_OF_BARS && rd->left == 0) ? 0
                                                                  : refuse("a memory BAR", fault);
}

int state_early_check(const struct ob_device *device, const uint8_t *buf, size_t len,
                      size_t *ret_len, struct ob_fault *fault)
{
    struct rd blocks = rd_init(buf, len);
    size_t room = len / STATE_EARLY_BLOCK * USED_LEN;
    AUTO_FREE uint8_t *payload = malloc(room + 1);
    if (!payload)
        return ob_fault_set(fault, -ENOMEM, "no memory to look at a state");
    struct wr wr = wr_init(payload, room);
    const uint8_t *bytes = NULL;
    uint32_t used = USED_LEN; /* the last one may be used in part */
    while (used == USED_LEN && (bytes = take_block(&blocks, &used)))
        wr_bytes(&wr, bytes, used);
    struct rd rd = rd_init(payload, wr.len);
    int err = wr.len > 0 ? check_payload(device, &rd, fault) : 0;
    if (err == 0)
        *ret_len = len - blocks.left;
    return err;
}
