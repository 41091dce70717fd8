// SPDX-License-Identifier: BSD-3-Clause
/*
 * How another process continues, if there is a vault.
 *
 * After a death, no session does: bytes may be on their way between a peer's socket and the guest's
 * buffers, and nobody knows which. The guest is told PORT_OPEN 0, and the peers see the end.
 *
 * An upgrade has the old process rest first. Then no byte is on its way, so sessions are handed over:
 * the peer's socket and the state of the port, committed as one. Bytes of the guest that the peer has
 * not read lie in its socket, in the guest's buffers, which the next process takes again, or in no
 * chain any more. The latter are copied to a memory file. From then on nothing of a session moves in the
 * old process, so what was committed stays true. If the old process has to continue, it forgets the
 * copies.
 *
 * The next process moves no byte before it has committed that the sessions are its own. A session that
 * cannot be handed over ends as after a death.
 */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include <outboard/program.h>
#include <outboard/vault.h>

#include "chains.h"
#include "internal.h"
#include "port/files.h"

/* Numbers of kept descriptors: the memory file, and a peer's for each port. */
#define MEMORY      0u
#define PEER_OF(id) (1u + (id))
_Static_assert(PEER_OF(VMCHANNEL_PORTS_MAX) < OB_VAULT_FDS, "each port may have a peer");

/* Outlives the process: sizes of the console, and a port each. */
struct kept {
    uint16_t columns, rows, num_ports;
    struct port_kept ports[];
};

static size_t kept_len(const struct vmchannel *vmchannel)
{
    return sizeof(struct kept) + vmchannel->config.num_ports * sizeof(struct port_kept);
}

static int save(void *state, void *ret_bytes)
{
    struct vmchannel *vmchannel = state;
    struct kept *kept = ret_bytes;
    *kept = (struct kept){.columns = vmchannel->columns,
                          .rows = vmchannel->rows,
                          .num_ports = (uint16_t)vmchannel->config.num_ports};
    for (unsigned i = 0; i < vmchannel->config.num_ports; i++)
        port_keep(&vmchannel->ports[i], &kept->ports[i]);
    return (int)kept_len(vmchannel);
}

static int check(void *state, const void *bytes, size_t len, struct ob_fault *fault)
{
    struct vmchannel *vmchannel = state;
    const struct kept *kept = bytes;
    const uint64_t now_ns = ob_timer_now_ns();
    bool fits = len == kept_len(vmchannel) && kept->num_ports == vmchannel->config.num_ports;
    for (unsigned i = 0; i < vmchannel->config.num_ports && fits; i++)
        if (vmchannel->ports[i].end)
            fits = port_take_kept(&vmchannel->ports[i], &kept->ports[i], now_ns);
    if (!fits)
        return ob_fault_set(fault, -EINVAL, "vmchannel: got a state of ports that can't be");
    vmchannel->columns = kept->columns;
    vmchannel->rows = kept->rows;
    return 0;
}

static off_t place_of(const struct port *port)
{
    return (off_t)port->id * PORT_REST_MAX;
}

/* The bytes of a session that lie in no chain, or NULL. */
static int read_rest(const struct port *port, const struct port_kept *kept, int memory_fd,
                     uint8_t **ret_rest)
{
    uint8_t *rest = kept->rest_len > 0 ? malloc(kept->rest_len) : NULL;
    if (kept->rest_len > 0 && !rest)
        return -ENOMEM;
    for (size_t at = 0; at < kept->rest_len;) {
        ssize_t got = pread(memory_fd, rest + at, kept->rest_len - at, place_of(port) + (off_t)at);
        if (got <= 0) {
            free(rest);
            return got < 0 ? -errno : -EPROTO;
        }
        at += (size_t)got;
    }
    *ret_rest = rest;
    return 0;
}

static int write_rest(const struct port *port, int memory_fd)
{
    const struct port_output *output = &port->output;
    for (size_t at = output->rest_at; at < output->rest_len;) {
        ssize_t put = pwrite(memory_fd, output->rest + at, output->rest_len - at,
                             place_of(port) + (off_t)(at - output->rest_at));
        if (put <= 0)
            return put < 0 ? -errno : -EIO;
        at += (size_t)put;
    }
    return 0;
}

static bool is_served(const struct port_kept *kept)
{
    return kept->state == PORT_ON || kept->state == PORT_ENDING || kept->state == PORT_DRAINING;
}

/* peer_fd: negative without a peer. */
static int take_session(struct port *port, const struct port_kept *kept, int peer_fd, int memory_fd)
{
    uint8_t *rest = NULL;
    if (peer_fd < 0 && is_served(kept) && port_end_peers_have_fds(port->end))
        return -EINVAL;
    int err = read_rest(port, kept, memory_fd, &rest);
    if (err == 0 && peer_fd >= 0)
        err = port_end_adopt(port->end, peer_fd);
    if (err < 0) {
        free(rest);
        return err;
    }
    port_take_session(port, kept, rest, ob_timer_now_ns());
    return 0;
}

