// SPDX-License-Identifier: BSD-3-Clause
/* Settings file: lines KEY=VALUE in the form of qemu-ga's; comments and names of sections are skipped. */
#ifndef OUTBOARD_OS_SETTINGS_FILE_H
#define OUTBOARD_OS_SETTINGS_FILE_H

#include <outboard/fault.h>
#include <stdbool.h>

/* value: without white space around it; gone after the call. 0; -ENOENT: there is no such key; or
 * another negative errno with the fault filled. */
typedef int (*setting_fn)(void *argument, const char *key, char *value, struct ob_fault *fault);

/* Calls set() for each line. manual: where the keys are listed. 0 or a negative errno with the fault
 * filled. */
int settings_file_read(const char *path, const char *manual, setting_fn set, void *argument,
                       struct ob_fault *fault);

/* Commas for the semicolons of a list of commands, in place. */
void settings_list(char *value);

bool settings_flag(const char *value);

#endif
