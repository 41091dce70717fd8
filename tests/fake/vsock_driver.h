// SPDX-License-Identifier: BSD-3-Clause
/*
 * A driver of a socket device without rings, and the little of the public API that the device
 * calls. The test sends packets and reads those of the device; sockets and time are real, and the
 * loop turns when the test says so.
 */
#ifndef OUTBOARD_TESTS_VSOCK_DRIVER_H
#define OUTBOARD_TESTS_VSOCK_DRIVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "packet.h"
#include "vsock.h"

#define DRIVER_CID    7u
#define DRIVER_BUFFER 4096u /* of each receive buffer */
#define DRIVER_GOT    512u  /* packets of the device that are kept */

struct driver_packet {
    struct packet header;
    uint8_t *payload;
};

struct driver {
    struct vsock *vsock;
    struct ob_device *device;
    unsigned buffers; /* receive buffers that the device has left */
    struct driver_packet got[DRIVER_GOT];
    unsigned first, num_got;
    unsigned lost; /* packets that found no room in got */
    unsigned events;
    bool failed; /* the device has asked for a reset */
    /* Of the last dial. */
    uint32_t call, dialled_port, dialled_cid;
    enum packet_type dialled_type;
    int dial_error; /* what dial() returns */
    unsigned dials;
};

void driver_begin(struct driver *driver, uint32_t connections);
void driver_end(struct driver *driver);

/* Sends a packet; the device's callbacks run. payload_len may differ from header->len. */
void driver_send(struct driver *driver, const struct packet *header, const void *payload,
                 size_t payload_len);
/* As above, of the driver's CID to the host's. */
void driver_say(struct driver *driver, enum packet_op op, uint32_t guest_port, uint32_t host_port,
                const void *payload, uint32_t len);
/* Sends bytes that need not be a packet. */
void driver_send_raw(struct driver *driver, const uint8_t *bytes, size_t len);

/* Gives the device receive buffers. */
void driver_give(struct driver *driver, unsigned buffers);

/* Has the device work until nothing is left to do. */
void driver_turn(struct driver *driver);
/* Time passes for the device's timers. */
void driver_pass_s(struct driver *driver, unsigned seconds);

/* The next packet of the device; op 0: there is none. Its payload is valid until the next call. */
struct driver_packet driver_next(struct driver *driver);

/* The queues stop and start again, as when a VM is paused. */
void driver_restart(struct driver *driver);

void driver_reset(struct driver *driver);

/* The device is saved, and loads a state. 0 or the device's errno. */
int driver_move(struct driver *driver, const uint8_t *state, size_t len);

#endif
