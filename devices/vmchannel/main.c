// SPDX-License-Identifier: BSD-3-Clause
/* outboard-vmchannel: named ports of a guest. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <outboard/vault.h>

#include "options.h"
#include "port/files.h"
#include "port/hub.h"

/* share/policy/vmchannel.policy */
extern const char policy_vmchannel[];

struct program {
    struct options options; /* first: option_port() and the others take it */
    struct port_hub *hub;
    struct vmchannel_port *ports;
    struct port_end *control;
    int memory_fd; /* -1 without a vault */
    char control_end[4200];
    struct vmchannel *vmchannel;
};

/* A listener and a peer for each port, and two eventfds for each of its two queues. */
static int raise_limit(const struct options *options, struct ob_fault *fault)
{
    return port_files_reserve(2 * (uint64_t)options->num_ports + 4 * (options->max_ports + 1),
                              "ports", fault);
}

static int open_ends(struct program *program, struct ob_fault *fault)
{
    const struct options *options = &program->options;
    int err = 0;
    for (unsigned i = 0; i < options->num_ports && err == 0; i++) {
        const struct port_option *option = &options->ports[i];
        struct vmchannel_port *port = &program->ports[i];
        if (!option->end)
            continue;
        *port = (struct vmchannel_port){.name = option->name, .mode = option->mode};
        err = port_end_open(program->hub, option->name, option->end, &port->end, fault);
        if (err == 0 && option->refuses_others)
            port_end_refuse_others(port->end);
    }
    if (err == 0 && options->control) {
        snprintf(program->control_end, sizeof(program->control_end), "listen:%s", options->control);
        err =
            port_end_open(program->hub, "control", program->control_end, &program->control, fault);
    }
    return err;
}

/* It costs memory while sessions are handed over only. */
static int open_memory(struct program *program, struct ob_fault *fault)
{
    program->memory_fd = memfd_create("outboard-vmchannel", MFD_CLOEXEC);
    return program->memory_fd < 0
               ? ob_fault_set(fault, -errno, "can't make memory for sessions: %s", strerror(errno))
               : 0;
}

static void close_all(void *config)
{
    struct program *program = config;
    port_hub_free(program->hub);
    if (program->memory_fd >= 0)
        close(program->memory_fd);
    program->memory_fd = -1;
    free(program->ports);
    free(program->options.ports);
    program->hub = NULL;
    program->ports = NULL;
    program->options.ports = NULL;
}

static int open_all(void *config, struct ob_fault *fault)
{
    struct program *program = config;
    int err = options_check(&program->options, fault);
    if (err == 0)
        err = raise_limit(&program->options, fault);
    if (err == 0)
        err = port_hub_new(&program->hub);
    if (err == 0) {
        program->ports = calloc(program->options.num_ports, sizeof(*program->ports));
        err = program->ports ? open_ends(program, fault) : -ENOMEM;
    }
    if (err == 0 && ob_vault_role() != OB_VAULT_NONE)
        err = open_memory(program, fault);
    if (err == 0)
        err = port_hub_start(program->hub, fault);
    if (err < 0)
        close_all(config);
    return err;
}

static int create(void *config, struct ob_device **ret_device, struct ob_fault *fault)
{
    struct program *program = config;
    const struct vmchannel_config vmchannel = {
        .ports = program->ports,
        .num_ports = program->options.num_ports,
        .max_ports = (unsigned)program->options.max_ports,
        .ring_size = (uint16_t)program->options.ring_size,
        .hub = program->hub,
        .memory_fd = program->memory_fd,
        .control = program->control,
    };
    return vmchannel_new(&vmchannel, &program->vmchannel, ret_device, fault);
}

static void destroy(void *config)
{
    struct program *program = config;
    vmchannel_free(program->vmchannel);
}

static const struct ob_option option_table[] = {
    {"port", "NAME[,reconnect=MODE],END",
     "a port of the guest and its host end (listen:PATH, pty, ...)", option_port},
    {"console", "END", "port 0, a console of the guest, and its host end", option_console},
    {"max-ports", "N", "ports that the guest's driver makes queues for, 1 to 511 (31)",
     option_max_ports},
    {"ring-size", "N", "buffers of each queue (32)", option_ring_size},
    {"control", "PATH", "a socket that tells events and takes commands", option_control},
    {0},
};

int main(int argc, char **argv)
{
    static const struct ob_program description = {
        .size = sizeof(description),
        .name = "outboard-vmchannel",
        .summary = "Named ports of a guest (virtio console) with sessions that end at both ends.",
        .type = "console",
        .options = option_table,
        .needs_shared_memory = true,
        .is_virtio = true,
        .takes_sockets = true,
        .open = open_all,
        .close = close_all,
        .create = create,
        .destroy = destroy,
        .policy = policy_vmchannel,
    };
    static struct program program = {
        .memory_fd = -1,
        .options = {.max_ports = VMCHANNEL_DEFAULT_PORTS, .ring_size = VMCHANNEL_DEFAULT_RING}};
    return ob_program_main(&description, &program, argc, argv);
}
