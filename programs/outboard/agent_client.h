// SPDX-License-Identifier: BSD-3-Clause
/* Requests to the agent of the other end, and their answers. */
#ifndef OUTBOARD_PROGRAMS_AGENT_CLIENT_H
#define OUTBOARD_PROGRAMS_AGENT_CLIENT_H

#include "proxy_client.h"
#include "starter.h"
#include "wire/json_out.h"

/* Opens a stream to a service of the other end that has the wire of the agent. 0, or the exit status
 * once the reason was printed. */
int agent_client_open(const struct client_options *options, const char *service,
                      struct client *ret_client);

/* Writes KEY=VALUE... up to NULL as members of an object. A VALUE that is JSON is taken as that, any
 * other as a string. 0, or the exit status once the reason was printed. */
int agent_client_write_members(struct client *client, char **words, struct json_out *out);

/* Writes a request to an agent: COMMAND, with or without guest- in front, and KEY=VALUE... up to NULL. 0, or the exit status once the reason was
 * printed. */
int agent_client_write(struct client *client, char **words, struct json_out *out);

/* Sends a request and waits for its answer, timeout_s at most; 0: for ever. 0: *ret_answer is its
 * document, to be freed, and *ret_value the returned value; or the exit status once the reason was
 * printed. */
int agent_client_ask(struct client *client, const struct json_out *request, unsigned timeout_s,
                     struct json_document **ret_answer, const struct json **ret_value);

/* Prints a value: as JSON, or for people. */
void agent_print(const struct json *value, bool as_json);

/* outboard agent freeze --for=SECONDS -- COMMAND. name: of the starter's command. The exit status. */
int agent_freeze(struct client *client, uint32_t for_s, const struct starter *starter,
                 const char *name);

#endif
