// SPDX-License-Identifier: BSD-3-Clause
/*
 * Ports that have work wait in a ring, each at most once, and have a bounded turn each: a port that
 * is blocked is not in it, one with much to move goes to its end. Ports with messages for the driver
 * wait in another one until the driver has a buffer.
 *
 * The driver waits, spinning, until its own control messages were taken, so those are always taken
 * at once, and before anything else: a message of the guest is about the bytes before it.
 */
#include "internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <outboard/program.h>

#include "bytes.h"
#include "port/hub.h"

#define TYPE_CONSOLE      3
#define FEATURE_SIZE      (UINT64_C(1) << 0)
#define FEATURE_MULTIPORT (UINT64_C(1) << 1)
#define QUEUE_INPUT_0     0
#define QUEUE_OUTPUT_0    1
#define QUEUE_TO_GUEST    2 /* control */
#define QUEUE_FROM_GUEST  3
#define CONFIG_LEN        12
#define CLASS_CODE        0x078000 /* communication controller, other */
#define CHAIN_SEGMENTS    64       /* Linux: 1, and up to 17 when it splices */

/* MSI-X vectors. Linux takes two for all queues if it does not get one for each, and it did not with
 * 257 or more. */
#define VECTORS_MAX 128u

/* Ports that have their turn in one round. */
#define TURNS_MAX 64u

/* Control messages that are taken in one round. */
#define CONTROLS_MAX 1024u

enum control_event {
    DEVICE_READY = 0,
    PORT_ADD = 1,
    PORT_REMOVE = 2,
    PORT_READY = 3,
    CONSOLE_PORT = 4,
    RESIZE = 5,
    PORT_OPEN = 6,
    PORT_NAME = 7,
};

#define CONTROL_LEN 8
#define CONTROL_MAX (CONTROL_LEN + VMCHANNEL_NAME_MAX)

static void ring_add(struct ring *ring, unsigned id)
{
    if (ring->has[id])
        return;
    ring->has[id] = true;
    ring->ids[(ring->first + ring->count++) % (VMCHANNEL_PORTS_MAX + 1)] = (uint16_t)id;
}

static unsigned ring_take(struct ring *ring)
{
    unsigned id = ring->ids[ring->first];
    ring->first = (ring->first + 1) % (VMCHANNEL_PORTS_MAX + 1);
    ring->count--;
    ring->has[id] = false;
    return id;
}

static struct port *port_of(struct vmchannel *vmchannel, uint32_t id)
{
    return id < vmchannel->config.num_ports && vmchannel->ports[id].end ? &vmchannel->ports[id]
                                                                        : NULL;
}

static void wake(void *device, unsigned id)
{
    struct vmchannel *vmchannel = device;
    ring_add(&vmchannel->work, id);
    if (vmchannel->ports[id].to_send)
        ring_add(&vmchannel->control, id);
}

static void tell(void *device, unsigned id, const char *event, const char *end, uint64_t number)
{
    struct vmchannel *vmchannel = device;
    const struct monitor_field fields[] = {
        {.name = "event", .text = event},
        {.name = "port", .text = vmchannel->ports[id].name},
        {.name = "end", .text = end},
        {.name = "bytes", .number = number},
    };
    bool has_number = strcmp(event, "dropped") == 0;
    monitor_tell(vmchannel->monitor, fields, has_number ? 4 : 3);
}

static const struct port_events events = {.wake = wake, .tell = tell};

/* Returns the length of a message. */
static size_t encode(const struct vmchannel *vmchannel, const struct port *port, unsigned message,
                     uint8_t ret_bytes[CONTROL_MAX])
{
    enum control_event event = PORT_ADD;
    unsigned value = 1;
    size_t len = CONTROL_LEN;
    switch (message) {
    case PORT_SEND_REMOVE:
        event = PORT_REMOVE;
        break;
    case PORT_SEND_ADD:
        break;
    case PORT_SEND_CONSOLE:
        event = CONSOLE_PORT;
        break;
    case PORT_SEND_RESIZE:
        event = RESIZE;
        put16(ret_bytes + CONTROL_LEN, vmchannel->columns);
        put16(ret_bytes + CONTROL_LEN + 2, vmchannel->rows);
        len += 4;
        break;
    case PORT_SEND_NAME:
        event = PORT_NAME;
        memcpy(ret_bytes + CONTROL_LEN, port->name, strlen(port->name));
        len += strlen(port->name);
        break;
    default:
        event = PORT_OPEN;
        value = port->host_open;
        break;
    }
    put32(ret_bytes, port->id);
    put16(ret_bytes + 4, event);
    put16(ret_bytes + 6, (uint16_t)value);
    return len;
}

