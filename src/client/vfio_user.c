// SPDX-License-Identifier: BSD-3-Clause
/*
 * The vfio-user wire from the VMM's side.
 *
 * Accesses are REGION_READ and REGION_WRITE; everything else is a message whose payload others have
 * written (vfio_user_messages.h) and whose answer they read. An answer names its call by the
 * message id, so an error, or a payload of a length that the call can't have, is recognised: the one is the remote's good right, the other ends the connection.
 *
 * The remote's commands are DMA_READ and DMA_WRITE. They are carried out when they come, whatever
 * call is under way, so a device that must see guest memory before it answers can.
 */
#include <errno.h>
#include <linux/vfio.h>
#include <string.h>

#include "base/access.h"
#include "base/cursor.h"
#include "client/engine.h"

#define CONFIG VFIO_PCI_CONFIG_REGION_INDEX

/* Puts a frame of the client's: header, then the caller's payload. */
static uint8_t *put_frame(struct client *client, enum vfio_user_command command, uint16_t id,
                          uint32_t flags, size_t payload_len)
{
    size_t len = VFIO_USER_HEADER_LEN + payload_len;
    uint8_t *frame = client_put(client, len);
    const struct vfio_user_header header = {
        .id = id, .command = (uint16_t)command, .size = (uint32_t)len, .flags = flags};
    vfio_user_header_put(frame, VFIO_USER_HEADER_LEN, &header);
    return frame + VFIO_USER_HEADER_LEN;
}

/* Notes a call, then puts its frame. */
static uint8_t *put_call(struct client *client, const struct client_request *request,
                         enum vfio_user_command command, size_t payload_len)
{
    struct client_call *call = client_expect(client, request->operation);
    call->command = command;
    call->size = request->size;
    return put_frame(client, command, (uint16_t)call->serial, VFIO_USER_TYPE_COMMAND, payload_len);
}

static int put_access(struct client *client, const struct client_request *request,
                      enum vfio_user_command command, uint32_t region)
{
    size_t data_len = command == VFIO_USER_REGION_WRITE ? request->size : 0;
    const struct vfio_user_access access = {
        .offset = request->offset, .region = region, .count = request->size};
    uint8_t *payload = put_call(client, request, command, VFIO_USER_ACCESS_LEN + data_len);
    vfio_user_access_put(payload, VFIO_USER_ACCESS_LEN, &access);
    if (data_len > 0)
        access_put(payload + VFIO_USER_ACCESS_LEN, request->value, request->size);
    return 0;
}

static int put_message(struct client *client, const struct client_request *request)
{
    const struct client_message *message = request->message;
    size_t len = message->head_len + message->data_len;
    uint8_t *payload;
    if (len > client->wire->rx_len - VFIO_USER_HEADER_LEN || request->num_fds > LIMIT_VFIO_USER_FDS)
        return -EINVAL;
    if (message->posted) {
        payload = put_frame(client, message->command, 0, VFIO_USER_NO_REPLY, len);
    } else {
        payload = put_call(client, request, message->command, len);
        client->calls[client->num_calls - 1].reply = request->reply;
    }
    if (message->head_len > 0)
        memcpy(payload, message->head, message->head_len);
    if (message->data_len > 0)
        memcpy(payload + message->head_len, message->data, message->data_len);
    for (unsigned i = 0; i < request->num_fds; i++)
        client_put_fd(client, request->fds[i]);
    return 0;
}

static int put_request(struct client *client, const struct client_request *request)
{
    static const struct client_request ping = {.operation = CLIENT_PING, .size = 4};
    switch (request->operation) {
    case CLIENT_CONFIG_READ:
        return put_access(client, request, VFIO_USER_REGION_READ, CONFIG);
    case CLIENT_CONFIG_WRITE:
        return put_access(client, request, VFIO_USER_REGION_WRITE, CONFIG);
    case CLIENT_BAR_READ:
        return put_access(client, request, VFIO_USER_REGION_READ, request->bar);
    case CLIENT_BAR_WRITE:
        return put_access(client, request, VFIO_USER_REGION_WRITE, request->bar);
    case CLIENT_RESET:
        put_call(client, request, VFIO_USER_DEVICE_RESET, 0);
        return 0;
    case CLIENT_PING: /* there is no heartbeat; a read of the ids stands in */
        return put_access(client, &ping, VFIO_USER_REGION_READ, CONFIG);
    case CLIENT_MESSAGE:
        return put_message(client, request);
    default:
        return -EINVAL;
    }
}

