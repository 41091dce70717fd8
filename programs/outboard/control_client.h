// SPDX-License-Identifier: BSD-3-Clause
/* A client of the control socket of `outboard run` (docs/control.md). Errors are logged. */
#ifndef OUTBOARD_PROGRAMS_CONTROL_CLIENT_H
#define OUTBOARD_PROGRAMS_CONTROL_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wire/json_frame.h"
#include "wire/json_out.h"

#define CONTROL_MACHINE_MAX 256

struct control_client {
    int fd;
    struct json_frame frame;
    char in[4096]; /* received and not looked at yet */
    size_t in_at, in_len;
    char machine[CONTROL_MACHINE_MAX]; /* the VM's name, printable */
    int stop_fd; /* if it is readable, nothing is waited for any more; 0: there is no such descriptor */
};

/* Connects to a VM: by the path of its socket if `vm` has a slash, else by its name. NULL: to the
 * only VM of this user. 0 or an exit status. */
int control_client_open(const char *vm, struct control_client *client);
void control_client_close(struct control_client *client);

/* Calls `found` for each VM of this user, connected for the length of the call. Returns how many. */
unsigned control_client_each(void (*found)(struct control_client *client, const char *path,
                                           void *argument),
                             void *argument);

/* Sends a request, the text of a JSON object, and waits for its answer. The value lives as long as
 * the document. 0 or an exit status. */
int control_client_ask(struct control_client *client, const char *request, size_t len,
                       struct json_document **ret_answer, const struct json **ret_value);
/* The same for a command without arguments. */
int control_client_command(struct control_client *client, const char *command,
                           struct json_document **ret_answer, const struct json **ret_value);

/* The machine has ended. */
#define CONTROL_OVER (-1)

/* The next message, an event for example. -1: wait without a limit, and CONTROL_OVER is no failure. 0
 * or an exit status. */
int control_client_next(struct control_client *client, int timeout_ms,
                        struct json_document **ret_message);

/* A member of an object: its number, else 0; its text, else "", as the server has sent it. */
uint64_t control_number(const struct json *object, const char *name);
const char *control_text(const struct json *object, const char *name);
/* The text, printable. */
const char *control_printable(const struct json *object, const char *name, char *room, size_t size);

/* Whether it is an array of objects. If not, that is logged. */
bool control_is_table(const struct json *value);

#endif
