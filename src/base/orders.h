// SPDX-License-Identifier: BSD-3-Clause
/*
 * Orders: requests of the supervisor to a device process, beside the VMM's messages.
 *
 * The supervisor makes a pair of SOCK_SEQPACKET for each process, and passes one end with its number
 * in $OUTBOARD_ORDERS_FD. An order is one message; SAVE and LOAD carry a memfd for the state, TRACE a file or nothing. The
 * process carries out one order at a time, from the loop that serves the device, and answers by the
 * notify socket: ORDERS_ANSWER with id, errno (0: done) and length, and ORDERS_FAULT with words. The
 * supervisor reads nothing from its end of the pair.
 */
#ifndef OUTBOARD_BASE_ORDERS_H
#define OUTBOARD_BASE_ORDERS_H

#include <stdint.h>

#define ORDERS_VARIABLE "OUTBOARD_ORDERS_FD"
#define ORDERS_ANSWER   "X_OUTBOARD_ORDER="
#define ORDERS_FAULT    "X_OUTBOARD_FAULT="

enum order_code {
    ORDER_RESET = 1, /* as after power on */
    ORDER_TRACE,     /* number: 1 from now on, to the descriptor or the log; 0 no more */
    ORDER_SAVE,      /* rests, and writes its state to the descriptor; the answer has the length */
    ORDER_LOAD,      /* rests, and takes `number` bytes of state from the descriptor */
    ORDER_RESUME,    /* rests no more */
    ORDER_DRAIN, /* ends what is in flight within `number` ms, and takes no message then, until number is 0 */
};

struct order {
    uint32_t code;
    uint32_t id;
    uint64_t number;
};

#endif
