// SPDX-License-Identifier: BSD-3-Clause
/*
 * What every public header needs: the mark of an exported function, and how the ABI grows.
 *
 * A struct that a caller fills and that will get more fields begins with `size`, which the caller
 * sets to sizeof() of it. New fields come at its end, and zero means what was the case before. So a
 * program works with a newer library than it was built for; with an older one it works unless it
 * sets fields that this does not know (-E2BIG). `reserved` fields are 0 and wait for a use. Structs
 * with neither do not change, and elements of arrays are such.
 */
#ifndef OUTBOARD_API_H
#define OUTBOARD_API_H

#define OB_API __attribute__((visibility("default")))

#endif
