// SPDX-License-Identifier: BSD-3-Clause
#include "call_host.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "agent_client.h"
#include "base/limits.h"
#include "command.h"
#include "proxy/host_service.h"
#include "proxy/options.h"

/* Writes the arguments of a request. 0, or the exit status once the reason was printed. */
typedef int (*arguments_fn)(struct client *client, char **words, struct json_out *out);

static int put_nothing(struct client *client, char **words, struct json_out *out)
{
    if (words[0]) {
        client_say(client, "got '%.100s', expected no words", words[0]);
        return EXIT_USAGE;
    }
    return 0;
}

static int put_hello(struct client *client, char **words, struct json_out *out)
{
    char boot_id[BOOT_ID_SIZE];
    boot_id_read(boot_id);
    json_out_member_string(out, "boot-id", boot_id);
    json_out_member_string(out, "version", OUTBOARD_VERSION);
    json_out_name(out, "capabilities");
    json_out_begin(out, '[');
    json_out_end(out, ']');
    return put_nothing(client, words, out);
}

static int put_event(struct client *client, char **words, struct json_out *out)
{
    if (!words[0]) {
        client_say(client, "give NAME [KEY=VALUE...]");
        return EXIT_USAGE;
    }
    json_out_member_string(out, "event", words[0]);
    if (!words[1])
        return 0;
    json_out_name(out, "data");
    return agent_client_write_members(client, words + 1, out);
}

static const struct {
    const char *word;
    const char *command;
    arguments_fn put;
} rows[] = {
    {"event", "host-event", put_event},
    {"hello", "host-hello", put_hello},
    {"ping", "host-ping", put_nothing},
};

static int find(const char *word)
{
    int i = (int)(sizeof(rows) / sizeof(rows[0])) - 1;
    while (i >= 0 && strcmp(rows[i].word, word) != 0)
        i--;
    return i;
}

bool call_host_has(const char *word)
{
    return find(word) >= 0;
}

static int ask(struct client *client, const struct client_options *options,
               const struct json_out *request)
{
    struct json_document *answer = NULL;
    const struct json *value;
    int status = agent_client_open(options, HOST_SERVICE, client);
    if (status == 0)
        status = agent_client_ask(client, request, options->timeout_s, &answer, &value);
    if (status == 0)
        agent_print(value, options->json);
    json_free(answer);
    return status;
}

int call_host(int argc, char **argv)
{
    struct client_options options;
    struct client client = {.fd = -1};
    struct json_out request;
    int row = find(argv[0]);
    int status = client_parse(argc, argv, "xPpwj!", &options);
    if (status >= 0)
        return status;
    json_out_init(&request, LIMIT_HOST_REQUEST);
    json_out_begin(&request, '{');
    json_out_member_string(&request, "execute", rows[row].command);
    json_out_name(&request, "arguments");
    json_out_begin(&request, '{');
    status = rows[row].put(&client, options.command, &request);
    json_out_end(&request, '}');
    json_out_end(&request, '}');
    json_out_bytes(&request, "\n", 1);
    if (status == 0 && json_out_done(&request) < 0) {
        client_say(&client, "the request is too long: it may have %d bytes", LIMIT_HOST_REQUEST);
        status = EXIT_USAGE;
    }
    if (status == 0)
        status = ask(&client, &options, &request);
    json_out_free(&request);
    client_close(&client);
    return status;
}
