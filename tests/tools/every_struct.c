// SPDX-License-Identifier: BSD-3-Clause
/*
 * Uses each struct of the library that a caller fills and that has a size, except ob_program, of
 * which examples/led.c is a user. Says what was refused: a line each, and exits with how many.
 *
 * SETS: the initializer of a field that a newer header has, for all of them; nothing elsewhere.
 */
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <outboard/client.h>
#include <outboard/server.h>
#include <outboard/session.h>
#include <outboard/vault.h>
#include <outboard/virtio.h>

#ifndef SETS
#define SETS
#endif

static int draw(void *user, void *bytes, size_t len)
{
    (void)user;
    memset(bytes, 7, len);
    return 0;
}

static int tell(const char *what, int err, const struct ob_fault *fault)
{
    if (err < 0)
        printf("%s: %d %s\n", what, err, fault->text);
    return err < 0;
}

static int try_session(void)
{
    const struct ob_session_config config = {.size = sizeof(config), .random = draw, SETS};
    struct ob_session *session = NULL;
    const struct ob_fault none = {0};
    const int err = ob_session_new(&config, &session);
    ob_session_free(session);
    return tell("session", err, &none);
}

static int try_client(void)
{
    const struct ob_client_options options = {
        .size = sizeof(options), .wire = "vfio-user", .posted_writes = true, SETS};
    struct ob_client *client = NULL;
    struct ob_fault fault = {0};
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) < 0)
        return 1;
    const int err = ob_client_new(ends[0], &options, &client, &fault);
    ob_client_free(client);
    return tell("client", err, &fault);
}

static int try_device_and_server(void)
{
    const struct ob_device_ops plain_ops = {.size = sizeof(plain_ops)};
    const struct ob_device_ops ops = {.size = sizeof(ops), SETS};
    const struct ob_device_desc desc = {.size = sizeof(desc),
                                        .name = "one",
                                        .vendor_id = 0x1af4,
                                        .bars = {{.kind = OB_BAR_MEM32, .size = 16}}};
    const struct ob_server_options options = {.size = sizeof(options), .wire = "vfio-user", SETS};
    static char kept;
    struct ob_device *device = NULL;
    struct ob_server *server = NULL;
    struct ob_fault fault = {0};
    int refused = tell("ops", ob_device_new(&desc, &ops, NULL, &device, &fault), &fault);
    if (refused) {
        fault = (struct ob_fault){0};
        if (tell("device", ob_device_new(&desc, &plain_ops, NULL, &device, &fault), &fault))
            return 2;
    }
    const struct ob_vault_state state = {.size = sizeof(state), .bytes = &kept, .len = 1, SETS};
    const struct ob_fault none = {0};
    refused += tell("vault", ob_vault_keep(device, &state), &none);
    refused += tell("server", ob_server_new(device, &options, &server, &fault), &fault);
    ob_server_free(server);
    ob_device_free(device);
    return refused;
}

static bool notified(void *state, unsigned queue)
{
    (void)state;
    return queue > 0;
}

static int try_virtio(void)
{
    static const struct ob_virtio_queue queue;
    const struct ob_virtio_desc desc = {
        .size = sizeof(desc), .name = "one", .type = 42, .queues = &queue, .num_queues = 1, SETS};
    const struct ob_virtio_ops ops = {.size = sizeof(ops), .notified = notified, SETS};
    struct ob_device *device = NULL;
    struct ob_fault fault = {0};
    const int err = ob_virtio_new(&desc, &ops, NULL, &device, &fault);
    ob_device_free(device);
    return tell("virtio", err, &fault);
}

int main(void)
{
    return try_session() + try_client() + try_device_and_server() + try_virtio();
}
