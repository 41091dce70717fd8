// SPDX-License-Identifier: BSD-3-Clause
/* A session of vfio-user whose process dies, and whose vault may hold anything. */
#include "server/vfio_user_fixture.h"

#include <errno.h>
#include <linux/vfio.h>
#include <stdlib.h>
#include <string.h>

#include <outboard/vault.h>

#include "base/cursor.h"
#include "device/device_vault.h"
#include "device/pci.h"
#include "server/vault_fixture.h"
#include "support.h"

#define PAGE 4096u

struct life {
    struct fixture f; /* first */
    struct vault vault;
    uint8_t state[16];
};

static int save(void *state, uint8_t *ret_buf, size_t size)
{
    memcpy(ret_buf, ((struct life *)state)->state, 16);
    return 16;
}

static int load(void *state, uint32_t version, const uint8_t *buf, size_t len,
                struct ob_fault *fault)
{
    memcpy(((struct life *)state)->state, buf, len);
    return 0;
}

static void begin(struct life *life)
{
    static const struct ob_device_desc desc = {
        .size = sizeof(desc),
        .name = "test",
        .intx = true,
        .bars = {{.kind = OB_BAR_MEM32, .size = 4096}},
        .state_len = 16,
        .state_version = 1,
    };
    static const struct ob_device_ops ops = {.size = sizeof(ops), .save = save, .load = load};
    memset(life, 0, sizeof(*life));
    fake_host_init(&life->f.fake);
    assert_int_equal(device_new(&desc, &ops, life, &life->f.fake.host, &life->f.device, NULL), 0);
    const struct ob_vault_state state = {
        .size = sizeof(state), .bytes = life->state, .len = sizeof(life->state), .version = 1};
    assert_int_equal(ob_vault_keep(life->f.device, &state), 0);
}

static void end(struct life *life)
{
    engine_free(life->f.engine);
    device_free(life->f.device);
}

static void feature(struct life *life, uint32_t flags, const uint64_t *words, unsigned count,
                    struct sent *ret_reply)
{
    uint8_t payload[64];
    struct wr wr = wr_init(payload, sizeof(payload));
    wr_u32(&wr, 4096);
    wr_u32(&wr, flags);
    for (unsigned i = 0; i < count; i++)
        wr_u64(&wr, words[i]);
    assert_int_equal(ask(&life->f, VFIO_USER_DEVICE_FEATURE, payload, wr.len, NULL, 0, ret_reply),
                     0);
}

/* A client with memory, an interrupt, a log of written pages, and a message of ours on its way. */
static void live(struct life *life, struct vault_shared *shared)
{
    static const char offer[] = "\0\0\0\0{\"capabilities\":"
                                "{\"max_msg_fds\":16,\"migration\":{\"pgsize\":4096}}}";
    static const uint64_t log[] = {PAGE, 1, 0x10000, 16 * PAGE};
    struct fixture *f = &life->f;
    struct sent reply;
    begin(life);
    vault_begin(&life->vault, shared, 1);
    assert_int_equal(device_use_vault(f->device, &life->vault, NULL), 0);
    assert_int_equal(engine_new(&vfio_user_engine, f->device, &f->engine, NULL), 0);
    assert_int_equal(ask(f, VFIO_USER_VERSION, offer, sizeof(offer), NULL, 0, &reply), 0);
    share(f, 0x10000, fake_file(&f->fake, 1));
    share(f, 0x100000, -1);
    device_config_write(f->device, 4, 2, 4);
    feature(life, VFIO_DEVICE_FEATURE_SET | VFIO_USER_FEATURE_LOGGING_START, log, 4, &reply);
    submit(f, OB_DMA_TO_DEVICE, 0x100000, 64);
    assert_int_equal(engine_poke(f->engine), 0);
    assert_true(take(f, &reply));
}

/* Takes over a vault that was checked. */
static int continue_with(struct life *life, struct vault_shared *shared, struct ob_fault *fault)
{
    struct fixture *f = &life->f;
    vault_fixture_renumber(shared, life->vault.column, &f->fake, 1);
    const struct engine_past past = {.received = life->vault.now.rx_consumed,
                                     .sent = life->vault.now.tx_produced};
    vault_own(&life->vault);
    int err = engine_new(&vfio_user_engine, f->device, &f->engine, fault);
    return err < 0 ? err : engine_resume(f->engine, &life->vault, &past, fault);
}

