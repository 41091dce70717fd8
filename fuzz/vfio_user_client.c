// SPDX-License-Identifier: BSD-3-Clause
/*
 * The vfio-user client engine against a hostile remote, and against a model.
 *
 * An input is a list of steps: requests of all kinds; right answers to any call, early, late and in
 * any order; the remote's own commands, right and wrong; raw bytes; descriptors; sending a part of
 * what is pending. What must hold at every step: the engine takes an answer exactly when the model
 * does, for the same call and with the same value and bytes; guest memory is exactly the model's;
 * what is pending is byte for byte what the model would send, and bounded; there is always room to
 * receive unless a reply waits for room; a refusal is final; and each descriptor is closed or
 * handed out exactly once.
 *
 * Some inputs go to the functions that read what a remote says of itself instead: whatever they
 * take must be within the bounds that their callers rely on.
 */
#include "client/engine.h"

#include <errno.h>
#include <string.h>

#include "base/cursor.h"
#include "check.h"
#include "client/vfio_user_info.h"
#include "vfio_user_client_model.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define FDS 64u

/* What stays in the buffer of a reply behind what was said. */
static const uint8_t untouched[MODEL_REPLY_LEN] = "nothing that a remote would say";

/* Where the reply to a message goes. */
struct slot {
    struct client_reply reply;
    uint8_t bytes[MODEL_REPLY_LEN];
};

struct run {
    struct rd input;
    struct client_wire wire;
    struct client_host host;
    struct client client;
    struct model model;
    uint8_t memory[MODEL_MEMORY_LEN];
    struct slot slots[LIMIT_CLIENT_CALLS];
    uint64_t last_serial;
    size_t request_end;   /* of the last request, in what is pending; 0: it was sent */
    unsigned request_fds; /* that ride on it */
    size_t request_at;
    bool open[FDS]; /* descriptors that were handed in and not closed yet */
    unsigned num_fds;
};

static void close_fd(void *context, int fd)
{
    struct run *run = context;
    CHECK(fd >= 0 && (unsigned)fd < run->num_fds && run->open[fd]);
    run->open[fd] = false;
}

static int memory_read(void *context, uint64_t iova, void *ret_buf, size_t len)
{
    const struct run *run = context;
    int err = model_memory_check(iova, len, false);
    if (err == 0 && len > 0)
        memcpy(ret_buf, run->memory + (iova - MODEL_MEMORY_AT), len);
    return err;
}

static int memory_write(void *context, uint64_t iova, const void *buf, size_t len)
{
    struct run *run = context;
    int err = model_memory_check(iova, len, true);
    if (err == 0 && len > 0)
        memcpy(run->memory + (iova - MODEL_MEMORY_AT), buf, len);
    return err;
}

static void compare_replies(const struct run *run)
{
    for (unsigned i = 0; i < LIMIT_CLIENT_CALLS; i++) {
        const struct slot *slot = &run->slots[i];
        const struct model_reply *right = &run->model.replies[i];
        size_t len = right->filled ? right->len : 0;
        CHECK(slot->reply.len == len);
        CHECK(memcmp(slot->bytes, right->bytes, len) == 0);
        CHECK(memcmp(slot->bytes + len, untouched + len, MODEL_REPLY_LEN - len) == 0);
        CHECK(slot->reply.fds.count == (right->filled ? right->num_fds : 0));
        for (unsigned k = 0; k < slot->reply.fds.count; k++)
            CHECK(run->open[slot->reply.fds.fd[k]]);
    }
}

static void compare_pending(const struct run *run)
{
    size_t len;
    const int *fds;
    unsigned num_fds;
    const struct model *model = &run->model;
    const uint8_t *bytes = client_pending(&run->client, &len, &fds, &num_fds);
    CHECK(run->client.tx_len == model->out_len && model->out_len <= MODEL_TX_LEN);
    CHECK(run->client.tx_sent == model->out_sent);
    CHECK(memcmp(bytes, model->out + model->out_sent, model->out_len - model->out_sent) == 0);
    bool rides = run->request_fds > 0 && model->out_sent == run->request_at;
    CHECK(num_fds == (rides ? run->request_fds : 0));
    CHECK(len == (run->request_fds > 0 && model->out_sent < run->request_at
                      ? run->request_at - model->out_sent
                      : model->out_len - model->out_sent));
}

