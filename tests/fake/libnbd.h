// SPDX-License-Identifier: BSD-3-Clause
/*
 * A libnbd(3) of memory, for block_nbd.c and nbd_link.c: commands wait until the test has them
 * answered, in any order. nbd_dial.h stands in for nbd_dial.c.
 *
 * It checks what a server may rely on: ranges that lie on the export, whole blocks, and no more
 * bytes at a time than were said. Memory is read and written when a command is answered.
 */
#ifndef OUTBOARD_TESTS_FAKE_LIBNBD_H
#define OUTBOARD_TESTS_FAKE_LIBNBD_H

#include <stdbool.h>
#include <stdint.h>

#define FAKE_NBD_LEN     0x40000u
#define FAKE_NBD_PENDING 4096u

/* The export, which outlives its connections. */
struct fake_nbd {
    uint8_t data[FAKE_NBD_LEN];
    uint64_t size;
    int64_t min_block, preferred, max_data; /* as nbd_get_block_size() tells them */
    bool has_fua, has_zero, can_trim, is_absent;
    uint64_t longest_effect; /* of zeroes or a trim, or EINVAL */
    unsigned pending;        /* commands of the connection that there is */
    unsigned answers;        /* that the next nbd_poll()s give... */
    unsigned pick;           /* ...to this command, modulo how many there are... */
    int err;                 /* ...with this errno */
};

extern struct fake_nbd fake_nbd;

/* The server goes, and with it the connection. */
void fake_nbd_die(void);

#endif