/* Sends messages as long as the driver has buffers. */
static void send_messages(struct vmchannel *vmchannel)
{
    uint8_t bytes[CONTROL_MAX];
    while (vmchannel->control.count > 0) {
        struct port *port = &vmchannel->ports[vmchannel->control.ids[vmchannel->control.first]];
        unsigned message = port_next_message(port);
        if (message == 0) {
            ring_take(&vmchannel->control);
            continue;
        }
        struct ob_virtio_chain *chain = ob_virtio_take(vmchannel->device, QUEUE_TO_GUEST);
        if (!chain)
            return;
        size_t len = encode(vmchannel, port, message, bytes);
        ob_virtio_complete(chain, ob_virtio_write(chain, 0, bytes, len));
        port_message_sent(port, message, ob_timer_now_ns());
        ring_add(&vmchannel->work, port->id);
    }
}

/* False: not now. */
static bool take_message(struct vmchannel *vmchannel, const uint8_t bytes[CONTROL_LEN])
{
    uint32_t id = get32(bytes), event = get16(bytes + 4), value = get16(bytes + 6);
    struct port *port = port_of(vmchannel, id);
    if (event == DEVICE_READY && value == 1) {
        for (unsigned i = 0; i < vmchannel->config.num_ports; i++)
            if (vmchannel->ports[i].end && !vmchannel->ports[i].guest.plugged &&
                vmchannel->ports[i].state != PORT_REMOVED)
                port_plug(&vmchannel->ports[i]);
    } else if (event == PORT_READY && port) {
        port_set_ready(port, value == 1);
    } else if (event == PORT_OPEN && port) {
        return port_set_open(port, value == 1);
    }
    return true;
}

static bool take_messages(struct vmchannel *vmchannel)
{
    for (unsigned i = 0; i < CONTROLS_MAX; i++) {
        uint8_t bytes[CONTROL_LEN];
        struct ob_virtio_chain *chain = ob_virtio_take(vmchannel->device, QUEUE_FROM_GUEST);
        if (!chain)
            return false;
        if (ob_virtio_read(chain, 0, bytes, sizeof(bytes)) == sizeof(bytes) &&
            !take_message(vmchannel, bytes)) {
            ob_virtio_return(chain);
            return true;
        }
        ob_virtio_complete(chain, 0);
    }
    return true;
}

/* The port of a queue, or NULL. */
static struct port *port_of_queue(struct vmchannel *vmchannel, unsigned queue)
{
    if (queue <= QUEUE_OUTPUT_0)
        return port_of(vmchannel, 0);
    return queue > QUEUE_FROM_GUEST ? port_of(vmchannel, queue / 2 - 1) : NULL;
}

static bool notified(void *state, unsigned queue)
{
    struct vmchannel *vmchannel = state;
    if (queue == QUEUE_FROM_GUEST)
        return take_messages(vmchannel);
    if (queue == QUEUE_TO_GUEST) {
        send_messages(vmchannel);
        return false;
    }
    const struct port *port = port_of_queue(vmchannel, queue);
    if (port)
        wake(vmchannel, port->id);
    return false;
}

static void arm(struct vmchannel *vmchannel, uint64_t due_ns)
{
    if (due_ns >= vmchannel->due_ns)
        return;
    vmchannel->due_ns = due_ns;
    ob_timer_set(vmchannel->timer, due_ns);
}

static void on_timer(void *argument)
{
    struct vmchannel *vmchannel = argument;
    uint64_t now_ns = ob_timer_now_ns(), next_ns = PORT_NEVER;
    vmchannel->due_ns = PORT_NEVER;
    for (unsigned i = 0; i < vmchannel->config.num_ports; i++) {
        const struct port *port = &vmchannel->ports[i];
        if (port->end && port->due_ns <= now_ns)
            ring_add(&vmchannel->work, port->id);
        else if (port->end && port->due_ns < next_ns)
            next_ns = port->due_ns;
    }
    arm(vmchannel, next_ns);
}

static bool poll_ports(void *state)
{
    struct vmchannel *vmchannel = state;
    bool worked = vmchannel->work.count > 0;
    if (!succession_settle(vmchannel))
        return false;
    if (vmchannel->multiport && !vmchannel->paused)
        take_messages(vmchannel);
    unsigned turns = vmchannel->work.count < TURNS_MAX ? vmchannel->work.count : TURNS_MAX;
    // cppcheck-suppress knownConditionTrueFalse ; messages of the guest have added work
    for (unsigned i = 0; i < turns; i++) {
        struct port *port = &vmchannel->ports[ring_take(&vmchannel->work)];
        bool more = port_turn(port, ob_timer_now_ns());
        if (more)
            ring_add(&vmchannel->work, port->id);
        arm(vmchannel, port->due_ns);
    }
    send_messages(vmchannel);
    vmchannel->round++;
    return worked;
}

