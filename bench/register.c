// SPDX-License-Identifier: BSD-3-Clause
/*
 * What a register access costs: the round trip of a configuration read and of a BAR read to the
 * real outboard-backdoor over its socket.
 *
 * Three modes, each with what it is compared to, measured in turns:
 *   polling   both ends poll           against a bare ping-pong whose ends poll
 *   blocking  both ends block          against a bare ping-pong whose ends block
 *   default   the device's own options against QEMU's x-remote; the client blocks
 * The bare ping-pong is two processes that do nothing but send and receive messages of these sizes.
 * All clients are this process: a plain send and a plain receive. With --processors=2, which is the
 * default, client and server are bound to a processor each, with 1 both to the same one: where the
 * scheduler happens to put two processes decides more about a round trip than what they do.
 *
 * Then the time from the start of a program to its READY=1, and what memory it has when it serves.
 */
#include <errno.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "os/clock.h"
#include "os/socket.h"
#include "process.h"
#include "statistics.h"
#include "wire/mpqemu.h"

#define MAX_ROUNDS     2000
#define BURST          40 /* accesses timed in a round */
#define WARM_UP        20 /* accesses before them: enough for a server to begin to poll */
#define STARTS         20
#define FLOOR_SPINS    100000
#define PROGRAMMED_BAR 0xfe000000u

struct setup {
    const char *device;  /* the program outboard-backdoor */
    const char *library; /* its callbacks */
    const char *qemu;
    unsigned rounds;
    const char *placement; /* --processors */
    struct bench_processors processors;
};

struct request {
    uint8_t bytes[MPQEMU_HEADER_LEN + MPQEMU_UNION_LEN];
    size_t len;
};

/* A remote device, or what stands in for one. */
struct peer {
    struct bench_process process;
    struct request config_read;
    struct request bar_read;
};

enum access {
    ACCESS_CONFIG,
    ACCESS_BAR,
    ACCESS_COUNT,
};

struct result {
    double ratio[ACCESS_COUNT];
    double device_us[ACCESS_COUNT];
    double other_us[ACCESS_COUNT];
};

static struct request request_of(enum mpqemu_command command, size_t len)
{
    struct request request = {.len = MPQEMU_HEADER_LEN + len};
    const struct mpqemu_header header = {
        .number = (uint32_t)mpqemu_command_number(MPQEMU_SHIPPED, command), .size = len};
    mpqemu_header_put(request.bytes, MPQEMU_HEADER_LEN, &header);
    return request;
}

static struct request config_request(enum mpqemu_command command, uint32_t offset, uint32_t len,
                                     uint32_t value)
{
    struct request request = request_of(command, MPQEMU_CONFIG_LEN);
    const struct mpqemu_config_access access = {.offset = offset, .value = value, .len = len};
    mpqemu_config_put(request.bytes + MPQEMU_HEADER_LEN, MPQEMU_CONFIG_LEN, &access);
    return request;
}

static struct request bar_read_request(uint64_t address, uint32_t size)
{
    struct request request = request_of(MPQEMU_BAR_READ, MPQEMU_BAR_LEN);
    const struct mpqemu_bar_access access = {.address = address, .size = size, .memory = 1};
    mpqemu_bar_put(request.bytes + MPQEMU_HEADER_LEN, MPQEMU_BAR_LEN, &access);
    return request;
}

static uint64_t round_trip(int fd, const struct request *request, bool polls)
{
    uint8_t reply[MPQEMU_HEADER_LEN + MPQEMU_RET_LEN];
    size_t len = 0;
    if (send(fd, request->bytes, request->len, 0) != (ssize_t)request->len)
        bench_die("a request was not taken: %s", strerror(errno));
    while (len < sizeof(reply)) {
        ssize_t got = recv(fd, reply + len, sizeof(reply) - len, polls ? MSG_DONTWAIT : 0);
        if (got > 0)
            len += (size_t)got;
        else if (got == 0 || errno != EAGAIN)
            bench_die("no reply: %s", got ? strerror(errno) : "the peer has gone");
    }
    uint64_t value;
    memcpy(&value, reply + MPQEMU_HEADER_LEN, sizeof(value));
    return value;
}

/* Microseconds of one access, on average over a burst of them. */
static double burst_us(int fd, const struct request *request, bool polls)
{
    for (int i = 0; i < WARM_UP; i++)
        round_trip(fd, request, polls);
    uint64_t start_ns = clock_now_ns();
    for (int i = 0; i < BURST; i++)
        round_trip(fd, request, polls);
    return (double)(clock_now_ns() - start_ns) / BURST / 1000;
}

