// SPDX-License-Identifier: BSD-3-Clause
/* The remote device that a subcommand is about: "SOCKET" or "--fd=N", with how to speak to it. */
#ifndef OUTBOARD_PROGRAMS_REMOTE_H
#define OUTBOARD_PROGRAMS_REMOTE_H

#include <stdbool.h>

#include <outboard/client.h>

#include "os/log.h"
#include "sandbox/confine.h"

struct remote {
    const char *path;                 /* NULL: fd */
    int fd;                           /* -1: path */
    struct ob_client_options options; /* wire NULL: the one that the device speaks */
    uint64_t wait_ms;                 /* how long to try again; 0: once */
    struct confine_options cell;
    int page;   /* memory that each connection shares with the device; -1: not open yet */
    int dialer; /* dialer.h, once the cell is entered; -1: none */
};

enum remote_verdict {
    REMOTE_NO_OPTION, /* the word is not one of these options */
    REMOTE_TAKEN,
    REMOTE_BAD, /* said so on stderr */
};

extern const char remote_options_help[];

/* No device yet; all options have their defaults. */
void remote_set_defaults(struct remote *remote);

/* For a subcommand's loop over its words: takes --fd, --wire, --timeout-ms, --wait and those of the cell. */
enum remote_verdict remote_take_option(struct remote *remote, const char *word);

/* For --print-cell: enters the cell and prints it. The exit status. */
int remote_print_cell(const struct remote *remote);

/* Enters the cell, connects, tells the device of a page of memory and probes it. NULL after saying
 * on stderr why not. A device that serves a VMM is left alone, and said to be busy. */
struct ob_client *remote_open(struct remote *remote, struct ob_client_info *ret_info);
/* Ends the connection, and the parts that remote_open() has started. */
void remote_close(struct remote *remote, struct ob_client *client);

/* Why the last call failed, as far as the device is the reason. */
const char *remote_reason(struct ob_client *client);

/* Prints the fault on stderr, as the subcommand. */
#define complain log_line

#endif
