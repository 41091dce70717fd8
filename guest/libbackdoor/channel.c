// SPDX-License-Identifier: BSD-3-Clause
/*
 * The needs of both kinds of channel: to be made and closed, to be used by one at a time, to check the
 * size that the host announces.
 *
 * A PCI device is used by one thread of one process at a time, for data and configuration space as
 * for calls. This is not only for the sake of 32-bit programs, whose commands have two halves.
 * While one processor waits for x-pci-proxy-dev, QEMU (7.2, hw/remote/mpqemu-link.c) has its big
 * lock released. Another processor's access to a BAR of the device is then refused as "re-entrant
 * IO": a store is lost and a load brings anything. Its access to configuration space takes the big
 * lock and waits for the first one, which waits for the big lock: all of QEMU hangs. So threads are
 * kept apart by a mutex, and processes by flock(2).
 */
#include "channel.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/mman.h>

void channel_lock(struct ob_backdoor *backdoor)
{
    pthread_mutex_lock(&backdoor->mutex);
    while (backdoor->lock_fd >= 0 && flock(backdoor->lock_fd, LOCK_EX) < 0 && errno == EINTR)
        ;
}

void channel_unlock(struct ob_backdoor *backdoor)
{
    if (backdoor->lock_fd >= 0)
        flock(backdoor->lock_fd, LOCK_UN);
    pthread_mutex_unlock(&backdoor->mutex);
}

static int check_size(const struct ob_backdoor *backdoor, uint64_t size, struct ob_fault *fault)
{
    if (size == UINT64_MAX)
        return ob_fault_set(fault, -ENODEV,
                            "the backdoor %s reads as all ones: its process on the host has ended; "
                            "start that process again, then this machine",
                            backdoor->name);
    if (size == 0 || size % 8 || size > backdoor->data_len)
        return ob_fault_set(fault, -EPROTO,
                            "the backdoor %s: got a data channel of %llu bytes, but its BAR has "
                            "%zu; replace its process on the host, which is faulty",
                            backdoor->name, (unsigned long long)size, backdoor->data_len);
    return 0;
}

int channel_read_size(struct ob_backdoor *backdoor, uint64_t *ret_size, struct ob_fault *fault)
{
    channel_lock(backdoor);
    int err = backdoor->ops->read_size(backdoor, ret_size, fault);
    channel_unlock(backdoor);
    return err < 0 ? err : check_size(backdoor, *ret_size, fault);
}

int channel_learn_size(struct ob_backdoor *backdoor, struct ob_fault *fault)
{
    uint64_t size;
    int err = channel_read_size(backdoor, &size, fault);
    if (err == 0)
        backdoor->size = (size_t)size;
    return err;
}

void channel_close(struct ob_backdoor *backdoor)
{
    if (backdoor->ops)
        backdoor->ops->close(backdoor);
    if (backdoor->data)
        munmap((void *)backdoor->data, backdoor->data_len);
    pthread_mutex_destroy(&backdoor->mutex);
    free(backdoor);
}

int channel_open(int (*open)(struct ob_backdoor *, const char *, struct ob_fault *),
                 const char *where, struct ob_backdoor **ret_backdoor, struct ob_fault *fault)
{
    struct ob_backdoor *backdoor = calloc(1, sizeof(*backdoor));
    if (!backdoor)
        return ob_fault_set(fault, -ENOMEM, "no memory for a backdoor");
    backdoor->lock_fd = -1;
    pthread_mutex_init(&backdoor->mutex, NULL);
    int err = open(backdoor, where, fault);
    if (err < 0) {
        channel_close(backdoor);
        return err;
    }
    *ret_backdoor = backdoor;
    return 0;
}
