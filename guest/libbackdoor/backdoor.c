// SPDX-License-Identifier: BSD-3-Clause
/*
 * The public face of libbackdoor: chooses the channel, serializes calls, copies data.
 *
 * A channel (channel.h) maps the data and knows how to send a command; nothing here depends on
 * which one it is. The size that the host announces is checked once, against what is mapped, and
 * never read again for a bound.
 *
 * A PCI device is used by one thread of one process at a time, for data and configuration space as
 * for calls. This is not only for the sake of 32-bit programs, whose commands have two halves.
 * While one processor waits for x-pci-proxy-dev, QEMU (7.2, hw/remote/mpqemu-link.c) has its big
 * lock released. Another processor's access to a BAR of the device is then refused as "re-entrant
 * IO": a store is lost and a load brings anything. Its access to configuration space takes the big
 * lock and waits for the first one, which waits for the big lock: all of QEMU hangs. So threads are
 * kept apart by a mutex, and processes by flock(2).
 */
#include <outboard/backdoor.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>

#include "channel.h"

#define PCI_DEVICES "/sys/bus/pci/devices"

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
                            "start it again, and then this machine",
                            backdoor->name);
    if (size == 0 || size % 8 || size > backdoor->data_len)
        return ob_fault_set(fault, -EPROTO,
                            "the backdoor %s claims a data channel of %llu bytes, but %zu are "
                            "there: its process on the host is broken",
                            backdoor->name, (unsigned long long)size, backdoor->data_len);
    return 0;
}

/* Asks for the size and checks it. */
static int read_size(struct ob_backdoor *backdoor, uint64_t *ret_size, struct ob_fault *fault)
{
    channel_lock(backdoor);
    int err = backdoor->ops->read_size(backdoor, ret_size, fault);
    channel_unlock(backdoor);
    return err < 0 ? err : check_size(backdoor, *ret_size, fault);
}

int channel_learn_size(struct ob_backdoor *backdoor, struct ob_fault *fault)
{
    uint64_t size;
    int err = read_size(backdoor, &size, fault);
    if (err == 0)
        backdoor->size = (size_t)size;
    return err;
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
        ob_backdoor_close(backdoor);
        return err;
    }
    *ret_backdoor = backdoor;
    return 0;
}

int ob_backdoor_open(struct ob_backdoor **ret_backdoor, struct ob_fault *fault)
{
    const char *path = getenv(OB_BACKDOOR_ENVIRONMENT);
    if (path && *path)
        return channel_open(socket_channel_open, path, ret_backdoor, fault);
    return channel_open(pci_channel_open, PCI_DEVICES, ret_backdoor, fault);
}

void ob_backdoor_close(struct ob_backdoor *backdoor)
{
    if (!backdoor)
        return;
    if (backdoor->ops)
        backdoor->ops->close(backdoor);
    if (backdoor->data)
        munmap((void *)backdoor->data, backdoor->data_len);
    pthread_mutex_destroy(&backdoor->mutex);
    free(backdoor);
}

const char *ob_backdoor_name(const struct ob_backdoor *backdoor)
{
    return backdoor->name;
}

size_t ob_backdoor_size(const struct ob_backdoor *backdoor)
{
    return backdoor->size;
}

volatile void *ob_backdoor_data(struct ob_backdoor *backdoor)
{
    return backdoor->data;
}

static int check_range(const struct ob_backdoor *backdoor, size_t offset, size_t len)
{
    return offset <= backdoor->size && len <= backdoor->size - offset ? 0 : -EINVAL;
}

/* How much the next step of a copy moves: a whole aligned word if it can, else a byte. */
static size_t step(size_t offset, size_t len)
{
    return offset % sizeof(uintptr_t) == 0 && len >= sizeof(uintptr_t) ? sizeof(uintptr_t) : 1;
}

static void copy_from(const volatile uint8_t *data, size_t offset, uint8_t *to, size_t len)
{
    while (len > 0) {
        size_t moved = step(offset, len);
        if (moved == sizeof(uintptr_t)) {
            uintptr_t word = *(const volatile uintptr_t *)(data + offset);
            memcpy(to, &word, sizeof(word));
        } else {
            *to = data[offset];
        }
        to += moved;
        offset += moved;
        len -= moved;
    }
}

static void copy_to(volatile uint8_t *data, size_t offset, const uint8_t *from, size_t len)
{
    while (len > 0) {
        size_t moved = step(offset, len);
        if (moved == sizeof(uintptr_t)) {
            uintptr_t word;
            memcpy(&word, from, sizeof(word));
            *(volatile uintptr_t *)(data + offset) = word;
        } else {
            data[offset] = *from;
        }
        from += moved;
        offset += moved;
        len -= moved;
    }
}

int ob_backdoor_read(struct ob_backdoor *backdoor, size_t offset, void *ret_buf, size_t len)
{
    int err = check_range(backdoor, offset, len);
    if (err < 0)
        return err;
    channel_lock(backdoor);
    copy_from(backdoor->data, offset, ret_buf, len);
    channel_unlock(backdoor);
    return 0;
}

int ob_backdoor_write(struct ob_backdoor *backdoor, size_t offset, const void *buf, size_t len)
{
    int err = check_range(backdoor, offset, len);
    if (err < 0)
        return err;
    channel_lock(backdoor);
    copy_to(backdoor->data, offset, buf, len);
    channel_unlock(backdoor);
    return 0;
}

int ob_backdoor_call(struct ob_backdoor *backdoor, uint64_t command, struct ob_fault *fault)
{
    channel_lock(backdoor);
    int err = backdoor->ops->call(backdoor, command, fault);
    channel_unlock(backdoor);
    return err;
}

int ob_backdoor_check(struct ob_backdoor *backdoor, struct ob_fault *fault)
{
    uint64_t size;
    return read_size(backdoor, &size, fault);
}
