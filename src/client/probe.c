// SPDX-License-Identifier: BSD-3-Clause
#include "client/probe.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/pci_regs.h>

#define REGISTER_COUNT (OB_BAR_COUNT + 1) /* as QEMU's proxy counts them */
#define NO_VENDOR      0xffffu

/* Reads a field of configuration space unless an earlier access failed. */
static uint32_t field(const struct probe_config *config, uint32_t offset, unsigned size, int *err)
{
    uint32_t value = 0;
    if (*err == 0)
        *err = config->read(config->context, offset, size, &value);
    return value;
}

static int read_ids(const struct probe_config *config, struct ob_client_info *info)
{
    int err = 0;
    info->vendor_id = (uint16_t)field(config, PCI_VENDOR_ID, 2, &err);
    info->device_id = (uint16_t)field(config, PCI_DEVICE_ID, 2, &err);
    uint32_t class = field(config, PCI_CLASS_DEVICE, 2, &err);
    info->subsystem_vendor_id = (uint16_t)field(config, PCI_SUBSYSTEM_VENDOR_ID, 2, &err);
    info->subsystem_id = (uint16_t)field(config, PCI_SUBSYSTEM_ID, 2, &err);
    info->class_code = class << 8 | field(config, PCI_CLASS_PROG, 1, &err);
    info->revision = (uint8_t)field(config, PCI_REVISION_ID, 1, &err);
    info->intx = field(config, PCI_INTERRUPT_PIN, 1, &err) != 0;
    return err;
}

/* Finds which bits of a register stay when all ones are written, and puts the old ones back. */
static int size_register(const struct probe_config *config, uint32_t offset, uint32_t *ret_stays)
{
    int err = 0;
    uint32_t old = field(config, offset, 4, &err);
    if (err == 0)
        err = config->write(config->context, offset, 4, UINT32_MAX);
    uint32_t stays = field(config, offset, 4, &err);
    if (err == 0)
        err = config->write(config->context, offset, 4, old);
    if (err == 0)
        *ret_stays = stays;
    return err;
}

void probe_bar_kind(uint32_t low, struct ob_client_bar *ret_bar)
{
    if (low & PCI_BASE_ADDRESS_SPACE_IO) {
        ret_bar->kind = OB_BAR_IO;
        return;
    }
    bool wide = (low & PCI_BASE_ADDRESS_MEM_TYPE_MASK) == PCI_BASE_ADDRESS_MEM_TYPE_64;
    ret_bar->kind = wide ? OB_BAR_MEM64 : OB_BAR_MEM32;
    ret_bar->flags = (low & PCI_BASE_ADDRESS_MEM_PREFETCH) ? OB_BAR_PREFETCHABLE : 0;
}

/* Makes a BAR of the bits that stayed in its register, or in its two. */
static int describe_bar(const uint32_t *stays, unsigned index, struct ob_client_bar *ret_bar,
                        struct ob_fault *fault)
{
    struct ob_client_bar bar = {0};
    if (stays[index] == 0)
        return 0;
    probe_bar_kind(stays[index], &bar);
    uint64_t mask;
    if (bar.kind == OB_BAR_IO) /* the upper half may be left out */
        mask = (stays[index] & PCI_BASE_ADDRESS_IO_MASK) | ~UINT64_C(0xffff);
    else
        mask = (stays[index] & PCI_BASE_ADDRESS_MEM_MASK) | ~UINT64_C(0xffffffff);
    if (bar.kind == OB_BAR_MEM64 && index + 1 == OB_BAR_COUNT)
        return ob_fault_set(fault, -EPROTO, "BAR %u has 64 bits, but is the last one", index);
    if (bar.kind == OB_BAR_MEM64)
        mask = (mask & UINT32_MAX) | (uint64_t)stays[index + 1] << 32;
    bar.size = ~mask + 1;
    if (mask == 0 || (bar.size & (bar.size - 1))) /* 0: 64 bits, and none of them stays */
        return ob_fault_set(fault, -EPROTO,
                            "BAR %u: got the bits 0x%" PRIx64
                            " after a write of all ones, which are not a size",
                            index, mask);
    *ret_bar = bar;
    return 0;
}

static int describe_bars(const uint32_t *stays, struct ob_client_bar *bars, struct ob_fault *fault)
{
    for (unsigned i = 0; i < OB_BAR_COUNT; i++) {
        int err = describe_bar(stays, i, &bars[i], fault);
        if (err < 0)
            return err;
        if (bars[i].kind == OB_BAR_MEM64)
            i++;
    }
    return 0;
}

int probe_ids(const struct probe_config *config, struct ob_client_info *info,
              struct ob_fault *fault)
{
    int err = read_ids(config, info);
    if (err == 0 && info->vendor_id == NO_VENDOR)
        return ob_fault_set(fault, -ENODEV, "the ids read as all ones: there is no device");
    return err;
}

int probe_device(const struct probe_config *config, struct ob_client_info *ret_info,
                 struct ob_fault *fault)
{
    struct ob_client_info info = {0};
    uint32_t stays[REGISTER_COUNT] = {0};
    int err = probe_ids(config, &info, fault);
    for (unsigned i = 0; i < REGISTER_COUNT && err == 0; i++)
        err = size_register(config, PCI_BASE_ADDRESS_0 + 4 * i, &stays[i]);
    if (err == 0)
        err = describe_bars(stays, info.bars, fault);
    if (err < 0)
        return err;
    info.seventh_region = (stays[OB_BAR_COUNT] & (uint32_t)PCI_BASE_ADDRESS_MEM_MASK) != 0;
    *ret_info = info;
    return 0;
}
