// SPDX-License-Identifier: BSD-3-Clause
/* Settings: the values of the options and of a file of settings. */
#ifndef OUTBOARD_PROGRAMS_SETTINGS_H
#define OUTBOARD_PROGRAMS_SETTINGS_H

#include <stddef.h>

#include "agent/agent.h"

/* Texts of options are their giver's; those of a file belong to the settings. */
struct settings {
    const char *method; /* NULL: a channel */
    const char *path;
    const char *state_dir;
    const char *freeze_hook;
    const char *pid_file; /* read for qemu-ga's sake, and not used */
    const char *allow, *block;
    bool read_only;
    bool verbose;
    char **owned; /* texts of files */
    size_t owned_count;
};

void settings_done(struct settings *settings);

/* Reads a file as qemu-ga has it: lines of KEY=VALUE below [general], # in front of a comment, and
 * semicolons between names. 0 or a negative errno with the fault filled. */
int settings_read(const char *path, struct settings *settings, struct ob_fault *fault);

/* Prints them in that form. */
void settings_print(const struct settings *settings);

#endif
