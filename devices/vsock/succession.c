// SPDX-License-Identifier: BSD-3-Clause
/*
 * How another process continues when this one has died, if there is a vault: without the connections,
 * whose sockets of the host end with the process. The vault has the name of each connection that the
 * guest knows. The next process resets them, before any other packet. So no connection of the guest
 * waits for a peer that is gone, whatever the wire: vhost-user has no queue for events.
 */
#include <errno.h>
#include <stdlib.h>

#include <outboard/vault.h>

#include "internal.h"

/* Plain numbers, since padding would be compared too. */
struct kept_name {
    uint32_t cid, guest_port, host_port, type;
};

struct kept {
    uint32_t count;
    struct kept_name names[];
};

/* Connections that are there, and those whose end the guest has not been told yet. */
static size_t most_names(const struct vsock *vsock)
{
    return 2 * (size_t)vsock->table.size;
}

static size_t len_of(size_t count)
{
    return sizeof(struct kept) + count * sizeof(struct kept_name);
}

/* Only so many fit into a vault; with more, the library does not restart the device. */
static size_t room(const struct vsock *vsock)
{
    const size_t len = len_of(most_names(vsock));
    return len < OB_VAULT_STATE_BYTES ? len : OB_VAULT_STATE_BYTES;
}

static int save(void *state, void *ret_bytes)
{
    const struct vsock *vsock = state;
    const struct table *table = &vsock->table;
    const struct succession *succession = &vsock->succession;
    struct kept *kept = ret_bytes;
    const size_t count = table->count + succession->num_lost;
    if (len_of(count) > room(vsock))
        return -ENOSPC;
    kept->count = 0;
    for (uint32_t i = 0; i < succession->num_lost; i++) {
        const struct stray *lost = &succession->lost[i];
        kept->names[kept->count++] =
            (struct kept_name){(uint32_t)lost->cid, lost->guest_port, lost->host_port, lost->type};
    }
    for (uint32_t i = 0; i < table->size && kept->count < count; i++) {
        const struct connection *connection = &table->connections[i];
        if (connection->state != CONNECTION_FREE)
            kept->names[kept->count++] =
                (struct kept_name){connection->peer.cid, connection->guest_port,
                                   connection->peer.port, connection->type};
    }
    return (int)len_of(kept->count);
}

static int check(void *state, const void *bytes, size_t len, struct ob_fault *fault)
{
    struct vsock *vsock = state;
    struct succession *succession = &vsock->succession;
    const struct kept *kept = bytes;
    if (len < sizeof(*kept) || kept->count > most_names(vsock) || len != len_of(kept->count))
        return ob_fault_set(fault, -EINVAL, "vsock: got a state of %zu bytes, which does not fit",
                            len);
    for (uint32_t i = 0; i < kept->count; i++) {
        const struct kept_name *name = &kept->names[i];
        succession->lost[i] = (struct stray){.cid = name->cid,
                                             .guest_port = name->guest_port,
                                             .host_port = name->host_port,
                                             .type = (uint16_t)name->type};
    }
    succession->num_lost = kept->count;
    return 0;
}

static void resumed(void *state)
{
    struct vsock *vsock = state;
    vsock->has_buffers = true;
}

int succession_init(struct vsock *vsock)
{
    struct succession *succession = &vsock->succession;
    if (ob_vault_role() == OB_VAULT_NONE)
        return 0;
    succession->lost = calloc(most_names(vsock), sizeof(*succession->lost));
    succession->kept = malloc(room(vsock));
    if (!succession->lost || !succession->kept)
        return -ENOMEM;
    const struct ob_vault_state kept = {.size = sizeof(kept),
                                        .bytes = succession->kept,
                                        .len = room(vsock),
                                        .version = 1,
                                        .check = check,
                                        .resumed = resumed,
                                        .save = save};
    return ob_vault_keep(vsock->device, &kept);
}

void succession_done(struct vsock *vsock)
{
    free(vsock->succession.lost);
    free(vsock->succession.kept);
}
