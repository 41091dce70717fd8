// SPDX-License-Identifier: BSD-3-Clause
/* Block devices as sysfs shows them. */
#ifndef OUTBOARD_AGENT_BLOCK_DEVICE_H
#define OUTBOARD_AGENT_BLOCK_DEVICE_H

#include <stdbool.h>
#include <stddef.h>

#include "wire/json_out.h"

#define BLOCK_PATH_MAX 4096

/* The folder in /sys/devices that a path there leads to, such as /sys/dev/block/8:1. */
bool block_device_folder(const char *path, char ret_folder[BLOCK_PATH_MAX]);

/* The node in /dev of a folder, from its uevent. */
bool block_device_node(const char *folder, char *ret_node, size_t size);

/* Whether it has no hardware: loop, dm, md and their like. */
bool block_device_is_virtual(const char *folder);

/* A GuestDiskAddress. */
void block_device_put_address(struct json_out *out, const char *folder, const char *node);

#endif
