// SPDX-License-Identifier: BSD-3-Clause
/* The life of a client: it is made, served, asked for its device's description, and freed. */
#include "remote/client.h"

#include <errno.h>
#include <linux/pci_regs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/sized.h"
#include "client/regions.h"
#include "os/closer.h"
#include "os/event.h"
#include "os/socket.h"

#define DEFAULT_TIMEOUT_MS 1000

static const struct remote_wire *const wires[] = {&remote_mpqemu, &remote_mpqemu_v8,
                                                  &remote_vfio_user};

static const struct remote_wire *find_wire(const char *name)
{
    for (size_t i = 0; i < sizeof(wires) / sizeof(wires[0]); i++)
        if (!name || strcmp(name, wires[i]->engine->name) == 0)
            return wires[i];
    return NULL;
}

static void close_fd(void *context, int fd)
{
    closer_close(fd);
}

/* The end of the stream shows when it is read, but not while nothing can be received. */
static void socket_ready(void *argument, uint32_t events)
{
    struct ob_client *client = argument;
    client_catch_up(client);
    if (events & EPOLLRDHUP && client->engine.later)
        client_lose(client, -ENOTCONN, "the remote has closed the connection");
}

/* Gives up everything of the remote besides its socket. */
static void let_go(struct ob_client *client)
{
    intx_done(client);
    heartbeat_stop(client);
    if (client->wire->lost)
        client->wire->lost(client);
}

static const struct client_events events = {.settled = intx_catch_up, .lost = let_go};

/* The engine, and the loop with its sources. The client is freed by the caller when this fails.
 */
static int prepare(struct ob_client *client, int fd)
{
    client->host = (struct client_host){.close = close_fd};
    event_prepare();
    int err = closer_start();
    if (err == 0)
        err = client_init(&client->engine, client->wire->engine, &client->host);
    if (err == 0 && client->wire->start)
        err = client->wire->start(client);
    if (err == 0)
        err = loop_new(&client->loop);
    if (err == 0)
        err = loop_add(client->loop, fd, EPOLLRDHUP, socket_ready, client, &client->socket);
    client->watched = EPOLLRDHUP;
    return err < 0 ? err : heartbeat_start(client);
}

static int check_options(const struct ob_client_options *options, const struct remote_wire *wire,
                         struct ob_fault *fault)
{
    if (!wire)
        return ob_fault_set(
            fault, -EINVAL,
            "ob_client_options.wire: got '%s', expected mpqemu, mpqemu-v8 or vfio-user",
            options->wire);
    if ((unsigned)options->policy > OB_CLIENT_ASK)
        return ob_fault_set(fault, -EINVAL,
                            "ob_client_options.policy: got %u, expected an enum ob_client_policy",
                            (unsigned)options->policy);
    if (options->timeout_ms > LIMIT_CLIENT_TIMEOUT_MS)
        return ob_fault_set(fault, -EINVAL,
                            "ob_client_options.timeout_ms: got %u, expected at most %u",
                            options->timeout_ms, LIMIT_CLIENT_TIMEOUT_MS);
    return 0;
}

int ob_client_new(int fd, const struct ob_client_options *options, struct ob_client **ret_client,
                  struct ob_fault *fault)
{
    struct ob_client_options own = {0};
    if (!ret_client)
        return ob_fault_set(fault, -EINVAL, "ob_client_new(): ret_client is NULL");
    int err = options ? sized_copy(options, SIZED_UP_TO(struct ob_client_options, posted_writes),
                                   &own, sizeof(own), "ob_client_options", fault)
                      : 0;
    if (err < 0)
        return err;
    const struct remote_wire *wire = find_wire(own.wire);
    err = check_options(&own, wire, fault);
    if (err < 0 || !wire)
        return err;
    err = socket_check(fd);
    if (err < 0)
        return ob_fault_set(fault, err, "descriptor %d is not a connected stream socket: %s", fd,
                            strerror(-err));
    struct ob_client *client = calloc(1, sizeof(*client));
    if (!client)
        return ob_fault_set(fault, -ENOMEM, "no memory for a client");
    *client = (struct ob_client){
        .wire = wire,
        .events = &events,
        .options = own,
        .fd = -1,
        .timer_fd = -1,
        .intx = {.trigger_fd = -1, .resample_fd = -1, .unmask_fd = -1},
    };
    ob_client_set_timeout(client, own.timeout_ms);
    err = prepare(client, fd);
    if (err < 0) {
        ob_client_free(client);
        return ob_fault_set(fault, err, "can't make a client: %s", strerror(-err));
    }
    client->fd = fd;
    *ret_client = client;
    return 0;
}