static int negotiated(void *state, uint64_t features)
{
    struct vmchannel *vmchannel = state;
    vmchannel->multiport = features & FEATURE_MULTIPORT;
    return 0;
}

/* A driver without MULTIPORT has port 0 alone, as a console. */
static void started(void *state)
{
    struct vmchannel *vmchannel = state;
    struct port *console = port_of(vmchannel, 0);
    if (vmchannel->multiport || !console)
        return;
    console->guest.plugged = console->guest.ready = true;
    wake(vmchannel, 0);
}

static void let_go(void *state, unsigned queue)
{
    struct vmchannel *vmchannel = state;
    struct port *port = port_of_queue(vmchannel, queue);
    if (port)
        port_let_go(port, queue % 2 == 0, vmchannel->paused);
}

static void lose_guest(void *state)
{
    struct vmchannel *vmchannel = state;
    for (unsigned i = 0; i < vmchannel->config.num_ports; i++)
        if (vmchannel->ports[i].end) {
            port_guest_gone(&vmchannel->ports[i]);
            if (succession_is_settled(vmchannel))
                port_drain(&vmchannel->ports[i]);
        }
    vmchannel->control = (struct ring){0};
    vmchannel->multiport = false;
}

static void pause(void *state, bool paused)
{
    struct vmchannel *vmchannel = state;
    vmchannel->paused = paused;
    if (!paused)
        succession_take_back(vmchannel);
    for (unsigned i = 0; i < vmchannel->config.num_ports && !paused; i++)
        if (vmchannel->ports[i].end)
            wake(vmchannel, i);
}

static void write_config(void *state, uint8_t *ret_config)
{
    const struct vmchannel *vmchannel = state;
    memset(ret_config, 0, CONFIG_LEN);
    put16(ret_config, vmchannel->columns);
    put16(ret_config + 2, vmchannel->rows);
    put32(ret_config + 4, vmchannel->config.max_ports);
}

static const struct ob_virtio_ops virtio_ops = {
    .size = sizeof(virtio_ops),
    .notified = notified,
    .negotiated = negotiated,
    .started = started,
    .let_go = let_go,
    .reset = lose_guest,
    .config = write_config,
    .poll = poll_ports,
    .pause = pause,
    .at_rest = succession_hand_over,
    .disconnected = lose_guest,
};

static void answer_status(struct vmchannel *vmchannel, struct monitor_client *client)
{
    for (unsigned i = 0; i < vmchannel->config.num_ports; i++) {
        const struct port *port = &vmchannel->ports[i];
        if (!port->end)
            continue;
        const struct monitor_field fields[] = {
            {.name = "port", .text = port->name},
            {.name = "id", .number = port->id},
            {.name = "end", .text = port_end_description(port->end)},
            {.name = "reconnect", .text = port_mode_name(port->mode)},
            {.name = "state", .text = port_state_name(port)},
            {.name = "guest", .text = port->guest.open ? "open" : "closed"},
            {.name = "clients",
             .number =
                 port->agent ? agent_front_clients(port->agent) : port_end_has_peer(port->end)},
            {.name = "to-guest", .number = port->input.bytes},
            {.name = "from-guest", .number = port->output.bytes},
            {.name = "dropped", .number = port->output.dropped},
            {.name = "replugs", .number = port->replugs},
        };
        monitor_answer(client, fields, sizeof(fields) / sizeof(fields[0]));
    }
}

static void resize(struct vmchannel *vmchannel, unsigned columns, unsigned rows)
{
    struct port *console = port_of(vmchannel, 0);
    vmchannel->columns = (uint16_t)columns;
    vmchannel->rows = (uint16_t)rows;
    ob_virtio_config_changed(vmchannel->device);
    if (!console)
        return;
    port_end_resize(console->end, columns, rows);
    if (console->guest.ready && vmchannel->multiport) {
        console->to_send |= PORT_SEND_RESIZE;
        wake(vmchannel, 0);
    }
}

static void on_command(void *argument, struct monitor_client *client, char *line)
{
    struct vmchannel *vmchannel = argument;
    unsigned columns, rows;
    char rest;
    const char *error = NULL;
    if (strcmp(line, "status") == 0)
        answer_status(vmchannel, client);
    else if (sscanf(line, "resize %u %u%c", &columns, &rows, &rest) == 2 && columns <= UINT16_MAX &&
             rows <= UINT16_MAX)
        resize(vmchannel, columns, rows);
    else
        error = "expected 'status' or 'resize COLUMNS ROWS'";
    const struct monitor_field end[] = {
        {.name = error ? "error" : "done", .text = error ? error : line}};
    monitor_answer(client, end, 1);
}

