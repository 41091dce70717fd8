// SPDX-License-Identifier: BSD-3-Clause
/* What a peer that keeps the rules gets. */
#include "device/internal.h"
#include "server/mpqemu_fixture.h"

#include <outboard/irq.h>

#include <errno.h>
#include <linux/pci_regs.h>
#include <string.h>

IN_BOTH_DIALECTS(every_command_is_answered)
{
    greet(f);
    assert_int_equal(config_read(f, PCI_VENDOR_ID, 2), 0x1af4);
    assert_int_equal(config_read(f, PCI_DEVICE_ID, 2), 0x10f0);
    place_bars(f);
    assert_int_equal(ask(f, bar_message(f, MPQEMU_BAR_WRITE, BAR0 + 8, 4, true, UINT64_MAX)), 0);
    assert_int_equal(f->last_offset, 8);
    assert_int_equal(f->last_value, UINT32_MAX);
    assert_int_equal(ask(f, bar_message(f, MPQEMU_BAR_READ, BAR1 + 15, 1, false, 0)), 0x88);
    assert_int_equal(f->last_offset, 15);
    assert_true(ask(f, bar_message(f, MPQEMU_BAR_READ, BAR0, 8, true, 0)) == 0x1122334455667788);
    const int fds[] = {fake_event(&f->fake), fake_event(&f->fake)};
    tell(f, message(f, MPQEMU_SET_IRQFD), fds, 2);
    assert_int_equal(f->device->pci->irqs.vectors[IRQ_INTX]->fd, fds[0]);
    assert_int_equal(f->device->pci->irqs.intx_unmask_fd, fds[1]);

    uint8_t reply[64];
    struct message reset = message(f, MPQEMU_DEVICE_RESET);
    assert_int_equal(receive(f, reset.bytes, reset.len, NULL, 0), 0);
    assert_int_equal(take_replies(f, reply, sizeof(reply)), MPQEMU_HEADER_LEN);
    const uint8_t header_only[MPQEMU_HEADER_LEN] = {f->dialect == MPQEMU_V8 ? 2 : 1};
    assert_memory_equal(reply, header_only, sizeof(header_only));
    assert_int_equal(f->resets, 1);
    assert_int_equal(config_read(f, PCI_BASE_ADDRESS_0, 4), 0);
}

static void the_heartbeat_is_answered(void **state)
{
    struct fixture f;
    set_up(&f, MPQEMU_V8);
    greet(&f);
    assert_int_equal(ask(&f, message(&f, MPQEMU_PING)), 0);
    tell(&f, message(&f, MPQEMU_INIT), NULL, 0);
    tear_down(&f);
}

IN_BOTH_DIALECTS(bars_are_sized_as_the_proxy_does)
{
    static const uint32_t expected[] = {0xfffff000, 0xfffffff1, 0, 0, 0, 0, 0};
    greet(f);
    for (uint32_t i = 0; i < 7; i++) {
        uint32_t at = PCI_BASE_ADDRESS_0 + 4 * i;
        uint64_t old = config_read(f, at, 4);
        assert_int_equal(config_write(f, at, 4, UINT32_MAX), 0);
        assert_int_equal(config_read(f, at, 4), expected[i]);
        assert_int_equal(config_write(f, at, 4, (uint32_t)old), 0);
        assert_int_equal(config_read(f, at, 4), old);
    }
}

IN_BOTH_DIALECTS(config_accesses_outside_read_ones)
{
    static const struct {
        uint32_t offset, len;
    } outside[] = {{256, 1}, {255, 2}, {253, 4}, {UINT32_MAX, 1}, {UINT32_MAX, 4},
                   {0, 0},   {0, 5},   {0, 8},   {0, UINT32_MAX}, {0, 1u << 31}};
    greet(f);
    for (size_t i = 0; i < sizeof(outside) / sizeof(outside[0]); i++) {
        assert_true(config_read(f, outside[i].offset, outside[i].len) == UINT64_MAX);
        assert_true(config_write(f, outside[i].offset, outside[i].len, 0) == UINT64_MAX);
    }
    assert_int_equal(config_read(f, 255, 1), 0);
    assert_int_equal(config_read(f, 252, 4), 0);
    assert_int_equal(config_read(f, 0, 3), 0xf01af4);
}

