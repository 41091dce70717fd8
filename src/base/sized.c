// SPDX-License-Identifier: BSD-3-Clause
#include "base/sized.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

static bool is_zero(const uint8_t *bytes, size_t len)
{
    while (len > 0 && bytes[len - 1] == 0)
        len--;
    return len == 0;
}

int sized_copy(const void *given, size_t least, void *ret_own, size_t own_len, const char *name,
               struct ob_fault *fault)
{
    size_t size;
    memcpy(&size, given, sizeof(size));
    if (size == 0)
        return ob_fault_set(fault, -EINVAL, "%s.size is not set: set it to sizeof(struct %s)", name,
                            name);
    if (size < least)
        return ob_fault_set(fault, -EINVAL,
                            "%s.size: got %zu, expected at least %zu; set it to sizeof(struct %s)",
                            name, size, least, name);
    if (size > own_len && !is_zero((const uint8_t *)given + own_len, size - own_len))
        return ob_fault_set(fault, -E2BIG,
                            "%s: the program uses fields that this library (%zu bytes of %zu) does "
                            "not know; install the library that it was built for",
                            name, own_len, size);
    memset(ret_own, 0, own_len);
    memcpy(ret_own, given, size < own_len ? size : own_len);
    memcpy(ret_own, &own_len, sizeof(own_len));
    return 0;
}
