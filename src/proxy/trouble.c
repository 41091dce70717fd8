// SPDX-License-Identifier: BSD-3-Clause
#include "proxy/trouble.h"

#include <stdarg.h>
#include <stdio.h>

void trouble_set(struct trouble *trouble, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(trouble->text, sizeof(trouble->text), format, args);
    va_end(args);
}

void trouble_clear(struct trouble *trouble)
{
    trouble->text[0] = '\0';
}
