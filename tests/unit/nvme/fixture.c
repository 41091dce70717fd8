// SPDX-License-Identifier: BSD-3-Clause
#include "nvme/fixture.h"
#include "device/pci.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bytes.h"
#include "support.h"

/* What is in flight ends, as far as the disk lets it. */
static void end_all(struct fixture *fixture)
{
    fake_disk_finish_all(&fixture->disk);
    device_poll(fixture->device);
}

void fixture_map(struct fixture *fixture, bool last_page)
{
    const struct memory_region_desc regions[] = {
        {.len = LAST_PAGE, .fd = fixture->fd, .writable = true},
        {.gpa = READ_ONLY, .len = PAGE, .fd = fixture->fd},
        {.gpa = LAST_PAGE, .len = PAGE, .offset = LAST_PAGE, .fd = fixture->fd, .writable = true},
    };
    int err = memory_replace(device_memory(fixture->device), regions, last_page ? 3 : 2, NULL);
    assert_true(err >= 0);
    if (err == MEMORY_HELD)
        device_quiesce(fixture->device);
    while (!device_is_quiet(fixture->device))
        end_all(fixture);
}

void fixture_start(struct fixture *fixture)
{
    *fixture = (struct fixture){.fd = memfd_create("guest", MFD_CLOEXEC)};
    fake_disk_init(&fixture->disk, 0xd1);
    assert_int_equal(ftruncate(fixture->fd, MEMORY_LEN), 0);
    fixture->memory = mmap(NULL, MEMORY_LEN, PROT_READ | PROT_WRITE, MAP_SHARED, fixture->fd, 0);
    assert_ptr_not_equal(fixture->memory, MAP_FAILED);
    const struct nvme_image image = {.block = &fixture->disk.block, .block_size = 512};
    const struct nvme_options options = {
        .images = &image, .count = 1, .serial = "UNIT", .timeout_ms = BLOCK_TIMEOUT_MS};
    assert_int_equal(nvme_new(&options, &fixture->nvme, &fixture->device, NULL), 0);
    fixture_map(fixture, true);
    assert_int_equal(device_config_write(fixture->device, 0x04, 2, 0x0006), 0);
}

static void create_queues(struct fixture *fixture, uint16_t id)
{
    struct nvme_command cq = {.opcode = NVME_ADMIN_CREATE_CQ, .prp1 = CQ(id)};
    struct nvme_command sq = {.opcode = NVME_ADMIN_CREATE_SQ, .prp1 = SQ(id)};
    cq.dword[10] = sq.dword[10] = (QUEUE_LEN - 1) << 16 | id;
    cq.dword[11] = NVME_QUEUE_CONTIGUOUS | NVME_QUEUE_INTERRUPTS;
    sq.dword[11] = NVME_QUEUE_CONTIGUOUS | (uint32_t)id << 16;
    fixture_send(fixture, 0, &cq);
    fixture_send(fixture, 0, &sq);
}

void fixture_start_enabled(struct fixture *fixture, unsigned count)
{
    fixture_start(fixture);
    fixture_set_register(fixture, NVME_REG_AQA, 4, (QUEUE_LEN - 1) << 16 | (QUEUE_LEN - 1));
    fixture_set_register(fixture, NVME_REG_ASQ, 8, ADMIN_SQ);
    fixture_set_register(fixture, NVME_REG_ACQ, 8, ADMIN_CQ);
    fixture_set_register(fixture, NVME_REG_CC, 4, 0x00460001);
    for (unsigned i = 1; i <= count; i++)
        create_queues(fixture, (uint16_t)i);
}

void fixture_reset(struct fixture *fixture)
{
    while (!device_reset_when_quiet(fixture->device))
        end_all(fixture);
}

void fixture_stop(struct fixture *fixture)
{
    while (!device_leave(fixture->device))
        end_all(fixture);
    ob_device_free(fixture->device);
    nvme_free(fixture->nvme);
    assert_true(fixture->disk.closed);
    munmap(fixture->memory, MEMORY_LEN);
    close(fixture->fd);
}

uint64_t fixture_register(struct fixture *fixture, uint64_t offset, unsigned size)
{
    return device_bar_read(fixture->device, 0, offset, size);
}

void fixture_set_register(struct fixture *fixture, uint64_t offset, unsigned size, uint64_t value)
{
    device_bar_write(fixture->device, 0, offset, size, value);
}

void fixture_poll(struct fixture *fixture)
{
    while (device_poll(fixture->device))
        ;
}

void fixture_put(struct fixture *fixture, unsigned queue, const struct nvme_command *command)
{
    uint8_t *at = fixture->memory + (queue ? SQ(queue) : ADMIN_SQ) +
                  (size_t)fixture->tail[queue] * NVME_SQE_LEN;
    memset(at, 0, NVME_SQE_LEN);
    at[0] = command->opcode;
    at[1] = (uint8_t)(command->fuse | command->psdt << 6);
    put16(at + 2, command->id);
    put32(at + 4, command->nsid);
    put64(at + 24, command->prp1);
    put64(at + 32, command->prp2);
    for (size_t i = 10; i < 16; i++)
        put32(at + 4 * i, command->dword[i]);
    fixture->tail[queue] = (fixture->tail[queue] + 1) % QUEUE_LEN;
}

void fixture_ring(struct fixture *fixture, unsigned queue)
{
    fixture_set_register(fixture, NVME_REG_DOORBELLS + 8 * (uint64_t)queue, 4,
                         fixture->tail[queue]);
}

void fixture_send(struct fixture *fixture, unsigned queue, const struct nvme_command *command)
{
    fixture_put(fixture, queue, command);
    fixture_ring(fixture, queue);
    fixture_poll(fixture);
}

struct completion fixture_completion(struct fixture *fixture, unsigned queue, unsigned index)
{
    const uint8_t *at =
        fixture->memory + (queue ? CQ(queue) : ADMIN_CQ) + (size_t)index * NVME_CQE_LEN;
    return (struct completion){.result = get32(at),
                               .sq_head = get16(at + 8),
                               .sq_id = get16(at + 10),
                               .command_id = get16(at + 12),
                               .status = get16(at + 14) >> 1,
                               .phase = get16(at + 14) & 1};
}
