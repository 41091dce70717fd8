// SPDX-License-Identifier: BSD-3-Clause
#include "proxy/options.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/number.h"
#include "proxy/service.h"

#define WINDOW_MAX    (64u << 20)
#define SECONDS_MAX   (365u * 24 * 3600)
#define FORWARDS_HELP "[ADDRESS:]PORT"

/* The end of -L and -R: a name, or a destination. */
static int check_service(const char *service, struct ob_fault *fault)
{
    struct address address;
    struct ob_fault cause = {0};
    if (service[0] == '@')
        return ob_fault_set(fault, -EINVAL,
                            "got '%.150s', expected a service's name; names with @ are reserved",
                            service);
    if (!strchr(service, ':'))
        return 0;
    if (address_parse_target(service, &address, &cause) < 0 || address.kind != ADDRESS_TCP)
        return ob_fault_set(fault, -EINVAL, "got '%.150s', expected a service: %.200s", service,
                            cause.code ? cause.text : "give a NAME, or tcp:HOST:PORT");
    return 0;
}

static int append_forward(struct forwards *forwards, const struct forward *forward,
                          struct ob_fault *fault)
{
    struct forward *grown = reallocarray(forwards->forward, forwards->count + 1, sizeof(*forward));
    if (!grown)
        return ob_fault_set(fault, -ENOMEM, "no memory for a forward");
    forwards->forward = grown;
    forwards->forward[forwards->count++] = *forward;
    return 0;
}

static int add_forward(struct forwards *forwards, const char *text, bool dynamic,
                       struct ob_fault *fault)
{
    struct forward forward;
    int err = forward_parse(text, &forward, fault);
    if (err < 0)
        return err;
    if (dynamic != !forward.service[0])
        return ob_fault_set(fault, -EINVAL,
                            "got '%.150s', expected an address %s the name of a service", text,
                            dynamic ? "without" : "and");
    err = forward.service[0] ? check_service(forward.service, fault) : 0;
    return err < 0 ? err : append_forward(forwards, &forward, fault);
}

static int apply_local(struct proxy_options *options, const char *value, struct ob_fault *fault)
{
    return add_forward(&options->local, value, false, fault);
}

static int apply_dynamic(struct proxy_options *options, const char *value, struct ob_fault *fault)
{
    return add_forward(&options->local, value, true, fault);
}

static int apply_remote(struct proxy_options *options, const char *value, struct ob_fault *fault)
{
    return add_forward(&options->remote, value, false, fault);
}

static int apply_remote_dynamic(struct proxy_options *options, const char *value,
                                struct ob_fault *fault)
{
    return add_forward(&options->remote, value, true, fault);
}

static int apply_channel(struct proxy_options *options, const char *value, struct ob_fault *fault)
{
    return channel_spec_parse(value, &options->channel, fault);
}

static int apply_service(struct proxy_options *options, const char *value, struct ob_fault *fault)
{
    struct services *services = &options->services;
    struct service service;
    int err = service_parse(value, &service, fault);
    if (err < 0)
        return err;
    struct service *grown = reallocarray(services->service, services->count + 1, sizeof(service));
    if (!grown)
        return ob_fault_set(fault, -ENOMEM, "no memory for a service");
    services->service = grown;
    services->service[services->count++] = service;
    return 0;
}

static int apply_allow_connect(struct proxy_options *options, const char *value,
                               struct ob_fault *fault)
{
    return rules_add(&options->connect, true, value, fault);
}

static int apply_deny_connect(struct proxy_options *options, const char *value,
                              struct ob_fault *fault)
{
    return rules_add(&options->connect, false, value, fault);
}

static int apply_allow_listen(struct proxy_options *options, const char *value,
                              struct ob_fault *fault)
{
    return rules_add(&options->listen, true, value, fault);
}

static int apply_allow_run(struct proxy_options *options, const char *value, struct ob_fault *fault)
{
    options->allow_run = true;
    return 0;
}

static int apply_allow_agent(struct proxy_options *options, const char *value,
                             struct ob_fault *fault)
{
    options->allow_agent = true;
    return 0;
}

static int apply_agent_allow(struct proxy_options *options, const char *value,
                             struct ob_fault *fault)
{
    options->agent.allow = value;
    return apply_allow_agent(options, value, fault);
}

static int apply_agent_block(struct proxy_options *options, const char *value,
                             struct ob_fault *fault)
{
    options->agent.block = value;
    return 0;
}

