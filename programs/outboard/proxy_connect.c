// SPDX-License-Identifier: BSD-3-Clause
/*
 * outboard proxy connect: standard input and output joined to a service of the other end, as
 * ssh -W does, for ssh's ProxyCommand and for pipes.
 *
 * Each direction has a thread and ends for itself: the end of stdin is shutdown(2) for the service,
 * the service's end closes stdout. The proxy closes the connection once both have ended, so that a
 * connection that is closed before is one that broke.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <outboard/session.h>

#include "command.h"
#include "proxy_client.h"
#include "proxy_output.h"

#include "os/socket.h"

#define BUFFER_LEN 65536
#define CUT_SHORT  (-1)

struct upload {
    int fd;            /* the stream */
    int done_fd;       /* readable once it is over */
    atomic_bool ended; /* all of it was sent */
};

static int send_all(int fd, const char *bytes, size_t len)
{
    while (len > 0) {
        ssize_t put = send(fd, bytes, len, MSG_NOSIGNAL);
        if (put < 0 && errno != EINTR)
            return -errno;
        bytes += put > 0 ? put : 0;
        len -= put > 0 ? (size_t)put : 0;
    }
    return 0;
}

static void *carry_up(void *argument)
{
    static const uint64_t one = 1;
    struct upload *upload = argument;
    char bytes[BUFFER_LEN];
    ssize_t got;
    int err = 0;
    while (err == 0 && (got = read(STDIN_FILENO, bytes, sizeof(bytes))) != 0) {
        if (got > 0)
            err = send_all(upload->fd, bytes, (size_t)got);
        else if (errno != EINTR)
            break; /* a terminal that has gone */
    }
    upload->ended =
        err == 0; /* before the proxy can close the socket, of which it then has both ends */
    shutdown(upload->fd, SHUT_WR);
    ssize_t put = write(upload->done_fd, &one, sizeof(one));
    (void)put; /* it was 0 */
    return NULL;
}

/* Until the service says no more. 0, CUT_SHORT, or the exit status once the reason was printed. */
static int carry_down(const struct client *client)
{
    char bytes[BUFFER_LEN];
    ssize_t got;
    int status = 0;
    while (status == 0 && (got = socket_read(client->fd, bytes, sizeof(bytes))) != 0) {
        if (got > 0)
            status = output_write(client, STDOUT_FILENO, bytes, (size_t)got);
        else if (errno != EINTR)
            return CUT_SHORT;
    }
    return status;
}

/* Waits for the end of the upload, or of the connection. 0, or EXIT_NOT_REACHED. */
static int await_upload(const struct client *client, const struct upload *upload)
{
    struct pollfd ready[] = {{.fd = upload->done_fd, .events = POLLIN},
                             {.fd = client->fd, .events = 0}};
    while (poll(ready, 2, -1) < 0 && errno == EINTR)
        ;
    if (!upload->ended)
        client_say(client, "the connection broke");
    return upload->ended ? 0 : EXIT_NOT_REACHED;
}

static int carry(const struct client *client)
{
    pthread_t thread;
    struct upload *upload = calloc(1, sizeof(*upload)); /* for the thread, to the end of all */
    if (!upload)
        return EXIT_NOT_REACHED;
    *upload = (struct upload){.fd = client->fd, .done_fd = eventfd(0, EFD_CLOEXEC)};
    if (upload->done_fd < 0 || pthread_create(&thread, NULL, carry_up, upload) != 0) {
        client_say(client, "can't begin: %s", strerror(errno));
        free(upload);
        return EXIT_NOT_REACHED;
    }
    pthread_detach(thread);
    int status = carry_down(client);
    if (status == CUT_SHORT)
        client_say(client, "the connection broke");
    if (status != 0)
        return EXIT_NOT_REACHED;
    status = output_close_one(client, STDOUT_FILENO); /* that is its end for who reads it */
    return status == 0 ? await_upload(client, upload) : status;
}

int proxy_connect(int argc, char **argv)
{
    struct client_options options;
    struct client client;
    uint32_t reason = OB_REASON_NONE;
    int status = client_parse(argc, argv, "xPpckw.", &options);
    if (status >= 0)
        return status;
    if (!options.command[0] || options.command[1]) {
        log_line("give one SERVICE: a name that the other end declares, or tcp:HOST:PORT");
        return EXIT_USAGE;
    }
    status = client_open(argv[0], &options, &client);
    if (status == 0)
        status = client_open_stream(&client, "OPEN", options.command[0], &reason);
    if (reason != OB_REASON_NONE)
        client_say_refusal(&client, options.command[0], reason);
    if (status == 0)
        status = carry(&client);
    client_close(&client);
    return status;
}
