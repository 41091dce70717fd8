// SPDX-License-Identifier: BSD-3-Clause
/*
 * Plays a guest's driver, mostly a hostile one, against the NVMe controller.
 *
 * The input is a list of steps: registers, commands with PRPs to good and bad places, operations of
 * the disk that end in any order, memory that goes and comes back, resets. Each step is carried out
 * before the next. What must hold: the controller writes nothing but what the commands name (see
 * nvme_model.h), each completion belongs to a command that waits for one, nothing is in flight
 * when the controller says that it is off and shuts nothing down, and the disk is only asked for
 * what it has.
 */
#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "block/block.h"
#include "check.h"
#include "device/device.h"
#include "device/pci.h"
#include "fake/disk.h"
#include "nvme.h"
#include "nvme_model.h"
#include "os/loop.h"
#include "program/host.h"

uint64_t __wrap_block_clock_ms(void);

#define STEPS       200
#define BAR         0
#define ENTRIES     32u
#define ADMIN_SQ    (1 * MODEL_PAGE)
#define ADMIN_CQ    (2 * MODEL_PAGE)
#define IO_SQ       (3 * MODEL_PAGE)
#define IO_CQ       (4 * MODEL_PAGE)
#define LISTS       (5 * MODEL_PAGE)
#define LIST_PAGES  3u
#define DATA        (8 * MODEL_PAGE)
#define DATA_PAGES  8u
#define MAX_HELD    12u
#define COMMAND_IDS 256u

struct input {
    const uint8_t *at;
    size_t left;
};

/* One of the two queue pairs that the driver reads completions of. */
struct ring {
    uint16_t id;
    uint64_t sq;
    uint64_t cq;
    unsigned tail;
    unsigned head;
    bool phase;
    bool waiting[COMMAND_IDS]; /* commands without a completion */
    uint8_t next_id;
};

struct guest {
    struct input input;
    struct model model;
    struct fake_disk disk;
    struct nvme *nvme;
    struct ob_device *device;
    struct loop *loop;
    int memory_fd;
    struct ring admin;
    struct ring io;
    bool has_shadow; /* shadow doorbells */
    uint64_t shadow;
};

static uint64_t clock_ms;

uint64_t __wrap_block_clock_ms(void)
{
    return clock_ms;
}

static uint8_t take(struct input *input)
{
    if (input->left == 0)
        return 0;
    input->left--;
    return *input->at++;
}

static uint64_t take_bytes(struct input *input, unsigned count)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < count; i++)
        value = value << 8 | take(input);
    return value;
}

/* What the server does before it sleeps. */
static void poll(struct guest *guest)
{
    for (unsigned i = 0; device_poll(guest->device) || device_before_sleep(guest->device); i++)
        CHECK(i < 10000);
    CHECK(device_has_io_in_flight(guest->device) == (guest->nvme->requests.in_flight > 0));
    CHECK(!device_has_deferred_work(guest->device) || guest->nvme->queues.limit > 0);
}

static void set_register(struct guest *guest, uint64_t offset, unsigned size, uint64_t value)
{
    device_bar_write(guest->device, BAR, offset, size, value);
    poll(guest);
}

/* index: twice the number of the queue, and one more for the head. */
static void set_doorbell(struct guest *guest, unsigned index, uint32_t value)
{
    if (guest->has_shadow)
        model_write(&guest->model, guest->shadow + UINT64_C(4) * index, &value, sizeof(value));
    set_register(guest, NVME_REG_DOORBELLS + UINT64_C(4) * index, 4, value);
}

static uint32_t status(struct guest *guest)
{
    return (uint32_t)device_bar_read(guest->device, BAR, NVME_REG_CSTS, 4);
}

/* What is in flight ends. */
static void end_all(struct guest *guest)
{
    fake_disk_finish_all(&guest->disk);
    device_poll(guest->device);
}

/* The device becomes quiet: slowly when half of the time that it has for that passes before. */
static void end_all_in_time(struct guest *guest, bool slowly)
{
    if (slowly && !device_is_quiet(guest->device)) {
        clock_ms += BLOCK_DRAIN_MS / 2;
        CHECK(loop_wait(guest->loop, 0) >= 0);
    }
    while (!device_is_quiet(guest->device))
        end_all(guest);
}

