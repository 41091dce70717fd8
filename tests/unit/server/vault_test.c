// SPDX-License-Identifier: BSD-3-Clause
/* A device whose process dies at any place of the wire, and whose vault may hold anything. */
#include "device/device_vault.h"

#include <errno.h>
#include <stdlib.h>

#include <outboard/irq.h>
#include <outboard/vault.h>

#include "base/cursor.h"
#include "fake/server_host.h"
#include "server/mpqemu_fixture.h"
#include "server/vault_fixture.h"

#define ADDRESS 0xfe000000u

struct counter {
    uint32_t sum, reads;
};

/* One life of the device. */
struct life {
    struct fake_host fake;
    struct ob_device *device;
    struct engine *engine;
    struct vault vault;
    struct counter counter;
    bool begun[4]; /* what ob_vault_begin_effect() has said, by the last two bits of the value */
    struct vault_shared
        *at_effect; /* gets the vault as it is in the midst of an effect, if not NULL */
};

/* What outlives it: the vault, and what was sent and received by system calls. */
struct estate {
    struct vault_shared *shared;
    struct engine_past past;
    uint8_t sent[LIMIT_REPLY_BYTES];
};

static uint64_t on_read(void *state, unsigned bar, uint64_t offset, unsigned size)
{
    struct life *life = state;
    return offset == 0 ? life->counter.sum : life->counter.reads++;
}

static void on_write(void *state, unsigned bar, uint64_t offset, unsigned size, uint64_t value)
{
    struct life *life = state;
    if (offset == 8) {
        life->begun[value & 3] = ob_vault_begin_effect(life->device);
        if (life->at_effect)
            memcpy(life->at_effect, life->vault.shared, sizeof(*life->at_effect));
        return;
    }
    life->counter.sum += (uint32_t)value;
    ob_irq_raise(life->device);
}

static int check(void *state, const void *bytes, size_t len, struct ob_fault *fault)
{
    const struct counter *counter = bytes;
    return counter->reads < 1000000 ? 0 : ob_fault_set(fault, -EINVAL, "too many reads");
}

static void begin(struct life *life)
{
    static const struct ob_device_desc desc = {
        .size = sizeof(desc),
        .name = "counter",
        .vendor_id = 0x1af4,
        .device_id = 0x10f3,
        .intx = true,
        .bars = {{.kind = OB_BAR_MEM32, .size = 4096},
                 {.kind = OB_BAR_MEM32, .size = 4096, .flags = OB_BAR_MEMORY}},
    };
    static const struct ob_device_ops ops = {
        .size = sizeof(ops), .read = on_read, .write = on_write};
    const struct ob_vault_state state = {.size = sizeof(state),
                                         .bytes = &life->counter,
                                         .len = sizeof(life->counter),
                                         .version = 1,
                                         .check = check};
    *life = (struct life){0};
    fake_host_init(&life->fake);
    assert_int_equal(device_new(&desc, &ops, life, &life->fake.host, &life->device, NULL), 0);
    assert_int_equal(ob_vault_keep(life->device, &state), 0);
}

static void end(struct life *life)
{
    engine_free(life->engine);
    device_free(life->device);
}

static void send(struct life *life, struct estate *estate, struct message m, const int *fds,
                 unsigned num_fds)
{
    size_t room;
    uint8_t *to = engine_receive_space(life->engine, &room);
    assert_true(m.len <= room);
    memcpy(to, m.bytes, m.len);
    estate->past.received += m.len;
    assert_int_equal(engine_received(life->engine, m.len, fds, num_fds), 0);
}

/* Sends up to len bytes of replies. */
static void flush(struct life *life, struct estate *estate, size_t len)
{
    struct engine_output output = engine_pending(life->engine);
    if (output.len > len)
        output.len = len;
    if (output.len == 0)
        return;
    assert_true(estate->past.sent + output.len <= sizeof(estate->sent));
    memcpy(estate->sent + estate->past.sent, output.bytes, output.len);
    estate->past.sent += output.len;
    assert_int_equal(engine_sent(life->engine, output.len), 0);
}

