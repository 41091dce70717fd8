// SPDX-License-Identifier: BSD-3-Clause
/* Command: a name, its arguments, and the function that carries it out. */
#ifndef OUTBOARD_AGENT_COMMAND_H
#define OUTBOARD_AGENT_COMMAND_H

#include "agent/call.h"
#include "agent/job.h"

struct agent;

enum argument_type {
    ARGUMENT_INT,
    ARGUMENT_BOOL,
    ARGUMENT_STRING,
    ARGUMENT_STRINGS, /* an array of strings */
    ARGUMENT_OBJECTS, /* an array of objects */
    ARGUMENT_ANY,     /* the command looks at it */
};

struct argument {
    const char *name; /* NULL: the end of the list */
    enum argument_type type;
    bool optional;
};

enum command_flags {
    COMMAND_WHILE_FROZEN = 2, /* touches no file system */
    COMMAND_SILENT = 4,       /* is not answered if it succeeds */
    COMMAND_DELIMITED = 8,    /* FF stands before its answer */
};

struct command {
    const char *name;                 /* NULL: the end of the table */
    const struct argument *arguments; /* NULL: none */
    unsigned flags;
    unsigned limit_s; /* of the child in which run() works; 0: it works in the agent, at once */
    job_fn run;       /* or */
    void (*start)(struct agent *agent, struct call *call); /* answers, now or later.
                                                            * Neither: self.h answers */
};

/* A table for each file, ended by a row without a name. */
extern const struct command commands_account[];
extern const struct command commands_disk[];
extern const struct command commands_exec[];
extern const struct command commands_file[];
extern const struct command commands_freeze[];
extern const struct command commands_network[];
extern const struct command commands_power[];
extern const struct command commands_processor[];
extern const struct command commands_system[];

/* NULL: no command has this name. */
const struct command *command_find(const char *name);
/* Calls each(argument, command) for all of them. */
void command_each(void (*each)(void *argument, const struct command *command), void *argument);

/* Checks arguments. NULL: they are right; else the error, in ret_text. */
const char *command_check(const struct command *command, const struct json *arguments,
                          char ret_text[CALL_TEXT_MAX]);

#endif
