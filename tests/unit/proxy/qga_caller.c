// SPDX-License-Identifier: BSD-3-Clause
#include "qga_caller.h"

#include "support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SYNC "{\"execute\": \"guest-sync-delimited\", \"arguments\": {\"id\": "

/* Whether a whole sync was heard. */
static bool has_sync(void *argument)
{
    struct caller *caller = argument;
    caller->heard[caller->heard_len] = '\0';
    const char *sync = memmem(caller->heard, caller->heard_len, SYNC, strlen(SYNC));
    return sync && strchr(sync, '\n');
}

/* Hears the next request and the sync behind it, whose number is returned. */
long long qga_hear_request(struct caller *caller, char *ret_request, size_t size)
{
    caller_until(caller, has_sync, caller);
    const char *sync = memmem(caller->heard, caller->heard_len, SYNC, strlen(SYNC));
    size_t len = (size_t)(sync - (const char *)caller->heard);
    assert_true(len < size);
    memcpy(ret_request, caller->heard, len);
    ret_request[len] = '\0';
    const char *behind = strchr(sync, '\n') + 1;
    assert_ptr_equal(behind, caller->heard + caller->heard_len); /* the next one waits */
    caller->heard_len = 0;
    return atoll(sync + strlen(SYNC));
}

void qga_expect_request(struct caller *caller, const char *expected, long long *ret_number)
{
    char request[1024];
    *ret_number = qga_hear_request(caller, request, sizeof(request));
    assert_string_equal(request, expected);
}

void qga_say_text(struct caller *caller, const char *text)
{
    caller_say(caller, text, strlen(text));
}

/* The answer of a sync. */
void qga_say_sync(struct caller *caller, long long number)
{
    char text[64];
    snprintf(text, sizeof(text), "\xff{\"return\": %lld}\n", number);
    qga_say_text(caller, text);
}
