// SPDX-License-Identifier: BSD-3-Clause
#include "device/vault.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/fault_point.h"

/* Stores before it come before stores behind it, as a successor sees them. */
static void barrier(void)
{
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
}

static void store(uint64_t *to, uint64_t value)
{
    barrier();
    __atomic_store_n(to, value, __ATOMIC_RELAXED);
    barrier();
}

void vault_begin(struct vault *vault, struct vault_shared *shared, uint64_t life)
{
    vault->shared = shared;
    vault->life = life;
    shared->magic = VAULT_MAGIC;
    shared->version = VAULT_VERSION;
    shared->len = sizeof(*shared);
    store(&shared->owner, life << 1);
}

static int check_record(const struct vault_record *record, struct ob_fault *fault)
{
    if (record->rx_half > 1 || record->rx_origin > record->rx_consumed ||
        record->tx_origin > record->tx_produced || record->tx_fd_count > LIMIT_VFIO_USER_FDS)
        return ob_fault_set(fault, -EINVAL, "the vault's positions contradict each other");
    for (unsigned i = 0; i < record->tx_fd_count; i++)
        if (record->tx_entry[i] >= LIMIT_VAULT_ENTRIES)
            return ob_fault_set(fault, -EINVAL, "the vault's answer has an unknown descriptor");
    return 0;
}

int vault_check(struct vault *vault, struct vault_shared *shared, uint64_t life,
                struct ob_fault *fault)
{
    if (shared->magic != VAULT_MAGIC || shared->version != VAULT_VERSION ||
        shared->len != sizeof(*shared))
        return ob_fault_set(fault, -EINVAL,
                            "the vault: got version %" PRIu32 " of %" PRIu64
                            " bytes, expected version %u of %zu; start the machine again after an "
                            "update of the library",
                            shared->version, shared->len, VAULT_VERSION, sizeof(*shared));
    if (shared->lost)
        return ob_fault_set(fault, -ENOSPC,
                            "the vault: the VMM had passed more than %u ranges of memory and "
                            "descriptors; the device can't be restarted",
                            LIMIT_VAULT_ENTRIES);
    vault->shared = shared;
    vault->life = life;
    vault->now = shared->record[shared->committed & 1];
    vault->column = (unsigned)(shared->owner & 1) ^ 1;
    vault->used = shared->used;
    if (vault->used > LIMIT_VAULT_ENTRIES)
        return ob_fault_set(fault, -EINVAL, "the vault has more entries than there can be");
    return check_record(&vault->now, fault);
}

unsigned vault_old_column(const struct vault *vault)
{
    return vault->column ^ 1;
}

static void undo(struct vault *vault)
{
    struct vault_shared *shared = vault->shared;
    for (unsigned i = 0; i < vault->used; i++) {
        struct vault_entry *entry = &shared->entries[i];
        if (entry->added > shared->committed)
            entry->added = 0;
        if (entry->removed > shared->committed)
            entry->removed = 0;
    }
    for (unsigned part = 0; part < VAULT_PARTS; part++)
        for (unsigned copy = 0; copy < 2; copy++)
            if (shared->parts[part][copy].number > shared->committed)
                shared->parts[part][copy].number = 0;
}

void vault_own(struct vault *vault)
{
    vault->shared->looking = 0; /* we have looked at no message */
    store(&vault->shared->owner, vault->life << 1 | vault->column);
    undo(vault);
}

void vault_commit(struct vault *vault)
{
    struct vault_shared *shared = vault->shared;
    const uint64_t next = shared->committed + 1;
    shared->record[next & 1] = vault->now;
    fault_point("recorded");
    store(&shared->committed, next);
    vault->changed = false;
}

int vault_next_close(struct vault *vault)
{
    return vault->num_close > 0 ? vault->close[--vault->num_close] : -1;
}

void vault_close(struct vault *vault, int fd)
{
    if (fd < 0)
        return;
    vault->changed = true;
    if (vault->num_close < LIMIT_CELL_FILES)
        vault->close[vault->num_close++] = fd;
    else
        vault->shared->lost = 1;
}

bool vault_begin_effect(struct vault *vault)
{
    const uint64_t most = (UINT64_C(1) << VAULT_EFFECT_BITS) - 1;
    const uint64_t message = vault->now.rx_consumed + 1, begun = vault->shared->begun;
    const uint64_t before = begun >> VAULT_EFFECT_BITS == message ? begun & most : 0;
    if (vault->effects < most)
        vault->effects++;
    if (vault->effects <= before)
        return true;
    store(&vault->shared->begun, message << VAULT_EFFECT_BITS | vault->effects);
    fault_point("effect-begun");
    return false;
}

bool vault_is_valid(const struct vault *vault, unsigned index)
{
    const struct vault_entry *entry = &vault->shared->entries[index];
    const uint64_t committed = vault->shared->committed;
    return entry->added > 0 && entry->added <= committed &&
           (entry->removed == 0 || entry->removed > committed) && entry->role.kind < VAULT_KINDS;
}

const struct vault_entry *vault_entry(const struct vault *vault, unsigned index)
{
    return &vault->shared->entries[index];
}

