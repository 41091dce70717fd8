// SPDX-License-Identifier: BSD-3-Clause
/* Migration of a vfio-user remote: run states, save and load. */
#include "support.h"

#include <errno.h>
#include <string.h>

#include <outboard/client_state.h>

#include "os/event.h"
#include "remote/client.h"
#include "remote/fixture.h"

/* The data of a device feature is behind its head of 8 bytes. */
#define DATA VFIO_USER_FEATURE_LEN

/* What the remote says in place of the usual: so many bytes behind a head of 8. */
struct speech {
    uint8_t bytes[64];
    size_t len;
    uint32_t sizes[8]; /* of the pieces that it was given */
    unsigned count;
};

static size_t say(struct fake_remote *remote, struct message *message)
{
    struct speech *speech = remote->context;
    memcpy(message->payload + DATA, speech->bytes, speech->len);
    return DATA + speech->len;
}

static void start(struct fixture *f, struct speech *speech, const char *version)
{
    *speech = (struct speech){.len = 8};
    fixture_start_probed(f, version);
    f->remote.answer = say;
    f->remote.context = speech;
}

/* The first byte of what the remote says. */
static void say_first(struct speech *speech, uint8_t byte)
{
    speech->bytes[0] = byte;
}

static void who_can_migrate_says_so(void **state)
{
    static const struct {
        uint8_t flags;
        int err;
        bool pre_copy;
    } cases[] = {{0, -ENOTSUP, false}, {4, -ENOTSUP, false}, {1, 0, false}, {5, 0, true}};
    struct fixture f;
    struct speech speech;
    start(&f, &speech, NULL);
    for (unsigned i = 0; i < 4; i++) {
        bool pre_copy = false;
        say_first(&speech, cases[i].flags);
        assert_int_equal(FIXTURE_SERVED(&f, 1, ob_client_can_migrate(f.client, &pre_copy)),
                         cases[i].err);
        assert_int_equal(pre_copy, cases[i].pre_copy);
    }
    say_first(&speech, 1);
    assert_int_equal(FIXTURE_SERVED(&f, 1, ob_client_can_migrate(f.client, NULL)), 0);
    f.remote.refused[VFIO_USER_DEVICE_FEATURE] = ENOTTY;
    assert_int_equal(FIXTURE_SERVED(&f, 1, ob_client_can_migrate(f.client, NULL)), -ENOTSUP);
    fixture_check_state(&f, OB_CLIENT_ALIVE);
    fixture_stop(&f);
}

static void a_run_state_is_one_that_there_is(void **state)
{
    struct fixture f;
    struct speech speech;
    enum ob_client_run_state run_state = OB_CLIENT_STOPPED;
    start(&f, &speech, NULL);
    for (unsigned i = OB_CLIENT_RUN_ERROR; i <= OB_CLIENT_PRE_COPY; i++) {
        say_first(&speech, (uint8_t)i);
        assert_int_equal(FIXTURE_SERVED(&f, 1, ob_client_get_run_state(f.client, &run_state)), 0);
        assert_int_equal(run_state, i);
    }
    say_first(&speech, OB_CLIENT_PRE_COPY + 1);
    assert_int_equal(FIXTURE_SERVED(&f, 1, ob_client_get_run_state(f.client, &run_state)), -EPROTO);
    assert_int_equal(run_state, OB_CLIENT_PRE_COPY); /* untouched */
    fixture_check_state(&f, OB_CLIENT_LOST);
    fixture_stop(&f);
}

static void a_run_state_is_asked_for_without_a_descriptor(void **state)
{
    struct fixture f;
    struct speech speech;
    start(&f, &speech, NULL);
    assert_int_equal(FIXTURE_SERVED(&f, 1, ob_client_set_run_state(f.client, OB_CLIENT_SAVING)), 0);
    assert_int_equal(f.remote.last.len, 16);
    assert_memory_equal(f.remote.last.payload + DATA, "\3\0\0\0\xff\xff\xff\xff", 8);
    f.remote.refused[VFIO_USER_DEVICE_FEATURE] = EINVAL;
    assert_int_equal(FIXTURE_SERVED(&f, 1, ob_client_set_run_state(f.client, OB_CLIENT_LOADING)),
                     -EREMOTEIO);
    assert_int_equal(ob_client_refusal(f.client), -EINVAL);
    fixture_stop(&f);
}

