// SPDX-License-Identifier: BSD-3-Clause
/* outboard ctl: printing of answers. */
#ifndef OUTBOARD_PROGRAMS_CTL_H
#define OUTBOARD_PROGRAMS_CTL_H

#include "control_client.h"

/* An answer for people: a table for an array of objects, else NAME: VALUE lines. */
void ctl_print(const struct json *value);
/* An event on a line: its name, and its data. */
void ctl_print_event(const struct json *event);
/* The answers of stats, list and status in Prometheus' text format. */
void ctl_print_prometheus(const char *machine, const struct json *stats, const struct json *list,
                          const struct json *status);

#endif
