// SPDX-License-Identifier: BSD-3-Clause
#include "host.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <outboard/program.h>
#include <outboard/timer.h>
#include <outboard/watch.h>

#include "greeting.h"
#include "port/listener.h"
#include "port/stream.h"

#define MESSAGES_SUFFIX ".seqpacket"

/* How long a client may take for its line, and a listener rests that can't accept. */
#define GREETING_NS UINT64_C(10000000000)
#define REST_NS     UINT64_C(1000000000)

/* A client that has not sent its whole line yet. */
struct client {
    struct host *host;
    int fd; /* -1: free */
    const struct door *door;
    struct greeting greeting;
    uint64_t deadline_ns;
};

/* A listener, by whose address the guest's port is known, or not, and who comes. */
struct door {
    struct host *host;
    struct address address;
    struct port_listener listener;
    uint32_t cid; /* of another guest, or VSOCK_CID_HOST */
    bool asks;    /* for a line with the guest's port */
    bool watched;
    uint32_t guest_port;
};

struct host {
    struct host_options *options;
    struct vsock *vsock;
    struct ob_device *device;
    int connector;
    struct door doors[2 + HOST_FORWARDS + 2 * HOST_GUESTS];
    unsigned num_doors;
    struct client clients[HOST_GREETINGS];
    unsigned num_clients;
    struct ob_timer *timer;
};

/* --- the process outside ------------------------------------------------------------------- */

/* A key is a port of the host or the context id of another guest, and the type of the connection. */
#define KEY_TYPE_SHIFT 32
#define KEY_GUEST      (UINT64_C(1) << 40)

static bool is_allowed(const struct host_options *options, uint32_t cid)
{
    for (unsigned i = 0; i < options->num_allowed; i++)
        if (options->allowed[i] == cid)
            return true;
    return false;
}

/* Where the device of one guest listens for another one. 0 or -ENAMETOOLONG. */
static int guest_path(const struct host_options *options, uint32_t to, uint32_t from, bool messages,
                      struct address *ret_address)
{
    ret_address->kind = ADDRESS_UNIX;
    int len = snprintf(ret_address->name, sizeof(ret_address->name), "%s_%u_%u%s", options->guests,
                       to, from, messages ? MESSAGES_SUFFIX : "");
    return len < (int)sizeof(ret_address->name) ? 0 : -ENAMETOOLONG;
}

static int resolve(const void *context, uint64_t key, struct connector_target *ret_target)
{
    uint32_t port = (uint32_t)key;
    const struct host *host = context;
    const struct host_options *options = host->options;
    ret_target->messages = (uint8_t)(key >> KEY_TYPE_SHIFT) == PACKET_SEQPACKET;
    if (key & KEY_GUEST)
        return is_allowed(options, port) ? guest_path(options, port, options->guest_cid,
                                                      ret_target->messages, &ret_target->address)
                                         : -EACCES;
    for (unsigned i = 0; i < options->num_forwards; i++)
        if (options->forwards[i].port == port) {
            ret_target->address = options->forwards[i].address;
            return 0;
        }
    if (options->only_forwards || !options->path)
        return -EACCES;
    struct address *address = &ret_target->address;
    address->kind = ADDRESS_UNIX;
    int len = snprintf(address->name, sizeof(address->name), "%s_%u", options->path, port);
    return len < (int)sizeof(address->name) ? 0 : -ENAMETOOLONG;
}

static void remove_paths(const void *context)
{
    const struct host *host = context;
    for (unsigned i = 0; i < host->num_doors; i++)
        port_listener_remove(&host->doors[i].listener);
}

int host_dial(void *context, uint32_t call, struct connection_peer peer, enum packet_type type)
{
    const struct host *host = context;
    const uint64_t key = (uint64_t)type << KEY_TYPE_SHIFT;
    if (peer.cid == VSOCK_CID_HOST)
        return connector_ask(host->connector, call, key | peer.port);
    return is_allowed(host->options, peer.cid)
               ? connector_ask(host->connector, call, key | KEY_GUEST | peer.cid)
               : -EACCES;
}

static void on_answer(void *argument, unsigned events)
{
    struct host *host = argument;
    struct connector_answer answer;
    for (;;) {
        int fd = -1;
        int err = connector_take(host->connector, &answer, &fd);
        if (err == 0)
            vsock_dialled(host->vsock, answer.id, answer.result < 0 ? answer.result : fd);
        else if (err == -ENOTCONN)
            ob_device_unwatch(host->device, host->connector);
        if (err < 0)
            return;
    }
}

