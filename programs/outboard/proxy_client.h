// SPDX-License-Identifier: BSD-3-Clause
/* The common part of `outboard proxy run`, `ping` and `status`: a control connection. */
#ifndef OUTBOARD_PROGRAMS_PROXY_CLIENT_H
#define OUTBOARD_PROGRAMS_PROXY_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "os/log.h"
#include "sandbox/confine.h"

/* The proxy could not be reached, or the other end; as ssh(1) says it. */
#define EXIT_NOT_REACHED 255

/* Where outboard-agent listens for programs of its guest, by its unit file. */
#define AGENT_CONTROL "/run/outboard-agent.control"

struct client_options {
    const char *control; /* of a proxy that runs; or */
    const char *channel; /* where to run one for this command alone */
    const char *key_file;
    const char *service;       /* run: a declared command */
    bool terminal;             /* run */
    const char *terminal_type; /* run: $TERM; NULL: not set */
    bool json;                 /* status */
    bool print_cell;
    enum confine_how cell;
    uint32_t count; /* ping */
    uint32_t timeout_s;
    char **command; /* run, connect: the words behind the options, NULL at the end */
};

struct client {
    const char *name;    /* the subcommand */
    int fd;              /* the control connection */
    const char *control; /* its path; NULL: the proxy is our own */
    int nothing;         /* /dev/null */
    uint32_t timeout_s;
    uint64_t until_ns; /* when answers have to be there */
};

int proxy_run_command(int argc, char **argv);
int proxy_connect(int argc, char **argv);
int proxy_ping(int argc, char **argv);
int proxy_status(int argc, char **argv);

/* Reads the options that `letters` names. Returns -1, or the exit status when there is nothing more
 * to do. */
int client_parse(int argc, char **argv, const char *letters, struct client_options *ret_options);

/* Connects, or starts a proxy. 0, or the exit status once the reason was printed. */
int client_open(const char *name, const struct client_options *options, struct client *ret_client);
void client_close(struct client *client);

/* Sends a line and waits for its answer, until the deadline of client_open(). Returns the length
 * without the newline, or -1 once the reason was printed. */
ssize_t client_ask(struct client *client, const char *question, char *ret_answer, size_t size);
/* The deadline is a --timeout from now. */
void client_new_deadline(struct client *client);

/* Waits for a session and opens a stream by RUN or OPEN. 0, when the connection is the stream, or
 * the exit status; then *ret_reason is why the other end refused it, or untouched and the reason
 * was printed. */
int client_open_stream(struct client *client, const char *verb, const char *service,
                       uint32_t *ret_reason);
void client_say_refusal(const struct client *client, const char *service, uint32_t reason);

/* A message for a person, on standard error. */
#define client_say(client, ...) log_line(__VA_ARGS__)

#endif
