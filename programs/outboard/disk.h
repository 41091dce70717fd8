// SPDX-License-Identifier: BSD-3-Clause
/* Disk server: a qemu-nbd of our own, for one image of a disk. */
#ifndef OUTBOARD_PROGRAMS_DISK_H
#define OUTBOARD_PROGRAMS_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include <outboard/fault.h>

#include "block/image_option.h"

struct disk_server {
    pid_t pid;         /* 0: has ended */
    int socket_fd;     /* the socket's name, by which its heir connects */
    const char *image; /* for messages */
};

/* Whether qemu-nbd has to serve this image, and in which format. */
bool disk_server_is_needed(const struct image_option *option);

/* The name of its export. */
const char *disk_server_export(const struct image_option *option);

/* Starts qemu-nbd and waits until it has opened the image. 0, or a negative errno with the fault
 * filled. Signals: as they are, so that one which ends us ends the waiting. */
int disk_server_start(const struct image_option *option, struct disk_server *ret_server,
                      struct ob_fault *fault);

/* Forks a process in a session of its own, which gets SIGTERM when we end. Its result is fork's. */
pid_t disk_fork(void);

/* Appends a key and its value to a text of this size, whose options are divided by commas: those of
 * the value are written twice. */
void disk_append(char *text, size_t size, const char *key, const char *value);

#endif
