// SPDX-License-Identifier: BSD-3-Clause
#include "config_space.h"

#include <linux/pci_regs.h>
#include <stdbool.h>
#include <stdio.h>

#define FIRST_CAPABILITY 0x40u

const struct config_bit command_bits[] = {
    {PCI_COMMAND_IO, "I/O"},
    {PCI_COMMAND_MEMORY, "Mem"},
    {PCI_COMMAND_MASTER, "BusMaster"},
    {PCI_COMMAND_SPECIAL, "SpecCycle"},
    {PCI_COMMAND_INVALIDATE, "MemWINV"},
    {PCI_COMMAND_VGA_PALETTE, "VGASnoop"},
    {PCI_COMMAND_PARITY, "ParErr"},
    {PCI_COMMAND_WAIT, "Stepping"},
    {PCI_COMMAND_SERR, "SERR"},
    {PCI_COMMAND_FAST_BACK, "FastB2B"},
    {PCI_COMMAND_INTX_DISABLE, "DisINTx"},
    {0, NULL},
};

const struct config_bit status_bits[] = {
    {PCI_STATUS_CAP_LIST, "Cap"},
    {PCI_STATUS_66MHZ, "66MHz"},
    {PCI_STATUS_UDF, "UDF"},
    {PCI_STATUS_FAST_BACK, "FastB2B"},
    {PCI_STATUS_PARITY, "ParErr"},
    {PCI_STATUS_SIG_TARGET_ABORT, ">TAbort"},
    {PCI_STATUS_REC_TARGET_ABORT, "<TAbort"},
    {PCI_STATUS_REC_MASTER_ABORT, "<MAbort"},
    {PCI_STATUS_SIG_SYSTEM_ERROR, ">SERR"},
    {PCI_STATUS_DETECTED_PARITY, "<PERR"},
    {PCI_STATUS_INTERRUPT, "INTx"},
    {0, NULL},
};

uint32_t config_get(const uint8_t *config, unsigned offset, unsigned size)
{
    uint32_t value = 0;
    for (unsigned i = 0; i < size && offset + i < CONFIG_LEN; i++)
        value |= (uint32_t)config[offset + i] << (8 * i);
    return value;
}

const char *class_name(uint32_t class_code)
{
    static const char *const names[] = {
        "unclassified device",
        "mass storage controller",
        "network controller",
        "display controller",
        "multimedia controller",
        "memory controller",
        "bridge",
        "communication controller",
        "system peripheral",
        "input device controller",
        "docking station",
        "processor",
        "serial bus controller",
        "wireless controller",
        "intelligent controller",
        "satellite controller",
        "encryption controller",
        "signal processing controller",
        "processing accelerator",
        "instrumentation",
    };
    uint32_t base = class_code >> 16;
    return base < sizeof(names) / sizeof(names[0]) ? names[base] : "unassigned class";
}

static char mark(bool set)
{
    return set ? '+' : '-';
}

static void describe_power(const uint8_t *config, struct capability *capability)
{
    uint32_t caps = config_get(config, capability->offset + PCI_PM_PMC, 2);
    uint32_t control = config_get(config, capability->offset + PCI_PM_CTRL, 2);
    snprintf(capability->details, sizeof(capability->details), "version %u, in D%u",
             caps & PCI_PM_CAP_VER_MASK, control & PCI_PM_CTRL_STATE_MASK);
}

static void describe_msi(const uint8_t *config, struct capability *capability)
{
    uint32_t flags = config_get(config, capability->offset + PCI_MSI_FLAGS, 2);
    snprintf(capability->details, sizeof(capability->details),
             "Enable%c Count=%u/%u Maskable%c 64bit%c", mark(flags & PCI_MSI_FLAGS_ENABLE),
             1u << ((flags & PCI_MSI_FLAGS_QSIZE) >> 4), 1u << ((flags & PCI_MSI_FLAGS_QMASK) >> 1),
             mark(flags & PCI_MSI_FLAGS_MASKBIT), mark(flags & PCI_MSI_FLAGS_64BIT));
}

