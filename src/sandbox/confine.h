// SPDX-License-Identifier: BSD-3-Clause
/*
 * Confine: the cell of any program (cell.h), as its options ask for it, with its messages.
 */
#ifndef OUTBOARD_SANDBOX_CONFINE_H
#define OUTBOARD_SANDBOX_CONFINE_H

#include <outboard/fault.h>

#include "sandbox/cell.h"

enum confine_how {
    CONFINE_NONE,
    CONFINE_DEFAULT,  /* the parts that the kernel allows; the rest is told */
    CONFINE_REQUIRED, /* a part that the kernel refuses is an error */
};

/* --cell, --cell-policy, --label, --user, --print-cell. */
struct confine_options {
    enum confine_how how;
    bool print;
    const char *policy; /* a file of the user's; NULL: none */
    const char *label;  /* for label_take(); NULL: the launcher's label */
    uid_t user;         /* that root becomes; 0: one is drawn */
};

struct confinement {
    const char *program; /* a refused call is told under this name */
    enum confine_how how;
    bool quiet; /* with CONFINE_DEFAULT, a part that the kernel refuses is not told */
    struct cell_plan plan;
    struct policy *policy; /* NULL: no cell */
    struct cell_report report;
};

/* The values of --cell and --user. 0 or a negative errno with the fault filled; ret_* are untouched
 * then. */
int confine_parse_how(const char *value, enum confine_how *ret_how, struct ob_fault *fault);
int confine_parse_user(const char *value, uid_t *ret_user, struct ob_fault *fault);

/* Reads the user's policy. The plan may be changed until confine_leave(). Without a cell this and
 * all that follows does nothing. 0 or a negative errno with the fault filled. */
int confine_prepare(struct confinement *confinement, const char *program,
                    const struct confine_options *options, struct ob_fault *fault);

/* Adds the lines of a policy; text NULL: none. 0 or a negative errno with the fault filled. */
int confine_allow(struct confinement *confinement, const char *text, const char *origin,
                  struct ob_fault *fault);

/* cell_leave(), cell_close() and cell_settle(). A part that the kernel refuses is told in a line, or is a fault
 * with CONFINE_REQUIRED. 0 or a negative errno. */
int confine_leave(struct confinement *confinement, struct ob_fault *fault);
int confine_close(struct confinement *confinement, struct ob_fault *fault);
int confine_settle(struct confinement *confinement, struct ob_fault *fault);

/* Goes through all and prints their results, for --print-cell. */
void confine_print(struct confinement *confinement);

#endif
