// SPDX-License-Identifier: BSD-3-Clause
#include "table.h"

#include <errno.h>
#include <stdlib.h>

int table_new(uint32_t size, struct table *ret_table)
{
    struct table table = {.size = size,
                          .connections = calloc(size, sizeof(struct connection)),
                          .buckets = calloc(size, sizeof(uint32_t)),
                          .queue = calloc(size, sizeof(uint32_t))};
    if (!table.connections || !table.buckets || !table.queue) {
        free(table.connections);
        free(table.buckets);
        free(table.queue);
        return -ENOMEM;
    }
    for (uint32_t i = 0; i < size; i++)
        table.connections[i].fd = -1;
    *ret_table = table;
    return 0;
}

void table_free(struct table *table)
{
    for (uint32_t i = 0; i < table->size; i++)
        vsock_connection_end(&table->connections[i]);
    free(table->connections);
    free(table->buckets);
    free(table->queue);
    *table = (struct table){0};
}

/* A guest can choose ports that all have one hash: it then slows its own device down, by as many
 * steps as there may be connections. */
static uint32_t *bucket_of(const struct table *table, uint32_t guest_port,
                           struct connection_peer peer)
{
    uint64_t both = ((uint64_t)guest_port << 32 | peer.port) + peer.cid;
    return &table->buckets[(both * UINT64_C(0x9e3779b97f4a7c15) >> 32) % table->size];
}

static uint32_t number_of(const struct table *table, const struct connection *connection)
{
    return (uint32_t)(connection - table->connections);
}

struct connection *table_find(const struct table *table, uint32_t guest_port,
                              struct connection_peer peer)
{
    uint32_t next = *bucket_of(table, guest_port, peer);
    while (next) {
        struct connection *connection = &table->connections[next - 1];
        if (connection->guest_port == guest_port && connection->peer.port == peer.port &&
            connection->peer.cid == peer.cid)
            return connection;
        next = connection->next;
    }
    return NULL;
}

struct connection *table_take(struct table *table)
{
    for (uint32_t i = 0; i < table->size && table->count < table->size; i++) {
        struct connection *connection = &table->connections[(table->last_free + i) % table->size];
        if (connection->state != CONNECTION_FREE || connection->queued)
            continue;
        table->last_free = number_of(table, connection);
        return connection;
    }
    return NULL;
}

void table_add(struct table *table, struct connection *connection)
{
    uint32_t *bucket = bucket_of(table, connection->guest_port, connection->peer);
    connection->next = *bucket;
    *bucket = number_of(table, connection) + 1;
    table->count++;
}

void table_forget(struct table *table, struct connection *connection)
{
    uint32_t *link = bucket_of(table, connection->guest_port, connection->peer);
    uint32_t name = number_of(table, connection) + 1;
    while (*link && *link != name)
        link = &table->connections[*link - 1].next;
    if (*link)
        *link = connection->next;
}

void table_release(struct table *table, struct connection *connection)
{
    vsock_connection_end(connection);
    table->count--;
}

void table_enqueue(struct table *table, struct connection *connection)
{
    if (connection->queued)
        return;
    connection->queued = true;
    table->queue[(table->first + table->queued++) % table->size] = number_of(table, connection);
}

struct connection *table_dequeue(struct table *table)
{
    if (table->queued == 0)
        return NULL;
    struct connection *connection = &table->connections[table->queue[table->first]];
    table->first = (table->first + 1) % table->size;
    table->queued--;
    connection->queued = false;
    return connection;
}
