// SPDX-License-Identifier: BSD-3-Clause
/*
 * Passwords and keys of users. A user's files are read and written with that user's rights, so that
 * a link in a home folder leads nowhere that the user could not go. Users are looked up by getent,
 * or in /etc/passwd without getent: a static program can't use the C library's name services.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/command.h"
#include "agent/helper.h"
#include "base/auto.h"
#include "base/limits.h"
#include "wire/base64.h"

#define FOLDER        ".ssh"
#define FILE_NAME     ".ssh/authorized_keys"
#define TEMPORARY     ".ssh/.authorized_keys.new"
#define KEYS_MAX      (1u << 20)
#define PASSWORDS_MAX 4096

struct user {
    uid_t uid;
    gid_t gid;
    char home[256];
};

/* name:password:uid:gid:comment:home:shell */
static bool read_line(const char *line, const char *name, struct user *ret_user)
{
    size_t len = strlen(name);
    if (strncmp(line, name, len) != 0 || line[len] != ':')
        return false;
    const char *ids = strchr(line + len + 1, ':');
    if (!ids || sscanf(ids, ":%u:%u", &ret_user->uid, &ret_user->gid) != 2)
        return false;
    for (int i = 0; i < 4 && ids; i++)
        ids = strchr(ids + (i > 0), ':'); /* in front of uid, gid, comment, home */
    return ids && sscanf(ids, ":%255[^:]", ret_user->home) == 1;
}

static bool find_in_file(const char *name, struct user *ret_user)
{
    char *line = NULL;
    size_t size = 0;
    bool found = false;
    FILE *file = fopen("/etc/passwd", "re");
    while (file && !found && getline(&line, &size, file) > 0)
        found = read_line(line, name, ret_user);
    free(line);
    if (file)
        fclose(file);
    return found;
}

static int find_user(struct job *job, struct user *ret_user)
{
    const char *name = job_string(job->arguments, "username");
    char *const argv[] = {"getent", "passwd", "--", (char *)name, NULL};
    struct helper_result result;
    if (*name == '\0' || strpbrk(name, ":\n"))
        return job_fail(job, "'%.100s' is no name of a user", name);
    int err = helper_run(argv, NULL, 0, &result);
    bool found = err == -ENOENT
                     ? find_in_file(name, ret_user)
                     : err == 0 && result.status == 0 && read_line(result.output, name, ret_user);
    return found ? 0 : job_fail(job, "failed to lookup user '%.100s'", name);
}

/* This process, a worker, is the user from now on, in the home folder. */
static int become_user(struct job *job)
{
    struct user user;
    if (find_user(job, &user) < 0)
        return -1;
    if (geteuid() == 0 && (setgroups(0, NULL) < 0 || setgid(user.gid) < 0 || setuid(user.uid) < 0))
        return job_fail(job, "can't take the user's rights: %s", strerror(errno));
    if (geteuid() != user.uid)
        return job_fail(job, "can't take the user's rights: %s", strerror(EPERM));
    if (chdir(user.home) < 0)
        return job_fail(job, "can't enter %.200s: %s", user.home, strerror(errno));
    return 0;
}

/* The lines of the file, "" without a file; to be freed. NULL: the error is told. */
static char *read_keys(struct job *job)
{
    char *text = calloc(1, KEYS_MAX + 1);
    if (!text) {
        job_fail(job, "out of memory");
        return NULL;
    }
    int len = job_read_file(FILE_NAME, text, KEYS_MAX + 1);
    if ((len < 0 && len != -ENOENT) || len == KEYS_MAX) {
        job_fail(job, "failed to read " FILE_NAME ": %s", strerror(len < 0 ? -len : EFBIG));
        free(text);
        return NULL;
    }
    return text;
}

static int get_keys(struct job *job)
{
    char *rest = NULL;
    if (become_user(job) < 0)
        return -1;
    AUTO_FREE char *text = read_keys(job);
    if (!text)
        return -1;
    json_out_begin(&job->out, '{');
    json_out_name(&job->out, "keys");
    json_out_begin(&job->out, '[');
    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        if (*line != '#')
            json_out_string(&job->out, line);
    }
    json_out_end(&job->out, ']');
    json_out_end(&job->out, '}');
    return 0;
}

static int check_keys(struct job *job)
{
    for (const struct json *key = job_strings(job->arguments, "keys"); key; key = key->next) {
        if (strpbrk(key->text.bytes, "\r\n") || key->text.len == 0 || *key->text.bytes == '#')
            return job_fail(job, "invalid OpenSSH key '%.100s'", key->text.bytes);
    }
    return 0;
}

static bool is_among(const struct json *keys, const char *line, size_t len)
{
    for (; keys; keys = keys->next) {
        if (keys->text.len == len && memcmp(keys->text.bytes, line, len) == 0)
            return true;
    }
    return false;
}

