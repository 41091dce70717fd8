// SPDX-License-Identifier: BSD-3-Clause
#include "client_cell.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "os/closer.h"
#include "os/event.h"
#include "os/log.h"

static struct confinement cell; /* for ever: its policy outlives all that the process does */

/* The C library asks a terminal or /dev/null for its kind when it makes the buffer, which a cell
 * refuses. */
static void prepare_output(void)
{
    static char buffer[BUFSIZ];
    setvbuf(stdout, buffer, isatty(STDOUT_FILENO) ? _IOLBF : _IOFBF, sizeof(buffer));
}

static int prepare(enum confine_how how, struct ob_fault *fault)
{
    const struct confine_options options = {.how = how};
    int err = confine_prepare(&cell, log_program(), &options, fault);
    cell.quiet = true; /* standard error has the errors of the command alone */
    if (err == 0)
        err = confine_allow(&cell, policy_client, "client.policy", fault);
    if (err == 0)
        err = confine_allow(&cell, policy_command, "command.policy", fault);
    return err;
}

int client_cell_print(enum confine_how how)
{
    struct ob_fault fault = {0};
    if (prepare(how, &fault) < 0) {
        log_line("%s", fault.text);
        return EXIT_FAILURE;
    }
    confine_print(&cell);
    return EXIT_SUCCESS;
}

int client_cell_enter(enum confine_how how, int (*outside)(void *argument), void *argument,
                      struct ob_fault *fault)
{
    int err = prepare(how, fault);
    if (err < 0)
        return err;
    log_prepare();
    prepare_output();
    err = outside(argument);
    if (err < 0)
        return ob_fault_set(fault, err, "can't start the process that connects: %s",
                            strerror(-err));
    err = confine_leave(&cell, fault);
    event_prepare();
    closer_start(); /* without it, descriptors that a hostile proxy sends stay open */
    if (err == 0)
        err = confine_close(&cell, fault);
    return err == 0 ? confine_settle(&cell, fault) : err;
}
