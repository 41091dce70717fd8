// SPDX-License-Identifier: BSD-3-Clause
#include "fake/server_host.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void must(bool holds)
{
    if (!holds)
        abort();
}

/* The open descriptor with that number. */
static struct fake_descriptor *descriptor(struct fake_host *fake, int fd)
{
    must(fd >= 0 && (unsigned)fd < FAKE_DESCRIPTORS && fake->descriptors[fd].kind != FAKE_CLOSED);
    return &fake->descriptors[fd];
}

uint8_t fake_file_byte(uint64_t inode, uint64_t offset)
{
    return (uint8_t)(inode * 31 + offset + offset / 256);
}

/* The bytes of a fresh file. Fuzz targets map the same few files all the time: these are kept. */
static const uint8_t *file_bytes(uint64_t inode)
{
    static struct {
        bool is_filled;
        uint64_t inode;
        uint8_t bytes[FAKE_FILE_LEN];
    } files[8];
    const unsigned slot = inode % 8;
    if (!files[slot].is_filled || files[slot].inode != inode)
        for (uint64_t at = 0; at < FAKE_FILE_LEN; at++)
            files[slot].bytes[at] = fake_file_byte(inode, at);
    files[slot].is_filled = true;
    files[slot].inode = inode;
    return files[slot].bytes;
}

static int map(void *context, int fd, uint64_t offset, uint64_t len, bool writable,
               uint8_t **ret_address, struct memory_file *ret_file, struct ob_fault *fault)
{
    struct fake_host *fake = context;
    const struct fake_descriptor *file = descriptor(fake, fd);
    if (file->kind != FAKE_FILE)
        return -EINVAL;
    if (offset > FAKE_FILE_LEN || len > FAKE_FILE_LEN - offset)
        return -EOVERFLOW;
    uint8_t *bytes = malloc(len);
    if (!bytes)
        return -ENOMEM;
    memcpy(bytes, file_bytes(file->inode) + offset, len);
    *ret_address = bytes;
    *ret_file = (struct memory_file){.device = 1, .inode = file->inode};
    fake->mappings++;
    return 0;
}

static void unmap(void *context, uint8_t *address, uint64_t len)
{
    struct fake_host *fake = context;
    must(fake->mappings-- > 0);
    free(address);
}

static int event_check(void *context, int fd)
{
    return descriptor(context, fd)->kind == FAKE_EVENT ? 0 : -EINVAL;
}

static bool event_is_same(void *context, int one, int other)
{
    const struct fake_descriptor *a = descriptor(context, one), *b = descriptor(context, other);
    return one == other || (a->inode > 0 && a->inode == b->inode);
}

static void event_signal(void *context, int fd)
{
    struct fake_descriptor *event = descriptor(context, fd);
    must(event->kind == FAKE_EVENT);
    event->signals++;
}

static int event_new(void *context, int *ret_fd)
{
    *ret_fd = fake_event(context);
    return *ret_fd < 0 ? -EMFILE : 0;
}

static int event_watch(void *context, int fd, void (*fired)(void *argument), void *argument)
{
    struct fake_host *fake = context;
    if (fake->refuses_watch)
        return -ENOMEM;
    struct fake_descriptor *event = descriptor(fake, fd);
    must(event->kind == FAKE_EVENT && !event->fired);
    event->fired = fired;
    event->argument = argument;
    return 0;
}

static void event_unwatch(void *context, int fd)
{
    struct fake_descriptor *event = descriptor(context, fd);
    must(event->fired);
    event->fired = NULL;
}

static int memory_new(void *context, uint64_t len, uint8_t **ret_address, int *ret_fd)
{
    struct fake_host *fake = context;
    uint8_t *address = calloc(1, len);
    if (!address)
        return -ENOMEM;
    *ret_fd = fake_file(fake, UINT64_MAX);
    *ret_address = address;
    fake->memories++;
    return 0;
}

static void close_descriptor(void *context, int fd)
{
    struct fake_descriptor *closing = descriptor(context, fd);
    must(!closing->fired && !closing->ready);
    *closing = (struct fake_descriptor){.kind = FAKE_CLOSED};
}

static int memory_adopt(void *context, uint8_t *address, uint64_t len, int fd, int old_fd)
{
    struct fake_host *fake = context;
    if (descriptor(fake, fd)->kind != FAKE_FILE)
        return -EINVAL;
    close_descriptor(fake, old_fd);
    return 0;
}

static void memory_free(void *context, uint8_t *address, uint64_t len, int fd)
{
    struct fake_host *fake = context;
    must(fake->memories-- > 0);
    close_descriptor(fake, fd);
    free(address);
}

static int send_bytes(void *context, int fd, const uint8_t *bytes, size_t len)
{
    struct fake_host *fake = context;
    if (descriptor(fake, fd)->kind != FAKE_OTHER)
        return -ENOTSOCK;
    if (fake->refuses_send)
        return -EAGAIN;
    must(len <= FAKE_SENT_LEN);
    if (fake->sent_len + len > FAKE_SENT_LEN)
        fake->sent_len = 0;
    memcpy(fake->sent + fake->sent_len, bytes, len);
    fake->sent_len += len;
    return 0;
}

