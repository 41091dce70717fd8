// SPDX-License-Identifier: BSD-3-Clause
#include "pci/function.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/pci_regs.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_CAPABILITY 0x40u
#define GIB              (UINT64_C(1) << 30)

static void put16(uint8_t *table, uint32_t offset, uint16_t value)
{
    table[offset] = (uint8_t)value;
    table[offset + 1] = (uint8_t)(value >> 8);
}

static void put32(uint8_t *table, uint32_t offset, uint32_t value)
{
    put16(table, offset, (uint16_t)value);
    put16(table, offset + 2, (uint16_t)(value >> 16));
}

static uint32_t get(const uint8_t *table, uint32_t offset, unsigned size)
{
    uint32_t value = 0;
    for (unsigned i = 0; i < size; i++)
        value |= (uint32_t)table[offset + i] << (8 * i);
    return value;
}

static uint32_t bar_register(unsigned bar)
{
    return PCI_BASE_ADDRESS_0 + 4 * bar;
}

/* The largest and smallest size of each kind; section 6.2.5.1. */
static int check_bar(const struct ob_device_desc *desc, unsigned index, struct ob_fault *fault)
{
    const struct ob_bar *bar = &desc->bars[index];
    static const struct {
        uint64_t min, max;
    } limits[] = {
        [OB_BAR_IO] = {4, 256},
        [OB_BAR_MEM32] = {16, 2 * GIB},
        [OB_BAR_MEM64] = {16, 4 * GIB},
    };
    if (bar->kind == OB_BAR_NONE)
        return 0;
    if (bar->kind > OB_BAR_MEM64)
        return ob_fault_set(fault, -EINVAL, "%s: BAR %u has an unknown kind", desc->name, index);
    if (bar->size & (bar->size - 1) || bar->size < limits[bar->kind].min ||
        bar->size > limits[bar->kind].max)
        return ob_fault_set(fault, -EINVAL,
                            "%s: BAR %u: got a size of %" PRIu64
                            " bytes, expected a power of two from %" PRIu64 " to %" PRIu64,
                            desc->name, index, bar->size, limits[bar->kind].min,
                            limits[bar->kind].max);
    if (bar->kind == OB_BAR_IO && bar->flags)
        return ob_fault_set(fault, -EINVAL,
                            "%s: BAR %u: port space can't be prefetchable or memory", desc->name,
                            index);
    if (bar->flags & OB_BAR_MEMORY && bar->size % 4096)
        return ob_fault_set(fault, -EINVAL, "%s: BAR %u: memory must be whole pages of 4096",
                            desc->name, index);
    if (bar->flags & OB_BAR_MEMORY &&
        ((bar->memory.offset | bar->memory.len) % 4096 || bar->memory.offset > bar->size ||
         bar->memory.len > bar->size - bar->memory.offset))
        return ob_fault_set(fault, -EINVAL,
                            "%s: the memory of BAR %u is not whole pages of 4096 within it",
                            desc->name, index);
    if (bar->kind == OB_BAR_MEM64 &&
        (index + 1 == OB_BAR_COUNT || desc->bars[index + 1].kind != OB_BAR_NONE))
        return ob_fault_set(fault, -EINVAL,
                            "%s: BAR %u has 64 bits and needs the register of the next BAR too",
                            desc->name, index);
    return 0;
}

static void lay_out_bar(struct pci_function *function, unsigned index)
{
    const struct ob_bar *bar = &function->bars[index];
    uint32_t at = bar_register(index);
    uint64_t mask = ~(bar->size - 1);
    uint32_t type = 0;
    if (bar->kind == OB_BAR_IO)
        type = PCI_BASE_ADDRESS_SPACE_IO;
    else if (bar->kind == OB_BAR_MEM64)
        type = PCI_BASE_ADDRESS_MEM_TYPE_64;
    if (bar->flags & OB_BAR_PREFETCHABLE)
        type |= PCI_BASE_ADDRESS_MEM_PREFETCH;
    put32(function->defaults, at, type);
    put32(function->writable, at, (uint32_t)mask);
    if (bar->kind == OB_BAR_MEM64) {
        put32(function->defaults, at + 4, 0);
        put32(function->writable, at + 4, (uint32_t)(mask >> 32));
    }
}

