// SPDX-License-Identifier: BSD-3-Clause
/*
 * Vault: memory that outlives the process that serves a device, so that a successor can continue.
 *
 * Commit. Everything is valid up to a sequence number, `committed`, which one store of 64 bits
 * raises. Before it, the following is written under the next number:
 * - a record of positions: there are two, and the number's lowest bit selects one;
 * - parts of the state, two copies each: the newest that is not above `committed` counts;
 * - entries of descriptors, which are added and removed by a number.
 * A process that dies before the store has done nothing; one that dies behind it has done all.
 *
 * Descriptors. Numbers of descriptors are valid in one table, that of the owner's keeper
 * (os/keeper.h). Each entry therefore has two columns: a successor writes its own numbers into the
 * other one and then becomes the owner, by one store.
 *
 * A descriptor that nobody needs any more is closed only after the commit that says so. Before, a
 * successor may have to do the message again that brought it.
 *
 * A state that comes in from a client lies behind struct vault_shared. A session has the number of its bytes, so
 * those of a message that was not done do not count.
 *
 * A vault is hostile input for a successor: the process that wrote it may have been taken over.
 * vault_check() and each function that loads check each value.
 *
 * The process alone writes, in program order; a successor starts when it has ended. So a compiler
 * barrier is all the order that there is.
 */
#ifndef OUTBOARD_DEVICE_VAULT_H
#define OUTBOARD_DEVICE_VAULT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <outboard/fault.h>

#include "base/fd_list.h"
#include "base/limits.h"
#include "base/vault_head.h"

#define VAULT_MAGIC   0x54564f42u /* "BOVT" */
#define VAULT_VERSION 4u

/* Bytes for the counts of transfers, which the program lays out (os/counted.h). */
#define VAULT_TRANSFER_BYTES 16384u

/* The use of a kept descriptor. */
enum vault_kind {
    VAULT_CONNECTION,  /* a: number of the wire */
    VAULT_MEMORY,      /* a: guest address, b: length, c: offset, flag: writable; fd may be -1 */
    VAULT_VECTOR,      /* a: kind, b: index */
    VAULT_INTX_MASK,   /* masks INTx */
    VAULT_INTX_UNMASK, /* unmasks it */
    VAULT_DOORBELL,    /* a: number */
    VAULT_BAR,         /* a: index */
    VAULT_SLOT,        /* as VAULT_MEMORY, of a front end of vhost-user */
    VAULT_RING,        /* a: number of the ring and of its eventfd */
    VAULT_BACKEND,     /* the back-end channel */
    VAULT_LOG,         /* the dirty log; a: offset, b: length */
    VAULT_FILE,        /* the author's; a: number */
    VAULT_KINDS,
};

struct vault_role {
    uint32_t kind, flag;
    uint64_t a, b, c;
};

struct vault_entry {
    uint64_t added, removed; /* sequence numbers; 0: not */
    struct vault_role role;
    int32_t fd[2]; /* by column */
};

/* The positions of one commit. Bytes are counted from the begin of the connection. */
struct vault_record {
    uint64_t rx_consumed; /* bytes of messages that are done */
    uint64_t rx_origin;   /* the byte that lies at the start of the buffer */
    uint64_t tx_produced; /* bytes of answers that were made */
    uint64_t tx_origin;
    uint64_t fds_consumed; /* received descriptors that nobody needs any more */
    uint64_t tx_fds_at;    /* the byte on which the descriptors below ride */
    uint32_t rx_half;      /* which half of the buffer is used */
    uint32_t tx_fd_count;
    uint32_t tx_entry[LIMIT_VFIO_USER_FDS]; /* kept descriptors */
};

enum vault_part {
    VAULT_PART_DEVICE, /* the library's flags */
    VAULT_PART_CONFIG,
    VAULT_PART_MASKS,
    VAULT_PART_MSIX,
    VAULT_PART_WIRE,
    VAULT_PART_STATE, /* the author's */
    VAULT_PARTS,
};

#define VAULT_EFFECT_BITS 16u

#define VAULT_PART_BYTES 65536u /* the longest is an author's state */

struct vault_copy {
    uint64_t number; /* sequence; 0: holds nothing */
    uint32_t len;
    uint32_t version;
    uint8_t bytes[VAULT_PART_BYTES];
};

