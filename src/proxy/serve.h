// SPDX-License-Identifier: BSD-3-Clause
/* Serve: the life of a proxy from its options to its end, in a cell if these ask for one. */
#ifndef OUTBOARD_PROXY_SERVE_H
#define OUTBOARD_PROXY_SERVE_H

#include "proxy/options.h"

struct proxy;

/* An agent on the proxy's loop (proxy.agent). It opens files and starts programs, so a proxy whose
 * other end may use it has no cell. */
struct serve_agent {
    /* 0 or a negative errno with the fault filled. */
    int (*start)(struct proxy *proxy, void **ret_agent, struct ob_fault *fault);
    void (*end)(struct proxy *proxy, void *agent);
};

/* control_fd: a client of the control socket that is connected already, taken; or -1. agent: NULL:
 * the program has none. Returns the exit status, once the reason was logged. */
int serve_proxy(const struct proxy_options *options, int control_fd,
                const struct serve_agent *agent);

/* For --print-cell. The exit status. */
int serve_print_cell(const struct proxy_options *options, bool has_agent);

#endif
