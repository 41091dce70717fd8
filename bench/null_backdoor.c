// SPDX-License-Identifier: BSD-3-Clause
/* The host code of a backdoor that does nothing: what remains is the cost of calling it. */
#include <stdint.h>

#include <outboard/api.h>

OB_API void backdoor(uint64_t command, void *data);

void backdoor(uint64_t command, void *data)
{
}