IN_BOTH_DIALECTS(bar_accesses_that_mean_nothing_read_ones)
{
    static const struct {
        uint64_t address;
        uint32_t size;
        bool memory;
    } nothing[] = {
        {BAR0, 0, true},           {BAR0, 3, true},           {BAR0, 16, true},
        {BAR0, 5, true},           {BAR0, UINT32_MAX, true},  {BAR0 + 4096, 1, true},
        {BAR0 + 4095, 2, true},    {BAR0 + 4089, 8, true},    {BAR0 - 1, 1, true},
        {BAR0 - 1, 2, true},       {BAR0, 4, false},          {BAR1, 4, true},
        {BAR1 + 16, 1, false},     {BAR1 + 13, 4, false},     {UINT64_MAX, 8, true},
        {BAR0 | 1ull << 32, 4, 1}, {BAR1 | 1ull << 16, 4, 0}, {0, 4, true},
    };
    greet(f);
    assert_true(ask(f, bar_message(f, MPQEMU_BAR_READ, 0, 4, true, 0)) == UINT64_MAX);
    place_bars(f);
    unsigned open = fake_open_count(&f->fake);
    for (size_t i = 0; i < sizeof(nothing) / sizeof(nothing[0]); i++) {
        uint64_t address = nothing[i].address;
        uint32_t size = nothing[i].size;
        bool memory = nothing[i].memory;
        assert_true(ask(f, bar_message(f, MPQEMU_BAR_READ, address, size, memory, 0)) ==
                    UINT64_MAX);
        assert_true(ask(f, bar_message(f, MPQEMU_BAR_WRITE, address, size, memory, 0)) ==
                    UINT64_MAX);
    }
    assert_int_equal(f->reads + f->writes, 0);
    assert_int_equal(f->fake.warnings, 1);
    assert_int_equal(fake_open_count(&f->fake), open);
}

IN_BOTH_DIALECTS(memory_tables_are_replaced)
{
    struct mpqemu_sysmem sysmem = {.gpas = {0x100000, 0}, .sizes = {0x1000, 0x2000}};
    const int two[] = {fake_file(&f->fake, 1), fake_file(&f->fake, 2)};
    uint8_t byte;
    tell(f, sysmem_message(f, &sysmem), two, 2);
    assert_int_equal(device_memory(f->device)->count, 2);
    assert_int_equal(memory_read(device_memory(f->device), 0x100005, &byte, 1), 0);
    assert_int_equal(byte, fake_file_byte(1, 5));
    assert_int_equal(fake_open_count(&f->fake), 0); /* mapped, then closed */

    int eight[8];
    for (unsigned i = 0; i < 8; i++) {
        eight[i] = fake_file(&f->fake, 1);
        sysmem.gpas[i] = UINT64_C(0x10000) * (8 - i);
        sysmem.sizes[i] = 0x1000;
        sysmem.offsets[i] = UINT64_C(0x1000) * i;
    }
    tell(f, sysmem_message(f, &sysmem), eight, 8);
    assert_int_equal(device_memory(f->device)->count, 8);
    for (unsigned i = 0; i < 7; i++)
        eight[i] = fake_file(&f->fake, 1);
    tell(f, sysmem_message(f, &sysmem), eight, 7);
    assert_int_equal(device_memory(f->device)->count, 7);
    assert_int_equal(f->fake.mappings, 7);
    greet(f); /* no region: no memory, and it goes on */
    assert_int_equal(device_memory(f->device)->count, 0);
    assert_int_equal(f->fake.mappings, 0);
    assert_int_equal(config_read(f, 0, 2), 0x1af4);
}

/* A stream with every command, as one array of bytes; *ret_fds_at is where SET_IRQFD begins. */
static size_t conversation(const struct fixture *f, uint8_t *bytes, size_t *ret_fds_at)
{
    const struct message messages[] = {
        message(f, MPQEMU_SYNC_SYSMEM),
        config_message(f, MPQEMU_CONFIG_WRITE, PCI_BASE_ADDRESS_0, 4, BAR0),
        config_message(f, MPQEMU_CONFIG_WRITE, PCI_COMMAND, 2, PCI_COMMAND_MEMORY),
        config_message(f, MPQEMU_CONFIG_READ, PCI_BASE_ADDRESS_0, 4, 0),
        bar_message(f, MPQEMU_BAR_WRITE, BAR0, 8, true, 1),
        bar_message(f, MPQEMU_BAR_READ, BAR0, 8, true, 0),
        message(f, MPQEMU_DEVICE_RESET),
        message(f, MPQEMU_SET_IRQFD),
    };
    size_t len = 0;
    for (size_t i = 0; i < sizeof(messages) / sizeof(messages[0]); i++) {
        *ret_fds_at = len;
        memcpy(bytes + len, messages[i].bytes, messages[i].len);
        len += messages[i].len;
    }
    return len;
}

