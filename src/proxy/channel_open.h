// SPDX-License-Identifier: BSD-3-Clause
/* Devices that are channels. */
#ifndef OUTBOARD_PROXY_CHANNEL_OPEN_H
#define OUTBOARD_PROXY_CHANNEL_OPEN_H

#include <stdbool.h>
#include <stdint.h>

#include "proxy/terminal.h"

/* Opens a virtio-serial port by its name, udev or not. Returns the descriptor, non-blocking;
 * -ENOENT when there is no such port; or another errno. */
int channel_open_virtio(const char *name);

/* Whether serial lines have this speed. */
bool channel_has_speed(uint32_t bits_per_second);

/* A path that is a device. The descriptor, non-blocking, or a negative errno. */
int channel_open_path(const char *path);

/* Makes a serial line raw, eight bits, no flow control. 0; -EINVAL when there is no such speed; or
 * another errno. *ret_before: how it was. */
int channel_prepare_serial(int fd, uint32_t bits_per_second, struct terminal *ret_before);

/* Opens a serial line, raw, eight bits, no flow control. Returns the descriptor, non-blocking;
 * -EINVAL when there is no such speed; or another errno. *ret_before: how it was. */
int channel_open_serial(const char *path, uint32_t bits_per_second, struct terminal *ret_before);

#endif
