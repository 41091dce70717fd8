// SPDX-License-Identifier: BSD-3-Clause
#include "agent/file_worker.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/worker.h"
#include "base/auto.h"
#include "base/limits.h"
#include "wire/base64.h"

#define READ_DEFAULT 4096
#define READ_PIECE   65536

/* The modes of fopen(3). Returns open(2)'s flags, or -1. */
static int mode_flags(const char *mode)
{
    static const struct {
        const char *mode;
        int flags;
    } rows[] = {
        {"r", O_RDONLY},
        {"rb", O_RDONLY},
        {"w", O_WRONLY | O_CREAT | O_TRUNC},
        {"wb", O_WRONLY | O_CREAT | O_TRUNC},
        {"a", O_WRONLY | O_CREAT | O_APPEND},
        {"ab", O_WRONLY | O_CREAT | O_APPEND},
        {"r+", O_RDWR},
        {"rb+", O_RDWR},
        {"r+b", O_RDWR},
        {"w+", O_RDWR | O_CREAT | O_TRUNC},
        {"wb+", O_RDWR | O_CREAT | O_TRUNC},
        {"w+b", O_RDWR | O_CREAT | O_TRUNC},
        {"a+", O_RDWR | O_CREAT | O_APPEND},
        {"ab+", O_RDWR | O_CREAT | O_APPEND},
        {"a+b", O_RDWR | O_CREAT | O_APPEND},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (strcmp(rows[i].mode, mode) == 0)
            return rows[i].flags;
    }
    return -1;
}

static int open_file(struct job *job)
{
    const char *path = job_string(job->arguments, "path");
    const char *mode = job_string(job->arguments, "mode");
    int flags = mode_flags(mode ? mode : "r");
    if (flags < 0)
        return job_fail(job, "invalid file open mode '%.100s'", mode);
    int fd = open(path, flags | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0600);
    if (fd < 0)
        return job_fail(job, "failed to open file '%.300s': %s", path, strerror(errno));
    json_out_begin(&job->out, '{');
    json_out_end(&job->out, '}');
    return fd;
}

