// SPDX-License-Identifier: BSD-3-Clause
#include "caller.h"

#include "support.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "os/clock.h"
#include "proxy/flow.h"

#define SPANS 8

static int draw(void *user, void *bytes, size_t len)
{
    struct caller *caller = user;
    memset(bytes, (int)++caller->life, len);
    return 0;
}

// cppcheck-suppress constParameterCallback ; the type of a session's event
static void on_opened(void *user, struct ob_stream *stream) // cppcheck-suppress constParameter
{
    struct caller *caller = user;
    if (stream == caller->stream)
        caller->state = CALL_ACCEPTED;
}

/* A stream is freed by who is told that it is over. */
static void on_over(void *user, struct ob_stream *stream, uint32_t reason)
{
    struct caller *caller = user;
    if (stream == caller->stream) {
        caller->state = caller->state == CALL_ASKED ? CALL_REFUSED : CALL_ENDED;
        caller->reason = reason;
        caller->stream = NULL;
    } else if (stream == caller->asked) {
        caller->asked = NULL;
    }
    ob_stream_free(stream);
}

static void on_readable(void *user, struct ob_stream *stream)
{
    struct caller *caller = user;
    ssize_t len;
    if (stream != caller->stream) {
        uint8_t unused[512];
        while (ob_stream_read(stream, unused, sizeof(unused)) > 0)
            ;
        return;
    }
    while ((len = ob_stream_read(stream, caller->heard + caller->heard_len,
                                 sizeof(caller->heard) - caller->heard_len)) > 0)
        caller->heard_len += (size_t)len;
    caller->heard_end |= len == 0;
}

static void copy_name(char ret_name[CALLER_NAME], const uint8_t *bytes, size_t len)
{
    assert_true(len < CALLER_NAME);
    memcpy(ret_name, bytes, len);
    ret_name[len] = '\0';
}

static void on_incoming(void *user, struct ob_stream *stream, const struct ob_open *open)
{
    struct caller *caller = user;
    if (caller->answers) {
        assert_int_equal(ob_stream_accept(stream), 0);
        caller->stream = stream;
        caller->state = CALL_ACCEPTED;
        caller->heard_len = 0;
        caller->heard_end = false;
    } else {
        caller->asked = stream;
    }
    copy_name(caller->service, (const uint8_t *)open->service, open->service_len);
    copy_name(caller->metadata, (const uint8_t *)open->metadata, open->metadata_len);
}

static void receive(struct caller *caller, int fd)
{
    static uint8_t bytes[65536];
    ssize_t len;
    while ((len = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT)) > 0)
        assert_int_equal(ob_session_receive(caller->session, bytes, (size_t)len, clock_now_ns()),
                         0);
}

static void transmit(struct caller *caller, int fd)
{
    struct iovec spans[SPANS];
    while (ob_session_transmit(caller->session, spans, SPANS, clock_now_ns()) > 0) {
        ssize_t len = send(fd, spans[0].iov_base, spans[0].iov_len, MSG_DONTWAIT | MSG_NOSIGNAL);
        ob_session_transmitted(caller->session, len < 0 ? -errno : len);
        if (len < 0)
            return;
    }
}

static void turn(void *argument)
{
    struct caller *caller = argument;
    int fd = caller->lab.ends[LAB_THE_OTHER].channel;
    receive(caller, fd);
    transmit(caller, fd);
}

static bool is_up(void *argument)
{
    return ob_session_tag(((struct caller *)argument)->session) != 0;
}

static void connect_channel(struct caller *caller)
{
    struct lab_end *end = &caller->lab.ends[LAB_THE_OTHER];
    close(end->channel);
    end->channel = lab_connect(&caller->lab, "channel");
}

void caller_reconnect(struct caller *caller)
{
    ob_session_transport_down(caller->session, clock_now_ns());
    connect_channel(caller);
    assert_int_equal(ob_session_transport_up(caller->session, clock_now_ns()), 0);
    caller_until(caller, is_up, caller);
}

