// SPDX-License-Identifier: BSD-3-Clause
/*
 * Probe: a device's description, found by the accesses that QEMU's multi-process proxy makes.
 *
 * Ids first, then seven registers from 0x10 on: the six BARs, and one more that a device of type 0
 * does not have (0x28). Of each the old value is read, all ones are written, the register is read again,
 * and the old value is written back; the bits that stay tell kind and size (PCI Local Bus 3.0,
 * section 6.2.5.1).
 */
#ifndef OUTBOARD_CLIENT_PROBE_H
#define OUTBOARD_CLIENT_PROBE_H

#include <outboard/client.h>
#include <outboard/fault.h>

/* The way to configuration space. Each returns 0 or a negative errno, which ends the probe. */
struct probe_config {
    int (*read)(void *context, uint32_t offset, unsigned size, uint32_t *ret_value);
    int (*write)(void *context, uint32_t offset, unsigned size, uint32_t value);
    void *context;
};

/* Reads the ids, the class and the interrupt pin into *info. 0, -ENODEV with the fault filled when
 * nothing is there, or the errno of an access. */
int probe_ids(const struct probe_config *config, struct ob_client_info *info,
              struct ob_fault *fault);

/* The meaning of the low bits of a BAR's register: kind, and OB_BAR_PREFETCHABLE. */
void probe_bar_kind(uint32_t low, struct ob_client_bar *ret_bar);

/* As ob_client_probe(). */
int probe_device(const struct probe_config *config, struct ob_client_info *ret_info,
                 struct ob_fault *fault);

#endif
