// SPDX-License-Identifier: BSD-3-Clause
/*
 * A device in a vault (vault.h). Its parts are flags, configuration space, masks of interrupts, the
 * MSI-X table and the author's state; its descriptors are those of memory, vectors, doorbells and
 * memory BARs.
 */
#ifndef OUTBOARD_DEVICE_DEVICE_VAULT_H
#define OUTBOARD_DEVICE_DEVICE_VAULT_H

#include <outboard/device.h>

#include "device/vault.h"
#include "memory/memory.h"

/* NULL: the device ends with its process. */
struct vault *device_vault(const struct ob_device *device);

/* A new device keeps itself in an empty vault from now on. -EINVAL with the fault filled if its
 * author has named no state. */
int device_use_vault(struct ob_device *device, struct vault *vault, struct ob_fault *fault);

/* A new device, fitted to its wire, becomes the one in the vault, and keeps itself there.
 * All descriptors are ours (vault_own()). 0, or -EINVAL or another errno with the fault filled. */
int device_resume(struct ob_device *device, struct vault *vault, struct ob_fault *fault);
/* The engine is ready too: the author's resumed(), and doorbells that may have been rung. */
void device_resumed(struct ob_device *device);

/* Writes all changes, for the next commit. Where the author's state has to be saved, it is written
 * by the second one alone. */
void device_vault_put(struct ob_device *device);
void device_vault_save(struct ob_device *device);

/* A descriptor of the peer's, or of ours that the peer uses, is kept in the vault, if there is one, in
 * place of the one with the same kind, a and b; -1: none is. */
void device_keep(struct ob_device *device, enum vault_kind kind, unsigned a, unsigned b, int fd);
/* Closes a descriptor, if there is a vault after the commit. */
void device_let_go(struct ob_device *device, int fd);

/* Memory that the peer has shared; fd is taken over. All of it is forgotten, or that at an address.
 * `kind`: VAULT_MEMORY is the device's as it is; the others are the wire's. */
void device_keep_memory(struct ob_device *device, enum vault_kind kind,
                        const struct memory_region_desc *desc);
void device_forget_memory(struct ob_device *device, enum vault_kind kind, const uint64_t *gpa);
/* The regions of a kind that the vault has, with our numbers of their descriptors; at most `most`. */
unsigned device_kept_memory(const struct vault *vault, enum vault_kind kind,
                            struct memory_region_desc *ret_descs, unsigned most);

#endif
