// SPDX-License-Identifier: BSD-3-Clause
/* Processors and memory blocks. */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/command.h"
#include "base/auto.h"
#include "base/limits.h"
#include "base/number.h"

#define CPUS   "/sys/devices/system/cpu"
#define BLOCKS "/sys/devices/system/memory"

/* The numbers of a folder's entries that are `prefix` and a number, in order. Returns how many, or
 * a negative errno. */
static int list_numbers(const char *folder, const char *prefix, unsigned **ret_numbers)
{
    unsigned *numbers = NULL;
    int count = 0;
    uint64_t number;
    DIR *open = opendir(folder);
    if (!open)
        return -errno;
    for (struct dirent *entry; (entry = readdir(open));) {
        const char *digits = entry->d_name + strlen(prefix);
        if (strncmp(entry->d_name, prefix, strlen(prefix)) != 0 ||
            number_parse(digits, 10, UINT32_MAX, &number) < 0)
            continue;
        unsigned *grown = reallocarray(numbers, (size_t)count + 1, sizeof(*numbers));
        if (!grown)
            break;
        numbers = grown;
        int at = count++;
        for (; at > 0 && numbers[at - 1] > number; at--)
            numbers[at] = numbers[at - 1];
        numbers[at] = (unsigned)number;
    }
    closedir(open);
    *ret_numbers = numbers;
    return count;
}

/* The first character of a file in a numbered folder, or -1. */
static int read_flag(const char *folder, const char *prefix, unsigned number, const char *file)
{
    char path[128], text[64];
    snprintf(path, sizeof(path), "%s/%s%u/%s", folder, prefix, number, file);
    return job_read_file(path, text, sizeof(text)) > 0 ? text[0] : -1;
}

/* 0 or a negative errno. */
static int write_text(const char *path, const char *text)
{
    AUTO_FD fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, text, strlen(text)) < 0)
        return -errno;
    return 0;
}

/* A processor that can't be taken offline has no such file. */
static int get_vcpus(struct job *job)
{
    AUTO_FREE unsigned *numbers = NULL;
    int count = list_numbers(CPUS, "cpu", &numbers);
    if (count < 0)
        return job_fail(job, "can't read " CPUS ": %s", strerror(-count));
    json_out_begin(&job->out, '[');
    for (int i = 0; i < count; i++) {
        int online = read_flag(CPUS, "cpu", numbers[i], "online");
        json_out_begin(&job->out, '{');
        json_out_member_bool(&job->out, "can-offline", online >= 0);
        json_out_member_bool(&job->out, "online", online != '0');
        json_out_member_uint(&job->out, "logical-id", numbers[i]);
        json_out_end(&job->out, '}');
    }
    json_out_end(&job->out, ']');
    return 0;
}

static int set_vcpu(struct job *job, const struct json *vcpu)
{
    char path[128];
    const struct json *id = json_member(vcpu, "logical-id");
    const struct json *online = json_member(vcpu, "online");
    if (!id || id->type != JSON_INT || !online || online->type != JSON_BOOL)
        return job_fail(job, "each of vcpus needs a logical-id, a number, and online, a boolean");
    snprintf(path, sizeof(path), CPUS "/cpu%" PRId64, id->integer);
    if (access(path, F_OK) < 0)
        return job_fail(job, "can't open %s: %s", path, strerror(errno));
    snprintf(path, sizeof(path), CPUS "/cpu%" PRId64 "/online", id->integer);
    int err = write_text(path, online->boolean ? "1" : "0");
    if (err == -ENOENT && online->boolean) /* it can't be offline */
        return 0;
    if (err < 0)
        return job_fail(job, "logical-id %" PRId64 ": can't be set %s: %s", id->integer,
                        online->boolean ? "online" : "offline", strerror(-err));
    return 0;
}

/* As many as can be set in their order: an error only if the first one can't. */
static int set_vcpus(struct job *job)
{
    int count = 0;
    const struct json *vcpu = json_member(job->arguments, "vcpus")->first;
    for (; vcpu; vcpu = vcpu->next) {
        if (set_vcpu(job, vcpu) < 0)
            break;
        count++;
    }
    if (vcpu && count == 0)
        return -1;
    json_out_int(&job->out, count);
    return 0;
}

static void put_times(struct json_out *out, const char *line)
{
    static const char *const names[] = {"user", "nice",    "system", "idle",  "iowait",
                                        "irq",  "softirq", "steal",  "guest", "guestnice"};
    /* Of the kernel's ticks, milliseconds. */
    uint64_t ticks, per_s = (uint64_t)sysconf(_SC_CLK_TCK);
    unsigned number;
    int len;
    if (line[0] != 'c' || !isdigit((unsigned char)line[3]) ||
        sscanf(line, "cpu%u%n", &number, &len) != 1)
        return; /* the first line is the sum of all */
    json_out_begin(out, '{');
    json_out_member_string(out, "type", "linux");
    json_out_member_uint(out, "cpu", number);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        line += len;
        if (sscanf(line, "%" SCNu64 "%n", &ticks, &len) != 1)
            break;
        json_out_member_uint(out, names[i], ticks * 1000 / per_s);
    }
    json_out_end(out, '}');
}

