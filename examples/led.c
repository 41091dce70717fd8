// SPDX-License-Identifier: BSD-3-Clause
/*
 * A complete device: a lamp of three colours, in a process of its own.
 *
 * BAR 0, offset 0, 32 bits: the colour, 0xRRGGBB, to be read and written.
 * BAR 0, offset 4, 32 bits: how often it has changed, to be read.
 */
#include <outboard/program.h>

#define WHITE 0xffffffu

struct led {
    uint32_t colour;
    uint32_t changes;
};

static uint64_t led_read(void *state, unsigned bar, uint64_t offset, unsigned size)
{
    const struct led *led = state;
    switch (offset) {
    case 0:
        return led->colour;
    case 4:
        return led->changes;
    default:
        return UINT64_MAX; /* as where no device is */
    }
}

static void led_write(void *state, unsigned bar, uint64_t offset, unsigned size, uint64_t value)
{
    struct led *led = state;
    if (offset != 0 || size != 4)
        return;
    led->colour = value & WHITE;
    led->changes++;
    ob_log("#%06x", led->colour);
}

static void led_reset(void *state)
{
    *(struct led *)state = (struct led){.colour = WHITE};
}

static int led_create(void *config, struct ob_device **ret_device, struct ob_fault *fault)
{
    static const struct ob_device_desc desc = {
        .size = sizeof(desc),
        .name = "led",
        .vendor_id = 0x1af4,
        .device_id = 0x10f2,
        .class_code = 0xff0000,
        .bars = {{.kind = OB_BAR_MEM32, .size = 4096}},
    };
    static const struct ob_device_ops ops = {
        .size = sizeof(ops), .read = led_read, .write = led_write, .reset = led_reset};
    led_reset(config);
    return ob_device_new(&desc, &ops, config, ret_device, fault);
}

int main(int argc, char **argv)
{
    static const struct ob_program program = {
        .size = sizeof(program),
        .name = "led",
        .summary = "A lamp on the PCI bus.",
        .type = "led",
        .create = led_create,
    };
    struct led led;
    return ob_program_main(&program, &led, argc, argv);
}