static uint64_t last_value(const struct estate *estate)
{
    struct rd rd = rd_init(estate->sent + estate->past.sent - MPQEMU_RET_LEN, MPQEMU_RET_LEN);
    return rd_u64(&rd);
}

static const struct fixture shipped = {.dialect = MPQEMU_SHIPPED};

static struct message access_of(enum mpqemu_command command, uint64_t offset, uint64_t value)
{
    return bar_message(&shipped, command, ADDRESS + offset, 4, true, value);
}

/* Empty, and aligned as a mapping is. */
/* A first life, whose guest has memory, an interrupt and a BAR. */
static void live(struct life *life, struct estate *estate)
{
    *estate = (struct estate){.shared = vault_fixture_new()};
    begin(life);
    vault_begin(&life->vault, estate->shared, 1);
    assert_int_equal(device_use_vault(life->device, &life->vault, NULL), 0);
    assert_int_equal(engine_new(&mpqemu_engine, life->device, &life->engine, NULL), 0);
    const struct mpqemu_sysmem sysmem = {.sizes = {0x1000}};
    const int fds[] = {fake_file(&life->fake, 7), fake_event(&life->fake), fake_event(&life->fake)};
    send(life, estate, sysmem_message(&shipped, &sysmem), fds, 1);
    send(life, estate, message(&shipped, MPQEMU_SET_IRQFD), fds + 1, 2);
    send(life, estate, config_message(&shipped, MPQEMU_CONFIG_WRITE, 0x10, 4, ADDRESS), NULL, 0);
    send(life, estate, config_message(&shipped, MPQEMU_CONFIG_WRITE, 4, 2, 6), NULL, 0);
    flush(life, estate, SIZE_MAX);
}

/* Another life in another world, where descriptors have the same numbers. `shared` may be a lie. */
static int succeed(struct life *life, const struct estate *estate, struct vault_shared *shared,
                   struct ob_fault *fault)
{
    begin(life);
    int err = vault_check(&life->vault, shared, 2, fault);
    if (err < 0)
        return err;
    vault_fixture_renumber(shared, life->vault.column, &life->fake, 7);
    vault_own(&life->vault);
    err = engine_new(&mpqemu_engine, life->device, &life->engine, fault);
    return err < 0 ? err : engine_resume(life->engine, &life->vault, &estate->past, fault);
}

static void test_an_answer_that_was_not_sent_is_sent_once(void **state)
{
    struct life first, second;
    struct estate estate;
    live(&first, &estate);
    send(&first, &estate, access_of(MPQEMU_BAR_WRITE, 0, 5), NULL, 0);
    flush(&first, &estate, SIZE_MAX);
    send(&first, &estate, access_of(MPQEMU_BAR_READ, 4, 0), NULL, 0);
    flush(&first, &estate, 7); /* and dies in the midst of the answer */
    const uint64_t sent = estate.past.sent;
    assert_int_equal(succeed(&second, &estate, estate.shared, NULL), 0);
    assert_int_equal(second.counter.sum, 5);
    assert_int_equal(second.counter.reads, 1);
    assert_int_equal(engine_poke(second.engine), 0);
    flush(&second, &estate, SIZE_MAX);
    assert_int_equal(estate.past.sent - sent, MPQEMU_HEADER_LEN + MPQEMU_RET_LEN - 7);
    assert_int_equal(last_value(&estate), 0);
    assert_int_equal(second.counter.reads, 1);
    end(&second);
    end(&first);
    free(estate.shared);
}

static void test_a_message_that_was_not_done_is_done_once(void **state)
{
    struct life first, second;
    struct estate estate;
    live(&first, &estate);
    /* Half of a message is there; the other half comes to the successor. */
    struct message m = access_of(MPQEMU_BAR_WRITE, 0, 9);
    size_t room;
    memcpy(engine_receive_space(first.engine, &room), m.bytes, 20);
    estate.past.received += 20;
    assert_int_equal(engine_received(first.engine, 20, NULL, 0), 0);
    assert_int_equal(succeed(&second, &estate, estate.shared, NULL), 0);
    memcpy(engine_receive_space(second.engine, &room), m.bytes + 20, m.len - 20);
    assert_int_equal(engine_received(second.engine, m.len - 20, NULL, 0), 0);
    assert_int_equal(second.counter.sum, 9);
    end(&second);
    end(&first);
    free(estate.shared);
}

