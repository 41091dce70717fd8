// SPDX-License-Identifier: BSD-3-Clause
/* outboard-vsock: sockets between a guest and programs of its host, without a network. */
#include <string.h>

#include <outboard/program.h>

#include "options.h"
#include "port/files.h"

/* share/policy/vsock.policy */
extern const char policy_vsock[];

struct program {
    struct options options; /* first: option_guest_cid() and the others take it */
    struct host *host;
    struct vsock *vsock;
    struct lasting *lasting;
};

static int open_host(void *config, struct ob_fault *fault)
{
    struct program *program = config;
    int err = options_check(&program->options, fault);
    if (err == 0)
        err = port_files_reserve(program->options.connections + HOST_FILES, "connections", fault);
    if (err == 0)
        err = host_open(&program->options.host, &program->host, fault);
    if (err < 0)
        return err;
    err = vsock_lasting(program->options.connections, &program->lasting);
    if (err < 0)
        host_close(program->host);
    return err < 0 ? ob_fault_set(fault, err, "no memory for streams that outlive the process: %s",
                                  strerror(-err))
                   : 0;
}

static void close_host(void *config)
{
    struct program *program = config;
    host_close(program->host);
    lasting_free(program->lasting);
}

static int create(void *config, struct ob_device **ret_device, struct ob_fault *fault)
{
    static const struct vsock_ops ops = {.dial = host_dial};
    struct program *program = config;
    const struct vsock_options options = {.guest_cid = program->options.host.guest_cid,
                                          .connections = program->options.connections,
                                          .ops = &ops,
                                          .context = program->host,
                                          .lasting = program->lasting};
    struct ob_device *device = NULL;
    int err = vsock_new(&options, &program->vsock, &device, fault);
    if (err < 0)
        return err;
    err = host_serve(program->host, program->vsock, device, fault);
    if (err < 0) {
        host_stop(program->host);
        ob_device_free(device);
        vsock_free(program->vsock);
        return err;
    }
    *ret_device = device;
    return 0;
}

static void destroy(void *config)
{
    struct program *program = config;
    vsock_free(program->vsock);
    host_stop(program->host);
}

static const struct ob_option known_options[] = {
    {"guest-cid", "N", "the guest's context id, 3 or more", option_guest_cid},
    {"host-socket", "PATH",
     "programs of the host connect here and send \"CONNECT PORT\"; the guest's connections to PORT "
     "go to PATH_PORT",
     option_host_socket},
    {"forward", "PORT=ADDRESS", "the guest's connections to PORT go to tcp:HOST:PORT or unix:PATH",
     option_forward},
    {"only-forwards", NULL, "ports without a --forward are refused", option_only_forwards},
    {"listen", "PORT=ADDRESS",
     "connections to [HOST:]PORT or unix:PATH of the host go to the guest's PORT", option_listen},
    {"guests", "PATH",
     "connect with the device of another guest at PATH_CID_CID: the guest's context id to connect "
     "to, and the other's",
     option_guests},
    {"allow-guest", "CID", "connections to and from this guest; may be repeated",
     option_allow_guest},
    {"connections", "N", "at a time, up to 4096 (1024)", option_connections},
    {0},
};

int main(int argc, char **argv)
{
    static const struct ob_program description = {
        .size = sizeof(description),
        .name = "outboard-vsock",
        .summary =
            "A virtio socket device: a guest and programs of its host connect to each other.",
        .type = "vsock",
        .options = known_options,
        .needs_shared_memory = true,
        .is_virtio = true,
        .takes_sockets = true,
        .open = open_host,
        .close = close_host,
        .create = create,
        .destroy = destroy,
        .policy = policy_vsock,
    };
    static struct program program = {.options = {.connections = VSOCK_CONNECTIONS_DEFAULT}};
    return ob_program_main(&description, &program, argc, argv);
}