/* --- the host's programs ------------------------------------------------------------------- */

static void tick_at(struct host *host, uint64_t at_ns)
{
    ob_timer_set(host->timer, at_ns);
}

static void end_client(struct client *client)
{
    ob_device_unwatch(client->host->device, client->fd);
    client->fd = -1;
    client->host->num_clients--;
}

/* The line is whole. 0: the socket is taken. */
static int admit(const struct client *client, int fd)
{
    const struct door *door = client->door;
    struct vsock *vsock = client->host->vsock;
    enum packet_type type = door->listener.messages ? PACKET_SEQPACKET : PACKET_STREAM;
    struct connection_peer peer = {.cid = door->cid};
    uint32_t port = 0;
    if (door->cid == VSOCK_CID_HOST) {
        int err = greeting_parse(&client->greeting, &port);
        return err < 0 ? err : vsock_connect(vsock, fd, port, type, true);
    }
    int err = greeting_parse_peer(&client->greeting, &port, &peer.port);
    return err < 0 ? err : vsock_connect_peer(vsock, fd, port, peer, type);
}

static void on_client(void *argument, unsigned events)
{
    struct client *client = argument;
    int fd = client->fd;
    int err = greeting_take(&client->greeting, fd);
    if (err == -EAGAIN)
        return;
    end_client(client);
    if (err == 0)
        err = admit(client, fd);
    if (err == -EPROTO)
        ob_log("host: a client sent no line \"CONNECT PORT%s\"; its connection is closed",
               client->door->cid == VSOCK_CID_HOST ? "" : " FROM PORT");
    if (err < 0)
        port_stream_close(fd);
}

static void greet(const struct door *door, int fd)
{
    struct host *host = door->host;
    for (unsigned i = 0; i < HOST_GREETINGS; i++) {
        struct client *client = &host->clients[i];
        if (client->fd >= 0)
            continue;
        *client = (struct client){
            .host = host, .fd = fd, .door = door, .deadline_ns = ob_timer_now_ns() + GREETING_NS};
        host->num_clients++;
        if (ob_device_watch(host->device, fd, OB_WATCH_READABLE, on_client, client) < 0) {
            end_client(client);
            break;
        }
        tick_at(host, ob_timer_now_ns() + REST_NS);
        return;
    }
    port_stream_close(fd);
}

static void on_door(void *argument, unsigned events);

static void open_door(struct door *door)
{
    if (!door->watched && ob_device_watch(door->host->device, door->listener.fd, OB_WATCH_READABLE,
                                          on_door, door) == 0)
        door->watched = true;
}

/* Somebody connects, one at a time: the loop comes back for the next. */
static void on_door(void *argument, unsigned events)
{
    struct door *door = argument;
    struct host *host = door->host;
    bool is_full = door->asks && host->num_clients == HOST_GREETINGS;
    int fd = is_full ? -EMFILE : port_listener_accept(&door->listener);
    if (fd == -EAGAIN)
        return;
    if (fd < 0) { /* no descriptor is left: it rests, instead of being told again and again */
        ob_device_unwatch(host->device, door->listener.fd);
        door->watched = false;
        tick_at(host, ob_timer_now_ns() + REST_NS);
        return;
    }
    if (door->asks)
        greet(door, fd);
    else if (vsock_connect(host->vsock, fd, door->guest_port, PACKET_STREAM, false) < 0)
        port_stream_close(fd);
}

static void on_tick(void *argument)
{
    struct host *host = argument;
    uint64_t now_ns = ob_timer_now_ns();
    for (unsigned i = 0; i < HOST_GREETINGS; i++) {
        struct client *client = &host->clients[i];
        int fd = client->fd;
        if (fd < 0 || client->deadline_ns > now_ns)
            continue;
        end_client(client);
        port_stream_close(fd);
    }
    for (unsigned i = 0; i < host->num_doors; i++)
        open_door(&host->doors[i]);
    if (host->num_clients > 0)
        tick_at(host, now_ns + REST_NS);
}

/* --- life ---------------------------------------------------------------------------------- */

/* Listens at the address that the caller has put into the next door. */
static int add_door(struct host *host, bool messages, struct ob_fault *fault)
{
    struct door *door = &host->doors[host->num_doors];
    int err = port_listener_open(&door->address, messages, &door->listener, fault);
    if (err < 0)
        return err;
    door->host = host;
    host->num_doors++;
    return 0;
}

