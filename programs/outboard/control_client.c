// SPDX-License-Identifier: BSD-3-Clause
#include "control_client.h"

#include <errno.h>
#include <glob.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/printable.h"
#include "os/clock.h"
#include "os/log.h"
#include "os/socket.h"

#define CONNECT_MS  2000u
#define GREETING_MS 2000
#define ANSWER_MS   60000 /* an add or a remove takes longer than others */
#define NS_PER_MS   1000000u

/* Bytes of a message with the white space before it. A server sends a newline. */
#define MESSAGE_MAX (LIMIT_MONITOR_ANSWER + LIMIT_MONITOR_EVENTS)

/* Bytes that are there do not extend the time. */
static int wait_for_bytes(struct control_client *client, uint64_t until_ns)
{
    struct pollfd ready[] = {
        {.fd = client->fd, .events = POLLIN},
        {.fd = client->stop_fd > 0 ? client->stop_fd : -1, .events = POLLIN},
    };
    for (;;) {
        uint64_t now_ns = clock_now_ns();
        if (now_ns >= until_ns)
            return -ETIMEDOUT;
        int wait_ms = until_ns == UINT64_MAX ? -1 : (int)((until_ns - now_ns) / NS_PER_MS) + 1;
        int count = poll(ready, 2, wait_ms);
        if (count < 0 && errno != EINTR)
            return -errno;
        if (count > 0)
            return ready[1].revents ? -ECANCELED : 0;
    }
}

static uint64_t deadline_ns(int timeout_ms)
{
    return timeout_ms < 0 ? UINT64_MAX : clock_now_ns() + (uint64_t)timeout_ms * NS_PER_MS;
}

/* Reads up to the end of a message. 0 or a negative errno. */
static int receive(struct control_client *client, uint64_t until_ns)
{
    enum json_frame_event event = JSON_FRAME_MORE;
    const uint64_t start = client->frame.offset;
    for (;;) {
        client->in_at += json_frame_take(&client->frame, client->in + client->in_at,
                                         client->in_len - client->in_at, &event);
        if (event != JSON_FRAME_MORE)
            return event == JSON_FRAME_VALUE ? 0 : -EPROTO;
        if (client->frame.offset - start > MESSAGE_MAX)
            return -EPROTO;
        int err = wait_for_bytes(client, until_ns);
        if (err < 0)
            return err;
        ssize_t got = socket_read(client->fd, client->in, sizeof(client->in));
        if (got <= 0)
            return got == 0 ? -ENOTCONN : -errno;
        client->in_at = 0;
        client->in_len = (size_t)got;
    }
}

static int next(struct control_client *client, uint64_t until_ns,
                struct json_document **ret_message)
{
    struct json_fault fault;
    int err = receive(client, until_ns);
    return err < 0 ? err : json_parse(client->frame.bytes, client->frame.len, ret_message, &fault);
}

static int tell(int err)
{
    if (err < 0 && err != -ECANCELED)
        log_line("control socket: %s", err == -ENOTCONN    ? "outboard run has ended"
                                       : err == -ETIMEDOUT ? "outboard run does not answer"
                                       : err == -EPROTO
                                           ? "got bytes that are no answer of outboard run"
                                           : strerror(-err));
    return err < 0 ? EXIT_FAILURE : 0;
}

int control_client_next(struct control_client *client, int timeout_ms,
                        struct json_document **ret_message)
{
    int err = next(client, deadline_ns(timeout_ms), ret_message);
    if (err == -ENOTCONN && timeout_ms < 0)
        return CONTROL_OVER;
    return tell(err);
}

static const struct json *object_member(const struct json *object, const char *name)
{
    return object && object->type == JSON_OBJECT ? json_member(object, name) : NULL;
}

uint64_t control_number(const struct json *object, const char *name)
{
    const struct json *value = object_member(object, name);
    if (value && value->type == JSON_UINT)
        return value->unsigned_integer;
    return value && value->type == JSON_INT && value->integer > 0 ? (uint64_t)value->integer : 0;
}

const char *control_text(const struct json *object, const char *name)
{
    const struct json *value = object_member(object, name);
    return value && value->type == JSON_STRING ? value->text.bytes : "";
}

const char *control_printable(const struct json *object, const char *name, char *room, size_t size)
{
    const char *text = control_text(object, name);
    printable_copy(room, size, text, strlen(text));
    return room;
}

bool control_is_table(const struct json *value)
{
    bool is_table = value->type == JSON_ARRAY;
    for (const struct json *row = is_table ? value->first : NULL; row && is_table; row = row->next)
        is_table = row->type == JSON_OBJECT;
    if (!is_table)
        tell(-EPROTO);
    return is_table;
}