static void lay_out_bars(struct pci_function *function)
{
    for (unsigned i = 0; i < OB_BAR_COUNT; i++)
        if (function->bars[i].kind != OB_BAR_NONE)
            lay_out_bar(function, i);
}

static void lay_out_header(struct pci_function *function, const struct ob_device_desc *desc)
{
    uint8_t *defaults = function->defaults;
    uint16_t command = PCI_COMMAND_SERR | PCI_COMMAND_PARITY;
    put16(defaults, PCI_VENDOR_ID, desc->vendor_id);
    put16(defaults, PCI_DEVICE_ID, desc->device_id);
    put32(defaults, PCI_CLASS_REVISION, desc->class_code << 8 | desc->revision);
    put16(defaults, PCI_SUBSYSTEM_VENDOR_ID, desc->subsystem_vendor_id);
    put16(defaults, PCI_SUBSYSTEM_ID, desc->subsystem_id);
    for (unsigned i = 0; i < OB_BAR_COUNT; i++) {
        if (desc->bars[i].kind == OB_BAR_IO)
            command |= PCI_COMMAND_IO;
        else if (desc->bars[i].kind != OB_BAR_NONE)
            command |= PCI_COMMAND_MEMORY;
    }
    if (desc->always_master)
        put16(defaults, PCI_COMMAND, PCI_COMMAND_MASTER);
    else
        command |= PCI_COMMAND_MASTER;
    if (desc->intx) {
        defaults[PCI_INTERRUPT_PIN] = 1;
        command |= PCI_COMMAND_INTX_DISABLE;
    }
    put16(function->writable, PCI_COMMAND, command);
    function->write_one_clears[PCI_STATUS + 1] = 0xf9; /* the error bits, section 6.2.3 */
    function->writable[PCI_CACHE_LINE_SIZE] = 0xff;
    function->writable[PCI_INTERRUPT_LINE] = 0xff;
}

int pci_function_init(struct pci_function *function, const struct ob_device_desc *desc,
                      struct ob_fault *fault)
{
    for (unsigned i = 0; i < OB_BAR_COUNT; i++) {
        int err = check_bar(desc, i, fault);
        if (err < 0)
            return err;
    }
    const size_t len = desc->express ? PCI_EXPRESS_CONFIG_LEN : PCI_CONVENTIONAL_CONFIG_LEN;
    uint8_t *tables = calloc(6, len);
    if (!tables)
        return ob_fault_set(fault, -ENOMEM, "%s: no memory for configuration space", desc->name);
    *function = (struct pci_function){.config_len = (uint32_t)len,
                                      .config = tables,
                                      .defaults = tables + len,
                                      .writable = tables + 2 * len,
                                      .write_one_clears = tables + 3 * len,
                                      .own_defaults = tables + 4 * len,
                                      .own_writable = tables + 5 * len,
                                      .end_of_capabilities = FIRST_CAPABILITY};
    memcpy(function->bars, desc->bars, sizeof(function->bars));
    lay_out_header(function, desc);
    lay_out_bars(function);
    pci_function_reset(function);
    return 0;
}

void pci_function_set_ids(struct pci_function *function, uint16_t vendor_id, uint16_t device_id)
{
    put16(function->defaults, PCI_VENDOR_ID, vendor_id);
    put16(function->defaults, PCI_DEVICE_ID, device_id);
    pci_function_reset(function);
}

void pci_function_done(struct pci_function *function)
{
    free(function->config);
    *function = (struct pci_function){0};
}