IN_BOTH_DIALECTS(any_pieces_make_the_same_conversation)
{
    enum mpqemu_dialect dialect = f->dialect;
    uint8_t stream[2048], expected[2048], replies[2048];
    size_t fds_at, expected_len = 0;
    size_t len = conversation(f, stream, &fds_at);
    for (size_t piece = len; piece > 0; piece = piece > 40 ? piece / 2 : piece - 1) {
        tear_down(f);
        set_up(f, dialect);
        size_t replies_len = 0;
        for (size_t at = 0; at < len; at += piece) {
            size_t n = len - at < piece ? len - at : piece;
            bool carries = at <= fds_at && fds_at < at + n;
            const int fds[] = {carries ? fake_event(&f->fake) : -1,
                               carries ? fake_event(&f->fake) : -1};
            assert_int_equal(receive(f, stream + at, n, fds, carries ? 2 : 0), 0);
            replies_len += take_replies(f, replies + replies_len, sizeof(replies) - replies_len);
        }
        if (piece == len) {
            expected_len = replies_len;
            memcpy(expected, replies, replies_len);
        }
        assert_int_equal(replies_len, expected_len);
        assert_memory_equal(replies, expected, expected_len);
        assert_int_equal(f->writes, 1);
        assert_int_equal(f->reads, 1);
        assert_int_equal(f->resets, 1);
        assert_true(f->device->pci->irqs.vectors[IRQ_INTX]->fd >= 0);
    }
}

IN_BOTH_DIALECTS(a_stream_cut_anywhere_holds_nothing)
{
    enum mpqemu_dialect dialect = f->dialect;
    uint8_t stream[2048];
    size_t fds_at;
    size_t len = conversation(f, stream, &fds_at);
    for (size_t cut = 0; cut <= len; cut++) {
        tear_down(f);
        set_up(f, dialect);
        bool carries = cut > fds_at;
        const int fds[] = {carries ? fake_event(&f->fake) : -1,
                           carries ? fake_event(&f->fake) : -1};
        assert_int_equal(receive(f, stream, cut, fds, carries ? 2 : 0), 0);
        assert_int_equal(f->resets, cut >= fds_at);
        engine_free(f->engine);
        f->engine = NULL;
        assert_int_equal(fake_open_count(&f->fake), 0);
        assert_int_equal(f->fake.mappings, 0);
    }
}

IN_BOTH_DIALECTS(interrupts_follow_the_peer)
{
    greet(f);
    int fds[] = {fake_event(&f->fake), fake_event(&f->fake)};
    tell(f, message(f, MPQEMU_SET_IRQFD), fds, 2);
    ob_irq_raise(f->device);
    assert_int_equal(fake_signals(&f->fake, fds[0]), 1);
    assert_int_equal(config_read(f, PCI_STATUS, 2), PCI_STATUS_INTERRUPT);
    int again[] = {fake_event(&f->fake), fake_event(&f->fake)};
    tell(f, message(f, MPQEMU_SET_IRQFD), again, 2);
    assert_int_equal(fake_signals(&f->fake, again[0]), 1);
    assert_int_equal(fake_open_count(&f->fake), 2);
    config_write(f, PCI_COMMAND, 2, PCI_COMMAND_INTX_DISABLE);
    fake_fire(&f->fake, again[1]);
    assert_int_equal(fake_signals(&f->fake, again[0]), 1);
    config_write(f, PCI_COMMAND, 2, 0);
    assert_int_equal(fake_signals(&f->fake, again[0]), 2);
    ob_irq_lower(f->device);
    fake_fire(&f->fake, again[1]);
    assert_int_equal(fake_signals(&f->fake, again[0]), 2);
    assert_int_equal(config_read(f, PCI_STATUS, 2), 0);
}

