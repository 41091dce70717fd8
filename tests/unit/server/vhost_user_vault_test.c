// SPDX-License-Identifier: BSD-3-Clause
/* A session of vhost-user whose process dies, and whose vault may hold anything. */
#include "server/vhost_user_fixture.h"

#include <linux/virtio_config.h>
#include <stdlib.h>
#include <string.h>

#include <outboard/vault.h>

#include "device/device_vault.h"
#include "server/vault_fixture.h"
#include "support.h"

struct life {
    struct fixture f; /* first */
    struct vault vault;
};

static const struct ob_vault_state nothing = {.size = sizeof(nothing)};

/* A front end with a ring, a back-end channel and a log; the device has a chain. */
static void live(struct life *life, struct vault_shared *shared)
{
    struct fixture *f = &life->f;
    uint8_t payload[16] = {0};
    memset(&life->vault, 0, sizeof(life->vault));
    fixture_make(f);
    assert_int_equal(ob_vault_keep(f->device, &nothing), 0);
    vault_begin(&life->vault, shared, 1);
    assert_int_equal(device_use_vault(f->device, &life->vault, NULL), 0);
    assert_int_equal(engine_new(&vhost_user_engine, f->device, &f->engine, NULL), 0);
    fixture_negotiate(f, MODERN);
    assert_int_equal(fixture_send(f, VHOST_USER_SET_BACKEND_REQ_FD, VHOST_USER_VERSION, NULL, 0,
                                  fake_open(&f->fake, FAKE_OTHER, 0)),
                     0);
    payload[1] = 0x10; /* 4096 bytes */
    assert_int_equal(fixture_send(f, VHOST_USER_SET_LOG_BASE, VHOST_USER_VERSION, payload,
                                  sizeof(payload), fake_file(&f->fake, 9)),
                     0);
    fixture_start_ring(f, 0);
    f->holds = true;
    fixture_offer(f, 0, DATA, 16);
    fixture_kick(f);
    assert_int_equal(f->num_chains, 1);
    /* A message commits all that there is. */
    assert_int_equal(fixture_send_u64(f, VHOST_USER_SET_STATUS, VHOST_USER_VERSION, 15, -1), 0);
}

/* Another life in another world, with descriptors of the kinds that were kept. `shared` may be a lie. */
static int succeed(struct life *life, struct vault_shared *shared, struct ob_fault *fault)
{
    struct fixture *f = &life->f;
    const struct engine_past past = {.received = shared->record[shared->committed & 1].rx_consumed,
                                     .sent = shared->record[shared->committed & 1].tx_produced};
    memset(&life->vault, 0, sizeof(life->vault));
    fixture_make(f);
    assert_int_equal(ob_vault_keep(f->device, &nothing), 0);
    int err = vault_check(&life->vault, shared, 2, fault);
    if (err < 0)
        return err;
    for (unsigned i = 0; i < life->vault.used; i++) {
        struct vault_entry *entry = &shared->entries[i];
        enum fake_kind kind = entry->role.kind == VAULT_RING ? FAKE_EVENT : FAKE_FILE;
        if (entry->role.kind == VAULT_BACKEND)
            kind = FAKE_OTHER;
        if (entry->added > 0)
            entry->fd[life->vault.column] =
                fake_open(&f->fake, kind, entry->role.kind == VAULT_LOG ? 9 : 7);
    }
    vault_own(&life->vault);
    err = engine_new(&vhost_user_engine, f->device, &f->engine, fault);
    return err < 0 ? err : engine_resume(f->engine, &life->vault, &past, fault);
}

static void end(struct life *life)
{
    struct fixture *f = &life->f;
    while (f->num_chains > 0)
        ob_virtio_complete(f->chains[--f->num_chains], 0);
    if (f->engine)
        while (!engine_leave(f->engine))
            device_poll(f->device);
    engine_free(f->engine);
    device_free(f->device);
}

static void a_front_end_notices_nothing(void **state)
{
    struct life first, second;
    struct vault_shared *shared = vault_fixture_new(), *dying = vault_fixture_new();
    live(&first, shared);
    memcpy(dying, shared, sizeof(*dying));
    assert_int_equal(succeed(&second, dying, NULL), 0);
    struct fixture *f = &second.f;
    memcpy(fixture_at(f, 0), fixture_at(&first.f, 0), FAKE_FILE_LEN);
    fixture_poll(f);
    assert_memory_equal(fixture_at(f, DATA), "done", 4); /* the chain was taken again */
    assert_int_equal(fixture_get16(f, USED + 2), 1);
    /* Eventfds, the ring's place and what was set are there. */
    fixture_offer(f, 1, DATA + 64, 16);
    for (int fd = 0; fd < (int)FAKE_DESCRIPTORS; fd++)
        if (f->fake.descriptors[fd].fired)
            fake_fire(&f->fake, fd);
    fixture_poll(f);
    assert_int_equal(fixture_get16(f, USED + 2), 2);
    fixture_send(f, VHOST_USER_GET_STATUS, VHOST_USER_VERSION, NULL, 0, -1);
    assert_int_equal(fixture_answer(f), 15);
    assert_true(f->fake.sent_len > 0); /* the configuration may have changed */
    fixture_send_state(f, VHOST_USER_GET_VRING_BASE, 0, 0);
    assert_int_equal(fixture_answer_num(f), 2);
    end(&second);
    assert_true(fake_is_empty(&f->fake));
    end(&first);
    assert_true(fake_is_empty(&first.f.fake));
    free(dying);
    free(shared);
}

static void requests_in_flight_are_not_the_front_ends(void **state)
{
    struct life life;
    struct vault_shared *shared = vault_fixture_new();
    live(&life, shared);
    fixture_send(&life.f, VHOST_USER_GET_PROTOCOL_FEATURES, VHOST_USER_VERSION, NULL, 0, -1);
    assert_false(fixture_answer(&life.f) & BIT(VHOST_USER_F_INFLIGHT_SHMFD));
    assert_false(shared->lost);
    end(&life);
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
        for (unsigned i = 0; i < 8; i++)
            device_poll(life.f.device);
    end(&life);
    return refused;
}

/* The session, the queues and the descriptors. */
static void every_byte_may_be_a_lie(void **state)
{
    static const uint8_t flips[] = {0x01, 0x80, 0xff};
    struct life first;
    struct vault_shared *truth = vault_fixture_new(), *lie = vault_fixture_new();
    unsigned refused = 0;
    live(&first, truth);
    const size_t parts = offsetof(struct vault_shared, parts);
    const size_t wire = parts + 2 * VAULT_PART_WIRE * sizeof(struct vault_copy);
    const size_t own = parts + 2 * VAULT_PART_STATE * sizeof(struct vault_copy);
    const struct {
        size_t from, len;
    } places[] = {{offsetof(struct vault_shared, entries), 6 * sizeof(struct vault_entry)},
                  {wire, 220},
                  {wire + sizeof(struct vault_copy), 220},
                  {own, 260},
                  {own + sizeof(struct vault_copy), 260}};
    memcpy(lie, truth, sizeof(*lie));
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++)
        for (size_t at = places[i].from; at < places[i].from + places[i].len; at++)
            for (size_t k = 0; k < sizeof(flips); k++) {
                vault_fixture_restore(lie, truth);
                ((uint8_t *)lie)[at] ^= flips[k];
                refused += survives(lie);
            }
    assert_true(refused > 100);
    end(&first);
    free(lie);
    free(truth);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_front_end_notices_nothing),
        cmocka_unit_test(requests_in_flight_are_not_the_front_ends),
        cmocka_unit_test(every_byte_may_be_a_lie),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
