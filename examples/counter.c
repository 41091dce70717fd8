// SPDX-License-Identifier: BSD-3-Clause
/*
 * A complete device that survives the death of its process: a counter that a guest can check.
 *
 * BAR 0, offset 0, 32 bits: written, is added to the sum; read, the sum.
 * BAR 0, offset 4, 32 bits: read, how often it was read before.
 *
 * Neither register may be done twice or left out, and that is all that the program does for it: it
 * names its state. With on-death = "restart", `outboard run` starts it again.
 */
#include <outboard/program.h>
#include <outboard/vault.h>

struct counter {
    uint32_t sum;
    uint32_t reads;
};

static uint64_t counter_read(void *state, unsigned bar, uint64_t offset, unsigned size)
{
    struct counter *counter = state;
    if (offset == 0)
        return counter->sum;
    return offset == 4 ? counter->reads++ : UINT64_MAX;
}

static void counter_write(void *state, unsigned bar, uint64_t offset, unsigned size, uint64_t value)
{
    struct counter *counter = state;
    if (offset == 0)
        counter->sum += (uint32_t)value;
}

static void counter_reset(void *state)
{
    *(struct counter *)state = (struct counter){0};
}

static int counter_create(void *config, struct ob_device **ret_device, struct ob_fault *fault)
{
    static const struct ob_device_desc desc = {
        .size = sizeof(desc),
        .name = "counter",
        .vendor_id = 0x1af4,
        .device_id = 0x10f3,
        .class_code = 0xff0000,
        .bars = {{.kind = OB_BAR_MEM32, .size = 4096}},
    };
    static const struct ob_device_ops ops = {
        .size = sizeof(ops), .read = counter_read, .write = counter_write, .reset = counter_reset};
    const struct ob_vault_state state = {
        .size = sizeof(state), .bytes = config, .len = sizeof(struct counter), .version = 1};
    int err = ob_device_new(&desc, &ops, config, ret_device, fault);
    return err < 0 ? err : ob_vault_keep(*ret_device, &state);
}

int main(int argc, char **argv)
{
    static const struct ob_program program = {
        .size = sizeof(program),
        .name = "counter",
        .summary = "A counter on the PCI bus that survives the death of its process.",
        .type = "counter",
        .create = counter_create,
    };
    struct counter counter = {0};
    return ob_program_main(&program, &counter, argc, argv);
}
