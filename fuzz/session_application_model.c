// SPDX-License-Identifier: BSD-3-Clause
#include "session_model.h"

#include <errno.h>
#include <string.h>

uint8_t model_byte(uint64_t offset)
{
    return (uint8_t)(offset % 251);
}

void model_fill(uint8_t *bytes, size_t len, uint64_t offset)
{
    for (size_t i = 0; i < len; i++)
        bytes[i] = model_byte(offset + i);
}

static struct handle *free_handle(struct model *model)
{
    for (int i = 0; i < model->num_handles; i++) {
        if (!model->handles[i].stream)
            return &model->handles[i];
    }
    return NULL;
}

static void occupy(struct model *model, struct handle *handle, struct ob_stream *stream)
{
    *handle = (struct handle){.model = model, .stream = stream};
    ob_stream_set_user(stream, handle);
}

static void on_up(void *user, uint64_t tag)
{
    struct model *model = user;
    CHECK(!model->up && tag && tag == ob_session_tag(model->session));
    model->up = true;
    model_peer_begin(model, tag);
}

static void on_ended(void *user, uint32_t reason)
{
    struct model *model = user;
    CHECK(model->up || reason == OB_REASON_KEY || reason == OB_REASON_VERSION);
    model->up = false;
    for (int i = 0; i < model->num_handles; i++)
        CHECK(!model->handles[i].stream || model->handles[i].over);
}

static void on_incoming(void *user, struct ob_stream *stream, const struct ob_open *open)
{
    struct model *model = user;
    struct handle *handle = free_handle(model);
    CHECK(model->up);
    CHECK(model->tainted || (open->service_len == 7 && open->metadata_len == 0));
    if (handle)
        occupy(model, handle, stream);
    else
        ob_stream_refuse(stream, OB_REASON_BUSY);
}

static struct handle *handle_of(struct ob_stream *stream)
{
    struct handle *handle = ob_stream_user(stream);
    CHECK(handle && handle->stream == stream && !handle->over);
    return handle;
}

static void on_opened(void *user, struct ob_stream *stream)
{
    handle_of(stream);
}

/* Sometimes reads, sometimes leaves the bytes, sometimes frees the stream in the middle of it. */
static void on_readable(void *user, struct ob_stream *stream)
{
    struct handle *handle = handle_of(stream);
    const void *bytes;
    CHECK(ob_stream_peek(stream, &bytes) != -EAGAIN);
    uint64_t what = (handle->read + handle->written) % 5;
    if (what == 4)
        model_free(handle, 0);
    else if (what)
        model_read(handle, what == 1 ? 3 : SIZE_MAX);
}

static void on_writable(void *user, struct ob_stream *stream)
{
    struct handle *handle = handle_of(stream);
    free(handle->lent);
    handle->lent = NULL;
}

static void on_over(void *user, struct ob_stream *stream, uint32_t reason)
{
    struct handle *handle = handle_of(stream);
    CHECK(reason == ob_stream_reason(stream));
    CHECK(ob_stream_write(stream, "x", 1) == -ECONNRESET);
    handle->over = true;
    free(handle->lent);
    handle->lent = NULL;
    /* One stream often depends on another, and goes with it. */
    struct model *model = handle->model;
    struct handle *next = model->handles + (handle - model->handles + 1) % model->num_handles;
    if (handle->written % 3 == 1 && next->stream)
        model_free(next, 0);
}

void model_application(struct model *model, struct ob_session_events *events)
{
    *events = (struct ob_session_events){
        .up = on_up,
        .ended = on_ended,
        .incoming = on_incoming,
        .opened = on_opened,
        .refused = on_over,
        .readable = model->asks ? NULL : on_readable,
        .writable = on_writable,
        .reset = on_over,
    };
}

int model_receive(struct model *model, const void *bytes, size_t len)
{
    if (!model->asks)
        return ob_session_receive(model->session, bytes, len, model->now);
    void *lent = malloc(len + 1);
    if (len)
        memcpy(lent, bytes, len);
    int result = ob_session_receive_lent(model->session, lent, len, model->now);
    for (struct ob_stream *stream; (stream = ob_session_next_readable(model->session));)
        on_readable(model, stream);
    free(lent);
    return result;
}

