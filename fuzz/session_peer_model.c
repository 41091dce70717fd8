// SPDX-License-Identifier: BSD-3-Clause
#include "base/crc32c.h"
#include "session_model.h"

#include <errno.h>
#include <string.h>

static int draw(void *user, void *bytes, size_t len)
{
    struct model *model = user;
    memset(bytes, ++model->lives, len);
    return 0;
}

static bool on_line(const struct model *model)
{
    return model->config.channel == OB_CHANNEL_LINE;
}

void model_begin(struct model *model, const struct ob_session_config *config)
{
    model->config = *config;
    model->config.size = sizeof(model->config);
    model->peer_nonce = 1;
    model->config.user = model;
    model->config.random = draw;
    model_application(model, &model->config.events);
    CHECK(ob_session_new(&model->config, &model->session) == 0);
    model_reconnect(model);
    model_take(model, SIZE_MAX);
    model_greet(model);
    CHECK(model->up);
}

void model_reconnect(struct model *model)
{
    CHECK(ob_session_transport_up(model->session, model->now) == 0);
    model->dead = false;
    model->tainted = false;
    model->frame_len = 0;
    cobs_decoder_init(&model->cobs, model->frame, sizeof(model->frame));
}

void model_end(struct model *model)
{
    ob_session_free(model->session);
    for (int i = 0; i < model->num_handles; i++)
        free(model->handles[i].lent);
}

/* Windows and send buffers are what it may hold; chunks may be half empty. */
void model_check_bounds(const struct model *model)
{
    struct ob_session_stats stats;
    ob_session_stats(model->session, &stats);
    CHECK(ob_session_deadline(model->session) != 0);
    uint32_t most = (uint32_t)model->num_handles + model->config.max_streams + 1;
    CHECK(stats.streams <= most);
    model_check_streams(model);
    CHECK(stats.buffered_bytes <=
          most * (2 * (uint64_t)(model->config.window + model->config.send_buffer) + 1200));
}

void model_peer_begin(struct model *model, uint64_t tag)
{
    model->tag = tag;
    model->engine_seq = model->peer_seq = 0;
    model->peer_next_id = 1;
    model->engine_next_id = 2;
    memset(model->seen, 0, sizeof(model->seen));
}

void model_give(struct model *model, const void *bytes, size_t len)
{
    int result = model_receive(model, bytes, len);
    CHECK(result == 0 || (!on_line(model) && ob_session_fault(model->session)->code == result));
    CHECK(result == 0 || !model->up);
    CHECK(!model->dead || result < 0);
    model->dead = result < 0;
}

static void give_frame(struct model *model, const struct session_header *header,
                       const uint8_t *payload)
{
    uint8_t bytes[4096], stuffed[COBS_ENCODED_MAX(sizeof(bytes)) + 2] = {0};
    size_t len = SESSION_HEADER_LEN + header->len;
    session_header_put(bytes, header);
    memcpy(bytes + SESSION_HEADER_LEN, payload, header->len);
    if (!on_line(model)) {
        model_give(model, bytes, len);
        return;
    }
    uint32_t crc = crc32c(0, bytes, len);
    for (int i = 0; i < 4; i++)
        bytes[len++] = (uint8_t)(crc >> (8 * i));
    size_t stuffed_len = 1 + cobs_encode(stuffed + 1, bytes, len);
    stuffed[stuffed_len++] = 0;
    model_give(model, stuffed, stuffed_len);
}

static void greet(struct model *model, const struct session_hello *hello)
{
    uint8_t payload[SESSION_HELLO_ACK_LEN];
    struct session_hello_ack ack = {.hello = *hello, .peer_nonce = model->engine_nonce};
    struct session_header header = {.type = SESSION_HELLO};
    header.len = (uint16_t)session_hello_put(payload, hello);
    give_frame(model, &header, payload);
    model_take(model, SIZE_MAX); /* it may have a new nonce now */
    ack.peer_nonce = model->engine_nonce;
    header.type = SESSION_HELLO_ACK;
    header.len = (uint16_t)session_hello_ack_put(payload, &ack);
    give_frame(model, &header, payload);
}

void model_greet(struct model *model)
{
    greet(model, &(struct session_hello){
                     .version = SESSION_VERSION, .max_streams = 4, .nonce = model->peer_nonce});
}

