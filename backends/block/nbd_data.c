// SPDX-License-Identifier: BSD-3-Clause
#include "block/nbd_data.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "os/closer.h"

#define REQUEST_MAGIC 0x25609513u
#define REPLY_MAGIC   0x67446698u
#define REQUEST_LEN   28u

#define STEPS         64u
#define STAGE_BYTES   16384u /* data that is sent together with its header */
#define DISCARD_BYTES 65536u
#define SLOT_BITS     16u

struct request {
    struct request *next; /* that waits to be sent */
    struct nbd_command command;
    void *argument;
};

struct nbd_data {
    int fd;
    struct nbd_shared *shared;
    nbd_completed_fn completed;
    bool gone;
    bool may_send;
    unsigned at_server;            /* requests, the one that is being sent included */
    uint64_t number;               /* of the next request */
    struct request *first, **last; /* that wait */
    int sending;                   /* slot of the request that is being sent, or -1 */
    uint64_t begin;                /* its first byte in the stream */
    size_t staged;
    struct request *requests[NBD_SLOTS]; /* NULL: of a process before, or none */
    uint8_t stage[REQUEST_LEN + STAGE_BYTES];
    uint8_t discard[DISCARD_BYTES];
};

static uint8_t *put(uint8_t *at, const void *bytes, size_t len)
{
    memcpy(at, bytes, len);
    return at + len;
}

/* proto.md, "Request message": magic, flags, type, cookie, offset, length. */
static void put_request(uint8_t *at, const struct nbd_command *command, uint64_t cookie)
{
    const uint32_t magic = htobe32(REQUEST_MAGIC), len = htobe32((uint32_t)command->len);
    const uint16_t flags = htobe16((uint16_t)command->flags);
    const uint16_t type = htobe16((uint16_t)command->type);
    const uint64_t offset = htobe64(command->offset);
    at = put(at, &magic, sizeof(magic));
    at = put(at, &flags, sizeof(flags));
    at = put(at, &type, sizeof(type));
    at = put(at, &cookie, sizeof(cookie));
    at = put(at, &offset, sizeof(offset));
    put(at, &len, sizeof(len));
}

struct reply {
    uint32_t error;
    uint64_t cookie;
};

/* proto.md, "Simple reply message": magic, error, cookie. */
static bool get_reply(const uint8_t *bytes, struct reply *ret_reply)
{
    uint32_t magic, error;
    memcpy(&magic, bytes, sizeof(magic));
    memcpy(&error, bytes + 4, sizeof(error));
    memcpy(&ret_reply->cookie, bytes + 8, sizeof(ret_reply->cookie));
    ret_reply->error = be32toh(error);
    return be32toh(magic) == REPLY_MAGIC;
}

/* proto.md, "Error values" are Linux's; others count as EINVAL. */
static int error_of(uint32_t error)
{
    switch (error) {
    case 0:
    case EPERM:
    case EIO:
    case ENOMEM:
    case EINVAL:
    case ENOSPC:
    case EOVERFLOW:
    case EOPNOTSUPP:
    case ESHUTDOWN:
        return (int)error;
    default:
        return EINVAL;
    }
}

static struct nbd_data *make(int fd, struct nbd_shared *shared)
{
    struct nbd_data *data = calloc(1, sizeof(*data));
    if (!data)
        return NULL;
    data->fd = fd;
    data->shared = shared;
    data->sending = -1;
    data->last = &data->first;
    return data;
}

struct nbd_data *nbd_data_new(int fd, struct nbd_shared *shared, nbd_completed_fn completed)
{
    struct nbd_data *data = make(fd, shared);
    if (!data)
        return NULL;
    data->completed = completed;
    nbd_memory_begin(shared);
    return data;
}

/* Whether the server has all of a request, and owes its reply. */
static bool is_owed(const struct nbd_shared *shared, const struct nbd_slot *slot, uint64_t sent)
{
    if (slot->end == 0 || slot->end > sent)
        return false;
    return slot->answer == 0 || slot->answer - 1 >= shared->frame;
}

