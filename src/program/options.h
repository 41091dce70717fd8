// SPDX-License-Identifier: BSD-3-Clause
/* The command line of a device program: the options that all have, and its own. */
#ifndef OUTBOARD_PROGRAM_OPTIONS_H
#define OUTBOARD_PROGRAM_OPTIONS_H

#include <outboard/program.h>

#include "sandbox/confine.h"
#include "server/engine.h"

struct options {
    int fd;                        /* the peer's socket, or one that listens; -1: none given */
    const char *socket_path;       /* where to listen, NULL: nowhere */
    unsigned socket_mode;          /* permissions of that socket */
    const struct engine_ops *wire; /* NULL: the one that the peer turns out to speak */
    unsigned poll_us;
    const char *trace; /* where a trace goes; "": standard error, NULL: nowhere */
    bool has_pci_id;   /* other ids than the device's description has: */
    uint16_t vendor_id, device_id;
    struct confine_options cell;
    bool dma_by_messages; /* guest memory is never mapped here */
};

/* Requests of the command line instead of serving. */
enum options_verdict {
    OPTIONS_SERVE,
    OPTIONS_HELP,
    OPTIONS_VERSION,
    OPTIONS_CAPABILITIES,
    OPTIONS_CELL,
    OPTIONS_SLIP, /* the program can't serve at all: its author has to mend it */
};

/* Applies the command line. Returns an enum options_verdict, or -EINVAL or the errno of the
 * program's own option, with the fault filled, as it is with OPTIONS_SLIP. */
int options_parse(const struct ob_program *program, void *config, int argc, char **argv,
                  struct options *ret_options, struct ob_fault *fault);

void options_print_version(const struct ob_program *program);
void options_print_help(const struct ob_program *program);
void options_print_capabilities(const struct ob_program *program);

#endif
