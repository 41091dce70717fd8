// SPDX-License-Identifier: BSD-3-Clause
/* Host code with the names of 2011. */
#include <inttypes.h>
#include <stdio.h>

__attribute__((visibility("default"))) void qemu_backdoor_init(uint64_t size);
__attribute__((visibility("default"))) void qemu_backdoor(uint64_t command, void *data);

void qemu_backdoor_init(uint64_t size)
{
    fprintf(stderr, "old init %" PRIu64 "\n", size);
}

void qemu_backdoor(uint64_t command, void *data)
{
    fprintf(stderr, "old command 0x%" PRIx64 "\n", command);
}