int ob_client_connect(const char *path, const struct ob_client_options *options,
                      struct ob_client **ret_client, struct ob_fault *fault)
{
    if (!path)
        return ob_fault_set(fault, -EINVAL, "ob_client_connect(): path is NULL");
    unsigned timeout_ms = options && options->timeout_ms ? options->timeout_ms : DEFAULT_TIMEOUT_MS;
    AUTO_FD fd = socket_connect(path, timeout_ms);
    if (fd < 0)
        return ob_fault_set(fault, fd, "can't connect to %s: %s", path, strerror(-fd));
    int err = ob_client_new(fd, options, ret_client, fault);
    if (err == 0)
        take_fd(&fd);
    return err;
}

void ob_client_free(struct ob_client *client)
{
    if (!client)
        return;
    let_go(client);
    if (client->fd >= 0)
        socket_close(client->fd);
    loop_free(client->loop);
    client_done(&client->engine);
    closer_stop(0);
    free(client->remote);
    free(client);
}

int ob_client_set_timeout(struct ob_client *client, unsigned timeout_ms)
{
    if (timeout_ms > LIMIT_CLIENT_TIMEOUT_MS)
        return -EINVAL;
    client->options.timeout_ms = timeout_ms ? timeout_ms : DEFAULT_TIMEOUT_MS;
    return 0;
}

enum ob_client_state ob_client_state(const struct ob_client *client)
{
    return client->state;
}

const struct ob_fault *ob_client_fault(const struct ob_client *client)
{
    return &client->fault;
}

int ob_client_refusal(const struct ob_client *client)
{
    return client->refusal;
}

int ob_client_fd(const struct ob_client *client)
{
    return loop_fd(client->loop);
}

void ob_client_dispatch(struct ob_client *client)
{
    loop_wait(client->loop, 0);
}

int ob_client_publish_memory(struct ob_client *client, const struct ob_client_region *regions,
                             unsigned count, struct ob_fault *fault)
{
    struct ob_client_region merged[LIMIT_CLIENT_REGIONS];
    if (count > LIMIT_CLIENT_REGIONS)
        return ob_fault_set(fault, -E2BIG, "got %u memory regions, expected at most %u", count,
                            LIMIT_CLIENT_REGIONS);
    if (count > 0 && !regions)
        return ob_fault_set(fault, -EINVAL,
                            "ob_client_publish_memory(): regions is NULL, but count is %u", count);
    for (unsigned i = 0; i < count; i++)
        if (!regions[i].memory && !descriptor_is_open(regions[i].fd))
            return ob_fault_set(fault, -EBADF, "descriptor %d of memory region %u is not open",
                                regions[i].fd, i);
    if (count > 0)
        memcpy(merged, regions, count * sizeof(merged[0]));
    int kept = regions_merge(merged, count, fault);
    return kept < 0 ? kept : client->wire->publish_memory(client, merged, (unsigned)kept, fault);
}

int ob_client_probe(struct ob_client *client, struct ob_client_info *ret_info,
                    struct ob_fault *fault)
{
    struct ob_client_info info = {0};
    if (!ret_info)
        return ob_fault_set(fault, -EINVAL, "ob_client_probe(): ret_info is NULL");
    int err = client->wire->probe(client, &info, fault);
    if (err < 0)
        return ob_fault_set(fault, err, "the probe failed: %s",
                            client->fault.code ? client->fault.text : strerror(-err));
    memcpy(client->engine.bars, info.bars, sizeof(info.bars));
    client->probed = true;
    *ret_info = info;
    return 0;
}

/* Gives a BAR the next address that suits it. */
static int place_bar(struct ob_client *client, unsigned index, uint64_t *next, uint64_t end)
{
    const struct ob_client_bar *bar = &client->engine.bars[index];
    uint64_t at = (*next + bar->size - 1) & ~(bar->size - 1);
    if (at < *next || at >= end || bar->size > end - at)
        return -ENOSPC;
    *next = at + bar->size;
    uint32_t offset = PCI_BASE_ADDRESS_0 + 4 * index;
    int err = ob_client_config_write(client, offset, 4, (uint32_t)at);
    if (err == 0 && bar->kind == OB_BAR_MEM64)
        err = ob_client_config_write(client, offset + 4, 4, 0);
    return err;
}

int ob_client_place_bars(struct ob_client *client, uint32_t memory, uint32_t port)
{
    uint64_t next_memory = memory, next_port = port;
    uint32_t command = 0;
    if (!client->probed)
        return -EINVAL;
    for (unsigned i = 0; i < OB_BAR_COUNT; i++) {
        enum ob_bar_kind kind = client->engine.bars[i].kind;
        int err = 0;
        if (kind == OB_BAR_IO)
            err = place_bar(client, i, &next_port, UINT64_C(1) << 16);
        else if (kind != OB_BAR_NONE)
            err = place_bar(client, i, &next_memory, UINT64_C(1) << 32);
        if (err < 0)
            return err;
    }
    int err = ob_client_config_read(client, PCI_COMMAND, 2, &command);
    command |= PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER;
    return err < 0 ? err : ob_client_config_write(client, PCI_COMMAND, 2, command);
}
