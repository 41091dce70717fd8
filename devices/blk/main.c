// SPDX-License-Identifier: BSD-3-Clause
/* outboard-blk: a disk image as a virtio block device. */
#include <errno.h>
#include <unistd.h>

#include <outboard/program.h>

#include "blk.h"
#include "block/image_open.h"
#include "block/nbd_dial.h"

/* share/policy/blk.policy */
extern const char policy_blk[];

#define DEFAULT_QUEUES     4u
#define DEFAULT_QUEUE_SIZE 256u
#define MIN_QUEUE_SIZE     4u

struct config {
    struct image_option image;
    bool has_image;
    struct block *block; /* until it is the device's */
    unsigned queues;
    unsigned queue_size;
    unsigned timeout_ms;
    struct blk *blk;
};

static int apply_image(void *argument, const char *value, struct ob_fault *fault)
{
    struct config *config = argument;
    if (config->has_image)
        return ob_fault_set(fault, -E2BIG,
                            "got a second image, expected one; start a process for "
                            "each");
    int err = image_option_parse(value, &config->image, fault);
    config->has_image = err == 0;
    return err;
}

static int apply_unsigned(const char *value, unsigned min, unsigned max, unsigned *ret_number,
                          struct ob_fault *fault)
{
    uint64_t number = 0;
    int err = ob_option_number(value, min, max, &number, fault);
    if (err == 0)
        *ret_number = (unsigned)number;
    return err;
}

static int apply_queues(void *argument, const char *value, struct ob_fault *fault)
{
    struct config *config = argument;
    return apply_unsigned(value, 1, BLK_QUEUES, &config->queues, fault);
}

static int apply_queue_size(void *argument, const char *value, struct ob_fault *fault)
{
    struct config *config = argument;
    unsigned size = 0;
    int err = apply_unsigned(value, MIN_QUEUE_SIZE, BLK_QUEUE_SIZE, &size, fault);
    if (err == 0 && size & (size - 1))
        err = ob_fault_set(fault, -EINVAL, "got %u, expected a power of two", size);
    if (err == 0)
        config->queue_size = size;
    return err;
}

static int apply_timeout(void *argument, const char *value, struct ob_fault *fault)
{
    struct config *config = argument;
    return apply_unsigned(value, BLOCK_TIMEOUT_MIN_MS, BLOCK_TIMEOUT_MAX_MS, &config->timeout_ms,
                          fault);
}

static int open_image(void *argument, struct ob_fault *fault)
{
    struct config *config = argument;
    if (!config->has_image)
        return ob_fault_set(fault, -EINVAL, "give --image=PATH, a disk image");
    return image_open(&config->image, &config->block, fault);
}

static void close_image(void *argument)
{
    struct config *config = argument;
    if (config->block)
        config->block->ops->close(config->block);
    config->block = NULL;
}

static int create(void *argument, struct ob_device **ret_device, struct ob_fault *fault)
{
    struct config *config = argument;
    const struct blk_options options = {.block = config->block,
                                        .block_size = config->image.block.block_size,
                                        .serial = config->image.serial,
                                        .num_queues = config->queues,
                                        .queue_size = config->queue_size,
                                        .timeout_ms = config->timeout_ms};
    int err = blk_new(&options, &config->blk, ret_device, fault);
    if (err == 0)
        config->block = NULL;
    return err;
}

static void destroy(void *argument)
{
    struct config *config = argument;
    blk_free(config->blk);
}

static const struct ob_option known_options[] = {
    {"image", "PATH[,PROPERTY...]",
     "the disk: readonly, direct, serial=TEXT, block-size=512|4096, format=raw", apply_image},
    {"queues", "N", "request queues, 1 to 64 (default 4); the VMM may use fewer", apply_queues},
    {"queue-size", "N", "entries of a queue, a power of two to 1024 (default 256)",
     apply_queue_size},
    {"timeout-ms", "N", "time for which the image may be silent (default 20000)", apply_timeout},
    {0},
};

int main(int argc, char **argv)
{
    static const struct ob_program program = {
        .size = sizeof(program),
        .name = "outboard-blk",
        .summary = "A virtio block device for a disk image: a file, a block device, an NBD export.",
        .type = "block",
        .options = known_options,
        .needs_shared_memory = true,
        .open = open_image,
        .create = create,
        .destroy = destroy,
        .close = close_image,
        .policy = policy_blk,
        .is_virtio = true,
    };
    struct config config = {
        .queues = DEFAULT_QUEUES, .queue_size = DEFAULT_QUEUE_SIZE, .timeout_ms = BLOCK_TIMEOUT_MS};
    int status = ob_program_main(&program, &config, argc, argv);
    image_option_done(&config.image);
    if (nbd_dial_any_runs()) /* exit(3) would take libnbd apart under it */
        _exit(status);
    return status;
}
