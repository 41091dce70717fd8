// SPDX-License-Identifier: BSD-3-Clause
/*
 * Code behind a backdoor whose calls take a while. Words of its data channel: 0: calls that are done; 1: calls
 * that were cut short.
 */
#include <time.h>

#include <outboard/backdoor_host.h>

#define CALL_NS 30000000

static uint64_t words[2]; /* outlive the process */

static int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

static void tell(uint64_t *channel)
{
    channel[0] = words[0];
    channel[1] = words[1];
}

void backdoor(uint64_t command, void *data)
{
    for (int64_t end_ns = now_ns() + CALL_NS; now_ns() < end_ns;)
        ;
    words[0] += command;
    tell(data);
}

int backdoor_cut(uint64_t command, void *data)
{
    (void)command;
    words[1]++;
    tell(data);
    return OB_BACKDOOR_REPORTED;
}

void *backdoor_state(size_t *ret_len)
{
    *ret_len = sizeof(words);
    return words;
}
