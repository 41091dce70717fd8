// SPDX-License-Identifier: BSD-3-Clause
#include "endpoint/environment.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/number.h"

#define PASSWD_LINE_MAX 4096
#define VARIABLE_MAX    4200

/* systemd.exec(5), "Environment Variables Set or Propagated by the Service Manager": about our unit
 * and not about the command. A '*' at the end stands for anything. */
static const char *const left_out[] = {
    "NOTIFY_SOCKET",
    "LISTEN_*",
    "WATCHDOG_*",
    "INVOCATION_ID",
    "JOURNAL_STREAM",
    "MANAGERPID*",
    "MAINPID",
    "SYSTEMD_EXEC_PID",
    "MEMORY_PRESSURE_*",
    "FDSTORE",
    "CREDENTIALS_DIRECTORY",
    "RUNTIME_DIRECTORY",
    "STATE_DIRECTORY",
    "CACHE_DIRECTORY",
    "LOGS_DIRECTORY",
    "MONITOR_*",
    "TRIGGER_*",
    "SERVICE_RESULT",
    "CONFIGURATION_DIRECTORY",
    "EXIT_CODE",
    "EXIT_STATUS",
    "PIDFILE",
    "REMOTE_ADDR",
    "REMOTE_PORT",
};

/* Where the name ends: at the '=', or at the end. */
static size_t name_len(const char *variable)
{
    return strcspn(variable, "=");
}

static bool is_left_out(const char *variable)
{
    size_t len = name_len(variable);
    for (size_t i = 0; i < sizeof(left_out) / sizeof(left_out[0]); i++) {
        size_t fixed = strcspn(left_out[i], "*");
        bool any = left_out[i][fixed];
        if ((any ? len >= fixed : len == fixed) && strncmp(variable, left_out[i], fixed) == 0)
            return true;
    }
    return false;
}

static size_t count(char *const *environment)
{
    size_t number = 0;
    while (environment[number])
        number++;
    return number;
}

int environment_set(char ***environment, const char *variable)
{
    size_t len = name_len(variable), number = count(*environment), at = 0;
    while (at < number && !(name_len((*environment)[at]) == len &&
                            strncmp((*environment)[at], variable, len) == 0))
        at++;
    char *copy = strdup(variable);
    if (copy && at == number) {
        char **grown = reallocarray(*environment, number + 2, sizeof(*grown));
        if (grown) {
            grown[number] = grown[number + 1] = NULL;
            *environment = grown;
        } else {
            free(copy);
            copy = NULL;
        }
    }
    if (!copy)
        return -ENOMEM;
    free((*environment)[at]);
    (*environment)[at] = copy;
    return 0;
}

static int set_value(char ***environment, const char *name, const char *value)
{
    char variable[VARIABLE_MAX];
    snprintf(variable, sizeof(variable), "%s=%s", name, value);
    return environment_set(environment, variable);
}

static bool has(char *const *environment, const char *name)
{
    size_t len = strlen(name);
    for (; *environment; environment++) {
        if (name_len(*environment) == len && strncmp(*environment, name, len) == 0)
            return true;
    }
    return false;
}

static int set_missing(char ***environment, const char *name, const char *value)
{
    return has(*environment, name) ? 0 : set_value(environment, name, value);
}

/* An entry of passwd(5), of which the fields point into the line. */
struct entry {
    char *name, *home, *shell;
};

/* Cuts a line at its colons. Returns whether it is the entry of this user; lines for NIS, which
 * begin with + or -, and others that are no entry are nobody's. */
static bool parse_entry(char *line, uid_t user, struct entry *ret_entry)
{
    enum {
        NAME,
        PASSWORD,
        UID,
        GID,
        GECOS,
        HOME,
        SHELL,
        FIELDS
    };
    char *field[FIELDS], *rest = line;
    uint64_t number;
    line[strcspn(line, "\n")] = '\0';
    for (int i = 0; i < FIELDS; i++) {
        field[i] = strsep(&rest, ":");
        if (!field[i])
            return false;
    }
    *ret_entry = (struct entry){field[NAME], field[HOME], field[SHELL]};
    return !strchr("#+-", *field[NAME]) && number_parse(field[UID], 10, UINT32_MAX, &number) == 0 &&
           number == user;
}

/* getpwuid(3) would ask the name services, which a static program can't load. */
static bool find_user(const char *path, uid_t user, struct entry *ret_entry,
                      char ret_line[PASSWD_LINE_MAX])
{
    bool is_found = false;
    FILE *file = fopen(path, "re");
    if (!file)
        return false;
    while (!is_found && fgets(ret_line, PASSWD_LINE_MAX, file))
        is_found = parse_entry(ret_line, user, ret_entry);
    fclose(file);
    return is_found;
}

/* A user who is in no /etc/passwd keeps our variables. */
static int set_user(char ***environment, const char *passwd_path, uid_t user)
{
    char line[PASSWD_LINE_MAX];
    struct entry entry;
    int err = 0;
    if (find_user(passwd_path, user, &entry, line)) {
        err = set_value(environment, "HOME", entry.home);
        if (err == 0)
            err = set_value(environment, "USER", entry.name);
        if (err == 0)
            err = set_value(environment, "LOGNAME", entry.name);
        if (err == 0 && *entry.shell)
            err = set_value(environment, "SHELL", entry.shell);
    }
    if (err == 0)
        err = set_missing(environment, "HOME", "/");
    return err == 0 ? set_missing(environment, "SHELL", "/bin/sh") : err;
}

int environment_new(char *const *ours, const char *passwd_path, uid_t user, char ***ret_environment)
{
    size_t kept = 0;
    char **environment = calloc(count(ours) + 1, sizeof(*environment));
    int err = environment ? 0 : -ENOMEM;
    for (; err == 0 && *ours; ours++) {
        if (is_left_out(*ours))
            continue;
        environment[kept] = strdup(*ours);
        err = environment[kept++] ? 0 : -ENOMEM;
    }
    if (err == 0)
        err = set_user(&environment, passwd_path, user);
    if (err == 0)
        err = set_missing(&environment, "PATH",
                          "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:"
                          "/sbin:/bin");
    if (err < 0)
        environment_free(environment);
    else
        *ret_environment = environment;
    return err;
}

void environment_free(char **environment)
{
    for (char **at = environment; environment && *at; at++)
        free(*at);
    free(environment);
}
