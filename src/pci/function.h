// SPDX-License-Identifier: BSD-3-Clause
/*
 * PCI function: configuration space and the decoding that follows from it.
 *
 * Configuration space is four byte tables of the same length: the bytes now, the bytes after reset,
 * which bits the guest may write, and which of these it clears by writing one. A write is applied
 * byte by byte, whatever its width and offset; its consequences (where the BARs are, whether
 * they decode, whether the function may do DMA) are then derived from the new bytes.
 *
 * Source: PCI Local Bus Specification 3.0, chapter 6; PCI Express Base 4.0, section 7.5.
 */
#ifndef OUTBOARD_PCI_FUNCTION_H
#define OUTBOARD_PCI_FUNCTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <outboard/device.h>

#define PCI_CONVENTIONAL_CONFIG_LEN 256u
#define PCI_EXPRESS_CONFIG_LEN      4096u

struct pci_function {
    uint32_t config_len;
    uint8_t *config;
    uint8_t *defaults;
    uint8_t *writable;
    uint8_t *write_one_clears;
    struct ob_bar bars[OB_BAR_COUNT];
    uint64_t base[OB_BAR_COUNT]; /* where the guest put each BAR */
    bool decoded[OB_BAR_COUNT];  /* whether accesses there are the function's */
    /* The bytes before hiding and narrowing: the tables and the BARs. */
    bool fitted;
    uint8_t *own_defaults;
    uint8_t *own_writable;
    struct ob_bar own_bars[OB_BAR_COUNT];
    uint8_t last_capability;     /* offset of the newest one, 0: none */
    uint8_t end_of_capabilities; /* first free byte behind them */
};

/* Checks the description and lays configuration space out. -EINVAL with the fault filled, -ENOMEM.
 */
int pci_function_init(struct pci_function *function, const struct ob_device_desc *desc,
                      struct ob_fault *fault);
/* Other ids than those of the description; before the function is fitted to a wire. */
void pci_function_set_ids(struct pci_function *function, uint16_t vendor_id, uint16_t device_id);
void pci_function_done(struct pci_function *function);

/* As ob_device_add_capability(). */
int pci_function_add_capability(struct pci_function *function, uint8_t id, const uint8_t *body,
                                const uint8_t *writable, size_t len);

/* Takes a capability out of the list, for wires that can't carry the feature that it announces. */
void pci_function_hide_capability(struct pci_function *function, uint8_t id);

/* For wires without 64-bit BARs: presents them as 32-bit ones, at no address yet. -ENOTSUP when one
 * is too large. */
int pci_function_narrow_bars(struct pci_function *function, struct ob_fault *fault);

/* Undoes both, for the next wire. The guest's writes stay where that is possible. */
void pci_function_unfit(struct pci_function *function);

/* Everything back to the defaults. */
void pci_function_reset(struct pci_function *function);

/* Whether config_len bytes of another configuration space are the same except for the bits that a guest can
 * write and the status register. */
bool pci_function_matches(const struct pci_function *function, const uint8_t *config);
/* Takes over the bits that a guest can write from such bytes; -EINVAL when they do not match. */
int pci_function_restore(struct pci_function *function, const uint8_t *config);

/* Reads 1 to 4 bytes; all ones beyond the end, with -EINVAL. */
int pci_config_read(const struct pci_function *function, uint32_t offset, unsigned size,
                    uint32_t *ret_value);
/* Writes 1 to 4 bytes; -EINVAL and no effect beyond the end. */
int pci_config_write(struct pci_function *function, uint32_t offset, unsigned size, uint32_t value);

/* Finds the BAR that decodes size bytes at an address of port or memory space. Returns its index
 * with the offset into it, or -ENXIO. */
int pci_function_decode(const struct pci_function *function, bool memory_space, uint64_t address,
                        unsigned size, uint64_t *ret_offset);

/* Whether the guest has enabled bus mastering. */
bool pci_function_may_master(const struct pci_function *function);
/* Whether the guest has disabled INTx. */
bool pci_function_intx_disabled(const struct pci_function *function);
/* Sets or clears the interrupt bit of the status register. */
void pci_function_set_interrupt_status(struct pci_function *function, bool raised);

#endif
