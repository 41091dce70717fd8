// SPDX-License-Identifier: BSD-3-Clause
/* Disks and file systems. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "agent/block_device.h"
#include "agent/command.h"
#include "agent/mounts.h"
#include "base/auto.h"
#include "base/limits.h"

#define NODE_MAX 300

static void put_device(struct json_out *out, const char *path, unsigned depth);

/* The disks below a virtual one. */
static void put_slaves(struct json_out *out, const char *folder, unsigned depth)
{
    char path[BLOCK_PATH_MAX + 300];
    snprintf(path, sizeof(path), "%s/slaves", folder);
    DIR *slaves = opendir(path);
    if (!slaves)
        return;
    for (struct dirent *entry; (entry = readdir(slaves));) {
        snprintf(path, sizeof(path), "%s/slaves/%s", folder, entry->d_name);
        if (entry->d_name[0] != '.')
            put_device(out, path, depth + 1);
    }
    closedir(slaves);
}

/* The disks that a block device lies on. */
static void put_device(struct json_out *out, const char *path, unsigned depth)
{
    char folder[BLOCK_PATH_MAX];
    if (depth > 8 || !block_device_folder(path, folder))
        return;
    if (block_device_is_virtual(folder)) {
        put_slaves(out, folder, depth);
    } else {
        char node[NODE_MAX];
        bool found = block_device_node(folder, node, sizeof(node));
        block_device_put_address(out, folder, found ? node : NULL);
    }
}

static void put_sizes(struct json_out *out, const struct statvfs *space)
{
    uint64_t used = space->f_blocks - space->f_bfree;
    json_out_member_uint(out, "used-bytes", used * space->f_frsize);
    json_out_member_uint(out, "total-bytes", (used + space->f_bavail) * space->f_frsize);
    json_out_member_uint(out, "total-bytes-privileged", space->f_blocks * space->f_frsize);
}

static void put_filesystem(struct json_out *out, const struct mount *mount)
{
    char path[64], folder[BLOCK_PATH_MAX];
    struct statvfs space;
    snprintf(path, sizeof(path), "/sys/dev/block/%u:%u", mount->major, mount->minor);
    bool found = block_device_folder(path, folder);
    json_out_begin(out, '{');
    json_out_member_string(out, "name", found ? strrchr(folder, '/') + 1 : mount->source);
    json_out_member_string(out, "mountpoint", mount->place);
    json_out_member_string(out, "type", mount->type);
    if (statvfs(mount->place, &space) == 0)
        put_sizes(out, &space);
    json_out_name(out, "disk");
    json_out_begin(out, '[');
    put_device(out, path, 0);
    json_out_end(out, ']');
    json_out_end(out, '}');
}

static int get_fsinfo(struct job *job)
{
    struct mounts mounts;
    int err = mounts_read(&mounts);
    if (err < 0)
        return job_fail(job, "can't read the list of mounts: %s", strerror(-err));
    json_out_begin(&job->out, '[');
    for (size_t i = mounts.count; i-- > 0;)
        put_filesystem(&job->out, &mounts.mount[i]);
    json_out_end(&job->out, ']');
    mounts_done(&mounts);
    return 0;
}

/* The disks below a disk of the device mapper or of md. */
static void put_dependencies(struct json_out *out, const char *folder)
{
    char path[BLOCK_PATH_MAX + 300], node[NODE_MAX];
    snprintf(path, sizeof(path), "%s/slaves", folder);
    DIR *slaves = opendir(path);
    if (!slaves)
        return;
    json_out_name(out, "dependencies");
    json_out_begin(out, '[');
    for (struct dirent *entry; (entry = readdir(slaves));) {
        snprintf(path, sizeof(path), "%s/slaves/%s", folder, entry->d_name);
        if (entry->d_name[0] != '.' && block_device_node(path, node, sizeof(node)))
            json_out_string(out, node);
    }
    json_out_end(out, ']');
    closedir(slaves);
}

/* The name that the device mapper has for it. */
static void put_alias(struct json_out *out, const char *folder)
{
    char path[BLOCK_PATH_MAX + 16], name[256];
    snprintf(path, sizeof(path), "%s/dm/name", folder);
    if (job_read_file(path, name, sizeof(name)) <= 0)
        return;
    json_out_member_string(out, "alias", name);
}

static void put_partitions(struct json_out *out, const char *folder, const char *disk)
{
    char path[BLOCK_PATH_MAX + 300], node[NODE_MAX];
    DIR *entries = opendir(folder);
    if (!entries)
        return;
    for (struct dirent *entry; (entry = readdir(entries));) {
        snprintf(path, sizeof(path), "%s/%s/partition", folder, entry->d_name);
        if (access(path, F_OK) < 0)
            continue;
        snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
        if (!block_device_node(path, node, sizeof(node)))
            continue;
        json_out_begin(out, '{');
        json_out_member_string(out, "name", node);
        json_out_name(out, "dependencies");
        json_out_begin(out, '[');
        json_out_string(out, disk);
        json_out_end(out, ']');
        json_out_member_bool(out, "partition", true);
        json_out_end(out, '}');
    }
    closedir(entries);
}

