// SPDX-License-Identifier: BSD-3-Clause
/*
 * The proxy's run time over a kernel of the fuzzer's own.
 *
 * An input is a head, which says how the proxy is configured, and then a program: what clients,
 * servers, commands and the peer do, which system calls fail, in which order descriptors are told,
 * and when the proxy has its turn. proxy_run() runs as it is; it waits in world_wait(). Behind the
 * program everybody says no more, hears all, and goes away; then the proxy is told to end.
 *
 * Invariants: the bytes of a relay arrive in order, and those before an end are all that were said;
 * the proxy does not go round without doing anything; once everybody has gone no flow is left;
 * it ends when told to; all of its descriptors are closed then, and its memory is freed.
 */
#include "proxy_world.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define HEAD          6
#define INPUT_MAX     2000
#define IDLE_MAX      40
#define SETTLE_NS     45000000000u
#define SETTLE_ROUNDS 20000
#define STOP_ROUNDS   40
#define LIMIT_USUAL   (KERNEL_FDS - 28u)

struct world world;

/* Of one run, what is no concern of the actors. */
static struct {
    uint64_t progress; /* when the proxy waited last */
    unsigned idle, rounds;
    uint64_t settle_until;
    bool stopped;
} watch;

uint8_t world_next(void)
{
    if (world.input_len == 0)
        return 0;
    world.input_len--;
    return *world.input++;
}

size_t world_take(size_t len, const uint8_t **ret_bytes)
{
    len = len < world.input_len ? len : world.input_len;
    *ret_bytes = world.input;
    world.input += len;
    world.input_len -= len;
    return len;
}

static struct peer *pick_peer(void)
{
    return &world.peers[world_next() % PEERS];
}

static int pick_descriptor(enum descriptor_kind kind, uint8_t choice)
{
    for (unsigned i = 0; i < KERNEL_FDS; i++) {
        unsigned index = (i + choice) % KERNEL_FDS;
        if (kernel.table[index].kind == kind)
            return (int)index + KERNEL_FD_FIRST;
    }
    return -1;
}

static bool is_channel(const struct descriptor *descriptor)
{
    struct sockaddr_un address;
    memcpy(&address, &descriptor->address, sizeof(address));
    return descriptor->family == 0 ||
           (address.sun_family == AF_UNIX && strcmp(address.sun_path, PATH_CHANNEL) == 0);
}

static void finish_connect(int fd)
{
    struct descriptor *descriptor = kernel_find(fd);
    bool for_peer = is_channel(descriptor);
    struct end *end = kernel_connected(fd);
    if (descriptor->family == 0)
        end->kind = end->peer->kind = END_PORT;
    if (for_peer)
        peer_connect(&world.peers[0], end);
    else if (!actor_new(ACTOR_TALKER, end, end))
        end_release(end);
}

static int world_connect(int fd)
{
    static const int errors[] = {ECONNREFUSED, ENETUNREACH, EACCES, ENOENT};
    const struct descriptor *descriptor = kernel_find(fd);
    uint8_t choice = world_next();
    if (choice >= 0xf0)
        return -errors[choice % 4];
    if (descriptor->family != AF_UNIX && descriptor->family != 0)
        return -EINPROGRESS;
    finish_connect(fd);
    return 0;
}

static void decide_connect(uint8_t choice)
{
    static const int errors[] = {ECONNREFUSED, ETIMEDOUT, EHOSTUNREACH, ECONNRESET};
    int fd = pick_descriptor(DESCRIPTOR_CONNECTING, choice / 4);
    if (fd < 0)
        return;
    if (world.settling || choice % 4 == 3)
        kernel_refused(fd, errors[choice / 4 % 4]);
    else
        finish_connect(fd);
}

/* A peer comes to a channel that listens. */
static void visit_channel(struct peer *peer)
{
    for (int i = 0; i < KERNEL_FDS; i++) {
        const struct descriptor *descriptor = &kernel.table[i];
        if (descriptor->kind != DESCRIPTOR_LISTENER || !is_channel(descriptor))
            continue;
        struct end *end = kernel_visit(i + KERNEL_FD_FIRST);
        if (end)
            peer_connect(peer, end);
        return;
    }
}

static void disturb(uint8_t what)
{
    uint8_t value = world_next();
    switch (what) {
    case 0:
        kernel.limit = value & 0x80 ? LIMIT_USUAL : kernel.open + value % 4;
        break;
    case 1:
        kernel.short_write = 1 + value;
        break;
    case 2:
        kernel.order = value;
        break;
    default:
        kernel.now_ns += 1000000ull << value % 16;
        kernel.progress++;
    }
}

