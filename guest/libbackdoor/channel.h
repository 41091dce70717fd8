// SPDX-License-Identifier: BSD-3-Clause
/* The common part of the two ways to a backdoor: the PCI device (pci.c) and the socket (socket.c).
 */
#ifndef OUTBOARD_GUEST_CHANNEL_H
#define OUTBOARD_GUEST_CHANNEL_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

#include <outboard/fault.h>

#include "vfio_user.h"

/* PCI Local Bus 3.0, section 6.1 and 6.2.2 */
#define PCI_IDS            0
#define PCI_COMMAND        4
#define PCI_COMMAND_MEMORY 0x2

enum {
    CONTROL_BAR = 0, /* the size of the data channel; takes commands */
    DATA_BAR = 1,    /* the data channel */
};

/* The largest data channel: BAR 1 with 255 pages, as a power of two. */
#define LIMIT_DATA_LEN ((size_t)256 * 4096)

/* Longest name of a channel: a path that fits struct sockaddr_un. */
#define CHANNEL_NAME_LEN 108

struct ob_backdoor;

struct channel_ops {
    /* Runs a command. 0 or a negative errno, as ob_backdoor_call(). */
    int (*call)(struct ob_backdoor *backdoor, uint64_t command, struct ob_fault *fault);
    /* Reads the size register as it is. 0 or a negative errno, as ob_backdoor_call(). */
    int (*read_size)(struct ob_backdoor *backdoor, uint64_t *ret_size, struct ob_fault *fault);
    /* Lets go of all but the data channel. */
    void (*close)(struct ob_backdoor *backdoor);
};

struct ob_backdoor {
    const struct channel_ops *ops;
    char name[CHANNEL_NAME_LEN];
    size_t size;              /* of the data channel, by the size register */
    volatile void *data;      /* BAR 1, mapped */
    size_t data_len;          /* of the mapping, at least `size` */
    pthread_mutex_t mutex;    /* one call at a time */
    int lock_fd;              /* pci: locked by all processes that use the device, else -1 */
    volatile void *registers; /* pci: BAR 0, mapped */
    size_t registers_len;
    struct vfio_user user; /* socket: the connection */
};

/* Opens the first backdoor among the PCI devices in a folder that looks like /sys/bus/pci/devices.
 * `backdoor` is all zeroes before, with a lock_fd of -1; after a failure the caller has it closed.
 * Returns as ob_backdoor_open(). */
int pci_channel_open(struct ob_backdoor *backdoor, const char *folder, struct ob_fault *fault);

/* Opens the backdoor behind a socket; otherwise as pci_channel_open(). */
int socket_channel_open(struct ob_backdoor *backdoor, const char *path, struct ob_fault *fault);

/* Around whatever reaches the device or the socket: one thread of one process at a time. */
void channel_lock(struct ob_backdoor *backdoor);
void channel_unlock(struct ob_backdoor *backdoor);

/* Asks for the size of the data channel and checks it against the mapping. As
 * ob_backdoor_check(), or -EPROTO. */
int channel_read_size(struct ob_backdoor *backdoor, uint64_t *ret_size, struct ob_fault *fault);

/* The last step of both: asks for the size of the data channel, and checks it against the
 * mapping. As ob_backdoor_check(), or -EPROTO. */
int channel_learn_size(struct ob_backdoor *backdoor, struct ob_fault *fault);

/* Undoes the opening, also of a backdoor that is half open, and frees it. */
void channel_close(struct ob_backdoor *backdoor);

/* Opens a backdoor by one of the two functions above, and undoes everything on failure. */
int channel_open(int (*open)(struct ob_backdoor *, const char *, struct ob_fault *),
                 const char *where, struct ob_backdoor **ret_backdoor, struct ob_fault *fault);

#endif
