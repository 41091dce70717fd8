// SPDX-License-Identifier: BSD-3-Clause
/* What every public header needs: the mark of an exported function. */
#ifndef OUTBOARD_API_H
#define OUTBOARD_API_H

#define OB_API __attribute__((visibility("default")))

#endif