/* Returns whether the proxy is to have its turn. */
static bool step(void)
{
    uint8_t op = world_next();
    struct actor *actor;
    if (op < 64)
        return true;
    if (op < 76) {
        actor_comes(world_next());
    } else if (op < 128) {
        actor = actor_pick(world_next());
        if (actor)
            actor_act(actor, op % 8);
    } else if (op < 160) {
        peer_act(pick_peer(), op % 8);
    } else if (op < 212) {
        uint8_t choice = world_next();
        handle_act(&world.peers[choice / HANDLES % PEERS].handles[choice % HANDLES], op % 8);
    } else if (op < 228) {
        decide_connect(world_next());
    } else if (op < 236) {
        visit_channel(pick_peer());
    } else {
        disturb(op % 4);
    }
    return false;
}

/* Who goes round without doing anything burns a processor. */
static void look_for_spin(int timeout_ms)
{
    bool waits = timeout_ms != 0 && !kernel_has_events();
    if (kernel.progress != watch.progress || waits)
        watch.idle = 0;
    else
        CHECK(++watch.idle < IDLE_MAX);
    watch.progress = kernel.progress;
}

static void stop(void)
{
    watch.stopped = true;
    watch.rounds = 0;
    kernel_find(world.proxy.signal_fd)->count = 1;
}

/* What nobody is at the other end of any more is over. */
static void check_settled(void)
{
    const struct proxy *proxy = &world.proxy;
    if (world.tainted)
        return;
    CHECK(list_empty(&proxy->flows));
    CHECK(list_empty(&proxy->lingering));
    CHECK(list_empty(&proxy->socks.list) && proxy->socks.count == 0);
    CHECK(proxy->controls.count == 0);
}

static void settle(int timeout_ms)
{
    if (!world.settling) {
        world.settling = true;
        watch.rounds = 0;
        watch.settle_until = kernel.now_ns + SETTLE_NS;
        kernel.limit = LIMIT_USUAL;
        kernel.short_write = 0;
    }
    for (int i = 0; i < ACTORS; i++)
        if (world.actors[i].role != ACTOR_NONE)
            actor_settle(&world.actors[i], kernel.now_ns > watch.settle_until - SETTLE_NS / 2);
    for (int i = 0; i < PEERS; i++)
        peer_settle(&world.peers[i]);
    decide_connect(0);
    if (kernel.now_ns < watch.settle_until && ++watch.rounds < SETTLE_ROUNDS)
        return;
    CHECK(kernel.now_ns >= watch.settle_until);
    check_settled();
    stop();
}

static void world_wait(int timeout_ms)
{
    look_for_spin(timeout_ms);
    if (watch.stopped) {
        CHECK(++watch.rounds < STOP_ROUNDS);
        return;
    }
    if (world.input_len == 0)
        settle(timeout_ms);
    while (world.input_len > 0 && !step())
        ;
    for (int i = 0; i < PEERS; i++)
        peer_pump(&world.peers[i]);
    if (world.settling && timeout_ms < 0 && !kernel_has_events())
        kernel.now_ns += 1000000000;
}

/* A line of the log is whole, whatever is in it. */
static void on_line(const char *line)
{
    CHECK(line[0] != '\0');
}

static const struct kernel_ops ops = {
    .choose = world_next, .wait = world_wait, .connect = world_connect, .said = on_line};

static struct forward forward_to(enum address_kind kind, const char *name, uint32_t port,
                                 const char *service)
{
    struct forward forward = {.listen = {.kind = kind, .port = port}};
    snprintf(forward.listen.name, sizeof(forward.listen.name), "%s", name);
    snprintf(forward.service, sizeof(forward.service), "%s", service);
    return forward;
}

static struct channel_spec channel_of(uint8_t choice)
{
    static const enum channel_kind kinds[] = {CHANNEL_FD, CHANNEL_CONNECT, CHANNEL_LISTEN,
                                              CHANNEL_VIRTIO, CHANNEL_SERIAL};
    struct channel_spec spec = {.kind = kinds[choice % 5],
                                .framing = choice & 0x80 ? OB_CHANNEL_LINE : OB_CHANNEL_STREAM,
                                .address = {.kind = ADDRESS_UNIX},
                                .number = 115200,
                                .path = "port",
                                .text = "the channel"};
    snprintf(spec.address.name, sizeof(spec.address.name), PATH_CHANNEL);
    return spec;
}

