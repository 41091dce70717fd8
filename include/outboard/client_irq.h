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
 * Connect INTx to descriptors of the VMM: a KVM irqfd and its resample eventfd. Both remain the
 * caller's.
 *
 * Returns 0; -EBADF for a descriptor that is not open; -EINVAL when a vfio-user device has no INTx;
 * or the errno of a call.
 */
OB_API int ob_client_set_intx(struct ob_client *client, int trigger_fd, int resample_fd);

/**
 * Handle INTx without KVM: ob_client_dispatch() calls the callback `intx_raised` when the line is
 * asserted. The line stays asserted until ob_client_intx_eoi().
 *
 * Returns as ob_client_set_intx(), or the errno of making eventfds.
 */
OB_API int ob_client_emulate_intx(struct ob_client *client);

/** The guest has ended the interrupt. The line is deasserted; if the device still asserts its
 * level, it is asserted again. */
OB_API void ob_client_intx_eoi(struct ob_client *client);

/**
 * vfio-user: have vectors signal eventfds, such as KVM irqfds. If another process can fill them,
 * they must be non-blocking.
 *
 * @fds: one for each of @count vectors, beginning with @start; they remain the caller's. NULL:
 *       these vectors signal nothing any more. @count 0: no vector of this kind signals.
 *
 * Returns 0; -EINVAL for vectors that the device does not have; -EBADF for a descriptor that is not
 * open; or the errno of a call. Vectors are set in groups of 16: those before the group that failed
 * are set.
 */
OB_API int ob_client_set_vectors(struct ob_client *client, enum ob_client_irq kind, unsigned start,
                                 unsigned count, const int *fds);

/** vfio-user: mask or unmask vectors. An interrupt while masked is signalled when unmasked. Returns
 * as ob_client_set_vectors(). */
OB_API int ob_client_mask_vectors(struct ob_client *client, enum ob_client_irq kind, unsigned start,
                                  unsigned count, bool masked);

/** vfio-user: have the device signal vectors without a cause, for tests. Returns as
 * ob_client_set_vectors(). */
OB_API int ob_client_trigger_vectors(struct ob_client *client, enum ob_client_irq kind,
                                     unsigned start, unsigned count);

#ifdef __cplusplus
}
#endif
#endif