/* The bare ping-pong's other end. It polls for a while after each message, or not at all. */
static void pong(int fd, unsigned spins)
{
    uint8_t message[sizeof(struct request)];
    const uint8_t reply[MPQEMU_HEADER_LEN + MPQEMU_RET_LEN] = {0};
    for (;;) {
        ssize_t got = -1;
        for (unsigned i = 0; got < 0 && i < spins; i++)
            got = recv(fd, message, sizeof(message), MSG_DONTWAIT);
        if (got < 0)
            got = recv(fd, message, sizeof(message), 0);
        if (got <= 0 || send(fd, reply, sizeof(reply), 0) < 0)
            return;
    }
}

static void pong_polling(int fd)
{
    pong(fd, FLOOR_SPINS);
}

static void pong_blocking(int fd)
{
    pong(fd, 0);
}

static void publish_memory(int fd)
{
    const uint64_t len = 1 << 20;
    struct mpqemu_sysmem sysmem = {.sizes = {len}};
    struct request request = request_of(MPQEMU_SYNC_SYSMEM, MPQEMU_UNION_LEN);
    mpqemu_sysmem_put(request.bytes + MPQEMU_HEADER_LEN, MPQEMU_UNION_LEN, &sysmem);
    int memory = memfd_create("bench-ram", MFD_CLOEXEC);
    if (memory < 0 || ftruncate(memory, (off_t)len) < 0)
        bench_die("no memory to share: %s", strerror(errno));
    if (socket_send(fd, request.bytes, request.len, memory) != (ssize_t)request.len)
        bench_die("the memory table was not taken");
    close(memory);
}

/* Does what a VMM does before a driver uses the device: memory, the BAR's address, decoding on. */
static void set_up(struct peer *peer, unsigned bar, uint32_t offset)
{
    int fd = peer->process.fd;
    publish_memory(fd);
    peer->config_read = config_request(MPQEMU_CONFIG_READ, 0x00, 4, 0);
    /* QEMU answers what waits on the socket before its own first reset, which would undo what
     * follows; once it sleeps it has answered and is past that. */
    round_trip(fd, &peer->config_read, false);
    bench_wait_asleep(peer->process.pid);
    struct request program = config_request(MPQEMU_CONFIG_WRITE, 0x10 + 4 * bar, 4, PROGRAMMED_BAR);
    struct request enable = config_request(MPQEMU_CONFIG_WRITE, 0x04, 2, 0x0006);
    round_trip(fd, &program, false);
    round_trip(fd, &enable, false);
    peer->bar_read = bar_read_request(PROGRAMMED_BAR + offset, 4);
    if (round_trip(fd, &peer->bar_read, false) == UINT64_MAX)
        bench_die("the device does not answer at its BAR");
}

static struct bench_process start_device(const struct setup *setup, char *poll_option,
                                         const char *notify_path)
{
    char library[512];
    snprintf(library, sizeof(library), "--library=%s", setup->library);
    char *argv[] = {(char *)setup->device, "--fd=3", library, poll_option, NULL};
    return bench_start(argv, setup->processors.server, notify_path);
}

static struct peer device_peer(const struct setup *setup, char *poll_option)
{
    struct peer peer = {.process = start_device(setup, poll_option, NULL)};
    set_up(&peer, 0, 0); /* BAR 0 of the backdoor is its control register */
    return peer;
}

static struct peer qemu_peer(const struct setup *setup)
{
    char *argv[] = {(char *)setup->qemu,
                    "-nodefaults",
                    "-display",
                    "none",
                    "-machine",
                    "x-remote",
                    "-device",
                    "lsi53c895a,id=lsi",
                    "-object",
                    "x-remote-object,id=remote,devid=lsi,fd=3",
                    NULL};
    struct peer peer = {.process = bench_start(argv, setup->processors.server, NULL)};
    set_up(&peer, 1, 0x1c); /* BAR 1 of the 53C895A is its registers; TEMP has no side effect */
    return peer;
}

static struct peer floor_peer(const struct setup *setup, void (*run)(int fd))
{
    return (struct peer){.process = bench_fork(run, setup->processors.server),
                         .config_read = config_request(MPQEMU_CONFIG_READ, 0, 4, 0),
                         .bar_read = bar_read_request(0, 4)};
}