static void compare(const struct run *run)
{
    const struct model *model = &run->model;
    struct client_answer answer = {0};
    CHECK((run->client.fault.code != 0) == model->refused);
    CHECK(run->client.num_calls == model->num_calls);
    CHECK(run->client.answered_serial == model->answered);
    if (model->answered > 0) {
        CHECK(client_answered(&run->client, model->answered, &answer));
        CHECK(answer.value == model->value && answer.error == model->error);
    }
    for (unsigned i = 0; i < model->num_calls; i++)
        CHECK(!client_answered(&run->client, model->calls[i].serial, &answer));
    CHECK(memcmp(run->memory, model->memory, MODEL_MEMORY_LEN) == 0);
    compare_replies(run);
    compare_pending(run);
}

/* Sends up to so much of what is pending. */
static void send_some(struct run *run, size_t most)
{
    size_t len;
    const int *fds;
    unsigned num_fds;
    client_pending(&run->client, &len, &fds, &num_fds);
    if (len > most)
        len = most;
    if (len == 0)
        return;
    if (run->model.out_sent + len > run->request_at)
        run->request_fds = 0;
    if (run->model.out_sent + len >= run->request_end)
        run->request_end = 0;
    bool was_refused = run->model.refused;
    int err = client_sent(&run->client, len);
    if (was_refused) { /* what is pending may still go, but nothing more is taken */
        run->model.later = false;
        CHECK(err == 0);
    }
    model_send(&run->model, len);
    CHECK(err == (run->model.refused && !was_refused ? -EPROTO : 0));
    compare(run);
}

static void send_all(struct run *run)
{
    while (run->model.out_len > 0 && !run->model.refused)
        send_some(run, SIZE_MAX);
}

static unsigned open_fds(struct run *run, unsigned wanted, int *ret_fds)
{
    unsigned count = 0;
    while (count < wanted && run->num_fds < FDS) {
        run->open[run->num_fds] = true;
        ret_fds[count++] = (int)run->num_fds++;
    }
    return count;
}

/* Hands bytes in, as much as there is room for; all of them if the remote is patient. */
static void receive(struct run *run, const uint8_t *bytes, size_t len, unsigned wanted_fds,
                    bool patient)
{
    do {
        int fds[LIMIT_FDS_PER_RECEIVE];
        size_t room;
        uint8_t *to = client_receive_space(&run->client, &room);
        CHECK(run->model.refused ||
              room == (run->model.later ? 0 : MODEL_RX_LEN - run->model.in_len));
        CHECK(run->model.refused || room > 0 || run->model.out_len > run->model.out_sent);
        if (room == 0 && patient)
            send_all(run);
        if (room == 0 && (!patient || run->model.refused))
            return;
        if (room == 0)
            continue;
        size_t piece = len < room ? len : room;
        memcpy(to, bytes, piece);
        unsigned num_fds = open_fds(run, wanted_fds, fds);
        int err = client_received(&run->client, piece, fds, num_fds);
        model_receive(&run->model, bytes, piece, num_fds);
        CHECK(err == (run->model.refused ? -EPROTO : 0));
        compare(run);
        bytes += piece;
        len -= piece;
        wanted_fds = 0;
    } while (len > 0);
}

/* The same in two pieces. */
static void receive_cut(struct run *run, const uint8_t *bytes, size_t len)
{
    uint8_t how = rd_u8(&run->input);
    size_t cut = rd_u8(&run->input) % (len + 1);
    unsigned num_fds = how % 8 == 0 ? how / 8 % 18 : 0;
    if (cut > 0)
        receive(run, bytes, cut, how & 0x80 ? 0 : num_fds, how % 2);
    receive(run, bytes + cut, len - cut, how & 0x80 ? num_fds : 0, how % 2);
}

/* What the engine must put for a request, written out. */
static void expect_frame(struct run *run, uint16_t command, bool posted, const uint8_t *payload,
                         size_t len)
{
    struct model *model = &run->model;
    CHECK(model->out_len + 16 + len <= MODEL_TX_LEN);
    struct wr wr = wr_init(model->out + model->out_len, 16 + len);
    wr_u16(&wr, posted ? 0 : (uint16_t)run->last_serial);
    wr_u16(&wr, command);
    wr_u32(&wr, (uint32_t)(16 + len));
    wr_u32(&wr, posted ? 0x10 : 0);
    wr_u32(&wr, 0);
    wr_bytes(&wr, payload, len);
    run->request_at = model->out_len;
    model->out_len += 16 + len;
    run->request_end = model->out_len;
}

static struct model_call *expect_call(struct run *run, uint16_t command)
{
    struct model_call *call = &run->model.calls[run->model.num_calls++];
    *call = (struct model_call){.serial = ++run->last_serial, .command = command, .slot = -1};
    return call;
}

