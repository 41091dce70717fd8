// SPDX-License-Identifier: BSD-3-Clause
/*
 * qemu-nbd parses images whose bytes a guest or a stranger has written. It is a foreign program, so it has no policy of
 * known calls. The rest of a cell fits it: see disk_cell.h.
 *
 * Backing files are found by the headers of qcow2 images before the cell is entered: a server that is taken over later
 * can't add any. Parts of a vmdk image, and backing files of qed and qcow images, are found in the image's folder alone.
 */
#include "disk_cell.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/auto.h"
#include "os/log.h"
#include "sandbox/outsider.h"
#include "sandbox/stages.h"

#define EXECUTE      (UINT64_C(1) << 0)
#define WRITE_FILE   (UINT64_C(1) << 1)
#define READ_FILE    (UINT64_C(1) << 2)
#define MAKE_FILE    (UINT64_C(1) << 8)
#define TRUNCATE     (UINT64_C(1) << 14)
#define IOCTL        (UINT64_C(1) << 15)
#define USE_FILE     (READ_FILE | WRITE_FILE | TRUNCATE | IOCTL)
#define MAX_GRANTS   48u
#define MAX_CHAIN    16u
#define NAME_MAX_LEN 1023u /* of a backing file: the format's limit */

struct grants {
    struct landlock_grant list[MAX_GRANTS];
    char paths[MAX_CHAIN * 2][PATH_MAX]; /* those that are not constants */
    unsigned count, num_paths;
};

/* A path that this user can't reach needs no right. */
static void grant(struct grants *grants, const char *path, uint64_t rights)
{
    if (grants->count < MAX_GRANTS && access(path, F_OK) == 0)
        grants->list[grants->count++] = (struct landlock_grant){.path = path, .rights = rights};
}

/* Keeps a path. NULL: there is no room. */
static char *keep(struct grants *grants, const char *path, size_t len)
{
    if (grants->num_paths == MAX_CHAIN * 2 || len >= PATH_MAX)
        return NULL;
    char *kept = grants->paths[grants->num_paths++];
    memcpy(kept, path, len);
    kept[len] = '\0';
    return kept;
}

static void grant_folder(struct grants *grants, const char *path, uint64_t rights)
{
    const char *slash = strrchr(path, '/');
    char *folder = slash ? keep(grants, path, slash == path ? 1 : (size_t)(slash - path)) : NULL;
    if (folder)
        grant(grants, folder, rights);
}

static uint64_t big_endian(const uint8_t *at, unsigned len)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < len; i++)
        value = value << 8 | at[i];
    return value;
}

/* QEMU's docs/interop/qcow2.txt, "Header": bytes 8 to 15 and 16 to 19. Returns the length of the name, 0 for none. */
static size_t read_backing(const char *path, char ret_name[NAME_MAX_LEN + 1])
{
    uint8_t header[20];
    AUTO_FD fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || pread(fd, header, sizeof(header), 0) != sizeof(header) ||
        memcmp(header, "QFI\xfb", 4) != 0)
        return 0;
    const uint64_t offset = big_endian(header + 8, 8), len = big_endian(header + 16, 4);
    if (offset == 0 || offset > INT64_MAX || len == 0 || len > NAME_MAX_LEN ||
        pread(fd, ret_name, len, (off_t)offset) != (ssize_t)len)
        return 0;
    ret_name[len] = '\0';
    return len;
}

/* The files beneath a qcow2 image may be read. A name may stand for a path that begins at the image's folder. */
static void grant_chain(struct grants *grants, const char *image)
{
    char name[NAME_MAX_LEN + 1], path[PATH_MAX], next[PATH_MAX];
    snprintf(path, sizeof(path), "%s", image);
    for (unsigned depth = 0; depth < MAX_CHAIN && read_backing(path, name) > 0; depth++) {
        const char *from = strncmp(name, "file:", 5) == 0 ? name + 5 : name;
        const int folder = (int)(strrchr(path, '/') - path);
        int len = from[0] == '/' ? snprintf(next, sizeof(next), "%s", from)
                                 : snprintf(next, sizeof(next), "%.*s/%s", folder, path, from);
        AUTO_FREE char *real = len < (int)sizeof(next) ? realpath(next, NULL) : NULL;
        char *kept = real ? keep(grants, real, strlen(real)) : NULL;
        if (!kept)
            return;
        grant(grants, kept, READ_FILE | IOCTL);
        snprintf(path, sizeof(path), "%s", kept);
    }
}

