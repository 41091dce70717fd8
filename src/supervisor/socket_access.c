// SPDX-License-Identifier: BSD-3-Clause
#include "supervisor/socket_access.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/number.h"
#include "supervisor/config.h"

#define MODE_MAX  0777u
#define NAME_LEN  64
#define ENTRY_LEN 16384 /* a group may have many members */

static int wrong(const char *file, const struct config_setting *setting, const char *expected,
                 struct ob_fault *fault)
{
    return ob_fault_set(fault, -EINVAL, "%.80s:%u: %.40s: got '%.60s', expected %.120s", file,
                        setting->line, setting->key, setting->value, expected);
}

static const struct config_setting *find(const struct config_section *section, const char *kind,
                                         const char *suffix)
{
    char key[32];
    snprintf(key, sizeof(key), "%s-%s", kind, suffix);
    return config_find(section, key);
}

bool socket_access_has_key(const char *kind, const char *key)
{
    size_t len = strlen(kind);
    return strncmp(key, kind, len) == 0 &&
           (strcmp(key + len, "-mode") == 0 || strcmp(key + len, "-owner") == 0);
}

/* The last number is that of nobody: chown(2) takes it for no change. */
static int parse_user(const char *text, uid_t *ret_owner)
{
    uint64_t number;
    struct passwd entry, *user = NULL;
    char room[ENTRY_LEN];
    if (getpwnam_r(text, &entry, room, sizeof(room), &user) != 0)
        user = NULL;
    if (!user && number_parse(text, 10, UINT32_MAX - 1, &number) < 0)
        return -EINVAL;
    *ret_owner = user ? user->pw_uid : (uid_t)number;
    return 0;
}

static int parse_group(const char *text, gid_t *ret_group)
{
    uint64_t number;
    struct group entry, *group = NULL;
    char room[ENTRY_LEN];
    if (getgrnam_r(text, &entry, room, sizeof(room), &group) != 0)
        group = NULL;
    if (!group && number_parse(text, 10, UINT32_MAX - 1, &number) < 0)
        return -EINVAL;
    *ret_group = group ? group->gr_gid : (gid_t)number;
    return 0;
}

static int parse_owner(const char *text, struct socket_access *access)
{
    char user[NAME_LEN];
    const char *colon = strchr(text, ':');
    size_t len = colon ? (size_t)(colon - text) : strlen(text);
    if (len >= sizeof(user) || (len == 0 && !colon))
        return -EINVAL;
    memcpy(user, text, len);
    user[len] = '\0';
    int err = len > 0 ? parse_user(user, &access->owner) : 0;
    return err == 0 && colon ? parse_group(colon + 1, &access->group) : err;
}

int socket_access_read(const char *file, const struct config_section *section, const char *kind,
                       struct socket_access *ret_access, struct ob_fault *fault)
{
    const struct config_setting *mode = find(section, kind, "mode");
    const struct config_setting *owner = find(section, kind, "owner");
    struct socket_access access = {.mode = 0600, .owner = (uid_t)-1, .group = (gid_t)-1};
    uint64_t number = access.mode;
    if (mode && number_parse(mode->value, 8, MODE_MAX, &number) < 0)
        return wrong(file, mode, "octal digits up to 0777, 0660 for example", fault);
    access.mode = (mode_t)number;
    if (owner && parse_owner(owner->value, &access) < 0)
        return wrong(file, owner, "USER, USER:GROUP or :GROUP, names of this system or numbers",
                     fault);
    *ret_access = access;
    return 0;
}

/* The owner first, since the mode is meant for the new one. The descriptor stays at the file, whatever
 * happens to its path. */
int socket_access_give(const struct socket_access *access, const char *path)
{
    char name[32];
    struct stat stat;
    AUTO_FD fd = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &stat) < 0)
        return -errno;
    if (!S_ISSOCK(stat.st_mode) || stat.st_uid != geteuid())
        return -EPERM;
    if (fchownat(fd, "", access->owner, access->group, AT_EMPTY_PATH) < 0)
        return -errno;
    snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
    return chmod(name, access->mode) < 0 ? -errno : 0;
}
