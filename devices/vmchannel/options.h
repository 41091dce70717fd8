// SPDX-License-Identifier: BSD-3-Clause
/* The options of outboard-vmchannel. */
#ifndef VMCHANNEL_OPTIONS_H
#define VMCHANNEL_OPTIONS_H

#include <outboard/program.h>

#include "vmchannel.h"

#define VMCHANNEL_DEFAULT_PORTS 31u
#define VMCHANNEL_DEFAULT_RING  32u

/* One --port or --console. */
struct port_option {
    char name[VMCHANNEL_NAME_MAX + 1];
    enum port_mode mode;
    bool has_mode;
    bool refuses_others;
    const char *end; /* the description of its host end */
};

struct options {
    struct port_option *ports; /* [0] is the console, without an end if the guest has no console */
    unsigned num_ports;        /* with the console */
    uint64_t max_ports;
    uint64_t ring_size;
    const char *control;
};

/* For ob_option.apply: config begins with a struct options. */
int option_port(void *config, const char *value, struct ob_fault *fault);
int option_console(void *config, const char *value, struct ob_fault *fault);
int option_max_ports(void *config, const char *value, struct ob_fault *fault);
int option_ring_size(void *config, const char *value, struct ob_fault *fault);
int option_control(void *config, const char *value, struct ob_fault *fault);

/* Once all were applied: 0 or -EINVAL with the fault filled. */
int options_check(struct options *options, struct ob_fault *fault);

#endif
