// SPDX-License-Identifier: BSD-3-Clause
/* include/outboard/vault.h: an author names the state of a device. */
#include <outboard/vault.h>

#include <errno.h>
#include <stdlib.h>

#include "base/sized.h"
#include "device/device_vault.h"
#include "device/internal.h"
#include "device/virtio_part.h"

int ob_vault_keep(struct ob_device *device, const struct ob_vault_state *state)
{
    struct ob_vault_state own;
    struct ob_fault fault;
    if (!device || !state)
        return -EINVAL;
    int err = sized_copy(state, SIZED_UP_TO(struct ob_vault_state, save), &own, sizeof(own),
                         "ob_vault_state", &fault);
    if (err < 0)
        return err;
    if (device->served || device->kept.bytes)
        return -EBUSY;
    if (!own.bytes != (own.len == 0) || own.len > OB_VAULT_STATE_BYTES ||
        (own.len == 0 && !device->virtio))
        return -EINVAL;
    if (device->virtio)
        return virtio_keep(device->virtio, &own, &device->kept);
    device->kept = own;
    return 0;
}

int ob_vault_keep_fd(struct ob_device *device, unsigned number, int fd)
{
    if (!device || number >= OB_VAULT_FDS)
        return -EINVAL;
    if (device->vault) {
        device_keep(device, VAULT_FILE, number, 0, fd);
        return 0;
    }
    if (!device->files) {
        device->files = malloc(OB_VAULT_FDS * sizeof(*device->files));
        for (unsigned i = 0; device->files && i < OB_VAULT_FDS; i++)
            device->files[i] = -1;
    }
    if (!device->files)
        return -ENOMEM;
    device->files[number] = fd;
    return 0;
}

int ob_vault_kept_fd(const struct ob_device *device, unsigned number)
{
    const struct vault *vault = device ? device->vault : NULL;
    for (unsigned i = 0; vault && i < vault->used; i++) {
        const struct vault_role *role = &vault_entry(vault, i)->role;
        if (vault_is_valid(vault, i) && role->kind == VAULT_FILE && role->a == number)
            return vault_fd(vault, i);
    }
    return -ENOENT;
}
