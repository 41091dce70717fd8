// SPDX-License-Identifier: BSD-3-Clause
/*
 * The states of enum port_state, and the ends of each:
 *
 *   IDLE       a peer comes: OFFERED or ON, or HELD if the guest's descriptor is used
 *   OFFERED    the guest opens the port: ON; the peer has gone and left no byte: IDLE
 *   ON         the peer ends its direction and all is delivered: ENDING; the guest closes: DRAINING
 *   ENDING     the peer has closed, or is silent for a while: IDLE; the guest closes: DRAINING
 *   DRAINING   the rest is written: IDLE
 *   HELD       the guest closes: OFFERED; replug: it has read everything: REMOVED
 *   REMOVED    a second later: the port is added again, OFFERED
 *
 * A descriptor of the guest is `used` from ENDING on until the guest closes it, or the port is
 * removed. Nothing but legacy lets a used one be ON.
 */
#include "port.h"

#include "chains.h"

#define NS_PER_S UINT64_C(1000000000)

/* Bytes that a port moves in each direction before the others have their turn. */
#define TURN_BYTES 262144u

/* A peer that has ended one direction may read the guest's further bytes until it has been silent
 * for this time. */
#define LINGER_NS NS_PER_S

/* REMOVE to ADD. A service manager that stops the unit of the old port loses an ADD that comes
 * sooner. */
#define REPLUG_NS NS_PER_S

/* A port that nobody opens after a replug is replugged once more. */
#define REOPEN_NS (10 * NS_PER_S)

/* A guest that has read everything has this time to see the end of file and close the port itself. */
#define GRACE_NS NS_PER_S

/* A guest that reads nothing for this time loses the last peer's bytes. */
#define UNREAD_NS (30 * NS_PER_S)

/* How long a peer is held for a guest that does not close the port (handshake). */
#define HANDSHAKE_NS (30 * NS_PER_S)

const char *port_mode_name(enum port_mode mode)
{
    static const char *const names[] = {"replug", "handshake", "legacy", "agent", "console"};
    return names[mode];
}

const char *port_state_name(const struct port *port)
{
    static const char *const names[] = {"idle", "held",   "removed", "offered",
                                        "on",   "ending", "draining"};
    if (port->mode == PORT_AGENT)
        return agent_front_is_busy(port->agent) ? "busy" : port->guest.open ? "on" : "offered";
    return names[port->state];
}

static void tell(struct port *port, const char *event, const char *end)
{
    port->events->tell(port->device, port->id, event, end, 0);
}

static void send(struct port *port, unsigned messages)
{
    port->to_send |= messages;
    port->events->wake(port->device, port->id);
}

static void set_host_open(struct port *port, bool open)
{
    if (port->host_open == open)
        return;
    port->host_open = open;
    tell(port, open ? "open" : "close", "host");
    if (port->guest.ready)
        send(port, PORT_SEND_OPEN);
}

void port_init(struct port *port)
{
    port->state = PORT_IDLE;
    port->due_ns = PORT_NEVER;
    port->host_open = port->mode == PORT_AGENT;
}

void port_done(struct port *port)
{
    chains_forget_rest(port);
}

static void offer(struct port *port)
{
    port->due_ns = PORT_NEVER;
    port->state = PORT_OFFERED;
    set_host_open(port, true);
}

/* The peer for which the port was removed may have gone with the process before. */
static void offer_if_any(struct port *port)
{
    if (port_end_has_peer(port->end)) {
        offer(port);
        return;
    }
    port->due_ns = PORT_NEVER;
    port->state = PORT_IDLE;
    set_host_open(port, false);
}

static void let_peer_go(struct port *port)
{
    chains_forget_rest(port);
    port->output.broken = false;
    port->due_ns = PORT_NEVER;
    port->replug_again = false;
    port->state = PORT_IDLE;
    set_host_open(port, false);
    port_end_next(port->end);
}

static void begin(struct port *port)
{
    port->state = PORT_ON;
    port->due_ns = PORT_NEVER;
    port->replug_again = false;
    port_end_begin(port->end);
}

static void unplug(struct port *port)
{
    port->state = PORT_REMOVED;
    port->due_ns = PORT_NEVER; /* runs from when the driver has been told */
    port->guest = (struct port_guest){.stale = true};
    port->replugs++;
    port->to_send = 0;
    tell(port, "replug", "host");
    send(port, PORT_SEND_REMOVE);
}

