// SPDX-License-Identifier: BSD-3-Clause
#include "remote_cell.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/auto.h"
#include "dialer.h"
#include "os/closer.h"
#include "program/process.h"

static struct confinement cell; /* for ever: its policy outlives all that the process does */

static const char *value_of(const char *word, const char *name)
{
    size_t len = strlen(name);
    return strncmp(word, name, len) == 0 ? word + len : NULL;
}

enum remote_verdict remote_take_cell_option(struct confine_options *options, const char *word)
{
    struct ob_fault fault = {0};
    const char *value;
    int err = 0;
    if ((value = value_of(word, "--cell=")))
        err = confine_parse_how(value, &options->how, &fault);
    else if ((value = value_of(word, "--user=")))
        err = confine_parse_user(value, &options->user, &fault);
    else if ((value = value_of(word, "--cell-policy=")))
        options->policy = value;
    else if (strcmp(word, "--print-cell") == 0)
        options->print = true;
    else
        return REMOTE_NO_OPTION;
    if (err < 0)
        complain("%.*s: %s", (int)(value - word) - 1, word, fault.text);
    return err < 0 ? REMOTE_BAD : REMOTE_TAKEN;
}

static int prepare(const struct confine_options *options, struct ob_fault *fault)
{
    int err = confine_prepare(&cell, "outboard", options, fault);
    return err == 0 ? confine_allow(&cell, policy_client, "client.policy", fault) : err;
}

int remote_print_cell(const struct remote *remote)
{
    struct ob_fault fault = {0};
    if (prepare(&remote->cell, &fault) < 0) {
        complain("%s", fault.text);
        return EXIT_FAILURE;
    }
    confine_print(&cell);
    return EXIT_SUCCESS;
}

/* The C library asks a terminal or /dev/null for its kind when it makes the buffer, which a cell
 * refuses. */
static void prepare_output(void)
{
    static char buffer[BUFSIZ];
    setvbuf(stdout, buffer, isatty(STDOUT_FILENO) ? _IOLBF : _IOFBF, sizeof(buffer));
}

static int enter(struct remote *remote, struct ob_fault *fault)
{
    log_prepare();
    prepare_output();
    int err = process_prepare();
    if (err < 0)
        return ob_fault_set(fault, err, "can't prepare the cell: %s", strerror(-err));
    if (remote->path) {
        remote->dialer = dialer_start(remote->path, remote->options.timeout_ms);
        if (remote->dialer < 0)
            return ob_fault_set(fault, remote->dialer, "can't start the process that connects: %s",
                                strerror(-remote->dialer));
    }
    return confine_leave(&cell, fault);
}

int remote_cell_enter(struct remote *remote, struct ob_fault *fault)
{
    int err = prepare(&remote->cell, fault);
    if (err == 0 && cell.policy)
        err = enter(remote, fault);
    int thread_err = process_start_threads();
    if (err == 0 && thread_err < 0)
        err = ob_fault_set(fault, thread_err, "can't start a thread: %s", strerror(-thread_err));
    if (err == 0)
        err = confine_close(&cell, fault);
    if (err == 0)
        err = confine_settle(&cell, fault);
    return err;
}

void remote_cell_end(struct remote *remote)
{
    closer_stop(0);
    if (remote->dialer >= 0)
        dialer_end(take_fd(&remote->dialer));
}
