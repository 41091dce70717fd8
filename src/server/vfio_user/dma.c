// SPDX-License-Identifier: BSD-3-Clause
/*
 * DMA by message: DMA_READ and DMA_WRITE to memory that the client has not shared.
 *
 * A device's request waits in a queue, gets a slot, goes out as a message of at most the length that VERSION
 * agreed upon, and comes back for as many messages as it needs, one at a time. Several requests are
 * on their way at once. Nothing ever waits for a reply: QEMU serves these messages in the thread
 * that may itself be waiting for ours, so each command of the client is answered first.
 *
 * A slot whose request was cancelled stays taken until the client's reply has come, so that a reply
 * always finds its slot.
 *
 * Layout. The specification has a 64-bit count and data behind it. QEMU (10.1 to 10.2 at least) has
 * a 32-bit count with the data right behind that, and answers DMA_WRITE with a bare header. Taking
 * one for the other would shift the guest's data by four bytes, so the first request is preceded by
 * a DMA_WRITE of no bytes: a reply without a payload gives QEMU away. A client that does not offer
 * "migration" in VERSION is no QEMU, for all of those do, and is not asked.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "server/vfio_user/vfio_user.h"

#define QEMU_DATA_OFFSET 12u

/* How much of a request its next message moves. */
static uint32_t piece_len(const struct vfio_user_server *server,
                          const struct ob_dma_request *request)
{
    uint64_t limit = server->capabilities.max_data_xfer_size;
    size_t left = request->len - request->moved;
    return (uint32_t)(left < limit ? left : limit);
}

static void enqueue(struct vfio_user_dma *dma, struct ob_dma_request *request)
{
    struct ob_dma_request **link = &dma->first;
    while (*link)
        link = &(*link)->next;
    request->next = NULL;
    *link = request;
}

static struct ob_dma_request *dequeue(struct vfio_user_dma *dma)
{
    struct ob_dma_request *request = dma->first;
    dma->first = request->next;
    return request;
}

static void submit(void *context, struct ob_dma_request *request)
{
    struct vfio_user_server *server = context;
    request->moved = 0;
    enqueue(&server->dma, request);
}

static void cancel(void *context, struct ob_dma_request *request)
{
    struct vfio_user_dma *dma = &((struct vfio_user_server *)context)->dma;
    for (struct ob_dma_request **link = &dma->first; *link; link = &(*link)->next) {
        if (*link == request) {
            *link = request->next;
            return;
        }
    }
    for (unsigned i = 0; i < LIMIT_VFIO_USER_DMA_MESSAGES; i++)
        if (dma->slots[i].request == request)
            dma->slots[i].request = NULL;
}

/* A callback may cancel requests that have not had their turn yet, or submit a new one, which joins the end. */
static void cancel_all(void *context, int err)
{
    struct vfio_user_dma *dma = &((struct vfio_user_server *)context)->dma;
    unsigned waiting = 0;
    for (const struct ob_dma_request *request = dma->first; request; request = request->next)
        waiting++;
    for (unsigned i = 0; i < LIMIT_VFIO_USER_DMA_MESSAGES; i++) {
        struct ob_dma_request *request = dma->slots[i].request;
        dma->slots[i].request = NULL;
        if (request)
            request->done(request, err);
    }
    for (; waiting > 0 && dma->first; waiting--) {
        struct ob_dma_request *request = dequeue(dma);
        request->done(request, err);
    }
}

static bool is_idle(void *context)
{
    const struct vfio_user_dma *dma = &((struct vfio_user_server *)context)->dma;
    for (unsigned i = 0; i < LIMIT_VFIO_USER_DMA_MESSAGES; i++)
        if (dma->slots[i].busy)
            return false;
    return !dma->first;
}

void vfio_user_dma_start(struct vfio_user_server *server)
{
    server->messenger = (struct device_messenger){.submit = submit,
                                                  .cancel = cancel,
                                                  .cancel_all = cancel_all,
                                                  .is_idle = is_idle,
                                                  .context = server};
    device_set_messenger(server->engine.device, &server->messenger);
}

