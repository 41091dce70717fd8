// SPDX-License-Identifier: BSD-3-Clause
#include "image.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FNV_OFFSET UINT64_C(0xcbf29ce484222325)
#define FNV_PRIME  UINT64_C(0x100000001b3)

/* FNV-1a: names, not secrets. */
static uint64_t hash(const char *text, uint64_t seed)
{
    uint64_t value = FNV_OFFSET ^ seed;
    for (; *text; text++)
        value = (value ^ (uint8_t)*text) * FNV_PRIME;
    return value ^ value >> 29;
}

static bool is_nbd(const char *path)
{
    return strncmp(path, "nbd://", 6) == 0 || strncmp(path, "nbd+unix://", 11) == 0;
}

/* Ends the first part of the text at its comma; two commas stand for one. Returns the rest, or NULL
 * when there is none. */
static char *cut(char *text)
{
    char *to = text;
    for (char *from = text; *from; from++) {
        if (*from == ',' && from[1] != ',') {
            *to = '\0';
            return from + 1;
        }
        from += *from == ',';
        *to++ = *from;
    }
    *to = '\0';
    return NULL;
}

static int apply_serial(struct image_option *option, const char *serial, struct ob_fault *fault)
{
    size_t len = strlen(serial);
    for (size_t i = 0; i < len; i++)
        if (serial[i] <= ' ' || serial[i] > '~')
            len = 0;
    if (len == 0 || len > NVME_SERIAL_LEN)
        return ob_fault_set(fault, -EINVAL, "serial= takes 1 to %u ASCII characters without spaces",
                            NVME_SERIAL_LEN);
    snprintf(option->serial, sizeof(option->serial), "%s", serial);
    return 0;
}

static int apply(struct image_option *option, const char *word, struct ob_fault *fault)
{
    struct block_options *block = &option->block;
    if (strcmp(word, "readonly") == 0)
        block->readonly = true;
    else if (strcmp(word, "direct") == 0)
        block->direct = true;
    else if (strncmp(word, "serial=", 7) == 0)
        return apply_serial(option, word + 7, fault);
    else if (strcmp(word, "block-size=512") == 0)
        block->block_size = 512;
    else if (strcmp(word, "block-size=4096") == 0)
        block->block_size = 4096;
    else
        return ob_fault_set(fault, -EINVAL,
                            "an image has no property '%.60s'; it has readonly, direct, "
                            "serial=TEXT, and block-size=512 or 4096 (write a comma in the path "
                            "twice)",
                            word);
    return 0;
}

/* The same image gets the same serial number each time, wherever it is named from. */
static void make_serial(struct image_option *option)
{
    char *whole = realpath(option->block.path, NULL);
    const char *name = whole ? whole : option->block.path;
    snprintf(option->serial, sizeof(option->serial), "OB%016" PRIX64, hash(name, 0));
    free(whole);
}

int image_parse(const char *value, struct image_option *ret_option, struct ob_fault *fault)
{
    char *text = strdup(value);
    if (!text)
        return ob_fault_set(fault, -ENOMEM, "no memory for an option");
    char *rest = cut(text);
    struct image_option option = {.block = {.path = text, .block_size = 512}};
    int err = 0;
    while (rest && err == 0) {
        const char *word = rest;
        rest = cut(rest);
        err = apply(&option, word, fault);
    }
    if (err == 0 && option.block.direct && is_nbd(option.block.path))
        err = ob_fault_set(fault, -EINVAL, "'direct' is for files; %s is none", option.block.path);
    if (err < 0) {
        free(text);
        return err;
    }
    if (!option.serial[0])
        make_serial(&option);
    option.text = text;
    *ret_option = option;
    return 0;
}

void image_done(struct image_option *option)
{
    free(option->text);
    *option = (struct image_option){0};
}

/* A UUID of the kind that applications define (RFC 9562, section 5.8). */
static void make_uuid(const char *serial, uint8_t uuid[16])
{
    for (unsigned half = 0; half < 2; half++) {
        uint64_t value = hash(serial, half + 1);
        for (unsigned i = 0; i < 8; i++)
            uuid[8 * half + i] = (uint8_t)(value >> (8 * i));
    }
    uuid[6] = (uint8_t)((uuid[6] & 0x0f) | 0x80);
    uuid[8] = (uint8_t)((uuid[8] & 0x3f) | 0x80);
}

int image_open(const struct image_option *option, struct nvme_image *ret_image,
               struct ob_fault *fault)
{
    const struct block_options *options = &option->block;
    struct block *block = NULL;
    int err = is_nbd(options->path) ? block_nbd_open(options, &block, fault)
                                    : block_uring_open(options, &block, fault);
    if (err < 0)
        return err;
    if (block->size < options->block_size) {
        block->ops->close(block);
        return ob_fault_set(fault, -EINVAL, "%s is smaller than a block of %" PRIu32 " bytes",
                            options->path, options->block_size);
    }
    *ret_image = (struct nvme_image){.block = block, .block_size = options->block_size};
    make_uuid(option->serial, ret_image->uuid);
    return 0;
}
