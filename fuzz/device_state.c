// SPDX-License-Identifier: BSD-3-Clause
/*
 * A saved state of a device that comes in from anybody (src/device/state.c, state_early.c).
 *
 * An input is a list of changes to a state that is right, with the blocks that go ahead of it or
 * without, so that what lies behind the head is reached too; or bytes of its own. What must hold: a
 * state that is refused leaves the device as after a reset, and says why; one that is taken on
 * saves to bytes that are taken on again and save to the same; the device's own part of it is what
 * was in the state, and is handed over once.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <outboard/irq.h>

#include "base/cursor.h"
#include "check.h"
#include "device/device.h"
#include "device/pci.h"
#include "device/state.h"
#include "device/state_early.h"
#include "fake/server_host.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define OWN_LEN 16u

struct world {
    struct fake_host fake;
    struct ob_device *device;
    uint8_t own[OWN_LEN];
    size_t own_len;
    unsigned loads, resets;
    size_t limit; /* bytes of the longest state */
    uint8_t *early, *right, *after_reset, *bytes, *again;
    size_t early_len, right_len, after_reset_len;
};

static void reset(void *state)
{
    struct world *world = state;
    memset(world->own, 0, OWN_LEN);
    world->own_len = 4;
    world->resets++;
}

static int save(void *state, uint8_t *ret_buf, size_t size)
{
    const struct world *world = state;
    CHECK(size == OWN_LEN);
    memcpy(ret_buf, world->own, world->own_len);
    return (int)world->own_len;
}

static int load(void *state, uint32_t version, const uint8_t *buf, size_t len,
                struct ob_fault *fault)
{
    struct world *world = state;
    CHECK(version <= 2 && (buf || len == 0));
    world->loads++;
    if (len > OWN_LEN || (len > 0 && buf[0] == 0xee))
        return -EINVAL;
    if (len > 0)
        memcpy(world->own, buf, len);
    world->own_len = len;
    return 0;
}

static size_t save_all(struct world *world, uint8_t *ret_bytes)
{
    int len = state_save(world->device, ret_bytes, world->limit);
    CHECK(len > 0 && (size_t)len <= world->limit);
    return (size_t)len;
}

static uint8_t *room(size_t len)
{
    uint8_t *bytes = calloc(1, len);
    CHECK(bytes);
    return bytes;
}

/* A state with something of everything: BARs placed, a vector programmed, a level raised. */
static void make_right(struct world *world)
{
    uint8_t *memory = ob_device_bar_memory(world->device, 1);
    device_config_write(world->device, 0x10, 4, 0xfebf0000);
    device_config_write(world->device, 0x04, 2, 0x0407);
    device_bar_write(world->device, 0, 0x800, 8, 0xfee00000);
    device_bar_write(world->device, 0, 0x80c, 4, 0);
    for (unsigned i = 0; i < 4096; i++)
        memory[i] = (uint8_t)(i * 7);
    memset(world->own, 0x5a, OWN_LEN);
    world->own_len = OWN_LEN;
    world->early_len = state_early_len(world->device);
    world->early = room(world->early_len);
    CHECK(state_early_save(world->device, world->early) == 0);
    ob_irq_raise(world->device);
    world->right_len = save_all(world, world->right);
    device_reset(world->device);
    world->after_reset_len = save_all(world, world->after_reset);
}

static struct world *world_new(void)
{
    static struct world world;
    static const struct ob_device_desc desc = {
        .name = "state",
        .intx = true,
        .bars = {{.kind = OB_BAR_MEM32, .size = 4096},
                 {.kind = OB_BAR_MEM32,
                  .flags = OB_BAR_MEMORY,
                  .size = 8192,
                  .memory = {.offset = 4096, .len = 4096}},
                 {.kind = OB_BAR_MEM64, .size = 4096},
                 [4] = {.kind = OB_BAR_IO, .size = 16}},
        .msi_vectors = 4,
        .msix_vectors = 3,
        .msix_offset = 0x800,
        .state_len = OWN_LEN,
        .state_version = 2,
    };
    static const struct ob_device_ops ops = {.reset = reset, .save = save, .load = load};
    fake_host_init(&world.fake);
    CHECK(device_new(&desc, &ops, &world, &world.fake.host, &world.device, NULL) == 0);
    world.limit = state_limit(world.device);
    world.right = room(world.limit);
    world.after_reset = room(world.limit);
    world.again = room(world.limit);
    make_right(&world);
    world.bytes = room(world.early_len + world.right_len);
    return &world;
}

/* Memory of a BAR outlives a reset; all else is as it was made. */
static void check_refused(struct world *world, const struct ob_fault *fault)
{
    CHECK(fault->code < 0 && fault->text[0]);
    memset(ob_device_bar_memory(world->device, 1), 0, 4096);
    size_t len = save_all(world, world->again);
    memset(ob_device_bar_memory(world->device, 1), 0, 4096);
    CHECK(len == world->after_reset_len && world->own_len == 4);
    CHECK(memcmp(world->again, world->after_reset, 0x100) == 0);
}

static void check_taken(struct world *world)
{
    static uint8_t *first;
    if (!first)
        first = room(world->limit);
    size_t len = save_all(world, first);
    CHECK(world->loads == 1);
    CHECK(state_load(world->device, first, len, NULL) == 0);
    CHECK(save_all(world, world->again) == len && memcmp(first, world->again, len) == 0);
}

static void take(struct world *world, const uint8_t *bytes, size_t len)
{
    struct ob_fault fault = {0};
    world->loads = 0;
    world->resets = 0;
    int err = state_load(world->device, bytes, len, &fault);
    CHECK(world->loads <= 1 && world->resets >= 1);
    if (err == 0)
        check_taken(world);
    else
        check_refused(world, &fault);
    /* A look at its beginning never changes anything, nor fails to end. */
    size_t early = 0;
    uint32_t version = 9;
    struct rd rd = rd_init(bytes, len);
    if (state_early_check(world->device, bytes, len, &early, NULL) == 0)
        CHECK(early <= len && early % STATE_EARLY_BLOCK == 0);
    state_load_head(world->device, &rd, &version, NULL);
}

/* Changes of three bytes: two of where, and one of what; what is left over cuts it short. */
static void change(struct world *world, bool with_early, const uint8_t *data, size_t size)
{
    size_t at = with_early ? world->early_len : 0, len = at + world->right_len;
    memcpy(world->bytes, world->early, at);
    memcpy(world->bytes + at, world->right, world->right_len);
    for (; size >= 3; data += 3, size -= 3)
        world->bytes[(size_t)(data[0] << 8 | data[1]) % len] = data[2];
    if (size == 2)
        len -= (size_t)(data[0] << 8 | data[1]) % len;
    else if (size == 1)
        len -= data[0] % len;
    take(world, world->bytes, len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct world *world;
    if (!world)
        world = world_new();
    if (size == 0)
        return 0;
    if (data[0] % 4 == 0)
        take(world, data + 1, size - 1);
    else
        change(world, data[0] & 2, data + 1, size - 1);
    return 0;
}
