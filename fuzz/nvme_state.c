// SPDX-License-Identifier: BSD-3-Clause
/*
 * A saved state of the NVMe controller that comes in from anybody.
 *
 * Most inputs are a list of changes to a state that is right, so that what lies behind the first
 * check is reached too. What must hold: a state that is refused leaves the controller as it was;
 * one that is taken on saves to the same bytes; its queues are within their bounds; and the
 * controller then runs, on a guest's memory full of what it has never written, and comes to rest,
 * with no more commands than it has requests.
 */
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "check.h"
#include "device/device.h"
#include "device/pci.h"
#include "fake/disk.h"
#include "state.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MEMORY_LEN  UINT64_C(0x8000)
#define SECONDS_LEN 8u /* at the end: they pass */
#define ROUNDS      8u

struct world {
    struct fake_disk disk;
    struct nvme *nvme;
    struct ob_device *device;
    int memory_fd;
    uint8_t *memory;
    uint8_t right[NVME_STATE_LEN]; /* a state of a controller with queues, commands and errors */
    size_t right_len;
    bool has_run; /* and is no longer in it */
};

static void map_memory(struct world *world)
{
    const struct memory_region_desc region = {
        .len = MEMORY_LEN, .fd = world->memory_fd, .writable = true};
    CHECK(memory_replace(device_memory(world->device), &region, 1, NULL) == 0);
    device_config_write(world->device, 0x04, 2, 0x0006);
}

static size_t save(const struct world *world, uint8_t *ret_bytes)
{
    int len = nvme_state_save(world->nvme, ret_bytes, NVME_STATE_LEN);
    CHECK(len > (int)SECONDS_LEN);
    return (size_t)len;
}

static void add_commands(struct nvme *nvme)
{
    for (unsigned i = 0; i < 4; i++) {
        struct nvme_request *request = request_new(nvme, &nvme->queues.sq[1 + i % 2]);
        request->command = (struct nvme_command){.opcode = (uint8_t)(1 + i), .nsid = 1};
        if (i < 2)
            queue_finish(request->sq->cq, request);
        else
            request_park(request);
    }
    struct nvme_request *event = request_new(nvme, &nvme->queues.sq[0]);
    event->command = (struct nvme_command){.opcode = NVME_ADMIN_ASYNC_EVENT};
    request_park(event);
}

/* A state with something of everything. */
static void make_right(struct world *world)
{
    struct nvme *nvme = world->nvme;
    device_bar_write(world->device, 0, NVME_REG_AQA, 4, 0x001f001f);
    device_bar_write(world->device, 0, NVME_REG_ASQ, 8, 0x1000);
    device_bar_write(world->device, 0, NVME_REG_ACQ, 8, 0x2000);
    device_bar_write(world->device, 0, NVME_REG_CC, 4, 0x00460001);
    for (uint16_t i = 1; i < 3; i++) {
        queue_cq_create(nvme, i, 0x1000ul * (2u + 2u * i), 64, true, i);
        queue_sq_create(nvme, i, 0x1000ul * (1u + 2u * i), 64, i);
    }
    nvme->log.errors_told = 3;
    add_commands(nvme);
    device_pause(world->device, true);
    world->right_len = save(world, world->right);
}

static struct world *world_new(void)
{
    static struct world world;
    fake_disk_init(&world.disk, 0);
    const struct nvme_image image = {.block = &world.disk.block, .block_size = 512};
    const struct nvme_options options = {
        .images = &image, .count = 1, .serial = "FUZZ", .timeout_ms = BLOCK_TIMEOUT_MS};
    CHECK(nvme_new(&options, &world.nvme, &world.device, NULL) == 0);
    world.memory_fd = memfd_create("guest", MFD_CLOEXEC);
    CHECK(world.memory_fd >= 0 && ftruncate(world.memory_fd, MEMORY_LEN) == 0);
    world.memory = mmap(NULL, MEMORY_LEN, PROT_READ | PROT_WRITE, MAP_SHARED, world.memory_fd, 0);
    CHECK(world.memory != MAP_FAILED);
    map_memory(&world);
    make_right(&world);
    return &world;
}

static void check_queues(const struct nvme *nvme)
{
    for (unsigned i = 0; i < NVME_QUEUES; i++) {
        const struct nvme_cq *cq = &nvme->queues.cq[i];
        const struct nvme_sq *sq = &nvme->queues.sq[i];
        if (cq->exists)
            CHECK(cq->head < cq->size && cq->tail < cq->size && cq->size <= NVME_QUEUE_ENTRIES &&
                  cq->vector < NVME_VECTORS);
        if (sq->state != SQ_ABSENT)
            CHECK(sq->head < sq->size && sq->tail < sq->size && sq->size <= NVME_QUEUE_ENTRIES &&
                  sq->cq->exists && sq->outstanding <= NVME_SAVED_REQUESTS);
    }
}

/* It runs for a while, whatever its queues hold, and can be saved again. */
static void run(struct world *world)
{
    static uint8_t bytes[NVME_STATE_LEN];
    world->has_run = true;
    device_pause(world->device, false);
    for (unsigned i = 0; i < ROUNDS && device_poll(world->device); i++)
        check_queues(world->nvme);
    device_pause(world->device, true);
    while (device_at_rest(world->device, NULL) == 0)
        device_poll(world->device);
    check_queues(world->nvme);
    size_t len = save(world, bytes);
    CHECK(nvme_state_load(world->nvme, NVME_STATE_VERSION, bytes, len, NULL) == 0);
}

static void check_taken(struct world *world, const uint8_t *bytes, size_t len)
{
    static uint8_t again[NVME_STATE_LEN];
    bool grown = world->nvme->namespaces.list[0].changed; /* is announced, so saved otherwise */
    size_t again_len = save(world, again);
    CHECK(grown || (again_len == len && memcmp(again, bytes, len - SECONDS_LEN) == 0));
    check_queues(world->nvme);
    run(world);
}

static void load(struct world *world, const uint8_t *bytes, size_t len)
{
    static uint8_t after[NVME_STATE_LEN];
    struct ob_fault fault = {0};
    if (nvme_state_load(world->nvme, NVME_STATE_VERSION, bytes, len, &fault) == 0) {
        check_taken(world, bytes, len);
        return;
    }
    CHECK(fault.code < 0 && fault.text[0]);
    CHECK(save(world, after) == world->right_len &&
          memcmp(after, world->right, world->right_len - SECONDS_LEN) == 0);
}

/* The right state with bytes replaced: each change is two bytes of where, and one of what. */
static size_t change(const struct world *world, const uint8_t *data, size_t size,
                     uint8_t *ret_bytes)
{
    size_t len = world->right_len;
    memcpy(ret_bytes, world->right, len);
    for (; size >= 3; data += 3, size -= 3)
        ret_bytes[(size_t)(data[0] << 8 | data[1]) % len] = data[2];
    return size > 0 ? len - data[0] % len : len; /* what is left over cuts it short */
}

static void put_right(struct world *world)
{
    memset(world->memory, 0, MEMORY_LEN);
    CHECK(nvme_state_load(world->nvme, NVME_STATE_VERSION, world->right, world->right_len, NULL) ==
          0);
    world->has_run = false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct world *world;
    static uint8_t bytes[NVME_STATE_LEN];
    if (!world)
        world = world_new();
    if (world->has_run)
        put_right(world);
    if (size > 0 && data[0] & 1)
        load(world, data + 1, size - 1);
    else if (size > 0)
        load(world, bytes, change(world, data + 1, size - 1, bytes));
    return 0;
}