/* One row of measurements of each, in turns whose order alternates. */
static void measure_access(const struct setup *setup, const struct peer *device,
                           const struct peer *other, enum access access, bool polls,
                           struct result *result)
{
    static double device_us[MAX_ROUNDS], other_us[MAX_ROUNDS], scratch[MAX_ROUNDS];
    const struct request *mine = access == ACCESS_CONFIG ? &device->config_read : &device->bar_read;
    const struct request *theirs = access == ACCESS_CONFIG ? &other->config_read : &other->bar_read;
    for (unsigned i = 0; i < setup->rounds; i++) {
        if (i % 2)
            other_us[i] = burst_us(other->process.fd, theirs, polls);
        device_us[i] = burst_us(device->process.fd, mine, polls);
        if (i % 2 == 0)
            other_us[i] = burst_us(other->process.fd, theirs, polls);
    }
    result->ratio[access] = statistics_median_ratio(device_us, other_us, scratch, setup->rounds);
    result->device_us[access] = statistics_median(device_us, setup->rounds);
    result->other_us[access] = statistics_median(other_us, setup->rounds);
}

static struct result measure(const struct setup *setup, struct peer *device, struct peer *other,
                             bool polls)
{
    struct result result;
    measure_access(setup, device, other, ACCESS_CONFIG, polls, &result);
    measure_access(setup, device, other, ACCESS_BAR, polls, &result);
    return result;
}

static struct result measure_against_floor(const struct setup *setup, bool polls)
{
    struct peer device = device_peer(setup, polls ? "--poll-us=1000" : "--poll-us=0");
    struct peer floor = floor_peer(setup, polls ? pong_polling : pong_blocking);
    struct result result = measure(setup, &device, &floor, polls);
    bench_end(&device.process);
    bench_end(&floor.process);
    return result;
}

/* Also tells what memory both have after all that they did. */
static struct result measure_against_qemu(const struct setup *setup,
                                          struct bench_memory *ret_device,
                                          struct bench_memory *ret_qemu)
{
    struct peer device = device_peer(setup, NULL);
    struct peer qemu = qemu_peer(setup);
    struct result result = measure(setup, &device, &qemu, false);
    *ret_device = bench_memory_of(device.process.pid);
    *ret_qemu = bench_memory_of(qemu.process.pid);
    bench_end(&device.process);
    bench_end(&qemu.process);
    return result;
}

/* Milliseconds from the start of the program to its READY=1, the median of some starts. */
static double measure_ready_ms(const struct setup *setup)
{
    double ms[STARTS];
    char path[64];
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int len = snprintf(path, sizeof(path), "@outboard-bench-%d", (int)getpid());
    memcpy(address.sun_path + 1, path + 1, (size_t)len - 1);
    int notified = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    socklen_t address_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + (size_t)len);
    if (notified < 0 || bind(notified, (struct sockaddr *)&address, address_len) < 0)
        bench_die("can't listen for READY=1: %s", strerror(errno));
    for (int i = 0; i < STARTS; i++) {
        char text[512] = "";
        struct bench_process device = start_device(setup, NULL, path);
        while (!strstr(text, "READY=1")) {
            ssize_t got = recv(notified, text, sizeof(text) - 1, 0);
            text[got > 0 ? got : 0] = '\0';
        }
        ms[i] = (double)(clock_now_ns() - device.started_ns) / 1e6;
        bench_end(&device);
    }
    close(notified);
    return statistics_median(ms, STARTS);
}

static void print_row(const char *what, double value, const char *unit, double target, bool at_most)
{
    bool met = at_most ? value <= target : value >= target;
    fprintf(stderr, "%-48s %8.2f %-4s  %s %.2f  %s\n", what, value, unit,
            at_most ? "at most" : "at least", target, met ? "met" : "MISSED");
}

static void print_times(const char *what, const struct result *result, enum access access)
{
    fprintf(stderr, "%-48s %8.2f us against %.2f us\n", what, result->device_us[access],
            result->other_us[access]);
}

