// SPDX-License-Identifier: BSD-3-Clause
/* Buffers of a port's queues: taken, filled, and emptied into the host's end. */
#ifndef VMCHANNEL_CHAINS_H
#define VMCHANNEL_CHAINS_H

#include "port.h"

/* Bytes of a guest that has gone that are kept for its peer: a ring of 32 buffers of 32 KiB. */
#define PORT_REST_MAX (1u << 20)

/* Takes all that a queue has. */
void chains_take(struct port *port, bool is_input);
/* Whether the last chains_take() of output has left nothing there. */
bool chains_has_all(const struct port *port);

/* Moves bytes from the host's end to the guest, at most `budget`. Returns how many; *ret_end: the peer
 * has ended its direction. */
size_t chains_fill(struct port *port, size_t budget, bool *ret_end);
/* Moves bytes of a buffer to the guest. Returns how many fit. */
size_t chains_put(struct port *port, const void *bytes, size_t len);

/* Moves bytes from the guest to the host's end, at most about `budget`. Returns how many. */
size_t chains_drain(struct port *port, size_t budget);
/* Moves the rest of a guest that has gone, and nothing of its successor. Returns true if all is
 * done. */
bool chains_drain_rest(struct port *port);
/* Passes the guest's bytes to the agent's front. */
size_t chains_drain_to_agent(struct port *port, size_t budget);
/* A console's: bytes that the peer does not take at once wait, and are dropped beyond a bound. */
size_t chains_drain_console(struct port *port, size_t budget);

/* Forgets the guest's bytes, and counts them. */
void chains_drop(struct port *port);
/* Keeps a copy of the guest's bytes, for its peer. Those beyond PORT_REST_MAX are lost, unless the chains stay: then
 * they are given back as they are, and taken again later. */
void chains_keep(struct port *port, bool stays);
/* Forgets the copy. */
void chains_forget_rest(struct port *port);

/* Gives the chains back as they are. */
void chains_return(struct port *port, bool is_input);

#endif
