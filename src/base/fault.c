// SPDX-License-Identifier: BSD-3-Clause
#include <outboard/fault.h>

#include <stdarg.h>
#include <stdio.h>

int ob_fault_set(struct ob_fault *fault, int code, const char *format, ...)
{
    if (!fault || fault->code)
        return code;
    va_list args;
    va_start(args, format);
    vsnprintf(fault->text, sizeof(fault->text), format, args);
    va_end(args);
    fault->code = code;
    return code;
}
