// SPDX-License-Identifier: BSD-3-Clause
/*
 * The client engine against a hostile remote, and against a model of which answer is whose.
 *
 * An input is a list of steps: requests of all kinds; right answers to the oldest call, whole, in
 * pieces or several at once; raw bytes; descriptors. What must hold at every step: the engine takes
 * an answer exactly when the model does, and for the same call with the same value; it refuses
 * exactly what the model refuses, and from then on everything; it always has room to receive until
 * it refuses; what it sends is well formed, begins with a memory table, and names BARs where they
 * were put.
 */
#include "client/engine.h"

#include <errno.h>
#include <string.h>

#include "base/cursor.h"
#include "check.h"
#include "wire/mpqemu.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct model_call {
    uint64_t serial;
    size_t answer_len; /* of the payload */
};

struct run {
    struct rd input;
    enum mpqemu_dialect dialect;
    struct client client;
    bool opened;
    uint32_t bar0; /* as last written */
    struct model_call calls[LIMIT_CLIENT_CALLS];
    unsigned num_calls;
    uint64_t answered; /* serial of the last call that was answered, and its answer */
    uint64_t answer;
    uint8_t stream[8192]; /* received and not taken yet */
    size_t stream_len;
    bool refused;
    uint8_t next_value;
    unsigned num_fds; /* handed to the engine and not closed yet */
};

static void close_fd(void *context, int fd)
{
    struct run *run = context;
    CHECK(fd == 7 && run->num_fds > 0);
    run->num_fds--;
}

#define BAR_LEN 0x100u

static void drop_call(struct run *run)
{
    run->num_calls--;
    memmove(run->calls, run->calls + 1, run->num_calls * sizeof(run->calls[0]));
}

/* Whether the stream begins with a header that may come. */
static bool header_is_right(const struct run *run)
{
    struct rd rd = rd_init(run->stream, MPQEMU_HEADER_LEN);
    uint32_t number = rd_u32(&rd);
    rd_skip(&rd, 4);
    return number == (run->dialect == MPQEMU_V8 ? 2 : 1) && rd_u64(&rd) == run->calls[0].answer_len;
}

static void model_receive(struct run *run, const uint8_t *bytes, size_t len)
{
    memcpy(run->stream + run->stream_len, bytes, len);
    run->stream_len += len;
    while (run->num_calls > 0 && run->stream_len >= MPQEMU_HEADER_LEN && !run->refused) {
        size_t frame_len = MPQEMU_HEADER_LEN + run->calls[0].answer_len;
        run->refused = !header_is_right(run);
        if (run->refused || run->stream_len < frame_len)
            return;
        struct rd rd = rd_init(run->stream + MPQEMU_HEADER_LEN, run->calls[0].answer_len);
        run->answer = run->calls[0].answer_len > 0 ? rd_u64(&rd) : 0;
        run->answered = run->calls[0].serial;
        drop_call(run);
        run->stream_len -= frame_len;
        memmove(run->stream, run->stream + frame_len, run->stream_len);
    }
    if (run->num_calls == 0 && run->stream_len > 0)
        run->refused = true;
}

static void compare(struct run *run)
{
    CHECK((run->client.fault.code != 0) == run->refused);
    CHECK(run->client.answered_serial == run->answered);
    CHECK(run->client.num_calls == run->num_calls);
    struct client_answer answer = {0};
    if (run->answered > 0) {
        CHECK(client_answered(&run->client, run->answered, &answer));
        CHECK(answer.value == run->answer && answer.error == 0);
    }
    for (unsigned i = 0; i < run->num_calls; i++)
        CHECK(!client_answered(&run->client, run->calls[i].serial, &answer));
}