static void put_disk(struct json_out *out, const char *name)
{
    char path[300], folder[BLOCK_PATH_MAX], node[NODE_MAX], size[32];
    snprintf(path, sizeof(path), "/sys/block/%s/size", name);
    if (job_read_file(path, size, sizeof(size)) < 0 || strcmp(size, "0") == 0)
        return;
    snprintf(path, sizeof(path), "/sys/block/%s", name);
    if (!block_device_folder(path, folder) || !block_device_node(folder, node, sizeof(node)))
        return;
    json_out_begin(out, '{');
    json_out_member_string(out, "name", node);
    put_dependencies(out, folder);
    json_out_member_bool(out, "partition", false);
    put_alias(out, folder);
    if (!block_device_is_virtual(folder)) {
        json_out_name(out, "address");
        block_device_put_address(out, folder, node);
    }
    json_out_end(out, '}');
    put_partitions(out, folder, node);
}

static int get_disks(struct job *job)
{
    DIR *disks = opendir("/sys/block");
    if (!disks)
        return job_fail(job, "Can't open directory \"/sys/block\": %s", strerror(errno));
    json_out_begin(&job->out, '[');
    for (struct dirent *entry; (entry = readdir(disks));) {
        if (entry->d_name[0] != '.')
            put_disk(&job->out, entry->d_name);
    }
    json_out_end(&job->out, ']');
    closedir(disks);
    return 0;
}

/* A line of /proc/diskstats, whose fields have grown with the kernel (iostats.rst). */
static void put_stats(struct json_out *out, const char *line)
{
    static const char *const names[] = {
        "read-ios",     "read-merges",   "read-sectors",   "read-ticks",      "write-ios",
        "write-merges", "write-sectors", "write-ticks",    "ios-pgr",         "total-ticks",
        "weight-ticks", "discard-ios",   "discard-merges", "discard-sectors", "discard-ticks",
        "flush-ios",    "flush-ticks"};
    char name[128];
    unsigned major, minor;
    uint64_t value;
    int len;
    if (sscanf(line, "%u %u %127s%n", &major, &minor, name, &len) != 3)
        return;
    json_out_begin(out, '{');
    json_out_member_string(out, "name", name);
    json_out_name(out, "stats");
    json_out_begin(out, '{');
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        line += len;
        if (sscanf(line, "%" SCNu64 "%n", &value, &len) != 1)
            break;
        json_out_member_uint(out, names[i], value);
    }
    json_out_end(out, '}');
    json_out_member_uint(out, "major", major);
    json_out_member_uint(out, "minor", minor);
    json_out_end(out, '}');
}

static int get_diskstats(struct job *job)
{
    char *line = NULL;
    size_t size = 0;
    FILE *file = fopen("/proc/diskstats", "re");
    if (!file)
        return job_fail(job, "open(\"/proc/diskstats\"): %s", strerror(errno));
    json_out_begin(&job->out, '[');
    while (getline(&line, &size, file) > 0)
        put_stats(&job->out, line);
    json_out_end(&job->out, ']');
    free(line);
    fclose(file);
    return 0;
}

static void trim(struct json_out *out, const char *place, uint64_t minimum)
{
    struct fstrim_range range = {.len = UINT64_MAX, .minlen = minimum};
    AUTO_FD fd = open(place, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    int err = fd < 0 ? errno : 0;
    if (err == 0 && ioctl(fd, FITRIM, &range) < 0)
        err = errno;
    json_out_begin(out, '{');
    json_out_member_string(out, "path", place);
    if (err == ENOTTY || err == EOPNOTSUPP) {
        json_out_member_string(out, "error", "trim not supported");
    } else if (err != 0) {
        char text[200];
        snprintf(text, sizeof(text), "failed to %s: %s", fd < 0 ? "open" : "trim", strerror(err));
        json_out_member_string(out, "error", text);
    } else {
        json_out_member_uint(out, "minimum", range.minlen);
        json_out_member_uint(out, "trimmed", range.len);
    }
    json_out_end(out, '}');
}

static int trim_all(struct job *job)
{
    struct mounts mounts;
    int64_t minimum = job_int(job->arguments, "minimum", 0);
    int err = mounts_read(&mounts);
    if (err < 0)
        return job_fail(job, "can't read the list of mounts: %s", strerror(-err));
    json_out_begin(&job->out, '{');
    json_out_name(&job->out, "paths");
    json_out_begin(&job->out, '[');
    for (size_t i = mounts.count; i-- > 0;)
        trim(&job->out, mounts.mount[i].place, minimum > 0 ? (uint64_t)minimum : 0);
    json_out_end(&job->out, ']');
    json_out_end(&job->out, '}');
    mounts_done(&mounts);
    return 0;
}

static const struct argument trim_arguments[] = {{"minimum", ARGUMENT_INT, true}, {0}};

const struct command commands_disk[] = {
    {.name = "guest-get-fsinfo", .limit_s = LIMIT_AGENT_QUICK_S, .run = get_fsinfo},
    {.name = "guest-get-disks", .limit_s = LIMIT_AGENT_QUICK_S, .run = get_disks},
    {.name = "guest-get-diskstats", .limit_s = LIMIT_AGENT_QUICK_S, .run = get_diskstats},
    {.name = "guest-fstrim",
     .arguments = trim_arguments,
     .limit_s = LIMIT_AGENT_TRIM_S,
     .run = trim_all},
    {0}};
