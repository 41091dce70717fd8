// SPDX-License-Identifier: BSD-3-Clause
/*
 * Host code for the tests of the backdoor: tells on standard error what reaches it.
 *
 * Commands: FILL writes a pattern into all of the data channel, CHECK tells whether the guest has
 * written the other one, CRASH ends the process as a bug would. All others are only told.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include <outboard/backdoor_host.h>

#define FILL  UINT64_C(0xf111)
#define CHECK UINT64_C(0xc4ec)
#define CRASH UINT64_C(0xdead)

OB_API void backdoor_init(uint64_t size);
OB_API void backdoor(uint64_t command, void *data);
OB_API void backdoor_fini(void);

static uint64_t data_len;

void backdoor_init(uint64_t size)
{
    data_len = size;
    fprintf(stderr, "init %" PRIu64 "\n", size);
}

/* Every byte has another value than its neighbours, also those a power of two away. */
static uint8_t pattern(uint64_t offset, uint8_t salt)
{
    return (uint8_t)(offset * 7 + offset / 251 + salt);
}

static void check(const volatile uint8_t *data)
{
    uint64_t wrong = 0;
    for (uint64_t i = 0; i < data_len; i++)
        wrong += data[i] != pattern(i, 100);
    fprintf(stderr, "wrong bytes: %" PRIu64 "\n", wrong);
}

void backdoor(uint64_t command, void *data)
{
    volatile uint8_t *bytes = data;
    fprintf(stderr, "command 0x%016" PRIx64 "\n", command);
    if (command == FILL)
        for (uint64_t i = 0; i < data_len; i++)
            bytes[i] = pattern(i, 0);
    if (command == CHECK)
        check(bytes);
    if (command == CRASH)
        abort();
}

void backdoor_fini(void)
{
    fprintf(stderr, "fini\n");
}
