// SPDX-License-Identifier: BSD-3-Clause
/*
 * Freezes the guest's file systems while a command runs, such as one that takes a snapshot. They
 * are thawed when it ends, however it ends; and if this program is killed, or the channel breaks, by
 * the agent itself after --for.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent_client.h"
#include "base/limits.h"
#include "command.h"

/* 0 or the exit status. */
static int ask(struct client *client, char **words)
{
    struct json_out request;
    struct json_document *answer = NULL;
    const struct json *value;
    json_out_init(&request, LIMIT_JSON_TEXT);
    int status = agent_client_write(client, words, &request);
    if (status == 0)
        status = agent_client_ask(client, &request, 2 * LIMIT_AGENT_FREEZE_S, &answer, &value);
    json_free(answer);
    json_out_free(&request);
    return status;
}

/* The exit status, as a shell has it. */
static int run(struct client *client, const struct starter *starter, const char *name)
{
    int status = starter_run(starter);
    if (status < 0)
        client_say(client, "can't run %s: %s", name, strerror(-status));
    return status < 0 ? 126 : status;
}

int agent_freeze(struct client *client, uint32_t for_s, const struct starter *starter,
                 const char *name)
{
    char timeout[32];
    char freeze[] = "fsfreeze-freeze";
    char thaw[] = "fsfreeze-thaw";
    char *freeze_words[] = {freeze, timeout, NULL};
    char *thaw_words[] = {thaw, NULL};
    snprintf(timeout, sizeof(timeout), "timeout=%u", for_s);
    int status = ask(client, freeze_words);
    if (status != 0)
        return EXIT_NOT_REACHED;
    status = run(client, starter, name);
    return ask(client, thaw_words) == 0 ? status : EXIT_NOT_REACHED;
}
