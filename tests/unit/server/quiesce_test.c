// SPDX-License-Identifier: BSD-3-Clause
/* An engine answers what needs a quiet device when the device says that it is, and not before. */
#include "server/mpqemu_fixture.h"

#include <errno.h>
#include <linux/pci_regs.h>
#include <string.h>

#include <outboard/dma.h>

#define AT 0x100000u

/* How the device lets go of its span. */
static struct {
    unsigned begun;
    int answer; /* of quiesced() */
} letting_go;

static void on_quiesce(void *state)
{
    letting_go.begun++;
}

static int on_quiesced(void *state)
{
    return letting_go.answer;
}

static void set_up_slow(struct fixture *f, enum mpqemu_dialect dialect,
                        struct ob_dma_span *ret_span)
{
    struct ob_device_ops ops = fixture_ops;
    ops.quiesce = on_quiesce;
    ops.quiesced = on_quiesced;
    memset(&letting_go, 0, sizeof(letting_go));
    *f = (struct fixture){.dialect = dialect};
    fake_host_init(&f->fake);
    assert_int_equal(device_new(&fixture_desc, &ops, f, &f->fake.host, &f->device, NULL), 0);
    assert_int_equal(engine_new(&mpqemu_engine, f->device, &f->engine, NULL), 0);
    const struct mpqemu_sysmem sysmem = {.gpas = {AT}, .sizes = {0x1000}};
    const int file = fake_file(&f->fake, 7);
    tell(f, sysmem_message(f, &sysmem), &file, 1);
    assert_int_equal(config_write(f, PCI_COMMAND, 2, PCI_COMMAND_MASTER), 0);
    assert_int_equal(ob_dma_map(f->device, AT, 8, OB_DMA_TO_DEVICE, ret_span, 1), 1);
}

/* Sends a message that is carried out later, and another behind it, which is not looked at. */
static void tell_and_wait(struct fixture *f, struct message first)
{
    const struct message second = config_message(f, MPQEMU_CONFIG_READ, 0, 2, 0);
    uint8_t both[2 * sizeof(first.bytes)];
    memcpy(both, first.bytes, first.len);
    memcpy(both + first.len, second.bytes, second.len);
    assert_int_equal(receive(f, both, first.len + second.len, NULL, 0), 0);
    for (unsigned i = 0; i < 3; i++) {
        size_t room;
        assert_int_equal(engine_poke(f->engine), 0);
        assert_int_equal(engine_pending(f->engine).len, 0);
        engine_receive_space(f->engine, &room);
        assert_int_equal(room, 0);
    }
    assert_int_equal(letting_go.begun, 1);
}

static size_t go_on(struct fixture *f, int answer)
{
    uint8_t replies[LIMIT_REPLY_BYTES];
    letting_go.answer = answer;
    assert_int_equal(engine_poke(f->engine), 0);
    return take_replies(f, replies, sizeof(replies));
}

static void memory_that_is_replaced_is_let_go_of_first(void **state)
{
    static const int answers[] = {1, -ETIMEDOUT};
    for (size_t i = 0; i < 2; i++) {
        struct fixture f;
        struct ob_dma_span span;
        set_up_slow(&f, MPQEMU_SHIPPED, &span);
        tell_and_wait(&f, message(&f, MPQEMU_SYNC_SYSMEM));
        assert_false(ob_dma_is_current(f.device, &span));
        assert_int_equal(*(uint8_t *)span.address, fake_file_byte(7, 0));
        if (answers[i] > 0) /* else the memory stays mapped */
            ob_dma_unmap(f.device, &span, 1);
        assert_int_equal(go_on(&f, answers[i]), MPQEMU_HEADER_LEN + MPQEMU_RET_LEN);
        ob_dma_unmap(f.device, &span, 1);
        assert_int_equal(f.fake.mappings, 0);
        tear_down(&f);
    }
}

static void memory_that_stays_is_not_let_go_of(void **state)
{
    struct fixture f;
    struct ob_dma_span span;
    set_up_slow(&f, MPQEMU_SHIPPED, &span);
    const struct mpqemu_sysmem sysmem = {.gpas = {AT}, .sizes = {0x1000}};
    const int file = fake_file(&f.fake, 7);
    tell(&f, sysmem_message(&f, &sysmem), &file, 1);
    assert_int_equal(letting_go.begun, 0);
    assert_true(ob_dma_is_current(f.device, &span));
    assert_int_equal(config_read(&f, 0, 2), 0x1af4);
    ob_dma_unmap(f.device, &span, 1);
    tear_down(&f);
}

static void a_reset_is_answered_when_it_is_done(void **state)
{
    struct fixture f;
    struct ob_dma_span span;
    set_up_slow(&f, MPQEMU_V8, &span);
    tell_and_wait(&f, message(&f, MPQEMU_DEVICE_RESET));
    assert_int_equal(f.resets, 0);
    ob_dma_unmap(f.device, &span, 1);
    assert_int_equal(go_on(&f, 1), 2 * MPQEMU_HEADER_LEN + MPQEMU_UNION_LEN);
    assert_int_equal(f.resets, 1);
    tear_down(&f);
}

static void a_peer_may_go_meanwhile(void **state)
{
    struct fixture f;
    struct ob_dma_span span;
    set_up_slow(&f, MPQEMU_V8, &span);
    tell_and_wait(&f, message(&f, MPQEMU_DEVICE_RESET));
    assert_false(engine_leave(f.engine));
    assert_int_equal(letting_go.begun, 1); /* it is at it */
    letting_go.answer = 1;
    assert_true(engine_leave(f.engine));
    ob_dma_unmap(f.device, &span, 1);
    engine_free(f.engine);
    assert_int_equal(f.resets, 0);
    assert_int_equal(engine_new(&mpqemu_engine, f.device, &f.engine, NULL), 0);
    greet(&f);
    assert_int_equal(letting_go.begun, 1);
    tear_down(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(memory_that_is_replaced_is_let_go_of_first),
        TEST(memory_that_stays_is_not_let_go_of),
        TEST(a_reset_is_answered_when_it_is_done),
        TEST(a_peer_may_go_meanwhile),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
