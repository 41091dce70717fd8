// SPDX-License-Identifier: BSD-3-Clause
/* The NVM Express Base Specification 1.4; sections are those of that document. */
#include "nvme_driver.h"

#include <endian.h>
#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

#include <outboard/client_irq.h>
#include <outboard/client_memory.h>

#include "process.h"

#define PAGE 4096u

/* Where things are in the guest's memory. Slots have a page for a PRP list each, then room for
 * data. */
enum {
    ADMIN_SQ_AT = 0x1000,
    ADMIN_CQ_AT = 0x2000,
    DOORBELLS_AT = 0x3000,
    EVENTS_AT = 0x4000,
    IDENTIFY_AT = 0x5000,
    IO_CQ_AT = 0x6000,
    IO_SQ_AT = 0x8000,
    LISTS_AT = 0x10000,
    DATA_AT = 0x100000,
};
#define MEMORY_LEN (DATA_AT + (uint64_t)NVME_DRIVER_DEPTH * NVME_DRIVER_BYTES)

#define ENTRIES      128u /* of each queue */
#define SQE_LEN      64u
#define CQE_LEN      16u
#define BARS_AT      0xfe000000u
#define PATIENCE_MS  30000
#define BLOCK        512u
#define ENABLE       0x00460001u /* entries of 64 and 16 bytes */
#define SHADOW_IN_ID 0x100u      /* OACS */

enum {
    REG_CC = 0x14,
    REG_CSTS = 0x1c,
    REG_AQA = 0x24,
    REG_ASQ = 0x28,
    REG_ACQ = 0x30,
    REG_DOORBELLS = 0x1000,
};

enum {
    ADMIN_CREATE_SQ = 0x01,
    ADMIN_CREATE_CQ = 0x05,
    ADMIN_IDENTIFY = 0x06,
    ADMIN_DOORBELL_BUFFER = 0x7c,
};

enum {
    IO_WRITE = 1,
    IO_READ = 2,
};

struct command {
    uint8_t opcode;
    uint16_t id;
    uint32_t nsid;
    uint64_t prp1;
    uint64_t prp2;
    uint32_t dword10;
    uint32_t dword11;
    uint32_t dword12;
};

static void check(int err, const char *what)
{
    if (err < 0)
        bench_die("the driver can't %s: %s", what, strerror(-err));
}

static uint32_t load32(const uint8_t *at)
{
    return le32toh(__atomic_load_n((const uint32_t *)(const void *)at, __ATOMIC_ACQUIRE));
}

static void store32(uint8_t *at, uint32_t value)
{
    __atomic_store_n((uint32_t *)(void *)at, htole32(value), __ATOMIC_RELEASE);
}

static void store64(uint8_t *at, uint64_t value)
{
    store32(at, (uint32_t)value);
    store32(at + 4, (uint32_t)(value >> 32));
}

static void write_register(struct nvme_driver *driver, uint64_t offset, unsigned size,
                           uint64_t value)
{
    driver->register_writes++;
    check(ob_client_bar_write(driver->client, 0, offset, size, value), "write a register");
}

/* Section 7.13: a doorbell of an I/O queue goes to memory, and to the register when it passes the
 * event index. */
static void write_doorbell(struct nvme_driver *driver, unsigned index, uint32_t value)
{
    uint64_t at = (uint64_t)index * 4;
    if (driver->has_shadow && index >= 2) {
        uint16_t old = (uint16_t)load32(driver->memory + DOORBELLS_AT + at);
        store32(driver->memory + DOORBELLS_AT + at, value);
        atomic_thread_fence(memory_order_seq_cst);
        uint16_t event = (uint16_t)load32(driver->memory + EVENTS_AT + at);
        if ((uint16_t)(value - event - 1) >= (uint16_t)(value - old))
            return;
    }
    write_register(driver, REG_DOORBELLS + at, 4, value);
}

static void put_command(struct nvme_driver *driver, struct nvme_driver_queue *queue,
                        const struct command *command)
{
    uint8_t *at = driver->memory + queue->sq + (size_t)queue->tail * SQE_LEN;
    memset(at, 0, SQE_LEN);
    store32(at, (uint32_t)command->id << 16 | command->opcode);
    store32(at + 4, command->nsid);
    store64(at + 24, command->prp1);
    store64(at + 32, command->prp2);
    store32(at + 40, command->dword10);
    store32(at + 44, command->dword11);
    store32(at + 48, command->dword12);
    queue->tail = (queue->tail + 1) % ENTRIES;
}

