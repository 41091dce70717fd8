// SPDX-License-Identifier: BSD-3-Clause
/*
 * Common to all public headers: the mark of an exported function, and the rules of the ABI.
 *
 * A struct that a caller fills and that will get more fields begins with `size`, which the caller
 * sets to sizeof() of it. New fields come at its end, and zero means the earlier behaviour. A
 * program therefore works with a newer library than the one that it was built for. With an older
 * library it works unless it sets a field that the library does not know (-E2BIG). `reserved`
 * fields are 0 for later use. Structs with neither do not change; elements of arrays are such
 * structs.
 */
#ifndef OUTBOARD_API_H
#define OUTBOARD_API_H

#define OB_API __attribute__((visibility("default")))

#endif
