// SPDX-License-Identifier: BSD-3-Clause
/* Serve: the life of a proxy from its options to its end, in a cell if these ask for one. */
#ifndef OUTBOARD_PROXY_SERVE_H
#define OUTBOARD_PROXY_SERVE_H

#include "proxy/options.h"

struct proxy;

/* An agent (proxy.agent). It opens files and starts programs, so it is a process of its own outside the
 * cell. */
struct serve_agent {
    /* Before the cell, if the options allow the other end to use the agent. The caller has one thread.
     * Returns the descriptor behind which it stands, or a negative errno with the fault filled. */
    int (*start)(const struct proxy_options *options, struct ob_fault *fault);
    /* Joins the proxy to it; takes the descriptor. 0 or a negative errno with the fault filled. */
    int (*join)(struct proxy *proxy, int fd, void **ret_link, struct ob_fault *fault);
    /* Ends it, before proxy_done(). */
    void (*leave)(struct proxy *proxy, void *link);
};

/* control_fd: a client of the control socket that is connected already, taken; or -1. agent: NULL: the
 * program has no agent. Returns the exit status, once the reason was logged. */
int serve_proxy(const struct proxy_options *options, int control_fd,
                const struct serve_agent *agent);

/* For --print-cell. The exit status. */
int serve_print_cell(const struct proxy_options *options);

#endif
