// SPDX-License-Identifier: BSD-3-Clause
/*
 * Fault: the record of a failure: its object, its cause, and the remedy.
 *
 * Libraries never print. They return a negative errno and, if a person has to act, fill a fault.
 * The program prints it once.
 */
#ifndef OUTBOARD_FAULT_H
#define OUTBOARD_FAULT_H

#include <outboard/api.h>

#ifdef __cplusplus
extern "C" {
#endif

#define OB_FAULT_TEXT_LEN 256

struct ob_fault {
    int code;                     /* negative errno, 0 while nothing went wrong */
    char text[OB_FAULT_TEXT_LEN]; /* one sentence, printable ASCII whatever a peer sent */
};

/**
 * Record a fault, unless one is recorded already: the first cause is kept. Bytes that are not
 * printable ASCII are written as \NNN (octal).
 *
 * @fault:  the record, or NULL to only pass the code through.
 * @code:   negative errno.
 * @format: printf format of the sentence.
 *
 * Returns @code. Any thread that owns @fault.
 */
OB_API int ob_fault_set(struct ob_fault *fault, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#ifdef __cplusplus
}
#endif
#endif
