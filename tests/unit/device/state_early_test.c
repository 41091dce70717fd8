// SPDX-License-Identifier: BSD-3-Clause
#include "device/state_early.h"

#include "support.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "device/state.h"
#include "failing_alloc.h"
#include "fake/server_host.h"

#define BLOCK   STATE_EARLY_BLOCK
#define OWN     "own"
#define MAX_LEN 16384u
#define MEMORY  4096u
#define CONFIG  256u
#define NAME_AT (8 + 8 + 1)
#define PCI_ID  (NAME_AT + 4 + 4 + 4) /* in the first block */

struct fixture {
    struct fake_host fake;
    struct ob_device *device;
    unsigned loads;
    uint8_t bytes[MAX_LEN];
    size_t early, len; /* of the blocks; of blocks and state */
};

static int save(void *state, uint8_t *ret_buf, size_t size)
{
    memcpy(ret_buf, OWN, sizeof(OWN));
    return sizeof(OWN);
}

static int load(void *state, uint32_t version, const uint8_t *buf, size_t len,
                struct ob_fault *fault)
{
    struct fixture *f = state;
    f->loads++;
    return len == sizeof(OWN) && memcmp(buf, OWN, len) == 0 ? 0 : -EINVAL;
}

/* A device with a memory BAR, and its state behind its blocks. */
static void set_up(struct fixture *f)
{
    static const struct ob_device_desc desc = {
        .name = "test",
        .vendor_id = 0x1af4,
        .bars = {{.kind = OB_BAR_MEM32, .flags = OB_BAR_MEMORY, .size = MEMORY}},
        .state_len = sizeof(OWN),
        .state_version = 3,
    };
    static const struct ob_device_ops ops = {.save = save, .load = load};
    *f = (struct fixture){0};
    fake_host_init(&f->fake);
    assert_int_equal(device_new(&desc, &ops, f, &f->fake.host, &f->device, NULL), 0);
    memset(ob_device_bar_memory(f->device, 0), 0x5a, MEMORY);
    f->early = state_early_len(f->device);
    assert_true(f->early + state_limit(f->device) <= MAX_LEN);
    assert_int_equal(state_early_save(f->device, f->bytes), 0);
    int len = state_save(f->device, f->bytes + f->early, MAX_LEN - f->early);
    assert_true(len > 0);
    f->len = f->early + (size_t)len;
}

static void tear_down(struct fixture *f)
{
    device_free(f->device);
    assert_true(fake_is_empty(&f->fake));
}

static void what_is_told_early_is_the_head_and_the_memory(void **state)
{
    struct fixture f;
    set_up(&f);
    const size_t told = 4 + 4 + 1 + 4 + 4 + 4 + CONFIG + 4 + 1 + 8 + MEMORY + 1;
    assert_int_equal(f.early, (told + BLOCK - 9) / (BLOCK - 8) * BLOCK);
    assert_memory_equal(f.bytes, "OBSE\xf8\1\0\0OBST\1\0\0\0\4test\3\0\0\0\0\1\0\0\xf4\x1a", 31);
    assert_memory_equal(f.bytes + 2UL * BLOCK, "OBSE\xf8\1\0\0ZZZZ", 12);
    assert_int_equal(f.bytes[f.early - 1], 0);
    tear_down(&f);
}

static void a_state_loads_behind_any_number_of_blocks(void **state)
{
    struct fixture f;
    set_up(&f);
    for (size_t from = f.early; from <= f.early; from -= BLOCK) {
        uint8_t *bytes = malloc(f.len);
        size_t blocks = f.early - from, left = f.len - f.early;
        memcpy(bytes, f.bytes, blocks);
        memcpy(bytes + blocks, f.bytes + f.early, left);
        assert_int_equal(state_load(f.device, bytes, blocks + left, NULL), 0);
        size_t len = SIZE_MAX;
        assert_int_equal(state_early_check(f.device, bytes, blocks + left, &len, NULL), 0);
        assert_int_equal(len, blocks);
        free(bytes);
    }
    assert_int_equal(f.loads, f.early / BLOCK + 1);
    tear_down(&f);
}

static void what_is_cut_elsewhere_is_refused(void **state)
{
    struct fixture f;
    set_up(&f);
    for (size_t cut = 0; cut < f.len; cut++) {
        struct ob_fault fault = {0};
        assert_int_equal(state_load(f.device, f.bytes, cut, &fault), -EINVAL);
        assert_int_equal(fault.code, -EINVAL);
    }
    for (size_t missing = 1; missing < BLOCK; missing++) /* in the midst of the blocks */
        assert_int_equal(state_load(f.device, f.bytes + missing, f.len - missing, NULL), -EINVAL);
    assert_int_equal(f.loads, 0);
    tear_down(&f);
}

static void blocks_of_another_device_are_refused(void **state)
{
    static const struct {
        size_t at;
        const char *says;
    } lies[] = {
        {0, "not a saved state"},             /* a block's magic */
        {4, "not a saved state"},             /* how much of it is used: too little... */
        {5, "not a saved state"},             /* ...too much */
        {8, "not a saved state"},             /* the head's magic */
        {12, "format"},                       /* its format */
        {NAME_AT, "another device"},          /* name */
        {NAME_AT + 7, "version: got "},       /* version */
        {NAME_AT + 8, "configuration space"}, /* its length */
        {PCI_ID, "configuration space"},      /* vendor */
        {PCI_ID + CONFIG, "MSI-X"},           /* length */
        {PCI_ID + CONFIG + 4, "memory BAR"},  /* index */
        {PCI_ID + CONFIG + 5, "memory BAR"},  /* length */
    };
    struct fixture f;
    set_up(&f);
    for (unsigned i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
        struct ob_fault fault = {0};
        f.bytes[lies[i].at] ^= lies[i].at == 4 ? 0x08 : 0x80;
        assert_int_equal(state_load(f.device, f.bytes, f.len, &fault), -EINVAL);
        if (!strstr(fault.text, lies[i].says))
            fail_msg("%u: '%s' does not say '%s'", i, fault.text, lies[i].says);
        f.bytes[lies[i].at] ^= lies[i].at == 4 ? 0x08 : 0x80;
    }
    assert_int_equal(state_load(f.device, f.bytes, f.len, NULL), 0);
    tear_down(&f);
}

static void more_than_all_blocks_is_refused(void **state)
{
    struct fixture f;
    set_up(&f);
    uint8_t *bytes = malloc(f.len + BLOCK);
    memcpy(bytes, f.bytes, f.early);
    memcpy(bytes + f.early, f.bytes, BLOCK);
    memcpy(bytes + f.early + BLOCK, f.bytes + f.early, f.len - f.early);
    assert_int_equal(state_load(f.device, bytes, f.len + BLOCK, NULL), -EINVAL);
    free(bytes);
    tear_down(&f);
}

static void no_memory_is_an_error(void **state)
{
    struct fixture f;
    set_up(&f);
    fail_allocation(1);
    assert_int_equal(state_early_save(f.device, f.bytes), -ENOMEM);
    assert_true(allocation_failed());
    fail_allocation(1);
    assert_int_equal(state_load(f.device, f.bytes, f.len, NULL), -ENOMEM);
    assert_true(allocation_failed());
    tear_down(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_is_told_early_is_the_head_and_the_memory),
        TEST(a_state_loads_behind_any_number_of_blocks),
        TEST(what_is_cut_elsewhere_is_refused),
        TEST(blocks_of_another_device_are_refused),
        TEST(more_than_all_blocks_is_refused),
        TEST(no_memory_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