/* Makes a request, if none is still to be sent. Whether it was made; it must be when it can. */
static bool ask(struct run *run, const struct client_request *request, bool posted)
{
    uint64_t serial = UINT64_MAX;
    if (run->request_end > 0)
        send_all(run);
    bool full = run->model.num_calls == LIMIT_CLIENT_CALLS;
    int err = client_request(&run->client, request, &serial);
    CHECK(err == (run->model.refused ? -EPROTO : full ? -EBUSY : 0));
    if (err == 0)
        CHECK(serial == (posted ? 0 : run->last_serial + 1));
    return err == 0;
}

static void ask_access(struct run *run, uint8_t what)
{
    static const enum client_operation operations[] = {CLIENT_CONFIG_READ, CLIENT_CONFIG_WRITE,
                                                       CLIENT_BAR_READ,    CLIENT_BAR_WRITE,
                                                       CLIENT_RESET,       CLIENT_PING};
    const enum client_operation operation = operations[what % 6];
    struct client_request request = {.operation = operation,
                                     .bar = what / 8 % 6,
                                     .offset = rd_u8(&run->input),
                                     .size = 1u << (what / 64),
                                     .value = rd_u32(&run->input) * UINT64_C(0x100000001)};
    if (!ask(run, &request, false))
        return;
    bool pings = operation == CLIENT_PING;
    bool writes = operation == CLIENT_CONFIG_WRITE || operation == CLIENT_BAR_WRITE;
    bool config = operation != CLIENT_BAR_READ && operation != CLIENT_BAR_WRITE;
    unsigned size = pings ? 4 : request.size;
    uint8_t payload[24];
    struct wr wr = wr_init(payload, sizeof(payload));
    wr_u64(&wr, pings ? 0 : request.offset);
    wr_u32(&wr, config ? 7 : request.bar);
    wr_u32(&wr, size);
    for (unsigned i = 0; writes && i < size; i++)
        wr_u8(&wr, (uint8_t)(request.value >> (8 * i)));
    if (operation == CLIENT_RESET) {
        expect_call(run, 13);
        expect_frame(run, 13, false, NULL, 0);
        return;
    }
    expect_call(run, writes ? 10 : 9)->size = size;
    expect_frame(run, writes ? 10 : 9, false, payload, wr.len);
}

/* A slot whose reply nobody waits for, emptied. */
static int free_slot(struct run *run)
{
    int found = -1;
    for (int i = 0; i < (int)LIMIT_CLIENT_CALLS && found < 0; i++) {
        bool busy = false;
        for (unsigned k = 0; k < run->model.num_calls; k++)
            busy = busy || run->model.calls[k].slot == i;
        found = busy ? -1 : i;
    }
    if (found < 0)
        return found;
    struct slot *slot = &run->slots[found];
    client_drop(&run->client, &slot->reply);
    slot->reply = (struct client_reply){0};
    memcpy(slot->bytes, untouched, sizeof(slot->bytes));
    run->model.replies[found] = (struct model_reply){0};
    return found;
}

static void ask_message(struct run *run, uint8_t what)
{
    static const int fds[] = {70, 71, 72};
    static const uint8_t bytes[MODEL_RX_LEN] = "abcdefghijklmnopqrstuvwxyz";
    int slot = free_slot(run);
    bool posted = what & 1;
    struct client_message message = {.command = (enum vfio_user_command)(1 + what / 2 % 18),
                                     .posted = posted,
                                     .head = bytes,
                                     .head_len = rd_u8(&run->input) % 32,
                                     .data_len = rd_u8(&run->input)};
    message.data = bytes + message.head_len;
    if (message.head_len + message.data_len > MODEL_RX_LEN - 16)
        message.data_len = MODEL_RX_LEN - 16 - message.head_len;
    const uint8_t shape = rd_u8(&run->input);
    struct client_request request = {.operation = CLIENT_MESSAGE,
                                     .message = &message,
                                     .fds = fds,
                                     .num_fds = what < 64 ? shape % 4 : 0};
    struct client_reply *reply = slot >= 0 ? &run->slots[slot].reply : NULL;
    if (slot >= 0 && !posted) {
        reply->head_len = shape % 9;
        reply->data_len = shape / 9 % (MODEL_REPLY_LEN - 8);
        reply->max_fds = shape % 5;
        reply->head = reply->head_len > 0 ? run->slots[slot].bytes : NULL;
        reply->data = run->slots[slot].bytes + reply->head_len;
        request.reply = reply;
    }
    if (!ask(run, &request, posted))
        return;
    if (!posted) {
        struct model_call *call = expect_call(run, (uint16_t)message.command);
        call->is_message = true;
        call->slot = slot;
        call->reply_len = slot >= 0 ? reply->head_len + reply->data_len : 0;
        call->max_fds = slot >= 0 ? reply->max_fds : 0;
    }
    expect_frame(run, (uint16_t)message.command, posted, bytes,
                 message.head_len + message.data_len);
    run->request_fds = request.num_fds;
}