static void describe_msix(const uint8_t *config, struct capability *capability)
{
    uint32_t flags = config_get(config, capability->offset + PCI_MSIX_FLAGS, 2);
    uint32_t table = config_get(config, capability->offset + PCI_MSIX_TABLE, 4);
    uint32_t pending = config_get(config, capability->offset + PCI_MSIX_PBA, 4);
    snprintf(capability->details, sizeof(capability->details),
             "Enable%c Count=%u Masked%c, vector table: BAR=%u offset=%08x, PBA: BAR=%u "
             "offset=%08x",
             mark(flags & PCI_MSIX_FLAGS_ENABLE), (flags & PCI_MSIX_FLAGS_QSIZE) + 1,
             mark(flags & PCI_MSIX_FLAGS_MASKALL), table & PCI_MSIX_TABLE_BIR,
             table & PCI_MSIX_TABLE_OFFSET, pending & PCI_MSIX_PBA_BIR,
             pending & PCI_MSIX_PBA_OFFSET);
}

static void describe_express(const uint8_t *config, struct capability *capability)
{
    static const char *const types[] = {
        [PCI_EXP_TYPE_ENDPOINT] = "endpoint",
        [PCI_EXP_TYPE_LEG_END] = "legacy endpoint",
        [PCI_EXP_TYPE_RC_END] = "root complex integrated endpoint",
    };
    uint32_t flags = config_get(config, capability->offset + PCI_EXP_FLAGS, 2);
    uint32_t type = (flags & PCI_EXP_FLAGS_TYPE) >> 4;
    const char *name = type < sizeof(types) / sizeof(types[0]) ? types[type] : NULL;
    snprintf(capability->details, sizeof(capability->details), "version %u, %s",
             flags & PCI_EXP_FLAGS_VERS, name ? name : "no endpoint");
}

static void describe_vendor(const uint8_t *config, struct capability *capability)
{
    snprintf(capability->details, sizeof(capability->details), "length %02x",
             config_get(config, capability->offset + 2u, 1));
}

static const struct {
    uint8_t id;
    const char *name;
    void (*describe)(const uint8_t *config, struct capability *capability);
} known[] = {
    {PCI_CAP_ID_PM, "power management", describe_power},
    {PCI_CAP_ID_VPD, "vital product data", NULL},
    {PCI_CAP_ID_MSI, "MSI", describe_msi},
    {PCI_CAP_ID_VNDR, "vendor specific", describe_vendor},
    {PCI_CAP_ID_EXP, "PCI Express", describe_express},
    {PCI_CAP_ID_MSIX, "MSI-X", describe_msix},
    {PCI_CAP_ID_SATA, "SATA", NULL},
    {PCI_CAP_ID_AF, "advanced features", NULL},
};

static void describe(const uint8_t *config, struct capability *capability)
{
    snprintf(capability->name, sizeof(capability->name), "unknown, id %02x", capability->id);
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (known[i].id != capability->id)
            continue;
        snprintf(capability->name, sizeof(capability->name), "%s", known[i].name);
        if (known[i].describe)
            known[i].describe(config, capability);
    }
}

void capabilities_read(const uint8_t *config, struct capabilities *ret_capabilities)
{
    struct capabilities found = {0};
    bool seen[CONFIG_LEN] = {false};
    unsigned at = 0;
    if (config_get(config, PCI_STATUS, 2) & PCI_STATUS_CAP_LIST)
        at = config[PCI_CAPABILITY_LIST] & ~3u;
    while (at >= FIRST_CAPABILITY && !seen[at] && found.count < LIMIT_PCI_CAPABILITIES) {
        struct capability *capability = &found.list[found.count++];
        seen[at] = true;
        capability->id = config[at];
        capability->offset = (uint8_t)at;
        describe(config, capability);
        at = config[at + PCI_CAP_LIST_NEXT] & ~3u;
    }
    *ret_capabilities = found;
}
