// SPDX-License-Identifier: BSD-3-Clause
/*
 * Proxy: one end of a channel, with everything that hangs on it.
 *
 * One thread, one loop. The session (outboard/session.h) turns the channel into streams; every
 * stream belongs to a flow (flow.h), the object at our end of it:
 *
 *   listener.c  accepts connections here and opens streams: -L, -D, a peer's -R
 *   socks.c     talks SOCKS5 with such a connection first
 *   control.c   the control socket, by which programs here open streams, ping, and ask for status
 *   remote.c    asks the peer to listen: -R
 *   service.c   answers the peer's streams: declared services, destinations, @listen, @run
 *   host_service.c  the calls of a guest's agent here: @host; news.c calls it
 *   relay.c     carries bytes between a stream and a descriptor, once both are there
 *   run.c       a command with its standard streams, signals and exit status in one stream
 *
 * Reading the channel never waits: channel.c reads, the session takes everything, and a relay whose
 * descriptor takes no more leaves its bytes, at most a window of them, in the session.
 *
 * proxy.c owns all of them and connects them: it hands the session's events down, and acts on the
 * verdict of the channel. None of them calls proxy.c; they know struct proxy.
 */
#ifndef OUTBOARD_PROXY_PROXY_H
#define OUTBOARD_PROXY_PROXY_H

#include <outboard/session.h>
#include <sys/resource.h>

#include "base/list.h"
#include "endpoint/dial.h"
#include "os/child.h"
#include "os/log.h"
#include "os/loop.h"
#include "os/timer.h"
#include "proxy/options.h"
#include "proxy/trouble.h"

struct acceptor;
struct channel;
struct host_service;
struct news;
struct qga_front;
struct tenant;

/* Clients of the control socket, or of another kind. */
struct controls {
    struct list list;
    unsigned count;
};

/* Of sessions. */
struct history {
    uint64_t sessions;     /* that stood so far */
    uint64_t up_since_ns;  /* of the one that stands */
    uint32_t ended_reason; /* of the last one that ended */
};

struct proxy {
    const struct proxy_options *options;
    struct loop *loop;
    struct timers timers;
    struct children *children;
    struct tenant *tenant;
    struct ob_session *session; /* the tenant's */
    struct channel *channel;
    struct list flows;
    struct list ready;     /* relays whose output the peer has read to its end */
    struct list lingering; /* relays that only wait for their client's kernel */
    struct list listeners;
    struct controls controls;
    struct controls socks; /* connections in the midst of SOCKS */
    struct list wants;     /* each -R */
    struct dialer dialer;  /* its `outside` serves a proxy in a cell */
    uint8_t *spare;        /* a relay's buffer that nobody uses now; NULL: none */
    struct history history;
    struct trouble trouble;               /* of the channel and of the last session */
    char not_listening[ADDRESS_TEXT_MAX]; /* the last address that the peer could not have */
    rlim_t open_files; /* the soft limit that we were started with, for commands */
    int signal_fd;
    struct acceptor *control; /* NULL: no control socket */
    /* The agent, which @agent leads to: connect() returns a socket, or a negative errno, -EAGAIN: too many use
     * it. NULL: there is no agent here. */
    struct {
        int (*connect)(void *argument, const char *caller);
        void *argument;
        char *capabilities;        /* a JSON array, for the host; NULL: [] */
        struct qga_front *front;   /* of the other end's qemu-ga; NULL: no front */
        struct controls gates;     /* clients of the other end's agent, under a policy */
        struct news *news;         /* that the agent's end tells its host */
        struct host_service *host; /* that the other end's agent calls; NULL: none */
    } agent;
    bool stop;
    int exit_status; /* once it stops */
};

/* Makes everything that can fail at start: listeners stand afterwards. 0 or a negative errno with
 * the fault filled; then proxy_done() is to be called nonetheless. */
int proxy_init(struct proxy *proxy, const struct proxy_options *options, struct ob_fault *fault);
/* The same in a cell: takes the descriptor behind which a connector stands (connector.h), or -1.
 * open_files: the soft limit that we were started with. */
int proxy_init_in_cell(struct proxy *proxy, const struct proxy_options *options, int connector_fd,
                       rlim_t open_files, struct ob_fault *fault);
void proxy_done(struct proxy *proxy);

/* Raises the limit of descriptors. Returns the old one. */
rlim_t proxy_allow_descriptors(void);

/* A client of the control socket that is connected already. Takes the descriptor. */
int proxy_adopt_control(struct proxy *proxy, int fd);

/* Does the work that is due, after waiting for it if that is allowed. 1 when more can be done at
 * once, 0 when not, or a negative errno. */
int proxy_turn(struct proxy *proxy, bool may_wait);

/* Runs until a signal, or until a channel that can't come back has gone. notify_fd: the launcher's
 * socket, or -1. The exit status. */
int proxy_run(struct proxy *proxy, int notify_fd);

/* The log (os/log.h): trouble, the lines of --verbose, and news, which a proxy that is one
 * command's alone keeps to itself. */
#define proxy_log                     log_line
#define proxy_log_verbose(proxy, ...) log_verbose(__VA_ARGS__)
#define proxy_log_news(proxy, ...)    ((proxy)->options->is_private ? (void)0 : log_line(__VA_ARGS__))

#endif