static void receive(struct run *run, const uint8_t *bytes, size_t len, unsigned num_fds)
{
    size_t room;
    uint8_t *to = client_receive_space(&run->client, &room);
    CHECK(run->refused || room > LIMIT_REPLY_BYTES / 2);
    if (len > room)
        len = room;
    memcpy(to, bytes, len);
    bool was_refused = run->refused;
    run->num_fds += num_fds;
    int err = client_received(&run->client, len, (int[]){7}, num_fds);
    if (!was_refused && num_fds > 0)
        run->refused = true;
    else if (!was_refused)
        model_receive(run, bytes, len);
    CHECK(err == (run->refused ? -EPROTO : 0));
}

/* A right answer to each of the oldest calls, as many as asked for, cut where the input says. */
static void receive_answers(struct run *run)
{
    uint8_t bytes[LIMIT_CLIENT_CALLS * (MPQEMU_HEADER_LEN + MPQEMU_UNION_LEN)];
    struct wr wr = wr_init(bytes, sizeof(bytes));
    unsigned count = rd_u8(&run->input) % LIMIT_CLIENT_CALLS + 1;
    for (unsigned i = 0; i < count && i < run->num_calls; i++) {
        wr_u32(&wr, run->dialect == MPQEMU_V8 ? 2 : 1);
        wr_u32(&wr, 0);
        wr_u64(&wr, run->calls[i].answer_len);
        if (run->calls[i].answer_len > 0) {
            wr_u64(&wr, 0x0101010101010101u * ++run->next_value);
            wr_zero(&wr, run->calls[i].answer_len - 8);
        }
    }
    size_t cut = rd_u8(&run->input);
    if (cut > wr.len)
        cut = wr.len;
    receive(run, bytes, cut, 0);
    receive(run, bytes + cut, wr.len - cut, 0);
}

static void receive_raw(struct run *run, unsigned num_fds)
{
    uint8_t bytes[64];
    size_t len = rd_u8(&run->input) % sizeof(bytes);
    rd_bytes(&run->input, bytes, len);
    receive(run, bytes, len, num_fds);
}

/* Takes one message off what was sent; its command. */
static int next_message(const struct run *run, struct rd *sent, struct rd *ret_payload)
{
    uint32_t number = rd_u32(sent);
    uint32_t bytestream = rd_u32(sent);
    uint64_t size = rd_u64(sent);
    int command = mpqemu_command_from(run->dialect, number);
    bool is_config = command == MPQEMU_CONFIG_READ || command == MPQEMU_CONFIG_WRITE;
    CHECK(bytestream == (run->dialect == MPQEMU_V8 && is_config));
    CHECK(size <= sent->left);
    *ret_payload = rd_init(sent->at, size);
    rd_skip(sent, size);
    return command;
}

static void check_bar_access(const struct run *run, const struct client_request *request,
                             struct rd payload)
{
    CHECK(payload.left == (run->dialect == MPQEMU_V8 ? MPQEMU_UNION_LEN : MPQEMU_BAR_LEN));
    CHECK(rd_u64(&payload) == (run->bar0 & ~(BAR_LEN - 1)) + request->offset);
    CHECK(rd_u64(&payload) == request->value);
    CHECK(rd_u32(&payload) == request->size);
    CHECK(rd_u8(&payload) == 1);
}

static size_t answer_len(const struct run *run, enum client_operation operation)
{
    if (operation == CLIENT_RESET)
        return 0;
    return run->dialect == MPQEMU_V8 ? MPQEMU_UNION_LEN : MPQEMU_RET_LEN;
}

/* Sends all that is pending, in halves. Descriptors ride on the first byte of a message. */
static size_t send_all(struct run *run, uint8_t *ret_bytes, unsigned *ret_num_fds)
{
    size_t total = 0;
    *ret_num_fds = 0;
    for (;;) {
        size_t len;
        const int *fds;
        unsigned num_fds;
        const uint8_t *bytes = client_pending(&run->client, &len, &fds, &num_fds);
        if (len == 0)
            return total;
        CHECK(total + len <= LIMIT_REQUEST_BYTES);
        CHECK(num_fds == 0 || *ret_num_fds == 0);
        *ret_num_fds += num_fds;
        size_t half = (len + 1) / 2;
        memcpy(ret_bytes + total, bytes, half);
        CHECK(client_sent(&run->client, half) == 0);
        total += half;
    }
}