/* Takes one completion, if there is one; ends the bench when it tells of an error. */
static bool take(struct nvme_driver *driver, struct nvme_driver_queue *queue, unsigned *ret_id)
{
    const uint8_t *at = driver->memory + queue->cq + (size_t)queue->head * CQE_LEN;
    uint32_t status = load32(at + 12);
    if ((status >> 16 & 1) != queue->phase)
        return false;
    if (status >> 17)
        bench_die("the controller ended a command with status 0x%x", status >> 17);
    *ret_id = status & 0xffff;
    queue->head = (queue->head + 1) % ENTRIES;
    queue->phase ^= queue->head == 0;
    return true;
}

/* Blocks until the interrupt, as KVM does for a processor that has nothing to do. */
static void take_interrupt(const struct nvme_driver *driver)
{
    struct pollfd trigger = {.fd = driver->trigger_fd, .events = POLLIN};
    eventfd_t count;
    if (poll(&trigger, 1, PATIENCE_MS) != 1)
        bench_die("no interrupt came");
    eventfd_read(driver->trigger_fd, &count);
}

/* What KVM does at the guest's end of INTx; a message has none. */
static void end_interrupt(const struct nvme_driver *driver)
{
    if (!driver->messages)
        eventfd_write(driver->resample_fd, 1);
}

static void run_admin(struct nvme_driver *driver, const struct command *command)
{
    struct nvme_driver_queue *queue = &driver->admin;
    unsigned id;
    put_command(driver, queue, command);
    write_doorbell(driver, 0, queue->tail);
    while (!take(driver, queue, &id))
        take_interrupt(driver);
    write_doorbell(driver, 1, queue->head);
    end_interrupt(driver);
}

static void enable(struct nvme_driver *driver)
{
    uint64_t status = 0;
    write_register(driver, REG_AQA, 4, (ENTRIES / 4 - 1) << 16 | (ENTRIES / 4 - 1));
    write_register(driver, REG_ASQ, 8, ADMIN_SQ_AT);
    write_register(driver, REG_ACQ, 8, ADMIN_CQ_AT);
    write_register(driver, REG_CC, 4, ENABLE);
    while (!(status & 1))
        check(ob_client_bar_read(driver->client, 0, REG_CSTS, 4, &status), "read a register");
}

static void identify(struct nvme_driver *driver, bool registers)
{
    struct command command = {.opcode = ADMIN_IDENTIFY, .nsid = 1, .prp1 = IDENTIFY_AT};
    run_admin(driver, &command);
    driver->blocks = load32(driver->memory + IDENTIFY_AT);
    command.nsid = 0;
    command.dword10 = 1; /* the controller */
    run_admin(driver, &command);
    driver->has_shadow = load32(driver->memory + IDENTIFY_AT + 256) & SHADOW_IN_ID && !registers;
}

static void create_queue(struct nvme_driver *driver)
{
    const uint32_t size_and_id = (ENTRIES - 1) << 16 | 1;
    const struct command cq = {.opcode = ADMIN_CREATE_CQ,
                               .prp1 = IO_CQ_AT,
                               .dword10 = size_and_id,
                               .dword11 = driver->polls ? 1 : 3}; /* contiguous, interrupts */
    const struct command sq = {.opcode = ADMIN_CREATE_SQ,
                               .prp1 = IO_SQ_AT,
                               .dword10 = size_and_id,
                               .dword11 = 1u << 16 | 1};
    const struct command shadow = {
        .opcode = ADMIN_DOORBELL_BUFFER, .prp1 = DOORBELLS_AT, .prp2 = EVENTS_AT};
    run_admin(driver, &cq);
    run_admin(driver, &sq);
    if (driver->has_shadow)
        run_admin(driver, &shadow);
}

/* Lists of the pages of each slot but its first, section 4.3. */
static void write_lists(struct nvme_driver *driver)
{
    for (uint64_t slot = 0; slot < NVME_DRIVER_DEPTH; slot++)
        for (uint64_t page = 1; page < NVME_DRIVER_BYTES / PAGE; page++)
            store64(driver->memory + LISTS_AT + slot * PAGE + (page - 1) * 8,
                    DATA_AT + slot * NVME_DRIVER_BYTES + page * PAGE);
}

static void make_memory(struct nvme_driver *driver)
{
    driver->memory_fd = memfd_create("bench-guest", MFD_CLOEXEC);
    if (driver->memory_fd < 0 || ftruncate(driver->memory_fd, (off_t)MEMORY_LEN) < 0)
        bench_die("no memory to share: %s", strerror(errno));
    driver->memory = mmap(NULL, MEMORY_LEN, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE,
                          driver->memory_fd, 0);
    if (driver->memory == MAP_FAILED)
        bench_die("can't map the memory: %s", strerror(errno));
    write_lists(driver);
    for (uint64_t at = DATA_AT; at < MEMORY_LEN;
         at += 256) /* no zeroes, which a disk may not store */
        if (getrandom(driver->memory + at, 256, 0) != 256)
            bench_die("no random bytes");
}

