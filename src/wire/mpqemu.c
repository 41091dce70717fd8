// SPDX-License-Identifier: BSD-3-Clause
#include "wire/mpqemu.h"

#include <errno.h>

#include "base/cursor.h"

/* The number of each command by dialect; -1: the dialect lacks the command. */
static const int numbers[MPQEMU_COMMAND_COUNT][2] = {
    /*                       shipped  v8 */
    [MPQEMU_INIT] = {-1, 0},         [MPQEMU_SYNC_SYSMEM] = {0, 1},
    [MPQEMU_RET] = {1, 2},           [MPQEMU_CONFIG_WRITE] = {2, 3},
    [MPQEMU_CONFIG_READ] = {3, 4},   [MPQEMU_BAR_WRITE] = {4, 5},
    [MPQEMU_BAR_READ] = {5, 6},      [MPQEMU_SET_IRQFD] = {6, 7},
    [MPQEMU_GET_PCI_INFO] = {-1, 8}, [MPQEMU_PING] = {-1, 9},
    [MPQEMU_DEVICE_RESET] = {7, 10},
};

/* The command of each number of the shipped dialect. The v8 one numbers them as the enum does. */
static const enum mpqemu_command shipped[] = {
    MPQEMU_SYNC_SYSMEM, MPQEMU_RET,      MPQEMU_CONFIG_WRITE, MPQEMU_CONFIG_READ,
    MPQEMU_BAR_WRITE,   MPQEMU_BAR_READ, MPQEMU_SET_IRQFD,    MPQEMU_DEVICE_RESET,
};

int mpqemu_command_from(enum mpqemu_dialect dialect, uint32_t number)
{
    if (dialect == MPQEMU_V8)
        return number < MPQEMU_COMMAND_COUNT ? (int)number : -EPROTO;
    return number < sizeof(shipped) / sizeof(shipped[0]) ? (int)shipped[number] : -EPROTO;
}

int mpqemu_command_number(enum mpqemu_dialect dialect, enum mpqemu_command command)
{
    int number = numbers[command][dialect];
    return number < 0 ? -ENOTSUP : number;
}

const char *mpqemu_command_name(enum mpqemu_command command)
{
    static const char *const names[MPQEMU_COMMAND_COUNT] = {
        [MPQEMU_INIT] = "INIT",
        [MPQEMU_SYNC_SYSMEM] = "SYNC_SYSMEM",
        [MPQEMU_RET] = "RET",
        [MPQEMU_CONFIG_WRITE] = "PCI_CFGWRITE",
        [MPQEMU_CONFIG_READ] = "PCI_CFGREAD",
        [MPQEMU_BAR_WRITE] = "BAR_WRITE",
        [MPQEMU_BAR_READ] = "BAR_READ",
        [MPQEMU_SET_IRQFD] = "SET_IRQFD",
        [MPQEMU_GET_PCI_INFO] = "GET_PCI_INFO",
        [MPQEMU_PING] = "PROXY_PING",
        [MPQEMU_DEVICE_RESET] = "DEVICE_RESET",
    };
    return names[command];
}

/* 0 cmd, 4 padding or bytestream, 8 size */
int mpqemu_header_get(const uint8_t *buf, size_t len, struct mpqemu_header *ret_header)
{
    struct rd rd = rd_init(buf, len);
    struct mpqemu_header header;
    header.number = rd_u32(&rd);
    header.bytestream = rd_u32(&rd);
    header.size = rd_u64(&rd);
    int err = rd_done(&rd);
    if (err == 0)
        *ret_header = header;
    return err;
}

int mpqemu_header_put(uint8_t *buf, size_t len, const struct mpqemu_header *header)
{
    struct wr wr = wr_init(buf, len);
    wr_u32(&wr, header->number);
    wr_u32(&wr, header->bytestream);
    wr_u64(&wr, header->size);
    return wr_done(&wr);
}

/* 0 gpas[8], 64 sizes[8], 128 offsets[8] */
int mpqemu_sysmem_get(const uint8_t *buf, size_t len, struct mpqemu_sysmem *ret_sysmem)
{
    struct rd rd = rd_init(buf, len);
    struct mpqemu_sysmem sysmem;
    for (int i = 0; i < LIMIT_MPQEMU_FDS; i++)
        sysmem.gpas[i] = rd_u64(&rd);
    for (int i = 0; i < LIMIT_MPQEMU_FDS; i++)
        sysmem.sizes[i] = rd_u64(&rd);
    for (int i = 0; i < LIMIT_MPQEMU_FDS; i++)
        sysmem.offsets[i] = rd_u64(&rd);
    int err = rd_done(&rd);
    if (err == 0)
        *ret_sysmem = sysmem;
    return err;
}

int mpqemu_sysmem_put(uint8_t *buf, size_t len, const struct mpqemu_sysmem *sysmem)
{
    struct wr wr = wr_init(buf, len);
    for (int i = 0; i < LIMIT_MPQEMU_FDS; i++)
        wr_u64(&wr, sysmem->gpas[i]);
    for (int i = 0; i < LIMIT_MPQEMU_FDS; i++)
        wr_u64(&wr, sysmem->sizes[i]);
    for (int i = 0; i < LIMIT_MPQEMU_FDS; i++)
        wr_u64(&wr, sysmem->offsets[i]);
    return wr_done(&wr);
}

/* 0 addr, 4 val, 8 len */
int mpqemu_config_get(const uint8_t *buf, size_t len, struct mpqemu_config_access *ret_access)
{
    struct rd rd = rd_init(buf, len);
    struct mpqemu_config_access access;
    access.offset = rd_u32(&rd);
    access.value = rd_u32(&rd);
    access.len = rd_u32(&rd);
    int err = rd_done(&rd);
    if (err == 0)
        *ret_access = access;
    return err;
}

int mpqemu_config_put(uint8_t *buf, size_t len, const struct mpqemu_config_access *access)
{
    struct wr wr = wr_init(buf, len);
    wr_u32(&wr, access->offset);
    wr_u32(&wr, access->value);
    wr_u32(&wr, access->len);
    return wr_done(&wr);
}

/* 0 addr, 8 val, 16 size, 20 memory, 21 padding */
int mpqemu_bar_get(const uint8_t *buf, size_t len, struct mpqemu_bar_access *ret_access)
{
    struct rd rd = rd_init(buf, len);
    struct mpqemu_bar_access access;
    access.address = rd_u64(&rd);
    access.value = rd_u64(&rd);
    access.size = rd_u32(&rd);
    access.memory = rd_u8(&rd);
    rd_skip(&rd, 3);
    if (len == MPQEMU_UNION_LEN)
        rd_skip(&rd, MPQEMU_UNION_LEN - MPQEMU_BAR_LEN);
    int err = rd_done(&rd);
    if (err == 0)
        *ret_access = access;
    return err;
}

int mpqemu_bar_put(uint8_t *buf, size_t len, const struct mpqemu_bar_access *access)
{
    struct wr wr = wr_init(buf, len);
    wr_u64(&wr, access->address);
    wr_u64(&wr, access->value);
    wr_u32(&wr, access->size);
    wr_u8(&wr, access->memory);
    wr_zero(&wr, 3);
    return wr_done(&wr);
}
