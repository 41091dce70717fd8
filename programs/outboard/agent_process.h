// SPDX-License-Identifier: BSD-3-Clause
/*
 * Agent process: the agent of an end of a channel, outside the cell of its proxy. The proxy reads the
 * channel, and this process reads the bytes of the streams that lead to the agent.
 *
 * Between both is a SOCK_SEQPACKET pair of messages with one size. The proxy asks for one connection at
 * a time and waits for the answer: the agent waits for nothing. The agent tells the proxy to hold its log
 * while file systems are frozen, and waits for its word.
 */
#ifndef OUTBOARD_PROGRAMS_AGENT_PROCESS_H
#define OUTBOARD_PROGRAMS_AGENT_PROCESS_H

#include <outboard/fault.h>
#include <stdint.h>

#include "proxy/credentials.h"
#include "wire/agent_policy.h"

struct proxy_options;

enum agent_verb {
    AGENT_CONNECT = 1, /* to the agent; caller: who asks. Answered by AGENT_ANSWER. */
    AGENT_ANSWER,      /* result: 0 with a descriptor, or a negative errno */
    AGENT_HOLD,        /* to the proxy: the log. Answered by AGENT_HELD. */
    AGENT_RELEASE,
    AGENT_HELD,
};

struct agent_message {
    uint32_t verb;
    int32_t result;
    char caller[CALLER_TEXT_MAX];
};

/* The commands that the options of a proxy allow. */
struct agent_policy agent_process_policy(const struct proxy_options *options);

/* The caller has one thread. Returns the descriptor behind which the process stands, or a negative errno
 * with the fault filled. */
int agent_process_start(const struct proxy_options *options, struct ob_fault *fault);

#endif
