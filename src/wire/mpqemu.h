// SPDX-License-Identifier: BSD-3-Clause
/*
 * mpqemu: the wire between QEMU's x-pci-proxy-dev and a remote PCI device, as a pure codec.
 *
 * Two dialects are in use: the one that QEMU has shipped since 6.0, and the one of the v8 patch
 * series before it, with other command numbers, fixed payloads of 192 bytes and a heartbeat.
 * Integers are those of x86-64: little endian.
 *
 * Source: QEMU, include/hw/remote/mpqemu-link.h and hw/remote/mpqemu-link.c, releases 6.0 to 10.2.
 */
#ifndef OUTBOARD_WIRE_MPQEMU_H
#define OUTBOARD_WIRE_MPQEMU_H

#include <stddef.h>
#include <stdint.h>

#include "base/limits.h"

#define MPQEMU_HEADER_LEN 16u
#define MPQEMU_CONFIG_LEN 12u
#define MPQEMU_BAR_LEN    24u
#define MPQEMU_RET_LEN    8u
#define MPQEMU_UNION_LEN  192u

enum mpqemu_dialect {
    MPQEMU_SHIPPED,
    MPQEMU_V8,
};

/* Commands, independent of their numbers in a dialect. */
enum mpqemu_command {
    MPQEMU_INIT,
    MPQEMU_SYNC_SYSMEM,
    MPQEMU_RET,
    MPQEMU_CONFIG_WRITE,
    MPQEMU_CONFIG_READ,
    MPQEMU_BAR_WRITE,
    MPQEMU_BAR_READ,
    MPQEMU_SET_IRQFD,
    MPQEMU_GET_PCI_INFO,
    MPQEMU_PING,
    MPQEMU_DEVICE_RESET,
    MPQEMU_COMMAND_COUNT,
};

struct mpqemu_header {
    uint32_t number;     /* of the command in its dialect */
    uint32_t bytestream; /* v8 only, else padding */
    uint64_t size;       /* of the payload, bytes */
};

struct mpqemu_sysmem {
    uint64_t gpas[LIMIT_MPQEMU_FDS];
    uint64_t sizes[LIMIT_MPQEMU_FDS];
    uint64_t offsets[LIMIT_MPQEMU_FDS];
};

struct mpqemu_config_access {
    uint32_t offset;
    uint32_t value;
    uint32_t len;
};

struct mpqemu_bar_access {
    uint64_t address;
    uint64_t value;
    uint32_t size;
    uint8_t memory; /* 1: memory space, 0: port space */
};

/* Returns the command with that number, or -EPROTO. */
int mpqemu_command_from(enum mpqemu_dialect dialect, uint32_t number);
/* Returns the number of the command, or -ENOTSUP when the dialect lacks it. */
int mpqemu_command_number(enum mpqemu_dialect dialect, enum mpqemu_command command);

/* As QEMU calls it. */
const char *mpqemu_command_name(enum mpqemu_command command);

/* Each get reads exactly the bytes given: 0, or -EPROTO when they are too few or too many. Each put
 * returns the length written, or -ENOSPC. */
int mpqemu_header_get(const uint8_t *buf, size_t len, struct mpqemu_header *ret_header);
int mpqemu_header_put(uint8_t *buf, size_t len, const struct mpqemu_header *header);
int mpqemu_sysmem_get(const uint8_t *buf, size_t len, struct mpqemu_sysmem *ret_sysmem);
int mpqemu_sysmem_put(uint8_t *buf, size_t len, const struct mpqemu_sysmem *sysmem);
int mpqemu_config_get(const uint8_t *buf, size_t len, struct mpqemu_config_access *ret_access);
int mpqemu_config_put(uint8_t *buf, size_t len, const struct mpqemu_config_access *access);
/* In the v8 dialect the access is the start of a union of 192 bytes; the rest is ignored. */
int mpqemu_bar_get(const uint8_t *buf, size_t len, struct mpqemu_bar_access *ret_access);
int mpqemu_bar_put(uint8_t *buf, size_t len, const struct mpqemu_bar_access *access);

#endif
