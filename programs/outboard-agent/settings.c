// SPDX-License-Identifier: BSD-3-Clause
#include "settings.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
        *(bool *)place(settings, row) = strcmp(value, "true") == 0 || strcmp(value, "1") == 0;
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
    for (char *at = copy; row->kind == LIST && *at; at++)
        *at = *at == ';' ? ',' : *at;
    if (row->kind == LIST && *copy && copy[strlen(copy) - 1] == ',')
        copy[strlen(copy) - 1] = '\0';
    *(const char **)place(settings, row) = copy;
    return 0;
}

void settings_done(struct settings *settings)
{
    for (size_t i = 0; i < settings->owned_count; i++)
        free(settings->owned[i]);
    free(settings->owned);
}

/* Cuts white space off, in place. */
static char *trim(char *text)
{
    text += strspn(text, " \t");
    size_t len = strlen(text);
    while (len > 0 && strchr(" \t\r\n", text[len - 1]))
        len--;
    text[len] = '\0';
    return text;
}

static int set_line(struct settings *settings, const char *path, char *line, struct ob_fault *fault)
{
    char *key = trim(line);
    if (*key == '\0' || *key == '#' || *key == '[')
        return 0;
    char *value = strchr(key, '=');
    if (!value)
        return ob_fault_set(fault, -EINVAL, "%.150s: got '%.100s', expected KEY=VALUE", path, key);
    *value++ = '\0';
    key = trim(key);
    value = trim(value);
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
    return ob_fault_set(fault, -EINVAL,
                        "%.120s: got '%.60s', expected a setting; outboard-agent(1) lists them",
                        path, key);
}

int settings_read(const char *path, struct settings *settings, struct ob_fault *fault)
{
    char *line = NULL;
    size_t size = 0;
    int err = 0;
    FILE *file = fopen(path, "re");
    if (!file)
        return ob_fault_set(fault, -errno, "can't read %.200s: %s", path, strerror(errno));
    while (err == 0 && getline(&line, &size, file) > 0)
        err = set_line(settings, path, line, fault);
    free(line);
    fclose(file);
    return err;
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
