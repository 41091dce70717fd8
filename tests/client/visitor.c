// SPDX-License-Identifier: BSD-3-Clause
/*
 * A small VMM that looks at devices and leaves: visitor FD... Each FD is a vfio-user socket. All
 * clients exist at the same time, and the process goes on when the last one has been freed.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <outboard/client.h>
#include <outboard/client_irq.h>

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "visitor: line %d: not so: %s\n", __LINE__, #condition);               \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

#define MOST 4

static struct ob_client *visit(int fd)
{
    const struct ob_client_options options = {
        .size = sizeof(options), .wire = "vfio-user", .timeout_ms = 60000};
    struct ob_client *client;
    struct ob_client_info info;
    uint32_t ids;
    CHECK(ob_client_new(fd, &options, &client, NULL) == 0);
    CHECK(ob_client_probe(client, &info, NULL) == 0);
    CHECK(ob_client_place_bars(client, 0xfe000000, 0xc000) == 0);
    CHECK(ob_client_emulate_intx(client) == 0);
    CHECK(ob_client_config_read(client, 0, 4, &ids) == 0);
    CHECK((ids & 0xffff) == info.vendor_id);
    return client;
}

int main(int argc, char **argv)
{
    struct ob_client *clients[MOST];
    int count = 0;
    CHECK(argc > 1 && argc <= MOST + 1);
    for (int i = 1; i < argc; i++)
        clients[count++] = visit(atoi(argv[i]));
    while (count > 0)
        ob_client_free(clients[--count]);
    return 0;
}
