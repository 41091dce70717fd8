// SPDX-License-Identifier: BSD-3-Clause
#include "vfio_user_client_model.h"

#include <errno.h>
#include <string.h>

#include "base/cursor.h"
#include "check.h"

enum {
    REGION_READ = 9,
    DMA_READ = 11,
    DMA_WRITE = 12,
    DEVICE_RESET = 13
};
enum {
    REPLY = 1,
    NO_REPLY = 0x10,
    ERROR = 0x20
};

#define HEADER_LEN 16u
#define ACCESS_LEN 16u
#define MAX_FDS    16u

struct frame {
    uint16_t id, command;
    uint32_t size, flags, error;
    const uint8_t *payload;
    size_t len;
};

int model_memory_check(uint64_t iova, uint64_t len, bool write)
{
    const uint64_t at = iova - MODEL_MEMORY_AT, first_constant = MODEL_MEMORY_WRITABLE;
    if (len == 0)
        return 0;
    if (at >= MODEL_MEMORY_LEN)
        return -EFAULT;
    if (write && at + len > first_constant)
        return -EACCES; /* before it is seen that there is nothing behind */
    return at + len > MODEL_MEMORY_LEN ? -EFAULT : 0;
}

static struct frame read_frame(const struct model *model)
{
    struct rd rd = rd_init(model->in, HEADER_LEN);
    struct frame frame = {.id = rd_u16(&rd), .command = rd_u16(&rd)};
    frame.size = rd_u32(&rd);
    frame.flags = rd_u32(&rd);
    frame.error = rd_u32(&rd);
    frame.payload = model->in + HEADER_LEN;
    frame.len = frame.size - HEADER_LEN;
    return frame;
}

static void put(struct model *model, const struct frame *frame, uint32_t flags, uint32_t error,
                const uint8_t *payload, size_t len)
{
    CHECK(model->out_len + HEADER_LEN + len <= MODEL_TX_LEN);
    struct wr wr = wr_init(model->out + model->out_len, HEADER_LEN + len);
    wr_u16(&wr, frame->id);
    wr_u16(&wr, frame->command);
    wr_u32(&wr, (uint32_t)(HEADER_LEN + len));
    wr_u32(&wr, flags);
    wr_u32(&wr, error);
    wr_bytes(&wr, payload, len);
    model->out_len += HEADER_LEN + len;
}

static uint64_t number(const uint8_t *bytes, size_t len)
{
    uint64_t value = 0;
    for (size_t i = 0; i < len; i++)
        value |= (uint64_t)bytes[i] << (8 * i);
    return value;
}

static void take_access(struct model *model, const struct model_call *call,
                        const struct frame *frame, uint64_t *value)
{
    size_t data_len = call->command == REGION_READ ? call->size : 0;
    model->refused =
        frame->len != ACCESS_LEN + data_len || number(frame->payload + 12, 4) != call->size;
    if (!model->refused)
        *value = number(frame->payload + ACCESS_LEN, data_len);
}

static void take_reply(struct model *model, const struct model_call *call,
                       const struct frame *frame)
{
    if (call->slot < 0)
        return;
    struct model_reply *reply = &model->replies[call->slot];
    model->refused = frame->len > call->reply_len || model->waiting_fds > call->max_fds;
    if (model->refused)
        return;
    memcpy(reply->bytes, frame->payload, frame->len);
    reply->filled = true;
    reply->len = frame->len;
    reply->num_fds = model->waiting_fds;
}

static void take_answer(struct model *model, const struct frame *frame)
{
    unsigned i = 0;
    int error = 0;
    uint64_t value = 0;
    while (i < model->num_calls && (model->calls[i].serial & 0xffff) != frame->id)
        i++;
    model->refused = i == model->num_calls || model->calls[i].command != frame->command;
    if (model->refused)
        return;
    const struct model_call call = model->calls[i];
    if (frame->flags & ERROR)
        error = frame->error >= 1 && frame->error <= 4095 ? -(int)frame->error : -EIO;
    else if (call.is_message)
        take_reply(model, &call, frame);
    else if (call.command != DEVICE_RESET)
        take_access(model, &call, frame, &value);
    if (model->refused)
        return;
    if (call.serial > model->answered) {
        model->answered = call.serial;
        model->error = error;
        model->value = value;
    }
    model->num_calls--;
    memmove(&model->calls[i], &model->calls[i + 1],
            (model->num_calls - i) * sizeof(model->calls[0]));
}

