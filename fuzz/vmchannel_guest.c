// SPDX-License-Identifier: BSD-3-Clause
/*
 * Plays the driver of outboard-vmchannel, which says anything in any order, and the peers of
 * its ports.
 *
 * Bytes are marked: those of a peer with the peer's number, those of the guest with the number of its
 * descriptor (from PORT_OPEN 1 to PORT_OPEN 0, the port's removal or a reset). These must hold: a
 * descriptor reads the bytes of one peer, a peer reads the bytes of one descriptor, nothing is read
 * by a port that is not open, and no buffer is kept at a reset.
 */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <outboard/vault.h>

#include "check.h"
#include "fake/virtio.h"
#include "vmchannel.h"

#define STEPS      300
#define PORTS      5u
#define TO_GUEST   2
#define FROM_GUEST 3
#define BUFFER_MAX 4096
#define BUFFERS    64u
#define NS_PER_MS  UINT64_C(1000000)
#define LEGACY     3u /* the port's id: its peers share descriptors */
#define AGENT      4u
#define AGENT_BYTE 0xa5
#define NOBODY     0

struct input {
    const uint8_t *at;
    size_t left;
};

/* In the place of the host end of a port. */
struct port_end {
    unsigned id;
    bool has_peer, closed, is_command;
    uint8_t peer;     /* its number, 1 to 255 */
    size_t to_read;   /* bytes of the peer */
    size_t room;      /* bytes that it takes now */
    uint8_t reads_of; /* descriptor whose bytes it has read; NOBODY: none */
};

struct guest_port {
    bool open;
    uint8_t descriptor; /* number of the last one */
    uint8_t reads_of;   /* peer whose bytes it has read */
};

static struct {
    struct port_end ends[PORTS];
    struct guest_port ports[PORTS];
    struct vmchannel *vmchannel;
    struct ob_device *device;
    port_end_fn changed[PORTS];
    void *arguments[PORTS];
    monitor_fn command; /* of the control socket */
    void *commanded;
    struct ob_vault_state kept;
    bool succeeds;      /* there was a process before */
    bool agent_is_open; /* as the front was told */
    size_t agent_bytes; /* that it has for the guest */
} world;

static uint8_t take(struct input *input)
{
    if (input->left == 0)
        return 0;
    input->left--;
    return *input->at++;
}

static uint8_t after(uint8_t number)
{
    return number == UINT8_MAX ? 1 : (uint8_t)(number + 1);
}

int __wrap_port_hub_attach(struct port_hub *hub, struct ob_device *device);
int __wrap_port_hub_attach(struct port_hub *hub, struct ob_device *device)
{
    return 0;
}

int __wrap_port_end_serve(struct port_end *end, port_end_fn changed, void *argument);
int __wrap_port_end_serve(struct port_end *end, port_end_fn changed, void *argument)
{
    world.changed[end->id] = changed;
    world.arguments[end->id] = argument;
    return 0;
}

bool __wrap_port_end_has_peer(const struct port_end *end);
bool __wrap_port_end_has_peer(const struct port_end *end)
{
    return end->has_peer;
}

bool __wrap_port_end_is_closed(const struct port_end *end);
bool __wrap_port_end_is_closed(const struct port_end *end)
{
    return end->closed;
}

bool __wrap_port_end_has_gone(const struct port_end *end);
bool __wrap_port_end_has_gone(const struct port_end *end)
{
    return end->has_peer && end->closed && end->to_read == 0;
}

bool __wrap_port_end_is_lazy(const struct port_end *end);
bool __wrap_port_end_is_lazy(const struct port_end *end)
{
    return end->is_command;
}

bool __wrap_port_end_is_permanent(const struct port_end *end);
bool __wrap_port_end_is_permanent(const struct port_end *end)
{
    return false;
}

void __wrap_port_end_begin(struct port_end *end);
void __wrap_port_end_begin(struct port_end *end)
{
    CHECK(end->has_peer);
}

ssize_t __wrap_port_end_read(struct port_end *end, void *ret_bytes, size_t len);
ssize_t __wrap_port_end_read(struct port_end *end, void *ret_bytes, size_t len)
{
    CHECK(end->has_peer && len > 0);
    if (end->to_read == 0)
        return end->closed ? 0 : -EAGAIN;
    len = len < end->to_read ? len : end->to_read;
    memset(ret_bytes, end->peer, len);
    end->to_read -= len;
    return (ssize_t)len;
}

