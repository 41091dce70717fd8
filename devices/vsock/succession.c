// SPDX-License-Identifier: BSD-3-Clause
/*
 * How another process continues when this one has died, if there is a vault. Connections of streams
 * survive; those of messages are reset.
 *
 * Each connection has a record in memory of its own (port/lasting.h), since the vault's state has no room
 * for thousands. Records are valid up to a generation, which the vault's state names. So a commit makes the
 * guest's queues, all records that have changed, and the descriptors of sockets valid at once. Only
 * behind it bytes of the guest go to a socket, and a socket is closed. A connection's place is another's
 * only when the commit has forgotten its socket.
 *
 * Not known to the next process: credit that was told, since the guest is told again; ends of the
 * host's sockets, since the sockets tell again; time limits, which begin again. A socket that was being
 * connected is asked for again, and a program of the host may see two connections, one without a byte.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <outboard/program.h>
#include <outboard/vault.h>

#include "internal.h"
#include "port/stream.h"

#define STATE_VERSION 2u

/* Bytes of the host that wait for the guest, at most. */
#define LARGE_IN (64u << 10)
#define SMALL_IN (16u << 10)
/* Behind a whole buffer of the guest's bytes there is room for lines of the device. */
#define LINES 4096u

_Static_assert(sizeof(struct connection_record) <= LASTING_RECORD, "a record has room for it");

/* Plain numbers, since padding would be compared too. */
struct kept_name {
    uint32_t cid, guest_port, host_port, type;
};

/* The vault's state. */
struct kept {
    uint64_t generation;
    uint32_t connections; /* as many as the memory is for */
    uint32_t next_client_port;
    uint32_t last_call;
    uint32_t count; /* of resets that wait for a buffer */
    struct kept_name names[VSOCK_RESETS];
};

static size_t len_of(size_t count)
{
    return offsetof(struct kept, names) + count * sizeof(struct kept_name);
}

int vsock_lasting(uint32_t connections, struct lasting **ret_lasting)
{
    const struct lasting_sizes sizes = {.slots = connections,
                                        .large_slots = VSOCK_LARGE_BUFFERS,
                                        .large_in = LARGE_IN,
                                        .large_out = VSOCK_LARGE_BUFFER + LINES,
                                        .small_in = SMALL_IN,
                                        .small_out = VSOCK_SMALL_BUFFER + LINES};
    *ret_lasting = NULL;
    return ob_vault_role() == OB_VAULT_NONE ? 0 : lasting_new(&sizes, ret_lasting);
}

/* --- the vault's state --------------------------------------------------------------------- */

static void save_records(struct vsock *vsock)
{
    struct succession *succession = &vsock->succession;
    if (succession->dirty.count > 0)
        succession->generation++;
    for (uint32_t i = 0; i < succession->dirty.count; i++) {
        const uint32_t number = succession->dirty.numbers[i];
        uint8_t bytes[LASTING_RECORD] = {0};
        struct connection_record record;
        vsock_connection_record(&vsock->table.connections[number], &record);
        memcpy(bytes, &record, sizeof(record));
        lasting_save(lasting_stream(succession->lasting, number), bytes, succession->generation);
        succession->marks[number] &= (uint8_t)~SUCCESSION_DIRTY;
    }
    succession->dirty.count = 0;
}

static int save(void *state, void *ret_bytes)
{
    struct vsock *vsock = state;
    struct kept *kept = ret_bytes;
    save_records(vsock);
    kept->generation = vsock->succession.generation;
    kept->connections = vsock->table.size;
    kept->next_client_port = vsock->next_client_port;
    kept->last_call = vsock->last_call;
    kept->count = vsock->num_resets;
    for (uint32_t i = 0; i < kept->count; i++) {
        const struct stray *stray = &vsock->resets[(vsock->first_reset + i) % VSOCK_RESETS];
        kept->names[i] = (struct kept_name){(uint32_t)stray->cid, stray->guest_port,
                                            stray->host_port, stray->type};
    }
    return (int)len_of(kept->count);
}

