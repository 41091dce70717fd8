// SPDX-License-Identifier: BSD-3-Clause
#include "options.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define AGENT_NAME "org.qemu.guest_agent.0"

/* Room for the console and the ports of all options. 0 or -ENOMEM. */
static int make_room(struct options *options)
{
    if (options->ports)
        return 0;
    options->ports = calloc(VMCHANNEL_PORTS_MAX, sizeof(*options->ports));
    options->num_ports = 1;
    return options->ports ? 0 : -ENOMEM;
}

/* The name becomes a link in the guest's /dev/virtio-ports. */
static int take_name(struct port_option *port, const char *name, size_t len, struct ob_fault *fault)
{
    for (size_t i = 0; i < len; i++)
        if (name[i] <= ' ' || name[i] > '~' || name[i] == '/')
            return ob_fault_set(fault, -EINVAL,
                                "port: got the name '%.*s', expected printable ASCII without "
                                "spaces and '/'",
                                (int)(len < 60 ? len : 60), name);
    if (len == 0 || len > VMCHANNEL_NAME_MAX)
        return ob_fault_set(fault, -EINVAL, "port: got a name of %zu bytes, expected 1 to %u", len,
                            VMCHANNEL_NAME_MAX);
    memcpy(port->name, name, len);
    port->name[len] = '\0';
    return 0;
}

static bool is(const char *text, size_t len, const char *word)
{
    return len == strlen(word) && memcmp(text, word, len) == 0;
}

static int take_property(struct port_option *port, const char *text, size_t len,
                         struct ob_fault *fault)
{
    static const struct {
        const char *text;
        enum port_mode mode;
    } modes[] = {
        {"reconnect=replug", PORT_REPLUG},
        {"reconnect=handshake", PORT_HANDSHAKE},
        {"reconnect=legacy", PORT_LEGACY},
        {"reconnect=agent", PORT_AGENT},
    };
    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++)
        if (is(text, len, modes[i].text)) {
            port->mode = modes[i].mode;
            port->has_mode = true;
            return 0;
        }
    if (is(text, len, "busy=hold") || is(text, len, "busy=refuse")) {
        port->refuses_others = is(text, len, "busy=refuse");
        return 0;
    }
    return ob_fault_set(fault, -EINVAL,
                        "port '%.60s': got '%.*s', expected reconnect=replug, agent, handshake or "
                        "legacy, busy=hold or refuse, or a host end such as listen:PATH",
                        port->name, (int)(len < 60 ? len : 60), text);
}

/* NAME[,PROPERTY...],END */
static int take_port(struct port_option *port, const char *value, struct ob_fault *fault)
{
    size_t len = strcspn(value, ",");
    int err = take_name(port, value, len, fault);
    for (const char *at = value + len; err == 0 && !port->end; at += len) {
        if (*at != ',')
            return ob_fault_set(fault, -EINVAL,
                                "port '%.60s': no host end, expected NAME,listen:PATH or another "
                                "one",
                                port->name);
        at++;
        len = strcspn(at, ",");
        if (port_end_is_description(at))
            port->end = at;
        else
            err = take_property(port, at, len, fault);
    }
    return err;
}

static const struct port_option *find(const struct options *options, const char *name)
{
    for (unsigned i = 1; i < options->num_ports; i++)
        if (strcmp(options->ports[i].name, name) == 0)
            return &options->ports[i];
    return NULL;
}

int option_port(void *config, const char *value, struct ob_fault *fault)
{
    struct options *options = config;
    struct port_option port = {.mode = PORT_REPLUG};
    int err = make_room(options);
    if (err == 0)
        err = take_port(&port, value, fault);
    if (err < 0)
        return err;
    if (find(options, port.name))
        return ob_fault_set(fault, -EINVAL, "port '%.100s' is there twice; give each its own name",
                            port.name);
    if (options->num_ports == VMCHANNEL_PORTS_MAX)
        return ob_fault_set(fault, -EINVAL, "got more than %u ports", VMCHANNEL_PORTS_MAX - 1);
    bool listens = strncmp(port.end, "listen:", strlen("listen:")) == 0;
    if (!port.has_mode && listens && strcmp(port.name, AGENT_NAME) == 0)
        port.mode = PORT_AGENT;
    if (port.mode == PORT_AGENT && !listens)
        return ob_fault_set(fault, -EINVAL,
                            "port '%.60s': got reconnect=agent and %.60s, expected listen:PATH",
                            port.name, port.end);
    options->ports[options->num_ports++] = port;
    return 0;
}

int option_console(void *config, const char *value, struct ob_fault *fault)
{
    struct options *options = config;
    int err = make_room(options);
    if (err < 0)
        return err;
    if (!port_end_is_description(value))
        return ob_fault_set(fault, -EINVAL,
                            "console: got '%.80s', expected a host end such as pty or listen:PATH",
                            value);
    options->ports[0] = (struct port_option){.name = "console", .mode = PORT_CONSOLE, .end = value};
    return 0;
}

int option_max_ports(void *config, const char *value, struct ob_fault *fault)
{
    struct options *options = config;
    return ob_option_number(value, 1, VMCHANNEL_PORTS_MAX, &options->max_ports, fault);
}

int option_ring_size(void *config, const char *value, struct ob_fault *fault)
{
    struct options *options = config;
    int err = ob_option_number(value, 2, VMCHANNEL_RING_MAX, &options->ring_size, fault);
    if (err == 0 && (options->ring_size & (options->ring_size - 1)))
        return ob_fault_set(fault, -EINVAL, "ring-size: got %.20s, expected a power of two", value);
    return err;
}

int option_control(void *config, const char *value, struct ob_fault *fault)
{
    struct options *options = config;
    options->control = value;
    return 0;
}

int options_check(struct options *options, struct ob_fault *fault)
{
    bool has_console = options->ports && options->ports[0].end;
    if (!options->ports || (options->num_ports == 1 && !has_console))
        return ob_fault_set(fault, -EINVAL,
                            "no port: give --port=NAME,listen:PATH or --console=pty");
    if (options->num_ports > options->max_ports)
        return ob_fault_set(fault, -EINVAL,
                            "got %u ports with id 0, the console's, expected at most %u; give "
                            "--max-ports=%u",
                            options->num_ports, (unsigned)options->max_ports, options->num_ports);
    return 0;
}
