// SPDX-License-Identifier: BSD-3-Clause
/* What a peer that breaks the rules gets: a fault, and no change. */
#include "device/internal.h"
#include "server/mpqemu_fixture.h"

#include <errno.h>
#include <linux/pci_regs.h>
#include <string.h>

/* A conversation that must make no difference to the device, and what the fault must say. */
static void check_refused(struct fixture *f, struct message m, const int *fds, unsigned num_fds,
                          const char *says)
{
    uint8_t config[PCI_CONVENTIONAL_CONFIG_LEN];
    memcpy(config, f->device->pci->function.config, sizeof(config));
    const struct device_irqs irqs = f->device->pci->irqs;
    const struct irq_vector intx = *irqs.vectors[IRQ_INTX];
    unsigned regions = device_memory(f->device)->count, calls = f->reads + f->writes + f->resets;
    unsigned open = fake_open_count(&f->fake) - num_fds;

    assert_int_equal(receive(f, m.bytes, m.len, fds, num_fds), -EPROTO);
    assert_int_equal(engine_pending(f->engine).len, 0);
    assert_true(f->engine->fault.code < 0);
    if (!strstr(f->engine->fault.text, says))
        fail_msg("'%s' does not say '%s'", f->engine->fault.text, says);

    assert_memory_equal(f->device->pci->function.config, config, sizeof(config));
    assert_memory_equal(&f->device->pci->irqs, &irqs, sizeof(irqs));
    assert_memory_equal(f->device->pci->irqs.vectors[IRQ_INTX], &intx, sizeof(intx));
    assert_int_equal(device_memory(f->device)->count, regions);
    assert_int_equal(f->reads + f->writes + f->resets, calls);
    assert_int_equal(fake_open_count(&f->fake), open);
    m = config_message(f, MPQEMU_CONFIG_READ, 0, 4, 0); /* it is over for good */
    assert_int_equal(receive(f, m.bytes, m.len, NULL, 0), -EPROTO);
}

/* Serves a new peer of a device with memory, interrupts and placed BARs. */
static void start_over(struct fixture *f, enum mpqemu_dialect dialect)
{
    if (f->engine)
        tear_down(f);
    set_up(f, dialect);
    const struct mpqemu_sysmem sysmem = {.gpas = {0x100000}, .sizes = {0x1000}};
    const int file = fake_file(&f->fake, 1);
    tell(f, sysmem_message(f, &sysmem), &file, 1);
    const int fds[] = {fake_event(&f->fake), fake_event(&f->fake)};
    tell(f, message(f, MPQEMU_SET_IRQFD), fds, 2);
    place_bars(f);
}

IN_BOTH_DIALECTS(wrong_sizes_are_refused)
{
    enum mpqemu_dialect dialect = f->dialect;
    for (int command = 0; command < MPQEMU_COMMAND_COUNT; command++) {
        if (command == MPQEMU_RET || command == MPQEMU_GET_PCI_INFO ||
            mpqemu_command_number(dialect, (enum mpqemu_command)command) < 0)
            continue;
        const uint64_t right = payload_len(dialect, (enum mpqemu_command)command);
        const uint64_t wrong[] = {right + 1,
                                  right - 1,
                                  right + 4096,
                                  UINT64_MAX,
                                  1u << 31,
                                  8,
                                  right | UINT64_C(1) << 32,
                                  UINT64_C(1) << 63};
        for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
            start_over(f, dialect);
            struct message m = message(f, (enum mpqemu_command)command);
            struct mpqemu_header header;
            mpqemu_header_get(m.bytes, MPQEMU_HEADER_LEN, &header);
            header.size = wrong[i];
            mpqemu_header_put(m.bytes, MPQEMU_HEADER_LEN, &header);
            check_refused(f, m, NULL, 0, "(offset 8)");
        }
    }
}

IN_BOTH_DIALECTS(unknown_commands_are_refused)
{
    enum mpqemu_dialect dialect = f->dialect;
    bool v8 = dialect == MPQEMU_V8;
    const uint32_t unknown[] = {
        v8 ? 2 : 1 /* RET */, v8 ? 11 : 8, v8 ? 8 : 9, 255, 1u << 31, UINT32_MAX};
    for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++) {
        start_over(f, dialect);
        struct message m = {.len = MPQEMU_HEADER_LEN};
        const struct mpqemu_header header = {.number = unknown[i]};
        mpqemu_header_put(m.bytes, MPQEMU_HEADER_LEN, &header);
        check_refused(f, m, NULL, 0, "(offset 0)");
    }
}

