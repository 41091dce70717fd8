// SPDX-License-Identifier: BSD-3-Clause
/*
 * Call: a request that is being carried out. It outlives its client: if that goes away, the command
 * is carried out to its end and its answer is dropped.
 */
#ifndef OUTBOARD_AGENT_CALL_H
#define OUTBOARD_AGENT_CALL_H

#include <stdbool.h>
#include <stddef.h>

#include "wire/json.h"
#include "wire/qmp.h"

#define CALL_CALLER_MAX 128
#define CALL_TEXT_MAX   600

struct command;
struct call;

/* class: NULL, and text is JSON; or the class of an error, and text is its description. */
typedef void (*call_fn)(void *argument, struct call *call, const char *class, const char *text,
                        size_t len);

struct call {
    const struct command *command;
    struct json_document *request;
    const struct json *arguments; /* of the request; NULL: none */
    char caller[CALL_CALLER_MAX];
    call_fn answered; /* NULL: the client has gone */
    void *argument;
};

/* Takes the request. NULL: no memory. */
struct call *call_new(struct json_document *request, const char *caller, call_fn answered,
                      void *argument);

/* Whether somebody waits for the answer. */
bool call_is_wanted(const struct call *call);

/* Each answers and frees the call. */
void call_return(struct call *call, const char *json, size_t len);
void call_fail_text(struct call *call, const char *class, const char *text, size_t len);
__attribute__((format(printf, 2, 3))) void call_fail(struct call *call, const char *format, ...);

#endif