static void forget(struct run *run, uint8_t which)
{
    if (run->model.num_calls == 0)
        return;
    struct model_call *call = &run->model.calls[which % run->model.num_calls];
    client_forget(&run->client, call->serial);
    call->slot = -1;
}

/* A right answer to a call, or one that refuses it. */
static void receive_answer(struct run *run, uint8_t what)
{
    uint8_t bytes[MODEL_RX_LEN];
    struct wr wr = wr_init(bytes, sizeof(bytes));
    if (run->model.num_calls == 0)
        return;
    const struct model_call *call = &run->model.calls[what % run->model.num_calls];
    bool refuses = what >= 224;
    size_t len = 0;
    if (!refuses && call->is_message)
        len = call->slot < 0 ? 8 : call->reply_len - (what & 4 && call->reply_len > 0);
    else if (!refuses && call->command != 13)
        len = 16 + (call->command == 9 ? call->size : 0);
    wr_u16(&wr, (uint16_t)call->serial);
    wr_u16(&wr, call->command);
    wr_u32(&wr, (uint32_t)(16 + len));
    wr_u32(&wr, refuses ? 0x21 : 1);
    wr_u32(&wr, refuses ? what % 32 * 256u : 0);
    for (size_t i = 0; i < len; i++)
        wr_u8(&wr, i >= 12 && i < 16 && !call->is_message ? (uint8_t)(call->size >> (8 * (i - 12)))
                                                          : (uint8_t)(what + i));
    receive_cut(run, bytes, wr.len);
}

/* Commands of the remote, as many as it likes; mostly right ones. */
static void receive_commands(struct run *run, uint8_t what)
{
    static const uint64_t places[] = {MODEL_MEMORY_AT,
                                      MODEL_MEMORY_AT + 100,
                                      MODEL_MEMORY_AT + MODEL_MEMORY_WRITABLE - 50,
                                      MODEL_MEMORY_AT + MODEL_MEMORY_LEN - 10,
                                      0,
                                      UINT64_MAX - 8};
    uint8_t bytes[4 * MODEL_RX_LEN];
    struct wr wr = wr_init(bytes, sizeof(bytes));
    for (unsigned i = 0; i <= what % 4u; i++) {
        uint8_t kind = rd_u8(&run->input), count = rd_u8(&run->input) % (MODEL_MAX_DATA + 8);
        uint16_t command = kind % 16 == 15 ? kind / 16 : kind % 2 ? 12 : 11;
        size_t len = command == 12 ? count : 0;
        wr_u16(&wr, (uint16_t)(kind * 256u));
        wr_u16(&wr, command);
        wr_u32(&wr, (uint32_t)(32 + len));
        wr_u32(&wr, what & 0x40 ? 0x10 : 0);
        wr_u32(&wr, 0);
        wr_u64(&wr, places[kind / 2 % 6] + what / 8);
        wr_u64(&wr, count);
        for (size_t at = 0; at < len; at++)
            wr_u8(&wr, (uint8_t)(kind + at));
    }
    receive_cut(run, bytes, wr.len);
}

static void receive_raw(struct run *run)
{
    uint8_t bytes[64];
    size_t len = rd_u8(&run->input) % sizeof(bytes);
    rd_bytes(&run->input, bytes, len);
    receive_cut(run, bytes, len);
}

static void step(struct run *run)
{
    uint8_t kind = rd_u8(&run->input), what = rd_u8(&run->input);
    if (kind < 40)
        ask_access(run, what);
    else if (kind < 80)
        ask_message(run, what);
    else if (kind < 130)
        receive_answer(run, what);
    else if (kind < 190)
        receive_commands(run, what);
    else if (kind < 220)
        send_some(run, what);
    else if (kind < 235)
        receive_raw(run);
    else if (kind < 245)
        forget(run, what);
    else
        run->client.opened = run->model.opened = true;
    compare(run);
}