static void map_memory(struct guest *guest, bool whole, bool slowly)
{
    const struct memory_region_desc regions[] = {
        {.len = MODEL_SPLIT * MODEL_PAGE, .fd = guest->memory_fd, .writable = true},
        {.gpa = MODEL_SPLIT * MODEL_PAGE,
         .len = (MODEL_PAGES - MODEL_SPLIT) * MODEL_PAGE,
         .offset = MODEL_SPLIT * MODEL_PAGE,
         .fd = guest->memory_fd,
         .writable = true},
    };
    int err = memory_replace(device_memory(guest->device), regions, whole ? 2 : 1, NULL);
    CHECK(err >= 0);
    if (err == MEMORY_HELD)
        device_quiesce(guest->device);
    end_all_in_time(guest, slowly);
}

/* Reads the completions of a queue. Each must belong to a command that waits. */
static void read_completions(struct guest *guest, struct ring *ring)
{
    unsigned taken = 0;
    for (; taken < ENTRIES; taken++) {
        uint8_t entry[NVME_CQE_LEN];
        memcpy(entry, guest->model.memory + ring->cq + (size_t)ring->head * NVME_CQE_LEN,
               sizeof(entry));
        if ((entry[14] & 1) != ring->phase)
            break;
        unsigned id = entry[12];
        CHECK(guest->model.lost_sight || (entry[13] == 0 && ring->waiting[id]));
        ring->waiting[id] = false;
        ring->head = (ring->head + 1) % ENTRIES;
        if (ring->head == 0)
            ring->phase = !ring->phase;
    }
    CHECK(guest->model.lost_sight || taken < ENTRIES);
    set_doorbell(guest, 2u * ring->id + 1, ring->head);
}

static void reset_ring(struct guest *guest, struct ring *ring, uint16_t id, uint64_t sq,
                       uint64_t cq)
{
    static const uint8_t empty[ENTRIES * NVME_CQE_LEN];
    *ring = (struct ring){.id = id, .sq = sq, .cq = cq, .phase = true};
    model_write(&guest->model, cq, empty, sizeof(empty));
    model_allow_queue(&guest->model, cq, sizeof(empty));
}

struct command {
    uint8_t opcode;
    uint8_t flags;
    uint32_t nsid;
    uint64_t prp1;
    uint64_t prp2;
    uint32_t dword[6];
};

/* How much guest memory a command may write. */
static uint64_t data_len(const struct ring *ring, const struct command *command)
{
    uint64_t wanted =
        (((uint64_t)(command->dword[1] & 0xffff) << 16 | command->dword[0] >> 16) + 1) * 4;
    uint64_t len = ((command->dword[2] & 0xffff) + 1ull) * 512;
    if (ring->id == 0 && command->opcode == NVME_ADMIN_IDENTIFY)
        return NVME_IDENTIFY_LEN;
    if (ring->id == 0 && command->opcode == NVME_ADMIN_GET_LOG_PAGE)
        return wanted < MODEL_PAGE ? wanted : MODEL_PAGE;
    if (ring->id != 0 && command->opcode == NVME_IO_READ)
        return len <= NVME_TRANSFER_LEN ? len : 0;
    return 0;
}

static void submit(struct guest *guest, struct ring *ring, const struct command *command)
{
    uint8_t entry[NVME_SQE_LEN] = {command->opcode, command->flags};
    unsigned id = ring->next_id++;
    if (ring->waiting[id] || guest->disk.pending_count > MAX_HELD)
        return;
    entry[2] = (uint8_t)id;
    memcpy(entry + 4, &command->nsid, 4);
    memcpy(entry + 24, &command->prp1, 8);
    memcpy(entry + 32, &command->prp2, 8);
    memcpy(entry + 40, command->dword, sizeof(command->dword));
    read_completions(guest, ring);
    model_write(&guest->model, ring->sq + (uint64_t)ring->tail * NVME_SQE_LEN, entry,
                sizeof(entry));
    if (data_len(ring, command) > 0)
        model_allow_data(&guest->model, command->prp1, command->prp2, data_len(ring, command));
    ring->tail = (ring->tail + 1) % ENTRIES;
    ring->waiting[id] = true;
    set_doorbell(guest, 2u * ring->id, ring->tail);
}

