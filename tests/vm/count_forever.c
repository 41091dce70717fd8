// SPDX-License-Identifier: BSD-3-Clause
/*
 * In the guest: writes and reads the registers of examples/counter.c until a line comes on standard
 * input. Each write must be done once, each read must be counted once. Prints the number of
 * rounds, or the fault.
 */
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define DEVICES "/sys/bus/pci/devices"

static int read_id(const char *device, const char *name)
{
    char path[512];
    unsigned id = 0;
    snprintf(path, sizeof(path), DEVICES "/%s/%s", device, name);
    FILE *file = fopen(path, "r");
    if (!file)
        return -1;
    if (fscanf(file, "%x", &id) != 1)
        id = 0;
    fclose(file);
    return (int)id;
}

static volatile uint32_t *map(const char *device)
{
    char path[512];
    snprintf(path, sizeof(path), DEVICES "/%s/enable", device);
    int fd = open(path, O_WRONLY);
    if (fd < 0 || write(fd, "1", 1) != 1)
        return NULL;
    close(fd);
    snprintf(path, sizeof(path), DEVICES "/%s/resource0", device);
    fd = open(path, O_RDWR | O_SYNC);
    void *address =
        fd < 0 ? MAP_FAILED : mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    return address == MAP_FAILED ? NULL : address;
}

static volatile uint32_t *find(void)
{
    DIR *folder = opendir(DEVICES);
    for (struct dirent *entry; folder && (entry = readdir(folder));)
        if (read_id(entry->d_name, "vendor") == 0x1af4 &&
            read_id(entry->d_name, "device") == 0x10f3)
            return map(entry->d_name);
    return NULL;
}

int main(void)
{
    volatile uint32_t *registers = find();
    uint32_t sum = 0, rounds = 0;
    struct pollfd input = {.fd = 0, .events = POLLIN};
    if (!registers) {
        puts("no counter");
        return 1;
    }
    setbuf(stdout, NULL);
    puts("counting");
    while (poll(&input, 1, 0) == 0) {
        uint32_t add = rounds * 7 + 1;
        registers[0] = add;
        sum += add;
        uint32_t got = registers[0], reads = registers[1];
        if (got != sum || reads != rounds) {
            printf("round %u: got sum %u and %u reads, expected %u and %u\n", rounds, got, reads,
                   sum, rounds);
            return 1;
        }
        if (++rounds % 1000 == 0)
            puts("progress");
    }
    printf("counted %u rounds\n", rounds);
    return 0;
}