#define PIECES "{\"capabilities\":{\"max_data_xfer_size\":16}}"

/* MIG_DATA_READ: 0 argsz, 4 size; then the data. */
static size_t say_state(struct fake_remote *remote, struct message *message)
{
    const struct speech *speech = remote->context;
    memcpy(message->payload, speech->bytes, speech->len);
    return speech->len;
}

static int save(struct fixture *f, struct speech *speech, uint8_t said, size_t len, uint8_t *buf)
{
    *speech = (struct speech){.bytes = {[4] = said, [8] = 'a', 'b', 'c', 'd'}, .len = 8 + len};
    f->remote.answer = say_state;
    return FIXTURE_SERVED(f, 1, ob_client_save(f->client, buf, 32));
}

static void a_state_is_saved_in_pieces(void **state)
{
    struct fixture f;
    struct speech speech;
    uint8_t buf[32] = {0};
    start(&f, &speech, PIECES);
    assert_int_equal(save(&f, &speech, 4, 4, buf), 4);
    assert_memory_equal(buf, "abcd", 4);
    /* No more is asked for than the remote gives in a message, though there is room. */
    assert_memory_equal(f.remote.last.payload, "\x18\0\0\0\x10\0\0\0", 8);
    assert_int_equal(save(&f, &speech, 2, 16, buf), 2); /* as libvfio-user: padded */
    assert_int_equal(save(&f, &speech, 0, 0, buf), 0);
    assert_int_equal(save(&f, &speech, 5, 4, buf), -EPROTO);
    fixture_check_state(&f, OB_CLIENT_LOST);
    fixture_stop(&f);
}

static void an_answer_without_a_size_is_no_state(void **state)
{
    struct fixture f;
    struct speech speech;
    uint8_t buf[32];
    start(&f, &speech, PIECES);
    speech.len = 7;
    f.remote.answer = say_state;
    assert_int_equal(FIXTURE_SERVED(&f, 1, ob_client_save(f.client, buf, sizeof(buf))), -EPROTO);
    fixture_check_state(&f, OB_CLIENT_LOST);
    fixture_stop(&f);
}

static size_t take_state(struct fake_remote *remote, struct message *message)
{
    struct speech *speech = remote->context;
    memcpy(&speech->sizes[speech->count % 8], message->payload + 4, 4);
    assert_int_equal(message->len, 8 + speech->sizes[speech->count % 8]);
    memcpy(speech->bytes + speech->len, message->payload + 8, message->len - 8);
    speech->len += message->len - 8;
    speech->count++;
    return 8;
}

static void a_state_is_loaded_in_pieces(void **state)
{
    static const char text[] = "a state that is longer than a message";
    struct fixture f;
    struct speech speech;
    start(&f, &speech, PIECES);
    speech.len = 0;
    f.remote.answer = take_state;
    assert_int_equal(FIXTURE_SERVED(&f, 3, ob_client_load(f.client, text, sizeof(text))), 0);
    assert_int_equal(speech.count, 3);
    assert_int_equal(speech.sizes[0], 16);
    assert_int_equal(speech.sizes[2], sizeof(text) - 32);
    assert_memory_equal(speech.bytes, text, sizeof(text));
    f.remote.refused[VFIO_USER_MIG_DATA_WRITE] = EIO; /* and no other piece is sent */
    assert_int_equal(FIXTURE_SERVED(&f, 1, ob_client_load(f.client, text, sizeof(text))),
                     -EREMOTEIO);
    assert_int_equal(fixture_read_some(&f.remote, 1), 0);
    assert_int_equal(ob_client_load(f.client, NULL, 0), 0);
    fixture_stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(who_can_migrate_says_so),
        TEST(a_run_state_is_one_that_there_is),
        TEST(a_run_state_is_asked_for_without_a_descriptor),
        TEST(a_state_is_saved_in_pieces),
        TEST(an_answer_without_a_size_is_no_state),
        TEST(a_state_is_loaded_in_pieces),
    };
    event_prepare(); /* what a process has once, before descriptors are counted */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
