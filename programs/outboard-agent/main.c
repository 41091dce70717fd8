// SPDX-License-Identifier: BSD-3-Clause
/*
 * outboard-agent: the agent for a guest, in one static file. It is an end of a channel that offers
 * nothing but the agent; or, with --method=unix-listen, it serves qemu-ga's wire at a socket, as
 * qemu-ga does.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/agent.h"
#include "call_host.h"
#include "command.h"
#include "os/inherited.h"
#include "os/log.h"
#include "os/standard_output.h"
#include "proxy/proxy.h"
#include "proxy/serve.h"
#include "proxy_agent.h"
#include "settings.h"
#include "socket_server.h"

static const struct row {
    char letter;
    const char *name;
    const char *metavar;
    const char *help;
} rows[] = {
    {'c', "channel", "CHANNEL", "channel to the host (virtio:" CHANNEL_DEFAULT_PORT ")"},
    {'k', "key-file", "PATH", "answer only who has the same key"},
    {'S', "control", "PATH", "listen there for programs of this guest that call the host"},
    {'m', "method", "unix-listen", "serve at a socket instead, as qemu-ga does"},
    {'p', "path", "PATH", "of that socket"},
    {'a', "allow-rpcs", "COMMAND,...", "only these commands"},
    {'b', "block-rpcs", "COMMAND,...", "not these commands; `help` lists all"},
    {'r', "read-only", NULL, "no commands that change the guest"},
    {'F', "fsfreeze-hook", "PATH", "run it with `freeze` and `thaw`"},
    {'t', "statedir", "DIR", "where a freeze is noted for a successor (/run)"},
    {'C', "config", "PATH", "read settings from a file; QGA_CONF names one too"},
    {'D', "dump-conf", NULL, "print the settings as such a file"},
    {'x', "cell", "HOW", "none; default: the parts that the kernel allows; required: all"},
    {'P', "print-cell", NULL, "enter the cell, print its parts, and end"},
    {'v', "verbose", NULL, "tell of every stream"},
    {'V', "version", NULL, "print the version"},
    {'h', "help", NULL, "print this text"},
};

#define ROW_COUNT ((int)(sizeof(rows) / sizeof(rows[0])))

struct options {
    struct proxy_options proxy;
    struct settings settings;
    bool prints; /* the settings */
};

static void print_help(void)
{
    char left[64];
    puts("usage: outboard-agent [OPTION...]\n"
         "       outboard-agent event|hello|ping [OPTION...] ...\n\n"
         "Answers requests of the host, by the commands of qemu-ga; or calls the host.\n");
    for (int i = 0; i < ROW_COUNT; i++) {
        snprintf(left, sizeof(left), "-%c, --%s%s%s", rows[i].letter, rows[i].name,
                 rows[i].metavar ? "=" : "", rows[i].metavar ? rows[i].metavar : "");
        printf("  %-32s %s\n", left, rows[i].help);
    }
}

/* 0 or a negative errno with the fault filled. */
static int apply(struct options *options, int letter, struct ob_fault *fault)
{
    struct proxy_options *proxy = &options->proxy;
    struct settings *settings = &options->settings;
    switch (letter) {
    case 'c':
        return channel_spec_parse(optarg, &proxy->channel, fault);
    case 'k': {
        int len = key_file_read(optarg, proxy->key, fault);
        proxy->key_len = len > 0 ? (size_t)len : 0;
        return len < 0 ? len : 0;
    }
    case 'S':
        proxy->control = optarg;
        return 0;
    case 'm':
        settings->method = optarg;
        return 0;
    case 'p':
        settings->path = optarg;
        return 0;
    case 'a':
        settings->allow = optarg;
        return agent_policy_check_list(optarg, fault) ? 0 : -EINVAL;
    case 'b':
        settings->block = optarg;
        return agent_policy_check_list(optarg, fault) ? 0 : -EINVAL;
    case 'r':
        settings->read_only = true;
        return 0;
    case 'F':
        settings->freeze_hook = optarg;
        return 0;
    case 't':
        settings->state_dir = optarg;
        return 0;
    case 'C':
        return settings_read(optarg, settings, fault);
    case 'x':
        return confine_parse_how(optarg, &proxy->cell.how, fault);
    case 'P':
        return proxy->cell.print = true, 0;
    case 'D':
        options->prints = true;
        return 0;
    default:
        settings->verbose = true;
        return 0;
    }
}