static void create_io_queues(struct guest *guest)
{
    uint32_t which = (ENTRIES - 1) << 16 | 1;
    reset_ring(guest, &guest->io, 1, IO_SQ, IO_CQ);
    submit(
        guest, &guest->admin,
        &(struct command){.opcode = NVME_ADMIN_CREATE_CQ, .prp1 = IO_CQ, .dword = {which, 0x0003}});
    submit(guest, &guest->admin,
           &(struct command){
               .opcode = NVME_ADMIN_CREATE_SQ, .prp1 = IO_SQ, .dword = {which, 0x10001}});
}

static void enable(struct guest *guest)
{
    reset_ring(guest, &guest->admin, 0, ADMIN_SQ, ADMIN_CQ);
    set_register(guest, NVME_REG_AQA, 4, (ENTRIES - 1) << 16 | (ENTRIES - 1));
    set_register(guest, NVME_REG_ASQ, 8, ADMIN_SQ);
    set_register(guest, NVME_REG_ACQ, 8, ADMIN_CQ);
    set_register(guest, NVME_REG_CC, 4, 0x00460001);
    /* The flush of a shutdown that was asked of a failed controller may hold it up. */
    while (!(status(guest) & NVME_CSTS_RDY) && guest->disk.pending_count > 0) {
        fake_disk_finish(&guest->disk, 0, 0);
        poll(guest);
    }
    create_io_queues(guest);
}

/* The controller has said that it is off: nothing may be in flight but the flush of a shutdown that
 * was asked of a controller which never was ready. */
static void has_stopped(struct guest *guest)
{
    for (unsigned i = 0; i < guest->disk.pending_count; i++)
        CHECK(guest->disk.pending[i] == &guest->nvme->namespaces.list[0].shutdown_flush);
    model_check(&guest->model);
    model_settle(&guest->model);
    guest->model.lost_sight = false;
    guest->has_shadow = false;
    memset(guest->model.is_queue, 0, sizeof(guest->model.is_queue));
}

/* A shutdown that the guest asked of a controller that was off already flushes the disk. */
static bool is_busy(struct guest *guest)
{
    return status(guest) & NVME_CSTS_RDY ||
           (status(guest) & NVME_CSTS_SHST_MASK) == NVME_CSTS_SHST_OCCURS;
}

static void disable(struct guest *guest)
{
    set_register(guest, NVME_REG_CC, 4, 0);
    while (is_busy(guest)) {
        CHECK(guest->disk.pending_count > 0);
        fake_disk_finish(&guest->disk, 0, 0);
        poll(guest);
    }
    has_stopped(guest);
}

static void place(struct guest *guest)
{
    device_config_write(guest->device, 0x04, 2, 0x0006);
}

/* A PRP: to a good place, to a bad one, to any but the guard pages. */
static uint64_t take_prp(struct input *input)
{
    uint8_t kind = take(input);
    uint64_t which = kind >> 4;
    switch (kind & 0xf) {
    case 0:
    case 1:
    case 2:
        return DATA + which % DATA_PAGES * MODEL_PAGE;
    case 3:
        return DATA + which % DATA_PAGES * MODEL_PAGE + UINT64_C(4) * take(input);
    case 4:
        return (MODEL_SPLIT + which % 8) * MODEL_PAGE;
    case 5:
    case 6:
        return LISTS + which % LIST_PAGES * MODEL_PAGE;
    case 7:
        return LISTS + which % LIST_PAGES * MODEL_PAGE + MODEL_PAGE - 8 * (which + 1);
    case 8:
        return (1 + which % 4) * MODEL_PAGE; /* its own queues */
    case 9:
        return MODEL_LEN - (which & 1) * MODEL_PAGE;
    case 10:
        return UINT64_MAX - MODEL_PAGE + 1;
    case 11:
        return UINT64_C(1) << 40;
    case 12:
        return DATA + which;
    case 13:
        return UINT64_MAX - 4 * which - 3;
    default:
        return 0;
    }
}

static void write_list(struct guest *guest)
{
    uint64_t at = LISTS + take(&guest->input) % LIST_PAGES * MODEL_PAGE;
    bool at_end = take(&guest->input) & 1;
    for (uint64_t i = 0; i < 8; i++) {
        uint64_t entry = take_prp(&guest->input);
        model_write(&guest->model,
                    at + (at_end ? MODEL_PAGE - UINT64_C(8) * (8 - i) : UINT64_C(8) * i), &entry,
                    8);
    }
}

