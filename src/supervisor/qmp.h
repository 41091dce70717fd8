// SPDX-License-Identifier: BSD-3-Clause
/*
 * QMP: the VMM's own control socket, where the supervisor is the client.
 *
 * The supervisor has made the listener and passed it to QEMU, so the connection stands before QEMU
 * has read its command line. Commands that are sent earlier wait for QEMU's greeting. Each has
 * LIMIT_QMP_MS for its answer; a QEMU whose main loop waits for a device answers later than that.
 *
 * The VMM is not trusted: a message is bounded, and one that breaks the rules ends the connection.
 */
#ifndef OUTBOARD_SUPERVISOR_QMP_H
#define OUTBOARD_SUPERVISOR_QMP_H

#include <stdbool.h>

#include "os/loop.h"
#include "os/timer.h"
#include "wire/json.h"

struct qmp;

/* `result` is the value of "return", or NULL: then `error` tells why. */
typedef void (*qmp_answer_fn)(void *argument, const struct json *result, const char *error);
/* `data` is an object, or NULL. */
typedef void (*qmp_event_fn)(void *argument, const char *event, const struct json *data);

/* Connects. 0 or a negative errno. */
int qmp_new(struct loop *loop, struct timers *timers, const char *path, qmp_event_fn event,
            void *argument, struct qmp **ret_qmp);
/* Commands without an answer are told that the VMM has gone. NULL is fine. */
void qmp_free(struct qmp *qmp);

/* Sends a command with arguments, the text of a JSON object or NULL, and a descriptor, or -1, of
 * which a duplicate is sent. The answer may come before this returns. With `answer` NULL nobody is
 * told. `qmp` NULL: the answer is that there is no QMP. */
void qmp_execute(struct qmp *qmp, const char *command, const char *arguments, int fd,
                 qmp_answer_fn answer, void *argument);
/* Who asked has gone: nothing more is told to this argument. */
void qmp_forget(struct qmp *qmp, const void *argument);

/* Whether the VMM has greeted. */
bool qmp_is_ready(const struct qmp *qmp);

#endif
