// SPDX-License-Identifier: BSD-3-Clause
#include "proxy/channel_spec.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <linux/vm_sockets.h>

#include "proxy/channel_open.h"

#define SERIAL_SPEED 115200

typedef int (*parse_fn)(const char *text, struct channel_spec *spec, struct ob_fault *fault);

static int copy_path(const char *text, size_t len, struct channel_spec *spec,
                     struct ob_fault *fault)
{
    if (len == 0 || len >= sizeof(spec->path))
        return ob_fault_set(fault, -EINVAL, "got '%.150s', expected a name of 1 to %zu bytes", text,
                            sizeof(spec->path) - 1);
    memcpy(spec->path, text, len);
    spec->path[len] = '\0';
    return 0;
}

static int parse_virtio(const char *text, struct channel_spec *spec, struct ob_fault *fault)
{
    spec->kind = CHANNEL_VIRTIO;
    spec->framing = OB_CHANNEL_LINE;
    if (strchr(text, '/'))
        return ob_fault_set(fault, -EINVAL, "got '%.150s', expected the name of a port", text);
    return copy_path(text, strlen(text), spec, fault);
}

static int parse_serial(const char *text, struct channel_spec *spec, struct ob_fault *fault)
{
    const char *speed = strchr(text, ':');
    spec->kind = CHANNEL_SERIAL;
    spec->framing = OB_CHANNEL_LINE;
    spec->number = SERIAL_SPEED;
    if (speed && address_number(speed + 1, INT_MAX, &spec->number) < 0)
        return ob_fault_set(fault, -EINVAL, "got '%.100s', expected a speed in bits per second",
                            speed + 1);
    if (!channel_has_speed(spec->number))
        return ob_fault_set(fault, -EINVAL,
                            "got %u, expected a speed of serial lines: 9600, 19200, 38400, 57600, "
                            "115200, 230400, 460800, 921600, or 1, 1.5, 2 or 4 million",
                            spec->number);
    return copy_path(text, speed ? (size_t)(speed - text) : strlen(text), spec, fault);
}

static int parse_connect(const char *text, struct channel_spec *spec, struct ob_fault *fault)
{
    spec->kind = CHANNEL_CONNECT;
    return address_parse_target(text, &spec->address, fault);
}

static int parse_tcp_listen(const char *text, struct channel_spec *spec, struct ob_fault *fault)
{
    spec->kind = CHANNEL_LISTEN;
    return address_parse_listen(text, &spec->address, fault);
}

static int parse_unix_listen(const char *text, struct channel_spec *spec, struct ob_fault *fault)
{
    spec->kind = CHANNEL_LISTEN;
    return address_parse_path(text, &spec->address, fault);
}

static int parse_vsock_listen(const char *text, struct channel_spec *spec, struct ob_fault *fault)
{
    spec->kind = CHANNEL_LISTEN;
    spec->address = (struct address){.kind = ADDRESS_VSOCK, .cid = VMADDR_CID_ANY};
    if (address_number(text, UINT32_MAX - 1, &spec->address.port) < 0)
        return ob_fault_set(fault, -EINVAL, "got '%.200s', expected a port, a number below %u",
                            text, UINT32_MAX);
    return 0;
}

static int parse_fd(const char *text, struct channel_spec *spec, struct ob_fault *fault)
{
    spec->kind = CHANNEL_FD;
    if (address_number(text, INT_MAX, &spec->number) < 0)
        return ob_fault_set(fault, -EINVAL, "got '%.200s', expected the number of a descriptor",
                            text);
    return 0;
}

static int parse_stdio(const char *text, struct channel_spec *spec, struct ob_fault *fault)
{
    spec->kind = CHANNEL_STDIO;
    return *text ? ob_fault_set(fault, -EINVAL, "stdio: expected no address") : 0;
}

static const struct {
    const char *prefix;
    bool whole; /* the parser wants the prefix too */
    parse_fn parse;
} kinds[] = {
    {"virtio:", false, parse_virtio},
    {"serial:", false, parse_serial},
    {"unix:", true, parse_connect},
    {"tcp:", true, parse_connect},
    {"vsock:", true, parse_connect},
    {"unix-listen:", false, parse_unix_listen},
    {"tcp-listen:", false, parse_tcp_listen},
    {"vsock-listen:", false, parse_vsock_listen},
    {"fd:", false, parse_fd},
    {"stdio", false, parse_stdio},
};

/* Cuts ",line" or ",stream" off the text. */
static bool take_framing(char *text, enum ob_channel *ret_framing)
{
    char *comma = strrchr(text, ',');
    bool line = comma && strcmp(comma, ",line") == 0;
    bool stream = comma && strcmp(comma, ",stream") == 0;
    if (!line && !stream)
        return false;
    *comma = '\0';
    *ret_framing = line ? OB_CHANNEL_LINE : OB_CHANNEL_STREAM;
    return true;
}

static int parse_kind(const char *text, struct channel_spec *spec, struct ob_fault *fault)
{
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        size_t len = strlen(kinds[i].prefix);
        if (strncmp(text, kinds[i].prefix, len) == 0)
            return kinds[i].parse(kinds[i].whole ? text : text + len, spec, fault);
    }
    return ob_fault_set(
        fault, -EINVAL,
        "got '%.40s', expected virtio:NAME, serial:PATH, unix:PATH, unix-listen:PATH, "
        "tcp:HOST:PORT, tcp-listen:PORT, vsock:CID:PORT, vsock-listen:PORT, stdio or fd:N",
        text);
}

int channel_spec_parse(const char *text, struct channel_spec *ret_spec, struct ob_fault *fault)
{
    struct channel_spec spec = {0};
    enum ob_channel framing = OB_CHANNEL_STREAM;
    char copy[CHANNEL_TEXT_MAX];
    if (snprintf(copy, sizeof(copy), "%s", text) >= (int)sizeof(copy))
        return ob_fault_set(fault, -EINVAL, "'%.100s...' is too long", text);
    bool has_framing = take_framing(copy, &framing);
    int err = parse_kind(copy, &spec, fault);
    if (err < 0)
        return err;
    if (has_framing)
        spec.framing = framing;
    memcpy(spec.text, text, strlen(text) + 1);
    *ret_spec = spec;
    return 0;
}