int vault_fd(const struct vault *vault, unsigned index)
{
    return vault->shared->entries[index].fd[vault->column];
}

/* Whether nothing of an entry is needed, whatever happens. */
static bool is_free(const struct vault *vault, const struct vault_entry *entry)
{
    return entry->added == 0 || (entry->removed > 0 && entry->removed <= vault->shared->committed);
}

static struct vault_entry *take_unused(struct vault *vault)
{
    if (vault->used == LIMIT_VAULT_ENTRIES)
        return NULL;
    vault->shared->used = ++vault->used;
    barrier();
    return &vault->shared->entries[vault->used - 1];
}

/* An entry that becomes free with the next commit is not passed for ever. */
static struct vault_entry *find_room(struct vault *vault)
{
    struct vault_entry *entries = vault->shared->entries, *found = NULL;
    unsigned i = vault->room, soon = LIMIT_VAULT_ENTRIES;
    for (; i < vault->used && !found; i++) {
        if (is_free(vault, &entries[i]))
            found = &entries[i];
        else if (entries[i].removed > 0 && soon == LIMIT_VAULT_ENTRIES)
            soon = i;
    }
    vault->room = soon < i ? soon : i;
    return found ? found : take_unused(vault);
}

static bool is_current(const struct vault_entry *entry)
{
    return entry->added > 0 && entry->removed == 0;
}

static void forget(struct vault *vault, const struct vault_role *role, bool all, bool by_b)
{
    const bool one = role->kind == VAULT_MEMORY && !all;
    const unsigned first = one ? vault->cursor : 0;
    for (unsigned n = 0; n < vault->used; n++) {
        const unsigned i = (first + n) % vault->used;
        struct vault_entry *entry = &vault->shared->entries[i];
        if (!is_current(entry) || entry->role.kind != role->kind ||
            (!all && entry->role.a != role->a) || (by_b && entry->role.b != role->b))
            continue;
        if (role->kind == VAULT_MEMORY || role->kind == VAULT_SLOT || role->kind == VAULT_LOG)
            vault_close(vault, entry->fd[vault->column]);
        if (entry->added > vault->shared->committed)
            entry->added = 0; /* it was of this message */
        else
            entry->removed = vault->shared->committed + 1;
        vault->changed = true;
        if (i < vault->room)
            vault->room = i;
        vault->cursor = i;
        if (one)
            return;
    }
}

void vault_forget(struct vault *vault, enum vault_kind kind, const uint64_t *a)
{
    forget(vault, &(struct vault_role){.kind = kind, .a = a ? *a : 0}, !a, false);
}

void vault_keep(struct vault *vault, const struct vault_role *role, int fd)
{
    if (role->kind != VAULT_MEMORY)
        forget(vault, role, false, role->kind == VAULT_VECTOR);
    if (fd < 0 && role->kind != VAULT_MEMORY)
        return;
    struct vault_entry *entry = find_room(vault);
    vault->changed = true;
    if (!entry) {
        vault->shared->lost = 1;
        return;
    }
    entry->added = 0;
    barrier();
    entry->removed = 0;
    entry->role = *role;
    entry->fd[vault->column] = fd;
    store(&entry->added, vault->shared->committed + 1);
}

int vault_find(const struct vault *vault, int fd)
{
    for (unsigned i = 0; i < vault->used; i++)
        if (is_current(&vault->shared->entries[i]) && vault_fd(vault, i) == fd)
            return (int)i;
    return -1;
}

/* The copy that counts, or that will with the next commit. */
static int newest(const struct vault *vault, enum vault_part part, uint64_t limit)
{
    const struct vault_copy *copy = vault->shared->parts[part];
    int best = -1;
    for (int i = 0; i < 2; i++)
        if (copy[i].number > 0 && copy[i].number <= limit &&
            (best < 0 || copy[i].number > copy[best].number))
            best = i;
    return best;
}

void vault_put(struct vault *vault, enum vault_part part, const void *bytes, size_t len,
               uint32_t version)
{
    struct vault_copy *copies = vault->shared->parts[part];
    const uint64_t next = vault->shared->committed + 1;
    int there = newest(vault, part, next);
    if (there >= 0 && copies[there].len == len && copies[there].version == version &&
        (len == 0 || memcmp(copies[there].bytes, bytes, len) == 0))
        return;
    /* A copy of this message is written over, the copy that counts now is not. */
    int valid = newest(vault, part, vault->shared->committed);
    struct vault_copy *copy = &copies[valid < 0 ? 0 : valid ^ 1];
    store(&copy->number, 0);
    copy->len = (uint32_t)len;
    copy->version = version;
    if (len > 0)
        memcpy(copy->bytes, bytes, len);
    fault_point("state-written");
    store(&copy->number, next);
    vault->changed = true;
}

const struct vault_copy *vault_get(const struct vault *vault, enum vault_part part)
{
    int there = newest(vault, part, vault->shared->committed);
    const struct vault_copy *copy = there < 0 ? NULL : &vault->shared->parts[part][there];
    return copy && copy->len <= VAULT_PART_BYTES ? copy : NULL;
}