/* 0 or a negative errno. */
static int connect_to(const char *path, struct control_client *client)
{
    struct json_document *greeting;
    *client = (struct control_client){.fd = socket_connect(path, CONNECT_MS)};
    json_frame_init(&client->frame);
    int err = client->fd < 0 ? client->fd : next(client, deadline_ns(GREETING_MS), &greeting);
    if (err < 0) {
        control_client_close(client);
        return err;
    }
    const struct json *about = object_member(json_root(greeting), "outboard");
    control_printable(about, "machine", client->machine, sizeof(client->machine));
    json_free(greeting);
    if (about)
        return 0;
    control_client_close(client);
    return -EPROTO;
}

void control_client_close(struct control_client *client)
{
    if (client->fd >= 0)
        close(client->fd);
    client->fd = -1;
    json_frame_done(&client->frame);
}

/* A folder of another user, in /tmp, might hold anything. */
static bool is_ours(const char *path)
{
    struct stat stat;
    return lstat(path, &stat) == 0 && stat.st_uid == geteuid();
}

unsigned control_client_each(void (*found)(struct control_client *client, const char *path,
                                           void *argument),
                             void *argument)
{
    const char *base = getenv("XDG_RUNTIME_DIR");
    char pattern[256];
    glob_t paths;
    unsigned count = 0;
    if (!base || !*base)
        base = geteuid() == 0 ? "/run" : "/tmp";
    snprintf(pattern, sizeof(pattern), "%s/outboard-*/.control", base);
    if (glob(pattern, 0, NULL, &paths) != 0)
        return 0;
    for (size_t i = 0; i < paths.gl_pathc; i++) {
        struct control_client client;
        if (!is_ours(paths.gl_pathv[i]) || connect_to(paths.gl_pathv[i], &client) < 0)
            continue;
        found(&client, paths.gl_pathv[i], argument);
        control_client_close(&client);
        count++;
    }
    globfree(&paths);
    return count;
}

struct search {
    const char *name; /* NULL: any */
    char path[128];
    unsigned count;
};

static void on_found(struct control_client *client, const char *path, void *argument)
{
    struct search *search = argument;
    if (search->name && strcmp(search->name, client->machine) != 0)
        return;
    search->count++;
    snprintf(search->path, sizeof(search->path), "%s", path);
}

int control_client_open(const char *vm, struct control_client *client)
{
    struct search search = {.name = vm};
    const char *path = vm;
    client->fd = -1;
    json_frame_init(&client->frame);
    if (!vm || !strchr(vm, '/')) {
        control_client_each(on_found, &search);
        path = search.path;
        if (search.count != 1) {
            log_line("%s%s: found %u running machines, expected one; `outboard ctl machines` lists "
                     "them, --vm=NAME or --vm=PATH names one",
                     vm ? "--vm=" : "--vm", vm ? vm : "", search.count);
            return EXIT_FAILURE;
        }
    }
    int err = connect_to(path, client);
    if (err < 0)
        log_line("can't connect to %s: %s", path, strerror(-err));
    return err < 0 ? EXIT_FAILURE : 0;
}

static int send_all(struct control_client *client, const char *bytes, size_t len)
{
    while (len > 0) {
        ssize_t sent = send(client->fd, bytes, len, MSG_NOSIGNAL);
        if (sent < 0 && errno != EINTR)
            return tell(errno == EPIPE || errno == ECONNRESET ? -ENOTCONN : -errno);
        bytes += sent > 0 ? sent : 0;
        len -= sent > 0 ? (size_t)sent : 0;
    }
    return 0;
}

int control_client_ask(struct control_client *client, const char *request, size_t len,
                       struct json_document **ret_answer, const struct json **ret_value)
{
    int status = send_all(client, request, len);
    if (status != 0)
        return status;
    struct json_document *message;
    status = tell(next(client, deadline_ns(ANSWER_MS), &message));
    if (status != 0)
        return status;
    const struct json *root = json_root(message);
    const struct json *error = object_member(root, "error");
    *ret_value = object_member(root, "return");
    if (*ret_value) {
        *ret_answer = message;
        return 0;
    }
    if (error)
        log_line("%s", control_text(error, "desc"));
    else
        tell(-EPROTO); /* nobody who waits for an answer has asked for events */
    json_free(message);
    return EXIT_FAILURE;
}

int control_client_command(struct control_client *client, const char *command,
                           struct json_document **ret_answer, const struct json **ret_value)
{
    char request[128];
    int len = snprintf(request, sizeof(request), "{\"execute\": \"%s\"}\n", command);
    return control_client_ask(client, request, (size_t)len, ret_answer, ret_value);
}
