// SPDX-License-Identifier: BSD-3-Clause
/*
 * The text of an --image, and the first bytes of a file that may be of a format.
 *
 * What must hold: an option that is refused says why and keeps nothing; one that is taken has a
 * path and a serial number of printable characters, and is read the same way again.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "block/image_format.h"
#include "block/image_option.h"
#include "check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_option(const struct image_option *option)
{
    size_t len = strlen(option->serial);
    CHECK(option->block.path &&
          (option->block.block_size == 512 || option->block.block_size == 4096));
    CHECK(len > 0 && len <= BLOCK_SERIAL_LEN);
    for (size_t i = 0; i < len; i++)
        CHECK(option->serial[i] > ' ' && option->serial[i] <= '~');
    CHECK(!option->block.direct || !image_is_nbd(option->block.path));
}

static void try_option(const char *text)
{
    struct image_option option = {0};
    struct image_option again = {0};
    struct ob_fault fault = {0};
    if (image_option_parse(text, &option, &fault) < 0) {
        CHECK(fault.code < 0 && fault.text[0] && !option.text);
        return;
    }
    check_option(&option);
    CHECK(image_option_parse(text, &again, NULL) == 0);
    CHECK(strcmp(option.serial, again.serial) == 0);
    CHECK(strcmp(option.block.path, again.block.path) == 0);
    image_option_done(&option);
    image_option_done(&again);
}

static void try_format(const uint8_t *data, size_t size)
{
    static int fd = -1;
    if (fd < 0)
        fd = memfd_create("image", MFD_CLOEXEC);
    CHECK(fd >= 0 && ftruncate(fd, 0) == 0);
    CHECK(pwrite(fd, data, size, 0) == (ssize_t)size);
    const char *format = image_format_of(fd, size);
    CHECK(!format || (format[0] && strlen(format) < 16));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);
    CHECK(text);
    memcpy(text, data, size);
    text[size] = '\0';
    try_option(text);
    free(text);
    try_format(data, size);
    return 0;
}
