// SPDX-License-Identifier: BSD-3-Clause
#include "server/mpqemu_fixture.h"

#include <linux/pci_regs.h>
#include <string.h>

#include "base/cursor.h"

static uint64_t on_read(void *state, unsigned bar, uint64_t offset, unsigned size)
{
    struct fixture *f = state;
    f->reads++;
    f->last_offset = offset;
    return 0x1122334455667788;
}

static void on_write(void *state, unsigned bar, uint64_t offset, unsigned size, uint64_t value)
{
    struct fixture *f = state;
    f->writes++;
    f->last_offset = offset;
    f->last_value = value;
}

static void on_reset(void *state)
{
    struct fixture *f = state;
    f->resets++;
}

const struct ob_device_desc fixture_desc = {
    .name = "test",
    .vendor_id = 0x1af4,
    .device_id = 0x10f0,
    .intx = true,
    .bars = {[0] = {.kind = OB_BAR_MEM32, .size = 4096}, [1] = {.kind = OB_BAR_IO, .size = 16}},
};
const struct ob_device_ops fixture_ops = {.read = on_read, .write = on_write, .reset = on_reset};

void set_up(struct fixture *f, enum mpqemu_dialect dialect)
{
    *f = (struct fixture){.dialect = dialect};
    fake_host_init(&f->fake);
    assert_int_equal(device_new(&fixture_desc, &fixture_ops, f, &f->fake.host, &f->device, NULL),
                     0);
    assert_int_equal(engine_new(&mpqemu_engine, f->device, &f->engine, NULL), 0);
}

void tear_down(struct fixture *f)
{
    engine_free(f->engine);
    device_free(f->device);
    assert_true(fake_is_empty(&f->fake));
}

size_t payload_len(enum mpqemu_dialect dialect, enum mpqemu_command command)
{
    bool v8 = dialect == MPQEMU_V8;
    switch (command) {
    case MPQEMU_SYNC_SYSMEM:
        return MPQEMU_UNION_LEN;
    case MPQEMU_CONFIG_WRITE:
    case MPQEMU_CONFIG_READ:
        return MPQEMU_CONFIG_LEN;
    case MPQEMU_BAR_WRITE:
    case MPQEMU_BAR_READ:
        return v8 ? MPQEMU_UNION_LEN : MPQEMU_BAR_LEN;
    case MPQEMU_DEVICE_RESET:
        return v8 ? MPQEMU_UNION_LEN : 0;
    default:
        return 0;
    }
}

struct message message(const struct fixture *f, enum mpqemu_command command)
{
    struct message message = {0};
    size_t len = payload_len(f->dialect, command);
    const struct mpqemu_header header = {
        .number = (uint32_t)mpqemu_command_number(f->dialect, command), .size = len};
    mpqemu_header_put(message.bytes, MPQEMU_HEADER_LEN, &header);
    message.len = MPQEMU_HEADER_LEN + len;
    return message;
}

uint8_t *payload(struct message *message)
{
    return message->bytes + MPQEMU_HEADER_LEN;
}

struct message config_message(const struct fixture *f, enum mpqemu_command command, uint32_t offset,
                              uint32_t len, uint32_t value)
{
    struct message m = message(f, command);
    const struct mpqemu_config_access access = {offset, value, len};
    mpqemu_config_put(payload(&m), MPQEMU_CONFIG_LEN, &access);
    return m;
}

struct message bar_message(const struct fixture *f, enum mpqemu_command command, uint64_t address,
                           uint32_t size, bool memory, uint64_t value)
{
    struct message m = message(f, command);
    const struct mpqemu_bar_access access = {address, value, size, memory};
    mpqemu_bar_put(payload(&m), MPQEMU_BAR_LEN, &access);
    return m;
}

struct message sysmem_message(const struct fixture *f, const struct mpqemu_sysmem *sysmem)
{
    struct message m = message(f, MPQEMU_SYNC_SYSMEM);
    mpqemu_sysmem_put(payload(&m), MPQEMU_UNION_LEN, sysmem);
    return m;
}

int receive(struct fixture *f, const uint8_t *bytes, size_t len, const int *fds, unsigned num_fds)
{
    size_t room;
    uint8_t *to = engine_receive_space(f->engine, &room);
    assert_true(len <= room);
    memcpy(to, bytes, len);
    return engine_received(f->engine, len, fds, num_fds);
}

size_t take_replies(struct fixture *f, uint8_t *buf, size_t size)
{
    size_t total = 0;
    for (;;) {
        struct engine_output output = engine_pending(f->engine);
        if (output.len == 0)
            return total;
        assert_true(total + output.len <= size);
        memcpy(buf + total, output.bytes, output.len);
        total += output.len;
        assert_int_equal(engine_sent(f->engine, output.len), 0);
    }
}

uint64_t ask(struct fixture *f, struct message m)
{
    uint8_t reply[LIMIT_REPLY_BYTES];
    bool v8 = f->dialect == MPQEMU_V8;
    size_t value_len = v8 ? MPQEMU_UNION_LEN : MPQEMU_RET_LEN;
    assert_int_equal(receive(f, m.bytes, m.len, NULL, 0), 0);
    assert_int_equal(take_replies(f, reply, sizeof(reply)), MPQEMU_HEADER_LEN + value_len);
    struct rd rd = rd_init(reply, MPQEMU_HEADER_LEN + value_len);
    assert_int_equal(rd_u32(&rd), v8 ? 2 : 1);
    assert_int_equal(rd_u32(&rd), 0);
    assert_int_equal(rd_u64(&rd), value_len);
    uint64_t value = rd_u64(&rd);
    while (rd.left > 0)
        assert_int_equal(rd_u8(&rd), 0);
    return value;
}

void tell(struct fixture *f, struct message m, const int *fds, unsigned num_fds)
{
    assert_int_equal(receive(f, m.bytes, m.len, fds, num_fds), 0);
    assert_int_equal(engine_pending(f->engine).len, 0);
}

void greet(struct fixture *f)
{
    tell(f, message(f, MPQEMU_SYNC_SYSMEM), NULL, 0);
}

uint64_t config_read(struct fixture *f, uint32_t offset, uint32_t len)
{
    return ask(f, config_message(f, MPQEMU_CONFIG_READ, offset, len, 0));
}

uint64_t config_write(struct fixture *f, uint32_t offset, uint32_t len, uint32_t value)
{
    return ask(f, config_message(f, MPQEMU_CONFIG_WRITE, offset, len, value));
}

void place_bars(struct fixture *f)
{
    assert_int_equal(config_write(f, PCI_BASE_ADDRESS_0, 4, BAR0), 0);
    assert_int_equal(config_write(f, PCI_BASE_ADDRESS_1, 4, BAR1), 0);
    assert_int_equal(config_write(f, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_IO), 0);
}
