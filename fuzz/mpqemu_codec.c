// SPDX-License-Identifier: BSD-3-Clause
/*
 * The codec of mpqemu. What decodes must have the right length and encode to the very bytes that
 * were decoded, but for those that mean nothing.
 */
#include "wire/mpqemu.h"

#include <stdbool.h>
#include <string.h>

#include "check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_header(const uint8_t *in, size_t len)
{
    struct mpqemu_header header;
    uint8_t out[MPQEMU_HEADER_LEN];
    bool decodes = mpqemu_header_get(in, len, &header) == 0;
    CHECK(decodes == (len == MPQEMU_HEADER_LEN));
    if (!decodes)
        return;
    CHECK(mpqemu_header_put(out, sizeof(out), &header) == (int)len);
    CHECK(memcmp(in, out, len) == 0);
    for (int dialect = MPQEMU_SHIPPED; dialect <= MPQEMU_V8; dialect++) {
        int command = mpqemu_command_from((enum mpqemu_dialect)dialect, header.number);
        if (command >= 0)
            CHECK(mpqemu_command_number((enum mpqemu_dialect)dialect,
                                        (enum mpqemu_command)command) == (int)header.number);
        else
            CHECK(header.number > 10 || (dialect == MPQEMU_SHIPPED && header.number > 7));
    }
}

static void check_sysmem(const uint8_t *in, size_t len)
{
    struct mpqemu_sysmem sysmem;
    uint8_t out[MPQEMU_UNION_LEN];
    bool decodes = mpqemu_sysmem_get(in, len, &sysmem) == 0;
    CHECK(decodes == (len == MPQEMU_UNION_LEN));
    if (!decodes)
        return;
    CHECK(mpqemu_sysmem_put(out, sizeof(out), &sysmem) == (int)len);
    CHECK(memcmp(in, out, len) == 0);
    CHECK(mpqemu_sysmem_put(out, sizeof(out) - 1, &sysmem) < 0);
}

static void check_config(const uint8_t *in, size_t len)
{
    struct mpqemu_config_access access;
    uint8_t out[MPQEMU_CONFIG_LEN];
    bool decodes = mpqemu_config_get(in, len, &access) == 0;
    CHECK(decodes == (len == MPQEMU_CONFIG_LEN));
    if (!decodes)
        return;
    CHECK(mpqemu_config_put(out, sizeof(out), &access) == (int)len);
    CHECK(memcmp(in, out, len) == 0);
}

static void check_bar(const uint8_t *in, size_t len)
{
    struct mpqemu_bar_access access;
    uint8_t out[MPQEMU_BAR_LEN];
    bool decodes = mpqemu_bar_get(in, len, &access) == 0;
    CHECK(decodes == (len == MPQEMU_BAR_LEN || len == MPQEMU_UNION_LEN));
    if (!decodes)
        return;
    CHECK(mpqemu_bar_put(out, sizeof(out), &access) == MPQEMU_BAR_LEN);
    CHECK(memcmp(in, out, 21) == 0); /* three bytes of padding follow, then the rest of a union */
    CHECK(memcmp(out + 21, "\0\0\0", 3) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    /* A copy of its own, so that a sanitizer sees the first byte behind it. */
    uint8_t *copy = malloc(size + 1);
    CHECK(copy);
    uint8_t *in = copy + 1;
    if (size > 0)
        memcpy(in, data, size);
    check_header(in, size);
    check_sysmem(in, size);
    check_config(in, size);
    check_bar(in, size);
    free(copy);
    return 0;
}
