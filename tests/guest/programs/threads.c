// SPDX-License-Identifier: BSD-3-Clause
/*
 * threads COUNT: two threads that make COUNT calls each, through one backdoor. The halves of a
 * command are (thread, n) and (n, thread), so that halves that do not belong together are seen.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include <outboard/backdoor.h>

static struct ob_backdoor *backdoor;
static unsigned count;

static void *make_calls(void *argument)
{
    uint64_t thread = *(const unsigned *)argument;
    for (uint64_t n = 1; n <= count; n++) {
        uint64_t half = thread << 16 | n;
        struct ob_fault fault = {0};
        if (ob_backdoor_call(backdoor, half << 32 | half, &fault) < 0) {
            fprintf(stderr, "%s\n", fault.text);
            exit(1);
        }
    }
    return NULL;
}

int main(int argc, char **argv)
{
    static const unsigned numbers[2] = {1, 2};
    pthread_t threads[2];
    struct ob_fault fault = {0};
    count = (unsigned)atoi(argv[1]);
    if (ob_backdoor_open(&backdoor, &fault) < 0) {
        fprintf(stderr, "%s\n", fault.text);
        return 1;
    }
    for (int i = 0; i < 2; i++)
        if (pthread_create(&threads[i], NULL, make_calls, (void *)&numbers[i]) != 0)
            return 1;
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    ob_backdoor_close(backdoor);
    return 0;
}
