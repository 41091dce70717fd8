// SPDX-License-Identifier: BSD-3-Clause
/* The options of outboard-vsock. */
#ifndef OUTBOARD_DEVICES_VSOCK_OPTIONS_H
#define OUTBOARD_DEVICES_VSOCK_OPTIONS_H

#include "host.h"

struct options {
    uint32_t connections;
    struct host_options host; /* guest_cid 0: not given */
};

/* ob_option.apply, each for the option of its name. */
int option_guest_cid(void *config, const char *value, struct ob_fault *fault);
int option_host_socket(void *config, const char *value, struct ob_fault *fault);
int option_forward(void *config, const char *value, struct ob_fault *fault);
int option_only_forwards(void *config, const char *value, struct ob_fault *fault);
int option_listen(void *config, const char *value, struct ob_fault *fault);
int option_guests(void *config, const char *value, struct ob_fault *fault);
int option_allow_guest(void *config, const char *value, struct ob_fault *fault);
int option_connections(void *config, const char *value, struct ob_fault *fault);

/* Whether they are complete. */
int options_check(const struct options *options, struct ob_fault *fault);

#endif
