// SPDX-License-Identifier: BSD-3-Clause
/*
 * The mpqemu wire from the VMM's side, in both dialects.
 *
 * The first message must be SYNC_SYSMEM: a request that comes before any memory was published is
 * preceded by a table without regions. The remote answers with one RET per call, in order, with
 * a length that depends on the call; nothing else may come.
 *
 * BAR accesses carry addresses, which follow from the writes to the BARs' registers.
 */
#include <errno.h>
#include <inttypes.h>
#include <linux/pci_regs.h>
#include <string.h>

#include "base/cursor.h"
#include "client/engine.h"
#include "wire/mpqemu.h"

enum answer {
    ANSWER_NONE,
    ANSWER_VALUE,
    ANSWER_HEADER, /* RET without a payload */
};

struct message {
    enum mpqemu_command command;
    enum answer answer;
    size_t len[2]; /* of the payload, by dialect */
    /* Fills the zeroed payload. 0, or -EINVAL. */
    int (*fill)(struct client *client, const struct client_request *request, uint8_t *payload,
                size_t len);
};

static enum mpqemu_dialect dialect_of(const struct client *client)
{
    return client->wire == &client_mpqemu_v8 ? MPQEMU_V8 : MPQEMU_SHIPPED;
}

static int fill_nothing(struct client *client, const struct client_request *request,
                        uint8_t *payload, size_t len)
{
    return 0;
}

static int fill_memory(struct client *client, const struct client_request *request,
                       uint8_t *payload, size_t len)
{
    struct mpqemu_sysmem sysmem = {0};
    if (request->num_regions > LIMIT_MPQEMU_REGIONS)
        return -EINVAL;
    for (unsigned i = 0; i < request->num_regions; i++) {
        sysmem.gpas[i] = request->regions[i].gpa;
        sysmem.sizes[i] = request->regions[i].len;
        sysmem.offsets[i] = request->regions[i].offset;
        client_put_fd(client, request->regions[i].fd);
    }
    mpqemu_sysmem_put(payload, len, &sysmem);
    return 0;
}

static int fill_intx(struct client *client, const struct client_request *request, uint8_t *payload,
                     size_t len)
{
    client_put_fd(client, request->trigger_fd);
    client_put_fd(client, request->resample_fd);
    return 0;
}

static int fill_config(struct client *client, const struct client_request *request,
                       uint8_t *payload, size_t len)
{
    const struct mpqemu_config_access access = {.offset = (uint32_t)request->offset,
                                                .value = (uint32_t)request->value,
                                                .len = request->size};
    mpqemu_config_put(payload, len, &access);
    return 0;
}

static int fill_bar(struct client *client, const struct client_request *request, uint8_t *payload,
                    size_t len)
{
    const struct ob_client_bar *bar = &client->bars[request->bar];
    uint64_t base = client->bar_registers[request->bar];
    if (bar->kind == OB_BAR_NONE)
        return -EINVAL;
    if (bar->kind == OB_BAR_MEM64)
        base |= (uint64_t)client->bar_registers[request->bar + 1] << 32;
    const struct mpqemu_bar_access access = {
        .address = (base & ~(bar->size - 1)) + request->offset,
        .value = request->value,
        .size = request->size,
        .memory = bar->kind != OB_BAR_IO,
    };
    mpqemu_bar_put(payload, MPQEMU_BAR_LEN, &access);
    return 0;
}

static const struct message messages[] = {
    [CLIENT_PUBLISH_MEMORY] = {MPQEMU_SYNC_SYSMEM, ANSWER_NONE, {192, 192}, fill_memory},
    [CLIENT_SET_INTX] = {MPQEMU_SET_IRQFD, ANSWER_NONE, {0, 0}, fill_intx},
    [CLIENT_CONFIG_READ] = {MPQEMU_CONFIG_READ, ANSWER_VALUE, {12, 12}, fill_config},
    [CLIENT_CONFIG_WRITE] = {MPQEMU_CONFIG_WRITE, ANSWER_VALUE, {12, 12}, fill_config},
    [CLIENT_BAR_READ] = {MPQEMU_BAR_READ, ANSWER_VALUE, {24, 192}, fill_bar},
    [CLIENT_BAR_WRITE] = {MPQEMU_BAR_WRITE, ANSWER_VALUE, {24, 192}, fill_bar},
    [CLIENT_RESET] = {MPQEMU_DEVICE_RESET, ANSWER_HEADER, {0, 192}, fill_nothing},
    [CLIENT_PING] = {MPQEMU_PING, ANSWER_VALUE, {0, 0}, fill_nothing},
};

