// SPDX-License-Identifier: BSD-3-Clause
/*
 * A device that somebody else wrote, outside of this tree: a queue of numbers. All that it does to
 * outlive its process is to name its state, in fifo_create().
 *
 * BAR 0, offset 0, 32 bits: written, a number comes into the queue; read, the oldest leaves it, or
 * all ones when it is empty.
 * BAR 0, offset 4, 32 bits: read, how many numbers there are.
 * BAR 1: 4 KiB of memory.
 *
 * INTx is up while the queue is not empty.
 */
#include <errno.h>

#include <outboard/irq.h>
#include <outboard/program.h>
#include <outboard/vault.h>

#define ROOM 64u

struct fifo {
    uint32_t first, count;
    uint32_t numbers[ROOM];
};

struct program {
    struct ob_device *device;
    struct fifo fifo;
};

static uint64_t fifo_read(void *state, unsigned bar, uint64_t offset, unsigned size)
{
    struct program *program = state;
    struct fifo *fifo = &program->fifo;
    if (offset == 4)
        return fifo->count;
    if (offset != 0 || fifo->count == 0)
        return UINT64_MAX;
    uint32_t oldest = fifo->numbers[fifo->first];
    fifo->first = (fifo->first + 1) % ROOM;
    if (--fifo->count == 0)
        ob_irq_lower(program->device);
    return oldest;
}

static void fifo_write(void *state, unsigned bar, uint64_t offset, unsigned size, uint64_t value)
{
    struct program *program = state;
    struct fifo *fifo = &program->fifo;
    if (offset != 0 || fifo->count == ROOM)
        return;
    fifo->numbers[(fifo->first + fifo->count++) % ROOM] = (uint32_t)value;
    ob_irq_raise(program->device);
}

static void fifo_reset(void *state)
{
    struct program *program = state;
    program->fifo = (struct fifo){0};
}

static int fifo_check(void *state, const void *bytes, size_t len, struct ob_fault *fault)
{
    const struct fifo *fifo = bytes;
    return fifo->first < ROOM && fifo->count <= ROOM ? 0 : -EINVAL;
}

static int fifo_create(void *config, struct ob_device **ret_device, struct ob_fault *fault)
{
    static const struct ob_device_desc desc = {
        .size = sizeof(desc),
        .name = "fifo",
        .vendor_id = 0x1af4,
        .device_id = 0x10f5,
        .class_code = 0xff0000,
        .intx = true,
        .bars = {{.kind = OB_BAR_MEM32, .size = 4096},
                 {.kind = OB_BAR_MEM32, .flags = OB_BAR_MEMORY, .size = 4096}},
    };
    static const struct ob_device_ops ops = {
        .size = sizeof(ops), .read = fifo_read, .write = fifo_write, .reset = fifo_reset};
    struct program *program = config;
    const struct ob_vault_state kept = {.size = sizeof(kept),
                                        .bytes = &program->fifo,
                                        .len = sizeof(program->fifo),
                                        .version = 1,
                                        .check = fifo_check};
    int err = ob_device_new(&desc, &ops, program, &program->device, fault);
    *ret_device = program->device;
    return err < 0 ? err : ob_vault_keep(program->device, &kept);
}

int main(int argc, char **argv)
{
    static const struct ob_program description = {
        .size = sizeof(description),
        .name = "fifo",
        .summary = "A queue of numbers on the PCI bus.",
        .type = "fifo",
        .create = fifo_create,
    };
    static struct program program;
    return ob_program_main(&description, &program, argc, argv);
}
