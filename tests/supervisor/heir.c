// SPDX-License-Identifier: BSD-3-Clause
/*
 * A counter that can continue for examples/counter.c, as another program in its place. Its register at
 * offset 8 reads 0x68656972. By the name that it is started with, heir-refuses, heir-crashes and
 * heir-hangs do so when they find a state; heir-refuses-once does so in the device's second life only.
 * heir-soon and heir-late take 0.2 s and 7 s then.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <outboard/program.h>
#include <outboard/vault.h>

struct heir {
    uint32_t sum;
    uint32_t reads;
};

static const char *our_name;
static unsigned our_life; /* number of the device's process, from 1 on */

static uint64_t heir_read(void *state, unsigned bar, uint64_t offset, unsigned size)
{
    struct heir *heir = state;
    if (offset == 8)
        return 0x68656972;
    return offset == 0 ? heir->sum : heir->reads++;
}

static void heir_write(void *state, unsigned bar, uint64_t offset, unsigned size, uint64_t value)
{
    if (offset == 0)
        ((struct heir *)state)->sum += (uint32_t)value;
}

static bool is_called(const char *name)
{
    return strstr(our_name, name) != NULL;
}

static int check(void *state, const void *bytes, size_t len, struct ob_fault *fault)
{
    if (is_called("heir-crashes"))
        abort();
    while (is_called("heir-hangs"))
        poll(NULL, 0, -1);
    if (is_called("heir-soon"))
        poll(NULL, 0, 200);
    if (is_called("heir-late"))
        poll(NULL, 0, 7000);
    if (is_called("heir-refuses-once"))
        return our_life == 2 ? -EINVAL : 0;
    return is_called("heir-refuses") ? -EINVAL : 0;
}

static int create(void *config, struct ob_device **ret_device, struct ob_fault *fault)
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
        .size = sizeof(ops), .read = heir_read, .write = heir_write};
    const struct ob_vault_state state = {.size = sizeof(state),
                                         .bytes = config,
                                         .len = sizeof(struct heir),
                                         .version = 1,
                                         .check = check};
    int err = ob_device_new(&desc, &ops, config, ret_device, fault);
    return err < 0 ? err : ob_vault_keep(*ret_device, &state);
}

int main(int argc, char **argv)
{
    static const struct ob_program program = {
        .size = sizeof(program),
        .name = "heir",
        .summary = "A counter that continues for another program.",
        .type = "heir",
        .create = create,
    };
    struct heir heir = {0};
    const char *vault = getenv("OUTBOARD_VAULT");
    our_name = argv[0];
    if (vault)
        sscanf(vault, "%*d,%*d,%*d,%u", &our_life);
    return ob_program_main(&program, &heir, argc, argv);
}