/* Looks at what a request has put. */
static void check_sent(struct run *run, const struct client_request *request)
{
    uint8_t bytes[LIMIT_REQUEST_BYTES];
    unsigned num_fds;
    size_t len = send_all(run, bytes, &num_fds);
    struct rd sent = rd_init(bytes, len), payload;
    int command = next_message(run, &sent, &payload);
    if (!run->opened)
        CHECK(command == MPQEMU_SYNC_SYSMEM);
    if (!run->opened && request->operation != CLIENT_PUBLISH_MEMORY)
        command = next_message(run, &sent, &payload);
    run->opened = true;
    CHECK(rd_done(&sent) == 0);
    if (command == MPQEMU_BAR_READ || command == MPQEMU_BAR_WRITE)
        check_bar_access(run, request, payload);
    if (request->operation == CLIENT_PUBLISH_MEMORY)
        CHECK(num_fds == request->num_regions);
    else
        CHECK(num_fds == (request->operation == CLIENT_SET_INTX ? 2 : 0));
}

static void ask(struct run *run)
{
    static const struct ob_client_region regions[LIMIT_MPQEMU_REGIONS + 1] = {{.len = 4096}};
    struct client_request request = {
        .operation = (enum client_operation)(rd_u8(&run->input) % (CLIENT_PING + 1)),
        .size = 1u << rd_u8(&run->input) % 3,
        .offset = rd_u8(&run->input),
        .regions = regions,
    };
    request.value = rd_u32(&run->input);
    request.num_regions = (unsigned)request.offset % (LIMIT_MPQEMU_REGIONS + 2);
    if (request.operation == CLIENT_CONFIG_WRITE && request.value % 2) {
        request.offset = 0x10;
        request.size = 4;
    }
    uint64_t serial = 0;
    bool too_many =
        request.operation == CLIENT_PUBLISH_MEMORY && request.num_regions > LIMIT_MPQEMU_REGIONS;
    int err = client_request(&run->client, &request, &serial);
    if (run->refused || run->num_calls == LIMIT_CLIENT_CALLS || too_many) {
        CHECK(err < 0);
        return;
    }
    CHECK(err == 0);
    check_sent(run, &request);
    if (request.operation == CLIENT_CONFIG_WRITE && request.offset == 0x10 && request.size == 4)
        run->bar0 = (uint32_t)request.value;
    else if (request.operation == CLIENT_CONFIG_WRITE)
        run->bar0 = run->client.bar_registers[0];
    if (request.operation == CLIENT_RESET)
        run->bar0 = 0;
    bool is_answered =
        request.operation != CLIENT_PUBLISH_MEMORY && request.operation != CLIENT_SET_INTX;
    CHECK(is_answered == (serial > 0));
    if (is_answered)
        run->calls[run->num_calls++] =
            (struct model_call){.serial = serial, .answer_len = answer_len(run, request.operation)};
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct run run = {.input = rd_init(data, size)};
    run.dialect = rd_u8(&run.input) % 2 ? MPQEMU_V8 : MPQEMU_SHIPPED;
    const struct client_host host = {.close = close_fd, .context = &run};
    CHECK(client_init(&run.client, run.dialect == MPQEMU_V8 ? &client_mpqemu_v8 : &client_mpqemu,
                      &host) == 0);
    run.client.bars[0] = (struct ob_client_bar){.kind = OB_BAR_MEM32, .size = BAR_LEN};
    while (run.input.left > 0 && !run.input.bad) {
        uint8_t step = rd_u8(&run.input);
        if (step < 120)
            ask(&run);
        else if (step < 220)
            receive_answers(&run);
        else
            receive_raw(&run, step == 255 ? 1 : 0);
        compare(&run);
    }
    client_done(&run.client);
    CHECK(run.num_fds == 0);
    return 0;
}
