// SPDX-License-Identifier: BSD-3-Clause
/* Verdicts that say why: the reason is noted in the session, for session.c to act on. */
#include "session/verdict.h"
#include "session/session.h"

#include <stdarg.h>
#include <stdio.h>

enum verdict verdict_over(struct ob_session *session, uint32_t reason, bool farewell)
{
    session->ending = (struct ending){.reason = reason, .farewell = farewell};
    return VERDICT_OVER;
}

enum verdict verdict_broken(struct ob_session *session, int code, uint32_t reason,
                            const char *format, ...)
{
    char text[OB_FAULT_TEXT_LEN];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    session->fault.code = 0;
    ob_fault_set(&session->fault, code, "%s", text);
    session->ending = (struct ending){.code = code, .reason = reason, .farewell = true};
    return VERDICT_BROKEN;
}
