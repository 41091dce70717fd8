// SPDX-License-Identifier: BSD-3-Clause
#include "process_status.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/auto.h"

#define PATH_LEN 64
#define LINK_LEN 64

/* Columns of /proc/PID/limits: name, soft limit, hard limit, unit. */
#define HARD_LIMIT_AT 47

ssize_t process_status_read(pid_t pid, const char *name, char *text, size_t size)
{
    char path[PATH_LEN];
    size_t used = 0;
    snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
    AUTO_FD fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    for (ssize_t got = 1; got > 0 && used + 1 < size; used += (size_t)got) {
        got = read(fd, text + used, size - 1 - used);
        if (got < 0)
            return -errno;
    }
    text[used] = '\0';
    return (ssize_t)used;
}

/* Copies up to the end of the line or to a run of two spaces. */
static void copy_value(const char *from, char *value, size_t size)
{
    size_t len = strcspn(from, "\n");
    const char *gap = strstr(from, "  ");
    if (gap && (size_t)(gap - from) < len)
        len = (size_t)(gap - from);
    snprintf(value, size, "%.*s", (int)len, from);
}

/* The line that begins with a word, or NULL. */
static const char *find_line(const char *text, const char *word)
{
    size_t len = strlen(word);
    while (text && strncmp(text, word, len) != 0) {
        text = strchr(text, '\n');
        text = text ? text + 1 : NULL;
    }
    return text;
}

int process_status_field(const char *status, const char *key, char *value, size_t size)
{
    const char *line = find_line(status, key);
    if (!line || line[strlen(key)] != ':')
        return -ENOENT;
    line += strlen(key) + 1;
    copy_value(line + strspn(line, "\t "), value, size);
    return 0;
}

int process_status_limit(const char *limits, const char *name, char *value, size_t size)
{
    const char *line = find_line(limits, name);
    if (!line || strcspn(line, "\n") <= HARD_LIMIT_AT)
        return -ENOENT;
    copy_value(line + HARD_LIMIT_AT, value, size);
    return 0;
}

static ssize_t read_link(const char *path, char *text, size_t size)
{
    ssize_t len = readlink(path, text, size - 1);
    if (len < 0)
        return -errno;
    text[len] = '\0';
    return len;
}

int process_status_has_own(pid_t pid, const char *namespace)
{
    char path[PATH_LEN], theirs[LINK_LEN], ours[LINK_LEN];
    snprintf(path, sizeof(path), "/proc/%d/ns/%s", (int)pid, namespace);
    ssize_t err = read_link(path, theirs, sizeof(theirs));
    if (err < 0)
        return (int)err;
    snprintf(path, sizeof(path), "/proc/self/ns/%s", namespace);
    err = read_link(path, ours, sizeof(ours));
    return err < 0 ? (int)err : strcmp(theirs, ours) != 0;
}

int process_status_count_files(pid_t pid)
{
    char path[PATH_LEN];
    int count = 0;
    snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
    DIR *folder = opendir(path);
    if (!folder)
        return -errno;
    for (const struct dirent *entry = readdir(folder); entry; entry = readdir(folder))
        count += entry->d_name[0] != '.';
    closedir(folder);
    return count;
}