static int apply_agent_hook(struct proxy_options *options, const char *value,
                            struct ob_fault *fault)
{
    options->agent.freeze_hook = value;
    return 0;
}

static int apply_agent_read_only(struct proxy_options *options, const char *value,
                                 struct ob_fault *fault)
{
    options->agent.read_only = true;
    return apply_allow_agent(options, value, fault);
}

/* Clients of qemu-ga find the agent of the other end there. */
static int apply_qga_socket(struct proxy_options *options, const char *value,
                            struct ob_fault *fault)
{
    struct forward forward = {.service = AGENT_SERVICE};
    int err = address_parse_path(value, &forward.listen, fault);
    return err < 0 ? err : append_forward(&options->local, &forward, fault);
}

static int apply_stock_qga_socket(struct proxy_options *options, const char *value,
                                  struct ob_fault *fault)
{
    struct address address;
    options->stock_qga = value;
    return address_parse_path(value, &address, fault);
}

static int apply_request_allow(struct proxy_options *options, const char *value,
                               struct ob_fault *fault)
{
    options->requests.allow = value;
    return agent_policy_check_list(value, fault) ? 0 : -EINVAL;
}

static int apply_request_block(struct proxy_options *options, const char *value,
                               struct ob_fault *fault)
{
    options->requests.block = value;
    return agent_policy_check_list(value, fault) ? 0 : -EINVAL;
}

static int apply_request_read_only(struct proxy_options *options, const char *value,
                                   struct ob_fault *fault)
{
    options->requests.read_only = true;
    return 0;
}

static int apply_request_policy(struct proxy_options *options, const char *value,
                                struct ob_fault *fault)
{
    return request_policy_read(value, options, fault);
}

/* The other end's agent may then call this one: host_service.c. */
static int apply_events(struct proxy_options *options, const char *value, struct ob_fault *fault)
{
    struct address address;
    options->events = value;
    return strcmp(value, "-") == 0 ? 0 : address_parse_path(value, &address, fault);
}

static int apply_trust_peer(struct proxy_options *options, const char *value,
                            struct ob_fault *fault)
{
    options->trust_peer = true;
    return 0;
}

static int apply_key_file(struct proxy_options *options, const char *value, struct ob_fault *fault)
{
    int len = key_file_read(value, options->key, fault);
    if (len < 0)
        return len;
    options->key_len = (size_t)len;
    return 0;
}

static int apply_control(struct proxy_options *options, const char *value, struct ob_fault *fault)
{
    struct address address;
    options->control = value;
    return address_parse_path(value, &address, fault);
}

static int apply_number(const char *value, uint32_t min, uint32_t max, uint32_t *ret_number,
                        struct ob_fault *fault)
{
    uint32_t number;
    if (address_number(value, max, &number) < 0 || number < min)
        return ob_fault_set(fault, -EINVAL, "got '%.100s', expected a number from %u to %u", value,
                            min, max);
    *ret_number = number;
    return 0;
}

static int apply_window(struct proxy_options *options, const char *value, struct ob_fault *fault)
{
    return apply_number(value, 1, WINDOW_MAX, &options->window, fault);
}

static int apply_keepalive(struct proxy_options *options, const char *value, struct ob_fault *fault)
{
    return apply_number(value, 1, SECONDS_MAX, &options->keepalive_s, fault);
}

static int apply_idle_timeout(struct proxy_options *options, const char *value,
                              struct ob_fault *fault)
{
    return apply_number(value, 1, SECONDS_MAX, &options->idle_timeout_s, fault);
}

static int apply_socket_mode(struct proxy_options *options, const char *value,
                             struct ob_fault *fault)
{
    uint64_t number;
    if (number_parse(value, 8, 0777, &number) < 0)
        return ob_fault_set(fault, -EINVAL, "got '%.150s', expected a mode in octal from 0 to 777",
                            value);
    options->socket_mode = (mode_t)number;
    return 0;
}

static int apply_cell(struct proxy_options *options, const char *value, struct ob_fault *fault)
{
    return confine_parse_how(value, &options->cell.how, fault);
}

static int apply_cell_policy(struct proxy_options *options, const char *value,
                             struct ob_fault *fault)
{
    options->cell.policy = value;
    return 0;
}

static int apply_user(struct proxy_options *options, const char *value, struct ob_fault *fault)
{
    return confine_parse_user(value, &options->cell.user, fault);
}

static int apply_print_cell(struct proxy_options *options, const char *value,
                            struct ob_fault *fault)
{
    options->cell.print = true;
    return 0;
}

