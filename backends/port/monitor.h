// SPDX-License-Identifier: BSD-3-Clause
/*
 * Monitor: a Unix socket whose clients read events as JSON, a line each, and write commands, a line
 * each. A client that does not read is dropped; nobody waits for it.
 */
#ifndef OUTBOARD_PORT_MONITOR_H
#define OUTBOARD_PORT_MONITOR_H

#include <outboard/fault.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct port_hub;
struct port_end;
struct monitor;
struct monitor_client;

/* A member of a line: a text, or a number if text is NULL. */
struct monitor_field {
    const char *name;
    const char *text;
    uint64_t number;
};

/* A client has written this line. */
typedef void (*monitor_fn)(void *argument, struct monitor_client *client, char *line);

/* end: one that listens. 0 or a negative errno. */
int monitor_new(struct port_hub *hub, struct port_end *end, monitor_fn command, void *argument,
                struct monitor **ret_monitor);
/* NULL is fine. */
void monitor_free(struct monitor *monitor);

/* A line for all clients. NULL is fine: then it goes nowhere. */
void monitor_tell(struct monitor *monitor, const struct monitor_field *fields, size_t count);
/* A line for one client, in its command only. */
void monitor_answer(struct monitor_client *client, const struct monitor_field *fields,
                    size_t count);

#endif
