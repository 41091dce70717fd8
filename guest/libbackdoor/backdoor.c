// SPDX-License-Identifier: BSD-3-Clause
/*
 * The public face of libbackdoor: chooses the channel, copies data, makes calls.
 *
 * A channel (channel.h) maps the data and knows how to send a command; nothing here depends on
 * which one it is. The size that the host announces is checked once, against the mapping, and
 * never read again for a bound.
 */
#include <outboard/backdoor.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "channel.h"

#define PCI_DEVICES "/sys/bus/pci/devices"

int ob_backdoor_open(struct ob_backdoor **ret_backdoor, struct ob_fault *fault)
{
    /* Who starts a set-user-ID program sets its environment, and must not choose its host. */
    const char *path = secure_getenv(OB_BACKDOOR_ENVIRONMENT);
    if (path && *path)
        return channel_open(socket_channel_open, path, ret_backdoor, fault);
    return channel_open(pci_channel_open, PCI_DEVICES, ret_backdoor, fault);
}

void ob_backdoor_close(struct ob_backdoor *backdoor)
{
    if (backdoor)
        channel_close(backdoor);
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
    int err = ret_buf || len == 0 ? check_range(backdoor, offset, len) : -EINVAL;
    if (err < 0)
        return err;
    channel_lock(backdoor);
    copy_from(backdoor->data, offset, ret_buf, len);
    channel_unlock(backdoor);
    return 0;
}

int ob_backdoor_write(struct ob_backdoor *backdoor, size_t offset, const void *buf, size_t len)
{
    int err = buf || len == 0 ? check_range(backdoor, offset, len) : -EINVAL;
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
    return channel_read_size(backdoor, &size, fault);
}
