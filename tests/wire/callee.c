// SPDX-License-Identifier: BSD-3-Clause
/* The host's side of the backdoor for the tests of the wire: answers each command in the data. */
#include <stdint.h>
#include <string.h>

#include <outboard/backdoor_host.h>

OB_API void backdoor(uint64_t command, void *data);

void backdoor(uint64_t command, void *data)
{
    uint64_t answer[2];
    memcpy(answer, data, sizeof(answer));
    answer[0] = command + 1;
    answer[1]++; /* how many commands came */
    memcpy(data, answer, sizeof(answer));
}
