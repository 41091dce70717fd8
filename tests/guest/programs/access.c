// SPDX-License-Identifier: BSD-3-Clause
/*
 * access FILE ACCESS...: loads and stores of a given width in a mapped file, such as a BAR's
 * resource file. ACCESS is rSIZE:OFFSET, which prints the value, or wSIZE:OFFSET:VALUE.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

static uint64_t load(volatile void *at, unsigned size)
{
    switch (size) {
    case 1:
        return *(volatile uint8_t *)at;
    case 2:
        return *(volatile uint16_t *)at;
    case 4:
        return *(volatile uint32_t *)at;
    case 8:
        return *(volatile uint64_t *)at;
    default:
        exit(2);
    }
}

static void store(volatile void *at, unsigned size, uint64_t value)
{
    switch (size) {
    case 1:
        *(volatile uint8_t *)at = (uint8_t)value;
        break;
    case 2:
        *(volatile uint16_t *)at = (uint16_t)value;
        break;
    case 4:
        *(volatile uint32_t *)at = (uint32_t)value;
        break;
    case 8:
        *(volatile uint64_t *)at = value;
        break;
    default:
        exit(2);
    }
}

int main(int argc, char **argv)
{
    int fd = argc > 1 ? open(argv[1], O_RDWR) : -1;
    volatile char *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (page == MAP_FAILED)
        return 1;
    for (int i = 2; i < argc; i++) {
        char kind;
        unsigned size, offset;
        uint64_t value;
        int fields = sscanf(argv[i], "%c%u:%i:%" SCNi64, &kind, &size, &offset, &value);
        if (fields == 3 && kind == 'r')
            printf("0x%" PRIx64 "\n", load(page + offset, size));
        else if (fields == 4 && kind == 'w')
            store(page + offset, size, value);
        else
            return 2;
    }
    return 0;
}