/* Another life in another world. `shared` may be a lie. */
static int succeed(struct life *life, struct vault_shared *shared, struct ob_fault *fault)
{
    begin(life);
    int err = vault_check(&life->vault, shared, 2, fault);
    return err < 0 ? err : continue_with(life, shared, fault);
}

/* The log begins again with everything marked: a page that was written and not told is not missed. */
static void test_a_log_of_pages_goes_on(void **state)
{
    static const uint64_t range[] = {0x10000, 16 * PAGE, PAGE};
    struct life first, second;
    struct sent reply;
    struct vault_shared *shared = vault_fixture_new();
    live(&first, shared);
    assert_int_equal(succeed(&second, shared, NULL), 0);
    for (unsigned round = 0; round < 2; round++) {
        feature(&second, VFIO_DEVICE_FEATURE_GET | VFIO_USER_FEATURE_LOGGING_REPORT, range, 3,
                &reply);
        struct rd rd = rd_init(reply.payload + 32, 8);
        assert_int_equal(rd_u64(&rd), round == 0 ? 0xffff : 0);
    }
    end(&second);
    end(&first);
    free(shared);
}

static bool survives(struct vault_shared *lie)
{
    struct life life;
    struct ob_fault fault = {0};
    bool refused = succeed(&life, lie, &fault) < 0;
    if (refused)
        assert_true(fault.text[0]);
    else
        engine_poke(life.f.engine);
    end(&life);
    return refused;
}

static void test_every_byte_of_a_session_may_be_a_lie(void **state)
{
    static const uint8_t flips[] = {0x01, 0x80, 0xff};
    struct life first;
    struct vault_shared *truth = vault_fixture_new(), *lie = vault_fixture_new();
    unsigned refused = 0;
    live(&first, truth);
    const size_t wire =
        offsetof(struct vault_shared, parts) + 2 * VAULT_PART_WIRE * sizeof(struct vault_copy);
    memcpy(lie, truth, sizeof(*lie));
    for (size_t copy = 0; copy < 2; copy++) {
        const size_t from = wire + copy * sizeof(struct vault_copy);
        const size_t len =
            offsetof(struct vault_copy, bytes) + truth->parts[VAULT_PART_WIRE][copy].len;
        for (size_t at = from; at < from + len; at++)
            for (size_t k = 0; k < sizeof(flips); k++) {
                vault_fixture_restore(lie, truth);
                ((uint8_t *)lie)[at] ^= flips[k];
                refused += survives(lie);
            }
    }
    assert_true(refused > 100);
    end(&first);
    free(lie);
    free(truth);
}

/* Of the state that a client writes, as many bytes count as can be. */
static void test_a_state_that_comes_in_has_no_length_that_can_t_be(void **state)
{
    static const uint64_t resuming = VFIO_USER_MIG_RESUMING;
    struct life first, second;
    struct sent reply;
    struct ob_fault fault = {0};
    struct vault_shared *shared = vault_fixture_new();
    uint8_t *incoming = calloc(1, LIMIT_VAULT_INCOMING);
    assert_non_null(incoming);
    live(&first, shared);
    first.vault.incoming = incoming;
    feature(&first, VFIO_DEVICE_FEATURE_SET | VFIO_USER_FEATURE_DEVICE_STATE, &resuming, 1, &reply);
    const struct vfio_user_server *server = (struct vfio_user_server *)first.f.engine;
    assert_int_equal(server->migration.state, VFIO_USER_MIG_RESUMING);
    assert_ptr_equal(server->migration.data, incoming);
    for (unsigned longest = 0; longest < 2; longest++) {
        struct vault_shared *lie = vault_fixture_new();
        memcpy(lie, shared, sizeof(*lie));
        ((struct vfio_user_server *)first.f.engine)->migration.len = longest ? SIZE_MAX : 7;
        first.f.engine->ops->session->put(first.f.engine);
        vault_commit(&first.vault);
        memcpy(lie, shared, sizeof(*lie));
        begin(&second);
        assert_int_equal(vault_check(&second.vault, lie, 2, &fault), 0);
        second.vault.incoming = incoming;
        int err = continue_with(&second, lie, &fault);
        assert_int_equal(err, longest ? -EINVAL : 0);
        if (longest)
            assert_string_equal(fault.text, "the vault has no room for the state that came in");
        end(&second);
        free(lie);
    }
    end(&first);
    free(incoming);
    free(shared);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_log_of_pages_goes_on),
        cmocka_unit_test(test_every_byte_of_a_session_may_be_a_lie),
        cmocka_unit_test(test_a_state_that_comes_in_has_no_length_that_can_t_be),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
