// SPDX-License-Identifier: BSD-3-Clause
/* include/outboard/vault.h: an author names the state of a device. */
#include <outboard/vault.h>

#include <errno.h>

#include "base/sized.h"
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
