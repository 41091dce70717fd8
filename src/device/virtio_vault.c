// SPDX-License-Identifier: BSD-3-Clause
/*
 * A virtio device in a vault: another process continues with its queues when this one has died.
 *
 * The state is that of virtio_state.c, at any moment: a chain that the device has counts as returned,
 * so that the next process takes it again. Behind it lies the state of the device's author.
 *
 * Intent first. A chain that the device completes is committed as done before the driver sees it. Its
 * buffer is the driver's from then on, and no process carries the request out again. The process may
 * die behind the commit, before, within or after the writes to the ring. The next one therefore looks
 * which of these chains the ring shows already, and shows the rest. It never writes a used element
 * that the driver may have seen: its place may be the driver's again.
 *
 * Chains of a packed ring are completed in the order of the ring: used elements are written over the
 * descriptors of older chains, which the next process has to read.
 *
 * Nothing is known of notifications and interrupts that were under way. The next process looks at each
 * queue, and signals each once, and a change of the configuration space too.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "device/internal.h"
#include "device/virtio_part.h"

/* A state that is not saved any more is one that no process may continue with. */
static int lost(const struct device_virtio *virtio, int err)
{
    if (virtio->device->vault)
        virtio->device->vault->shared->lost = 1;
    return err;
}

static int save(void *state, void *ret_bytes)
{
    struct device_virtio *virtio = state;
    const struct ob_vault_state *own = &virtio->own.kept;
    uint8_t *to = ret_bytes;
    int len = virtio_rings_save(virtio, to, OB_VAULT_STATE_BYTES);
    int own_len = own->save ? own->save(virtio->state, own->bytes) : (int)own->len;
    if (len < 0 || own_len < 0 || (size_t)own_len > own->len ||
        (size_t)len + (size_t)own_len > OB_VAULT_STATE_BYTES)
        return lost(virtio, -ENOSPC);
    if (own_len > 0)
        memcpy(to + len, own->bytes, (size_t)own_len);
    return len + own_len;
}

/* As device_vault.c does it for other devices. The author gets memory that is aligned. */
static int check_own(struct device_virtio *virtio, const uint8_t *bytes, size_t len,
                     struct ob_fault *fault)
{
    const struct ob_vault_state *own = &virtio->own.kept;
    if (len > own->len || (len < own->len && !own->save))
        return ob_fault_set(fault, -EINVAL, "%s: got a state of %zu bytes, expected %zu",
                            virtio->device->name, len, own->len);
    AUTO_FREE void *copy = malloc(own->len + 1);
    if (!copy)
        return -ENOMEM;
    memcpy(copy, bytes, len);
    int err = own->check ? own->check(virtio->state, copy, len, fault) : 0;
    if (err == 0 && len > 0)
        memcpy(own->bytes, copy, len);
    return err;
}

static int check(void *state, const void *bytes, size_t len, struct ob_fault *fault)
{
    struct device_virtio *virtio = state;
    size_t used = 0;
    int err = virtio_rings_load(virtio, bytes, len, &used, fault);
    for (unsigned i = 0; i < virtio->num_queues; i++) {
        struct virtio_part_queue *queue = &virtio->queues[i];
        queue->is_unsettled = queue->ring.done > 0;
        queue->was_filled = true; /* memory was not private before */
        queue->ring.in_order |=
            queue->ring.ring.packed; /* as virtio_queue_start() does with a vault */
    }
    return err < 0 ? err : check_own(virtio, (const uint8_t *)bytes + used, len - used, fault);
}

static void resumed(void *state)
{
    struct device_virtio *virtio = state;
    if (virtio->driver_ok && virtio->config.len > 0 && virtio->wire->signal_config)
        virtio->wire->signal_config(virtio->wire->context);
    if (virtio->own.kept.resumed)
        virtio->own.kept.resumed(virtio->state);
}

int virtio_keep(struct device_virtio *virtio, const struct ob_vault_state *own,
                struct ob_vault_state *ret_kept)
{
    uint8_t *bytes = malloc(OB_VAULT_STATE_BYTES);
    if (!bytes)
        return -ENOMEM;
    virtio->own.kept = *own;
    virtio->own.kept_bytes = bytes;
    *ret_kept = (struct ob_vault_state){.size = sizeof(*ret_kept),
                                        .bytes = bytes,
                                        .len = OB_VAULT_STATE_BYTES,
                                        .version = own->version,
                                        .check = check,
                                        .resumed = resumed,
                                        .save = save};
    return 0;
}

bool virtio_kept_post(struct device_virtio *virtio)
{
    bool any = false;
    for (const struct list *link = virtio->lists.due.next; link != &virtio->lists.due;
         link = link->next)
        any |= list_entry(link, struct virtio_part_queue, due)->ring.done > 0;
    if (!any || virtio->device->dormant)
        return true;
    if (ob_vault_commit(virtio->device) < 0)
        return false;
    for (struct list *link = virtio->lists.due.next; link != &virtio->lists.due; link = link->next)
        virtio_queue_post(list_entry(link, struct virtio_part_queue, due));
    return true;
}