struct vault_shared {
    uint32_t magic, version;
    uint64_t len;       /* of this struct */
    uint64_t owner;     /* number of the process's life << 1 | column */
    uint64_t committed; /* sequence number */
    uint64_t progress;  /* counts messages, for the supervisor */
    uint64_t looking;   /* progress + 1 while one is looked at */
    struct vault_record record[2];
    uint32_t lost; /* something did not fit: no successor can continue */
    uint32_t used; /* entries from here on were never used, and their pages need no memory */
    /* Effects that were begun: a message, by the position of its bytes plus 1, and below
     * VAULT_EFFECT_BITS their number. Not committed: it tells more than the commit knows. */
    uint64_t begun;
    /* CLOCK_MONOTONIC in ns: when bytes of the VMM came last, and since when it may wait for an
     * answer because processes died (0: it does not). Not committed. */
    uint64_t received_ns, waiting_ns;
    /* -- */
    _Alignas(4096) uint8_t transfers[VAULT_TRANSFER_BYTES];
    struct vault_entry entries[LIMIT_VAULT_ENTRIES];
    struct vault_copy parts[VAULT_PARTS][2];
    uint8_t buffers[LIMIT_VAULT_BUFFERS];
};

_Static_assert(sizeof(struct vault_shared) <= LIMIT_VAULT_STATE &&
                   offsetof(struct vault_shared, owner) == offsetof(struct vault_head, owner) &&
                   offsetof(struct vault_shared, looking) == offsetof(struct vault_head, looking),
               "the supervisor makes the file, and reads its head");

struct vault {
    struct vault_shared *shared;
    uint8_t
        *incoming; /* LIMIT_VAULT_INCOMING bytes for a state that comes in; NULL: there are none */
    struct vault_record now; /* being made; the record of the last commit otherwise */
    uint64_t life;
    unsigned column;
    unsigned used; /* as in the file */
    unsigned room; /* no entry before this one is free */
    unsigned
        cursor; /* where memory was forgotten last: it mostly goes in the order in which it came */
    bool changed;       /* something waits for a commit */
    bool in_message;    /* which will end with a commit */
    unsigned effects;   /* that it has begun in this process */
    unsigned num_close; /* to be closed after it */
    int close[LIMIT_CELL_FILES];
};

/* Lays an empty vault out, or takes one over whose owner has ended: then vault_check() comes next,
 * vault_settle() and vault_own(). `vault` is zeroed. */
void vault_begin(struct vault *vault, struct vault_shared *shared, uint64_t life);
int vault_check(struct vault *vault, struct vault_shared *shared, uint64_t life,
                struct ob_fault *fault);

/* The column of the process that has ended. */
unsigned vault_old_column(const struct vault *vault);
/* From now on the numbers in our column count, and whatever was not committed is undone. */
void vault_own(struct vault *vault);

/* Everything up to here is done. The descriptors that vault_close() has collected may be closed
 * after it. */
void vault_commit(struct vault *vault);
/* The next descriptor to be closed, or -1. */
int vault_next_close(struct vault *vault);
/* To be closed after the next commit. */
void vault_close(struct vault *vault, int fd);

/* An effect of the message that is being handled begins. Whether a process before has begun it. */
bool vault_begin_effect(struct vault *vault);

/* Whether an entry counts. */
bool vault_is_valid(const struct vault *vault, unsigned index);
const struct vault_entry *vault_entry(const struct vault *vault, unsigned index);
/* Our number of an entry's descriptor. */
int vault_fd(const struct vault *vault, unsigned index);

/* From the next commit on the descriptor is kept in place of the one with the same kind and `a`
 * and, of vectors, `b`. -1 keeps none, except of memory. Memory takes the place of nothing: it does not
 * overlap. */
void vault_keep(struct vault *vault, const struct vault_role *role, int fd);
/* Forgets all entries of a kind, or those with this `a`. Descriptors of memory are closed, since
 * nobody else has their numbers. */
void vault_forget(struct vault *vault, enum vault_kind kind, const uint64_t *a);
/* The entry with this number of ours, or -1. */
int vault_find(const struct vault *vault, int fd);

/* Writes a part unless it is there as it is. */
void vault_put(struct vault *vault, enum vault_part part, const void *bytes, size_t len,
               uint32_t version);
/* The copy of a part that counts, or NULL. Its length was checked; its bytes were not. */
const struct vault_copy *vault_get(const struct vault *vault, enum vault_part part);

#endif
