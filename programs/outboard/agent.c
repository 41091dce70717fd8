// SPDX-License-Identifier: BSD-3-Clause
/* outboard agent: a request to the agent of the other end. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent_client.h"
#include "base/limits.h"
#include "command.h"
#include "endpoint/address.h"
#include "os/inherited.h"
#include "proxy/service.h"

static int request(struct client *client, const struct client_options *options)
{
    struct json_out out;
    struct json_document *answer = NULL;
    const struct json *value;
    json_out_init(&out, LIMIT_JSON_TEXT);
    int status = agent_client_write(client, options->command, &out);
    if (status == 0)
        status = agent_client_ask(client, &out, 0, &answer, &value);
    if (status == 0)
        agent_print(value, options->json);
    json_free(answer);
    json_out_free(&out);
    return status;
}

/* Behind the word freeze: --for=SECONDS, --, and the command. The latter, or NULL. */
static char **parse_freeze(char **words, uint32_t *ret_for_s)
{
    static const char option[] = "--for=";
    char **word = words + 1;
    if (!*word || strncmp(*word, option, strlen(option)) != 0 ||
        address_number(*word + strlen(option), LIMIT_AGENT_FREEZE_FOR_S, ret_for_s) < 0 ||
        *ret_for_s == 0)
        return NULL;
    word++;
    if (*word && strcmp(*word, "--") == 0)
        word++;
    return *word ? word : NULL;
}

int cmd_agent(int argc, char **argv)
{
    struct client_options options;
    struct client client;
    struct starter starter;
    uint32_t for_s = 0;
    if (log_start("outboard agent") < 0)
        return EXIT_FAILURE;
    int status = client_parse(argc, argv, "xPpckwj*", &options);
    if (status >= 0)
        return status;
    bool is_freeze = options.command[0] && strcmp(options.command[0], "freeze") == 0;
    char **command = is_freeze ? parse_freeze(options.command, &for_s) : options.command;
    if (!command || !command[0]) {
        log_line("give COMMAND [KEY=VALUE...], or freeze --for=SECONDS -- COMMAND [ARGUMENT...]");
        return EXIT_USAGE;
    }
    int err = is_freeze ? starter_start(command, options.cell != CONFINE_NONE, &starter) : 0;
    if (err < 0) {
        log_line("can't start the process that runs %s: %s", command[0], strerror(-err));
        return EXIT_NOT_REACHED;
    }
    inherited_close(argc, argv, NULL);
    status = agent_client_open(&options, AGENT_SERVICE, &client);
    if (status == 0)
        status = is_freeze ? agent_freeze(&client, for_s, &starter, command[0])
                           : request(&client, &options);
    client_close(&client);
    return status;
}
