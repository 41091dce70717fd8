// SPDX-License-Identifier: BSD-3-Clause
/* The options of outboard-vsock. */
#ifndef OUTBOARD_DEVICES_VSOCK_OPTIONS_H
#define OUTBOARD_DEVICES_VSOCK_OPTIONS_H

#include "host.h"

struct options {
    uint64_t guest_cid; /* 0: not given */
    uint32_t connections;
    struct host_options host;
};

/* ob_option.apply, each for the option of its name. */
int option_guest_cid(void *config, const char *value, struct ob_fault *fault);
int option_host_socket(void *config, const char *value, struct ob_fault *fault);
int option_forward(void *config, const char *value, struct ob_fault *fault);
int option_only_forwards(void *config, const char *value, struct ob_fault *fault);
int option_listen(void *config, const char *value, struct ob_fault *fault);
int option_connections(void *config, const char *value, struct ob_fault *fault);

/* Whether they are complete. */
int options_check(const struct options *options, struct ob_fault *fault);

#endif
