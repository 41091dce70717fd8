// SPDX-License-Identifier: BSD-3-Clause
#include "options.h"

#include <errno.h>
#include <string.h>

#include <outboard/program.h>

static int parse_cid(const char *value, uint32_t *ret_cid, struct ob_fault *fault)
{
    uint64_t number = 0;
    int err = ob_option_number(value, VSOCK_CID_GUEST_MIN, VSOCK_CID_GUEST_MAX, &number, fault);
    if (err == 0)
        *ret_cid = (uint32_t)number;
    return err;
}

int option_guest_cid(void *config, const char *value, struct ob_fault *fault)
{
    struct options *options = config;
    return parse_cid(value, &options->host.guest_cid, fault);
}

int option_connections(void *config, const char *value, struct ob_fault *fault)
{
    struct options *options = config;
    uint64_t number = 0;
    int err = ob_option_number(value, 1, VSOCK_CONNECTIONS_MAX, &number, fault);
    if (err == 0)
        options->connections = (uint32_t)number;
    return err;
}

/* The beginning of paths. */
static int parse_base(const char *value, const char *beside, const char **ret_path,
                      struct ob_fault *fault)
{
    struct address address;
    if (value[0] == '@')
        return ob_fault_set(fault, -EINVAL, "got '%.80s', expected a path: %s", value, beside);
    int err = address_parse_path(value, &address, fault);
    if (err == 0)
        *ret_path = value;
    return err;
}

int option_host_socket(void *config, const char *value, struct ob_fault *fault)
{
    struct options *options = config;
    return parse_base(value, "PATH_PORT is beside it for each port", &options->host.path, fault);
}

int option_guests(void *config, const char *value, struct ob_fault *fault)
{
    struct options *options = config;
    return parse_base(value, "PATH_CID_CID is beside it for each guest", &options->host.guests,
                      fault);
}

int option_allow_guest(void *config, const char *value, struct ob_fault *fault)
{
    struct host_options *options = &((struct options *)config)->host;
    uint32_t cid = 0;
    if (options->num_allowed == HOST_GUESTS)
        return ob_fault_set(fault, -E2BIG, "got more than %u guests", HOST_GUESTS);
    int err = parse_cid(value, &cid, fault);
    for (unsigned i = 0; i < options->num_allowed && err == 0; i++)
        if (options->allowed[i] == cid)
            err = ob_fault_set(fault, -EINVAL, "got guest %u twice, expected it once", cid);
    if (err == 0)
        options->allowed[options->num_allowed++] = cid;
    return err;
}

/* The number before '=', and the text behind it. */
static int parse_port(const char *value, uint32_t *ret_port, const char **ret_rest,
                      struct ob_fault *fault)
{
    char text[16];
    uint64_t number = 0;
    const char *equals = strchr(value, '=');
    size_t len = equals ? (size_t)(equals - value) : sizeof(text);
    if (len == 0 || len >= sizeof(text))
        return ob_fault_set(fault, -EINVAL, "got '%.80s', expected PORT=ADDRESS", value);
    memcpy(text, value, len);
    text[len] = '\0';
    int err = ob_option_number(text, 0, UINT32_MAX - 1, &number, fault);
    if (err < 0)
        return err;
    *ret_port = (uint32_t)number;
    *ret_rest = equals + 1;
    return 0;
}

int option_forward(void *config, const char *value, struct ob_fault *fault)
{
    struct host_options *options = &((struct options *)config)->host;
    struct host_forward forward;
    const char *rest = NULL;
    if (options->num_forwards == HOST_FORWARDS)
        return ob_fault_set(fault, -E2BIG, "got more than %u forwards", HOST_FORWARDS);
    int err = parse_port(value, &forward.port, &rest, fault);
    if (err == 0)
        err = address_parse_target(rest, &forward.address, fault);
    for (unsigned i = 0; i < options->num_forwards && err == 0; i++)
        if (options->forwards[i].port == forward.port)
            err = ob_fault_set(fault, -EINVAL, "got port %u twice, expected it once", forward.port);
    if (err == 0)
        options->forwards[options->num_forwards++] = forward;
    return err;
}

int option_only_forwards(void *config, const char *value, struct ob_fault *fault)
{
    struct options *options = config;
    options->host.only_forwards = true;
    return 0;
}

int option_listen(void *config, const char *value, struct ob_fault *fault)
{
    struct host_options *options = &((struct options *)config)->host;
    struct host_listen listen;
    const char *rest = NULL;
    if (options->num_listens == HOST_FORWARDS)
        return ob_fault_set(fault, -E2BIG, "got more than %u listeners", HOST_FORWARDS);
    int err = parse_port(value, &listen.guest_port, &rest, fault);
    if (err == 0)
        err = address_parse_listen(rest, &listen.address, fault);
    if (err == 0)
        options->listens[options->num_listens++] = listen;
    return err;
}

int options_check(const struct options *options, struct ob_fault *fault)
{
    const struct host_options *host = &options->host;
    if (host->guest_cid == 0)
        return ob_fault_set(fault, -EINVAL,
                            "give --guest-cid=N, the guest's context id, %u or more",
                            VSOCK_CID_GUEST_MIN);
    if (!host->path && host->num_forwards == 0 && host->num_listens == 0 && !host->guests)
        return ob_fault_set(fault, -EINVAL,
                            "give --host-socket=PATH, --forward, --listen or --guests: the "
                            "guest's ports lead nowhere");
    if (!host->guests != (host->num_allowed == 0))
        return ob_fault_set(fault, -EINVAL,
                            "give --guests=PATH and --allow-guest=CID together: both are needed "
                            "for connections between guests");
    for (unsigned i = 0; i < host->num_allowed; i++)
        if (host->allowed[i] == host->guest_cid)
            return ob_fault_set(fault, -EINVAL,
                                "--allow-guest: got the guest's own context id %u, expected "
                                "another guest's",
                                host->guest_cid);
    return 0;
}