/* The lines of text that are not among the keys. */
static void write_others(FILE *file, const char *text, const struct json *keys)
{
    while (*text) {
        size_t len = strcspn(text, "\n");
        if (!is_among(keys, text, len))
            fprintf(file, "%.*s\n", (int)len, text);
        text += len + (text[len] == '\n');
    }
}

/* Replaces the file by rename(2): a reader sees the old one or the new one. */
static int write_keys(struct job *job, const char *before, bool adds)
{
    const struct json *keys = job_strings(job->arguments, "keys");
    if (mkdir(FOLDER, 0700) < 0 && errno != EEXIST)
        return job_fail(job, "failed to create " FOLDER ": %s", strerror(errno));
    unlink(TEMPORARY);
    int fd = open(TEMPORARY, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    FILE *file = fd >= 0 ? fdopen(fd, "w") : NULL;
    if (!file)
        return job_fail(job, "failed to write " FILE_NAME ": %s", strerror(errno));
    write_others(file, before, keys);
    for (; adds && keys; keys = keys->next)
        fprintf(file, "%s\n", keys->text.bytes);
    bool failed = fflush(file) != 0 || fsync(fd) < 0;
    if (fclose(file) != 0 || failed || rename(TEMPORARY, FILE_NAME) < 0) {
        job_fail(job, "failed to write " FILE_NAME ": %s", strerror(errno));
        unlink(TEMPORARY);
        return -1;
    }
    return 0;
}

static int change_keys(struct job *job, bool adds)
{
    if (check_keys(job) < 0 || become_user(job) < 0)
        return -1;
    AUTO_FREE char *text = read_keys(job);
    if (!text)
        return -1;
    return write_keys(job, job_bool(job->arguments, "reset", false) ? "" : text, adds);
}

static int add_keys(struct job *job)
{
    return change_keys(job, true);
}

static int remove_keys(struct job *job)
{
    return change_keys(job, false);
}

static int set_password(struct job *job)
{
    const char *name = job_string(job->arguments, "username");
    const struct json *encoded = json_member(job->arguments, "password");
    bool crypted = job_bool(job->arguments, "crypted", false);
    char *const argv[] = {"chpasswd", crypted ? "-e" : NULL, NULL};
    char password[PASSWORDS_MAX], line[2 * PASSWORDS_MAX];
    struct helper_result result;
    if (encoded->text.len > PASSWORDS_MAX || strlen(name) > 256)
        return job_fail(job, "the name or the password is too long");
    ssize_t len = base64_decode(encoded->text.bytes, encoded->text.len, password);
    if (len < 0)
        return job_fail(job, "password is no Base64");
    if (memchr(password, '\n', (size_t)len) || memchr(password, '\0', (size_t)len))
        return job_fail(job, "forbidden characters in raw password");
    if (strpbrk(name, ":\n"))
        return job_fail(job, "forbidden characters in username");
    int line_len = snprintf(line, sizeof(line), "%s:%.*s\n", name, (int)len, password);
    int err = helper_run(argv, line, (size_t)line_len, &result);
    explicit_bzero(password, sizeof(password));
    explicit_bzero(line, sizeof(line));
    if (err < 0)
        return job_fail(job, "can't run chpasswd: %s", strerror(-err));
    return result.status == 0 ? 0
                              : job_fail(job,
                                         "child process has failed to set user password: "
                                         "%.200s",
                                         result.output);
}

static const struct argument user_arguments[] = {{"username", ARGUMENT_STRING, false}, {0}};
static const struct argument add_arguments[] = {{"username", ARGUMENT_STRING, false},
                                                {"keys", ARGUMENT_STRINGS, false},
                                                {"reset", ARGUMENT_BOOL, true},
                                                {0}};
static const struct argument remove_arguments[] = {
    {"username", ARGUMENT_STRING, false}, {"keys", ARGUMENT_STRINGS, false}, {0}};
static const struct argument password_arguments[] = {{"username", ARGUMENT_STRING, false},
                                                     {"password", ARGUMENT_STRING, false},
                                                     {"crypted", ARGUMENT_BOOL, false},
                                                     {0}};

const struct command commands_account[] = {{.name = "guest-set-user-password",
                                            .arguments = password_arguments,
                                            .limit_s = LIMIT_AGENT_HELPER_S,
                                            .run = set_password},
                                           {.name = "guest-ssh-get-authorized-keys",
                                            .arguments = user_arguments,
                                            .limit_s = LIMIT_AGENT_HELPER_S,
                                            .run = get_keys},
                                           {.name = "guest-ssh-add-authorized-keys",
                                            .arguments = add_arguments,
                                            .limit_s = LIMIT_AGENT_HELPER_S,
                                            .run = add_keys},
                                           {.name = "guest-ssh-remove-authorized-keys",
                                            .arguments = remove_arguments,
                                            .limit_s = LIMIT_AGENT_HELPER_S,
                                            .run = remove_keys},
                                           {0}};
