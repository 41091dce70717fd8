// SPDX-License-Identifier: BSD-3-Clause
/*
 * A device for the tests of the wires, on the public API alone: whatever a device can ask of a VMM,
 * a register asks for. Nothing of it is installed.
 *
 * BAR 0, registers of 8 bytes:   BAR 2, 16 KiB: registers, but for the page at 0x1000: memory.
 *   0x00 command (write)         BAR 3, 64 KiB: 64-bit; MSI-X of 24 vectors at 0x2000.
 *   0x08 address, 0x10 length    BAR 5, ports; writes to it count.
 *   0x18 result of the last DMA  BAR 0, 0x40 and 0x48: doorbells 0 and 1; 0x50: how often they rang
 *   0x20 DMAs ended, 0x28 resets, 0x38 pauses, and 0x10000 times resumptions
 *   a ring also gives mapped memory back
 *   0x100..: 256 bytes that DMA moves when it is short; longer DMA repeats them
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <outboard/dma.h>
#include <outboard/irq.h>
#include <outboard/program.h>

enum command {
    DMA_READ = 1,
    DMA_WRITE = 2,
    MAP = 3,
    UNMAP = 4,
    RAISE = 5,
    LOWER = 6,
    SIGNAL = 7, /* the vector is in the length register */
    REPORT_ERROR = 8,
    REQUEST_REMOVAL = 9,
    DMA_CANCEL = 10,
};

#define WINDOW_LEN 256u
#define MAX_DMA    (4u << 20)
#define MAX_SPANS  16u

struct exercise {
    struct ob_device *device;
    uint64_t address, length, result, ended, resets, rings, writes, pauses;
    uint8_t window[WINDOW_LEN];
    struct ob_dma_request request;
    uint8_t buffer[MAX_DMA];
    struct ob_dma_span spans[MAX_SPANS];
    unsigned num_spans;
};

static void finished(struct ob_dma_request *request, int result)
{
    struct exercise *exercise = request->context;
    if (result == 0 && request->direction == OB_DMA_TO_DEVICE)
        memcpy(exercise->window, exercise->buffer,
               request->len < WINDOW_LEN ? request->len : WINDOW_LEN);
    exercise->result = (uint64_t)(int64_t)result;
    exercise->ended++;
}

static void start_dma(struct exercise *exercise, enum ob_dma_direction direction)
{
    for (size_t i = 0; direction == OB_DMA_FROM_DEVICE && i < MAX_DMA; i++)
        exercise->buffer[i] = (uint8_t)(exercise->window[i % WINDOW_LEN] + i / WINDOW_LEN);
    exercise->request = (struct ob_dma_request){
        .iova = exercise->address,
        .buf = exercise->buffer,
        .len = exercise->length < MAX_DMA ? exercise->length : MAX_DMA,
        .direction = direction,
        .done = finished,
        .context = exercise,
    };
    exercise->result = (uint64_t)-EINPROGRESS;
    ob_dma_submit(exercise->device, &exercise->request);
}

static void unmap(struct exercise *exercise)
{
    ob_dma_unmap(exercise->device, exercise->spans, exercise->num_spans);
    exercise->num_spans = 0;
}

static void map(struct exercise *exercise)
{
    unmap(exercise);
    int count = ob_dma_map(exercise->device, exercise->address, exercise->length,
                           OB_DMA_FROM_DEVICE, exercise->spans, MAX_SPANS);
    exercise->num_spans = count < 0 ? 0 : (unsigned)count;
    exercise->result = (uint64_t)(int64_t)count;
}

static void run(struct exercise *exercise, uint64_t command)
{
    struct ob_device *device = exercise->device;
    if (command == DMA_READ)
        start_dma(exercise, OB_DMA_TO_DEVICE);
    else if (command == DMA_WRITE)
        start_dma(exercise, OB_DMA_FROM_DEVICE);
    else if (command == MAP)
        map(exercise);
    else if (command == UNMAP)
        unmap(exercise);
    else if (command == RAISE)
        ob_irq_raise(device);
    else if (command == LOWER)
        ob_irq_lower(device);
    else if (command == SIGNAL)
        exercise->result = (uint64_t)(int64_t)ob_irq_signal(device, (unsigned)exercise->length);
    else if (command == REPORT_ERROR)
        exercise->result = (uint64_t)(int64_t)ob_irq_report_error(device);
    else if (command == REQUEST_REMOVAL)
        exercise->result = (uint64_t)(int64_t)ob_irq_request_removal(device);
    else if (command == DMA_CANCEL)
        ob_dma_cancel(device, &exercise->request);
}