/* A path where clients send a line. */
static int add_asking_door(struct host *host, const char *path, uint32_t cid, bool messages,
                           struct ob_fault *fault)
{
    struct door *door = &host->doors[host->num_doors];
    int err = address_parse_path(path, &door->address, fault);
    door->asks = true;
    door->cid = cid;
    return err < 0 ? err : add_door(host, messages, fault);
}

static int open_guest_doors(struct host *host, struct ob_fault *fault)
{
    const struct host_options *options = host->options;
    int err = 0;
    for (unsigned i = 0; i < 2 * options->num_allowed && err == 0; i++) {
        const bool messages = i % 2;
        struct address address;
        err = guest_path(options, options->guest_cid, options->allowed[i / 2], messages, &address);
        if (err < 0)
            return ob_fault_set(fault, err, "%.80s...: the path is too long", options->guests);
        err = add_asking_door(host, address.name, options->allowed[i / 2], messages, fault);
    }
    return err;
}

static int open_doors(struct host *host, struct ob_fault *fault)
{
    const struct host_options *options = host->options;
    char path[ADDRESS_NAME_MAX + sizeof(MESSAGES_SUFFIX)];
    int err = 0;
    if (options->path) {
        snprintf(path, sizeof(path), "%s" MESSAGES_SUFFIX, options->path);
        err = add_asking_door(host, options->path, VSOCK_CID_HOST, false, fault);
    }
    if (options->path && err == 0)
        err = add_asking_door(host, path, VSOCK_CID_HOST, true, fault);
    for (unsigned i = 0; i < options->num_listens && err == 0; i++) {
        struct door *door = &host->doors[host->num_doors];
        door->address = options->listens[i].address;
        door->guest_port = options->listens[i].guest_port;
        err = add_door(host, false, fault);
    }
    return err < 0 ? err : open_guest_doors(host, fault);
}

static struct connector_needs needs_of(const struct host *host)
{
    const struct host_options *options = host->options;
    struct connector_needs needs = {.removes = host->num_doors > 0};
    needs.abstract = (options->path && options->path[0] == '@') ||
                     (options->guests && options->guests[0] == '@');
    for (unsigned i = 0; i < options->num_forwards; i++)
        connector_needs_address(&needs, &options->forwards[i].address);
    return needs;
}

int host_open(struct host_options *options, struct host **ret_host, struct ob_fault *fault)
{
    static const struct connector_ops ops = {.resolve = resolve, .end = remove_paths};
    struct host *host = calloc(1, sizeof(*host));
    if (!host)
        return -ENOMEM;
    host->options = options;
    host->connector = -1;
    for (unsigned i = 0; i < HOST_GREETINGS; i++)
        host->clients[i].fd = -1;
    int err = open_doors(host, fault);
    if (err == 0) {
        const struct connector_needs needs = needs_of(host);
        err = host->connector = connector_start(&ops, &needs, host);
        err = err < 0 ? err : 0;
    }
    if (err < 0) {
        remove_paths(host);
        host_close(host);
        return err;
    }
    *ret_host = host;
    return 0;
}

void host_close(struct host *host)
{
    if (!host)
        return;
    for (unsigned i = 0; i < host->num_doors; i++)
        port_listener_close(&host->doors[i].listener);
    connector_finish(host->connector);
    free(host);
}

int host_serve(struct host *host, struct vsock *vsock, struct ob_device *device,
               struct ob_fault *fault)
{
    host->vsock = vsock;
    host->device = device;
    int err = ob_timer_new(device, on_tick, host, &host->timer, fault);
    if (err == 0)
        err = port_stream_start();
    if (err == 0)
        err = ob_device_watch(device, host->connector, OB_WATCH_READABLE, on_answer, host);
    for (unsigned i = 0; i < host->num_doors && err == 0; i++)
        open_door(&host->doors[i]);
    return err;
}

void host_stop(struct host *host)
{
    for (unsigned i = 0; i < HOST_GREETINGS; i++)
        if (host->clients[i].fd >= 0) {
            int fd = host->clients[i].fd;
            end_client(&host->clients[i]);
            port_stream_close(fd);
        }
    ob_timer_free(host->timer);
    host->timer = NULL;
    port_stream_stop();
}