static int frame_len(struct client *client, const uint8_t *header_bytes)
{
    struct vfio_user_header header = {0};
    vfio_user_header_get(header_bytes, VFIO_USER_HEADER_LEN, &header);
    if (header.size < VFIO_USER_HEADER_LEN || header.size > client->wire->rx_len)
        return ob_fault_set(
            &client->fault, -EPROTO,
            "the remote's message: got a size of %u bytes (offset 4), expected %u to %zu",
            header.size, VFIO_USER_HEADER_LEN, client->wire->rx_len);
    return (int)header.size;
}

static int wrong_length(struct client *client, const struct client_call *call, size_t len)
{
    return ob_fault_set(
        &client->fault, -EPROTO,
        "the remote's reply to command %d: got a payload of %zu bytes, which does not fit it",
        (int)call->command, len);
}

/* An answer to an access: it repeats the access, with the bytes that were read behind it. */
static int take_access(struct client *client, const struct client_call *call,
                       const uint8_t *payload, size_t len, struct client_answer *ret_answer)
{
    bool reads = call->command == VFIO_USER_REGION_READ;
    struct vfio_user_access access;
    size_t data_len = reads ? call->size : 0;
    if (len != VFIO_USER_ACCESS_LEN + data_len)
        return wrong_length(client, call, len);
    vfio_user_access_get(payload, VFIO_USER_ACCESS_LEN, &access);
    if (access.count != call->size)
        return ob_fault_set(
            &client->fault, -EPROTO,
            "the remote's reply to an access of %u bytes: got a count of %u (offset 28)",
            call->size, access.count);
    if (reads)
        ret_answer->value = access_get(payload + VFIO_USER_ACCESS_LEN, call->size);
    return 0;
}

/* An answer to a message, for its caller. */
static int take_reply(struct client *client, const struct client_call *call, const uint8_t *payload,
                      size_t len, struct fd_list *fds)
{
    struct client_reply *reply = call->reply;
    if (!reply)
        return 0;
    if (len > reply->head_len + reply->data_len || fds->count > reply->max_fds)
        return wrong_length(client, call, len);
    bool has_data = len > reply->head_len;
    size_t head_len = has_data ? reply->head_len : len;
    if (head_len > 0)
        memcpy(reply->head, payload, head_len);
    if (has_data)
        memcpy(reply->data, payload + head_len, len - head_len);
    reply->len = len;
    reply->fds = *fds;
    fds->count = 0;
    return 0;
}

/* The errno of an error reply, made sane. */
static int error_of(const struct vfio_user_header *header)
{
    return header->error > 0 && header->error < 4096 ? -(int)header->error : -EIO;
}

static int take_answer(struct client *client, const struct vfio_user_header *header,
                       const uint8_t *payload, size_t len, struct fd_list *fds)
{
    unsigned at = 0;
    while (at < client->num_calls && (uint16_t)client->calls[at].serial != header->id)
        at++;
    const struct client_call *call = &client->calls[at];
    if (at == client->num_calls || (uint16_t)call->command != header->command)
        return ob_fault_set(
            &client->fault, -EPROTO,
            "the remote answered a request that was not sent (message id %u, command %u)",
            header->id, header->command);
    struct client_answer answer = {0};
    int err = 0;
    if (header->flags & VFIO_USER_ERROR)
        answer.error = error_of(header);
    else if (call->operation == CLIENT_MESSAGE)
        err = take_reply(client, call, payload, len, fds);
    else if (call->operation != CLIENT_RESET)
        err = take_access(client, call, payload, len, &answer);
    if (err == 0)
        client_answer(client, at, answer);
    return err;
}

/* A command of the remote: the request, and where the answer goes. */
struct command {
    struct vfio_user_header header;
    struct vfio_user_dma_access access;
    const uint8_t *payload;
    size_t len;
};

static void put_error(struct client *client, const struct command *command, int err)
{
    const struct vfio_user_header header = {.id = command->header.id,
                                            .command = command->header.command,
                                            .size = VFIO_USER_HEADER_LEN,
                                            .flags = VFIO_USER_TYPE_REPLY | VFIO_USER_ERROR,
                                            .error = (uint32_t)-err};
    vfio_user_header_put(client_put(client, VFIO_USER_HEADER_LEN), VFIO_USER_HEADER_LEN, &header);
}

