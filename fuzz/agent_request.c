// SPDX-License-Identifier: BSD-3-Clause
/*
 * A client of the agent: any bytes, in any pieces, and answers that it takes piece by piece. Each answer
 * is a line of ASCII that is a JSON object with a return or an error; FF stands in front of an answer
 * only. The answers do not depend on the pieces, all clients end, and no request starts a process here:
 * workers and programs are refused.
 */
#include "agent/agent.h"

#include "check.h"

#include <errno.h>
#include <limits.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "agent/call.h"
#include "agent/worker.h"
#include "wire/json.h"

#define OUT_MAX   (1u << 20)
#define CLIENT_FD INT_MAX

struct loop_source {
    loop_fn ready;
    void *argument;
    uint32_t events;
};

/* The client's end. No kernel is asked for it: the socket and the loop are these. */
static struct client {
    struct loop_source source;
    const uint8_t *bytes; /* that the agent has not read yet */
    size_t left;
    bool has_ended; /* no more bytes will come */
    bool is_closed; /* by the agent */
    size_t taken;   /* bytes that a write takes at most; 0: all */
    bool is_full;   /* the next write takes nothing, if taken is not 0 */
    char *out;
    size_t len;
} client;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int __wrap_loop_add(struct loop *loop, int fd, uint32_t events, loop_fn ready, void *argument,
                    struct loop_source **ret_source);
int __wrap_loop_change(struct loop_source *source, uint32_t events);
void __wrap_loop_remove(struct loop_source *source);
ssize_t __wrap_socket_read(int fd, void *buf, size_t len);
void __wrap_socket_close(int fd);
ssize_t __wrap_send(int fd, const void *buf, size_t len, int flags);
int __wrap_child_spawn_reported(struct children *children, const struct child_spec *spec,
                                int *ret_failure_fd, struct child **ret_child);
int __wrap_worker_start(const struct agent_config *config, int (*work)(int fd, const void *context),
                        const void *context, worker_fn says, void *argument,
                        struct worker **ret_worker);
void __wrap_worker_run(const struct agent_config *config, job_fn run, unsigned limit_s,
                       struct call *call);
void __wrap_freeze_thaw_all(const struct agent_config *config, const char *note);
void __wrap_log_line(const char *format, ...);

int __wrap_loop_add(struct loop *loop, int fd, uint32_t events, loop_fn ready, void *argument,
                    struct loop_source **ret_source)
{
    struct loop_source *source = fd == CLIENT_FD ? &client.source : malloc(sizeof(*source));
    CHECK(source);
    *source = (struct loop_source){ready, argument, events};
    *ret_source = source;
    return 0;
}

int __wrap_loop_change(struct loop_source *source, uint32_t events)
{
    source->events = events;
    return 0;
}

void __wrap_loop_remove(struct loop_source *source)
{
    if (source != &client.source)
        free(source);
}

ssize_t __wrap_socket_read(int fd, void *buf, size_t len)
{
    CHECK(fd == CLIENT_FD && !client.is_closed);
    if (client.left == 0 && !client.has_ended) {
        errno = EAGAIN;
        return -1;
    }
    if (len > client.left)
        len = client.left;
    if (len > 0)
        memcpy(buf, client.bytes, len);
    client.bytes += len;
    client.left -= len;
    return (ssize_t)len;
}

void __wrap_socket_close(int fd)
{
    CHECK(fd == CLIENT_FD && !client.is_closed);
    client.is_closed = true;
}

ssize_t __wrap_send(int fd, const void *buf, size_t len, int flags)
{
    CHECK(fd == CLIENT_FD && !client.is_closed && len > 0);
    client.is_full = !client.is_full && client.taken > 0;
    if (client.is_full) {
        errno = EAGAIN;
        return -1;
    }
    if (client.taken > 0 && len > client.taken)
        len = client.taken;
    CHECK(client.len + len < OUT_MAX);
    memcpy(client.out + client.len, buf, len);
    client.len += len;
    return (ssize_t)len;
}

int __wrap_child_spawn_reported(struct children *children, const struct child_spec *spec,
                                int *ret_failure_fd, struct child **ret_child)
{
    return -EAGAIN;
}

int __wrap_worker_start(const struct agent_config *config, int (*work)(int fd, const void *context),
                        const void *context, worker_fn says, void *argument,
                        struct worker **ret_worker)
{
    return -EAGAIN;
}

void __wrap_worker_run(const struct agent_config *config, job_fn run, unsigned limit_s,
                       struct call *call)
{
    CHECK(limit_s > 0);
    call_fail(call, "no process");
}

void __wrap_freeze_thaw_all(const struct agent_config *config, const char *note)
{
}

void __wrap_log_line(const char *format, ...)
{
}

/* Tells the agent what is ready until nothing is. */
static void turn(void)
{
    uint32_t ready;
    do {
        ready = client.left > 0 || client.has_ended ? EPOLLIN | EPOLLOUT : EPOLLOUT;
        ready &= client.source.events;
        if (ready)
            client.source.ready(client.source.argument, ready);
    } while (ready && !client.is_closed);
}

/* What a client is answered that says these bytes in such pieces, and takes so many bytes at a time. */
static size_t converse(const struct agent_config *config, const uint8_t *bytes, size_t size,
                       size_t piece, size_t taken, char *out)
{
    struct agent *agent;
    struct ob_fault fault = {0};
    client = (struct client){.bytes = bytes, .taken = taken, .out = out};
    CHECK(agent_new(config, &agent, &fault) == 0);
    CHECK(agent_serve(agent, CLIENT_FD, "fuzz") == 0);
    for (size_t at = 0; at < size; at += piece) {
        client.left += piece < size - at ? piece : size - at;
        turn();
        CHECK(!client.is_closed && client.left == 0);
    }
    client.has_ended = true;
    turn();
    CHECK(client.is_closed);
    agent_free(agent);
    return client.len;
}

static void check_answer(const char *line, size_t len)
{
    struct json_document *document;
    struct json_fault fault;
    size_t skipped = len > 0 && (uint8_t)*line == 0xff;
    for (size_t i = skipped; i < len; i++)
        CHECK(line[i] >= ' ' && line[i] <= '~');
    CHECK(json_parse(line + skipped, len - skipped, &document, &fault) == 0);
    const struct json *root = json_root(document);
    const struct json *error = json_member(root, "error");
    CHECK(root->type == JSON_OBJECT && !error == (json_member(root, "return") != NULL));
    CHECK(!error || json_member(error, "desc")->text.len > 0);
    CHECK(!error || !skipped);
    json_free(document);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char whole[OUT_MAX], cut[OUT_MAX];
    struct timers timers;
    struct agent_config config = {.timers = &timers,
                                  .state_dir = "/nonexistent",
                                  /* what they answer changes between two runs */
                                  .policy = {.block = "guest-get-time,guest-get-load"}};
    if (size < 1)
        return 0;
    timers_init(&timers);
    size_t len = converse(&config, data + 1, size - 1, size, 0, whole);
    CHECK(converse(&config, data + 1, size - 1, 1 + data[0], 1 + 7 * data[0], cut) == len);
    CHECK(memcmp(whole, cut, len) == 0);
    for (size_t at = 0; at < len;) {
        const char *end = memchr(whole + at, '\n', len - at);
        CHECK(end);
        check_answer(whole + at, (size_t)(end - whole) - at);
        at = (size_t)(end - whole) + 1;
    }
    CHECK(timers_next(&timers) == TIMER_NEVER);
    return 0;
}