ssize_t __wrap_port_end_write(struct port_end *end, const struct iovec *spans, int count);
ssize_t __wrap_port_end_write(struct port_end *end, const struct iovec *spans, int count)
{
    size_t taken = 0;
    CHECK(end->has_peer);
    if (end->closed)
        return -EPIPE;
    for (int i = 0; i < count && taken < end->room; i++) {
        const uint8_t *bytes = spans[i].iov_base;
        for (size_t at = 0; at < spans[i].iov_len && taken < end->room; at++, taken++) {
            CHECK(bytes[at] != NOBODY || end->id == 0);
            CHECK(end->reads_of == NOBODY || end->reads_of == bytes[at] || end->id == LEGACY ||
                  end->id == 0);
            end->reads_of = bytes[at];
        }
    }
    end->room -= taken;
    return taken > 0 ? (ssize_t)taken : -EAGAIN;
}

void __wrap_port_end_next(struct port_end *end);
void __wrap_port_end_next(struct port_end *end)
{
    CHECK(end->has_peer);
    end->has_peer = end->closed = false;
}

/* The front of the agent's clients, which has bytes for the guest while that has the port open. */
int __wrap_agent_front_new(struct port_hub *hub, struct port_end *end, port_end_fn woken,
                           void *argument, struct agent_front **ret_front);
int __wrap_agent_front_new(struct port_hub *hub, struct port_end *end, port_end_fn woken,
                           void *argument, struct agent_front **ret_front)
{
    world.changed[end->id] = woken;
    world.arguments[end->id] = argument;
    *ret_front = (struct agent_front *)&world; /* only its address is used */
    return 0;
}

void __wrap_agent_front_free(struct agent_front *front);
void __wrap_agent_front_free(struct agent_front *front)
{
}

void __wrap_agent_front_open(struct agent_front *front);
void __wrap_agent_front_open(struct agent_front *front)
{
    CHECK(!world.agent_is_open);
    world.agent_is_open = true;
}

void __wrap_agent_front_close(struct agent_front *front);
void __wrap_agent_front_close(struct agent_front *front)
{
    CHECK(world.agent_is_open);
    world.agent_is_open = false;
}

void __wrap_agent_front_take(struct agent_front *front, const char *bytes, size_t len);
void __wrap_agent_front_take(struct agent_front *front, const char *bytes, size_t len)
{
    CHECK(world.agent_is_open);
    for (size_t i = 0; i < len; i++) /* not those of a descriptor before */
        CHECK((uint8_t)bytes[i] == world.ports[AGENT].descriptor);
}

size_t __wrap_agent_front_peek(const struct agent_front *front, const char **ret_bytes);
size_t __wrap_agent_front_peek(const struct agent_front *front, const char **ret_bytes)
{
    static char bytes[64];
    CHECK(world.agent_is_open);
    memset(bytes, AGENT_BYTE, sizeof(bytes));
    *ret_bytes = bytes;
    return world.agent_bytes < sizeof(bytes) ? world.agent_bytes : sizeof(bytes);
}

void __wrap_agent_front_sent(struct agent_front *front, size_t len);
void __wrap_agent_front_sent(struct agent_front *front, size_t len)
{
    CHECK(len <= world.agent_bytes);
    world.agent_bytes -= len;
}

bool __wrap_agent_front_is_busy(const struct agent_front *front);
bool __wrap_agent_front_is_busy(const struct agent_front *front)
{
    return world.agent_bytes > 0;
}

unsigned __wrap_agent_front_clients(const struct agent_front *front);
unsigned __wrap_agent_front_clients(const struct agent_front *front)
{
    return 1;
}

/* The control socket. */
int __wrap_monitor_new(struct port_hub *hub, struct port_end *end, monitor_fn command,
                       void *argument, struct monitor **ret_monitor);
int __wrap_monitor_new(struct port_hub *hub, struct port_end *end, monitor_fn command,
                       void *argument, struct monitor **ret_monitor)
{
    world.command = command;
    world.commanded = argument;
    *ret_monitor = NULL;
    return 0;
}

void __wrap_monitor_answer(struct monitor_client *client, const struct monitor_field *fields,
                           size_t count);
void __wrap_monitor_answer(struct monitor_client *client, const struct monitor_field *fields,
                           size_t count)
{
    for (size_t i = 0; i < count; i++)
        CHECK(fields[i].name && (!fields[i].text || memchr(fields[i].text, 0, 64)));
}