static void send_io(struct guest *guest)
{
    static const uint8_t opcodes[] = {NVME_IO_FLUSH,   NVME_IO_WRITE,        NVME_IO_READ,
                                      NVME_IO_COMPARE, NVME_IO_WRITE_ZEROES, NVME_IO_DATASET};
    struct input *input = &guest->input;
    uint8_t opcode = take(input);
    struct command command = {
        .opcode = opcode < 240 ? opcodes[opcode % sizeof(opcodes)] : opcode,
        .nsid = take(input) < 250 ? 1 : take(input),
        .prp1 = take_prp(input),
        .prp2 = take_prp(input),
    };
    uint8_t shape = take(input);
    command.dword[0] = shape & 1 ? (uint32_t)take_bytes(input, 4) : take(input) % 128;
    command.dword[1] = shape & 2 ? (uint32_t)take_bytes(input, 4) : 0;
    command.dword[2] = shape & 4 ? (uint32_t)take_bytes(input, 4) : take(input) % 128;
    if (shape & 8)
        command.dword[2] |= NVME_RW_FUA;
    if (command.opcode == NVME_IO_DATASET)
        command.dword[1] = 4;
    if (shape & 16)
        command.flags = take(input);
    submit(guest, &guest->io, &command);
}

static void send_admin(struct guest *guest)
{
    struct input *input = &guest->input;
    struct command command = {
        .opcode = take(input) & 0xf, .nsid = take(input) & 3, .prp1 = take_prp(input)};
    command.prp2 = take_prp(input);
    uint8_t shape = take(input);
    command.dword[0] = shape & 1 ? (uint32_t)take_bytes(input, 4) : take(input);
    command.dword[1] = shape & 2 ? (uint32_t)take_bytes(input, 4) : take(input);
    if (shape & 4)
        command.dword[2] = (uint32_t)take_bytes(input, 4);
    if (shape & 8)
        command.flags = take(input);
    if (command.opcode == NVME_ADMIN_CREATE_CQ)
        model_allow_queue(&guest->model, command.prp1,
                          ((command.dword[0] >> 16) + 1ull) * NVME_CQE_LEN);
    submit(guest, &guest->admin, &command);
}

/* Shadow doorbells, often in pages that commands write to as well. The model does not know what the
 * controller makes of that. They are not put where the controller would ring them by itself, by
 * posting a completion. */
static void send_doorbell_buffer(struct guest *guest)
{
    struct command command = {.opcode = NVME_ADMIN_DOORBELL_BUFFER,
                              .prp1 = take_prp(&guest->input),
                              .prp2 = take_prp(&guest->input)};
    if (command.prp1 < LISTS)
        command.prp1 = DATA;
    guest->model.lost_sight = true;
    submit(guest, &guest->admin, &command);
    guest->has_shadow = guest->nvme->shadow.on;
    guest->shadow = guest->nvme->shadow.doorbells;
}

/* Any register, doorbells included. A queue that the driver does not run may be run that way, and
 * the controller's own registers changed: the model then no longer knows what is fetched. */
static void write_register(struct guest *guest)
{
    struct input *input = &guest->input;
    uint64_t offset =
        take(input) & 1 ? NVME_REG_DOORBELLS + take(input) * UINT64_C(4) : take(input);
    unsigned size = 1u << (take(input) & 3);
    uint64_t value = take_bytes(input, size);
    guest->model.lost_sight = true;
    set_register(guest, offset, size, value);
    device_bar_read(guest->device, BAR, offset, size);
}

static void finish_one(struct guest *guest)
{
    static const int errors[] = {0, 0, 0, -5, -28, -14, -30, -125, -22};
    uint8_t which = take(&guest->input);
    fake_disk_finish(&guest->disk, which >> 4, errors[(which & 0xf) % 9]);
    poll(guest);
}

static void change_memory(struct guest *guest, bool whole, bool slowly)
{
    map_memory(guest, whole, slowly);
    poll(guest);
}