void model_restart(struct model *model, uint8_t how)
{
    model->peer_nonce += how & 1;
    greet(model,
          &(struct session_hello){.version = (uint16_t)(SESSION_VERSION + (how >> 1 & 1)),
                                  .flags = how & 4 ? SESSION_HELLO_KEY : SESSION_HELLO_LISTENS,
                                  .max_streams = 4,
                                  .nonce = how & 8 ? model->engine_nonce : model->peer_nonce});
    CHECK(!model->up || model->tainted || how & 8 || !(how & 1) || !(how & 6));
}

static struct seen *look(struct model *model, uint64_t id)
{
    return id < IDS ? &model->seen[id] : NULL;
}

uint64_t model_peer_sent(const struct model *model, uint64_t id)
{
    return id < IDS ? model->seen[id].peer_sent : 0;
}

/* What the engine did not object to counts. */
static void note_sent(struct model *model, enum session_type type, uint64_t id,
                      const uint8_t *payload, size_t len)
{
    struct seen *seen = look(model, id);
    uint32_t window = 0;
    struct session_open open;
    struct session_credit credit;
    if (type == SESSION_OPEN) {
        model->peer_next_id += 2;
        if (seen && session_open_get(payload, len, &open) == 0)
            *seen = (struct seen){.opened = true, .limit = open.window};
    }
    if (!seen || !seen->opened)
        return;
    if (type == SESSION_ACCEPT && id % 2 == 0 && !seen->answered &&
        session_u32_get(payload, len, &window) == 0) {
        seen->answered = true;
        seen->limit = window;
    } else if (type == SESSION_DATA) {
        seen->peer_sent += len;
    } else if (type == SESSION_CREDIT && session_credit_get(payload, len, &credit) == 0) {
        /* One that goes back is refused, or dropped because the stream is over. */
        uint64_t limit = credit.consumed + credit.window;
        seen->limit = limit > seen->limit ? limit : seen->limit;
    }
}

void model_peer_send(struct model *model, enum session_type type, uint64_t id,
                     const uint8_t *payload, size_t len)
{
    uint64_t tag = model->tag;
    struct session_header header = {
        .type = (uint8_t)type,
        .len = (uint16_t)len,
        .seq = model->peer_seq,
        .stream = id,
        .tag = tag,
    };
    if (!model->up)
        return;
    model->peer_seq++;
    /* The engine may have sent an OPEN that is not wholly taken yet; an answer to that is a guess.
     */
    if (id && id % 2 == 0 && id >= model->engine_next_id)
        model->tainted = true;
    struct seen before = look(model, id) ? *look(model, id) : (struct seen){0};
    give_frame(model, &header, payload);
    if (!model->up || model->tag != tag)
        return;
    if (look(model, id) && before.over && type != SESSION_OPEN)
        return;
    note_sent(model, type, id, payload, len);
}

static void see_greeting(struct model *model, const struct session_header *header,
                         const uint8_t *payload)
{
    struct session_hello hello;
    struct session_hello_ack ack;
    CHECK(!header->tag && !header->seq && !header->stream && !header->flags);
    if (header->type == SESSION_HELLO) {
        CHECK(session_hello_get(payload, header->len, &hello) == 0);
    } else {
        CHECK(session_hello_ack_get(payload, header->len, &ack) == 0);
        hello = ack.hello;
    }
    model->engine_nonce = hello.nonce;
}

static void see_data(struct model *model, struct seen *seen, const struct session_header *header,
                     const uint8_t *payload)
{
    CHECK(header->len >= 1 && header->len <= LIMIT_SESSION_DATA && !seen->ended);
    CHECK(model->tainted || seen->answered);
    for (size_t i = 0; i < header->len; i++)
        CHECK(payload[i] == model_byte(seen->sent + i));
    seen->sent += header->len;
    CHECK(model->tainted || seen->sent <= seen->limit);
}

static void see_credit(struct model *model, struct seen *seen, const struct session_header *header,
                       const uint8_t *payload)
{
    struct session_credit credit;
    CHECK(session_credit_get(payload, header->len, &credit) == 0);
    CHECK(model->tainted || seen->answered);
    CHECK(credit.consumed >= seen->consumed && credit.window == model->config.window);
    CHECK(credit.consumed + credit.window >= seen->peer_limit);
    CHECK(model->tainted || credit.consumed <= seen->peer_sent);
    seen->consumed = credit.consumed;
    seen->peer_limit = credit.consumed + credit.window;
}

static void see_open(struct model *model, struct seen *seen, const struct session_header *header,
                     const uint8_t *payload)
{
    struct session_open open;
    CHECK(header->stream == model->engine_next_id);
    CHECK(session_open_get(payload, header->len, &open) == 0);
    CHECK(open.service_len == 4 && open.metadata_len == 4 && open.window == model->config.window);
    model->engine_next_id += 2;
    *seen = (struct seen){.opened = true, .peer_limit = open.window};
}

