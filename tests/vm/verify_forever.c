// SPDX-License-Identifier: BSD-3-Clause
/*
 * In the guest: several processes write and read a disk past the cache, each its own part, until a
 * line comes on standard input. Each block must hold the contents that were written last. Prints the
 * number of blocks, or the fault.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define WORKERS 6u
#define BLOCK   8192u
#define BLOCKS  64u

struct shared {
    volatile int stop;
    volatile unsigned long done[WORKERS];
};

static void fill(uint64_t *buffer, unsigned block, uint64_t version)
{
    for (unsigned i = 0; i < BLOCK / 16; i++) {
        buffer[2 * i] = version ? block : 0;
        buffer[2 * i + 1] = version;
    }
}

static int work(const char *disk, unsigned number, struct shared *shared)
{
    static uint64_t version[BLOCKS], expected[BLOCK / 8];
    uint64_t *buffer, next = 0;
    int fd = open(disk, O_RDWR | O_DIRECT);
    if (fd < 0 || posix_memalign((void **)&buffer, 4096, BLOCK) != 0)
        return printf("worker %u: %s\n", number, strerror(errno)), 1;
    srandom(number);
    while (!shared->stop) {
        unsigned block = (unsigned)random() % BLOCKS;
        off_t at = ((off_t)number * BLOCKS + block) * BLOCK;
        ssize_t len;
        if (random() % 2) {
            fill(buffer, block, ++next);
            len = pwrite(fd, buffer, BLOCK, at);
            version[block] = next;
        } else {
            memset(buffer, 0xee, BLOCK);
            len = pread(fd, buffer, BLOCK, at);
            fill(expected, block, version[block]);
            if (len == BLOCK && memcmp(buffer, expected, BLOCK) != 0)
                return printf("worker %u: block %u has version %lu, expected %lu\n", number, block,
                              (unsigned long)buffer[1], (unsigned long)version[block]),
                       1;
        }
        if (len != BLOCK)
            return printf("worker %u: got %zd: %s\n", number, len, strerror(errno)), 1;
        shared->done[number]++;
    }
    return 0;
}

/* Each worker has got on since the last time, so that no command waits for ever. */
static void tell(const struct shared *shared)
{
    static unsigned long told[WORKERS];
    for (unsigned i = 0; i < WORKERS; i++)
        if (shared->done[i] == told[i])
            return;
    for (unsigned i = 0; i < WORKERS; i++)
        told[i] = shared->done[i];
    puts("progress");
}

int main(int argc, char **argv)
{
    struct pollfd input = {.fd = 0, .events = POLLIN};
    struct shared *shared =
        mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    unsigned long total = 0;
    int status, failed = argc != 2 || shared == MAP_FAILED;
    setbuf(stdout, NULL);
    for (unsigned i = 0; i < WORKERS && !failed; i++)
        if (fork() == 0)
            _exit(work(argv[1], i, shared));
    puts("verifying");
    while (!failed && poll(&input, 1, 100) == 0)
        tell(shared);
    if (!failed)
        shared->stop = 1;
    while (wait(&status) > 0)
        failed |= status != 0;
    for (unsigned i = 0; i < WORKERS && !failed; i++)
        total += shared->done[i];
    printf(failed ? "failed\n" : "verified %lu blocks\n", total);
    return failed;
}
