// SPDX-License-Identifier: BSD-3-Clause
#include "agent/mounts.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#define MOUNTINFO "/proc/self/mountinfo"

/* The kernel writes spaces, tabs, newlines and backslashes as \ooo, in place. */
static void unescape(char *text)
{
    char *to = text;
    for (const char *at = text; *at; to++) {
        unsigned code;
        if (*at == '\\' && sscanf(at + 1, "%3o", &code) == 1) {
            *to = (char)code;
            at += 4;
        } else {
            *to = *at++;
        }
    }
    *to = '\0';
}

/* btrfs and its like have devices of their own: that of the source is meant. */
static bool find_device(struct mount *mount)
{
    struct stat stat_of;
    if (mount->major != 0)
        return true;
    if (mount->source[0] != '/' || stat(mount->source, &stat_of) < 0 || !S_ISBLK(stat_of.st_mode))
        return false;
    mount->major = major(stat_of.st_rdev);
    mount->minor = minor(stat_of.st_rdev);
    return true;
}

static int add(struct mounts *mounts, const struct mount *mount)
{
    struct mount copy = {.major = mount->major,
                         .minor = mount->minor,
                         .place = strdup(mount->place),
                         .type = strdup(mount->type),
                         .source = strdup(mount->source)};
    struct mount *grown = reallocarray(mounts->mount, mounts->count + 1, sizeof(copy));
    if (grown)
        mounts->mount = grown;
    if (!grown || !copy.place || !copy.type || !copy.source) {
        free(copy.place);
        free(copy.type);
        free(copy.source);
        return -ENOMEM;
    }
    mounts->mount[mounts->count++] = copy;
    return 0;
}

/* proc(5): 36 35 98:0 /root /place options optional... - type source super-options */
static int add_line(struct mounts *mounts, char *line)
{
    struct mount mount = {0};
    char *rest = NULL;
    char *tail = strstr(line, " - ");
    if (!tail || sscanf(line, "%*d %*d %u:%u", &mount.major, &mount.minor) != 2)
        return 0;
    *tail = '\0';
    strtok_r(line, " ", &rest);
    for (int i = 0; i < 3; i++)
        strtok_r(NULL, " ", &rest);
    mount.place = strtok_r(NULL, " ", &rest);
    mount.type = strtok_r(tail + 3, " ", &rest);
    mount.source = strtok_r(NULL, " \n", &rest);
    if (!mount.place || !mount.type || !mount.source)
        return 0;
    unescape(mount.place);
    unescape(mount.source);
    return find_device(&mount) ? add(mounts, &mount) : 0;
}

int mounts_read(struct mounts *ret_mounts)
{
    char *line = NULL;
    size_t size = 0;
    int err = 0;
    FILE *file = fopen(MOUNTINFO, "re");
    if (!file)
        return -errno;
    *ret_mounts = (struct mounts){0};
    while (err == 0 && getline(&line, &size, file) > 0)
        err = add_line(ret_mounts, line);
    free(line);
    fclose(file);
    if (err < 0)
        mounts_done(ret_mounts);
    return err;
}

void mounts_done(struct mounts *mounts)
{
    for (size_t i = 0; i < mounts->count; i++) {
        free(mounts->mount[i].place);
        free(mounts->mount[i].type);
        free(mounts->mount[i].source);
    }
    free(mounts->mount);
    *mounts = (struct mounts){0};
}