/* The server of the image goes, and nothing is known of what it had; or it is there again. */
static void lose_image(struct guest *guest, bool away)
{
    guest->disk.block.away = away;
    for (unsigned left = away ? guest->disk.pending_count : 0; left > 0; left--)
        fake_disk_finish(&guest->disk, 0, -EAGAIN);
    poll(guest);
}

/* The watchdog's timer, after so long; meanwhile the image may have got another size. */
static void look_after(struct guest *guest)
{
    uint8_t how = take(&guest->input);
    clock_ms += UINT64_C(500) * take(&guest->input);
    guest->disk.new_size = how & 1 ? FAKE_DISK_LEN / (1 + (how >> 4)) / 4096 * 4096 : 0;
    ob_timer_set(guest->nvme->watchdog.timer, 0);
    CHECK(loop_wait(guest->loop, -1) >= 0);
    poll(guest);
}

/* Any dword of configuration space: message interrupts, masks, the command register. */
static void write_config(struct guest *guest)
{
    uint32_t offset = take(&guest->input) & 0xfcu;
    device_config_write(guest->device, offset, 4, (uint32_t)take_bytes(&guest->input, 4));
    poll(guest);
}

static void reset(struct guest *guest)
{
    while (!device_reset_when_quiet(guest->device))
        end_all(guest);
    has_stopped(guest);
    place(guest);
    enable(guest);
}

static void step(struct guest *guest)
{
    uint8_t kind = take(&guest->input);
    switch (kind % 12) {
    case 0:
    case 1:
    case 2:
        send_io(guest);
        break;
    case 3:
        if (kind & 0x80)
            send_admin(guest);
        else
            send_doorbell_buffer(guest);
        break;
    case 4:
        write_list(guest);
        break;
    case 5:
        finish_one(guest);
        break;
    case 6:
        guest->disk.holds = kind & 0x80;
        lose_image(guest, kind & 0x40);
        break;
    case 7:
        change_memory(guest, kind & 0x80, kind & 0x40);
        break;
    case 8:
        write_register(guest);
        break;
    case 9:
        if (kind & 0x80)
            reset(guest);
        else
            look_after(guest);
        break;
    case 10:
        disable(guest);
        enable(guest);
        break;
    case 11:
        if (kind & 0x10)
            write_config(guest);
        else
            device_config_write(guest->device, 0x04, 2, kind & 0x80 ? 0x0002 : 0x0006);
        break;
    }
}

/* Chooses what is the same for the whole input. */
static uint8_t last_byte(const struct input *input)
{
    return input->left > 0 ? input->at[input->left - 1] : 0;
}

static void start(struct guest *guest)
{
    fake_disk_init(&guest->disk, 0xa5);
    model_init(&guest->model, &guest->memory_fd);
    const struct nvme_image image = {.block = &guest->disk.block, .block_size = 512};
    const struct nvme_options options = {.images = &image,
                                         .count = 1,
                                         .serial = "FUZZ",
                                         .timeout_ms = BLOCK_TIMEOUT_MS,
                                         .interrupts =
                                             (enum nvme_interrupts)(last_byte(&guest->input) % 3)};
    clock_ms = 1;
    CHECK(nvme_new(&options, &guest->nvme, &guest->device, NULL) == 0);
    CHECK(loop_new(&guest->loop) == 0);
    CHECK(program_host_use_loop(guest->device, guest->loop) == 0);
    map_memory(guest, true, false);
    place(guest);
    enable(guest);
}

/* No command is in flight, nor waits to begin anew. */
static bool is_settled(const struct guest *guest)
{
    return guest->disk.pending_count == 0 && !guest->nvme->requests.parked &&
           !guest->model.lost_sight;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct guest guest;
    guest = (struct guest){.input = {data, size}};
    start(&guest);
    for (unsigned i = 0; i < STEPS && guest.input.left > 0; i++) {
        step(&guest);
        read_completions(&guest, &guest.admin);
        read_completions(&guest, &guest.io);
        model_check(&guest.model);
        if (is_settled(&guest))
            model_settle(&guest.model);
    }
    while (!device_leave(guest.device))
        end_all(&guest);
    ob_device_free(guest.device);
    loop_free(guest.loop);
    model_check(&guest.model);
    nvme_free(guest.nvme);
    CHECK(guest.disk.closed);
    return 0;
}
