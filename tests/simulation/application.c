// SPDX-License-Identifier: BSD-3-Clause
#include "application.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint8_t expected_byte(uint32_t serial, int side, uint64_t offset)
{
    struct random hash = {((uint64_t)serial << 33 | (uint64_t)side << 32) + offset / 8};
    return (uint8_t)(random_next(&hash) >> (8 * (offset % 8)));
}

static struct record *record_of(const struct connection *connection,
                                struct application *application)
{
    return &application->ledger->records[connection->serial];
}

static uint32_t ledger_add(struct ledger *ledger, uint64_t tag)
{
    if (ledger->count == ledger->size) {
        ledger->size = ledger->size ? 2 * ledger->size : 64;
        ledger->records = realloc(ledger->records, ledger->size * sizeof(*ledger->records));
        if (!ledger->records)
            failed("no memory for the ledger");
    }
    ledger->records[ledger->count] = (struct record){.tag = tag};
    return ledger->count++;
}

static struct connection *free_slot(struct application *application)
{
    for (int i = 0; i < CONNECTIONS; i++) {
        if (!application->connections[i].stream)
            return &application->connections[i];
    }
    return NULL;
}

static void occupy(struct application *application, struct connection *connection,
                   struct ob_stream *stream, uint32_t serial, int side)
{
    *connection = (struct connection){
        .stream = stream,
        .serial = serial,
        .side = side,
        .stopped = random_below(application->random, 4) == 0,
    };
    ob_stream_set_user(stream, connection);
}

static void take_back(struct connection *connection)
{
    free(connection->lent);
    connection->lent = NULL;
}

static void on_up(void *user, uint64_t tag)
{
    struct application *application = user;
    if (application->tag)
        failed("a session came up while one stood");
    if (tag != ob_session_tag(application->session))
        failed("the tag told is not the tag");
    application->tag = tag;
    application->sessions++;
}

static void on_ended(void *user, uint32_t reason)
{
    struct application *application = user;
    if (!application->tag)
        failed("a session ended that did not stand: %s", ob_reason_text(reason));
    for (int i = 0; i < CONNECTIONS; i++) {
        const struct connection *connection = &application->connections[i];
        if (connection->stream && !connection->over)
            failed("the session ended, but stream %u was not reset", connection->serial);
    }
    application->tag = 0;
}

static void on_incoming(void *user, struct ob_stream *stream, const struct ob_open *open)
{
    struct application *application = user;
    struct connection *connection = free_slot(application);
    uint32_t serial;
    if (open->service_len != sizeof(serial) || open->metadata_len != 0)
        failed("OPEN with a service that nobody asked for");
    memcpy(&serial, open->service, sizeof(serial));
    if (serial >= application->ledger->count)
        failed("OPEN of a stream that nobody opened");
    if (application->ledger->records[serial].tag != application->tag)
        failed("OPEN of one session was delivered in another");
    if (!connection) {
        application->ledger->records[serial].gone[1] = true;
        ob_stream_refuse(stream, OB_REASON_BUSY);
        return;
    }
    occupy(application, connection, stream, serial, 1);
    if (random_below(application->random, 8))
        ob_stream_accept(stream);
}

static void check_bytes(struct application *application, struct connection *connection,
                        const uint8_t *bytes, size_t len)
{
    struct record *record = record_of(connection, application);
    int from = !connection->side;
    if (record->tag != application->tag)
        failed("bytes of stream %u were delivered in another session", connection->serial);
    if (record->read[from] + len > record->written[from])
        failed("stream %u delivers more than was written", connection->serial);
    for (size_t i = 0; i < len; i++) {
        if (bytes[i] != expected_byte(connection->serial, from, record->read[from] + i))
            failed("stream %u, byte %" PRIu64 " is wrong", connection->serial,
                   record->read[from] + i);
    }
    record->read[from] += len;
}