void vfio_user_dma_stop(struct vfio_user_server *server)
{
    device_set_messenger(server->engine.device, NULL);
    cancel_all(server, -ENOTCONN);
}

static struct vfio_user_dma_slot *free_slot(struct vfio_user_dma *dma)
{
    for (unsigned i = 0; i < LIMIT_VFIO_USER_DMA_MESSAGES; i++)
        if (!dma->slots[i].busy)
            return &dma->slots[i];
    return NULL;
}

/* Writes a message and marks its slot. The caller has seen to it that there is room. */
static void send(struct vfio_user_server *server, struct vfio_user_dma_slot *slot, uint64_t iova,
                 const uint8_t *data)
{
    bool is_write = slot->command == VFIO_USER_DMA_WRITE;
    uint32_t len = VFIO_USER_HEADER_LEN + VFIO_USER_ACCESS_LEN + (is_write ? slot->count : 0);
    slot->busy = true;
    slot->id = server->dma.next_id++;
    const struct vfio_user_header header = {
        .id = slot->id, .command = slot->command, .size = len, .flags = VFIO_USER_TYPE_COMMAND};
    const struct vfio_user_dma_access access = {.iova = iova, .count = slot->count};
    struct wr wr = wr_init(engine_reply_room(&server->engine), len);
    vfio_user_header_put(wr_room(&wr, VFIO_USER_HEADER_LEN), VFIO_USER_HEADER_LEN, &header);
    uint8_t *payload = wr.at;
    vfio_user_dma_access_put(wr_room(&wr, VFIO_USER_ACCESS_LEN), VFIO_USER_ACCESS_LEN, &access);
    if (is_write) {
        /* QEMU wants four bytes behind the data, where the specification has them before. */
        wr_zero(&wr, slot->count);
        bool is_qemu = server->dma.layout == VFIO_USER_DMA_QEMU;
        if (data)
            memcpy(payload + (is_qemu ? QEMU_DATA_OFFSET : VFIO_USER_ACCESS_LEN), data,
                   slot->count);
    }
    engine_reply(&server->engine, len, NULL, 0);
}

static void send_probe(struct vfio_user_server *server, struct vfio_user_dma_slot *slot)
{
    *slot = (struct vfio_user_dma_slot){.probe = true, .command = VFIO_USER_DMA_WRITE};
    server->dma.layout = VFIO_USER_DMA_PROBING;
    send(server, slot, server->dma.first->iova, NULL);
}

static void send_piece(struct vfio_user_server *server, struct vfio_user_dma_slot *slot)
{
    struct ob_dma_request *request = dequeue(&server->dma);
    *slot = (struct vfio_user_dma_slot){
        .command =
            request->direction == OB_DMA_FROM_DEVICE ? VFIO_USER_DMA_WRITE : VFIO_USER_DMA_READ,
        .count = piece_len(server, request),
        .request = request,
    };
    send(server, slot, request->iova + request->moved, (uint8_t *)request->buf + request->moved);
}

/* Ends the first request if the guest has taken away its memory or bus mastering since it was submitted. */
static bool drop_first(struct vfio_user_server *server)
{
    struct ob_dma_request *request = server->dma.first;
    int err = device_check_dma(server->engine.device, request);
    if (err < 0) {
        dequeue(&server->dma);
        request->done(request, err);
    }
    return err < 0;
}

void vfio_user_dma_pump(struct vfio_user_server *server)
{
    struct vfio_user_dma *dma = &server->dma;
    while (server->negotiated && dma->first && dma->layout != VFIO_USER_DMA_PROBING) {
        struct vfio_user_dma_slot *slot = free_slot(dma);
        uint32_t piece = piece_len(server, dma->first);
        if (!slot ||
            !engine_may_send(&server->engine, VFIO_USER_HEADER_LEN + VFIO_USER_ACCESS_LEN + piece))
            return;
        if (drop_first(server))
            continue;
        if (dma->layout == VFIO_USER_DMA_UNKNOWN && server->may_be_qemu)
            send_probe(server, slot);
        else
            send_piece(server, slot);
    }
}

