// SPDX-License-Identifier: BSD-3-Clause
/* outboard-nvme: disk images as the namespaces of an NVMe controller. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include <outboard/program.h>

#include "block/nbd_dial.h"
#include "image.h"
#include "nvme.h"

/* share/policy/nvme.policy */
extern const char policy_nvme[];

struct config {
    struct image_option options[NVME_NAMESPACES];
    unsigned count;
    struct nvme_image images[NVME_NAMESPACES];
    unsigned opened; /* images that are not yet the controller's */
    unsigned timeout_ms;
    enum nvme_interrupts interrupts;
    struct nvme *nvme;
};

static int apply_image(void *argument, const char *value, struct ob_fault *fault)
{
    struct config *config = argument;
    if (config->count == NVME_NAMESPACES)
        return ob_fault_set(fault, -E2BIG, "got more than %u images, the limit of a controller",
                            NVME_NAMESPACES);
    int err = image_option_parse(value, &config->options[config->count], fault);
    if (err == 0)
        config->count++;
    return err;
}

static int apply_timeout(void *argument, const char *value, struct ob_fault *fault)
{
    struct config *config = argument;
    uint64_t number = 0;
    int err = ob_option_number(value, BLOCK_TIMEOUT_MIN_MS, BLOCK_TIMEOUT_MAX_MS, &number, fault);
    if (err == 0)
        config->timeout_ms = (unsigned)number;
    return err;
}

static int apply_interrupts(void *argument, const char *value, struct ob_fault *fault)
{
    static const char *const names[] = {
        [NVME_MSIX] = "msix", [NVME_MSI] = "msi", [NVME_INTX] = "intx"};
    struct config *config = argument;
    for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (strcmp(value, names[i]) == 0) {
            config->interrupts = (enum nvme_interrupts)i;
            return 0;
        }
    return ob_fault_set(fault, -EINVAL, "got '%.40s', expected msix, msi or intx", value);
}

/* Of the serial number the UUID is made by which a guest knows a disk again: Linux takes the second
 * disk with the same one for a fault. */
static int check_serials(const struct config *config, struct ob_fault *fault)
{
    for (unsigned i = 0; i < config->count; i++)
        for (unsigned j = 0; j < i; j++)
            if (strcmp(config->options[i].serial, config->options[j].serial) == 0)
                return ob_fault_set(
                    fault, -EINVAL,
                    "images %u and %u: both have the serial number '%s'; give each its own serial=",
                    j + 1, i + 1, config->options[i].serial);
    return 0;
}

static void close_images(void *argument)
{
    struct config *config = argument;
    while (config->opened > 0) {
        struct block *block = config->images[--config->opened].block;
        block->ops->close(block);
    }
}

static int open_images(void *argument, struct ob_fault *fault)
{
    struct config *config = argument;
    if (config->count == 0)
        return ob_fault_set(fault, -EINVAL, "give --image=PATH, a disk image");
    int err = check_serials(config, fault);
    while (config->opened < config->count && err == 0) {
        unsigned next = config->opened;
        config->options[next].block.number = next;
        err = nvme_image_open(&config->options[next], &config->images[next], fault);
        config->opened += err == 0;
    }
    if (err < 0)
        close_images(config);
    return err;
}

static int create(void *argument, struct ob_device **ret_device, struct ob_fault *fault)
{
    struct config *config = argument;
    const struct nvme_options wanted = {.images = config->images,
                                        .count = config->opened,
                                        .serial = config->options[0].serial,
                                        .timeout_ms = config->timeout_ms,
                                        .interrupts = config->interrupts};
    int err = nvme_new(&wanted, &config->nvme, ret_device, fault);
    if (err == 0)
        config->opened = 0;
    return err;
}

static void destroy(void *argument)
{
    struct config *config = argument;
    nvme_free(config->nvme);
}

static const struct ob_option options[] = {
    {"image", "PATH[,PROPERTY...]",
     "a disk: readonly, direct, serial=TEXT, block-size=512|4096, format=raw; several are "
     "namespaces 1, 2...",
     apply_image},
    {"timeout-ms", "N", "time for which an image may be silent (default 20000)", apply_timeout},
    {"interrupts", "msix|msi|intx", "interrupts besides INTx (default msix)", apply_interrupts},
    {0},
};

int main(int argc, char **argv)
{
    static const struct ob_program program = {
        .size = sizeof(program),
        .name = "outboard-nvme",
        .summary = "An NVMe controller for disk images: files, block devices, NBD exports.",
        .type = "nvme",
        .options = options,
        .needs_shared_memory = true,
        .open = open_images,
        .create = create,
        .destroy = destroy,
        .close = close_images,
        .policy = policy_nvme,
    };
    struct config config = {.timeout_ms = BLOCK_TIMEOUT_MS};
    int status = ob_program_main(&program, &config, argc, argv);
    for (unsigned i = 0; i < config.count; i++)
        image_option_done(&config.options[i]);
    if (nbd_dial_any_runs()) /* exit(3) would take libnbd apart under it */
        _exit(status);
    return status;
}
