// SPDX-License-Identifier: BSD-3-Clause
/* The hub's use of its ends. */
#ifndef OUTBOARD_PORT_END_INTERNAL_H
#define OUTBOARD_PORT_END_INTERNAL_H

#include <stdbool.h>

#include "port/hub_internal.h"

/* Whether an end needs a process outside the cell, and the needs of that process. */
bool end_needs_connector(const struct port_hub *hub, struct connector_needs *ret_needs);

/* In the connector: the target of a key, and the removal of paths. */
int end_resolve(const struct port_hub *hub, uint64_t key, struct connector_target *ret_target);
void end_remove_paths(const struct port_hub *hub);

/* An answer of the connector. fd: the callee's, or -1. */
void end_take_answer(struct port_hub *hub, const struct connector_answer *answer, int fd);

void end_free_all(struct port_hub *hub);

#endif
