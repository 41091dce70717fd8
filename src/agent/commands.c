// SPDX-License-Identifier: BSD-3-Clause
#include <stdio.h>
#include <string.h>

#include "agent/command.h"

static const struct command *const tables[] = {
    commands_system, commands_processor, commands_network, commands_disk,    commands_freeze,
    commands_power,  commands_exec,      commands_file,    commands_account,
};

#define TABLES (sizeof(tables) / sizeof(tables[0]))

const struct command *command_find(const char *name)
{
    for (size_t i = 0; i < TABLES; i++) {
        for (const struct command *command = tables[i]; command->name; command++) {
            if (strcmp(command->name, name) == 0)
                return command;
        }
    }
    return NULL;
}

void command_each(void (*each)(void *argument, const struct command *command), void *argument)
{
    for (size_t i = 0; i < TABLES; i++) {
        for (const struct command *command = tables[i]; command->name; command++)
            each(argument, command);
    }
}

/* NULL, or the name of the type that was expected. */
static const char *check_type(enum argument_type type, const struct json *value)
{
    enum json_type of_members = type == ARGUMENT_STRINGS ? JSON_STRING : JSON_OBJECT;
    switch (type) {
    case ARGUMENT_INT:
        return value->type == JSON_INT ? NULL : "integer";
    case ARGUMENT_BOOL:
        return value->type == JSON_BOOL ? NULL : "boolean";
    case ARGUMENT_STRING:
        return value->type == JSON_STRING ? NULL : "string";
    case ARGUMENT_ANY:
        return NULL;
    default:
        break;
    }
    if (value->type != JSON_ARRAY)
        return "array";
    for (const struct json *member = value->first; member; member = member->next) {
        if (member->type != of_members)
            return of_members == JSON_STRING ? "array of strings" : "array of objects";
    }
    return NULL;
}

static const struct argument *find(const struct argument *argument, const char *name)
{
    for (; argument && argument->name; argument++) {
        if (strcmp(argument->name, name) == 0)
            return argument;
    }
    return NULL;
}

const char *command_check(const struct command *command, const struct json *arguments,
                          char ret_text[CALL_TEXT_MAX])
{
    for (const struct argument *argument = command->arguments; argument && argument->name;
         argument++) {
        const struct json *value = json_member(arguments, argument->name);
        const char *expected = value ? check_type(argument->type, value) : NULL;
        if (!value && argument->optional)
            continue;
        if (!value)
            snprintf(ret_text, CALL_TEXT_MAX, "Parameter '%s' is missing", argument->name);
        else if (expected)
            snprintf(ret_text, CALL_TEXT_MAX, "Invalid parameter type for '%s', expected: %s",
                     argument->name, expected);
        else
            continue;
        return ret_text;
    }
    for (const struct json *member = arguments ? arguments->first : NULL; member;
         member = member->next) {
        const char *name = member->name.bytes;
        bool is_known = find(command->arguments, name);
        if (is_known && json_member(arguments, name) == member)
            continue;
        snprintf(ret_text, CALL_TEXT_MAX, "Parameter '%.200s' is %s", name,
                 is_known ? "given twice" : "unexpected");
        return ret_text;
    }
    return NULL;
}