int nbd_data_take_over(int fd, struct nbd_shared *shared, struct nbd_data **ret_data)
{
    struct ob_fault fault;
    const struct counted_transfer *rx = &shared->counted.rx, *tx = &shared->counted.tx;
    if (counted_settle(&shared->counted, 0, &fault) < 0 || rx->total < shared->frame)
        return -EINVAL;
    struct nbd_data *data = make(fd, shared);
    if (!data)
        return -ENOMEM;
    for (unsigned i = 0; i < NBD_SLOTS; i++) {
        if (is_owed(shared, &shared->slots[i], tx->total))
            data->at_server++;
        else
            shared->slots[i].end = 0;
    }
    *ret_data = data;
    return 0;
}

static void end(struct nbd_data *data, struct request *request, int err)
{
    if (!request)
        return;
    data->completed(request->argument, &err);
    free(request);
}

static void lose(struct nbd_data *data)
{
    if (data->gone)
        return;
    data->gone = true;
    shutdown(data->fd, SHUT_RDWR);
    data->sending = -1;
    data->at_server = 0;
    for (unsigned i = 0; i < NBD_SLOTS; i++) {
        struct request *request = data->requests[i];
        data->requests[i] = NULL;
        end(data, request, ENOTCONN);
    }
    while (data->first) {
        struct request *request = data->first;
        data->first = request->next;
        end(data, request, ENOTCONN);
    }
    data->last = &data->first;
}

void nbd_data_free(struct nbd_data *data)
{
    if (!data)
        return;
    if (data->completed)
        lose(data);
    free(data);
}

void nbd_data_open(struct nbd_data *data)
{
    if (data->may_send)
        return;
    data->shared->connected = 1;
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    data->may_send = true;
}

static bool has_data(const struct nbd_command *command)
{
    return command->type == NBD_WRITE;
}

static uint64_t request_len(const struct nbd_command *command)
{
    return REQUEST_LEN + (has_data(command) ? command->len : 0);
}

/* Gives the next request a slot. False: none is free. */
static bool begin_request(struct nbd_data *data)
{
    struct nbd_shared *shared = data->shared;
    struct request *request = data->first;
    unsigned at = 0;
    while (at < NBD_SLOTS && shared->slots[at].end != 0)
        at++;
    if (at == NBD_SLOTS)
        return false;
    data->first = request->next;
    if (!data->first)
        data->last = &data->first;
    const struct nbd_command *command = &request->command;
    struct nbd_slot *slot = &shared->slots[at];
    data->sending = (int)at;
    data->requests[at] = request;
    data->at_server++;
    data->begin = shared->counted.tx.total;
    slot->answer = 0;
    slot->cookie = data->number++ << SLOT_BITS | at;
    slot->reply_len = command->type == NBD_READ ? (uint32_t)command->len : 0;
    nbd_store(&slot->end, data->begin + request_len(command));
    put_request(data->stage, command, slot->cookie);
    data->staged = REQUEST_LEN;
    if (has_data(command) && command->len <= STAGE_BYTES) {
        memcpy(data->stage + REQUEST_LEN, command->data, command->len);
        data->staged += command->len;
    }
    return true;
}

/* Sends a piece of the request at hand. Whether anything was sent. */
static bool send_piece(struct nbd_data *data)
{
    const struct request *request = data->requests[data->sending];
    const uint64_t sent = data->shared->counted.tx.total - data->begin;
    const uint64_t len = request_len(&request->command);
    const uint8_t *from = data->stage + sent;
    size_t left = data->staged - sent;
    if (sent >= data->staged) {
        from = (const uint8_t *)request->command.data + (sent - REQUEST_LEN);
        left = len - sent;
    }
    ssize_t done = counted_send(&data->shared->counted, data->fd, from, left, NULL, 0);
    if (done == -EAGAIN)
        return false;
    if (done < 0) {
        lose(data);
        return true;
    }
    if (data->shared->counted.tx.total - data->begin == len)
        data->sending = -1;
    return done > 0;
}

static bool send_some(struct nbd_data *data)
{
    bool any = false;
    for (unsigned step = 0; step < STEPS && !data->gone && data->may_send; step++) {
        if (data->sending < 0 && (!data->first || !begin_request(data)))
            break;
        if (!send_piece(data))
            break;
        any = true;
    }
    return any;
}

