// SPDX-License-Identifier: BSD-3-Clause
#include "settings.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "os/settings_file.h"

enum kind {
    TEXT,
    LIST, /* commas in here, semicolons in the file */
    FLAG,
    IGNORED,
};

static const struct row {
    const char *key;
    enum kind kind;
    size_t offset;
} rows[] = {
    {"daemon", IGNORED, 0},
    {"logfile", IGNORED, 0},
    {"retry-path", IGNORED, 0},
    {"method", TEXT, offsetof(struct settings, method)},
    {"path", TEXT, offsetof(struct settings, path)},
    {"pidfile", TEXT, offsetof(struct settings, pid_file)},
    {"statedir", TEXT, offsetof(struct settings, state_dir)},
    {"fsfreeze-hook", TEXT, offsetof(struct settings, freeze_hook)},
    {"read-only", FLAG, offsetof(struct settings, read_only)},
    {"verbose", FLAG, offsetof(struct settings, verbose)},
    {"allow-rpcs", LIST, offsetof(struct settings, allow)},
    {"block-rpcs", LIST, offsetof(struct settings, block)},
};

#define ROW_COUNT (sizeof(rows) / sizeof(rows[0]))

static void *place(const struct settings *settings, const struct row *row)
{
    return (char *)settings + row->offset;
}

static int set(struct settings *settings, const struct row *row, const char *value)
{
    if (row->kind == IGNORED)
        return 0;
    if (row->kind == FLAG) {
        *(bool *)place(settings, row) = settings_flag(value);
        return 0;
    }
    char *copy = strdup(value);
    char **grown = reallocarray(settings->owned, settings->owned_count + 1, sizeof(*grown));
    if (grown)
        settings->owned = grown;
    if (!copy || !grown) {
        free(copy);
        return -ENOMEM;
    }
    settings->owned[settings->owned_count++] = copy;
    if (row->kind == LIST)
        settings_list(copy);
    *(const char **)place(settings, row) = copy;
    return 0;
}

void settings_done(struct settings *settings)
{
    for (size_t i = 0; i < settings->owned_count; i++)
        free(settings->owned[i]);
    free(settings->owned);
}

static int on_setting(void *argument, const char *key, char *value, struct ob_fault *fault)
{
    struct settings *settings = argument;
    for (size_t i = 0; i < ROW_COUNT; i++) {
        if (strcmp(rows[i].key, key) != 0)
            continue;
        if (set(settings, &rows[i], value) < 0)
            return ob_fault_set(fault, -ENOMEM, "no memory for the settings");
        return rows[i].kind == LIST &&
                       !agent_policy_check_list(*(const char **)place(settings, &rows[i]), fault)
                   ? -EINVAL
                   : 0;
    }
    return -ENOENT;
}

int settings_read(const char *path, struct settings *settings, struct ob_fault *fault)
{
    return settings_file_read(path, "outboard-agent(1)", on_setting, settings, fault);
}

static void print_list(const char *list)
{
    for (; *list; list++)
        putchar(*list == ',' ? ';' : *list);
    puts(";");
}

void settings_print(const struct settings *settings)
{
    puts("[general]\ndaemon=false");
    for (size_t i = 0; i < ROW_COUNT; i++) {
        const struct row *row = &rows[i];
        const char *text =
            row->kind == TEXT || row->kind == LIST ? *(const char **)place(settings, row) : NULL;
        if (row->kind == FLAG)
            printf("%s=%s\n", row->key, *(bool *)place(settings, row) ? "true" : "false");
        if (!text)
            continue;
        printf("%s=", row->key);
        if (row->kind == LIST)
            print_list(text);
        else
            puts(text);
    }
}
