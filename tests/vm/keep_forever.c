// SPDX-License-Identifier: BSD-3-Clause
/*
 * A VMM of examples/counter.c in a guest: keep_forever SOCKET FOLDER. It shares memory, and writes and reads the
 * registers until FOLDER/stop is there. While FOLDER/pause is there, it waits, and FOLDER/idle tells so. Each write must be done once, each read must be counted once. After each
 * round, FOLDER/rounds holds the number of rounds; at the end, FOLDER/result tells "counted", or the fault.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <outboard/client.h>
#include <outboard/client_memory.h>

#define MEMORY_LEN (1u << 20)

static const char *folder;

static _Noreturn void end(const char *result, unsigned rounds)
{
    char path[256];
    snprintf(path, sizeof(path), "%s/result", folder);
    FILE *file = fopen(path, "w");
    if (file)
        fprintf(file, "%s, round %u\n", result, rounds);
    exit(file && fclose(file) == 0 ? 0 : 1);
}

static void check(int is_so, const char *what, unsigned rounds)
{
    if (!is_so)
        end(what, rounds);
}

/* Leaves the guest's processor to others. While nothing is asked, no message can become too old. */
static void rest(void)
{
    char pause[256], idle[256];
    snprintf(pause, sizeof(pause), "%s/pause", folder);
    snprintf(idle, sizeof(idle), "%s/idle", folder);
    poll(NULL, 0, 1);
    if (access(pause, F_OK) != 0)
        return;
    int fd = open(idle, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    while (access(pause, F_OK) == 0)
        poll(NULL, 0, 1);
    unlink(idle);
    close(fd);
}

static struct ob_client *connect_to(const char *path)
{
    const struct ob_client_options options = {
        .size = sizeof(options), .wire = "vfio-user", .timeout_ms = 60000};
    struct ob_client *client;
    struct ob_client_info info;
    int memory = memfd_create("memory", MFD_CLOEXEC);
    const struct ob_client_region region = {.gpa = 0, .len = MEMORY_LEN, .fd = memory};
    check(memory >= 0 && ftruncate(memory, MEMORY_LEN) == 0, "no memory", 0);
    check(ob_client_connect(path, &options, &client, NULL) == 0, "can't connect", 0);
    check(ob_client_map_memory(client, &region, NULL) == 0, "can't map memory", 0);
    check(ob_client_probe(client, &info, NULL) == 0, "can't probe", 0);
    return client;
}

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    folder = argv[2];
    char stop[256], rounds_path[256], text[16];
    snprintf(stop, sizeof(stop), "%s/stop", folder);
    snprintf(rounds_path, sizeof(rounds_path), "%s/rounds", folder);
    struct ob_client *client = connect_to(argv[1]);
    int fd = open(rounds_path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    uint64_t value;
    uint32_t sum = 0;
    unsigned rounds = 0;
    for (; access(stop, F_OK) != 0; rounds++) {
        rest();
        uint32_t add = rounds % 97 + 1;
        check(ob_client_bar_write(client, 0, 0, 4, add) == 0, "a write failed", rounds);
        sum += add;
        check(ob_client_bar_read(client, 0, 0, 4, &value) == 0, "a read failed", rounds);
        check(value == sum, "the sum is another", rounds);
        check(ob_client_bar_read(client, 0, 4, 4, &value) == 0, "a read failed", rounds);
        check(value == rounds, "the number of reads is another", rounds);
        int len = snprintf(text, sizeof(text), "%10u\n", rounds + 1);
        check(pwrite(fd, text, (size_t)len, 0) == len, "can't tell the rounds", rounds);
    }
    ob_client_free(client);
    end("counted", rounds);
}