const char *__wrap_port_end_description(const struct port_end *end);
const char *__wrap_port_end_description(const struct port_end *end)
{
    return "listen:path";
}

void __wrap_port_end_resize(struct port_end *end, unsigned columns, unsigned rows);
void __wrap_port_end_resize(struct port_end *end, unsigned columns, unsigned rows)
{
    CHECK(end->id == 0);
}

/* The vault. */
enum ob_vault_role __wrap_ob_vault_role(void);
enum ob_vault_role __wrap_ob_vault_role(void)
{
    return world.succeeds ? OB_VAULT_SUCCESSOR : OB_VAULT_NONE;
}

int __wrap_ob_vault_keep(struct ob_device *device, const struct ob_vault_state *state);
int __wrap_ob_vault_keep(struct ob_device *device, const struct ob_vault_state *state)
{
    world.kept = *state;
    return 0;
}

int __wrap_ob_vault_keep_fd(struct ob_device *device, unsigned number, int fd);
int __wrap_ob_vault_keep_fd(struct ob_device *device, unsigned number, int fd)
{
    return 0;
}

/* Nothing has come from the process before: its sockets and its memory. */
int __wrap_ob_vault_kept_fd(const struct ob_device *device, unsigned number);
int __wrap_ob_vault_kept_fd(const struct ob_device *device, unsigned number)
{
    return -ENOENT;
}

static void call(unsigned id)
{
    if (world.changed[id])
        world.changed[id](world.arguments[id]);
}

/* The guest's side of the device's work. Input comes before the messages about it. */
static void look(void)
{
    struct fake_chain *chain;
    for (unsigned id = 0; id < PORTS; id++) {
        struct guest_port *port = &world.ports[id];
        while ((chain = fake_virtio_completed(port_input_queue(id)))) {
            for (size_t i = 0; i < chain->written && id > 0; i++) {
                CHECK(port->open);
                CHECK(port->reads_of == NOBODY || port->reads_of == chain->bytes[i] ||
                      id == LEGACY);
                CHECK(id != AGENT || chain->bytes[i] == AGENT_BYTE);
                port->reads_of = chain->bytes[i];
            }
            fake_virtio_free(chain);
        }
        while ((chain = fake_virtio_completed(port_output_queue(id))))
            fake_virtio_free(chain);
    }
    while ((chain = fake_virtio_completed(TO_GUEST))) {
        unsigned id = chain->written >= 8 ? chain->bytes[0] : PORTS;
        if (id < PORTS && chain->bytes[4] == 2)
            world.ports[id].open = false;
        fake_virtio_free(chain);
    }
    while ((chain = fake_virtio_completed(FROM_GUEST)))
        fake_virtio_free(chain);
}

static void turn(void)
{
    fake_virtio_poll();
    look();
}

/* A message, and the driver's wait for it. */
static void say(uint8_t id, uint8_t event, uint8_t value)
{
    const uint8_t bytes[8] = {id, 0, 0, 0, event, 0, value, 0};
    bool opens = event == 6 && id < PORTS && id > 0 && value == 1;
    bool closes = event == 6 && id < PORTS && value != 1;
    fake_virtio_add_readable(FROM_GUEST, bytes, sizeof(bytes));
    if (opens && !world.ports[id].open) {
        world.ports[id].open = true;
        world.ports[id].descriptor = after(world.ports[id].descriptor);
        world.ports[id].reads_of = NOBODY;
    }
    turn();
    CHECK(fake_virtio_outstanding(FROM_GUEST) == 0);
    if (closes)
        world.ports[id].open = false;
}

static void write_port(unsigned id, size_t len)
{
    uint8_t bytes[BUFFER_MAX];
    const struct guest_port *port = &world.ports[id];
    if (!port->open || fake_virtio_outstanding(port_output_queue(id)) >= BUFFERS)
        return;
    memset(bytes, port->descriptor, len);
    fake_virtio_add_readable(port_output_queue(id), bytes, len);
}

static void peer(struct port_end *end, uint8_t how, uint8_t number)
{
    switch (how % 4) {
    case 0:
        if (!end->has_peer) {
            *end = (struct port_end){.id = end->id,
                                     .is_command = end->is_command,
                                     .has_peer = true,
                                     .peer = after(end->peer)};
        }
        break;
    case 1:
        end->to_read += end->has_peer && !end->closed ? number * 20u : 0;
        break;
    case 2:
        end->room += number * 100u;
        break;
    default:
        end->closed |= end->has_peer;
        break;
    }
    call(end->id);
}

