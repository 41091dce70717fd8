// SPDX-License-Identifier: BSD-3-Clause
/*
 * Worker: a child of the agent. Both send frames through a socket: a byte for the kind, the
 * length, little endian (4), and text. The worker is killed when it has not answered in time. The
 * agent does not wait for its end, which a file system that hangs may put off.
 */
#ifndef OUTBOARD_AGENT_WORKER_H
#define OUTBOARD_AGENT_WORKER_H

#include <stddef.h>
#include <stdint.h>

#include "agent/agent.h"
#include "agent/job.h"

enum worker_word {
    WORKER_ASKS = 'A',    /* the agent */
    WORKER_RETURNS = 'R', /* JSON */
    WORKER_FAILS = 'E',   /* an error's text */
    WORKER_NOTES = 'N',   /* something on the way to that */
    /* Never said, but told: */
    WORKER_LATE = 'L', /* the limit is over */
    WORKER_GONE = 'G', /* it ended */
};

struct call;
struct worker;

/* A message of the worker. After WORKER_LATE and WORKER_GONE the worker has to be freed. */
typedef void (*worker_fn)(void *argument, enum worker_word word, const char *text, size_t len);

/* work(fd, context) runs in the child, which has a copy of all that the agent has in memory. 0 or
 * a negative errno. */
int worker_start(const struct agent_config *config, int (*work)(int fd, const void *context),
                 const void *context, worker_fn says, void *argument, struct worker **ret_worker);

/* Kills it, if it has not ended. NULL is fine. */
void worker_free(struct worker *worker);
/* Leaves it alone with the news that the agent hears it no more. */
void worker_release(struct worker *worker);

/* It has to say WORKER_RETURNS or WORKER_FAILS within this time. */
void worker_expect(struct worker *worker, unsigned limit_s);
/* Asks, and expects an answer. 0 or -ENOMEM. */
int worker_ask(struct worker *worker, const char *text, size_t len, unsigned limit_s);

/* In the child: 0 or a negative errno. */
int worker_say(int fd, enum worker_word word, const void *text, size_t len);
/* In the child: waits for the agent, timeout_ms at most (-1: for ever). Returns the text, to be
 * freed; NULL with *ret_len 0: the agent has gone; NULL with 1: the time is over. */
char *worker_hear(int fd, int timeout_ms, size_t *ret_len);

/* A worker that carries out one command and answers the call. */
void worker_run(const struct agent_config *config, job_fn run, unsigned limit_s, struct call *call);

/* Sends the result of a job. */
int worker_say_job(int fd, struct job *job, int err);

#endif
