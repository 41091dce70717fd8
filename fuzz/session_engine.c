// SPDX-License-Identifier: BSD-3-Clause
/*
 * The session engine between an application and a peer that are both made of the fuzzer's bytes.
 *
 * The input is a program: frames from the peer (with right tag and number, so that the fuzzer gets
 * deep), raw bytes, calls of the application, time. A model of the peer reads all that the engine
 * sends and asserts that the engine keeps the protocol whatever happens to it: numbers, credit, the
 * life of each stream, the bytes themselves. The model of the application asserts that it is told
 * each thing once, in order, and that memory stays bounded.
 */
#include "session_model.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
    WINDOW = 300,
    SEND_BUFFER = 500,
    MAX_STREAMS = 5,
    FEW_HANDLES = 12,
    MANY_STREAMS = 80, /* the table of streams grows */
    INPUT_MAX = 2000
};

static uint8_t next(struct model *model)
{
    if (!model->input_len)
        return 0;
    model->input_len--;
    return *model->input++;
}

static uint32_t next_u32(struct model *model)
{
    uint32_t value = next(model);
    switch (value & 3) {
    case 0:
        return value >> 2;
    case 1:
        return WINDOW + (value >> 2) - 32;
    case 2:
        return (value >> 2) * 4099;
    }
    return UINT32_MAX - (value >> 2);
}

static struct handle *pick_handle(struct model *model)
{
    return &model->handles[next(model) % model->num_handles];
}

/* A frame of the peer: mostly right, in each of its parts sometimes wrong. */
static void peer_frame(struct model *model)
{
    uint8_t payload[LIMIT_SESSION_CONTROL_PAYLOAD] = {0};
    uint8_t type = next(model) % 16;
    uint64_t id = next(model) % 24;
    struct session_open open = {.service = (const uint8_t *)"service", .service_len = 7};
    struct session_credit credit;
    size_t len = 0;
    switch (type) {
    case SESSION_OPEN:
        open.window = next_u32(model);
        id = id > 16 ? id : model->peer_next_id;
        len = session_open_put(payload, &open);
        break;
    case SESSION_DATA:
        len = next(model) * (size_t)2;
        model_fill(payload, len, model_peer_sent(model, id));
        break;
    case SESSION_CREDIT:
        credit.consumed = next_u32(model);
        credit.window = next_u32(model);
        len = session_credit_put(payload, &credit);
        break;
    case SESSION_FIN:
        len = session_u64_put(payload, model_peer_sent(model, id) + (next(model) == 255));
        break;
    case SESSION_PING:
    case SESSION_PONG:
        len = session_u64_put(payload, next(model));
        id = 0;
        break;
    default:
        len = session_u32_put(payload, next_u32(model));
        id = type <= SESSION_PONG ? 0 : id;
    }
    model_peer_send(model, (enum session_type)type, id, payload, len);
}

static void peer_raw(struct model *model)
{
    size_t len = next(model);
    if (len > model->input_len)
        len = model->input_len;
    model->tainted = true;
    model_give(model, model->input, len);
    model->input += len;
    model->input_len -= len;
}

/* Mostly little, which is fast; now and then more than one frame holds. */
static size_t lend_len(uint8_t choice)
{
    return choice > 250 ? LIMIT_SESSION_DATA + (size_t)choice : 1 + choice * (size_t)3;
}

static void act_on_stream(struct model *model, uint8_t what)
{
    struct handle *handle = pick_handle(model);
    if (!handle->stream)
        return;
    switch (what) {
    case 0:
        ob_stream_accept(handle->stream);
        break;
    case 1:
        model_write(handle, next(model) * (size_t)3);
        break;
    case 2:
        model_lend(handle, lend_len(next(model)));
        break;
    case 3:
        model_read(handle, 1 + next(model));
        break;
    case 4:
        handle->ended |= ob_stream_shutdown(handle->stream) == 0;
        break;
    case 5:
        model_free(handle, next(model));
        break;
    case 6:
        model_look(handle, 1 + next(model) % 8);
        break;
    default:
        model_copy(handle, next(model));
    }
}

static void act(struct model *model, uint8_t what)
{
    switch (what) {
    case 0:
        model_open(model);
        break;
    case 1:
        ob_session_ping(model->session, model->now);
        break;
    case 2:
        if (next(model) == 7)
            ob_session_go_away(model->session, OB_REASON_SHUTDOWN);
        break;
    case 3:
        if (next(model) == 7)
            ob_session_end(model->session, OB_REASON_SHUTDOWN, model->now);
        break;
    case 4:
        model->now += next(model) * 20000000ull;
        ob_session_tick(model->session, model->now);
        break;
    case 5:
        model_reconnect(model);
        break;
    case 6:
        model_greet(model);
        break;
    case 7:
        model_restart(model, next(model));
        break;
    default:
        ob_session_transport_down(model->session, model->now);
        CHECK(!model->up && !ob_session_has_output(model->session));
        model_reconnect(model);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2 || size > INPUT_MAX)
        return 0;
    const bool many = data[0] & 16;
    static struct model model;
    model = (struct model){.input = data + 1,
                           .input_len = size - 1,
                           .asks = data[0] & 8,
                           .num_handles = many ? HANDLES : FEW_HANDLES};
    struct ob_session_config config = {
        .size = sizeof(config),
        .channel = data[0] & 1 ? OB_CHANNEL_LINE : OB_CHANNEL_STREAM,
        .window = WINDOW,
        .send_buffer = SEND_BUFFER,
        .max_streams = many ? MANY_STREAMS : MAX_STREAMS,
        .idle_timeout_ns = data[0] & 2 ? 1000000000 : 0,
        .keepalive_ns = data[0] & 4 ? 300000000 : 0,
    };
    model_begin(&model, &config);
    while (model.input_len) {
        uint8_t op = next(&model);
        if (op < 100)
            peer_frame(&model);
        else if (op < 180)
            act_on_stream(&model, op % 7 == 6 ? 6 + op / 7 % 2 : op % 7);
        else if (op < 230)
            model_take(&model, op % 5 ? SIZE_MAX : (size_t)1 + next(&model));
        else if (op < 250)
            act(&model, op % 7 == 6 ? 6 + (op - 230) / 7 : op % 7);
        else
            peer_raw(&model);
        model_check_bounds(&model);
    }
    model_end(&model);
    return 0;
}