static void print_table(const struct result *polling, const struct result *blocking,
                        const struct result *usual, double ready_ms,
                        const struct bench_memory *memory)
{
    static const char *const names[] = {"config read", "BAR read"};
    char what[64];
    for (enum access i = 0; i < ACCESS_COUNT; i++) {
        snprintf(what, sizeof(what), "%s, polling, over the floor", names[i]);
        print_row(what, polling->ratio[i], "x", 1.3, true);
        print_times("", polling, i);
        snprintf(what, sizeof(what), "%s, blocking, over the floor", names[i]);
        print_row(what, blocking->ratio[i], "x", 1.3, true);
        print_times("", blocking, i);
        snprintf(what, sizeof(what), "%s, defaults, x-remote over ours", names[i]);
        print_row(what, 1 / usual->ratio[i], "x", 2, false);
        print_times("", usual, i);
    }
    print_row("start to READY", ready_ms, "ms", 10, true);
    print_row("private memory", (double)memory[0].private_kib / 1024, "MiB", 1, true);
    print_row("resident memory", (double)memory[0].resident_kib / 1024, "MiB", 4, true);
    fprintf(stderr, "%-48s %8.2f MiB private, %.2f MiB resident\n", "x-remote",
            (double)memory[1].private_kib / 1024, (double)memory[1].resident_kib / 1024);
}

static void print_json(const struct setup *setup, const struct result *polling,
                       const struct result *blocking, const struct result *usual, double ready_ms,
                       const struct bench_memory *memory)
{
    printf(
        "{\"bench\": \"register\", \"wire\": \"mpqemu\", \"rounds\": %u, \"processors\": \"%s\", "
        "\"polling_over_floor\": {\"config\": %.3f, \"bar\": %.3f}, "
        "\"blocking_over_floor\": {\"config\": %.3f, \"bar\": %.3f}, "
        "\"x_remote_over_default\": {\"config\": %.3f, \"bar\": %.3f}, "
        "\"ready_ms\": %.3f, \"private_kib\": %lu, \"resident_kib\": %lu, "
        "\"x_remote_private_kib\": %lu, \"x_remote_resident_kib\": %lu}\n",
        setup->rounds, setup->placement, polling->ratio[ACCESS_CONFIG], polling->ratio[ACCESS_BAR],
        blocking->ratio[ACCESS_CONFIG], blocking->ratio[ACCESS_BAR],
        1 / usual->ratio[ACCESS_CONFIG], 1 / usual->ratio[ACCESS_BAR], ready_ms,
        memory[0].private_kib, memory[0].resident_kib, memory[1].private_kib,
        memory[1].resident_kib);
}

static void run(const struct setup *setup)
{
    bench_bind(setup->processors.client);
    double ready_ms = measure_ready_ms(setup);
    struct bench_memory memory[2];
    struct result polling = measure_against_floor(setup, true);
    struct result blocking = measure_against_floor(setup, false);
    struct result usual = measure_against_qemu(setup, &memory[0], &memory[1]);
    print_table(&polling, &blocking, &usual, ready_ms, memory);
    print_json(setup, &polling, &blocking, &usual, ready_ms, memory);
}

static void usage(void)
{
    fputs("usage: register --device=PATH --library=PATH [--qemu=PATH] [--rounds=N] "
          "[--processors=2|1|any]\n"
          "       [--wire=mpqemu]\n",
          stderr);
    exit(2);
}

static bool place(struct setup *setup, const char *placement)
{
    struct bench_processors two = bench_two_processors();
    setup->placement = placement;
    if (strcmp(placement, "2") == 0)
        setup->processors = two;
    else if (strcmp(placement, "1") == 0)
        setup->processors = (struct bench_processors){.client = two.client, .server = two.client};
    else if (strcmp(placement, "any") == 0)
        setup->processors = (struct bench_processors){.client = -1, .server = -1};
    else
        return false;
    return true;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"device", required_argument, NULL, 'd'},
        {"library", required_argument, NULL, 'l'},
        {"qemu", required_argument, NULL, 'q'},
        {"rounds", required_argument, NULL, 'r'},
        {"processors", required_argument, NULL, 'p'},
        {"wire", required_argument, NULL, 'w'},
        {0},
    };
    struct setup setup = {.qemu = "qemu-system-x86_64", .rounds = 200};
    bool good = place(&setup, "2");
    int value;
    while ((value = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (value == 'd')
            setup.device = optarg;
        else if (value == 'l')
            setup.library = optarg;
        else if (value == 'q')
            setup.qemu = optarg;
        else if (value == 'r')
            setup.rounds = (unsigned)strtoul(optarg, NULL, 10);
        else if (value == 'p')
            good = good && place(&setup, optarg);
        else
            good = good && value == 'w' && strcmp(optarg, "mpqemu") == 0;
    }
    if (!good || !setup.device || !setup.library || setup.rounds < 1 || setup.rounds > MAX_ROUNDS)
        usage();
    run(&setup);
    return 0;
}