/* A peer has come. Returns true if the state is another one now. */
static bool arrive(struct port *port, uint64_t now_ns)
{
    if (!port_end_has_peer(port->end))
        return false;
    if (!port->guest.open || !port->guest.used || port->mode == PORT_LEGACY) {
        port->guest.used = false; /* its output is this peer's */
        offer(port);
        return true;
    }
    port->state = PORT_HELD;
    port->due_ns = port_end_is_lazy(port->end) ? PORT_NEVER : now_ns + HANDSHAKE_NS;
    return true;
}

/* The guest has its used descriptor. Unread bytes would be lost with the port. */
static bool may_unplug(struct port *port, uint64_t now_ns)
{
    port->due_ns = port->read_ns + (port->unread == 0 ? GRACE_NS : UNREAD_NS);
    return now_ns >= port->due_ns;
}

static bool hold(struct port *port, uint64_t now_ns)
{
    bool replugs = port->mode == PORT_REPLUG && !port_end_is_lazy(port->end);
    if (port_end_has_gone(port->end) || (!replugs && now_ns >= port->due_ns)) {
        let_peer_go(port);
        return true;
    }
    if (!replugs || !may_unplug(port, now_ns))
        return false;
    port->replug_again = true;
    unplug(port);
    return true;
}

static bool plug_again(struct port *port, uint64_t now_ns)
{
    if (now_ns < port->due_ns)
        return false;
    port_plug(port);
    offer_if_any(port);
    port->due_ns = port->replug_again ? now_ns + REOPEN_NS : PORT_NEVER;
    return true;
}

static bool await_guest(struct port *port, uint64_t now_ns)
{
    if (port->guest.open) {
        begin(port);
        return true;
    }
    if (port_end_has_gone(port->end) && !port_end_is_permanent(port->end)) {
        let_peer_go(port);
        return true;
    }
    if (now_ns < port->due_ns)
        return false;
    port->replug_again = false;
    unplug(port);
    return true;
}

static bool serve(struct port *port, uint64_t now_ns, bool *ret_more)
{
    bool ended;
    size_t in = chains_fill(port, TURN_BYTES, &ended);
    size_t out = chains_drain(port, TURN_BYTES);
    if (port->output.broken) /* nobody reads it any more */
        chains_drop(port);
    *ret_more |= in >= TURN_BYTES || out >= TURN_BYTES;
    if (!ended)
        return false;
    port->state = PORT_ENDING;
    port->guest.used = true;
    port->unread = port->input.full - port->input.free.count;
    port->read_ns = now_ns;
    port->due_ns = now_ns + LINGER_NS;
    set_host_open(port, false);
    return true;
}

/* The guest can't write any more, but may have written. */
static bool end(struct port *port, uint64_t now_ns, bool *ret_more)
{
    size_t out = chains_drain(port, TURN_BYTES);
    if (out > 0)
        port->due_ns = now_ns + LINGER_NS;
    *ret_more |= out >= TURN_BYTES;
    bool has_output = port->output.rest || port->output.chains.first;
    if (!port->output.broken && !port_end_is_closed(port->end) &&
        (has_output || now_ns < port->due_ns))
        return false;
    chains_drop(port);
    let_peer_go(port);
    return true;
}

static bool drain(struct port *port)
{
    if (!port->output.rest && port_end_is_permanent(port->end)) { /* the peer stays */
        offer(port);
        return true;
    }
    if (!chains_drain_rest(port))
        return false;
    let_peer_go(port);
    return true;
}

void port_drain(struct port *port)
{
    if (port->state == PORT_DRAINING)
        drain(port);
}

static bool step(struct port *port, uint64_t now_ns, bool *ret_more)
{
    switch (port->state) {
    case PORT_IDLE:
        return arrive(port, now_ns);
    case PORT_HELD:
        return hold(port, now_ns);
    case PORT_REMOVED:
        return plug_again(port, now_ns);
    case PORT_OFFERED:
        return await_guest(port, now_ns);
    case PORT_ON:
        return serve(port, now_ns, ret_more);
    case PORT_ENDING:
        return end(port, now_ns, ret_more);
    case PORT_DRAINING:
        return drain(port);
    }
    return false;
}

/* Output that belongs to no session: of a life of the port before, or behind a session's end. */
static bool has_stray_output(const struct port *port)
{
    bool ended = port->guest.used && port->state != PORT_ENDING;
    return port->guest.stale || !port->guest.open || ended;
}

static bool turn_agent(struct port *port)
{
    const char *bytes;
    size_t len;
    if (!port->guest.open)
        return false;
    size_t out = chains_drain_to_agent(port, TURN_BYTES);
    while ((len = agent_front_peek(port->agent, &bytes)) > 0) {
        size_t put = chains_put(port, bytes, len);
        if (put == 0)
            break;
        agent_front_sent(port->agent, put);
    }
    return out >= TURN_BYTES;
}

