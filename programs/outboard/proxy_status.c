// SPDX-License-Identifier: BSD-3-Clause
/* outboard proxy status, and ping: what a running proxy knows. */
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "command.h"
#include "proxy_client.h"

static int copy_out(struct client *client)
{
    char bytes[65536];
    size_t total = 0;
    ssize_t got;
    while ((got = read(client->fd, bytes, sizeof(bytes))) > 0) {
        fwrite(bytes, 1, (size_t)got, stdout);
        total += (size_t)got;
    }
    if (got < 0 || total == 0)
        client_say(client, "the proxy has gone");
    return got < 0 || total == 0 ? EXIT_NOT_REACHED : EXIT_SUCCESS;
}

int proxy_status(int argc, char **argv)
{
    struct client_options options;
    struct client client;
    int status = client_parse(argc, argv, "pj", &options);
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
static int ping_once(struct client *client, int timeout_ms)
{
    char answer[64];
    uint64_t round_trip_ns;
    if (client_ask(client, "PING", timeout_ms, answer, sizeof(answer)) < 0)
        return EXIT_NOT_REACHED;
    if (sscanf(answer, "PONG %" SCNu64, &round_trip_ns) != 1) {
        client_say(client, "the session ended");
        return EXIT_NOT_REACHED;
    }
    printf("round trip %.1f us\n", (double)round_trip_ns / 1000);
    return fflush(stdout) == 0 ? 0 : EXIT_FAILURE;
}

int proxy_ping(int argc, char **argv)
{
    struct client_options options;
    struct client client;
    char answer[64];
    int status = client_parse(argc, argv, "pckwn", &options);
    if (status >= 0)
        return status;
    int timeout_ms = (int)options.timeout_s * 1000;
    status = client_open(argv[0], &options, &client);
    if (status == 0 && client_ask(&client, "WAIT", timeout_ms, answer, sizeof(answer)) < 0)
        status = EXIT_NOT_REACHED;
    for (uint32_t i = 0; status == 0 && i < options.count; i++)
        status = ping_once(&client, timeout_ms);
    client_close(&client);
    return status;
}