static int apply_verbose(struct proxy_options *options, const char *value, struct ob_fault *fault)
{
    options->verbose = true;
    return 0;
}

static const struct option_row {
    char letter; /* 0: long only */
    const char *name;
    const char *metavar; /* NULL: takes no value */
    const char *help;
    int (*apply)(struct proxy_options *options, const char *value, struct ob_fault *fault);
} rows[] = {
    {'c', "channel", "CHANNEL", "channel to the other end", apply_channel},
    {'L', "local", FORWARDS_HELP ":SERVICE", "listen here, for a service of the other end",
     apply_local},
    {'D', "dynamic", FORWARDS_HELP, "listen here for SOCKS5, connect from the other end",
     apply_dynamic},
    {'R', "remote", FORWARDS_HELP ":SERVICE", "listen at the other end, for a service of ours",
     apply_remote},
    {0, "remote-dynamic", FORWARDS_HELP, "listen at the other end for SOCKS5, connect from here",
     apply_remote_dynamic},
    {'s', "service", "NAME=TARGET", "let the other end open this by name", apply_service},
    {0, "allow-connect", "HOST:PORT", "let the other end connect from here to this",
     apply_allow_connect},
    {0, "deny-connect", "HOST:PORT", "an exception from the --allow-connect that follow",
     apply_deny_connect},
    {0, "allow-listen", "ADDRESS:PORT", "let the other end listen at this address of ours",
     apply_allow_listen},
    {0, "allow-run", NULL, "let the other end run commands here", apply_allow_run},
    {0, "allow-agent", NULL, "let the other end use the agent here", apply_allow_agent},
    {0, "agent-allow", "COMMAND,...", "--allow-agent, with these commands only", apply_agent_allow},
    {0, "agent-block", "COMMAND,...", "the agent without these commands", apply_agent_block},
    {0, "agent-read-only", NULL, "--allow-agent, without commands that change this machine",
     apply_agent_read_only},
    {0, "agent-freeze-hook", "PATH", "run it with `freeze` and `thaw`", apply_agent_hook},
    {0, "qga-socket", "PATH", "listen there for clients of qemu-ga: the other end's agent",
     apply_qga_socket},
    {0, "stock-qga-socket", "PATH", "listen there for clients of qemu-ga: the service qga",
     apply_stock_qga_socket},
    {0, "request-allow", "COMMAND,...", "clients here may ask the other end's agent for these only",
     apply_request_allow},
    {0, "request-block", "COMMAND,...", "they may not ask for these", apply_request_block},
    {0, "request-read-only", NULL, "nor for what changes the other machine",
     apply_request_read_only},
    {0, "request-policy", "FILE", "read such rules from a file", apply_request_policy},
    {0, "events", "PATH", "listen there for readers of the other end's events; -: print them",
     apply_events},
    {0, "trust-peer", NULL, "let the other end do all of that: for guests, which trust their host",
     apply_trust_peer},
    {'k', "key-file", "PATH", "talk only to an end with the same key", apply_key_file},
    {0, "control", "PATH", "listen there for `outboard proxy run`, `ping` and `status`",
     apply_control},
    {0, "window", "BYTES", "that a stream may have under way (262144)", apply_window},
    {0, "keepalive", "SECONDS", "ask for a sign of life after this much silence", apply_keepalive},
    {0, "idle-timeout", "SECONDS", "end the session after this much silence", apply_idle_timeout},
    {0, "socket-mode", "MODE", "permissions of the paths that are listened at (600)",
     apply_socket_mode},
    {0, "cell", "HOW", "none; default: the parts that the kernel allows; required: all",
     apply_cell},
    {0, "cell-policy", "FILE", "system calls that the cell allows besides", apply_cell_policy},
    {0, "user", "UID", "the user that root becomes in the cell (default: drawn)", apply_user},
    {0, "print-cell", NULL, "enter the cell, print its parts, and end", apply_print_cell},
    {'v', "verbose", NULL, "log every stream", apply_verbose},
};

#define ROW_COUNT ((int)(sizeof(rows) / sizeof(rows[0])))
#define FIRST_ROW 256 /* getopt's value of rows[0]; letters are below */

static void fill_tables(struct option *ret_long, char *ret_short)
{
    *ret_short++ = '+'; /* the first word that is no option ends them */
    *ret_short++ = ':';
    for (int i = 0; i < ROW_COUNT; i++) {
        *ret_long++ = (struct option){
            .name = rows[i].name, .has_arg = rows[i].metavar ? 1 : 0, .val = FIRST_ROW + i};
        if (!rows[i].letter)
            continue;
        *ret_short++ = rows[i].letter;
        if (rows[i].metavar)
            *ret_short++ = ':';
    }
    *ret_long++ = (struct option){.name = "help", .val = 'h'};
    *ret_long++ = (struct option){.name = "version", .val = 'V'};
    *ret_long = (struct option){0};
    memcpy(ret_short, "hV", sizeof("hV"));
}

