// SPDX-License-Identifier: BSD-3-Clause
#include "os/settings_file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct source {
    const char *path, *manual;
    setting_fn set;
    void *argument;
};

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

static int take_line(const struct source *source, char *line, struct ob_fault *fault)
{
    char *key = trim(line);
    if (*key == '\0' || *key == '#' || *key == '[')
        return 0;
    char *value = strchr(key, '=');
    if (!value)
        return ob_fault_set(fault, -EINVAL, "%.150s: got '%.100s', expected KEY=VALUE",
                            source->path, key);
    *value++ = '\0';
    key = trim(key);
    int err = source->set(source->argument, key, trim(value), fault);
    return err == -ENOENT ? ob_fault_set(fault, -EINVAL,
                                         "%.120s: got '%.60s', expected a setting; %s lists them",
                                         source->path, key, source->manual)
                          : err;
}

int settings_file_read(const char *path, const char *manual, setting_fn set, void *argument,
                       struct ob_fault *fault)
{
    const struct source source = {path, manual, set, argument};
    char *line = NULL;
    size_t size = 0;
    int err = 0;
    FILE *file = fopen(path, "re");
    if (!file)
        return ob_fault_set(fault, -errno, "can't read %.200s: %s", path, strerror(errno));
    while (err == 0 && getline(&line, &size, file) > 0)
        err = take_line(&source, line, fault);
    if (err == 0 && ferror(file))
        err = ob_fault_set(fault, -EIO, "can't read %.200s", path);
    free(line);
    fclose(file);
    return err;
}

void settings_list(char *value)
{
    for (char *at = value; *at; at++)
        *at = *at == ';' ? ',' : *at;
    if (*value && value[strlen(value) - 1] == ',')
        value[strlen(value) - 1] = '\0';
}

bool settings_flag(const char *value)
{
    return strcmp(value, "true") == 0 || strcmp(value, "1") == 0;
}
