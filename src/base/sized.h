// SPDX-License-Identifier: BSD-3-Clause
/*
 * Structs of the public API that a caller fills begin with their size, so that a program built for
 * an older library, whose struct is shorter, keeps working: fields that it does not have are zero.
 */
#ifndef OUTBOARD_BASE_SIZED_H
#define OUTBOARD_BASE_SIZED_H

#include <stddef.h>

#include <outboard/fault.h>

/* The length of a struct when `field` was its last one: of its first version, to be never changed.
 */
#define SIZED_UP_TO(type, field) (offsetof(type, field) + sizeof(((type *)0)->field))

/*
 * Copies a struct of a caller, whose first field is a size_t with its size.
 *
 * given:   the caller's; not NULL.
 * least:   the length of its first version, SIZED_UP_TO().
 * ret_own: as this library knows it, own_len bytes; zeroed where the caller's is shorter. Its size
 *          is own_len.
 * name:    for the fault, "ob_device_desc".
 *
 * 0; -EINVAL when the size is not set or too small; -E2BIG when the caller's is longer and has
 * something in there that this library does not know.
 */
int sized_copy(const void *given, size_t least, void *ret_own, size_t own_len, const char *name,
               struct ob_fault *fault);

#endif
