// SPDX-License-Identifier: BSD-3-Clause
/*
 * A device with one port, and a model of Linux's virtio_console driver on it with the calls of a
 * program in the guest.
 */
#ifndef OUTBOARD_TESTS_VMCHANNEL_GUEST_H
#define OUTBOARD_TESTS_VMCHANNEL_GUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmchannel.h"

#define GUEST_PORT       1u
#define GUEST_RING       32u
#define GUEST_PAGE       4096u
#define GUEST_NO_PORT    (-19) /* -ENODEV */
#define GUEST_WOULD_WAIT (-11) /* -EAGAIN */

struct guest {
    char folder[32];
    char path[64];
    char description[80];
    struct port_hub *hub;
    struct port_end *end;
    struct vmchannel_port ports[2];
    struct vmchannel *vmchannel;
    struct ob_device *device;
    unsigned control_buffers;
    /* The driver's view. */
    bool plugged;
    unsigned lives; /* how often it was added */
    char name[64];
    bool host_connected;
    unsigned breaks; /* how often host_connected became false while the port was open */
    bool open;
    unsigned open_life; /* of the descriptor */
    struct {
        uint8_t bytes[1u << 20];
        size_t at, len;
        unsigned buffers; /* read from the ring, to be given back when all is read */
    } input;
    unsigned opens_told, closes_told; /* by the host */
};

void guest_start(struct guest *guest, enum port_mode mode, const char *kind);
void guest_stop(struct guest *guest);
/* Lets the device and the driver work until both wait. */
void guest_turn(struct guest *guest);
/* The same, with the clock. */
void guest_pass(struct guest *guest, uint64_t ms);
/* The driver is loaded: negotiation, control queues, DEVICE_READY. buffers: of the control queue. */
void guest_load(struct guest *guest, unsigned buffers);

void guest_open(struct guest *guest);
void guest_close(struct guest *guest);
/* Opens the port, writes and closes it before the device has done anything. */
void guest_open_and_close_with(struct guest *guest, const char *text);
/* As read(2): the length, 0 at the end, or a negative errno. */
int guest_read(struct guest *guest, void *ret_bytes, size_t len);
/* As write(2), a buffer at a time. */
int guest_write(struct guest *guest, const void *bytes, size_t len);

/* A client of the port's socket. */
int host_connect(const struct guest *guest);
/* Reads until the end, or until nothing comes any more. *ret_ended: it was the end. */
size_t host_read(struct guest *guest, int fd, void *ret_bytes, size_t len, bool *ret_ended);

#endif
