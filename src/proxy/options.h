// SPDX-License-Identifier: BSD-3-Clause
/* The command line of `outboard proxy`. */
#ifndef OUTBOARD_PROXY_OPTIONS_H
#define OUTBOARD_PROXY_OPTIONS_H

#include <outboard/fault.h>
#include <outboard/session.h>

#include "endpoint/address.h"
#include "endpoint/rules.h"
#include "proxy/channel_spec.h"
#include "sandbox/confine.h"
#include "wire/agent_policy.h"

#define BOOT_ID_SIZE 37 /* a UUID's text and a NUL */

/* One of -L, -D, -R: connections that come to `listen` go to `service`. */
struct forward {
    struct address listen;
    char service[OB_SESSION_SERVICE_MAX + 1]; /* empty: the client says where, by SOCKS5 */
};

struct forwards {
    struct forward *forward;
    size_t count;
};

enum service_kind {
    SERVICE_CONNECT,  /* to an address */
    SERVICE_EXEC,     /* a shell command, its stdin and stdout */
    SERVICE_TERMINAL, /* the same on a pseudo terminal */
};

/* A service that the peer may open by name. */
struct service {
    char name[OB_SESSION_SERVICE_MAX + 1];
    enum service_kind kind;
    struct address address;
    const char *command;
};

struct services {
    struct service *service;
    size_t count;
};

struct proxy_options {
    struct channel_spec channel;
    struct forwards local;  /* -L, -D */
    struct forwards remote; /* -R */
    struct services services;
    struct rules connect; /* where the peer may have us connect to */
    struct rules listen;  /* where it may have us listen */
    bool allow_run;
    bool allow_agent;
    bool trust_peer;
    struct {
        const char *allow, *block; /* names of commands; NULL: no list */
        const char *freeze_hook;
        const char *state_dir;
        bool read_only;
    } agent; /* for the program that fills proxy.agent */
    bool verbose;
    bool is_private; /* for the command that brought it along: prints faults, and nothing else */
    const char *control;
    struct agent_policy requests; /* of clients here to the agent of the other end */
    char *request_lists[2];       /* of them, from --request-policy */
    const char *events; /* where events of the other end are told: "-" or a path; NULL: nowhere */
    char boot_id[BOOT_ID_SIZE]; /* of this machine, for the other end; empty: unknown */
    const char *stock_qga; /* where the front of the other end's qemu-ga listens; NULL: nowhere */
    char key[OB_SESSION_KEY_MAX];
    size_t key_len;
    uint32_t window;
    uint32_t keepalive_s;
    uint32_t idle_timeout_s;
    struct confine_options cell;
    mode_t socket_mode; /* of paths that are listened at, but for the control socket */
};

enum proxy_verdict {
    PROXY_RUN,
    PROXY_HELP,
    PROXY_VERSION,
    PROXY_CELL, /* print the cell */
};

/* Reads the options. Returns an enum proxy_verdict, or a negative errno with the fault filled.
 * The options point into argv. In every case, proxy_options_done() undoes. */
int proxy_options_parse(int argc, char **argv, struct proxy_options *ret_options,
                        struct ob_fault *fault);
void proxy_options_done(struct proxy_options *options);
void proxy_options_help(void);

/* [ADDRESS:]PORT[:SERVICE] or unix:PATH[:SERVICE]. 0 or -EINVAL with the fault filled. */
int forward_parse(const char *text, struct forward *ret_forward, struct ob_fault *fault);

/* NAME=TARGET. 0 or -EINVAL with the fault filled. */
int service_parse(const char *text, struct service *ret_service, struct ob_fault *fault);

/* The service that the peer may open by this name, or NULL. */
const struct service *services_find(const struct services *services, const char *name);

/* That of the kernel; empty: the kernel has no boot id. */
void boot_id_read(char ret_boot_id[BOOT_ID_SIZE]);

/* Reads a file of --request-policy into options.requests. 0 or a negative errno with the fault filled. */
int request_policy_read(const char *path, struct proxy_options *options, struct ob_fault *fault);

/* Reads a pre-shared key: all of the file but newlines at its end. Returns its length, or a
 * negative errno with the fault filled. */
int key_file_read(const char *path, char ret_key[OB_SESSION_KEY_MAX], struct ob_fault *fault);

#endif
