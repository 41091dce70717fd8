// SPDX-License-Identifier: BSD-3-Clause
/* Succession: which connections have changed since the last commit, and whose sockets the vault has. */
#include <outboard/vault.h>

#include "internal.h"

static uint32_t number_of(const struct vsock *vsock, const struct connection *connection)
{
    return (uint32_t)(connection - vsock->table.connections);
}

static void add(struct vsock *vsock, struct succession_list *list, uint32_t number, unsigned mark)
{
    if (vsock->succession.marks[number] & mark)
        return;
    vsock->succession.marks[number] |= (uint8_t)mark;
    list->numbers[list->count++] = number;
}

void succession_mark(struct vsock *vsock, const struct connection *connection, unsigned marks)
{
    struct succession *succession = &vsock->succession;
    if (!succession->lasting)
        return;
    if (marks & SUCCESSION_DIRTY)
        add(vsock, &succession->dirty, number_of(vsock, connection), SUCCESSION_DIRTY);
    if (marks & SUCCESSION_WORK)
        add(vsock, &succession->work, number_of(vsock, connection), SUCCESSION_WORK);
}

void succession_keep(struct vsock *vsock, struct connection *connection, int fd)
{
    const uint32_t number = number_of(vsock, connection);
    struct succession *succession = &vsock->succession;
    succession_mark(vsock, connection, SUCCESSION_DIRTY | SUCCESSION_WORK);
    if (!succession->lasting || connection->type != PACKET_STREAM ||
        ob_vault_keep_fd(vsock->device, SUCCESSION_SOCKET(number), fd) < 0)
        return;
    connection->kept.stream = lasting_stream(succession->lasting, number);
    lasting_begin(connection->kept.stream);
}