/* Receives more of the reply. False: nothing is there. */
static bool receive(struct nbd_data *data, void *to, size_t len)
{
    struct received_fds fds = {0};
    ssize_t got = counted_receive(&data->shared->counted, 0, data->fd, to, len, &fds);
    while (fds.count > 0)
        closer_close(fds.fd[--fds.count]);
    if (got < 0 && got != -EAGAIN)
        lose(data);
    return got > 0;
}

/* The slot that a reply is for, or -1. */
static int find_slot(const struct nbd_data *data, uint64_t cookie)
{
    const unsigned at = (unsigned)(cookie & ((1u << SLOT_BITS) - 1));
    if (at >= NBD_SLOTS || (int)at == data->sending)
        return -1;
    const struct nbd_slot *slot = &data->shared->slots[at];
    return slot->end != 0 && slot->cookie == cookie ? (int)at : -1;
}

/* All of a reply is there. */
static void finish(struct nbd_data *data, unsigned at, uint64_t len, uint32_t error)
{
    struct nbd_shared *shared = data->shared;
    struct request *request = data->requests[at];
    nbd_store(&shared->frame, shared->frame + len);
    data->requests[at] = NULL;
    data->at_server--;
    nbd_store(&shared->slots[at].end, 0);
    end(data, request, error_of(error));
}

/* Bytes of the reply at `frame` that were received. */
static uint64_t received(const struct nbd_data *data)
{
    return data->shared->counted.rx.total - data->shared->frame;
}

/* Receives a piece of the data of a reply of this length. False: nothing is there. */
static bool receive_data(struct nbd_data *data, unsigned at, uint64_t len)
{
    const struct request *request = data->requests[at];
    const size_t done = (size_t)(received(data) - NBD_REPLY_LEN);
    const size_t left = (size_t)(len - received(data));
    if (request)
        return receive(data, (uint8_t *)request->command.data + done, left);
    return receive(data, data->discard, left < DISCARD_BYTES ? left : DISCARD_BYTES);
}

/* Continues to receive the reply at `frame`. False: nothing more is there. */
static bool receive_piece(struct nbd_data *data)
{
    struct nbd_shared *shared = data->shared;
    struct reply reply;
    const uint64_t got = received(data);
    if (got < NBD_REPLY_LEN && !receive(data, shared->header + got, NBD_REPLY_LEN - got))
        return false;
    if (received(data) < NBD_REPLY_LEN)
        return true;
    const int at = get_reply(shared->header, &reply) ? find_slot(data, reply.cookie) : -1;
    if (at < 0) {
        lose(data);
        return true;
    }
    struct nbd_slot *slot = &shared->slots[at];
    const uint64_t len = NBD_REPLY_LEN + (reply.error ? 0 : (uint64_t)slot->reply_len);
    nbd_store(&slot->answer, shared->frame + 1);
    if (received(data) > len)
        lose(data);
    else if (received(data) < len && !receive_data(data, (unsigned)at, len))
        return false;
    if (!data->gone && received(data) == len)
        finish(data, (unsigned)at, len, reply.error);
    return true;
}

int nbd_data_send(struct nbd_data *data, const struct nbd_command *command, void *argument)
{
    struct request *request = data->gone ? NULL : calloc(1, sizeof(*request));
    if (!request)
        return data->gone ? -ENOTCONN : -ENOMEM;
    request->command = *command;
    request->argument = argument;
    *data->last = request;
    data->last = &request->next;
    send_some(data);
    return 0;
}

bool nbd_data_work(struct nbd_data *data)
{
    bool any = send_some(data);
    for (unsigned step = 0; step < STEPS && !data->gone; step++) {
        if (!receive_piece(data))
            break;
        any = true;
    }
    return send_some(data) || any || data->gone;
}

bool nbd_data_is_gone(const struct nbd_data *data)
{
    return data->gone;
}

bool nbd_data_wants_to_send(const struct nbd_data *data)
{
    return !data->gone && data->may_send &&
           (data->sending >= 0 || (data->first && data->at_server < NBD_SLOTS));
}

unsigned nbd_data_at_server(const struct nbd_data *data)
{
    return data->at_server;
}