static void on_end(void *argument)
{
    struct port *port = argument;
    if (succession_is_settled(port->device))
        port_drain(port);
    wake(port->device, port->id);
}

static int start_port(struct vmchannel *vmchannel, unsigned id, const struct vmchannel_port *config)
{
    struct port *port = &vmchannel->ports[id];
    *port = (struct port){.id = id,
                          .name = config->name,
                          .mode = config->mode,
                          .end = config->end,
                          .virtio = vmchannel->device,
                          .events = &events,
                          .device = vmchannel,
                          .round = &vmchannel->round};
    port_init(port);
    return port->mode == PORT_AGENT
               ? agent_front_new(vmchannel->config.hub, port->end, on_end, port, &port->agent)
               : 0;
}

static int serve_all(struct vmchannel *vmchannel)
{
    int err = 0;
    for (unsigned i = 0; i < vmchannel->config.num_ports && err == 0; i++) {
        struct port *port = &vmchannel->ports[i];
        if (port->end && port->mode != PORT_AGENT)
            err = port_end_serve(port->end, on_end, port);
    }
    return err;
}

static int make_device(struct vmchannel *vmchannel, struct ob_fault *fault)
{
    unsigned num_queues = 2 * (vmchannel->config.max_ports + 1);
    struct ob_virtio_queue *queues = calloc(num_queues, sizeof(*queues));
    if (!queues)
        return -ENOMEM;
    for (unsigned i = 0; i < num_queues; i++)
        queues[i] = (struct ob_virtio_queue){.size = vmchannel->config.ring_size,
                                             .max_segments = CHAIN_SEGMENTS};
    const struct ob_virtio_desc desc = {
        .size = sizeof(desc),
        .name = "vmchannel",
        .type = TYPE_CONSOLE,
        .class_code = CLASS_CODE,
        .features = FEATURE_SIZE | FEATURE_MULTIPORT,
        .queues = queues,
        .num_queues = num_queues,
        .vectors = num_queues + 1 < VECTORS_MAX ? num_queues + 1 : VECTORS_MAX,
        .config_len = CONFIG_LEN,
    };
    int err = ob_virtio_new(&desc, &virtio_ops, vmchannel, &vmchannel->device, fault);
    free(queues);
    return err;
}

static int start(struct vmchannel *vmchannel, struct ob_fault *fault)
{
    const struct vmchannel_config *config = &vmchannel->config;
    int err = make_device(vmchannel, fault);
    if (err == 0)
        err = ob_timer_new(vmchannel->device, on_timer, vmchannel, &vmchannel->timer, fault);
    if (err == 0)
        err = port_hub_attach(config->hub, vmchannel->device);
    if (err == 0 && config->control)
        err = monitor_new(config->hub, config->control, on_command, vmchannel, &vmchannel->monitor);
    for (unsigned i = 0; i < config->num_ports && err == 0; i++)
        if (config->ports[i].end)
            err = start_port(vmchannel, i, &config->ports[i]);
    return err < 0 ? err : succession_start(vmchannel);
}

int vmchannel_new(const struct vmchannel_config *config, struct vmchannel **ret_vmchannel,
                  struct ob_device **ret_device, struct ob_fault *fault)
{
    struct vmchannel *vmchannel = calloc(1, sizeof(*vmchannel));
    if (!vmchannel)
        return -ENOMEM;
    vmchannel->config = *config;
    vmchannel->due_ns = PORT_NEVER;
    vmchannel->succession.serve = serve_all;
    vmchannel->ports = calloc(config->num_ports, sizeof(*vmchannel->ports));
    int err = vmchannel->ports ? start(vmchannel, fault) : -ENOMEM;
    if (err < 0) {
        ob_device_free(vmchannel->device);
        vmchannel_free(vmchannel);
        return err;
    }
    *ret_device = vmchannel->device;
    *ret_vmchannel = vmchannel;
    return 0;
}

void vmchannel_free(struct vmchannel *vmchannel)
{
    if (!vmchannel)
        return;
    for (unsigned i = 0; vmchannel->ports && i < vmchannel->config.num_ports; i++) {
        agent_front_free(vmchannel->ports[i].agent);
        port_done(&vmchannel->ports[i]);
    }
    monitor_free(vmchannel->monitor);
    ob_timer_free(vmchannel->timer);
    free(vmchannel->ports);
    succession_done(vmchannel);
    free(vmchannel);
}
