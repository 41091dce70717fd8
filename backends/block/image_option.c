// SPDX-License-Identifier: BSD-3-Clause
#include "block/image_option.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "block/image_format.h"

#define FNV_OFFSET UINT64_C(0xcbf29ce484222325)
#define FNV_PRIME  UINT64_C(0x100000001b3)

uint64_t image_hash(const char *text, uint64_t seed)
{
    uint64_t value = FNV_OFFSET ^ seed;
    for (; *text; text++)
        value = (value ^ (uint8_t)*text) * FNV_PRIME;
    return value ^ value >> 29;
}

bool image_is_nbd(const char *path)
{
    return strncmp(path, "nbd://", 6) == 0 || strncmp(path, "nbd+unix://", 11) == 0;
}

/* Ends the first part of the text at its comma; two commas stand for one. Returns the rest, or NULL
 * at the end of the text. */
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
    if (len == 0 || len > BLOCK_SERIAL_LEN)
        return ob_fault_set(fault, -EINVAL,
                            "serial=: expected 1 to %u ASCII characters without spaces",
                            BLOCK_SERIAL_LEN);
    snprintf(option->serial, sizeof(option->serial), "%s", serial);
    return 0;
}

static int apply_format(struct image_option *option, const char *name, struct ob_fault *fault)
{
    if (!image_format_exists(name))
        return ob_fault_set(fault, -EINVAL,
                            "format=: got '%.40s', expected raw, qcow2, qcow, qed, vmdk, vdi, "
                            "vhdx, vpc, luks, parallels, bochs, cloop or dmg",
                            name);
    option->format = name;
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
    else if (strncmp(word, "format=", 7) == 0)
        return apply_format(option, word + 7, fault);
    else if (strcmp(word, "snapshot") == 0)
        option->snapshot = true;
    else if (strcmp(word, "nbd") == 0)
        option->by_server = true;
    else if (strncmp(word, "key-file=", 9) == 0 && word[9])
        option->key_file = word + 9;
    else
        return ob_fault_set(
            fault, -EINVAL,
            "property: got '%.60s', expected readonly, direct, serial=TEXT, block-size=512, "
            "block-size=4096 or format=NAME; write a comma in the path twice",
            word);
    return 0;
}

/* The same image gets the same serial number each time, wherever it is named from. */
static void make_serial(struct image_option *option)
{
    char *whole = realpath(option->block.path, NULL);
    const char *name = whole ? whole : option->block.path;
    snprintf(option->serial, sizeof(option->serial), "OB%016" PRIX64, image_hash(name, 0));
    free(whole);
}

/* Reads text, which is cut into pieces that the option keeps. */
static int parse(char *text, struct image_option *option, struct ob_fault *fault)
{
    struct block_options *block = &option->block;
    char *rest = cut(text);
    int err = 0;
    *block = (struct block_options){.path = text, .block_size = 512};
    while (rest && err == 0) {
        const char *word = rest;
        rest = cut(rest);
        err = apply(option, word, fault);
    }
    if (err == 0 && block->direct && image_is_nbd(block->path))
        err = ob_fault_set(fault, -EINVAL, "direct: got %s, expected a file or a block device",
                           block->path);
    if (err == 0 && !option->serial[0])
        make_serial(option);
    block->raw = option->format && strcmp(option->format, "raw") == 0;
    return err;
}

int image_option_parse(const char *value, struct image_option *ret_option, struct ob_fault *fault)
{
    struct image_option option = {0};
    char *text = strdup(value);
    if (!text)
        return ob_fault_set(fault, -ENOMEM, "no memory for an option");
    int err = parse(text, &option, fault);
    if (err < 0) {
        free(text);
        return err;
    }
    option.text = text;
    *ret_option = option;
    return 0;
}

void image_option_done(struct image_option *option)
{
    free(option->text);
    *option = (struct image_option){0};
}