static void test_a_poisoned_message_is_answered_with_an_error(void **state)
{
    struct life first, second;
    struct estate estate;
    live(&first, &estate);
    struct message m = access_of(MPQEMU_BAR_READ, 4, 0);
    size_t room;
    memcpy(engine_receive_space(first.engine, &room), m.bytes, m.len); /* it dies within */
    estate.past.received += m.len;
    estate.past.poisoned = true;
    assert_int_equal(succeed(&second, &estate, estate.shared, NULL), 0);
    assert_int_equal(engine_poke(second.engine), 0);
    flush(&second, &estate, SIZE_MAX);
    assert_true(last_value(&estate) == UINT64_MAX);
    assert_int_equal(second.counter.reads, 0);
    send(&second, &estate, access_of(MPQEMU_BAR_READ, 4, 0), NULL, 0);
    assert_int_equal(second.counter.reads, 1);
    end(&second);
    end(&first);
    free(estate.shared);
}

static void test_an_effect_is_known_to_have_begun(void **state)
{
    struct life first, second, third;
    struct estate estate;
    live(&first, &estate);
    struct vault_shared *dying = vault_fixture_new();
    assert_false(ob_vault_begin_effect(first.device)); /* of no message */
    send(&first, &estate, access_of(MPQEMU_BAR_WRITE, 8, 1), NULL, 0);
    assert_false(first.begun[1]);
    flush(&first, &estate, SIZE_MAX);
    first.at_effect = dying;
    send(&first, &estate, access_of(MPQEMU_BAR_WRITE, 8, 2), NULL, 0); /* it dies within */
    first.at_effect = NULL;
    assert_false(first.begun[2]);
    assert_int_equal(succeed(&second, &estate, dying, NULL), 0);
    assert_int_equal(engine_poke(second.engine), 0);
    assert_true(second.begun[2]);
    flush(&second, &estate, SIZE_MAX);
    send(&second, &estate, access_of(MPQEMU_BAR_WRITE, 8, 3), NULL, 0);
    assert_false(second.begun[3]);
    flush(&second, &estate, SIZE_MAX);
    /* Its effect was committed with its message. */
    assert_int_equal(succeed(&third, &estate, dying, NULL), 0);
    send(&third, &estate, access_of(MPQEMU_BAR_WRITE, 8, 3), NULL, 0);
    assert_false(third.begun[3]);
    end(&third);
    end(&second);
    end(&first);
    free(dying);
    free(estate.shared);
}

/* The successor refuses with a reason, or goes on within its bounds. */
static bool survives(const struct estate *estate, struct vault_shared *lie)
{
    struct life life;
    struct ob_fault fault = {0};
    bool refused = succeed(&life, estate, lie, &fault) < 0;
    if (refused)
        assert_true(fault.text[0]);
    else if (engine_poke(life.engine) == 0)
        flush(&life, &(struct estate){0}, LIMIT_REPLY_BYTES);
    end(&life);
    return refused;
}

static void test_every_byte_of_a_vault_may_be_a_lie(void **state)
{
    static const uint8_t flips[] = {0x01, 0x80, 0xff};
    struct life first;
    struct estate estate;
    unsigned refused = 0;
    live(&first, &estate);
    send(&first, &estate, access_of(MPQEMU_BAR_READ, 4, 0), NULL, 0); /* an answer waits */
    struct vault_shared *lie = vault_fixture_new();
    const uint8_t *truth = (const uint8_t *)estate.shared;
    const size_t parts = offsetof(struct vault_shared, parts);
    const struct {
        size_t from, len;
    } places[] = {{0, 512},
                  {offsetof(struct vault_shared, entries), 6 * sizeof(struct vault_entry)},
                  {parts, 48}, /* each part has two copies, and either may count */
                  {parts + 1 * sizeof(struct vault_copy), 48},
                  {parts + 2 * sizeof(struct vault_copy), 300},
                  {parts + 3 * sizeof(struct vault_copy), 300},
                  {parts + 4 * sizeof(struct vault_copy), 48},
                  {parts + 5 * sizeof(struct vault_copy), 48},
                  {parts + 6 * sizeof(struct vault_copy), 48},
                  {parts + 7 * sizeof(struct vault_copy), 48},
                  {parts + 8 * sizeof(struct vault_copy), 48},
                  {parts + 9 * sizeof(struct vault_copy), 48},
                  {parts + 10 * sizeof(struct vault_copy), 48},
                  {parts + 11 * sizeof(struct vault_copy), 48}};
    memcpy(lie, truth, sizeof(*lie));
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++)
        for (size_t at = places[i].from; at < places[i].from + places[i].len; at++)
            for (size_t k = 0; k < sizeof(flips); k++) {
                vault_fixture_restore(lie, estate.shared);
                memcpy(lie->buffers, estate.shared->buffers, 3 * 4096);
                ((uint8_t *)lie)[at] ^= flips[k];
                refused += survives(&estate, lie);
            }
    assert_true(refused > 100);
    free(lie);
    end(&first);
    free(estate.shared);
}

