// SPDX-License-Identifier: BSD-3-Clause
#include "report.h"

#include <inttypes.h>
#include <linux/pci_regs.h>
#include <stdio.h>

uint64_t report_bar_address(const struct report *report, unsigned bar)
{
    const struct ob_client_bar *desc = &report->info.bars[bar];
    uint64_t address = config_get(report->config, PCI_BASE_ADDRESS_0 + 4 * bar, 4);
    if (desc->kind == OB_BAR_MEM64)
        address |= (uint64_t)config_get(report->config, PCI_BASE_ADDRESS_0 + 4 * (bar + 1), 4)
                   << 32;
    return address & ~(desc->size - 1);
}

const char *const vector_names[OB_CLIENT_IRQ_KINDS] = {
    [OB_CLIENT_INTX] = "INTx",   [OB_CLIENT_MSI] = "MSI",         [OB_CLIENT_MSIX] = "MSI-X",
    [OB_CLIENT_ERROR] = "error", [OB_CLIENT_REQUEST] = "request",
};

static void print_bits(const char *title, uint32_t value, const struct config_bit *bits)
{
    printf("\t%s:", title);
    for (; bits->name; bits++)
        printf(" %s%c", bits->name, value & bits->mask ? '+' : '-');
    putchar('\n');
}

static void print_size(uint64_t size)
{
    static const char units[] = {'\0', 'K', 'M', 'G'};
    unsigned unit = 0;
    while (size >= 1024 && unit < sizeof(units) - 1) {
        size /= 1024;
        unit++;
    }
    printf(" [size=%" PRIu64 "%.1s]\n", size, &units[unit]);
}

static void print_bar(const struct report *report, unsigned index)
{
    const struct ob_client_bar *bar = &report->info.bars[index];
    uint64_t address = report_bar_address(report, index);
    if (bar->kind == OB_BAR_NONE)
        return;
    if (bar->kind == OB_BAR_IO)
        printf("\tRegion %u: I/O ports at %04" PRIx64, index, address);
    else
        printf("\tRegion %u: Memory at %08" PRIx64 " (%s-bit, %sprefetchable)", index, address,
               bar->kind == OB_BAR_MEM64 ? "64" : "32",
               bar->flags & OB_BAR_PREFETCHABLE ? "" : "non-");
    print_size(bar->size);
    for (unsigned i = 0; i < report->num_areas[index]; i++) {
        const struct ob_client_area *area = &report->areas[index][i];
        printf("\t\tMappable: %" PRIx64 "-%" PRIx64 "%s\n", area->offset,
               area->offset + area->len - 1, area->sealed ? "" : " (not sealed)");
    }
}

static void print_vectors(const struct report *report)
{
    const char *before = "\tVectors: ";
    for (unsigned i = OB_CLIENT_MSI; i < OB_CLIENT_IRQ_KINDS; i++) {
        if (report->info.vectors[i] == 0)
            continue;
        printf("%s%s %u", before, vector_names[i], report->info.vectors[i]);
        before = ", ";
    }
    if (before[0] == ',')
        putchar('\n');
}

static char pin_letter(const struct report *report)
{
    uint8_t pin = report->config[PCI_INTERRUPT_PIN];
    return pin >= 1 && pin <= 4 ? (char)('A' + pin - 1) : '?';
}

void report_print_text(const struct report *report)
{
    const struct ob_client_info *info = &report->info;
    printf("%04x:%04x %s [%04x] (rev %02x) (prog-if %02x)\n", info->vendor_id, info->device_id,
           class_name(info->class_code), info->class_code >> 8, info->revision,
           info->class_code & 0xff);
    printf("\tSubsystem: %04x:%04x\n", info->subsystem_vendor_id, info->subsystem_id);
    print_bits("Control", config_get(report->config, PCI_COMMAND, 2), command_bits);
    print_bits("Status", config_get(report->config, PCI_STATUS, 2), status_bits);
    if (info->intx)
        printf("\tInterrupt: pin %c routed to IRQ %u\n", pin_letter(report),
               report->config[PCI_INTERRUPT_LINE]);
    for (unsigned i = 0; i < OB_BAR_COUNT; i++)
        print_bar(report, i);
    if (report->info.seventh_region)
        puts("\tFault: offset 0x28 answers as a BAR does; QEMU would take it for a seventh one");
    print_vectors(report);
    if (report->migrates)
        puts("\tMigration: its state can be saved and loaded");
    for (unsigned i = 0; i < report->capabilities.count; i++) {
        const struct capability *capability = &report->capabilities.list[i];
        printf("\tCapabilities: [%02x] %s%s%s\n", capability->offset, capability->name,
               capability->details[0] ? ": " : "", capability->details);
    }
}