/* The count of a request, from 0 to LIMIT_AGENT_FILE_READ, or -1 with the error. */
static int64_t read_count(struct job *job)
{
    int64_t count = job_int(job->arguments, "count", READ_DEFAULT);
    if (count < 0 || count > LIMIT_AGENT_FILE_READ)
        return job_fail(job, "value '%" PRId64 "' is invalid for argument count: give 0 to %u",
                        count, LIMIT_AGENT_FILE_READ);
    return count;
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Reads until there is no more, and tells. In pieces: a file of /proc may need memory of the kernel
 * for all that it is asked for. */
static int put_content(struct job *job, int fd, size_t count)
{
    AUTO_FREE char *bytes = NULL;
    size_t len = 0, size = 0;
    ssize_t got = 1;
    while (len < count && got > 0) {
        if (len == size) {
            size = 2 * size + READ_PIECE;
            char *grown = realloc(bytes, size);
            if (!grown)
                return job_fail(job, "out of memory");
            bytes = grown;
        }
        got = read(fd, bytes + len, least(least(size - len, READ_PIECE), count - len));
        len += got > 0 ? (size_t)got : 0;
    }
    if (got < 0 && (len == 0 || errno != EAGAIN))
        return job_fail(job, "failed to read file: %s", strerror(errno));
    json_out_begin(&job->out, '{');
    json_out_member_uint(&job->out, "count", len);
    json_out_name(&job->out, "buf-b64");
    json_out_base64(&job->out, bytes, len);
    json_out_member_bool(&job->out, "eof", got == 0);
    json_out_end(&job->out, '}');
    return 0;
}

static int do_read(struct job *job, int fd)
{
    int64_t count = read_count(job);
    return count < 0 ? -1 : put_content(job, fd, (size_t)count);
}

static int do_write(struct job *job, int fd)
{
    const struct json *text = json_member(job->arguments, "buf-b64");
    AUTO_FREE char *bytes = malloc(text->text.len / 4 * 3 + 1);
    ssize_t len = bytes ? base64_decode(text->text.bytes, text->text.len, bytes) : -ENOMEM;
    if (len < 0)
        return job_fail(job, "buf-b64 is no Base64");
    int64_t count = job_int(job->arguments, "count", len);
    if (count < 0 || count > len)
        return job_fail(job, "value '%" PRId64 "' is invalid for argument count", count);
    size_t done = 0;
    while (done < (size_t)count) {
        ssize_t put = write(fd, bytes + done, (size_t)count - done);
        if (put < 0 && done > 0 && errno == EAGAIN)
            break;
        if (put < 0)
            return job_fail(job, "failed to write to file: %s", strerror(errno));
        done += (size_t)put;
    }
    json_out_begin(&job->out, '{');
    json_out_member_uint(&job->out, "count", done);
    json_out_member_bool(&job->out, "eof", false);
    json_out_end(&job->out, '}');
    return 0;
}

/* set, cur, end; or 0, 1, 2. -1: none of these. */
static int read_whence(const struct json *value)
{
    static const char *const names[] = {"set", "cur", "end"};
    static const int meanings[] = {SEEK_SET, SEEK_CUR, SEEK_END};
    for (int i = 0; i < 3; i++) {
        if (json_is_text(value, names[i]) || (value->type == JSON_INT && value->integer == i))
            return meanings[i];
    }
    return -1;
}

static int do_seek(struct job *job, int fd)
{
    int whence = read_whence(json_member(job->arguments, "whence"));
    if (whence < 0)
        return job_fail(job, "invalid whence: expected set, cur, end, or 0, 1, 2");
    off_t position = lseek(fd, job_int(job->arguments, "offset", 0), whence);
    if (position < 0)
        return job_fail(job, "failed to seek file: %s", strerror(errno));
    json_out_begin(&job->out, '{');
    json_out_member_int(&job->out, "position", position);
    json_out_member_bool(&job->out, "eof", false);
    json_out_end(&job->out, '}');
    return 0;
}

static int do_flush(struct job *job, int fd)
{
    if (fsync(fd) < 0 && errno != EINVAL)
        return job_fail(job, "failed to flush file: %s", strerror(errno));
    return 0;
}

static int do_close(struct job *job, int fd)
{
    return close(fd) < 0 ? job_fail(job, "failed to close handle: %s", strerror(errno)) : 0;
}

static const struct {
    const char *name;
    int (*run)(struct job *job, int fd);
} requests[] = {
    {"guest-file-read", do_read},   {"guest-file-write", do_write}, {"guest-file-seek", do_seek},
    {"guest-file-flush", do_flush}, {"guest-file-close", do_close},
};

static int carry_out(struct job *job, const struct json *request, int file)
{
    job->arguments = json_member(request, "arguments");
    for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
        if (json_is_text(json_member(request, "execute"), requests[i].name))
            return requests[i].run(job, file);
    }
    return job_fail(job, "no request for a file");
}

static int serve(int fd, char *text, size_t len, int file)
{
    struct json_document *request;
    struct json_fault fault;
    struct job job = {0};
    json_out_init(&job.out, LIMIT_AGENT_ANSWER);
    int err = json_parse(text, len, &request, &fault);
    free(text);
    if (err < 0)
        return err;
    err = worker_say_job(fd, &job, carry_out(&job, json_root(request), file));
    json_free(request);
    return err;
}

int file_work(int fd, const void *context)
{
    struct job job = {.arguments = context};
    json_out_init(&job.out, LIMIT_AGENT_ANSWER);
    int file = open_file(&job);
    int err = worker_say_job(fd, &job, file < 0 ? -1 : 0);
    while (err == 0 && file >= 0) {
        size_t len;
        char *text = worker_hear(fd, -1, &len);
        if (!text)
            break;
        err = serve(fd, text, len, file);
    }
    return err < 0;
}

int file_get(struct job *job)
{
    const char *path = job_string(job->arguments, "path");
    int64_t offset = job_int(job->arguments, "offset", 0);
    int64_t count = job_int(job->arguments, "count", LIMIT_AGENT_FILE_READ);
    if (count < 0 || count > LIMIT_AGENT_FILE_READ)
        return (int)read_count(job);
    AUTO_FD fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return job_fail(job, "failed to open file '%.300s': %s", path, strerror(errno));
    if (offset != 0 && lseek(fd, offset, SEEK_SET) < 0)
        return job_fail(job, "failed to seek file: %s", strerror(errno));
    return put_content(job, fd, (size_t)count);
}
