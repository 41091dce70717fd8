// SPDX-License-Identifier: BSD-3-Clause
/*
 * Host code that a guest calls, for `outboard-backdoor --library=.../backdoor_library.so`.
 *
 * A command names the work on the text at the start of the data channel, which is one line: it
 * ends at a newline or a zero byte. The answer takes its place, with a newline and a zero behind.
 *
 *   1  the text in capitals
 *   2  the sum of the whole numbers in the text
 *   3  the host's time (UTC)
 *
 * Other commands do nothing.
 */
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <outboard/backdoor_host.h>

#define TEXT_LEN 256

enum command {
    COMMAND_CAPITALS = 1,
    COMMAND_SUM = 2,
    COMMAND_TIME = 3,
};

/* The guest may write while we read, so all work is done on a copy. */
static void take_text(const char *data, char *ret_text)
{
    memcpy(ret_text, data, TEXT_LEN - 1);
    ret_text[TEXT_LEN - 1] = '\0';
    ret_text[strcspn(ret_text, "\n")] = '\0';
}

static void answer(char *data, const char *text)
{
    snprintf(data, TEXT_LEN + 1, "%s\n", text);
}

static void capitals(char *text)
{
    for (; *text; text++)
        *text = (char)toupper((unsigned char)*text);
}

static void sum(char *text)
{
    int64_t total = 0;
    char *end;
    for (char *word = text; *word; word = end) {
        total += strtol(word, &end, 10);
        if (end == word)
            end++; /* no number here */
    }
    snprintf(text, TEXT_LEN, "%" PRId64, total);
}

static void now(char *text)
{
    time_t seconds = time(NULL);
    struct tm utc;
    strftime(text, TEXT_LEN, "%Y-%m-%d %H:%M:%S", gmtime_r(&seconds, &utc));
}

OB_API void backdoor(uint64_t command, void *data);

void backdoor(uint64_t command, void *data)
{
    char text[TEXT_LEN];
    take_text(data, text);
    switch (command) {
    case COMMAND_CAPITALS:
        capitals(text);
        break;
    case COMMAND_SUM:
        sum(text);
        break;
    case COMMAND_TIME:
        now(text);
        break;
    default:
        return;
    }
    answer(data, text);
}