static uint64_t read_register(void *state, unsigned bar, uint64_t offset, unsigned size)
{
    const struct exercise *exercise = state;
    const uint64_t registers[] = {0,
                                  exercise->address,
                                  exercise->length,
                                  exercise->result,
                                  exercise->ended,
                                  exercise->resets,
                                  exercise->writes,
                                  exercise->pauses,
                                  0,
                                  0,
                                  exercise->rings};
    uint64_t value = 0;
    if (bar == 5)
        return exercise->writes;
    if (bar == 0 && offset / 8 < sizeof(registers) / 8)
        return registers[offset / 8] >> offset % 8 * 8;
    if (bar == 0 && offset >= 0x100 && offset + size <= 0x100 + WINDOW_LEN)
        memcpy(&value, &exercise->window[offset - 0x100], size);
    return value;
}

static void write_register(void *state, unsigned bar, uint64_t offset, unsigned size,
                           uint64_t value)
{
    struct exercise *exercise = state;
    exercise->writes++;
    if (bar != 0)
        return;
    if (offset == 0x00)
        run(exercise, value);
    else if (offset == 0x08)
        exercise->address = value;
    else if (offset == 0x10)
        exercise->length = value;
    else if (offset >= 0x100 && offset + size <= 0x100 + WINDOW_LEN)
        memcpy(&exercise->window[offset - 0x100], &value, size);
}

static void ring(void *state, unsigned number)
{
    struct exercise *exercise = state;
    exercise->rings += number == 0 ? 1 : 0x10000;
    unmap(exercise);
}

static void reset(void *state)
{
    struct exercise *exercise = state;
    unmap(exercise);
    exercise->resets++;
}

static void pause_device(void *state, bool paused)
{
    struct exercise *exercise = state;
    exercise->pauses += paused ? 1 : 0x10000;
}

static int save(void *state, uint8_t *ret_buf, size_t size)
{
    const struct exercise *exercise = state;
    if (exercise->num_spans > 0)
        return -EBUSY;
    memcpy(ret_buf, exercise->window, WINDOW_LEN);
    return WINDOW_LEN;
}

static int load(void *state, uint32_t version, const uint8_t *buf, size_t len,
                struct ob_fault *fault)
{
    struct exercise *exercise = state;
    if (version != 7 || len != WINDOW_LEN)
        return ob_fault_set(fault, -EINVAL, "exercise: %zu bytes of version %u", len, version);
    memcpy(exercise->window, buf, len);
    return 0;
}

static int create(void *config, struct ob_device **ret_device, struct ob_fault *fault)
{
    struct exercise *exercise = config;
    static const struct ob_doorbell doorbells[] = {
        {.bar = 0, .offset = 0x40, .size = 4, .number = 0},
        {.bar = 0, .offset = 0x48, .number = 1},
        {.bar = 0, .offset = 0x4c, .number = 1},
        {.bar = 5, .offset = 8, .size = 2, .number = 2},
    };
    const struct ob_device_desc desc = {
        .size = sizeof(desc),
        .name = "exercise",
        .vendor_id = 0x1af4,
        .device_id = 0x10f3,
        .class_code = 0xff0000,
        .express = true,
        .intx = true,
        .bars = {[0] = {.kind = OB_BAR_MEM32, .size = 4096},
                 [2] = {.kind = OB_BAR_MEM32,
                        .flags = OB_BAR_MEMORY,
                        .size = 16384,
                        .memory = {.offset = 4096, .len = 4096}},
                 [3] = {.kind = OB_BAR_MEM64, .size = 65536},
                 [5] = {.kind = OB_BAR_IO, .size = 16}},
        .msi_vectors = 4,
        .msix_vectors = 24,
        .msix_bar = 3,
        .msix_offset = 0x2000,
        .doorbells = doorbells,
        .num_doorbells = sizeof(doorbells) / sizeof(doorbells[0]),
        .state_len = WINDOW_LEN,
        .state_version = 7,
    };
    const struct ob_device_ops ops = {.size = sizeof(ops),
                                      .read = read_register,
                                      .write = write_register,
                                      .doorbell = ring,
                                      .reset = reset,
                                      .pause = pause_device,
                                      .save = save,
                                      .load = load};
    int err = ob_device_new(&desc, &ops, exercise, ret_device, fault);
    exercise->device = err < 0 ? NULL : *ret_device;
    return err;
}

int main(int argc, char **argv)
{
    static const struct ob_program program = {
        .size = sizeof(program),
        .name = "exercise",
        .summary = "A device for the tests of the wires.",
        .type = "exercise",
        .create = create,
    };
    struct exercise *exercise = calloc(1, sizeof(*exercise));
    int status = exercise ? ob_program_main(&program, exercise, argc, argv) : EXIT_FAILURE;
    free(exercise);
    return status;
}