int pci_function_add_capability(struct pci_function *function, uint8_t id, const uint8_t *body,
                                const uint8_t *writable, size_t len)
{
    /* Capabilities start on four bytes; the two low bits of a pointer to one are reserved. */
    unsigned at = function->end_of_capabilities;
    if (at == 0 || len > PCI_CONVENTIONAL_CONFIG_LEN - 2 ||
        at + 2 + len > PCI_CONVENTIONAL_CONFIG_LEN)
        return -ENOSPC;
    uint8_t *defaults = function->defaults;
    defaults[at] = id;
    if (len > 0)
        memcpy(&defaults[at + 2], body, len);
    if (writable)
        memcpy(&function->writable[at + 2], writable, len);
    unsigned link =
        function->last_capability ? function->last_capability + 1u : PCI_CAPABILITY_LIST;
    defaults[link] = (uint8_t)at;
    defaults[PCI_STATUS] |= PCI_STATUS_CAP_LIST;
    function->last_capability = (uint8_t)at;
    function->end_of_capabilities = (uint8_t)((at + 2 + len + 3) & ~3u); /* 256 becomes 0: full */
    pci_function_reset(function);
    return (int)at;
}

/* Remembers the function as it is, before it is fitted to a wire. */
static void keep_own(struct pci_function *function)
{
    if (function->fitted)
        return;
    memcpy(function->own_defaults, function->defaults, function->config_len);
    memcpy(function->own_writable, function->writable, function->config_len);
    memcpy(function->own_bars, function->bars, sizeof(function->bars));
    function->fitted = true;
}

/* The list is short and ours: no guest has a say in where its links lead. */
static void unlink_capability(uint8_t *table, uint8_t id)
{
    uint8_t *link = &table[PCI_CAPABILITY_LIST];
    while (*link && table[*link] != id)
        link = &table[*link + 1];
    if (*link)
        *link = table[*link + 1];
    if (!table[PCI_CAPABILITY_LIST])
        table[PCI_STATUS] &= (uint8_t)~PCI_STATUS_CAP_LIST;
}

void pci_function_hide_capability(struct pci_function *function, uint8_t id)
{
    keep_own(function);
    unlink_capability(function->defaults, id);
    unlink_capability(function->config, id);
}

static uint64_t bar_base(const struct pci_function *function, unsigned index)
{
    uint32_t at = bar_register(index);
    uint64_t base = get(function->config, at, 4);
    if (function->bars[index].kind == OB_BAR_MEM64)
        base |= (uint64_t)get(function->config, at + 4, 4) << 32;
    return base & ~(function->bars[index].size - 1);
}

/* Derives where the BARs are from the bytes of configuration space. */
static void update_decoding(struct pci_function *function)
{
    uint32_t command = get(function->config, PCI_COMMAND, 2);
    for (unsigned i = 0; i < OB_BAR_COUNT; i++) {
        enum ob_bar_kind kind = function->bars[i].kind;
        uint32_t gate = kind == OB_BAR_IO ? PCI_COMMAND_IO : PCI_COMMAND_MEMORY;
        function->base[i] = kind == OB_BAR_NONE ? 0 : bar_base(function, i);
        function->decoded[i] = kind != OB_BAR_NONE && command & gate;
    }
}

/* Configuration space with its defaults, except for the bits that a guest can write, taken from config.
 */
static void keep_writable(struct pci_function *function, const uint8_t *config)
{
    for (uint32_t at = 0; at < function->config_len; at++)
        function->config[at] = (uint8_t)((function->defaults[at] & ~function->writable[at]) |
                                         (config[at] & function->writable[at]));
}

int pci_function_narrow_bars(struct pci_function *function, struct ob_fault *fault)
{
    keep_own(function);
    for (unsigned i = 0; i < OB_BAR_COUNT; i++) {
        struct ob_bar *bar = &function->bars[i];
        if (bar->kind != OB_BAR_MEM64)
            continue;
        if (bar->size > 2 * GIB)
            return ob_fault_set(fault, -ENOTSUP,
                                "BAR %u of %" PRIu64
                                " bytes needs 64 bits, which this wire can't carry",
                                i, bar->size);
        bar->kind = OB_BAR_MEM32;
        put32(function->writable, bar_register(i + 1), 0);
        lay_out_bar(function, i);
    }
    /* Only the BARs start over: the device may have raised an interrupt already. */
    memcpy(function->config + PCI_BASE_ADDRESS_0, function->defaults + PCI_BASE_ADDRESS_0,
           sizeof(uint32_t) * OB_BAR_COUNT);
    update_decoding(function);
    return 0;
}

