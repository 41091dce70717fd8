// SPDX-License-Identifier: BSD-3-Clause
#include "proxy_world.h"

#include "wire/exec.h"

#include <errno.h>
#include <string.h>

#define CHUNK 4096
#define SPANS 8

static struct handle *find(struct peer *peer, const struct ob_stream *stream)
{
    for (int i = 0; i < HANDLES; i++)
        if (peer->handles[i].stream == stream)
            return &peer->handles[i];
    return NULL;
}

static void forget(struct handle *handle, uint32_t reason)
{
    speaker_ends(handle->speaker); /* whoever hears it is told of a reset */
    ob_stream_reset(handle->stream, reason);
    handle->stream = NULL;
}

/* NULL: there are too many. */
static struct handle *take(struct peer *peer, struct ob_stream *stream, bool checked)
{
    struct handle *handle = find(peer, NULL);
    if (!handle)
        return NULL;
    *handle = (struct handle){
        .peer = peer, .stream = stream, .checked = checked, .speaker = -1, .ear = {.hears = -1}};
    if (checked)
        handle->speaker = speaker_new();
    return handle;
}

static void answer(struct handle *handle, uint8_t choice)
{
    static const char where[] = "tcp:127.0.0.1:3001\n";
    if (!handle->stream || handle->answered)
        return;
    if (choice >= 0xe0) {
        ob_stream_refuse(handle->stream, choice - 0xe0);
        handle->stream = NULL;
        return;
    }
    handle->answered = true;
    ob_stream_accept(handle->stream);
    if (!handle->checked)
        ob_stream_write(handle->stream, where, sizeof(where) - 1);
}

/* An answer may wait. */
static void on_incoming(void *user, struct ob_stream *stream, const struct ob_open *open)
{
    struct peer *peer = user;
    bool checked = open->service_len == 3 && memcmp(open->service, "fwd", 3) == 0;
    struct handle *handle = take(peer, stream, checked);
    uint8_t choice = world_next();
    if (!handle)
        ob_stream_refuse(stream, OB_REASON_BUSY);
    else if (world.settling)
        answer(handle, 0xe0 + OB_REASON_FORBIDDEN);
    else if (choice % 4 != 3)
        answer(handle, choice);
}

static void on_refused(void *user, struct ob_stream *stream, uint32_t reason)
{
    struct handle *handle = find(user, stream);
    if (handle)
        forget(handle, OB_REASON_NONE);
}

static int draw(void *user, void *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        kernel.random = kernel.random * 6364136223846793005u + 1442695040888963407u;
        ((uint8_t *)bytes)[i] = (uint8_t)(kernel.random >> 56);
    }
    return 0;
}

void peers_begin(void)
{
    for (int i = 0; i < PEERS; i++) {
        struct peer *peer = &world.peers[i];
        world.peer_config.user = peer;
        world.peer_config.random = draw;
        world.peer_config.events = (struct ob_session_events){
            .incoming = on_incoming, .refused = on_refused, .reset = on_refused};
        CHECK(ob_session_new(&world.peer_config, &peer->session) == 0);
    }
}

static void disconnect(struct peer *peer)
{
    end_release(peer->end);
    peer->end = NULL;
    ob_session_transport_down(peer->session, kernel.now_ns);
}

void peers_end(void)
{
    for (int i = 0; i < PEERS; i++) {
        end_release(world.peers[i].end);
        ob_session_free(world.peers[i].session);
    }
}

void peer_connect(struct peer *peer, struct end *end)
{
    if (peer->end)
        disconnect(peer);
    peer->end = end;
    ob_session_transport_up(peer->session, kernel.now_ns);
}