static void see_end(struct application *application, struct connection *connection)
{
    struct record *record = record_of(connection, application);
    int from = !connection->side;
    if (!record->finished[from] || record->read[from] != record->written[from])
        failed("stream %u ends after %" PRIu64 " of %" PRIu64 " bytes", connection->serial,
               record->read[from], record->written[from]);
    record->seen_end[from] = true;
}

static void read_some(struct application *application, struct connection *connection, bool all)
{
    const void *bytes;
    ssize_t len;
    while ((len = ob_stream_peek(connection->stream, &bytes)) > 0) {
        size_t some = all ? (size_t)len : 1 + random_below(application->random, (size_t)len);
        check_bytes(application, connection, bytes, some);
        ob_stream_consume(connection->stream, some);
        if (!all)
            return;
    }
    if (len == 0)
        see_end(application, connection);
}

static void on_readable(void *user, struct ob_stream *stream)
{
    struct application *application = user;
    struct connection *connection = ob_stream_user(stream);
    if (!connection->stopped && random_below(application->random, 3))
        read_some(application, connection, random_below(application->random, 2));
}

static void on_writable(void *user, struct ob_stream *stream)
{
    take_back(ob_stream_user(stream));
}

static void give_up(struct application *application, struct connection *connection, uint32_t reason)
{
    record_of(connection, application)->gone[connection->side] = true;
    ob_stream_reset(connection->stream, reason);
    connection->stream = NULL;
    take_back(connection);
}

static void on_over(void *user, struct ob_stream *stream, uint32_t reason)
{
    struct application *application = user;
    struct connection *connection = ob_stream_user(stream);
    if (connection->over)
        failed("stream %u was reset twice", connection->serial);
    connection->over = true;
    record_of(connection, application)->gone[connection->side] = true;
    take_back(connection);
    /* What depends on it goes, too. */
    struct connection *other =
        &application->connections[random_below(application->random, CONNECTIONS)];
    if (other->stream && other != connection && random_below(application->random, 2))
        give_up(application, other, OB_REASON_NONE);
}

static int draw(void *user, void *bytes, size_t len)
{
    struct application *application = user;
    for (size_t i = 0; i < len; i++)
        ((uint8_t *)bytes)[i] = (uint8_t)random_next(&application->nonces);
    return 0;
}

void application_start(struct application *application, const struct ob_session_config *config)
{
    struct ob_session_config own = *config;
    own.size = sizeof(own);
    own.user = application;
    own.random = draw;
    application->asks = random_below(application->random, 2);
    own.events = (struct ob_session_events){
        .up = on_up,
        .ended = on_ended,
        .incoming = on_incoming,
        .refused = on_over,
        .readable = application->asks ? NULL : on_readable,
        .writable = on_writable,
        .reset = on_over,
    };
    if (ob_session_new(&own, &application->session) < 0)
        failed("no memory for the engine");
}

int application_receive(struct application *application, const void *bytes, size_t len,
                        uint64_t now)
{
    struct ob_session *session = application->session;
    if (!application->asks)
        return ob_session_receive(session, bytes, len, now);
    int result = ob_session_receive_lent(session, bytes, len, now);
    for (struct ob_stream *stream; (stream = ob_session_next_readable(session));)
        on_readable(application, stream);
    return result;
}

void application_kill(struct application *application)
{
    ob_session_free(application->session);
    application->session = NULL;
    application->tag = 0;
    for (int i = 0; i < CONNECTIONS; i++) {
        struct connection *connection = &application->connections[i];
        if (!connection->stream)
            continue;
        record_of(connection, application)->gone[connection->side] = true;
        connection->stream = NULL;
        take_back(connection);
    }
}

void application_open(struct application *application)
{
    struct connection *connection = free_slot(application);
    struct ob_stream *stream;
    if (!connection || !application->tag)
        return;
    uint32_t serial = ledger_add(application->ledger, application->tag);
    int result = ob_stream_open(application->session, (const char *)&serial, sizeof(serial), NULL,
                                0, &stream);
    if (result == 0)
        occupy(application, connection, stream, serial, 0);
    else if (result != -EAGAIN)
        failed("open: %s", strerror(-result));
}