static bool turn_console(struct port *port)
{
    bool ended = false;
    size_t out = chains_drain_console(port, TURN_BYTES);
    size_t in = port->guest.ready && port_end_has_peer(port->end)
                    ? chains_fill(port, TURN_BYTES, &ended)
                    : 0;
    if (port_end_has_peer(port->end) != port->host_open) {
        port->host_open = !port->host_open;
        tell(port, port->host_open ? "open" : "close", "host");
        if (port->host_open)
            port_end_begin(port->end);
    }
    if (ended || port->output.broken || port_end_has_gone(port->end)) {
        port->output.broken = false;
        port->host_open = false;
        tell(port, "close", "host");
        port_end_next(port->end);
    }
    return in >= TURN_BYTES || out >= TURN_BYTES;
}

/* When the guest has read for the last time. */
static void note_reads(struct port *port, uint64_t now_ns)
{
    unsigned unread = port->input.full - port->input.free.count;
    if (port->guest.used && port->unread != unread)
        port->read_ns = now_ns;
    port->unread = unread;
}

bool port_turn(struct port *port, uint64_t now_ns)
{
    bool more = false;
    chains_take(port, true);
    chains_take(port, false);
    if (port->mode == PORT_CONSOLE)
        return turn_console(port);
    if (has_stray_output(port))
        chains_drop(port);
    if (port->mode == PORT_AGENT)
        return turn_agent(port);
    note_reads(port, now_ns);
    for (unsigned i = 0; i <= PORT_DRAINING && step(port, now_ns, &more); i++) {}
    return more;
}

void port_plug(struct port *port)
{
    port->guest.plugged = true;
    send(port, PORT_SEND_ADD);
}

void port_set_ready(struct port *port, bool ready)
{
    if (!port->guest.plugged)
        return;
    port->guest.ready = ready;
    port->to_send &= ~(unsigned)PORT_SEND_ADD;
    if (!ready)
        return;
    if (port->mode == PORT_CONSOLE)
        send(port, PORT_SEND_CONSOLE | PORT_SEND_RESIZE);
    else
        send(port, PORT_SEND_NAME | (port->host_open ? PORT_SEND_OPEN : 0));
}

static void guest_opens(struct port *port)
{
    if (port->guest.stale)
        chains_drop(port);
    port->guest.stale = false;
    port->guest.open = true;
    port->guest.used = false;
    tell(port, "open", "guest");
    if (port->mode == PORT_AGENT)
        agent_front_open(port->agent);
    else if (port->state ==
             PORT_OFFERED) /* now: the guest may close it before the port's next turn */
        begin(port);
}

/* The driver waits until its message was taken, so all that is here is the old session's. */
static void guest_closes(struct port *port)
{
    bool keeps = port->state == PORT_ON || port->state == PORT_ENDING;
    port->guest.open = port->guest.used = false;
    tell(port, "close", "guest");
    if (port->mode == PORT_AGENT) {
        chains_drain_to_agent(port, SIZE_MAX);
        agent_front_close(port->agent);
    } else if (port->mode == PORT_LEGACY && keeps) {
        chains_keep(port, false);
        port->state = PORT_OFFERED;
    } else if (keeps) {
        chains_keep(port, false);
        port->state = PORT_DRAINING;
        port->due_ns = PORT_NEVER;
        set_host_open(port, false);
    } else {
        chains_drop(port);
        if (port->state == PORT_HELD)
            offer(port);
    }
}

bool port_set_open(struct port *port, bool open)
{
    if (!port->guest.plugged || port->guest.open == open || port->mode == PORT_CONSOLE)
        return true;
    chains_take(port, false);
    if (!chains_has_all(port))
        return false;
    if (open)
        guest_opens(port);
    else
        guest_closes(port);
    port->events->wake(port->device, port->id);
    return true;
}

void port_let_go(struct port *port, bool is_input, bool stays)
{
    bool keeps = port->state == PORT_ON || port->state == PORT_ENDING || port->mode == PORT_CONSOLE;
    if (is_input) {
        chains_return(port, true);
        port->input.full = stays ? port->input.full : 0;
    } else if (keeps) {
        chains_keep(port, stays);
    } else if (stays) {
        chains_return(port, false);
    } else {
        chains_drop(port);
    }
}

void port_guest_gone(struct port *port)
{
    if (port->guest.open)
        guest_closes(port);
    if (port->state == PORT_REMOVED || port->state == PORT_HELD)
        offer_if_any(port);
    port->guest = (struct port_guest){0};
    port->to_send = 0;
    port->replug_again = false;
    if (port->state == PORT_OFFERED)
        port->due_ns = PORT_NEVER;
    port->events->wake(port->device, port->id);
}