/* Programs are looked for on PATH, and bring their libraries. */
static void grant_programs(struct grants *grants)
{
    static const char *const folders[] = {"/usr", "/lib", "/lib64", "/bin", "/opt", "/nix", "/gnu"};
    for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++)
        grant(grants, folders[i], LANDLOCK_READ | EXECUTE);
    const char *path = getenv("PATH");
    while (path && *path && grants->count < MAX_GRANTS / 2) {
        size_t len = strcspn(path, ":");
        char *folder = len > 0 && *path == '/' ? keep(grants, path, len) : NULL;
        if (folder)
            grant(grants, folder, LANDLOCK_READ | EXECUTE);
        path += len + (path[len] == ':');
    }
}

static int take_paths(const struct image_option *option, const char *path, const char *format)
{
    AUTO_FREE struct grants *grants = calloc(1, sizeof(*grants));
    if (!grants)
        return -ENOMEM;
    const bool writes = !option->block.readonly && !option->snapshot;
    const bool has_parts = strcmp(format, "vmdk") == 0;
    grant(grants, path, writes ? USE_FILE : READ_FILE | IOCTL);
    if (has_parts)
        grant_folder(grants, path, LANDLOCK_READ | (writes ? WRITE_FILE | TRUNCATE : 0));
    else if (strcmp(format, "qed") == 0 || strcmp(format, "qcow") == 0)
        grant_folder(grants, path, LANDLOCK_READ);
    grant_chain(grants, path);
    if (option->key_file)
        grant(grants, option->key_file, READ_FILE);
    if (option->snapshot) {
        const char *folder = getenv("TMPDIR");
        grant(grants, folder && *folder ? folder : "/var/tmp",
              USE_FILE | LANDLOCK_READ | LANDLOCK_REMOVE | MAKE_FILE);
    }
    grant_programs(grants);
    grant(grants, "/etc/ld.so.cache", READ_FILE);
    grant(grants, "/etc/localtime", READ_FILE);
    grant(grants, "/etc/gnutls", LANDLOCK_READ);
    grant(grants, "/etc/ssl", LANDLOCK_READ);
    grant(grants, "/etc/crypto-policies", LANDLOCK_READ);
    grant(grants, "/proc", LANDLOCK_READ);
    grant(grants, "/sys", LANDLOCK_READ);
    grant(grants, "/dev/null", USE_FILE);
    grant(grants, "/dev/random", READ_FILE);
    grant(grants, "/dev/urandom", READ_FILE);
    const struct landlock_rules rules = {.grants = grants->list, .count = grants->count};
    int version = stage_landlock_with(&rules);
    return version < 0 ? version : 0;
}

/* The owner of a file can use it without any capability. */
static int become_owner(const char *path)
{
    struct stat status;
    if (geteuid() != 0 || stat(path, &status) < 0 || status.st_uid == 0 || !S_ISREG(status.st_mode))
        return 0;
    return stage_user(status.st_uid);
}

static void note(const char *part, int err)
{
    if (err < 0)
        log_line("the cell of qemu-nbd lacks a part here, %s: %s", part, strerror(-err));
}

void disk_cell_enter(const struct image_option *option, const char *path, const char *format)
{
    const struct outsider_plan plan = {
        .execs_helpers = true, .writes_files = true, .looks_at_itself = true};
    const int mode = option->block.readonly || option->snapshot ? R_OK : R_OK | W_OK;
    note("a user of its own", become_owner(path));
    note("namespaces", stage_namespaces(true));
    note("no capabilities", stage_capabilities());
    note("limits", stage_limits(false, 0));
    note("no new privileges", stage_privileges());
    note("Landlock", take_paths(option, path, format));
    note("refused calls", outsider_confine(&plan));
    if (access(path, mode) < 0)
        log_line("%s: qemu-nbd can't open it in its cell as user %u: %s; give the file and its "
                 "folders to that user",
                 path, (unsigned)geteuid(), strerror(errno));
}
