// SPDX-License-Identifier: BSD-3-Clause
#include "agent_client.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/limits.h"
#include "command.h"
#include "os/clock.h"
#include "os/socket.h"
#include "proxy/service.h"
#include "wire/json_frame.h"

#define NS_PER_MS 1000000u

int agent_client_open(const struct client_options *options, const char *service,
                      struct client *ret_client)
{
    uint32_t reason = 0;
    int status = client_open("agent", options, ret_client);
    if (status != 0)
        return status;
    status = client_open_stream(ret_client, "OPEN", service, &reason);
    if (reason)
        client_say_refusal(ret_client, service, reason);
    return status;
}

static void put_value(struct json_out *out, const char *text)
{
    struct json_document *document;
    struct json_fault fault;
    if (json_parse(text, strlen(text), &document, &fault) < 0) {
        json_out_string(out, text);
        return;
    }
    json_out_value(out, json_root(document));
    json_free(document);
}

int agent_client_write_members(struct client *client, char **words, struct json_out *out)
{
    json_out_begin(out, '{');
    for (char **word = words; *word; word++) {
        char *value = strchr(*word, '=');
        if (!value || value == *word) {
            client_say(client, "'%.100s': expected KEY=VALUE", *word);
            return EXIT_USAGE;
        }
        *value++ = '\0';
        json_out_name(out, *word);
        put_value(out, value);
    }
    json_out_end(out, '}');
    return 0;
}

int agent_client_write(struct client *client, char **words, struct json_out *out)
{
    char name[128];
    snprintf(name, sizeof(name), "%s%s", strncmp(words[0], "guest-", 6) == 0 ? "" : "guest-",
             words[0]);
    json_out_begin(out, '{');
    json_out_member_string(out, "execute", name);
    json_out_name(out, "arguments");
    int status = agent_client_write_members(client, words + 1, out);
    json_out_end(out, '}');
    json_out_bytes(out, "\n", 1);
    return status;
}

static int say_lost(struct client *client)
{
    client_say(client, "the connection to the agent broke before its answer");
    return EXIT_NOT_REACHED;
}

static int send_all(struct client *client, const struct json_out *request)
{
    for (size_t at = 0; at < request->len;) {
        ssize_t put = send(client->fd, request->bytes + at, request->len - at, MSG_NOSIGNAL);
        if (put < 0 && errno != EINTR)
            return say_lost(client);
        at += put > 0 ? (size_t)put : 0;
    }
    return 0;
}

/* Until the frame has a value. 0 or the exit status. */
static int hear(struct client *client, unsigned timeout_s, struct json_frame *frame)
{
    char bytes[65536];
    enum json_frame_event event = JSON_FRAME_MORE;
    uint64_t until_ns = clock_now_ns() + (uint64_t)timeout_s * 1000 * NS_PER_MS;
    while (event != JSON_FRAME_VALUE) {
        struct pollfd ready = {.fd = client->fd, .events = POLLIN};
        uint64_t now = clock_now_ns();
        int wait_ms = !timeout_s       ? -1
                      : now < until_ns ? (int)((until_ns - now) / NS_PER_MS + 1)
                                       : 0;
        int count = poll(&ready, 1, wait_ms);
        if (count < 0 && errno == EINTR)
            continue;
        if (count == 0) {
            client_say(client, "the agent has not answered within %u s", timeout_s);
            return EXIT_NOT_REACHED;
        }
        ssize_t got = socket_read(client->fd, bytes, sizeof(bytes));
        if (got <= 0)
            return say_lost(client);
        json_frame_take(frame, bytes, (size_t)got, &event);
        if (event == JSON_FRAME_FAULT) {
            client_say(client, "the agent's answer is no JSON: %s", frame->fault);
            return EXIT_NOT_REACHED;
        }
    }
    return 0;
}

int agent_client_ask(struct client *client, const struct json_out *request, unsigned timeout_s,
                     struct json_document **ret_answer, const struct json **ret_value)
{
    struct json_frame frame;
    struct json_fault fault;
    struct json_document *answer;
    json_frame_init(&frame);
    frame.max = LIMIT_AGENT_ANSWER;
    int status = send_all(client, request);
    if (status == 0)
        status = hear(client, timeout_s, &frame);
    if (status == 0 && json_parse(frame.bytes, frame.len, &answer, &fault) < 0) {
        client_say(client, "the agent's answer is no JSON: %s", fault.text);
        status = EXIT_NOT_REACHED;
    }
    json_frame_done(&frame);
    if (status != 0)
        return status;
    const struct json *error = json_member(json_root(answer), "error");
    const struct json *desc = json_member(error, "desc");
    *ret_value = json_member(json_root(answer), "return");
    if (!*ret_value) {
        client_say(client, "%s",
                   desc && desc->type == JSON_STRING ? desc->text.bytes : "no valid answer");
        json_free(answer);
        return EXIT_FAILURE;
    }
    *ret_answer = answer;
    return 0;
}
