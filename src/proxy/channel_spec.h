// SPDX-License-Identifier: BSD-3-Clause
/* Which channel to use, as --channel says it. */
#ifndef OUTBOARD_PROXY_CHANNEL_SPEC_H
#define OUTBOARD_PROXY_CHANNEL_SPEC_H

#include <outboard/fault.h>
#include <outboard/session.h>

#include "endpoint/address.h"

/* The port that is used when nobody says which. */
#define CHANNEL_DEFAULT_PORT "org.outboard.proxy.0"

#define CHANNEL_TEXT_MAX 300

enum channel_kind {
    CHANNEL_VIRTIO, /* a virtio-serial port, seen from the guest */
    CHANNEL_SERIAL,
    CHANNEL_CONNECT,
    CHANNEL_LISTEN,
    CHANNEL_STDIO,
    CHANNEL_FD,
};

struct channel_spec {
    enum channel_kind kind;
    enum ob_channel framing;
    struct address address;      /* connect, listen */
    char path[256];              /* virtio: the port's name; serial: the line's device */
    uint32_t number;             /* serial: bits per second; fd: the descriptor */
    char text[CHANNEL_TEXT_MAX]; /* as it was given, for people to read */
};

/* virtio:NAME, serial:PATH[:SPEED], unix:PATH, unix-listen:PATH, tcp:HOST:PORT,
 * tcp-listen:[HOST:]PORT, vsock:CID:PORT, vsock-listen:PORT, stdio, fd:N; with ,line or ,stream
 * behind it where the framing is not the usual one. 0 or -EINVAL with the fault filled. */
int channel_spec_parse(const char *text, struct channel_spec *ret_spec, struct ob_fault *fault);

#endif