static size_t make_bytes(struct application *application, struct connection *connection,
                         uint8_t *bytes, size_t most)
{
    const struct record *record = record_of(connection, application);
    size_t len =
        1 + random_below(application->random, random_below(application->random, 4) ? 100 : most);
    for (size_t i = 0; i < len; i++)
        bytes[i] = expected_byte(connection->serial, connection->side,
                                 record->written[connection->side] + i);
    return len;
}

static void write_some(struct application *application, struct connection *connection)
{
    struct record *record = record_of(connection, application);
    uint8_t *bytes = malloc(LENT_MAX);
    size_t len = make_bytes(application, connection, bytes, LENT_MAX);
    ssize_t taken;
    if (random_below(application->random, 2)) {
        int result = ob_stream_lend(connection->stream, bytes, len);
        taken = result == 0 ? (ssize_t)len : 0;
        if (result == 0) {
            connection->lent = bytes;
            bytes = NULL;
        }
    } else {
        taken = ob_stream_write(connection->stream, bytes, len);
    }
    if (taken > 0)
        record->written[connection->side] += (uint64_t)taken;
    free(bytes);
}

static void act_on(struct application *application, struct connection *connection)
{
    struct record *record = record_of(connection, application);
    uint64_t what = random_below(application->random, 24);
    bool complete = record->finished[connection->side] && record->seen_end[!connection->side];
    if (connection->over || (complete && what >= 22)) {
        give_up(application, connection, OB_REASON_NONE);
    } else if (what < 12) {
        write_some(application, connection);
    } else if (what < 19) {
        if (!connection->stopped)
            read_some(application, connection, what & 1);
    } else if (what < 20) {
        ob_stream_accept(connection->stream);
    } else if (what < 22) {
        if (ob_stream_shutdown(connection->stream) == 0)
            record->finished[connection->side] = true;
    } else if (what == 23) {
        give_up(application, connection, OB_REASON_APPLICATION);
    } else {
        connection->stopped = !connection->stopped;
    }
}

void application_act(struct application *application)
{
    struct connection *connection =
        &application->connections[random_below(application->random, CONNECTIONS)];
    if (connection->stream)
        act_on(application, connection);
    else if (random_below(application->random, 2))
        application_open(application);
}

void application_read(struct application *application, bool also_stopped)
{
    for (int i = 0; i < CONNECTIONS; i++) {
        struct connection *connection = &application->connections[i];
        if (connection->stream && !connection->over && (also_stopped || !connection->stopped)) {
            ob_stream_accept(connection->stream);
            read_some(application, connection, true);
        }
    }
}

void application_check_memory(const struct application *application,
                              const struct ob_session_config *config)
{
    struct ob_session_stats stats;
    ob_session_stats(application->session, &stats);
    uint64_t per_stream = 2 * ((uint64_t)config->window + config->send_buffer) + 4096;
    uint64_t most = (2 * CONNECTIONS + config->max_streams) * (per_stream + 16384);
    if (stats.buffered_bytes > most)
        failed("%" PRIu64 " bytes are buffered, more than %" PRIu64, stats.buffered_bytes, most);
}

void application_check_agreement(const struct application *application)
{
    for (int i = 0; i < CONNECTIONS; i++) {
        const struct connection *connection = &application->connections[i];
        if (!connection->stream || connection->over)
            continue;
        const struct record *record = &application->ledger->records[connection->serial];
        int here = connection->side;
        if (record->tag != application->tag)
            failed("stream %u outlives its session", connection->serial);
        bool finished = record->finished[0] && record->finished[1];
        if (record->gone[!here] && !finished)
            failed("stream %u is over there, and this side was never told", connection->serial);
        if (record->read[here] != record->written[here] && !record->gone[!here])
            failed("stream %u: %" PRIu64 " of %" PRIu64 " bytes arrived", connection->serial,
                   record->read[here], record->written[here]);
    }
}
