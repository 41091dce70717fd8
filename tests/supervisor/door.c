// SPDX-License-Identifier: BSD-3-Clause
/*
 * Code behind a backdoor that dies in the midst of a call; built with FILE_NAME, where it leaves a
 * letter for each effect. The data channel has words of 64 bits.
 *
 * word 0: 1: dies before its effect, 2: dies behind it
 * word 1: how many calls were cut short, as cut() has told
 * word 2: the sum of all commands that are done
 *
 * A command with REPEAT in it is repeated, any other is reported.
 */
#include <fcntl.h>
#include <stdbool.h>
#include <unistd.h>

#include <outboard/backdoor_host.h>

#define REPEAT 0x100u

static int file_fd = -1;
static bool repeats;
static uint64_t sum; /* outlives the process */

__attribute__((constructor)) static void open_file(void)
{
    file_fd = open(FILE_NAME, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
}

static void die(const uint64_t *words, uint64_t when)
{
    if (words[0] == when && !repeats)
        __builtin_trap();
}

void backdoor(uint64_t command, void *data)
{
    uint64_t *words = data;
    const char letter = repeats ? 'r' : 'e';
    die(words, 1);
    if (write(file_fd, &letter, 1) != 1)
        __builtin_trap();
    sum += command;
    die(words, 2);
    words[2] = sum;
    repeats = false;
}

int backdoor_cut(uint64_t command, void *data)
{
    uint64_t *words = data;
    words[1]++;
    repeats = command & REPEAT;
    return repeats ? OB_BACKDOOR_REPEAT : OB_BACKDOOR_REPORTED;
}

void *backdoor_state(size_t *ret_len)
{
    *ret_len = sizeof(sum);
    return &sum;
}
