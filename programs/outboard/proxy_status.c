// SPDX-License-Identifier: BSD-3-Clause
/* outboard proxy status, and ping: the state of a running proxy. */
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "command.h"
#include "os/socket.h"
#include "proxy_client.h"
#include "proxy_output.h"

/* Prints the answer, which ends with the connection. */
static int copy_out(struct client *client)
{
    char bytes[65536];
    size_t total = 0;
    ssize_t got = 1;
    int status = 0;
    while (status == 0 && got > 0) {
        struct pollfd ready = {.fd = client->fd, .events = POLLIN};
        int count = poll(&ready, 1, (int)client->timeout_s * 1000);
        if (count == 0) {
            client_say(client, "the proxy has not answered within %u s", client->timeout_s);
            return EXIT_NOT_REACHED;
        }
        got = count < 0 ? -1 : socket_read(client->fd, bytes, sizeof(bytes) - 1);
        bytes[got > 0 ? got : 0] = '\0';
        if (total == 0 && got > 6 && memcmp(bytes, "ERROR ", 6) == 0) {
            client_say(client, "%.*s", (int)strcspn(bytes, "\n") - 6, bytes + 6);
            return EXIT_NOT_REACHED;
        }
        if (got > 0)
            status = output_write(client, STDOUT_FILENO, bytes, (size_t)got);
        total += got > 0 ? (size_t)got : 0;
    }
    if (status == 0 && (got < 0 || total == 0)) {
        client_say(client, "the proxy has gone");
        return EXIT_NOT_REACHED;
    }
    return status == 0 ? output_close(client) : status;
}

int proxy_status(int argc, char **argv)
{
    struct client_options options;
    struct client client;
    int status = client_parse(argc, argv, "xPpwj", &options);
    if (status >= 0)
        return status;
    status = client_open(argv[0], &options, &client);
    if (status == 0) {
        dprintf(client.fd, options.json ? "STATUS json\n" : "STATUS\n");
        status = copy_out(&client);
    }
    client_close(&client);
    return status;
}

/* One answer, printed. 0 or the exit status. */
static int ping_once(struct client *client)
{
    char answer[64], line[64];
    uint64_t round_trip_ns;
    client_new_deadline(client);
    if (client_ask(client, "PING", answer, sizeof(answer)) < 0)
        return EXIT_NOT_REACHED;
    if (sscanf(answer, "PONG %" SCNu64, &round_trip_ns) != 1) {
        client_say(client, "the session ended");
        return EXIT_NOT_REACHED;
    }
    int len = snprintf(line, sizeof(line), "round trip %.1f us\n", (double)round_trip_ns / 1000);
    return output_write(client, STDOUT_FILENO, line, (size_t)len);
}

int proxy_ping(int argc, char **argv)
{
    struct client_options options;
    struct client client;
    char answer[300];
    int status = client_parse(argc, argv, "xPpckwn", &options);
    if (status >= 0)
        return status;
    status = client_open(argv[0], &options, &client);
    if (status == 0 && client_ask(&client, "WAIT", answer, sizeof(answer)) < 0)
        status = EXIT_NOT_REACHED;
    for (uint32_t i = 0; status == 0 && i < options.count; i++)
        status = ping_once(&client);
    if (status == 0)
        status = output_close(&client);
    client_close(&client);
    return status;
}