/* A frame about a stream of the session that stands. */
static void see_stream(struct model *model, const struct session_header *header,
                       const uint8_t *payload)
{
    struct seen *seen = look(model, header->stream);
    uint64_t total;
    uint32_t value;
    if (!seen)
        return;
    if (header->type == SESSION_OPEN) {
        see_open(model, seen, header, payload);
        return;
    }
    CHECK(model->tainted || seen->opened);
    CHECK(!seen->over);
    switch (header->type) {
    case SESSION_ACCEPT:
        CHECK(!seen->answered && header->stream % 2 == 1);
        CHECK(session_u32_get(payload, header->len, &value) == 0);
        seen->answered = true;
        seen->peer_limit = value;
        break;
    case SESSION_REFUSE:
        CHECK(!seen->answered && header->stream % 2 == 1 && header->len == 4);
        seen->over = true;
        break;
    case SESSION_DATA:
        see_data(model, seen, header, payload);
        break;
    case SESSION_CREDIT:
        see_credit(model, seen, header, payload);
        break;
    case SESSION_FIN:
        CHECK(session_u64_get(payload, header->len, &total) == 0 && total == seen->sent);
        CHECK(!seen->ended && (model->tainted || seen->answered));
        seen->ended = true;
        break;
    case SESSION_RESET:
        CHECK(header->len == 4);
        CHECK(model->tainted || seen->answered || header->stream % 2 == 0);
        seen->over = true;
        break;
    default:
        CHECK(!"a frame that names a stream");
    }
}

static void see_frame(struct model *model, const uint8_t *frame)
{
    struct session_header header = session_header_get(frame);
    const uint8_t *payload = frame + SESSION_HEADER_LEN;
    CHECK(header.type >= SESSION_HELLO && header.type < SESSION_TYPES);
    if (header.type <= SESSION_HELLO_ACK) {
        see_greeting(model, &header, payload);
        return;
    }
    CHECK(header.flags == SESSION_FLAG_GREATER);
    if (header.tag != model->tag)
        return; /* of a session that is over */
    CHECK(header.seq == model->engine_seq++);
    CHECK((header.stream == 0) == (header.type <= SESSION_PONG));
    if (header.stream)
        see_stream(model, &header, payload);
}

static void see_clean(struct model *model, const uint8_t *bytes, size_t len)
{
    while (len) {
        size_t want = SESSION_HEADER_LEN;
        if (model->frame_len >= want)
            want += session_header_get(model->frame).len;
        CHECK(want <= sizeof(model->frame));
        size_t some = want - model->frame_len < len ? want - model->frame_len : len;
        memcpy(model->frame + model->frame_len, bytes, some);
        model->frame_len += some;
        bytes += some;
        len -= some;
        if (model->frame_len < SESSION_HEADER_LEN ||
            model->frame_len < SESSION_HEADER_LEN + (size_t)session_header_get(model->frame).len)
            continue;
        see_frame(model, model->frame);
        model->frame_len = 0;
    }
}

static void see_line(struct model *model, const uint8_t *bytes, size_t len)
{
    while (len) {
        bool ended;
        size_t taken = cobs_decode(&model->cobs, bytes, len, &ended);
        bytes += taken;
        len -= taken;
        if (!ended)
            continue;
        if (model->cobs.begun) {
            size_t body = model->cobs.len - SESSION_CRC_LEN;
            CHECK(cobs_frame_whole(&model->cobs) && model->cobs.len >= 28);
            CHECK(session_header_get(model->frame).len == body - SESSION_HEADER_LEN);
            see_frame(model, model->frame);
        }
        cobs_decoder_reset(&model->cobs);
    }
}

void model_take(struct model *model, size_t len)
{
    while (len && ob_session_has_output(model->session)) {
        struct iovec iov[16];
        int count = ob_session_transmit(model->session, iov, 16, model->now);
        size_t done = 0;
        CHECK(count > 0);
        for (int i = 0; i < count && done < len; i++) {
            size_t some = iov[i].iov_len < len - done ? iov[i].iov_len : len - done;
            CHECK(some > 0);
            if (on_line(model))
                see_line(model, iov[i].iov_base, some);
            else
                see_clean(model, iov[i].iov_base, some);
            done += some;
        }
        ob_session_transmitted(model->session, (ssize_t)done);
        len -= done;
    }
}