/* The errno of a reply, made sane; 0: it was a success. */
static int error_of(const struct vfio_user_header *header)
{
    if (!(header->flags & VFIO_USER_ERROR))
        return 0;
    return header->error > 0 && header->error < 4096 ? -(int)header->error : -EIO;
}

/* A reply to the probe. A client that has no objection but to its emptiness keeps to the
 * specification, QEMU takes it; any other error is the first request's. */
static void probed(struct vfio_user_server *server, int err, size_t len)
{
    struct vfio_user_dma *dma = &server->dma;
    if (err == 0)
        dma->layout = len == 0 ? VFIO_USER_DMA_QEMU : VFIO_USER_DMA_STANDARD;
    else if (err == -EINVAL)
        dma->layout = VFIO_USER_DMA_STANDARD;
    else
        dma->layout = VFIO_USER_DMA_UNKNOWN;
    if (dma->layout == VFIO_USER_DMA_UNKNOWN && dma->first) {
        struct ob_dma_request *request = dequeue(dma);
        request->done(request, err);
    }
}

/* Whether a reply's payload is the one that the message asked for. Some clients answer a write with a
 * 32-bit count, as the specification's table has it. */
static bool is_answer(const struct vfio_user_server *server, const struct vfio_user_dma_slot *slot,
                      const uint8_t *payload, size_t len)
{
    struct rd rd = rd_init(payload, len);
    bool is_qemu = server->dma.layout == VFIO_USER_DMA_QEMU;
    if (slot->command == VFIO_USER_DMA_WRITE && is_qemu)
        return len == 0;
    rd_u64(&rd); /* the address needs no check: the slot knows it */
    bool same_count = rd_u32(&rd) == slot->count;
    if (slot->command == VFIO_USER_DMA_WRITE)
        return same_count && (len == VFIO_USER_ACCESS_LEN || len == VFIO_USER_ACCESS_LEN - 4);
    return same_count && len == VFIO_USER_ACCESS_LEN + slot->count;
}

/* Takes the data of a message; the request ends or queues for its next piece. */
static void advance(struct vfio_user_server *server, const struct vfio_user_dma_slot *slot, int err,
                    const uint8_t *payload, size_t len)
{
    struct ob_dma_request *request = slot->request;
    if (err == 0 && !is_answer(server, slot, payload, len))
        err = -EIO;
    if (err == 0 && slot->command == VFIO_USER_DMA_READ)
        memcpy((uint8_t *)request->buf + request->moved,
               payload + (server->dma.layout == VFIO_USER_DMA_QEMU ? QEMU_DATA_OFFSET
                                                                   : VFIO_USER_ACCESS_LEN),
               slot->count);
    request->moved += slot->count;
    if (err < 0 || request->moved == request->len)
        request->done(request, err);
    else
        enqueue(&server->dma, request);
}

int vfio_user_dma_reply(struct vfio_user_server *server, const struct vfio_user_header *header,
                        const uint8_t *payload, size_t len)
{
    struct vfio_user_dma_slot slot = {0};
    for (unsigned i = 0; !slot.busy && i < LIMIT_VFIO_USER_DMA_MESSAGES; i++) {
        struct vfio_user_dma_slot *candidate = &server->dma.slots[i];
        if (candidate->busy && candidate->id == header->id &&
            candidate->command == header->command) {
            slot = *candidate;
            *candidate = (struct vfio_user_dma_slot){0};
        }
    }
    if (!slot.busy)
        return ob_fault_set(&server->engine.fault, -EPROTO,
                            "got a reply without a request (message id %u, command %u)", header->id,
                            header->command);
    int err = error_of(header);
    if (slot.probe)
        probed(server, err, len);
    else if (slot.request)
        advance(server, &slot, err, payload, len);
    return 0;
}
