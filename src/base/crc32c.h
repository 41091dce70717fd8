// SPDX-License-Identifier: BSD-3-Clause
/* CRC-32C (Castagnoli, as in iSCSI, RFC 3720 appendix B.4): guards frames on raw lines. */
#ifndef OUTBOARD_BASE_CRC32C_H
#define OUTBOARD_BASE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/*
 * Continues a checksum over len more bytes; begin with crc 0. Uses the processor's instruction
 * where there is one.
 */
uint32_t crc32c(uint32_t crc, const void *bytes, size_t len);

/* The same by table, for processors without the instruction. */
uint32_t crc32c_by_table(uint32_t crc, const void *bytes, size_t len);

#endif