/* Returns whether any came. */
static bool receive(struct peer *peer)
{
    uint8_t bytes[CHUNK];
    ssize_t got = end_read(peer->end, bytes, sizeof(bytes), false);
    bool is_port = peer->end->kind == END_PORT;
    if (got > 0) {
        if (ob_session_receive(peer->session, bytes, (size_t)got, kernel.now_ns) < 0 &&
            !world.tainted)
            peer->end->abrupt = true; /* an impostor is dropped */
        return true;
    }
    if (got != -EAGAIN && !(got == 0 && is_port && peer->end->peer))
        disconnect(peer);
    return false;
}

static void transmit(struct peer *peer)
{
    struct iovec spans[SPANS];
    int count;
    ssize_t put = 1;
    while (put > 0 && (count = ob_session_transmit(peer->session, spans, SPANS, kernel.now_ns))) {
        put = end_write(peer->end, spans[0].iov_base, spans[0].iov_len);
        ob_session_transmitted(peer->session, put);
    }
}

void peer_pump(struct peer *peer)
{
    if (peer->stalled)
        return;
    while (peer->end && receive(peer))
        ;
    if (ob_session_deadline(peer->session) <= kernel.now_ns)
        ob_session_tick(peer->session, kernel.now_ns);
    if (peer->end)
        transmit(peer);
}

/* What the proxy may be asked for. */
static void open_stream(struct peer *peer, uint8_t choice, uint8_t metadata)
{
    static const char *const services[] = {
        "dest",    "echo",    "@run",      "tcp:127.0.0.1:80", "tcp:host.example:99",
        "@listen", "term",    "name",      "tcp:localhost:7",  "tcp:10.0.0.1:22",
        "@run2",   "nothing", "vsock:1:2", "tcp:bad",          "fails"};
    static const char *const texts[] = {"",
                                        "run",
                                        "tcp:127.0.0.1:2001 fwd",
                                        "tcp:127.0.0.1:2002",
                                        "tcp:127.0.0.1:0 fwd2",
                                        "unix:/world/granted other",
                                        "tcp:name:1",
                                        "vsock:1:2 a",
                                        "bad"};
    const char *service = services[choice % (sizeof(services) / sizeof(services[0]))];
    const char *text = texts[metadata % (sizeof(texts) / sizeof(texts[0]))];
    bool checked = service[0] == 't' || service[0] == 'd' || service[0] == 'n' ||
                   (service[0] == 'e' && strcmp(text, "run") != 0);
    struct ob_stream *stream;
    if (strcmp(service, "term") == 0 || !find(peer, NULL) ||
        ob_stream_open(peer->session, service, strlen(service), text, strlen(text), &stream) < 0)
        return;
    struct handle *handle = take(peer, stream, checked);
    handle->answered = true;
}

/* A program that a terminal is between does not see what was said. */
static void open_terminal(struct peer *peer, uint8_t metadata)
{
    struct ob_stream *stream;
    if (find(peer, NULL) &&
        ob_stream_open(peer->session, "term", 4, "run", metadata & 1 ? 3 : 0, &stream) == 0)
        take(peer, stream, false)->answered = true;
}

static void send_raw(struct peer *peer)
{
    const uint8_t *bytes;
    size_t len = world_take(world_next(), &bytes);
    if (!peer->end || len == 0)
        return;
    world.tainted = true;
    end_write(peer->end, bytes, len);
}

void peer_act(struct peer *peer, uint8_t what)
{
    uint8_t choice;
    switch (what) {
    case 0:
    case 1:
        choice = world_next();
        open_stream(peer, choice, world_next());
        break;
    case 2:
        open_terminal(peer, world_next());
        break;
    case 3:
        peer->stalled = !peer->stalled;
        break;
    case 4:
        if (peer->end && world_next() & 1)
            peer->end->abrupt = true;
        if (peer->end)
            disconnect(peer);
        break;
    case 5:
        send_raw(peer);
        break;
    case 6:
        ob_session_ping(peer->session, kernel.now_ns);
        break;
    default:
        choice = world_next();
        if (choice == 0)
            ob_session_end(peer->session, OB_REASON_SHUTDOWN, kernel.now_ns);
        else if (choice == 1)
            ob_session_go_away(peer->session, OB_REASON_SHUTDOWN);
    }
}

