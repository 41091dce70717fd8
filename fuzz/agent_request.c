// SPDX-License-Identifier: BSD-3-Clause
/*
 * A client of the agent: any bytes, in any pieces. Each answer is a line of ASCII that is a JSON object
 * with a return or an error; FF stands in front of an answer only. The answers do not depend on the
 * pieces, all clients end, and no request starts a process here: workers and programs are refused.
 */
#include "agent/agent.h"

#include "check.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/call.h"
#include "agent/worker.h"
#include "wire/json.h"

#define OUT_MAX (1u << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
void __wrap_closer_close(int fd);
void __wrap_closer_close_socket(int fd);
int __wrap_child_spawn_reported(struct children *children, const struct child_spec *spec,
                                int *ret_failure_fd, struct child **ret_child);
int __wrap_worker_start(const struct agent_config *config, int (*work)(int fd, const void *context),
                        const void *context, worker_fn says, void *argument,
                        struct worker **ret_worker);
void __wrap_worker_run(const struct agent_config *config, job_fn run, unsigned limit_s,
                       struct call *call);
void __wrap_freeze_thaw_all(const struct agent_config *config, const char *note);
void __wrap_log_line(const char *format, ...);

void __wrap_closer_close(int fd)
{
    close(fd);
}

void __wrap_closer_close_socket(int fd)
{
    close(fd);
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

/* Turns the loop until nothing happens, and reads the answers. False: the agent has closed. */
static bool turn(struct loop *loop, int fd, char *out, size_t *len)
{
    ssize_t got = 1;
    while (loop_wait(loop, 0) > 0 && got > 0) {
        while ((got = recv(fd, out + *len, OUT_MAX - *len, MSG_DONTWAIT)) > 0)
            *len += (size_t)got;
        CHECK(*len < OUT_MAX);
        got = got < 0 && errno == EAGAIN;
    }
    return got > 0;
}

/* What a client is answered that says these bytes in such pieces. */
static size_t converse(const struct agent_config *config, const uint8_t *bytes, size_t size,
                       size_t piece, char *out)
{
    struct agent *agent;
    struct ob_fault fault = {0};
    size_t len = 0;
    bool open = true;
    CHECK(agent_new(config, &agent, &fault) == 0);
    int fd = agent_connect(agent, "fuzz");
    CHECK(fd >= 0);
    for (size_t at = 0; at < size && open; at += piece) {
        size_t count = piece < size - at ? piece : size - at;
        CHECK(send(fd, bytes + at, count, MSG_NOSIGNAL) == (ssize_t)count);
        open = turn(config->loop, fd, out, &len);
    }
    CHECK(open);
    shutdown(fd, SHUT_WR);
    CHECK(!turn(config->loop, fd, out, &len));
    close(fd);
    agent_free(agent);
    return len;
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
    CHECK(loop_new(&config.loop) == 0);
    size_t len = converse(&config, data + 1, size - 1, size, whole);
    CHECK(converse(&config, data + 1, size - 1, 1 + data[0], cut) == len);
    CHECK(memcmp(whole, cut, len) == 0);
    for (size_t at = 0; at < len;) {
        const char *end = memchr(whole + at, '\n', len - at);
        CHECK(end);
        check_answer(whole + at, (size_t)(end - whole) - at);
        at = (size_t)(end - whole) + 1;
    }
    CHECK(timers_next(&timers) == TIMER_NEVER);
    loop_free(config.loop);
    return 0;
}