static struct rules *rules_of(uint8_t choice)
{
    static struct rules rules[2];
    struct ob_fault fault;
    if (!rules[0].count) {
        CHECK(rules_add(&rules[0], true, "*:*", &fault) == 0);
        CHECK(rules_add(&rules[1], false, "10.0.0.0/8:*", &fault) == 0);
        CHECK(rules_add(&rules[1], true, "127.0.0.1:*", &fault) == 0);
        CHECK(rules_add(&rules[1], true, "*.example:*", &fault) == 0);
    }
    return &rules[choice & 1];
}

static void configure(const uint8_t head[HEAD], struct proxy_options *ret_options)
{
    static struct forward local[3], remote[2];
    static struct service services[5];
    local[0] = forward_to(ADDRESS_TCP, "127.0.0.1", PORT_FWD, "fwd");
    local[1] = forward_to(ADDRESS_UNIX, PATH_FWD, 0, "fwd");
    local[2] = forward_to(ADDRESS_TCP, "127.0.0.1", 1003, "");
    remote[0] = forward_to(ADDRESS_TCP, "127.0.0.1", 3001, "dest");
    remote[1] = forward_to(ADDRESS_UNIX, "/world/wanted", 0, "");
    services[0] = (struct service){.name = "echo", .kind = SERVICE_EXEC, .command = "cat"};
    services[1] = (struct service){.name = "term", .kind = SERVICE_TERMINAL, .command = "sh"};
    services[2] =
        (struct service){.name = "dest", .address = {.kind = ADDRESS_UNIX, .name = "/world/dest"}};
    services[3] = (struct service){
        .name = "name", .address = {.kind = ADDRESS_TCP, .name = "host.example", .port = 80}};
    *ret_options = (struct proxy_options){
        .channel = channel_of(head[0]),
        .local = {.forward = local, .count = 3},
        .remote = {.forward = remote, .count = head[1] & 1 ? 2 : 0},
        .services = {.service = services, .count = 4},
        .connect = *rules_of(head[2]),
        .listen = *rules_of(head[2] >> 1),
        .allow_run = head[1] & 2,
        .trust_peer = head[1] & 4,
        .is_private = head[1] & 8,
        .control = head[1] & 16 ? "/world/control" : NULL,
        .key_len = head[1] & 32 ? 16 : 0,
        .keepalive_s = head[1] & 64 ? 5 : 0,
        .idle_timeout_s = head[1] & 128 ? 20 : 0,
        .window = head[3] & 1 ? 65536 : 64u + head[3] * 8u,
        .socket_mode = 0600,
    };
}

/* A descriptor that was given to the proxy, whose other end is the first peer's. */
static void give_channel(struct proxy_options *options)
{
    if (options->channel.kind != CHANNEL_FD)
        return;
    int fd = kernel_open(DESCRIPTOR_SOCKET, AF_UNIX);
    options->channel.number = (uint32_t)fd;
    peer_connect(&world.peers[0], kernel_connected(fd));
}

static void run(const struct proxy_options *options)
{
    struct ob_fault fault = {0};
    int err = proxy_init(&world.proxy, options, &fault);
    if (err < 0 && options->channel.kind == CHANNEL_FD && kernel_find((int)options->channel.number))
        kernel_close((int)options->channel.number);
    if (err >= 0)
        proxy_run(&world.proxy, -1);
    else
        CHECK(fault.code == err && fault.text[0]);
    proxy_done(&world.proxy);
    CHECK(kernel.open == 0);
    actors_finish();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct proxy_options options;
    if (size < HEAD || size > INPUT_MAX)
        return 0;
    memset(&world, 0, sizeof(world));
    memset(&watch, 0, sizeof(watch));
    world.input = data + HEAD;
    world.input_len = size - HEAD;
    kernel_begin(&ops, 64 + data[4] * (size_t)64, LIMIT_USUAL);
    configure(data, &options);
    world.peer_config = (struct ob_session_config){
        .size = sizeof(world.peer_config),
        .channel = options.channel.framing,
        .window = 64 + data[5] * 64u,
        .key = options.key_len && data[5] & 1 ? options.key : NULL,
        .key_len = options.key_len && data[5] & 1 ? options.key_len : 0,
        .listens = options.channel.kind != CHANNEL_LISTEN && data[5] & 2,
    };
    peers_begin();
    give_channel(&options);
    run(&options);
    peers_end();
    kernel_end();
    return 0;
}
