// SPDX-License-Identifier: BSD-3-Clause
/*
 * Drives the device as a VMM does, over each wire and each way to guest memory: sum_test PROGRAM.
 *
 * The client library (outboard/client.h) is the VMM's side. No guest is needed.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <outboard/client.h>
#include <outboard/client_irq.h>
#include <outboard/client_memory.h>
#include <outboard/client_state.h>

#define PCI_COMMAND        4
#define PCI_COMMAND_MASTER 4u
#define MEMORY_LEN         65536u
#define PATIENCE_MS        10000

enum {
    REG_ADDRESS = 0,
    REG_LENGTH = 8,
    REG_START = 12,
    REG_STATUS = 16,
    REG_SUM = 24
};
enum {
    IDLE,
    BUSY,
    DONE,
    FAILED
};

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);                \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

/* How the device is reached. */
struct way {
    const char *wire;
    const char *dma; /* an option of the program */
    bool by_messages;
};

/* A VMM with one device. */
struct machine {
    pid_t program;
    struct ob_client *client;
    uint8_t *memory; /* the guest's, from address 0 on */
    bool interrupted;
};

static void interrupt(void *argument)
{
    ((struct machine *)argument)->interrupted = true;
}

/* Starts the program with one end of a socket pair, as a VMM's launcher does. */
static pid_t spawn(const char *path, const struct way *way, int ret_fd[2])
{
    char fd[16], wire[32];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, ret_fd) == 0);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid > 0)
        return pid;
    close(ret_fd[0]);
    snprintf(fd, sizeof(fd), "--fd=%d", ret_fd[1]);
    snprintf(wire, sizeof(wire), "--wire=%s", way->wire);
    execl(path, path, fd, wire, way->dma, NULL);
    _exit(127);
}