static int pipe_check(void *context, int fd)
{
    return descriptor(context, fd)->kind == FAKE_PIPE ? 0 : -EINVAL;
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

static ssize_t pipe_read(void *context, int fd, uint8_t *ret_bytes, size_t len)
{
    struct fake_host *fake = context;
    struct fake_pipe *pipe = &fake->pipe;
    must(descriptor(fake, fd)->kind == FAKE_PIPE);
    const size_t got = least(len, pipe->len);
    if (got == 0)
        return pipe->ended ? 0 : -EAGAIN;
    memcpy(ret_bytes, pipe->bytes, got);
    pipe->len -= got;
    memmove(pipe->bytes, pipe->bytes + got, pipe->len);
    return (ssize_t)got;
}

static ssize_t pipe_write(void *context, int fd, const uint8_t *bytes, size_t len)
{
    struct fake_host *fake = context;
    struct fake_pipe *pipe = &fake->pipe;
    must(descriptor(fake, fd)->kind == FAKE_PIPE);
    const size_t sent = least(len, least(pipe->room, FAKE_PIPE_LEN - pipe->len));
    if (pipe->ended)
        return -EPIPE;
    memcpy(pipe->bytes + pipe->len, bytes, sent);
    pipe->len += sent;
    return sent > 0 ? (ssize_t)sent : -EAGAIN;
}

static int watch(void *context, int fd, unsigned events, ob_watch_fn ready, void *argument)
{
    struct fake_host *fake = context;
    if (fake->refuses_watch)
        return -ENOMEM;
    struct fake_descriptor *watched = descriptor(fake, fd);
    must(watched->kind == FAKE_PIPE && !watched->ready);
    watched->ready = ready;
    watched->argument = argument;
    return 0;
}

static void unwatch(void *context, int fd)
{
    struct fake_descriptor *watched = descriptor(context, fd);
    must(watched->ready);
    watched->ready = NULL;
}

bool fake_pipe_ready(struct fake_host *fake)
{
    for (unsigned fd = 0; fd < FAKE_DESCRIPTORS; fd++)
        if (fake->descriptors[fd].ready) {
            fake->descriptors[fd].ready(fake->descriptors[fd].argument, 0);
            return true;
        }
    return false;
}

static uint64_t now_ms(void *context)
{
    const struct fake_host *fake = context;
    return fake->now_ms;
}

static void look_again(void *context, unsigned after_ms)
{
    struct fake_host *fake = context;
    fake->looks++;
}

static void warn(void *context, const char *kind, const char *sentence)
{
    struct fake_host *fake = context;
    must(*kind && *sentence && !strchr(sentence, '\n'));
    fake->warnings++;
}

static void trace(void *context, const char *line)
{
    struct fake_host *fake = context;
    size_t used = strlen(fake->trace), len = strlen(line);
    must(*line && !strchr(line, '\n'));
    fake->traced++;
    if (used + len + 2 > sizeof(fake->trace))
        used = 0;
    if (len + 2 > sizeof(fake->trace))
        return;
    memcpy(fake->trace + used, line, len);
    memcpy(fake->trace + used + len, "\n", 2);
}

void fake_host_init(struct fake_host *fake)
{
    *fake = (struct fake_host){.host = {
                                   .memory = {.map = map, .unmap = unmap, .context = fake},
                                   .event_new = event_new,
                                   .event_check = event_check,
                                   .event_is_same = event_is_same,
                                   .event_signal = event_signal,
                                   .event_watch = event_watch,
                                   .event_unwatch = event_unwatch,
                                   .memory_new = memory_new,
                                   .memory_adopt = memory_adopt,
                                   .memory_free = memory_free,
                                   .watch = watch,
                                   .unwatch = unwatch,
                                   .send = send_bytes,
                                   .pipe_check = pipe_check,
                                   .pipe_read = pipe_read,
                                   .pipe_write = pipe_write,
                                   .now_ms = now_ms,
                                   .look_again = look_again,
                                   .close = close_descriptor,
                                   .warn = warn,
                                   .trace = trace,
                                   .context = fake,
                               }};
}

int fake_open(struct fake_host *fake, enum fake_kind kind, uint64_t inode)
{
    for (unsigned fd = 0; fd < FAKE_DESCRIPTORS; fd++) {
        if (fake->descriptors[fd].kind != FAKE_CLOSED)
            continue;
        fake->descriptors[fd] = (struct fake_descriptor){.kind = kind, .inode = inode};
        return (int)fd;
    }
    return -1;
}

unsigned fake_open_count(const struct fake_host *fake)
{
    unsigned count = 0;
    for (unsigned fd = 0; fd < FAKE_DESCRIPTORS; fd++)
        count += fake->descriptors[fd].kind != FAKE_CLOSED;
    return count;
}

bool fake_is_empty(const struct fake_host *fake)
{
    return fake_open_count(fake) == 0 && fake->mappings == 0 && fake->memories == 0;
}

void fake_fire(struct fake_host *fake, int fd)
{
    const struct fake_descriptor *event = descriptor(fake, fd);
    if (event->fired)
        event->fired(event->argument);
}

unsigned fake_signals(const struct fake_host *fake, int fd)
{
    return fake->descriptors[fd].signals;
}
