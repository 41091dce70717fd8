// SPDX-License-Identifier: BSD-3-Clause
#include "agent/job.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "base/auto.h"

int job_fail(struct job *job, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(job->error, sizeof(job->error), format, args);
    va_end(args);
    return -1;
}

int64_t job_int(const struct json *arguments, const char *name, int64_t otherwise)
{
    const struct json *value = json_member(arguments, name);
    return value && value->type == JSON_INT ? value->integer : otherwise;
}

bool job_bool(const struct json *arguments, const char *name, bool otherwise)
{
    const struct json *value = json_member(arguments, name);
    return value && value->type == JSON_BOOL ? value->boolean : otherwise;
}

const char *job_string(const struct json *arguments, const char *name)
{
    const struct json *value = json_member(arguments, name);
    return value && value->type == JSON_STRING ? value->text.bytes : NULL;
}

const struct json *job_strings(const struct json *arguments, const char *name)
{
    const struct json *value = json_member(arguments, name);
    return value && value->type == JSON_ARRAY ? value->first : NULL;
}

int job_read_file(const char *path, char *ret_text, size_t size)
{
    size_t len = 0;
    ssize_t got = 0;
    AUTO_FD fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    while (len + 1 < size && (got = read(fd, ret_text + len, size - 1 - len)) > 0)
        len += (size_t)got;
    if (got < 0)
        return -errno;
    while (len > 0 && ret_text[len - 1] == '\n')
        len--;
    ret_text[len] = '\0';
    return (int)len;
}