static void share_memory(struct machine *machine, const struct way *way)
{
    struct ob_client_region region = {.gpa = 0, .len = MEMORY_LEN, .fd = -1};
    int fd = memfd_create("guest", MFD_CLOEXEC);
    CHECK(fd >= 0 && ftruncate(fd, MEMORY_LEN) == 0);
    machine->memory = mmap(NULL, MEMORY_LEN, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(machine->memory != MAP_FAILED);
    if (way->by_messages)
        region.memory = machine->memory;
    else
        region.fd = fd;
    CHECK(ob_client_publish_memory(machine->client, &region, 1, NULL) == 0);
    close(fd);
}

/* The work of firmware and driver: addresses for the BARs, bus mastering. */
static void enable(struct machine *machine)
{
    uint32_t command;
    CHECK(ob_client_place_bars(machine->client, 0xfe000000, 0xc000) == 0);
    CHECK(ob_client_config_read(machine->client, PCI_COMMAND, 2, &command) == 0);
    command |= PCI_COMMAND_MASTER;
    CHECK(ob_client_config_write(machine->client, PCI_COMMAND, 2, command) == 0);
}

static void power_on(struct machine *machine, const char *path, const struct way *way)
{
    struct ob_client_options options = {.size = sizeof(options),
                                        .wire = way->wire,
                                        .callbacks.intx_raised = interrupt,
                                        .argument = machine};
    struct ob_client_info info;
    struct ob_fault fault = {0};
    int fd[2];
    *machine = (struct machine){.program = spawn(path, way, fd)};
    close(fd[1]);
    CHECK(ob_client_new(fd[0], &options, &machine->client, &fault) == 0);
    share_memory(machine, way);
    CHECK(ob_client_probe(machine->client, &info, &fault) == 0);
    CHECK(info.intx && info.bars[0].size == 4096);
    enable(machine);
    CHECK(ob_client_emulate_intx(machine->client) == 0);
}

/* The program ends with its VMM. */
static void power_off(struct machine *machine)
{
    int status;
    ob_client_free(machine->client);
    CHECK(waitpid(machine->program, &status, 0) == machine->program);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    munmap(machine->memory, MEMORY_LEN);
}

static void put(struct machine *machine, unsigned reg, unsigned size, uint64_t value)
{
    CHECK(ob_client_bar_write(machine->client, 0, reg, size, value) == 0);
}

static uint64_t get(struct machine *machine, unsigned reg, unsigned size)
{
    uint64_t value;
    CHECK(ob_client_bar_read(machine->client, 0, reg, size, &value) == 0);
    return value;
}

static void ask(struct machine *machine, uint64_t address, uint32_t length)
{
    put(machine, REG_ADDRESS, 8, address);
    put(machine, REG_LENGTH, 4, length);
    put(machine, REG_START, 4, 1);
}

static void wait_for_interrupt(struct machine *machine)
{
    struct pollfd ready = {.fd = ob_client_fd(machine->client), .events = POLLIN};
    while (!machine->interrupted) {
        CHECK(poll(&ready, 1, PATIENCE_MS) == 1);
        ob_client_dispatch(machine->client);
    }
    machine->interrupted = false;
    put(machine, REG_STATUS, 4, 0); /* first the device's end, then the controller's */
    ob_client_intx_eoi(machine->client);
}

static void check_sums(struct machine *machine)
{
    memset(machine->memory + 100, 3, 1000);
    ask(machine, 100, 1000);
    wait_for_interrupt(machine);
    CHECK(get(machine, REG_STATUS, 4) == DONE && get(machine, REG_SUM, 8) == 3000);
    memset(machine->memory, 0xff, MEMORY_LEN);
    ask(machine, 0, MEMORY_LEN);
    wait_for_interrupt(machine);
    CHECK(get(machine, REG_SUM, 8) == 255ull * MEMORY_LEN);
}

/* Ranges that are not memory, lengths out of bounds: an answer, and the device continues. */
static void check_slips(struct machine *machine)
{
    const struct {
        uint64_t address;
        uint32_t length;
    } slips[] = {{0, 0}, {0, MEMORY_LEN + 1}, {1, MEMORY_LEN}, {UINT64_MAX, 2}, {1ull << 40, 1}};
    for (size_t i = 0; i < sizeof(slips) / sizeof(slips[0]); i++) {
        ask(machine, slips[i].address, slips[i].length);
        wait_for_interrupt(machine);
        CHECK(get(machine, REG_STATUS, 4) == FAILED);
    }
    CHECK(ob_client_reset(machine->client) == 0);
    enable(machine);
    CHECK(get(machine, REG_STATUS, 4) == IDLE && get(machine, REG_ADDRESS, 8) == 0);
}

/* A device that is stopped in the midst of its work, and continues in another process. */
static void check_save_and_load(const char *path, const struct way *way)
{
    struct machine from, to;
    uint8_t state[65536];
    size_t len = 0;
    ssize_t got;
    power_on(&from, path, way);
    CHECK(ob_client_set_run_state(from.client, OB_CLIENT_STOPPED) == 0);
    ask(&from, 0, 16); /* waits, for a device that is stopped starts nothing */
    CHECK(get(&from, REG_STATUS, 4) == BUSY);
    CHECK(ob_client_set_run_state(from.client, OB_CLIENT_SAVING) == 0);
    while ((got = ob_client_save(from.client, state + len, sizeof(state) - len)) > 0)
        len += (size_t)got;
    CHECK(got == 0);
    power_off(&from);

    power_on(&to, path, way);
    memset(to.memory, 5, 16);
    CHECK(ob_client_set_run_state(to.client, OB_CLIENT_STOPPED) == 0);
    CHECK(ob_client_set_run_state(to.client, OB_CLIENT_LOADING) == 0);
    CHECK(ob_client_load(to.client, state, len) == 0);
    CHECK(ob_client_set_run_state(to.client, OB_CLIENT_STOPPED) == 0);
    CHECK(ob_client_set_run_state(to.client, OB_CLIENT_RUNNING) == 0);
    wait_for_interrupt(&to);
    CHECK(get(&to, REG_STATUS, 4) == DONE && get(&to, REG_SUM, 8) == 80);
    power_off(&to);
}

int main(int argc, char **argv)
{
    const struct way ways[] = {{"mpqemu", "--dma=shared", false},
                               {"vfio-user", "--dma=shared", false},
                               {"vfio-user", "--dma=messages", true}};
    if (argc != 2)
        return fprintf(stderr, "usage: %s PROGRAM\n", argv[0]), 2;
    for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
        struct machine machine;
        power_on(&machine, argv[1], &ways[i]);
        check_sums(&machine);
        check_slips(&machine);
        power_off(&machine);
    }
    check_save_and_load(argv[1], &ways[1]);
    check_save_and_load(argv[1], &ways[2]);
    return 0;
}
