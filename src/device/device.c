// SPDX-License-Identifier: BSD-3-Clause
#include "device/device.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "device/description.h"
#include "device/internal.h"
#include "device/virtio_part.h"

int device_new(const struct ob_device_desc *desc, const struct ob_device_ops *ops, void *state,
               const struct server_host *host, struct ob_device **ret_device,
               struct ob_fault *fault)
{
    int err = description_check(desc, ops, fault);
    if (err < 0)
        return err;
    struct ob_device *device = calloc(1, sizeof(*device));
    if (!device)
        return ob_fault_set(fault, -ENOMEM, "%s: no memory for the device", desc->name);
    *device = (struct ob_device){
        .ops = *ops,
        .state = state,
        .host = host,
        .state_len = desc->state_len,
        .state_version = desc->state_version,
        .name = strdup(desc->name),
    };
    list_init(&device->endings);
    memory_init(&device->memory, host->memory);
    err = device->name ? device_pci_new(device, desc, fault) : -ENOMEM;
    if (err < 0) {
        device_free(device);
        return ob_fault_set(fault, err, "%s: no memory for the device", desc->name);
    }
    *ret_device = device;
    return 0;
}

void device_free(struct ob_device *device)
{
    if (!device)
        return;
    while (!list_empty(&device->endings)) {
        struct device_ending *ending =
            list_entry(list_take(&device->endings), struct device_ending, link);
        ending->ended(ending);
    }
    device_disconnect(device);
    if (device->virtio)
        virtio_inflight_free(device->virtio, device->host);
    virtio_part_free(device->virtio);
    device_pci_free(device);
    free(device->files);
    free(device->name);
    free(device);
}

void device_tell_of_end(struct ob_device *device, struct device_ending *ending,
                        void (*ended)(struct device_ending *ending))
{
    ending->ended = ended;
    list_append(&device->endings, &ending->link);
}

void device_forget_ending(struct device_ending *ending)
{
    list_remove(&ending->link);
}

bool device_reset_when_quiet(struct ob_device *device)
{
    if (!device->resetting) {
        if (device->messenger)
            device->messenger->cancel_all(device->messenger->context, -ECANCELED);
        device_pci_reset(device); /* no DMA, no interrupt while it ends its requests in flight */
        device_quiesce(device);
    }
    device->resetting = !device_is_quiet(device);
    if (!device->resetting)
        device_reset(device);
    return !device->resetting;
}

void device_reset(struct ob_device *device)
{
    if (device->messenger)
        device->messenger->cancel_all(device->messenger->context, -ECANCELED);
    device_pci_reset(device);
    if (device->ops.reset)
        device->ops.reset(device->state);
    device_wake(device);
}

void device_disconnect(struct ob_device *device)
{
    if (!device->leaving)
        device_quiesce(device);
    device->quiescing = device->leaving = device->resetting = false;
    device->dormant = true;
    device_pci_disconnect(device);
    memory_done(&device->memory);
    device->told = (struct device_told){0};
    if (device->ops.disconnected)
        device->ops.disconnected(device->state);
}