static void map_at(struct vault *vault, uint64_t gpa)
{
    const struct vault_role role = {.kind = VAULT_MEMORY, .a = gpa, .b = 4096};
    vault_keep(vault, &role, -1);
    vault_commit(vault);
}

static void unmap_at(struct vault *vault, uint64_t gpa)
{
    vault_forget(vault, VAULT_MEMORY, &gpa);
    vault_commit(vault);
}

static unsigned count_valid(const struct vault *vault)
{
    unsigned count = 0;
    for (unsigned i = 0; i < vault->used; i++)
        count += vault_is_valid(vault, i);
    return count;
}

static void test_as_many_entries_as_there_can_be_and_no_more(void **state)
{
    struct vault_shared *shared = vault_fixture_new();
    struct vault first = {0}, second = {0};
    vault_begin(&first, shared, 1);
    for (unsigned i = 0; i < LIMIT_VAULT_ENTRIES; i++)
        map_at(&first, 2ull * i << 12);
    assert_int_equal(count_valid(&first), LIMIT_VAULT_ENTRIES);
    assert_int_equal(shared->lost, 0);
    for (unsigned i = 0; i < LIMIT_VAULT_ENTRIES; i += 1000) { /* places are used again */
        unmap_at(&first, 2ull * i << 12);
        map_at(&first, (2ull * i + 1) << 12);
    }
    assert_int_equal(shared->lost, 0);
    assert_int_equal(vault_check(&second, shared, 2, NULL), 0);
    vault_own(&second);
    assert_int_equal(count_valid(&second), LIMIT_VAULT_ENTRIES);
    map_at(&second, UINT64_C(1) << 40);
    assert_int_equal(shared->lost, 1);
    free(shared);
}

static void test_an_entry_is_used_again_behind_the_commit(void **state)
{
    const uint64_t here = 0, there = 4096;
    const struct vault_role moved = {.kind = VAULT_MEMORY, .a = there, .b = 4096};
    struct vault_shared *shared = vault_fixture_new();
    struct vault vault = {0};
    vault_begin(&vault, shared, 1);
    map_at(&vault, here);
    for (unsigned i = 0; i < 100; i++) { /* one goes and another comes in the same message */
        vault_forget(&vault, VAULT_MEMORY, &here);
        vault_keep(&vault, &moved, -1);
        assert_int_equal(count_valid(&vault), 1);
        vault_commit(&vault);
        assert_int_equal(count_valid(&vault), 1);
        unmap_at(&vault, there);
        map_at(&vault, here);
    }
    assert_true(vault.used <= 2);
    free(shared);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_answer_that_was_not_sent_is_sent_once),
        cmocka_unit_test(test_a_message_that_was_not_done_is_done_once),
        cmocka_unit_test(test_a_poisoned_message_is_answered_with_an_error),
        cmocka_unit_test(test_an_effect_is_known_to_have_begun),
        cmocka_unit_test(test_every_byte_of_a_vault_may_be_a_lie),
        cmocka_unit_test(test_as_many_entries_as_there_can_be_and_no_more),
        cmocka_unit_test(test_an_entry_is_used_again_behind_the_commit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