/* MSI-X where the wire has it: one vector for both queues. */
static int route_interrupt(struct nvme_driver *driver, const struct ob_client_info *info)
{
    if (!driver->messages)
        return ob_client_set_intx(driver->client, driver->trigger_fd, driver->resample_fd);
    return info->vectors[OB_CLIENT_MSIX] > 0
               ? ob_client_set_vectors(driver->client, OB_CLIENT_MSIX, 0, 1, &driver->trigger_fd)
               : -ENOTSUP;
}

void nvme_driver_start(struct nvme_driver *driver, int fd,
                       const struct nvme_driver_options *options)
{
    struct ob_client_info info;
    const bool messages = strcmp(options->wire, "vfio-user") == 0;
    const struct ob_client_options client = {.size = sizeof(client),
                                             .wire = options->wire,
                                             .timeout_ms = PATIENCE_MS,
                                             .poll_us = options->polls ? 1000 : 0,
                                             .posted_writes = messages};
    *driver = (struct nvme_driver){
        .trigger_fd = eventfd(0, EFD_CLOEXEC),
        .resample_fd = eventfd(0, EFD_CLOEXEC),
        .polls = options->polls,
        .messages = messages,
        .admin = {.sq = ADMIN_SQ_AT, .cq = ADMIN_CQ_AT, .phase = true},
        .io = {.sq = IO_SQ_AT, .cq = IO_CQ_AT, .phase = true},
    };
    make_memory(driver);
    const struct ob_client_region memory = {.len = MEMORY_LEN, .fd = driver->memory_fd};
    check(ob_client_new(fd, &client, &driver->client, NULL), "connect");
    check(ob_client_publish_memory(driver->client, &memory, 1, NULL), "publish memory");
    check(ob_client_probe(driver->client, &info, NULL), "probe the device");
    check(route_interrupt(driver, &info), "route the interrupt");
    check(ob_client_place_bars(driver->client, BARS_AT, 0x1000), "place the BARs");
    enable(driver);
    identify(driver, options->registers);
    create_queue(driver);
}

void nvme_driver_stop(struct nvme_driver *driver)
{
    ob_client_free(driver->client);
    munmap(driver->memory, MEMORY_LEN);
    close(driver->memory_fd);
    close(driver->trigger_fd);
    close(driver->resample_fd);
}

uint8_t *nvme_driver_data(const struct nvme_driver *driver, unsigned slot)
{
    return driver->memory + DATA_AT + (size_t)slot * NVME_DRIVER_BYTES;
}

static void put(void *context, bool write, unsigned slot, uint64_t offset, uint32_t len)
{
    struct nvme_driver *driver = context;
    uint64_t data = DATA_AT + (uint64_t)slot * NVME_DRIVER_BYTES;
    uint64_t list = len > 2 * PAGE ? LISTS_AT + (uint64_t)slot * PAGE : data + PAGE;
    const struct command command = {.opcode = write ? IO_WRITE : IO_READ,
                                    .id = (uint16_t)slot,
                                    .nsid = 1,
                                    .prp1 = data,
                                    .prp2 = len > PAGE ? list : 0,
                                    .dword10 = (uint32_t)(offset / BLOCK),
                                    .dword11 = (uint32_t)(offset / BLOCK >> 32),
                                    .dword12 = len / BLOCK - 1};
    put_command(driver, &driver->io, &command);
}

static void ring(void *context)
{
    struct nvme_driver *driver = context;
    write_doorbell(driver, 2, driver->io.tail);
}

static unsigned take_some(struct nvme_driver *driver, unsigned *ret_slots, unsigned max)
{
    unsigned count = 0;
    while (count < max && take(driver, &driver->io, &ret_slots[count]))
        count++;
    return count;
}

/* Where no interrupt hangs on it, the head only makes room, and to write a register for that can
 * wait. */
static void tell_head(struct nvme_driver *driver)
{
    struct nvme_driver_queue *queue = &driver->io;
    unsigned untold = (queue->head - queue->told_head) % ENTRIES;
    if (untold == 0 || (driver->polls && !driver->has_shadow && untold < ENTRIES / 4))
        return;
    write_doorbell(driver, 3, queue->head);
    queue->told_head = queue->head;
}

static unsigned wait_some(void *context, unsigned *ret_slots, unsigned max)
{
    struct nvme_driver *driver = context;
    unsigned count = 0;
    while (count == 0) {
        if (!driver->polls)
            take_interrupt(driver);
        count = take_some(driver, ret_slots, max);
        tell_head(driver);
        if (!driver->polls)
            end_interrupt(driver);
    }
    return count;
}

struct workload_disk nvme_driver_disk(struct nvme_driver *driver)
{
    return (struct workload_disk){
        .context = driver, .polls = driver->polls, .put = put, .ring = ring, .wait = wait_some};
}