static void the_first_message_must_be_sync_sysmem(void **state)
{
    for (uint32_t number = 2; number < 12; number++) {
        struct fixture f;
        set_up(&f, MPQEMU_SHIPPED);
        struct message m = {.len = MPQEMU_HEADER_LEN};
        const struct mpqemu_header header = {.number = number, .size = MPQEMU_CONFIG_LEN};
        mpqemu_header_put(m.bytes, MPQEMU_HEADER_LEN, &header);
        check_refused(&f, m, NULL, 0, "SYNC_SYSMEM");
        tear_down(&f);
    }
}

IN_BOTH_DIALECTS(wrong_descriptor_counts_are_refused)
{
    enum mpqemu_dialect dialect = f->dialect;
    for (int command = 0; command < MPQEMU_COMMAND_COUNT; command++) {
        if (command == MPQEMU_RET || command == MPQEMU_GET_PCI_INFO ||
            mpqemu_command_number(dialect, (enum mpqemu_command)command) < 0)
            continue;
        for (unsigned count = 0; count <= LIMIT_FDS_PER_RECEIVE; count++) {
            bool right = command == MPQEMU_SYNC_SYSMEM ? count <= 8
                         : command == MPQEMU_SET_IRQFD ? count == 2
                                                       : count == 0;
            if (right)
                continue;
            start_over(f, dialect);
            int fds[LIMIT_FDS_PER_RECEIVE];
            for (unsigned i = 0; i < count; i++)
                fds[i] = fake_event(&f->fake);
            check_refused(f, message(f, (enum mpqemu_command)command), fds, count, "descriptors");
        }
    }
}

IN_BOTH_DIALECTS(descriptors_of_the_wrong_kind_are_refused)
{
    enum mpqemu_dialect dialect = f->dialect;
    const enum fake_kind no_events[] = {FAKE_FILE, FAKE_OTHER};
    for (unsigned i = 0; i < 4; i++) {
        start_over(f, dialect);
        int fds[] = {fake_event(&f->fake), fake_event(&f->fake)};
        f->fake.host.close(&f->fake, fds[i / 2]);
        fds[i / 2] = fake_open(&f->fake, no_events[i % 2], 9);
        check_refused(f, message(f, MPQEMU_SET_IRQFD), fds, 2, "SET_IRQFD");
    }
    const enum fake_kind no_files[] = {FAKE_EVENT, FAKE_OTHER};
    for (unsigned i = 0; i < 2; i++) {
        start_over(f, dialect);
        const struct mpqemu_sysmem sysmem = {.gpas = {0, 0x10000}, .sizes = {0x1000, 0x1000}};
        const int fds[] = {fake_file(&f->fake, 1), fake_open(&f->fake, no_files[i], 0)};
        check_refused(f, sysmem_message(f, &sysmem), fds, 2, "region 1");
    }
}

IN_BOTH_DIALECTS(bad_regions_are_refused)
{
    enum mpqemu_dialect dialect = f->dialect;
    static const struct {
        uint64_t gpa, size, offset;
        const char *says;
    } bad[] = {
        {0x1000, 0x1000, 0, "overlaps"},
        {0x0, 0x10000, 0, "overlaps"},
        {0x8000, 0, 0, "empty"},
        {0x8001, 0x1000, 0, "aligned"},
        {0x8000, 0x1001, 0, "aligned"},
        {0x8000, 0x1000, 1, "aligned"},
        {UINT64_MAX - 0xfff, 0x2000, 0, "wraps"},
        {0x8000, 0x1000, UINT64_MAX - 0xfff, "wraps"},
        {0x8000, FAKE_FILE_LEN * 2, 0, "shorter"},
        {0x8000, 0x1000, FAKE_FILE_LEN, "shorter"},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        start_over(f, dialect);
        const struct mpqemu_sysmem sysmem = {.gpas = {0x1000, bad[i].gpa},
                                             .sizes = {0x1000, bad[i].size},
                                             .offsets = {0, bad[i].offset}};
        const int fds[] = {fake_file(&f->fake, 1), fake_file(&f->fake, 2)};
        check_refused(f, sysmem_message(f, &sysmem), fds, 2, bad[i].says);
        assert_non_null(strstr(f->engine->fault.text, "region 1"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(wrong_sizes_are_refused),
        TEST(unknown_commands_are_refused),
        TEST(the_first_message_must_be_sync_sysmem),
        TEST(wrong_descriptor_counts_are_refused),
        TEST(descriptors_of_the_wrong_kind_are_refused),
        TEST(bad_regions_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