void pci_function_unfit(struct pci_function *function)
{
    if (!function->fitted)
        return;
    memcpy(function->defaults, function->own_defaults, function->config_len);
    memcpy(function->writable, function->own_writable, function->config_len);
    memcpy(function->bars, function->own_bars, sizeof(function->bars));
    function->fitted = false;
    const uint8_t status[2] = {function->config[PCI_STATUS], function->config[PCI_STATUS + 1]};
    keep_writable(function, function->config);
    function->config[PCI_STATUS] |= status[0] & PCI_STATUS_INTERRUPT;
    function->config[PCI_STATUS + 1] |= status[1];
    update_decoding(function);
}

void pci_function_reset(struct pci_function *function)
{
    memcpy(function->config, function->defaults, function->config_len);
    update_decoding(function);
}

bool pci_function_matches(const struct pci_function *function, const uint8_t *config)
{
    for (uint32_t at = 0; at < function->config_len; at++) {
        bool is_status = at == PCI_STATUS || at == PCI_STATUS + 1;
        uint8_t fixed = (uint8_t)~function->writable[at];
        if (!is_status && (config[at] ^ function->defaults[at]) & fixed)
            return false;
    }
    return true;
}

int pci_function_restore(struct pci_function *function, const uint8_t *config)
{
    if (!pci_function_matches(function, config))
        return -EINVAL;
    keep_writable(function, config);
    update_decoding(function);
    return 0;
}

static bool in_config(const struct pci_function *function, uint32_t offset, unsigned size)
{
    return size >= 1 && size <= 4 && size <= function->config_len &&
           offset <= function->config_len - size;
}

int pci_config_read(const struct pci_function *function, uint32_t offset, unsigned size,
                    uint32_t *ret_value)
{
    if (!in_config(function, offset, size)) {
        *ret_value = UINT32_MAX;
        return -EINVAL;
    }
    *ret_value = get(function->config, offset, size);
    return 0;
}

int pci_config_write(struct pci_function *function, uint32_t offset, unsigned size, uint32_t value)
{
    if (!in_config(function, offset, size))
        return -EINVAL;
    for (unsigned i = 0; i < size; i++) {
        uint32_t at = offset + i;
        uint8_t byte = (uint8_t)(value >> (8 * i));
        uint8_t writable = function->writable[at];
        uint8_t old = function->config[at];
        function->config[at] = (uint8_t)((old & ~writable) | (byte & writable));
        function->config[at] &= (uint8_t) ~(byte & function->write_one_clears[at]);
    }
    update_decoding(function);
    return 0;
}

int pci_function_decode(const struct pci_function *function, bool memory_space, uint64_t address,
                        unsigned size, uint64_t *ret_offset)
{
    for (unsigned i = 0; i < OB_BAR_COUNT; i++) {
        const struct ob_bar *bar = &function->bars[i];
        uint64_t offset = address - function->base[i];
        if (!function->decoded[i] || (bar->kind != OB_BAR_IO) != memory_space)
            continue;
        if (offset < bar->size && size <= bar->size - offset) {
            *ret_offset = offset;
            return (int)i;
        }
    }
    return -ENXIO;
}

bool pci_function_may_master(const struct pci_function *function)
{
    return function->config[PCI_COMMAND] & PCI_COMMAND_MASTER;
}

bool pci_function_intx_disabled(const struct pci_function *function)
{
    return get(function->config, PCI_COMMAND, 2) & PCI_COMMAND_INTX_DISABLE;
}

void pci_function_set_interrupt_status(struct pci_function *function, bool raised)
{
    if (raised)
        function->config[PCI_STATUS] |= PCI_STATUS_INTERRUPT;
    else
        function->config[PCI_STATUS] &= (uint8_t)~PCI_STATUS_INTERRUPT;
}