unsigned port_next_message(const struct port *port)
{
    return port->to_send & -port->to_send;
}

void port_message_sent(struct port *port, unsigned message, uint64_t now_ns)
{
    port->to_send &= ~message;
    if (message == PORT_SEND_REMOVE && port->state == PORT_REMOVED)
        port->due_ns = now_ns + REPLUG_NS;
}

bool port_can_be_handed_over(const struct port *port)
{
    return port->mode != PORT_AGENT && port_end_can_be_handed_over(port->end);
}

void port_keep(const struct port *port, struct port_kept *ret_kept)
{
    const struct port_output *output = &port->output;
    *ret_kept = (struct port_kept){.plugged = port->guest.plugged,
                                   .ready = port->guest.ready,
                                   .open = port->guest.open,
                                   .removed = port->state == PORT_REMOVED,
                                   .host_open = port->host_open,
                                   .handed_over = port->handed_over,
                                   .used = port->guest.used,
                                   .stale = port->guest.stale,
                                   .broken = output->broken,
                                   .replug_again = port->replug_again,
                                   .to_send = (uint8_t)port->to_send,
                                   .state = (uint8_t)port->state,
                                   .full = port->input.full,
                                   .at = (uint32_t)output->at,
                                   .rest_len = (uint32_t)(output->rest_len - output->rest_at)};
}

/* A removed port is nothing to the driver, and one that is open or set up is plugged. */
static bool is_possible(const struct port_kept *kept)
{
    const uint8_t flags = kept->plugged | kept->ready | kept->open | kept->removed |
                          kept->host_open | kept->handed_over | kept->used | kept->stale |
                          kept->broken | kept->replug_again;
    const bool is_there = kept->plugged || (!kept->ready && !kept->open);
    const bool is_gone = kept->removed ? !kept->plugged : !(kept->to_send & PORT_SEND_REMOVE);
    return flags <= 1 && kept->to_send < 2 * PORT_SEND_OPEN && kept->state <= PORT_DRAINING &&
           kept->rest_len <= PORT_REST_MAX && is_there && is_gone &&
           kept->removed == (kept->state == PORT_REMOVED);
}

/* The host's end of the session is gone with the process. A descriptor that the guest has open is told
 * so by PORT_OPEN 0, and gets no other peer. */
bool port_take_kept(struct port *port, const struct port_kept *kept, uint64_t now_ns)
{
    const bool has_sessions = port->mode == PORT_REPLUG || port->mode == PORT_HANDSHAKE;
    if (!is_possible(kept) || (kept->handed_over && port->mode == PORT_AGENT))
        return false;
    port->guest = (struct port_guest){.plugged = kept->plugged,
                                      .ready = kept->ready,
                                      .open = kept->open,
                                      .used = kept->open && has_sessions,
                                      .stale = kept->removed};
    port->to_send = kept->to_send;
    port->input.full = kept->full;
    port->unread = kept->full; /* until the next look */
    port->read_ns = now_ns;
    if (kept->removed) {
        port->state = PORT_REMOVED;
        port->due_ns = kept->to_send & PORT_SEND_REMOVE ? PORT_NEVER : now_ns + REPLUG_NS;
    }
    if (kept->ready && port->mode != PORT_AGENT && port->mode != PORT_CONSOLE)
        port->to_send |= PORT_SEND_OPEN;
    return true;
}

/* Times begin again. */
static uint64_t due_again(const struct port *port, uint64_t now_ns)
{
    switch (port->state) {
    case PORT_REMOVED:
        return port->due_ns;
    case PORT_OFFERED:
        return port->replug_again ? now_ns + REOPEN_NS : PORT_NEVER;
    case PORT_ENDING:
        return now_ns + LINGER_NS;
    case PORT_HELD:
        return port_end_is_lazy(port->end) ? PORT_NEVER : now_ns + HANDSHAKE_NS;
    default:
        return PORT_NEVER;
    }
}

void port_take_session(struct port *port, const struct port_kept *kept, uint8_t *rest,
                       uint64_t now_ns)
{
    port->guest.used = kept->used;
    port->guest.stale = kept->stale;
    port->to_send = kept->to_send;
    port->host_open = kept->host_open;
    port->replug_again = kept->replug_again;
    port->state = (enum port_state)kept->state;
    port->due_ns = due_again(port, now_ns);
    port->output.at = kept->at;
    port->output.broken = kept->broken;
    port->output.rest = rest;
    port->output.rest_len = rest ? kept->rest_len : 0;
}

void port_resumed(struct port *port)
{
    if (port->mode == PORT_AGENT && port->guest.open)
        agent_front_open(port->agent);
    port->events->wake(port->device, port->id);
}
