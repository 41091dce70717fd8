// SPDX-License-Identifier: BSD-3-Clause
/*
 * Front of a guest's own qemu-ga, which serves one client and has one parser: a socket for any number of
 * clients, whose requests reach it one after the other.
 */
#ifndef OUTBOARD_PROXY_QGA_FRONT_H
#define OUTBOARD_PROXY_QGA_FRONT_H

#include <outboard/fault.h>

struct proxy;
struct qga_front;

/* The service by which the other end offers its qemu-ga. */
#define QGA_SERVICE "qga"

/* Listens at options.stock_qga, if it is given; else *ret_front is NULL. 0 or a negative errno with the
 * fault filled. */
int qga_front_new(struct proxy *proxy, struct qga_front **ret_front, struct ob_fault *fault);
/* NULL is fine. */
void qga_front_free(struct qga_front *front);

#endif