static int check(void *state, const void *bytes, size_t len, struct ob_fault *fault)
{
    struct vsock *vsock = state;
    const struct kept *kept = bytes;
    if (len < len_of(0) || kept->count > VSOCK_RESETS || len != len_of(kept->count))
        return ob_fault_set(fault, -EINVAL, "vsock: got a state of %zu bytes, which does not fit",
                            len);
    if (kept->connections != vsock->table.size)
        return ob_fault_set(fault, -EINVAL,
                            "vsock: got the state of a device with %u connections, expected %u; "
                            "keep --connections as it was",
                            kept->connections, vsock->table.size);
    for (uint32_t i = 0; i < kept->count; i++) {
        const struct kept_name *name = &kept->names[i];
        vsock->resets[i] = (struct stray){.cid = name->cid,
                                          .guest_port = name->guest_port,
                                          .host_port = name->host_port,
                                          .type = (uint16_t)name->type};
    }
    vsock->num_resets = kept->count;
    vsock->next_client_port = kept->next_client_port;
    vsock->last_call = kept->last_call;
    vsock->succession.generation = kept->generation;
    return 0;
}

/* --- the next process ---------------------------------------------------------------------- */

/* Another process has kept it; it may be anything. */
static bool is_stream(int fd)
{
    int type = 0;
    socklen_t len = sizeof(type);
    return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0 && type == SOCK_STREAM;
}

static void drop(struct vsock *vsock, unsigned number, int fd)
{
    struct succession *succession = &vsock->succession;
    ob_vault_keep_fd(vsock->device, number, -1);
    succession->useless[succession->num_useless++] = fd;
}

/* A connection of the process before, or its rest. Whether it takes the socket. */
static bool restore(struct vsock *vsock, uint32_t number, int fd)
{
    struct lasting_stream *stream = lasting_stream(vsock->succession.lasting, number);
    struct connection *connection = &vsock->table.connections[number];
    const void *bytes = lasting_adopted(stream);
    struct connection_record record;
    if (!bytes)
        return false;
    memcpy(&record, bytes, sizeof(record));
    if (record.state == CONNECTION_FREE || record.state >= CONNECTION_CLOSING)
        return false;
    const bool takes = record.has_stream && fd >= 0 && is_stream(fd);
    vsock_begin(vsock, connection, (enum connection_state)record.state, record.type,
                record.guest_port, record.peer);
    if (record.state == CONNECTION_DRAINING)
        table_forget(&vsock->table, connection);
    succession_mark(vsock, connection, SUCCESSION_WORK);
    if (vsock_connection_restore(connection, &record, takes ? fd : -1, stream))
        return takes;
    connection->fd = -1;
    if (record.state == CONNECTION_DRAINING)
        table_release(&vsock->table, connection);
    else
        vsock_connection_reset(connection);
    return false;
}

static void resumed(void *state)
{
    struct vsock *vsock = state;
    struct succession *succession = &vsock->succession;
    const int memory = ob_vault_kept_fd(vsock->device, SUCCESSION_MEMORY);
    vsock->has_buffers = true;
    succession->is_kept = false;
    if (memory < 0 || lasting_adopt(succession->lasting, memory, succession->generation) < 0) {
        ob_log("the memory of the process before has no streams: its connections are lost, and the "
               "guest is told");
        vsock->reset_event = true;
    }
    if (memory >= 0)
        succession->useless[succession->num_useless++] = memory;
    ob_vault_keep_fd(vsock->device, SUCCESSION_MEMORY, lasting_fd(succession->lasting));
    for (uint32_t i = 0; i < vsock->table.size; i++) {
        const unsigned number = SUCCESSION_SOCKET(i);
        int fd = number < OB_VAULT_FDS ? ob_vault_kept_fd(vsock->device, number) : -1;
        if (!restore(vsock, i, fd) && fd >= 0)
            drop(vsock, number, fd);
    }
}

/* --- behind a commit ----------------------------------------------------------------------- */

