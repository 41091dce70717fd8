// SPDX-License-Identifier: BSD-3-Clause
/*
 * Process filter: which system calls the filters of a running process allow.
 *
 * Only root can read filters, and only of a process that is stopped: it is stopped for less than a
 * millisecond. The filters are not run but followed, with the call's number known and its arguments
 * unknown.
 */
#ifndef OUTBOARD_PROGRAMS_PROCESS_FILTER_H
#define OUTBOARD_PROGRAMS_PROCESS_FILTER_H

#include <linux/filter.h>
#include <sys/types.h>

#define PROCESS_FILTERS      16
#define PROCESS_FILTER_CALLS 512 /* numbers of calls that are looked at */

enum process_filter_verdict {
    PROCESS_FILTER_REFUSED,
    PROCESS_FILTER_BY_ARGUMENT,
    PROCESS_FILTER_ALLOWED,
};

struct process_filters {
    unsigned count;
    struct {
        unsigned short len;
        struct sock_filter *code;
    } filter[PROCESS_FILTERS];
};

/* Reads the filters of the process. 0 or a negative errno. */
int process_filters_read(pid_t pid, struct process_filters *ret_filters);
void process_filters_done(struct process_filters *filters);

/* The verdict of all filters together. */
enum process_filter_verdict process_filters_judge(const struct process_filters *filters, int call);

#endif