/* The shipped dialect has no heartbeat; a read of the ids stands in. */
static const struct client_request stand_in_for_ping = {
    .operation = CLIENT_CONFIG_READ, .offset = PCI_VENDOR_ID, .size = 4};

static int put_message(struct client *client, const struct client_request *request)
{
    enum mpqemu_dialect dialect = dialect_of(client);
    const struct message *message = &messages[request->operation];
    const struct mpqemu_header header = {
        .number = (uint32_t)mpqemu_command_number(dialect, message->command),
        .bytestream = dialect == MPQEMU_V8 && message->fill == fill_config,
        .size = message->len[dialect]};
    size_t before = client->tx_len;
    uint8_t *frame = client_put(client, MPQEMU_HEADER_LEN + message->len[dialect]);
    memset(frame, 0, MPQEMU_HEADER_LEN + message->len[dialect]);
    mpqemu_header_put(frame, MPQEMU_HEADER_LEN, &header);
    int err = message->fill(client, request, frame + MPQEMU_HEADER_LEN, message->len[dialect]);
    if (err < 0) {
        client->tx_len = before;
        return err;
    }
    if (message->answer != ANSWER_NONE)
        client_expect(client, request->operation);
    return 0;
}

static int put_request(struct client *client, const struct client_request *request)
{
    const struct client_request no_memory = {.operation = CLIENT_PUBLISH_MEMORY};
    if (request->operation == CLIENT_MESSAGE)
        return -EINVAL;
    if (request->operation == CLIENT_PING && dialect_of(client) == MPQEMU_SHIPPED)
        request = &stand_in_for_ping;
    bool opens = request->operation == CLIENT_PUBLISH_MEMORY;
    if (!client->opened && !opens)
        put_message(client, &no_memory);
    int err = put_message(client, request);
    if (err < 0)
        client->tx_len = 0;
    else
        client->opened = true;
    return err;
}

static size_t answer_len(const struct client *client)
{
    if (messages[client->calls[0].operation].answer == ANSWER_HEADER)
        return 0;
    return dialect_of(client) == MPQEMU_V8 ? MPQEMU_UNION_LEN : MPQEMU_RET_LEN;
}

static int frame_len(struct client *client, const uint8_t *header_bytes)
{
    struct mpqemu_header header = {0};
    mpqemu_header_get(header_bytes, MPQEMU_HEADER_LEN, &header);
    if (mpqemu_command_from(dialect_of(client), header.number) != MPQEMU_RET)
        return ob_fault_set(&client->fault, -EPROTO,
                            "the remote's message: got cmd %" PRIu32 " (offset 0), expected RET",
                            header.number);
    size_t len = answer_len(client);
    if (header.size != len)
        return ob_fault_set(&client->fault, -EPROTO,
                            "the remote's reply: got %" PRIu64 " bytes (offset 8), expected %zu",
                            header.size, len);
    return (int)(MPQEMU_HEADER_LEN + len);
}

static int take(struct client *client, const uint8_t *frame, size_t len, struct fd_list *fds)
{
    struct rd rd = rd_init(frame + MPQEMU_HEADER_LEN, len - MPQEMU_HEADER_LEN);
    const struct client_answer answer = {.value = len > MPQEMU_HEADER_LEN ? rd_u64(&rd) : 0};
    client_answer(client, 0, answer);
    return 0;
}

const struct client_wire client_mpqemu = {
    .name = "mpqemu",
    .header_len = MPQEMU_HEADER_LEN,
    .rx_len = LIMIT_REPLY_BYTES,
    .tx_len = LIMIT_REQUEST_BYTES,
    .request = put_request,
    .frame_len = frame_len,
    .take = take,
};

const struct client_wire client_mpqemu_v8 = {
    .name = "mpqemu-v8",
    .header_len = MPQEMU_HEADER_LEN,
    .rx_len = LIMIT_REPLY_BYTES,
    .tx_len = LIMIT_REQUEST_BYTES,
    .request = put_request,
    .frame_len = frame_len,
    .take = take,
};
