// SPDX-License-Identifier: BSD-3-Clause
#include "escape.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <linux/stat.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "call.h"

static long open_a_file(const struct escape_world *world)
{
    return CALL(openat, AT_FDCWD, escape_in(world, "file").text, O_RDONLY);
}

static long open_the_old_way(const struct escape_world *world)
{
    return CALL(open, escape_in(world, "file").text, O_RDONLY);
}

static long open_the_new_way(const struct escape_world *world)
{
    const struct open_how how = {.flags = O_RDONLY};
    return CALL(openat2, AT_FDCWD, escape_in(world, "file").text, &how, sizeof(how));
}

static long make_a_file(const struct escape_world *world)
{
    return CALL(openat, AT_FDCWD, escape_in(world, "made").text, O_CREAT | O_RDWR, 0600);
}

static long create_a_file(const struct escape_world *world)
{
    return CALL(creat, escape_in(world, "made").text, 0600);
}

static long make_a_nameless_file(const struct escape_world *world)
{
    return CALL(openat, AT_FDCWD, world->folder, O_TMPFILE | O_RDWR, 0600);
}

/* What was opened read only can be opened once more, by its descriptor's path. */
static long reopen_for_writing(const struct escape_world *world)
{
    char path[32];
    snprintf(path, sizeof(path), "/proc/self/fd/%d", world->readonly_fd);
    long fd = syscall(SYS_openat, AT_FDCWD, path, O_RDWR);
    return fd < 0 ? -errno : CALL(write, fd, "x", 1);
}

static long read_anothers_memory(const struct escape_world *world)
{
    char path[32];
    snprintf(path, sizeof(path), "/proc/%d/mem", world->sibling);
    return CALL(openat, AT_FDCWD, path, O_RDWR);
}

static long stat_a_path(const struct escape_world *world)
{
    char status[256]; /* larger than any struct stat */
    return CALL(newfstatat, AT_FDCWD, escape_in(world, "file").text, status, 0);
}

/* fstat(3) is newfstatat(2) with this flag, and without a path. */
static long stat_a_path_as_a_descriptor(const struct escape_world *world)
{
    char status[256];
    return CALL(newfstatat, AT_FDCWD, escape_in(world, "file").text, status, AT_EMPTY_PATH);
}

static long statx_a_path(const struct escape_world *world)
{
    struct statx status;
    return CALL(statx, AT_FDCWD, escape_in(world, "file").text, 0, STATX_TYPE, &status);
}

static long statx_a_path_as_a_descriptor(const struct escape_world *world)
{
    struct statx status;
    return CALL(statx, AT_FDCWD, escape_in(world, "file").text, AT_EMPTY_PATH, STATX_TYPE, &status);
}

static long test_a_path(const struct escape_world *world)
{
    return CALL(access, escape_in(world, "file").text, R_OK);
}

static long read_a_link(const struct escape_world *world)
{
    char target[128];
    return CALL(readlink, "/proc/self/exe", target, sizeof(target));
}

static long make_a_folder(const struct escape_world *world)
{
    return CALL(mkdir, escape_in(world, "made").text, 0700);
}

static long make_a_link(const struct escape_world *world)
{
    return CALL(symlink, "file", escape_in(world, "made").text);
}

static long make_a_name(const struct escape_world *world)
{
    return CALL(link, escape_in(world, "file").text, escape_in(world, "made").text);
}

static long remove_a_file(const struct escape_world *world)
{
    return CALL(unlink, escape_in(world, "spare").text);
}

static long rename_a_file(const struct escape_world *world)
{
    return CALL(rename, escape_in(world, "spare").text, escape_in(world, "made").text);
}

static long cut_a_file(const struct escape_world *world)
{
    return CALL(truncate, escape_in(world, "spare").text, 0);
}

static long change_a_mode(const struct escape_world *world)
{
    return CALL(chmod, escape_in(world, "spare").text, 0600);
}

static long change_an_owner(const struct escape_world *world)
{
    return CALL(chown, escape_in(world, "spare").text, -1, -1);
}

static long go_to_a_folder(const struct escape_world *world)
{
    return CALL(chdir, world->folder);
}

static long watch_a_folder(const struct escape_world *world)
{
    long fd = syscall(SYS_inotify_init1, 0);
    return fd < 0 ? -errno : CALL(inotify_add_watch, fd, world->folder, IN_CREATE);
}

const struct escape_deed escape_paths[] = {
    {"open a file", "openat/ENOENT", open_a_file, 0},
    {"open a file by open(2)", "open/ENOENT", open_the_old_way, 0},
    {"open a file by openat2(2)", "openat2/ENOENT", open_the_new_way, 0},
    {"make a file", "openat/ENOENT", make_a_file, 0},
    {"make a file by creat(2)", "creat/ENOENT", create_a_file, 0},
    {"make a file without a name", "openat/ENOENT", make_a_nameless_file, ESCAPE_DEPENDS},
    {"write to a file that was opened read only", "openat/ENOENT", reopen_for_writing, 0},
    {"open the memory of a sibling", "openat/ENOENT", read_anothers_memory, ESCAPE_DEPENDS},
    {"stat a path", "newfstatat/ENOENT", stat_a_path, 0},
    {"stat a path like a descriptor", "newfstatat|ENOENT/ENOENT", stat_a_path_as_a_descriptor, 0},
    {"statx a path", "statx/ENOENT", statx_a_path, 0},
    {"statx a path like a descriptor", "statx|ENOENT/ENOENT", statx_a_path_as_a_descriptor, 0},
    {"test a path", "access/ENOENT", test_a_path, 0},
    {"read a link", "readlink/ENOENT", read_a_link, 0},
    {"make a folder", "mkdir/ENOENT", make_a_folder, 0},
    {"make a symbolic link", "symlink/ENOENT", make_a_link, 0},
    {"make a second name", "link/ENOENT", make_a_name, 0},
    {"remove a file", "unlink/ENOENT", remove_a_file, 0},
    {"rename a file", "rename/ENOENT", rename_a_file, 0},
    {"cut a file by its path", "truncate/ENOENT", cut_a_file, 0},
    {"change a mode", "chmod/ENOENT", change_a_mode, 0},
    {"change an owner", "chown/ENOENT", change_an_owner, 0},
    {"go to a folder", "chdir/ENOENT", go_to_a_folder, 0},
    {"watch a folder", "inotify_init1/ENOENT", watch_a_folder, 0},
    {0},
};
