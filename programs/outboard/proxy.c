// SPDX-License-Identifier: BSD-3-Clause
/* outboard proxy: the proxy itself, and the commands that use a running one. */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "proxy/proxy.h"
#include "proxy/serve.h"
#include "proxy_agent.h"
#include "proxy_client.h"

static void print_help(void)
{
    puts("usage: outboard proxy [OPTION...]\n"
         "       outboard proxy run [OPTION...] [--] [COMMAND [ARGUMENT...]]\n"
         "       outboard proxy connect [OPTION...] SERVICE\n"
         "       outboard proxy ping [OPTION...]\n"
         "       outboard proxy status [OPTION...]\n"
         "\n"
         "Carries many connections over one channel between two ends, host and guest say, each of\n"
         "which runs this program. The other end can open only the allowed services:\n");
    proxy_options_help();
}

static int parse_and_serve(int argc, char **argv)
{
    struct proxy_options options;
    struct ob_fault fault = {0};
    int status = EXIT_SUCCESS;
    int verdict = proxy_options_parse(argc, argv, &options, &fault);
    if (verdict == PROXY_HELP) {
        print_help();
    } else if (verdict == PROXY_VERSION) {
        puts("outboard proxy " OUTBOARD_VERSION);
    } else if (verdict < 0) {
        proxy_log("%s", fault.text);
        status = EXIT_USAGE;
    } else {
        status = verdict == PROXY_CELL ? serve_print_cell(&options) : proxy_serve(&options);
    }
    proxy_options_done(&options);
    return status;
}

int cmd_proxy(int argc, char **argv)
{
    static const struct {
        const char *name;
        const char *prefix;
        int (*run)(int argc, char **argv);
    } commands[] = {{"run", "outboard proxy run", proxy_run_command},
                    {"connect", "outboard proxy connect", proxy_connect},
                    {"ping", "outboard proxy ping", proxy_ping},
                    {"status", "outboard proxy status", proxy_status}};
    if (log_start("outboard proxy") < 0)
        return EXIT_FAILURE;
    for (size_t i = 0; argc > 1 && i < sizeof(commands) / sizeof(commands[0]); i++) {
        if (strcmp(argv[1], commands[i].name) != 0)
            continue;
        log_start(commands[i].prefix);
        return commands[i].run(argc - 1, argv + 1);
    }
    return parse_and_serve(argc, argv);
}