static void command(uint8_t columns, uint8_t rows)
{
    char line[40];
    if (rows & 1)
        snprintf(line, sizeof(line), "resize %u %u%s", columns * 300u, rows * 300u,
                 rows % 16 == 15 ? "x" : "");
    else
        snprintf(line, sizeof(line), "%s", rows & 2 ? "status" : "");
    world.command(world.commanded, NULL, line);
}

/* The ports of the process before, of which the input says anything. False: they are refused, and the
 * process ends. */
static bool resume(struct input *input)
{
    struct ob_fault fault;
    const int len = world.kept.save(world.vmchannel, world.kept.bytes);
    CHECK(len > 0 && (size_t)len == world.kept.len);
    struct port_kept *ports =
        (struct port_kept *)((uint8_t *)world.kept.bytes + len - PORTS * sizeof(*ports));
    for (unsigned i = 0; i < PORTS; i++) {
        const uint8_t what = take(input);
        ports[i] = (struct port_kept){.plugged = what & 1,
                                      .ready = what >> 1 & 1,
                                      .open = what >> 2 & 1,
                                      .removed = what >> 3 & 1,
                                      .host_open = what >> 4 & (what > 250 ? 3 : 1),
                                      .to_send = what >> 5 << (what & 3)};
    }
    if (world.kept.check(world.vmchannel, world.kept.bytes, (size_t)len, &fault) < 0)
        return false;
    for (unsigned i = 0; i < PORTS; i++) {
        world.ports[i].open = ports[i].open;
        world.ports[i].descriptor = 1;
    }
    world.kept.resumed(world.vmchannel);
    return true;
}

static void step(struct input *input)
{
    uint8_t op = take(input), a = take(input), b = take(input);
    unsigned id = a % PORTS;
    switch (op % 10) {
    case 0:
        say(a % (PORTS + 1), b % 8, 1);
        break;
    case 1:
        say((uint8_t)id, 6, b % 2);
        break;
    case 2:
        say(UINT8_MAX, 0, 1);
        break;
    case 3:
        if (fake_virtio_outstanding(TO_GUEST) < BUFFERS)
            fake_virtio_add_writable(TO_GUEST, b);
        break;
    case 4:
        if (fake_virtio_outstanding(port_input_queue(id)) < BUFFERS)
            fake_virtio_add_writable(port_input_queue(id), b);
        break;
    case 5:
        write_port(id, b * 16u);
        break;
    case 6:
        if (id == AGENT) {
            world.agent_bytes += b;
            call(id);
        } else {
            peer(&world.ends[id], b, op / 10 + 1);
        }
        break;
    case 7:
        fake_virtio_advance(b * 50 * NS_PER_MS);
        break;
    case 8:
        if (b >= 200)
            command(a, b);
        if (b % 8 == 0) {
            fake_virtio_pause(true);
            fake_virtio_pause(false);
        }
        break;
    default:
        if (b % 16 == 0) {
            fake_virtio_reset();
            for (unsigned i = 0; i < PORTS; i++)
                world.ports[i].open = false;
            fake_virtio_negotiate(3);
        }
        break;
    }
    turn();
}

static bool start(struct input *input)
{
    static const enum port_mode modes[PORTS] = {PORT_CONSOLE, PORT_REPLUG, PORT_HANDSHAKE,
                                                PORT_LEGACY, PORT_AGENT};
    struct vmchannel_port ports[PORTS];
    struct ob_fault fault = {0};
    memset(&world, 0, sizeof(world));
    for (unsigned i = 0; i < PORTS; i++) {
        world.ends[i].id = i;
        ports[i] = (struct vmchannel_port){.name = "port", .mode = modes[i], .end = &world.ends[i]};
    }
    const struct vmchannel_config config = {.ports = ports,
                                            .num_ports = PORTS,
                                            .max_ports = PORTS,
                                            .ring_size = 32,
                                            .control = &world.ends[0]};
    world.succeeds = input->left & 1;
    fake_virtio_start();
    CHECK(vmchannel_new(&config, &world.vmchannel, &world.device, &fault) == 0);
    if (world.succeeds && !resume(input))
        return false;
    fake_virtio_negotiate(3);
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = {data, size};
    const bool goes_on = start(&input);
    for (unsigned i = 0; i < STEPS && input.left > 0 && goes_on; i++)
        step(&input);
    ob_device_free(world.device);
    vmchannel_free(world.vmchannel);
    fake_virtio_end();
    return 0;
}