static void say(struct handle *handle, size_t len)
{
    static uint8_t bytes[CHUNK];
    len = speaker_fill(handle->speaker, bytes, len < CHUNK ? len : CHUNK);
    ssize_t put = len ? ob_stream_write(handle->stream, bytes, len) : 0;
    if (put > 0)
        speaker_said(handle->speaker, (size_t)put);
}

/* Returns whether there was any. */
static bool hear(struct handle *handle, size_t len)
{
    static uint8_t bytes[CHUNK];
    ssize_t got = ob_stream_read(handle->stream, bytes, len < CHUNK ? len : CHUNK);
    if (got > 0 && handle->checked)
        ear_hears(&handle->ear, bytes, (size_t)got);
    if (got == 0 && !handle->heard_end && handle->checked)
        ear_hears_end(&handle->ear);
    handle->heard_end |= got == 0;
    return got > 0;
}

static void shut(struct handle *handle)
{
    speaker_ends(handle->speaker);
    handle->shut = true;
    ob_stream_shutdown(handle->stream);
}

/* Frames for a command that is run. */
static void say_frame(struct handle *handle, uint8_t choice, uint8_t value)
{
    static const char arguments[] = "cat\0-n";
    uint8_t frame[EXEC_FRAME_MAX];
    struct exec_start start = {.terminal = value & 1,
                               .rows = 24,
                               .columns = 80,
                               .arguments = arguments,
                               .arguments_len = value & 2 ? 0 : sizeof(arguments)};
    ssize_t len = 0;
    switch (choice % 7) {
    case 0:
        len = exec_put_start(&start, frame);
        break;
    case 1:
        exec_put_header(EXEC_STDIN, value, frame);
        memset(frame + EXEC_HEADER_LEN, 'x', value);
        len = EXEC_HEADER_LEN + value;
        break;
    case 2:
        len = (ssize_t)exec_put_signal(value % 32, frame);
        break;
    case 3:
        len = (ssize_t)exec_put_resize(value, 80, frame);
        break;
    case 4:
        len = exec_put_variable(value & 1 ? "TERM=vt100" : "HOME=/", frame);
        break;
    case 5:
        exec_put_header(EXEC_ARGUMENTS, 3, frame);
        memcpy(frame + EXEC_HEADER_LEN, value & 1 ? "TE" : "a b", 3);
        len = EXEC_HEADER_LEN + 3;
        break;
    default:
        exec_put_header(EXEC_STDOUT, 0, frame);
        len = EXEC_HEADER_LEN;
    }
    ob_stream_write(handle->stream, frame, (size_t)len);
}

void handle_act(struct handle *handle, uint8_t what)
{
    const uint8_t *bytes;
    size_t len;
    uint8_t choice;
    if (!handle->stream)
        return;
    switch (what) {
    case 0:
        say(handle, 1 + world_next() * (size_t)16);
        break;
    case 1:
        hear(handle, 1 + world_next() * (size_t)16);
        break;
    case 2:
        shut(handle);
        break;
    case 3:
        forget(handle, world_next());
        break;
    case 4:
        answer(handle, world_next());
        break;
    case 5:
    case 6:
        choice = world_next();
        if (!handle->checked)
            say_frame(handle, choice, world_next());
        break;
    default:
        len = world_take(world_next(), &bytes);
        if (!handle->checked && len > 0)
            ob_stream_write(handle->stream, bytes, len);
    }
}

/* Hears all and says no more. */
void peer_settle(struct peer *peer)
{
    peer->stalled = false;
    for (int i = 0; i < HANDLES; i++) {
        struct handle *handle = &peer->handles[i];
        if (!handle->stream)
            continue;
        answer(handle, 0);
        if (!handle->shut)
            shut(handle);
        while (hear(handle, CHUNK))
            ;
        if (handle->heard_end)
            forget(handle, OB_REASON_NONE);
    }
}