static const struct option_row *find_row(int value)
{
    for (int i = 0; i < ROW_COUNT; i++) {
        if (value == FIRST_ROW + i || value == rows[i].letter)
            return &rows[i];
    }
    return NULL;
}

/* The word at which getopt stopped. */
static int refuse_word(char **argv, int value, struct ob_fault *fault)
{
    const struct option_row *row = value == '?' ? find_row(optopt) : NULL;
    const char *why = value == ':' ? "which needs a value"
                      : row        ? "which takes no value"
                                   : "expected an option";
    return ob_fault_set(fault, -EINVAL, "got '%.150s', %s; --help lists the options",
                        argv[optind - 1], why);
}

/* Without any option this is the end in a guest that nobody has configured: it trusts its host,
 * which can do with it as it likes anyway. */
int proxy_options_parse(int argc, char **argv, struct proxy_options *ret_options,
                        struct ob_fault *fault)
{
    struct option table[ROW_COUNT + 3];
    char letters[2 * ROW_COUNT + 5];
    *ret_options = (struct proxy_options){.channel = {.kind = CHANNEL_VIRTIO,
                                                      .framing = OB_CHANNEL_LINE,
                                                      .path = CHANNEL_DEFAULT_PORT,
                                                      .text = "virtio:" CHANNEL_DEFAULT_PORT},
                                          .cell.how = CONFINE_DEFAULT,
                                          .socket_mode = 0600,
                                          .trust_peer = argc == 1};
    boot_id_read(ret_options->boot_id);
    fill_tables(table, letters);
    opterr = 0;
    optind = 0; /* also resets the state of an earlier run */
    for (;;) {
        int value = getopt_long(argc, argv, letters, table, NULL);
        if (value < 0)
            break;
        if (value == 'h')
            return PROXY_HELP;
        if (value == 'V')
            return PROXY_VERSION;
        if (value == '?' || value == ':')
            return refuse_word(argv, value, fault);
        const struct option_row *row = find_row(value);
        struct ob_fault cause = {0};
        int err = row->apply(ret_options, optarg, &cause);
        if (err < 0)
            return ob_fault_set(fault, err, "--%s: %.240s", row->name, cause.text);
    }
    if (optind < argc)
        return ob_fault_set(fault, -EINVAL,
                            "got '%.150s', expected an option or one of the commands run, connect, "
                            "ping and status; --help lists them",
                            argv[optind]);
    return ret_options->cell.print ? PROXY_CELL : PROXY_RUN;
}

void proxy_options_done(struct proxy_options *options)
{
    free(options->local.forward);
    free(options->remote.forward);
    free(options->services.service);
    free(options->request_lists[0]);
    free(options->request_lists[1]);
    rules_done(&options->connect);
    rules_done(&options->listen);
    explicit_bzero(options->key, sizeof(options->key));
}

void proxy_options_help(void)
{
    char left[64];
    for (int i = 0; i < ROW_COUNT; i++) {
        const struct option_row *row = &rows[i];
        char letter[5] = "    ";
        if (row->letter)
            snprintf(letter, sizeof(letter), "-%c, ", row->letter);
        snprintf(left, sizeof(left), "%s--%s%s%s", letter, row->name, row->metavar ? "=" : "",
                 row->metavar ? row->metavar : "");
        printf("  %-39s %s\n", left, row->help);
    }
    puts(
        "  -h, --help                              print this text\n"
        "  -V, --version                           print the version\n"
        "\n"
        "CHANNEL is virtio:NAME (default: virtio:" CHANNEL_DEFAULT_PORT "), serial:PATH[:SPEED],\n"
        "unix:PATH, unix-listen:PATH, tcp:HOST:PORT, tcp-listen:[ADDRESS:]PORT, vsock:CID:PORT,\n"
        "vsock-listen:PORT, stdio or fd:N. Put ,line behind a socket by which a VMM keeps a port.\n"
        "TARGET is tcp:HOST:PORT, unix:PATH, vsock:CID:PORT, exec:COMMAND or pty:COMMAND.\n"
        "SERVICE is a NAME, or tcp:HOST:PORT where the other end allows that.");
}
