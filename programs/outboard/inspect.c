// SPDX-License-Identifier: BSD-3-Clause
/* outboard inspect: the description of a device behind a socket. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <outboard/client_state.h>

#include "command.h"
#include "remote.h"
#include "report.h"

static void print_help(void)
{
    printf("usage: outboard inspect [OPTION...] (SOCKET | --fd=N)\n\n"
           "Prints a device as lspci -vv does. A device that serves a VMM is busy, and continues\n"
           "undisturbed; one that was started with --fd ends when this does.\n\n"
           "  --json           print it as JSON\n%s",
           remote_options_help);
}

/* The part that only a vfio-user device tells of itself. */
static void read_remote(struct ob_client *client, struct report *report)
{
    bool pre_copy;
    for (unsigned i = 0; i < OB_BAR_COUNT; i++) {
        int count = ob_client_bar_areas(client, i, report->areas[i], REPORT_AREAS);
        report->num_areas[i] = count < 0              ? 0
                               : count > REPORT_AREAS ? REPORT_AREAS
                                                      : (unsigned)count;
    }
    report->migrates = ob_client_can_migrate(client, &pre_copy) == 0;
}

static int inspect(struct remote *remote, bool as_json)
{
    struct report report = {0};
    int status = EXIT_FAILURE;
    struct ob_client *client = remote_open(remote, &report.info);
    if (!client)
        return status;
    read_remote(client, &report);
    if (ob_client_read_bytes(client, OB_CLIENT_REGION_CONFIG, 0, report.config, CONFIG_LEN) < 0) {
        complain("%s", remote_reason(client));
    } else {
        capabilities_read(report.config, &report.capabilities);
        status = EXIT_SUCCESS;
        if (!as_json)
            report_print_text(&report);
        else if (report_print_json(&report) < 0)
            status = EXIT_FAILURE;
    }
    remote_close(remote, client);
    return status;
}

int cmd_inspect(int argc, char **argv)
{
    struct remote remote;
    bool as_json = false;
    remote_set_defaults(&remote);
    for (int i = 1; i < argc; i++) {
        enum remote_verdict verdict = remote_take_option(&remote, argv[i]);
        if (verdict == REMOTE_BAD)
            return EXIT_USAGE;
        if (verdict == REMOTE_TAKEN)
            continue;
        if (strcmp(argv[i], "--help") == 0) {
            print_help();
            return EXIT_SUCCESS;
        }
        if (strcmp(argv[i], "--json") == 0) {
            as_json = true;
        } else if (argv[i][0] != '-' && !remote.path) {
            remote.path = argv[i];
        } else {
            complain("got '%s', expected an option, a path or --fd=N; `outboard inspect --help` "
                     "lists the options",
                     argv[i]);
            return EXIT_USAGE;
        }
    }
    if (remote.cell.print)
        return remote_print_cell(&remote);
    if (!remote.path == (remote.fd < 0)) {
        complain("give either the path of a device's socket or --fd=N");
        return EXIT_USAGE;
    }
    return inspect(&remote, as_json);
}
