// SPDX-License-Identifier: BSD-3-Clause
#include <outboard/fault.h>

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/printable.h"

int ob_fault_set(struct ob_fault *fault, int code, const char *format, ...)
{
    if (!fault || fault->code)
        return code;
    char text[OB_FAULT_TEXT_LEN + 1]; /* one more than fits, so that a cut is marked */
    va_list args;
    va_start(args, format);
    int len = vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    if (len < 0)
        len = 0;
    printable_copy(fault->text, sizeof(fault->text), text, strnlen(text, (size_t)len));
    fault->code = code;
    return code;
}