void model_open(struct model *model)
{
    struct handle *handle = free_handle(model);
    struct ob_stream *stream;
    if (handle && ob_stream_open(model->session, "name", 4, "data", 4, &stream) == 0) {
        CHECK(model->up);
        occupy(model, handle, stream);
    }
}

void model_write(struct handle *handle, size_t len)
{
    uint8_t bytes[1024];
    len = len < sizeof(bytes) ? len : sizeof(bytes);
    model_fill(bytes, len, handle->written);
    ssize_t taken = ob_stream_write(handle->stream, bytes, len);
    CHECK(taken <= (ssize_t)len);
    if (taken >= 0)
        CHECK(!handle->ended && !handle->over);
    handle->written += taken > 0 ? (uint64_t)taken : 0;
}

void model_lend(struct handle *handle, size_t len)
{
    uint8_t *bytes = malloc(len);
    model_fill(bytes, len, handle->written);
    if (ob_stream_lend(handle->stream, bytes, len) < 0) {
        free(bytes);
        return;
    }
    CHECK(!handle->ended && !handle->over && !handle->lent);
    handle->lent = bytes;
    handle->written += len;
}

void model_read(struct handle *handle, size_t len)
{
    const void *bytes;
    ssize_t there;
    while (len && (there = ob_stream_peek(handle->stream, &bytes)) > 0) {
        size_t some = len < (size_t)there ? len : (size_t)there;
        for (size_t i = 0; i < some && !handle->model->tainted; i++)
            CHECK(((const uint8_t *)bytes)[i] == model_byte(handle->read + i));
        ob_stream_consume(handle->stream, some);
        handle->read += some;
        len -= some;
    }
}

void model_look(struct handle *handle, int most)
{
    struct iovec iov[8];
    const void *first;
    int count = ob_stream_peek_spans(handle->stream, iov, most);
    ssize_t there = ob_stream_peek(handle->stream, &first);
    CHECK(count <= most && (count > 0) == (there > 0));
    CHECK(count > 0 || count == there);
    size_t len = 0;
    for (int i = 0; i < count; i++) {
        for (size_t j = 0; j < iov[i].iov_len && !handle->model->tainted; j++)
            CHECK(((uint8_t *)iov[i].iov_base)[j] == model_byte(handle->read + len + j));
        len += iov[i].iov_len;
    }
    size_t some = len - len / 3;
    ob_stream_consume(handle->stream, some);
    handle->read += some;
}

void model_copy(struct handle *handle, size_t len)
{
    uint8_t bytes[256];
    ssize_t taken = ob_stream_read(handle->stream, bytes, len);
    CHECK(taken <= (ssize_t)len && (taken >= 0 || taken == -EAGAIN || handle->over));
    for (ssize_t i = 0; i < taken && !handle->model->tainted; i++)
        CHECK(bytes[i] == model_byte(handle->read + (uint64_t)i));
    handle->read += taken > 0 ? (uint64_t)taken : 0;
}

void model_free(struct handle *handle, uint32_t reason)
{
    if (reason)
        ob_stream_reset(handle->stream, reason);
    else
        ob_stream_free(handle->stream);
    free(handle->lent);
    handle->lent = NULL;
    handle->stream = NULL;
}

/* What the engine let the peer do to each stream. */
void model_check_streams(const struct model *model)
{
    for (int i = 0; i < model->num_handles; i++) {
        const struct handle *handle = &model->handles[i];
        struct ob_stream_stats stats;
        if (!handle->stream || handle->over)
            continue;
        CHECK(ob_stream_session(handle->stream) == model->session);
        ob_stream_stats(handle->stream, &stats);
        CHECK(stats.unread <= model->config.window);
        CHECK(stats.bytes_received - stats.unread == handle->read);
        CHECK(stats.bytes_sent <= handle->written);
        CHECK(stats.credit <= LIMIT_SESSION_WINDOW);
    }
}