/* The fault of a command as such: 0 or the errno that the remote gets. */
static int check_command(const struct client *client, struct command *command)
{
    const uint16_t number = command->header.command;
    if (number != VFIO_USER_DMA_READ && number != VFIO_USER_DMA_WRITE)
        return -ENOSYS;
    if (command->len < VFIO_USER_ACCESS_LEN ||
        (number == VFIO_USER_DMA_READ && command->header.flags & VFIO_USER_NO_REPLY))
        return -EINVAL;
    vfio_user_dma_access_get(command->payload, VFIO_USER_ACCESS_LEN, &command->access);
    if (command->access.count > client->capabilities.max_data_xfer_size)
        return -E2BIG;
    uint64_t data_len = number == VFIO_USER_DMA_WRITE ? command->access.count : 0;
    return command->len == VFIO_USER_ACCESS_LEN + data_len ? 0 : -EINVAL;
}

static int read_memory(struct client *client, const struct command *command)
{
    const struct client_host *host = client->host;
    size_t len = (size_t)command->access.count;
    size_t before = client->tx_len;
    uint8_t *payload = put_frame(client, VFIO_USER_DMA_READ, command->header.id,
                                 VFIO_USER_TYPE_REPLY, VFIO_USER_ACCESS_LEN + len);
    vfio_user_dma_access_put(payload, VFIO_USER_ACCESS_LEN, &command->access);
    int err =
        host->memory_read(host->context, command->access.iova, payload + VFIO_USER_ACCESS_LEN, len);
    if (err < 0)
        client->tx_len = before;
    return err;
}

static int write_memory(struct client *client, const struct command *command)
{
    const struct client_host *host = client->host;
    int err =
        host->memory_write(host->context, command->access.iova,
                           command->payload + VFIO_USER_ACCESS_LEN, (size_t)command->access.count);
    if (err < 0 || command->header.flags & VFIO_USER_NO_REPLY)
        return err;
    uint8_t *payload = put_frame(client, VFIO_USER_DMA_WRITE, command->header.id,
                                 VFIO_USER_TYPE_REPLY, VFIO_USER_ACCESS_LEN);
    vfio_user_dma_access_put(payload, VFIO_USER_ACCESS_LEN, &command->access);
    return 0;
}

static int take_command(struct client *client, struct command *command)
{
    int err = check_command(client, command);
    size_t data_len = err == 0 && command->header.command == VFIO_USER_DMA_READ
                          ? (size_t)command->access.count
                          : 0;
    if (!client_may_put(client, VFIO_USER_HEADER_LEN + VFIO_USER_ACCESS_LEN + data_len))
        return CLIENT_LATER;
    if (err == 0)
        err = command->header.command == VFIO_USER_DMA_READ ? read_memory(client, command)
                                                            : write_memory(client, command);
    if (err < 0 && !(command->header.flags & VFIO_USER_NO_REPLY))
        put_error(client, command, err);
    return 0;
}

static int take(struct client *client, const uint8_t *frame, size_t len, struct fd_list *fds)
{
    struct command message = {.payload = frame + VFIO_USER_HEADER_LEN,
                              .len = len - VFIO_USER_HEADER_LEN};
    vfio_user_header_get(frame, VFIO_USER_HEADER_LEN, &message.header);
    uint32_t type = message.header.flags & VFIO_USER_TYPE_MASK;
    if (type == VFIO_USER_TYPE_REPLY)
        return take_answer(client, &message.header, message.payload, message.len, fds);
    if (type != VFIO_USER_TYPE_COMMAND || !client->opened)
        return ob_fault_set(
            &client->fault, -EPROTO, "the remote's message: got flags 0x%x (offset 8), expected %s",
            message.header.flags, client->opened ? "a command or a reply" : "the reply to VERSION");
    return take_command(client, &message);
}

const struct client_wire client_vfio_user = {
    .name = "vfio-user",
    .header_len = VFIO_USER_HEADER_LEN,
    .rx_len = VFIO_USER_FRAME_LEN,
    .tx_len = 2 * (size_t)VFIO_USER_FRAME_LEN,
    .max_fds = LIMIT_VFIO_USER_FDS,
    .sends_commands = true,
    .request = put_request,
    .frame_len = frame_len,
    .take = take,
};