void caller_start(struct caller *caller, const char *words)
{
    const struct ob_session_config config = {.size = sizeof(config),
                                             .events = {.incoming = on_incoming,
                                                        .opened = on_opened,
                                                        .refused = on_over,
                                                        .readable = on_readable,
                                                        .reset = on_over},
                                             .user = caller,
                                             .random = draw};
    *caller = (struct caller){.life = 1};
    lab_start_one(&caller->lab, words, turn, caller);
    if (strstr(words, "-c "))
        connect_channel(caller);
    assert_int_equal(ob_session_new(&config, &caller->session), 0);
    assert_int_equal(ob_session_transport_up(caller->session, clock_now_ns()), 0);
    caller_until(caller, is_up, caller);
}

void caller_stop(struct caller *caller)
{
    lab_stop(&caller->lab);
    ob_session_free(caller->session);
}

void caller_until(struct caller *caller, bool (*holds)(void *argument), void *argument)
{
    lab_until(&caller->lab, holds, argument);
}

static bool is_answered(void *argument)
{
    return ((struct caller *)argument)->state != CALL_ASKED;
}

enum call_state caller_open_bytes(struct caller *caller, const void *service, size_t service_len,
                                  const char *metadata)
{
    if (caller->stream)
        ob_stream_free(caller->stream);
    caller->state = CALL_ASKED;
    caller->heard_len = 0;
    caller->heard_end = false;
    assert_int_equal(ob_stream_open(caller->session, service, service_len, metadata,
                                    strlen(metadata), &caller->stream),
                     0);
    caller_until(caller, is_answered, caller);
    return caller->state;
}

enum call_state caller_open(struct caller *caller, const char *service, const char *metadata)
{
    return caller_open_bytes(caller, service, strlen(service), metadata);
}

void caller_say(struct caller *caller, const void *bytes, size_t len)
{
    assert_non_null(caller->stream);
    assert_int_equal(ob_stream_write(caller->stream, bytes, len), (ssize_t)len);
}

bool caller_was_read(void *argument)
{
    const struct caller *caller = argument;
    const struct list *flows = &caller->lab.ends[LAB_OURS].proxy.flows;
    const struct flow *flow = list_entry(flows->next, struct flow, link);
    struct ob_stream_stats said, read;
    ob_stream_stats(caller->stream, &said);
    ob_stream_stats(flow->stream, &read);
    return said.unsent == 0 && read.bytes_received == said.bytes_sent && read.unread == 0;
}

struct hearing {
    const struct caller *caller;
    size_t len;
};

static bool has_heard(void *argument)
{
    const struct hearing *hearing = argument;
    bool is_there = hearing->caller->heard_len >= hearing->len;
    assert_true(is_there || hearing->caller->state == CALL_ACCEPTED);
    return is_there;
}

void caller_hear(struct caller *caller, size_t len)
{
    struct hearing hearing = {caller, len};
    caller_until(caller, has_heard, &hearing);
}

static bool is_over(void *argument)
{
    return ((struct caller *)argument)->state == CALL_ENDED;
}

uint32_t caller_hear_reset(struct caller *caller)
{
    caller_until(caller, is_over, caller);
    return caller->reason;
}

static bool is_asked(void *argument)
{
    return ((struct caller *)argument)->asked;
}

void caller_take(struct caller *caller)
{
    caller_until(caller, is_asked, caller);
    assert_int_equal(ob_stream_accept(caller->asked), 0);
}

void caller_take_none(struct caller *caller, uint32_t reason)
{
    caller_until(caller, is_asked, caller);
    ob_stream_refuse(caller->asked, reason);
    caller->asked = NULL;
}

struct ob_stream *caller_keep(struct caller *caller)
{
    struct ob_stream *stream = caller->stream;
    caller->stream = NULL;
    return stream;
}