static void run_engine(struct rd input)
{
    struct run run = {.input = input, .wire = client_vfio_user};
    uint8_t how = rd_u8(&run.input);
    run.wire.rx_len = MODEL_RX_LEN;
    run.wire.tx_len = MODEL_TX_LEN;
    run.host = (struct client_host){.memory_read = memory_read,
                                    .memory_write = memory_write,
                                    .close = close_fd,
                                    .context = &run};
    CHECK(client_init(&run.client, &run.wire, &run.host) == 0);
    run.client.capabilities.max_data_xfer_size = MODEL_MAX_DATA;
    run.client.opened = run.model.opened = how % 8 != 0;
    run.client.last_serial = run.last_serial = how % 16 == 1 ? 0xfffd : 0;
    for (unsigned i = 0; i < MODEL_MEMORY_LEN; i++)
        run.memory[i] = run.model.memory[i] = (uint8_t)i;
    for (unsigned i = 0; i < LIMIT_CLIENT_CALLS; i++)
        memcpy(run.slots[i].bytes, untouched, MODEL_REPLY_LEN);
    while (run.input.left > 0 && !run.input.bad)
        step(&run);
    for (unsigned i = 0; i < LIMIT_CLIENT_CALLS; i++)
        client_drop(&run.client, &run.slots[i].reply);
    client_done(&run.client);
    for (unsigned i = 0; i < run.num_fds; i++)
        CHECK(!run.open[i]);
}

static void parse_region(const uint8_t *buf, size_t len, unsigned index)
{
    struct client_region region = {.num_areas = 99};
    struct ob_fault fault = {0};
    int err = vfio_user_region_parse(buf, len, index, &region, &fault);
    CHECK(fault.code == err && (err == 0 || err == -EPROTO));
    CHECK(err < 0 ? region.num_areas == 99 : region.num_areas <= LIMIT_CLIENT_AREAS);
    for (unsigned i = 0; err == 0 && i < region.num_areas; i++) {
        const struct client_area *area = &region.areas[i];
        CHECK(area->len > 0 && area->offset < region.size);
        CHECK(area->len <= region.size - area->offset);
    }
}

static void parse_eventfds(const uint8_t *buf, size_t len, unsigned num_fds)
{
    struct ob_client_eventfd eventfds[3];
    struct ob_fault fault = {0};
    unsigned count = 99;
    int err = vfio_user_eventfds_parse(buf, len, 1, num_fds, eventfds, 3, &count, &fault);
    CHECK(fault.code == err && (err == 0 || err == -EPROTO));
    CHECK(err < 0 ? count == 99 : count <= 3);
    for (unsigned i = 0; err == 0 && i < count; i++)
        CHECK(eventfds[i].fd >= 0 && (unsigned)eventfds[i].fd < num_fds);
}

static void parse_version(const uint8_t *buf, size_t len)
{
    const struct vfio_user_capabilities offered = {
        .max_msg_fds = 16, .max_data_xfer_size = 1u << 20, .pgsizes = 4096, .max_dma_maps = 65535};
    struct vfio_user_capabilities agreed = {0};
    struct ob_fault fault = {0};
    int err = vfio_user_agreement_parse(buf, len, &offered, &agreed, &fault);
    CHECK(fault.code == err && (err == 0 || err == -EPROTO || err == -EPROTONOSUPPORT));
    if (err < 0)
        return;
    CHECK(agreed.max_msg_fds <= 16 && agreed.max_dma_maps <= 65535 && !agreed.write_multiple);
    CHECK(agreed.max_data_xfer_size >= 8 && agreed.max_data_xfer_size <= 1u << 20);
    CHECK(agreed.pgsizes != 0);
}

static void parse_device(const uint8_t *buf, size_t len)
{
    struct client_device device;
    struct ob_fault fault = {0};
    int err = vfio_user_device_parse(buf, len, &device, &fault);
    CHECK(fault.code == err && (err == 0 || err == -EPROTO || err == -ENODEV));
    if (err == 0)
        CHECK(device.num_regions >= 8 && device.num_regions <= 9 && device.num_irqs <= 5);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rd input = rd_init(data, size);
    uint8_t mode = rd_u8(&input);
    switch (mode) {
    case 'r':
        parse_region(input.at, input.left, 1);
        break;
    case 'e':
        parse_eventfds(input.at, input.left, 2);
        break;
    case 'v':
        parse_version(input.at, input.left);
        break;
    case 'd':
        parse_device(input.at, input.left);
        break;
    default:
        run_engine(rd_init(data, size));
    }
    return 0;
}