static void a_device_may_raise_before_it_is_served(void **state)
{
    struct fixture f = {.dialect = MPQEMU_SHIPPED};
    fake_host_init(&f.fake);
    assert_int_equal(device_new(&fixture_desc, &fixture_ops, &f, &f.fake.host, &f.device, NULL), 0);
    ob_irq_raise(f.device);
    assert_int_equal(engine_new(&mpqemu_engine, f.device, &f.engine, NULL), 0);
    greet(&f);
    assert_int_equal(config_read(&f, PCI_STATUS, 2), PCI_STATUS_INTERRUPT);
    const int fds[] = {fake_event(&f.fake), fake_event(&f.fake)};
    tell(&f, message(&f, MPQEMU_SET_IRQFD), fds, 2);
    assert_int_equal(fake_signals(&f.fake, fds[0]), 1);
    tear_down(&f);
}

static void requests_wait_for_a_peer_that_does_not_read(void **state)
{
    struct fixture f;
    set_up(&f, MPQEMU_V8);
    greet(&f);
    struct message ping = message(&f, MPQEMU_PING);
    size_t room, sent = 0, replied = 0;
    for (;;) {
        engine_receive_space(f.engine, &room);
        if (room < ping.len)
            break;
        assert_int_equal(receive(&f, ping.bytes, ping.len, NULL, 0), 0);
        assert_true(++sent <= (LIMIT_REPLY_BYTES + LIMIT_REQUEST_BYTES) / MPQEMU_HEADER_LEN);
    }
    assert_int_equal(sent, LIMIT_REPLY_BYTES / (MPQEMU_HEADER_LEN + MPQEMU_UNION_LEN));
    uint8_t replies[2 * LIMIT_REPLY_BYTES];
    replied = take_replies(&f, replies, sizeof(replies));
    assert_int_equal(replied, sent * (MPQEMU_HEADER_LEN + MPQEMU_UNION_LEN));
    assert_int_equal(config_read(&f, 0, 2), 0x1af4);
    tear_down(&f);
}

static void a_wide_device_can_not_be_carried(void **state)
{
    const struct ob_device_desc wide = {
        .name = "wide", .bars = {{.kind = OB_BAR_MEM64, .size = UINT64_C(1) << 32}}};
    struct fixture f = {0};
    struct ob_fault fault = {0};
    fake_host_init(&f.fake);
    assert_int_equal(device_new(&wide, &fixture_ops, &f, &f.fake.host, &f.device, NULL), 0);
    assert_int_equal(engine_new(&mpqemu_engine, f.device, &f.engine, &fault), -ENOTSUP);
    assert_non_null(strstr(fault.text, "BAR 0"));
    device_free(f.device);
}

static void a_trace_tells_what_an_address_means(void **state)
{
    struct fixture f;
    set_up(&f, MPQEMU_V8);
    greet(&f);
    place_bars(&f);
    assert_int_equal(f.fake.traced, 0);
    device_trace(f.device, true);
    ask(&f, bar_message(&f, MPQEMU_BAR_WRITE, BAR0 + 8, 4, true, 0x1234));
    assert_non_null(strstr(f.fake.trace, "got BAR_WRITE size 192 fds 0 address 0xfebf0008 region 0 "
                                         "offset 0x8 len 4 value 0x1234\n"
                                         "sent RET size 192 fds 0 value 0x0\n"));
    ask(&f, bar_message(&f, MPQEMU_BAR_READ, BAR1 + 4, 2, false, 0));
    assert_non_null(strstr(f.fake.trace, "got BAR_READ size 192 fds 0 port 0xc004 region 1 "
                                         "offset 0x4 len 2\n"));
    ask(&f, bar_message(&f, MPQEMU_BAR_READ, 0, 2, true, 0));
    assert_non_null(strstr(f.fake.trace, "address 0x0 no region len 2\n"));
    config_write(&f, 4, 2, 7);
    assert_non_null(strstr(f.fake.trace, "got PCI_CFGWRITE size 12 fds 0 config offset 0x4 len 2 "
                                         "value 0x7\n"));
    tear_down(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_trace_tells_what_an_address_means),
        TEST(every_command_is_answered),
        TEST(the_heartbeat_is_answered),
        TEST(bars_are_sized_as_the_proxy_does),
        TEST(config_accesses_outside_read_ones),
        TEST(bar_accesses_that_mean_nothing_read_ones),
        TEST(memory_tables_are_replaced),
        TEST(any_pieces_make_the_same_conversation),
        TEST(a_stream_cut_anywhere_holds_nothing),
        TEST(interrupts_follow_the_peer),
        TEST(a_device_may_raise_before_it_is_served),
        TEST(requests_wait_for_a_peer_that_does_not_read),
        TEST(a_wide_device_can_not_be_carried),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
