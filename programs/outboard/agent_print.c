// SPDX-License-Identifier: BSD-3-Clause
/* Values for people: a line for each member, indented by its depth, and a dash for each element. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "agent_client.h"
#include "base/limits.h"
#include "base/printable.h"

static void print_text(const struct json_text *text)
{
    size_t size = PRINTABLE_BYTE_MAX * text->len + 4;
    char *copy = malloc(size);
    if (!copy)
        return;
    printable_copy(copy, size, text->bytes, text->len);
    fputs(copy, stdout);
    free(copy);
}

static void print_scalar(const struct json *value)
{
    switch (value->type) {
    case JSON_NULL:
        fputs("null", stdout);
        break;
    case JSON_BOOL:
        fputs(value->boolean ? "yes" : "no", stdout);
        break;
    case JSON_INT:
        printf("%" PRId64, value->integer);
        break;
    case JSON_UINT:
        printf("%" PRIu64, value->unsigned_integer);
        break;
    case JSON_REAL:
        printf("%.10g", value->real);
        break;
    case JSON_STRING:
        print_text(&value->text);
        break;
    default:
        break;
    }
}

static bool has_members(const struct json *value)
{
    return value->type == JSON_ARRAY || value->type == JSON_OBJECT;
}

/* Begins in column 2 * depth, where the cursor is. */
static void print_at(const struct json *value, int depth)
{
    bool is_array = value->type == JSON_ARRAY;
    if (!has_members(value)) {
        print_scalar(value);
        putchar('\n');
        return;
    }
    if (!value->first) {
        puts(is_array ? "none" : "");
        return;
    }
    for (const struct json *member = value->first; member; member = member->next) {
        if (member != value->first)
            printf("%*s", 2 * depth, "");
        if (is_array) {
            fputs("- ", stdout);
        } else {
            print_text(&member->name);
            fputs(has_members(member) && member->first ? ":\n" : ": ", stdout);
            if (has_members(member) && member->first)
                printf("%*s", 2 * depth + 2, "");
        }
        print_at(member, depth + 1);
    }
}

static void print_json(const struct json *value)
{
    struct json_out out;
    json_out_init(&out, LIMIT_AGENT_ANSWER);
    json_out_value(&out, value);
    fwrite(out.bytes, 1, out.len, stdout);
    putchar('\n');
    json_out_free(&out);
}

void agent_print(const struct json *value, bool as_json)
{
    if (as_json)
        print_json(value);
    else if (value->type != JSON_OBJECT || value->first)
        print_at(value, 0);
}