static int check_command(const struct frame *frame)
{
    if (frame->command != DMA_READ && frame->command != DMA_WRITE)
        return -ENOSYS;
    if (frame->len < ACCESS_LEN || (frame->command == DMA_READ && frame->flags & NO_REPLY))
        return -EINVAL;
    uint64_t count = number(frame->payload + 8, 8);
    if (count > MODEL_MAX_DATA)
        return -E2BIG;
    return frame->len == ACCESS_LEN + (frame->command == DMA_WRITE ? count : 0) ? 0 : -EINVAL;
}

/* Whether the command was carried out, or has to wait for room. */
static bool take_command(struct model *model, const struct frame *frame)
{
    int err = check_command(frame);
    bool reads = frame->command == DMA_READ, is_answered = !(frame->flags & NO_REPLY);
    uint64_t iova = err == 0 ? number(frame->payload, 8) : 0;
    uint64_t count = err == 0 ? number(frame->payload + 8, 8) : 0;
    if (model->out_len + HEADER_LEN + ACCESS_LEN + (reads ? count : 0) > MODEL_TX_LEN / 2)
        return false;
    if (err == 0)
        err = model_memory_check(iova, count, !reads);
    if (err == 0 && !reads && count > 0)
        memcpy(model->memory + (iova - MODEL_MEMORY_AT), frame->payload + ACCESS_LEN, count);
    uint8_t answer[ACCESS_LEN + MODEL_MAX_DATA];
    if (err == 0)
        memcpy(answer, frame->payload, ACCESS_LEN);
    if (err == 0 && reads && count > 0)
        memcpy(answer + ACCESS_LEN, model->memory + (iova - MODEL_MEMORY_AT), count);
    if (is_answered && err == 0)
        put(model, frame, REPLY, 0, answer, ACCESS_LEN + (reads ? count : 0));
    else if (is_answered)
        put(model, frame, REPLY | ERROR, (uint32_t)-err, NULL, 0);
    return true;
}

/* Takes a frame; whether it is taken. */
static bool take_frame(struct model *model, const struct frame *frame)
{
    uint32_t type = frame->flags & 0xf;
    if (type == REPLY)
        take_answer(model, frame);
    else if (type != 0 || !model->opened)
        model->refused = true;
    else
        return take_command(model, frame);
    return true;
}

static void take_frames(struct model *model)
{
    model->later = false;
    while (!model->refused && model->in_len >= HEADER_LEN) {
        const struct frame frame = read_frame(model);
        model->refused = frame.size < HEADER_LEN || frame.size > MODEL_RX_LEN;
        if (model->refused || model->in_len < frame.size)
            return;
        if (model->in_len == frame.size) {
            model->waiting_fds += model->arrived_fds;
            model->arrived_fds = 0;
        }
        model->later = !take_frame(model, &frame);
        if (model->later || model->refused)
            return;
        model->waiting_fds = 0;
        model->in_len -= frame.size;
        memmove(model->in, model->in + frame.size, model->in_len);
    }
}

void model_receive(struct model *model, const uint8_t *bytes, size_t len, unsigned num_fds)
{
    if (model->refused)
        return;
    memcpy(model->in + model->in_len, bytes, len);
    model->in_len += len;
    model->waiting_fds += model->arrived_fds;
    model->arrived_fds = num_fds;
    model->refused = model->waiting_fds + model->arrived_fds > MAX_FDS;
    take_frames(model);
}

void model_send(struct model *model, size_t len)
{
    model->out_sent += len;
    if (model->out_sent < model->out_len)
        return;
    model->out_len = model->out_sent = 0;
    if (model->later)
        take_frames(model);
}