/* A descriptor that nobody needs. It counts until the commit, so it is closed behind that. */
static void leave(struct succession *succession, int fd)
{
    if (fd >= 0)
        succession->left[succession->num_left++] = fd;
}

static void resume_port(struct vmchannel *vmchannel, unsigned id, int memory_fd)
{
    struct port *port = &vmchannel->ports[id];
    const struct port_kept *kept = &vmchannel->succession.kept->ports[id];
    int fd = ob_vault_kept_fd(vmchannel->device, PEER_OF(id));
    int err = port->end && kept->handed_over ? take_session(port, kept, fd, memory_fd) : -ENOENT;
    if (err < 0)
        leave(&vmchannel->succession, fd);
    if (err < 0 && err != -ENOENT)
        ob_device_warn(vmchannel->device, "port %s: its session was handed over, and is refused",
                       port->name);
    ob_vault_keep_fd(vmchannel->device, PEER_OF(id), -1);
    if (port->end)
        port_resumed(port);
}

static void serve_ends(struct vmchannel *vmchannel)
{
    vmchannel->succession.waits = false;
    if (vmchannel->succession.serve(vmchannel) < 0)
        ob_device_warn(vmchannel->device,
                       "a port has no room for its peers; its end is not served");
}

static void resumed(void *state)
{
    struct vmchannel *vmchannel = state;
    int memory_fd = ob_vault_kept_fd(vmchannel->device, MEMORY);
    serve_ends(vmchannel);
    for (unsigned i = 0; i < vmchannel->config.num_ports; i++)
        resume_port(vmchannel, i, memory_fd);
    leave(&vmchannel->succession, memory_fd);
    ob_vault_keep_fd(vmchannel->device, MEMORY, -1);
    vmchannel->succession.begins = true;
}

int succession_start(struct vmchannel *vmchannel)
{
    struct succession *succession = &vmchannel->succession;
    succession->waits = ob_vault_role() == OB_VAULT_SUCCESSOR;
    if (ob_vault_role() == OB_VAULT_NONE)
        return vmchannel->succession.serve(vmchannel);
    succession->kept = malloc(kept_len(vmchannel));
    succession->left = calloc(vmchannel->config.num_ports + 1, sizeof(*succession->left));
    if (!succession->kept || !succession->left)
        return -ENOMEM;
    const struct ob_vault_state state = {.size = sizeof(state),
                                         .bytes = succession->kept,
                                         .len = kept_len(vmchannel),
                                         .version = 2,
                                         .check = check,
                                         .resumed = resumed,
                                         .save = save};
    int err = ob_vault_keep(vmchannel->device, &state);
    return err < 0 || succession->waits ? err : vmchannel->succession.serve(vmchannel);
}

void succession_done(struct vmchannel *vmchannel)
{
    struct succession *succession = &vmchannel->succession;
    while (succession->num_left > 0)
        close(succession->left[--succession->num_left]);
    free(succession->left);
    free(succession->kept);
}

static bool hand_over(const struct vmchannel *vmchannel, const struct port *port)
{
    if (!port->end || !port_can_be_handed_over(port) ||
        write_rest(port, vmchannel->config.memory_fd) < 0)
        return false;
    return ob_vault_keep_fd(vmchannel->device, PEER_OF(port->id), port_end_fd(port->end)) == 0;
}

int succession_hand_over(void *state, struct ob_fault *fault)
{
    struct vmchannel *vmchannel = state;
    struct succession *succession = &vmchannel->succession;
    if (!succession->kept || succession->handed_over || !succession_settle(vmchannel))
        return 1;
    ob_vault_keep_fd(vmchannel->device, MEMORY, vmchannel->config.memory_fd);
    for (unsigned i = 0; i < vmchannel->config.num_ports; i++)
        vmchannel->ports[i].handed_over = hand_over(vmchannel, &vmchannel->ports[i]);
    succession->handed_over = true;
    return 1;
}

void succession_take_back(struct vmchannel *vmchannel)
{
    if (!vmchannel->succession.handed_over)
        return;
    for (unsigned i = 0; i < vmchannel->config.num_ports; i++) {
        vmchannel->ports[i].handed_over = false;
        ob_vault_keep_fd(vmchannel->device, PEER_OF(i), -1);
    }
    ob_vault_keep_fd(vmchannel->device, MEMORY, -1);
    vmchannel->succession.handed_over = false;
    vmchannel->succession.begins = true;
}

bool succession_is_settled(const struct vmchannel *vmchannel)
{
    return !vmchannel->succession.handed_over && !vmchannel->succession.begins;
}

bool succession_settle(struct vmchannel *vmchannel)
{
    struct succession *succession = &vmchannel->succession;
    if (succession->handed_over)
        return false;
    if (succession->waits)
        serve_ends(vmchannel);
    if (!succession->begins)
        return true;
    if (ob_vault_commit(vmchannel->device) < 0)
        return false;
    while (succession->num_left > 0)
        port_files_close(succession->left[--succession->num_left]);
    succession->begins = false;
    return true;
}
