// SPDX-License-Identifier: BSD-3-Clause
#include "proxy/events.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/limits.h"
#include "endpoint/acceptor.h"
#include "os/log_sink.h"
#include "os/socket.h"
#include "proxy/proxy.h"

#define LOST_LEN 64

/* A client of the socket. */
struct reader {
    struct events *events;
    struct list link; /* events.readers */
    struct loop_source *source;
    int fd;
    char unread[LIMIT_EVENT_UNREAD];
    size_t len;
    uint64_t lost; /* lines, since the last one that fitted */
};

struct events {
    struct proxy *proxy;
    struct acceptor *acceptor; /* NULL: standard output */
    struct list readers;
    unsigned reader_count;
    struct log_sink output;
    uint64_t output_lost;
};

static void forget(struct reader *reader)
{
    reader->events->reader_count--;
    list_remove(&reader->link);
    loop_remove(reader->source);
    socket_close(reader->fd);
    free(reader);
}

/* Whether the reader is still there. */
static bool flush(struct reader *reader)
{
    size_t done = 0;
    ssize_t put = 0;
    while (done < reader->len && (put = send(reader->fd, reader->unread + done, reader->len - done,
                                             MSG_DONTWAIT | MSG_NOSIGNAL)) > 0)
        done += (size_t)put;
    memmove(reader->unread, reader->unread + done, reader->len - done);
    reader->len -= done;
    if (put >= 0 || errno == EAGAIN)
        return true;
    forget(reader);
    return false;
}

/* The line that tells of those that were lost. */
static size_t print_lost(char text[LOST_LEN], uint64_t count)
{
    return (size_t)snprintf(text, LOST_LEN, "{\"event\": \"lost\", \"count\": %" PRIu64 "}\n",
                            count);
}

static bool append(struct reader *reader, const char *line, size_t len)
{
    if (len > sizeof(reader->unread) - reader->len)
        return false;
    memcpy(reader->unread + reader->len, line, len);
    reader->len += len;
    return true;
}

static void tell_reader(struct reader *reader, const char *line, size_t len)
{
    char lost[LOST_LEN];
    if (!flush(reader))
        return;
    size_t lost_len = reader->lost ? print_lost(lost, reader->lost) : 0;
    if (lost_len + len > sizeof(reader->unread) - reader->len) {
        reader->lost++;
        return;
    }
    append(reader, lost, lost_len);
    append(reader, line, len);
    reader->lost = 0;
    flush(reader);
}

static void tell_output(struct events *events, const char *line, size_t len)
{
    char lost[LOST_LEN];
    if (events->output_lost &&
        log_sink_write(&events->output, lost, print_lost(lost, events->output_lost), 0) == 0)
        events->output_lost = 0;
    if (events->output_lost || log_sink_write(&events->output, line, len, 0) < 0)
        events->output_lost++;
}

void events_tell(struct events *events, const char *line, size_t len)
{
    struct list *next;
    if (!events->acceptor)
        tell_output(events, line, len);
    for (struct list *link = events->readers.next; link != &events->readers; link = next) {
        next = link->next;
        tell_reader(list_entry(link, struct reader, link), line, len);
    }
}

/* Bytes of a reader are dropped. One that has ended its own direction reads on. */
static void on_reader(void *argument, uint32_t ready)
{
    struct reader *reader = argument;
    char dropped[256];
    ssize_t got = 0;
    while (!(ready & (EPOLLHUP | EPOLLERR)) &&
           (got = socket_read(reader->fd, dropped, sizeof(dropped))) > 0)
        ;
    if ((ready & (EPOLLHUP | EPOLLERR)) || (got < 0 && errno != EAGAIN))
        forget(reader);
    else
        flush(reader);
}

static void on_connection(void *argument, int fd)
{
    struct events *events = argument;
    struct reader *reader =
        events->reader_count < LIMIT_EVENT_READERS ? calloc(1, sizeof(*reader)) : NULL;
    socket_refuse_fds(fd);
    if (!reader || loop_add(events->proxy->loop, fd, EPOLLIN | EPOLLOUT | EPOLLET, on_reader,
                            reader, &reader->source) < 0) {
        free(reader);
        socket_close(fd);
        return;
    }
    reader->events = events;
    reader->fd = fd;
    list_init(&reader->link);
    list_append(&events->readers, &reader->link);
    events->reader_count++;
}

static int listen_at(struct events *events, const char *path, struct ob_fault *fault)
{
    struct proxy *proxy = events->proxy;
    struct address address;
    const struct acceptor_config config = {
        .loop = proxy->loop,
        .timers = &proxy->timers,
        .mode = proxy->options->socket_mode,
        .title = "the socket of --events",
        .outside = proxy->dialer.outside,
        .accepted = on_connection,
        .argument = events,
    };
    int err = address_parse_path(path, &address, fault);
    if (err < 0)
        return err;
    err = acceptor_new(&address, &config, &events->acceptor);
    return err < 0 ? ob_fault_set(fault, err, "can't listen at %.180s: %s", path, strerror(-err))
                   : 0;
}

int events_new(struct proxy *proxy, const char *where, struct events **ret_events,
               struct ob_fault *fault)
{
    struct events *events = calloc(1, sizeof(*events));
    if (!events)
        return ob_fault_set(fault, -ENOMEM, "no memory for --events");
    events->proxy = proxy;
    list_init(&events->readers);
    /* Others write to standard output too, so it keeps its flags; a line of LIMIT_EVENT_LINE bytes fits
     * where poll(2) sees room. */
    events->output =
        (struct log_sink){LOG_SINK_POLL, .fd = STDOUT_FILENO, .own_fd = -1, .pipe_fd = {-1, -1}};
    int err = strcmp(where, "-") == 0 ? 0 : listen_at(events, where, fault);
    if (err < 0)
        free(events);
    else
        *ret_events = events;
    return err;
}

void events_free(struct events *events)
{
    if (!events)
        return;
    while (!list_empty(&events->readers))
        forget(list_entry(events->readers.next, struct reader, link));
    acceptor_free(events->acceptor);
    free(events);
}