/* Returns -1, or the exit status when there is nothing more to do. */
static int parse(int argc, char **argv, struct options *options)
{
    struct option table[ROW_COUNT + 1] = {0};
    char letters[2 * ROW_COUNT + 3] = "+:";
    struct ob_fault fault = {0};
    for (int i = 0; i < ROW_COUNT; i++) {
        const char text[3] = {rows[i].letter, rows[i].metavar ? ':' : '\0', '\0'};
        strcat(letters, text);
        table[i] = (struct option){
            .name = rows[i].name, .has_arg = rows[i].metavar ? 1 : 0, .val = rows[i].letter};
    }
    opterr = 0;
    for (int letter; (letter = getopt_long(argc, argv, letters, table, NULL)) >= 0;) {
        if (letter == 'h' || letter == 'V' || (letter == 'b' && strcmp(optarg, "help") == 0)) {
            if (letter == 'h')
                print_help();
            else if (letter == 'V')
                puts("outboard-agent " OUTBOARD_VERSION);
            else
                agent_print_commands(stdout);
            return EXIT_SUCCESS;
        }
        if (letter == '?' || letter == ':') {
            log_line("got '%s', expected an option; --help lists them", argv[optind - 1]);
            return EXIT_USAGE;
        }
        if (apply(options, letter, &fault) < 0) {
            log_line("%s", fault.text);
            return EXIT_USAGE;
        }
    }
    if (optind < argc) {
        log_line("got '%s', expected an option; --help lists them", argv[optind]);
        return EXIT_USAGE;
    }
    return -1;
}

/* Whether they go together; as parse(). */
static int check(const struct options *options)
{
    const struct settings *settings = &options->settings;
    if (options->prints) {
        settings_print(settings);
        return EXIT_SUCCESS;
    }
    if (settings->method && strcmp(settings->method, "unix-listen") != 0) {
        log_line("method: got '%.100s', expected unix-listen; for a port, give --channel",
                 settings->method);
        return EXIT_USAGE;
    }
    if (!settings->method != !settings->path) {
        log_line("give --method and --path together");
        return EXIT_USAGE;
    }
    if (options->proxy.cell.print && settings->method)
        puts("no cell (--method)");
    else if (options->proxy.cell.print)
        return serve_print_cell(&options->proxy);
    return options->proxy.cell.print ? EXIT_SUCCESS : -1;
}

static int serve_socket(const struct options *options)
{
    const struct settings *settings = &options->settings;
    const struct agent_config config = {
        .policy = {.allow = settings->allow,
                   .block = settings->block,
                   .read_only = settings->read_only},
        .state_dir = settings->state_dir,
        .freeze_hook = settings->freeze_hook,
    };
    log_set_verbose(settings->verbose);
    return socket_server_run(settings->path, &config, options->proxy.cell.how);
}

static int serve_channel(struct options *options)
{
    const struct settings *settings = &options->settings;
    struct proxy_options *proxy = &options->proxy;
    proxy->trust_peer = false;
    proxy->allow_agent = true;
    proxy->verbose = settings->verbose;
    proxy->agent.allow = settings->allow;
    proxy->agent.block = settings->block;
    proxy->agent.read_only = settings->read_only;
    proxy->agent.freeze_hook = settings->freeze_hook;
    proxy->agent.state_dir = settings->state_dir;
    return proxy_serve(proxy);
}

/* Returns the exit status. */
static int run_with(struct options *options, int argc, char **argv)
{
    struct ob_fault fault = {0};
    const char *config = getenv("QGA_CONF");
    if (config && settings_read(config, &options->settings, &fault) < 0) {
        log_line("%s", fault.text);
        return EXIT_USAGE;
    }
    int status = parse(argc, argv, options);
    if (status < 0)
        status = check(options);
    if (status >= 0)
        return status;
    return options->settings.method ? serve_socket(options) : serve_channel(options);
}

static int run(int argc, char **argv)
{
    char *no_options[] = {argv[0], NULL};
    struct options options = {0};
    struct ob_fault fault = {0};
    if (proxy_options_parse(1, no_options, &options.proxy, &fault) < 0)
        return EXIT_FAILURE;
    int status = run_with(&options, argc, argv);
    proxy_options_done(&options.proxy);
    settings_done(&options.settings);
    return status;
}

int main(int argc, char **argv)
{
    if (log_start("outboard-agent") < 0)
        return EXIT_FAILURE;
    inherited_close(argc, argv, NULL);
    bool calls = argc > 1 && call_host_has(argv[1]);
    return standard_output_end(calls ? call_host(argc - 1, argv + 1) : run(argc, argv));
}
