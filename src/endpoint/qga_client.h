// SPDX-License-Identifier: BSD-3-Clause
/* A client of the front of a qemu-ga: its requests, one by one, and the bytes for it. */
#ifndef OUTBOARD_ENDPOINT_QGA_CLIENT_H
#define OUTBOARD_ENDPOINT_QGA_CLIENT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/list.h"
#include "os/input.h"
#include "os/loop.h"
#include "wire/agent_policy.h"
#include "wire/json_frame.h"
#include "wire/json_out.h"

#define QGA_UNREAD 65536 /* bytes of an answer that are kept before the client is full */

struct qga_client;

/* A request is there, or the client has gone: `gone` true, and it is to be freed. */
typedef void (*qga_client_fn)(void *argument, struct qga_client *client, bool gone);

struct qga_client {
    struct list link; /* its owner's */
    qga_client_fn tells;
    void *argument;
    int fd;
    struct loop_source *source;
    struct json_frame frame;
    struct input in;
    const struct agent_policy *policy; /* of its requests; NULL: none */
    bool has_request;                  /* in frame; nothing more is read until it is answered */
    bool asked;                        /* a request of it has reached the agent */
    struct json_out out;
    size_t out_at;
    bool dead;
};

/* Takes fd. 0, or a negative errno when it is closed. */
int qga_client_new(struct loop *loop, int fd, qga_client_fn tells, void *argument,
                   struct qga_client **ret_client);
void qga_client_free(struct qga_client *client);

/* Bytes of an answer, which are written as far as the client takes them. */
void qga_client_put(struct qga_client *client, const char *bytes, size_t len);
/* Whether the client does not take its answer, and no more should be put. */
bool qga_client_is_full(const struct qga_client *client);
/* An error of our own. */
void qga_client_put_error(struct qga_client *client, const char *text);
/* The request was answered: the next one may come. */
void qga_client_answered(struct qga_client *client);

#endif