static int get_cpustats(struct job *job)
{
    char *line = NULL;
    size_t size = 0;
    FILE *file = fopen("/proc/stat", "re");
    if (!file)
        return job_fail(job, "can't read /proc/stat: %s", strerror(errno));
    json_out_begin(&job->out, '[');
    while (getline(&line, &size, file) > 0)
        put_times(&job->out, line);
    json_out_end(&job->out, ']');
    free(line);
    fclose(file);
    return 0;
}

static int get_memory_blocks(struct job *job)
{
    AUTO_FREE unsigned *numbers = NULL;
    char path[128], state[32];
    int count = list_numbers(BLOCKS, "memory", &numbers);
    if (count < 0)
        return job_fail(job, "can't open directory \"" BLOCKS "/\": %s", strerror(-count));
    json_out_begin(&job->out, '[');
    for (int i = 0; i < count; i++) {
        snprintf(path, sizeof(path), BLOCKS "/memory%u/state", numbers[i]);
        if (job_read_file(path, state, sizeof(state)) < 0)
            continue;
        json_out_begin(&job->out, '{');
        json_out_member_uint(&job->out, "phys-index", numbers[i]);
        json_out_member_bool(&job->out, "online", strcmp(state, "online") == 0);
        json_out_member_bool(&job->out, "can-offline",
                             read_flag(BLOCKS, "memory", numbers[i], "removable") != '0');
        json_out_end(&job->out, '}');
    }
    json_out_end(&job->out, ']');
    return 0;
}

static int get_memory_block_info(struct job *job)
{
    char text[32];
    uint64_t size;
    if (job_read_file(BLOCKS "/block_size_bytes", text, sizeof(text)) < 0 ||
        number_parse(text, 16, UINT64_MAX, &size) < 0)
        return job_fail(job, "can't read " BLOCKS "/block_size_bytes");
    json_out_begin(&job->out, '{');
    json_out_member_uint(&job->out, "size", size);
    json_out_end(&job->out, '}');
    return 0;
}

static void set_memory_block(struct json_out *out, const struct json *block)
{
    char path[128], state[32];
    const struct json *index = json_member(block, "phys-index");
    const char *wanted = job_bool(block, "online", true) ? "online" : "offline";
    int64_t number = index && index->type == JSON_INT ? index->integer : -1;
    snprintf(path, sizeof(path), BLOCKS "/memory%" PRId64 "/state", number);
    int err = job_read_file(path, state, sizeof(state));
    bool is_there = err >= 0;
    if (is_there && strcmp(state, wanted) != 0)
        err = write_text(path, wanted);
    json_out_begin(out, '{');
    json_out_member_int(out, "phys-index", number);
    json_out_member_string(out, "response",
                           !is_there  ? "not-found"
                           : err >= 0 ? "success"
                                      : "operation-failed");
    if (err < 0)
        json_out_member_int(out, "error-code", -err);
    json_out_end(out, '}');
}

static int set_memory_blocks(struct job *job)
{
    const struct json *block = json_member(job->arguments, "mem-blks")->first;
    json_out_begin(&job->out, '[');
    for (; block; block = block->next)
        set_memory_block(&job->out, block);
    json_out_end(&job->out, ']');
    return 0;
}

static const struct argument vcpus_arguments[] = {{"vcpus", ARGUMENT_OBJECTS, false}, {0}};
static const struct argument blocks_arguments[] = {{"mem-blks", ARGUMENT_OBJECTS, false}, {0}};

#define QUICK LIMIT_AGENT_QUICK_S

const struct command commands_processor[] = {
    {.name = "guest-get-vcpus", .limit_s = QUICK, .run = get_vcpus},
    {.name = "guest-set-vcpus",
     .arguments = vcpus_arguments,
     .limit_s = LIMIT_AGENT_HELPER_S,
     .run = set_vcpus},
    {.name = "guest-get-cpustats", .limit_s = QUICK, .run = get_cpustats},
    {.name = "guest-get-memory-blocks", .limit_s = QUICK, .run = get_memory_blocks},
    {.name = "guest-get-memory-block-info", .limit_s = QUICK, .run = get_memory_block_info},
    {.name = "guest-set-memory-blocks",
     .arguments = blocks_arguments,
     .limit_s = LIMIT_AGENT_HELPER_S,
     .run = set_memory_blocks},
    {0}};
