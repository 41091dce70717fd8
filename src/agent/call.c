// SPDX-License-Identifier: BSD-3-Clause
#include "agent/call.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct call *call_new(struct json_document *request, const char *caller, call_fn answered,
                      void *argument)
{
    struct call *call = calloc(1, sizeof(*call));
    if (!call)
        return NULL;
    call->request = request;
    snprintf(call->caller, sizeof(call->caller), "%s", caller);
    call->answered = answered;
    call->argument = argument;
    return call;
}

bool call_is_wanted(const struct call *call)
{
    return call->answered;
}

static void finish(struct call *call, const char *class, const char *text, size_t len)
{
    if (call->answered)
        call->answered(call->argument, call, class, text, len);
    json_free(call->request);
    free(call);
}

void call_return(struct call *call, const char *json, size_t len)
{
    if (len > 0)
        finish(call, NULL, json, len);
    else
        finish(call, NULL, "{}", 2);
}

void call_fail_text(struct call *call, const char *class, const char *text, size_t len)
{
    finish(call, class, text, len);
}

void call_fail(struct call *call, const char *format, ...)
{
    char text[CALL_TEXT_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    finish(call, QMP_GENERIC, text, strlen(text));
}