static void work_on(struct vsock *vsock, struct connection *connection)
{
    enum connection_verdict verdict = CONNECTION_GOES_ON;
    switch ((enum connection_state)connection->state) {
    case CONNECTION_FREE:
        return;
    case CONNECTION_CLOSING:
        table_release(&vsock->table, connection);
        return;
    case CONNECTION_DIALLING:
        /* Another process had asked; a connection of ours has its number. */
        if (connection->call == 0 &&
            vsock_dial(vsock, connection, connection->peer, connection->type) < 0)
            verdict = CONNECTION_RESET;
        break;
    case CONNECTION_GREETING:
        verdict = vsock_connection_flush(connection);
        if (verdict == CONNECTION_GOES_ON)
            verdict = vsock_connection_hear(connection);
        break;
    default:
        if (connection->kept.stream)
            verdict = vsock_connection_flush(connection);
    }
    vsock_settle(vsock, connection, verdict);
}

static void close_useless(struct succession *succession)
{
    while (succession->num_useless > 0)
        port_stream_close(succession->useless[--succession->num_useless]);
}

/* The vault forgets sockets of connections that have ended. Whether there are any. */
static bool forget_closing(struct vsock *vsock)
{
    const struct succession_list *work = &vsock->succession.work;
    bool any = false;
    for (uint32_t i = 0; i < work->count; i++) {
        if (vsock->table.connections[work->numbers[i]].state != CONNECTION_CLOSING)
            continue;
        ob_vault_keep_fd(vsock->device, SUCCESSION_SOCKET(work->numbers[i]), -1);
        any = true;
    }
    return any;
}

/* 0, or -EBUSY in a message: its commit follows, and then another turn. */
static int commit(struct vsock *vsock)
{
    struct succession *succession = &vsock->succession;
    if (!forget_closing(vsock) && succession->is_kept && succession->dirty.count == 0)
        return 0;
    int err = ob_vault_commit(vsock->device);
    if (err == 0)
        succession->is_kept = true;
    return err;
}

bool succession_work(struct vsock *vsock)
{
    struct succession *succession = &vsock->succession;
    if (!succession->lasting || commit(vsock) < 0)
        return false;
    close_useless(succession);
    const struct succession_list now = succession->work; /* more may come while it is done */
    succession->work = (struct succession_list){.numbers = succession->now.numbers};
    succession->now.numbers = now.numbers;
    for (uint32_t i = 0; i < now.count; i++) {
        succession->marks[now.numbers[i]] &= (uint8_t)~SUCCESSION_WORK;
        work_on(vsock, &vsock->table.connections[now.numbers[i]]);
    }
    return now.count > 0;
}

/* --- life ---------------------------------------------------------------------------------- */

int succession_init(struct vsock *vsock, struct lasting *lasting)
{
    struct succession *succession = &vsock->succession;
    const uint32_t size = vsock->table.size;
    if (!lasting)
        return 0;
    succession->lasting = lasting;
    succession->kept = calloc(1, sizeof(*succession->kept));
    succession->marks = calloc(size, 1);
    succession->dirty.numbers = calloc(size, sizeof(uint32_t));
    succession->work.numbers = calloc(size, sizeof(uint32_t));
    succession->now.numbers = calloc(size, sizeof(uint32_t));
    succession->useless = calloc(size + 1, sizeof(int));
    succession->is_kept = true;
    if (!succession->kept || !succession->marks || !succession->dirty.numbers ||
        !succession->work.numbers || !succession->now.numbers || !succession->useless)
        return -ENOMEM;
    const struct ob_vault_state kept = {.size = sizeof(kept),
                                        .bytes = succession->kept,
                                        .len = sizeof(*succession->kept),
                                        .version = STATE_VERSION,
                                        .check = check,
                                        .resumed = resumed,
                                        .save = save};
    int err = ob_vault_keep(vsock->device, &kept);
    return err < 0 ? err : ob_vault_keep_fd(vsock->device, SUCCESSION_MEMORY, lasting_fd(lasting));
}

void succession_done(struct vsock *vsock)
{
    struct succession *succession = &vsock->succession;
    free(succession->kept);
    free(succession->marks);
    free(succession->dirty.numbers);
    free(succession->work.numbers);
    free(succession->now.numbers);
    free(succession->useless);
}
