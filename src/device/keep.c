// SPDX-License-Identifier: BSD-3-Clause
/* Descriptors of a device that outlive its process, if there is a vault. */
#include <outboard/vault.h>

#include "device/device_vault.h"
#include "device/internal.h"

void device_keep(struct ob_device *device, enum vault_kind kind, unsigned a, unsigned b, int fd)
{
    if (device->vault)
        vault_keep(device->vault, &(struct vault_role){.kind = kind, .a = a, .b = b}, fd);
}

void device_let_go(struct ob_device *device, int fd)
{
    if (device->vault)
        vault_close(device->vault, fd);
    else
        device->host->close(device->host->context, fd);
}

void device_keep_memory(struct ob_device *device, enum vault_kind kind,
                        const struct memory_region_desc *desc)
{
    const struct vault_role role = {
        .kind = kind, .flag = desc->writable, .a = desc->gpa, .b = desc->len, .c = desc->offset};
    vault_keep(device->vault, &role, desc->fd);
}

void device_forget_memory(struct ob_device *device, enum vault_kind kind, const uint64_t *gpa)
{
    if (device->vault)
        vault_forget(device->vault, kind, gpa);
}

unsigned device_kept_memory(const struct vault *vault, enum vault_kind kind,
                            struct memory_region_desc *ret_descs, unsigned most)
{
    unsigned count = 0;
    for (unsigned i = 0; i < vault->used && count < most; i++) {
        const struct vault_role *role = &vault_entry(vault, i)->role;
        if (vault_is_valid(vault, i) && role->kind == kind)
            ret_descs[count++] = (struct memory_region_desc){.gpa = role->a,
                                                             .len = role->b,
                                                             .offset = role->c,
                                                             .fd = vault_fd(vault, i),
                                                             .writable = role->flag};
    }
    return count;
}

void device_keep_files(struct ob_device *device)
{
    for (unsigned i = 0; device->files && i < OB_VAULT_FDS; i++)
        if (device->files[i] >= 0)
            device_keep(device, VAULT_FILE, i, 0, device->files[i]);
}
