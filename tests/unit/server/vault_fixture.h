// SPDX-License-Identifier: BSD-3-Clause
/* Vaults of tests: new ones, those of the next process in another world, and lies of one byte. */
#ifndef OUTBOARD_TESTS_VAULT_FIXTURE_H
#define OUTBOARD_TESTS_VAULT_FIXTURE_H

#include <stdlib.h>
#include <string.h>

#include "device/vault.h"
#include "fake/server_host.h"
#include "support.h"

static inline struct vault_shared *vault_fixture_new(void)
{
    struct vault_shared *shared = aligned_alloc(_Alignof(struct vault_shared), sizeof(*shared));
    assert_non_null(shared);
    memset(shared, 0, sizeof(*shared));
    return shared;
}

/* The descriptors have other numbers in the world of the next process. Memory is a file with this inode. */
static inline void vault_fixture_renumber(struct vault_shared *shared, unsigned column,
                                          struct fake_host *fake, uint64_t inode)
{
    for (unsigned i = 0; i < 4096; i++) {
        struct vault_entry *entry = &shared->entries[i];
        bool is_file = entry->role.kind == VAULT_MEMORY || entry->role.kind == VAULT_BAR;
        if (entry->added > 0)
            entry->fd[column] = is_file ? fake_file(fake, inode) : fake_event(fake);
    }
}

/* Undoes a lie, and all that a process with the lie has written: the head, the entries in use, and the beginning of each
 * part. A whole copy would take too long for each byte. */
static inline void vault_fixture_restore(struct vault_shared *lie, const struct vault_shared *truth)
{
    memcpy(lie, truth, offsetof(struct vault_shared, transfers));
    memcpy(lie->entries, truth->entries, 16 * sizeof(lie->entries[0]));
    for (unsigned part = 0; part < VAULT_PARTS; part++)
        for (unsigned copy = 0; copy < 2; copy++)
            memcpy(&lie->parts[part][copy], &truth->parts[part][copy], 2048);
}

#endif
