// SPDX-License-Identifier: BSD-3-Clause
/*
 * Monitor: the control socket of a virtual machine, a server of JSON in QMP's manner. A view is a
 * socket of the same kind for one device.
 *
 *     <- {"outboard": {"version": "0.1.0", "machine": "vm", "capabilities": ["events"]}}
 *     -> {"execute": "list", "id": 1}
 *     <- {"return": [...], "id": 1}
 *     <- {"error": {"class": "CommandNotFound", "desc": "..."}, "id": 2}
 *     <- {"event": "DEVICE_GONE", "data": {...}, "timestamp": {...}}
 *
 * A client has one request and one answer in memory. Nothing more is read while a request is carried
 * out, or while its answer waits. A turn of a client is bounded. An event that a client
 * has no room for is dropped, and EVENTS_LOST tells later how many were.
 */
#ifndef OUTBOARD_SUPERVISOR_MONITOR_H
#define OUTBOARD_SUPERVISOR_MONITOR_H

#include <outboard/fault.h>

#include "os/loop.h"
#include "os/timer.h"
#include "supervisor/socket_access.h"
#include "wire/json_out.h"

#define MONITOR_GENERIC "GenericError"

struct monitor;
struct monitor_call;

/* A request to be answered now or later, by monitor_answer() or monitor_refuse(). */
typedef void (*monitor_fn)(void *argument, struct monitor_call *call);

struct monitor_config {
    struct loop *loop;
    struct timers *timers;
    const char *path; /* kept, as are the names */
    const char *machine;
    const char *device;                 /* of a view; NULL: the whole machine's */
    const struct socket_access *access; /* kept; NULL: for this user alone */
    monitor_fn called;
    void *argument;
};

/* Listens. 0 or a negative errno with the fault filled. */
int monitor_new(const struct monitor_config *config, struct monitor **ret_monitor,
                struct ob_fault *fault);
/* A view: calls of its clients come to the machine's monitor, with the device's name. */
int monitor_new_view(const struct monitor *machine, const char *path,
                     const struct socket_access *access, const char *device,
                     struct monitor **ret_monitor, struct ob_fault *fault);
/* Calls of the machine's monitor that are not answered must be by then; those of a view get no answer. May
 * be called within a call. NULL is fine. */
void monitor_free(struct monitor *monitor);

/* Of a request: the command's name, its arguments (NULL: none), and one argument's text (NULL: there
 * is no such argument, or it is no string). */
const char *monitor_command(const struct monitor_call *call);
const struct json *monitor_arguments(const struct monitor_call *call);
const char *monitor_text(const struct monitor_call *call, const char *name);
/* The device of the view that the request came by; NULL: it came by the machine's socket. For a view,
 * monitor_text() gives it as the argument "device", whatever the client has sent. */
const char *monitor_device(const struct monitor_call *call);

/* Where the value of the answer is written. If nothing is, it is {}. */
struct json_out *monitor_out(struct monitor_call *call);
/* Both send the answer and free the call. */
void monitor_answer(struct monitor_call *call);
void monitor_refuse(struct monitor_call *call, const char *class, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Sends the calling client events from now on, or no more. */
void monitor_want_events(struct monitor_call *call, bool want);
/* Sends an event to all who want events. `data` is the text of a JSON object; NULL: {}. */
void monitor_event(struct monitor *monitor, const char *name, const char *data);

#endif
