// SPDX-License-Identifier: BSD-3-Clause
/*
 * Table: the connections of a device, found by their two ends, and the queue of those that have a
 * packet for the guest.
 *
 * The queue is fair: a connection sends one packet and goes to its end. So one with much to send never
 * keeps another from its turn. Nothing is allocated after table_new().
 */
#ifndef OUTBOARD_DEVICES_VSOCK_TABLE_H
#define OUTBOARD_DEVICES_VSOCK_TABLE_H

#include "connection.h"

struct table {
    struct connection *connections;
    uint32_t size;     /* of connections, and of queue */
    uint32_t count;    /* those that are not free */
    uint32_t *buckets; /* first connection of a hash, plus 1; as many as connections */
    uint32_t *queue;   /* a ring of numbers of connections */
    uint32_t first, queued;
    uint32_t last_free; /* where the search for a free one begins */
};

/* 0 or -ENOMEM. */
int table_new(uint32_t size, struct table *ret_table);
/* Ends all connections. */
void table_free(struct table *table);

/* NULL: not found. */
struct connection *table_find(const struct table *table, uint32_t guest_port,
                              struct connection_peer peer);

/* A free connection, or NULL if all are taken. The caller begins it and then adds it. */
struct connection *table_take(struct table *table);
/* After vsock_connection_begin(). */
void table_add(struct table *table, struct connection *connection);
/* Its ends name it no more. */
void table_forget(struct table *table, struct connection *connection);
/* Ends one that was forgotten. */
void table_release(struct table *table, struct connection *connection);

/* Has its turn behind all that wait. Once is enough. */
void table_enqueue(struct table *table, struct connection *connection);
/* Whose turn it is, or NULL. */
struct connection *table_dequeue(struct table *table);

#endif
