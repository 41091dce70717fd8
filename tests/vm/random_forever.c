// SPDX-License-Identifier: BSD-3-Clause
/*
 * In the guest: reads random bytes from /dev/hwrng until a line comes on standard input. No block of
 * 64 bytes may be the one before, or zeroes. Prints how many there were, or the fault.
 */
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int main(void)
{
    unsigned char last[64] = {0}, now[64];
    unsigned blocks = 0;
    struct pollfd input = {.fd = 0, .events = POLLIN};
    int fd = open("/dev/hwrng", O_RDONLY);
    setbuf(stdout, NULL);
    puts("reading");
    while (poll(&input, 1, 0) == 0) {
        size_t have = 0;
        while (have < sizeof(now)) {
            ssize_t got = read(fd, now + have, sizeof(now) - have);
            if (got <= 0) {
                perror("hwrng");
                return 1;
            }
            have += (size_t)got;
        }
        if (memcmp(now, last, sizeof(now)) == 0 || memcmp(now, now + 32, 32) == 0) {
            printf("block %u came twice\n", blocks);
            return 1;
        }
        memcpy(last, now, sizeof(now));
        if (++blocks % 10 == 0)
            puts("progress");
    }
    printf("read %u blocks\n", blocks);
    return 0;
}
