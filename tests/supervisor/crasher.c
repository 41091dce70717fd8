// SPDX-License-Identifier: BSD-3-Clause
/*
 * A counter that crashes: at a read or a write of offset 8, each time; or, with --when-resumed, as
 * soon as it continues for another process.
 */
#include <stdlib.h>

#include <outboard/program.h>
#include <outboard/vault.h>

struct crasher {
    uint32_t sum;
    bool when_resumed;
};

static uint64_t crasher_read(void *state, unsigned bar, uint64_t offset, unsigned size)
{
    if (offset == 8)
        abort();
    return ((struct crasher *)state)->sum;
}

static void crasher_write(void *state, unsigned bar, uint64_t offset, unsigned size, uint64_t value)
{
    if (offset == 8)
        abort();
    ((struct crasher *)state)->sum += (uint32_t)value;
}

static void resumed(void *state)
{
    if (((struct crasher *)state)->when_resumed)
        abort();
}

static int create(void *config, struct ob_device **ret_device, struct ob_fault *fault)
{
    static const struct ob_device_desc desc = {
        .size = sizeof(desc),
        .name = "crasher",
        .vendor_id = 0x1af4,
        .device_id = 0x10f4,
        .class_code = 0xff0000,
        .bars = {{.kind = OB_BAR_MEM32, .size = 4096}},
    };
    static const struct ob_device_ops ops = {
        .size = sizeof(ops), .read = crasher_read, .write = crasher_write};
    struct crasher *crasher = config;
    const struct ob_vault_state state = {.size = sizeof(state),
                                         .bytes = &crasher->sum,
                                         .len = sizeof(crasher->sum),
                                         .version = 1,
                                         .resumed = resumed};
    int err = ob_device_new(&desc, &ops, crasher, ret_device, fault);
    return err < 0 ? err : ob_vault_keep(*ret_device, &state);
}

static int apply(void *config, const char *value, struct ob_fault *fault)
{
    ((struct crasher *)config)->when_resumed = true;
    return 0;
}

int main(int argc, char **argv)
{
    static const struct ob_option options[] = {
        {"when-resumed", NULL, "crashes as soon as it continues for another process", apply}, {0}};
    static const struct ob_program program = {
        .size = sizeof(program),
        .name = "crasher",
        .summary = "A counter that crashes.",
        .type = "crasher",
        .options = options,
        .create = create,
    };
    struct crasher crasher = {0};
    return ob_program_main(&program, &crasher, argc, argv);
}
