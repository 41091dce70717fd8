// SPDX-License-Identifier: BSD-3-Clause
/*
 * Client, interrupts: the destinations of INTx and of the vectors of a remote device. The rules of
 * client.h for errors, waiting and threads apply.
 */
#ifndef OUTBOARD_CLIENT_IRQ_H
#define OUTBOARD_CLIENT_IRQ_H

#include <outboard/client.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Give INTx a way of the VMM's own: a KVM irqfd and its resample eventfd. Both stay the caller's.
 *
 * Returns 0; -EBADF for a descriptor that is not open; -EINVAL when a vfio-user device has no INTx;
 * or the errno of a call.
 */
OB_API int ob_client_set_intx(struct ob_client *client, int trigger_fd, int resample_fd);

/**
 * Take INTx without KVM: the callback `intx_raised` is called when the line goes up, from
 * ob_client_dispatch(). The line stays up until ob_client_intx_eoi().
 *
 * Returns as ob_client_set_intx(), or the errno of making eventfds.
 */
OB_API int ob_client_emulate_intx(struct ob_client *client);

/** The guest has ended the interrupt: the line is down, and goes up again if the device still holds
 * its end. */
OB_API void ob_client_intx_eoi(struct ob_client *client);

/**
 * vfio-user: have vectors signal eventfds, such as KVM irqfds. They must be non-blocking if anybody
 * else may fill them.
 *
 * @fds: one for each of @count vectors from @start on; they stay the caller's. NULL: these vectors
 *       signal nothing any more. @count 0: nothing of this kind does.
 *
 * Returns 0; -EINVAL for vectors that the device does not have; -EBADF for a descriptor that is not
 * open; or the errno of a call. Of more than 16 vectors, those before the failing 16 are set.
 */
OB_API int ob_client_set_vectors(struct ob_client *client, enum ob_client_irq kind, unsigned start,
                                 unsigned count, const int *fds);

/** vfio-user: mask or unmask vectors; an interrupt while masked is signalled when unmasked. As
 * above. */
OB_API int ob_client_mask_vectors(struct ob_client *client, enum ob_client_irq kind, unsigned start,
                                  unsigned count, bool masked);

/** vfio-user: have the device signal vectors as if it had reason to, for tests. As above. */
OB_API int ob_client_trigger_vectors(struct ob_client *client, enum ob_client_irq kind,
                                     unsigned start, unsigned count);

#ifdef __cplusplus
}
#endif
#endif
