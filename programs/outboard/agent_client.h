// SPDX-License-Identifier: BSD-3-Clause
/* Requests to the agent of the other end, and their answers. */
#ifndef OUTBOARD_PROGRAMS_AGENT_CLIENT_H
#define OUTBOARD_PROGRAMS_AGENT_CLIENT_H

#include "proxy_client.h"
#include "wire/json_out.h"

/* Connects to the agent. 0, or the exit status once the reason was printed. */
int agent_client_open(const struct client_options *options, struct client *ret_client);

/* Writes a request: COMMAND, with or without guest- in front, and KEY=VALUE... up to NULL. A VALUE
 * that is JSON is taken as that, any other as a string. 0, or the exit status once the reason was
 * printed. */
int agent_client_write(struct client *client, char **words, struct json_out *out);

/* Sends a request and waits for its answer, timeout_s at most; 0: for ever. 0: *ret_answer is its
 * document, to be freed, and *ret_value the returned value; or the exit status once the reason was
 * printed. */
int agent_client_ask(struct client *client, const struct json_out *request, unsigned timeout_s,
                     struct json_document **ret_answer, const struct json **ret_value);

/* Prints a value for people. */
void agent_print(const struct json *value);

/* outboard agent freeze --for=SECONDS -- COMMAND. The exit status. */
int agent_freeze(struct client *client, uint32_t for_s, char **command);

#endif
