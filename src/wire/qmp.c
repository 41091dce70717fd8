// SPDX-License-Identifier: BSD-3-Clause
#include "wire/qmp.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char *const members[] = {"execute", "arguments", "id"};

#define MEMBER_COUNT (sizeof(members) / sizeof(members[0]))

static void put_end(struct json_out *out, const struct json *id)
{
    if (id) {
        json_out_name(out, "id");
        json_out_value(out, id);
    }
    json_out_end(out, '}');
    json_out_bytes(out, "\n", 1);
}

void qmp_put_return(struct json_out *out, const char *json, size_t len, const struct json *id)
{
    out->needs_comma = false;
    json_out_begin(out, '{');
    json_out_name(out, "return");
    json_out_raw(out, json, len);
    put_end(out, id);
}

void qmp_put_error(struct json_out *out, const char *class, const char *text, size_t len,
                   const struct json *id)
{
    out->needs_comma = false;
    json_out_begin(out, '{');
    json_out_name(out, "error");
    json_out_begin(out, '{');
    json_out_member_string(out, "class", class);
    json_out_name(out, "desc");
    json_out_text(out, text, len);
    json_out_end(out, '}');
    put_end(out, id);
}

void qmp_put_fault(struct json_out *out, uint64_t offset, const char *fault)
{
    char text[200];
    snprintf(text, sizeof(text), "JSON parse error at byte %" PRIu64 ": %s", offset, fault);
    qmp_put_error(out, QMP_GENERIC, text, strlen(text), NULL);
}

const char *qmp_check_request(const struct json *request, char *ret_text, size_t size)
{
    if (request->type != JSON_OBJECT)
        return "QMP input must be a JSON object";
    for (const struct json *member = request->first; member; member = member->next) {
        size_t i = 0;
        while (i < MEMBER_COUNT && strcmp(members[i], member->name.bytes) != 0)
            i++;
        /* Two members of one name are for two parsers to differ about. */
        if (i < MEMBER_COUNT && json_member(request, members[i]) != member)
            return "QMP input has a member twice";
        if (i < MEMBER_COUNT)
            continue;
        snprintf(ret_text, size, "QMP input member '%.200s' is unexpected", member->name.bytes);
        return ret_text;
    }
    const struct json *name = json_member(request, "execute");
    const struct json *arguments = json_member(request, "arguments");
    if (!name)
        return "QMP input lacks member 'execute'";
    if (name->type != JSON_STRING)
        return "QMP input member 'execute' must be a string";
    if (arguments && arguments->type != JSON_OBJECT)
        return "QMP input member 'arguments' must be an object";
    return NULL;
}
