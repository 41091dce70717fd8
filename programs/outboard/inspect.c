// SPDX-License-Identifier: BSD-3-Clause
/* outboard inspect: what a device behind a socket is. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "remote.h"
#include "report.h"

static void print_help(void)
{
    printf("usage: outboard inspect [OPTION...] (SOCKET | --fd=N)\n\n"
           "Prints a device as lspci -vv does. The device must have no other VMM; over mpqemu it\n"
           "ends when this does.\n\n"
           "  --json           print it as JSON\n%s",
           remote_options_help);
}

static int read_config(struct ob_client *client, uint8_t *ret_config)
{
    for (unsigned offset = 0; offset < CONFIG_LEN; offset += 4) {
        uint32_t value;
        int err = ob_client_config_read(client, offset, 4, &value);
        if (err < 0)
            return err;
        for (unsigned i = 0; i < 4; i++)
            ret_config[offset + i] = (uint8_t)(value >> (8 * i));
    }
    return 0;
}

static int inspect(const struct remote *remote, bool as_json)
{
    struct report report;
    int status = EXIT_FAILURE;
    struct ob_client *client = remote_open(remote, &report.info);
    if (!client)
        return status;
    if (read_config(client, report.config) < 0) {
        complain("%s", ob_client_fault(client)->text);
    } else {
        capabilities_read(report.config, &report.capabilities);
        status = EXIT_SUCCESS;
        if (!as_json)
            report_print_text(&report);
        else if (report_print_json(&report) < 0)
            status = EXIT_FAILURE;
    }
    ob_client_free(client);
    return status;
}

int cmd_inspect(int argc, char **argv)
{
    struct remote remote = {.fd = -1};
    bool as_json = false;
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
            complain("'%s' is not understood; `outboard inspect --help` tells more", argv[i]);
            return EXIT_USAGE;
        }
    }
    if (!remote.path == (remote.fd < 0)) {
        complain("give either the path of a device's socket or --fd=N");
        return EXIT_USAGE;
    }
    return inspect(&remote, as_json);
}
