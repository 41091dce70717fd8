// SPDX-License-Identifier: BSD-3-Clause
/* outboard: a subcommand for each job that people do by hand. */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/orders.h"
#include "base/statistics.h"
#include "command.h"
#include "os/inherited.h"
#include "os/log.h"
#include "os/standard_output.h"

static const struct {
    const char *name;
    const char *summary;
    int (*run)(int argc, char **argv);
} commands[] = {
    {"adopt", "take over a machine whose outboard run was killed", cmd_adopt},
    {"agent", "ask the agent of a guest, and freeze its file systems", cmd_agent},
    {"cells", "describe the rights of running programs", cmd_cells},
    {"ctl", "ask a running machine, and change its devices", cmd_ctl},
    {"disk", "serve disk images of any format as an NVMe controller", cmd_disk},
    {"inspect", "describe a device, as lspci -vv does", cmd_inspect},
    {"keep", "become a device that systemd starts again when its process dies", cmd_keep},
    {"pair", "start devices and their VMM on socket pairs", cmd_pair},
    {"poke", "read and write registers of a device", cmd_poke},
    {"proxy", "carry many connections between host and guest over one channel", cmd_proxy},
    {"qemu-args", "print the arguments of a QEMU that something else starts", cmd_qemu_args},
    {"restore", "give devices of a machine the states that save has written", cmd_restore},
    {"run", "start a virtual machine and its devices, and end them together", cmd_run},
    {"save", "pause a machine and write the states of its devices", cmd_save},
    {"top", "show the devices of a running machine, and what they do", cmd_top},
    {"upgrade", "let another process continue for a device", cmd_upgrade},
};

/* These start a program of the user's choice, which has a use for descriptors that nothing here names. */
static bool starts_programs(const char *word)
{
    return strcmp(word, "agent") == 0 || strcmp(word, "pair") == 0;
}

/* Descriptors of `outboard run` for the device, which `outboard disk` passes on. */
static const char *name_for_device(void)
{
    static char text[64];
    const char *statistics = getenv(STATISTICS_VARIABLE), *orders = getenv(ORDERS_VARIABLE);
    snprintf(text, sizeof(text), "%s,%s", statistics ? statistics : "", orders ? orders : "");
    return text;
}

static void print_help(void)
{
    puts("usage: outboard COMMAND [ARGUMENT...]\n");
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
        printf("  %-12s %s\n", commands[i].name, commands[i].summary);
    puts("\n`outboard COMMAND --help` tells more.");
}

int main(int argc, char **argv)
{
    const char *word = argc > 1 ? argv[1] : "";
    if (log_start("outboard") < 0)
        return EXIT_FAILURE;
    if (!starts_programs(word))
        inherited_close(argc, argv, strcmp(word, "disk") == 0 ? name_for_device() : NULL);
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        if (strcmp(word, commands[i].name) == 0)
            return standard_output_end(commands[i].run(argc - 1, argv + 1));
    }
    if (strcmp(word, "--version") == 0) {
        puts("outboard " OUTBOARD_VERSION);
        return standard_output_end(EXIT_SUCCESS);
    }
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
        print_help();
        return standard_output_end(EXIT_SUCCESS);
    }
    if (*word)
        log_line("got '%s', expected a command; `outboard --help` lists them", word);
    else
        log_line("give a command; `outboard --help` lists them");
    return EXIT_USAGE;
}
