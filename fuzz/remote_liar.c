// SPDX-License-Identifier: BSD-3-Clause
/*
 * The client library (src/remote) with a remote that lies, over either wire, on a clock of its own:
 * when the client waits the remote has its turn, and if that brings nothing the time is over.
 *
 * What must hold, whatever the remote does: each call ends, within its bound of time and of turns;
 * reads that fail give all ones; a remote that is lost stays so; and when all is over no descriptor
 * is left.
 */
#include <outboard/client.h>
#include <outboard/client_irq.h>
#include <outboard/client_memory.h>
#include <outboard/client_state.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "check.h"
#include "liar.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int __wrap_socket_wait(int fd, short events, uint64_t deadline_ns);
int __wrap_ticker_new(unsigned interval_ms);
int __real_clock_gettime(clockid_t clock, struct timespec *ret_now);
int __wrap_clock_gettime(clockid_t clock, struct timespec *ret_now);

#define NS_PER_MS   UINT64_C(1000000)
#define TIMEOUT_MS  100u
#define MOST_CALLS  64u /* of one input */
#define MOST_WAITS  4096u
#define MOST_TIME   (64 * TIMEOUT_MS * NS_PER_MS)
#define DESCRIPTORS 256
#define RAM_LEN     UINT64_C(0x10000)

static struct run {
    bool on; /* the clock is ours */
    uint64_t now_ns;
    unsigned waits; /* of this call */
    struct rd input;
    struct rd lies;
    struct liar liar;
    struct ob_client *client;
    bool was_lost;
    int ram_fd;
    int event_fd;
    int beat_fd; /* the client's; -1: it has no heartbeat */
    uint8_t *ram;
} run;

int __wrap_clock_gettime(clockid_t clock, struct timespec *ret_now)
{
    if (!run.on)
        return __real_clock_gettime(clock, ret_now);
    run.now_ns += 1000;
    *ret_now = (struct timespec){.tv_sec = (time_t)(run.now_ns / 1000000000u),
                                 .tv_nsec = (long)(run.now_ns % 1000000000u)};
    return 0;
}

/* The heart beats when the input says so. */
int __wrap_ticker_new(unsigned interval_ms)
{
    run.beat_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return run.beat_fd;
}

int __wrap_socket_wait(int fd, short events, uint64_t deadline_ns)
{
    struct pollfd ready = {.fd = fd, .events = events};
    CHECK(++run.waits < MOST_WAITS);
    liar_turn(&run.liar);
    run.now_ns += NS_PER_MS;
    if (poll(&ready, 1, 0) > 0)
        return 0;
    if (run.now_ns < deadline_ns && run.liar.held_len == 0)
        run.now_ns = deadline_ns;
    return run.now_ns < deadline_ns ? 0 : -ETIMEDOUT;
}

static enum ob_client_policy hung(void *argument, const struct ob_fault *fault)
{
    CHECK(fault->code == -ETIMEDOUT);
    return rd_u8(&run.input) & 1 ? OB_CLIENT_FAIL : OB_CLIENT_REPORT;
}

static void state_changed(void *argument, enum ob_client_state state, const struct ob_fault *fault)
{
    CHECK(!run.was_lost);
    CHECK((state == OB_CLIENT_ALIVE) == (fault->code == 0));
    run.was_lost = state == OB_CLIENT_LOST;
}

static void intx_raised(void *argument)
{
    CHECK(!run.was_lost);
}

static unsigned draw(unsigned below)
{
    return rd_u8(&run.input) % below;
}

static int probe(void)
{
    struct ob_client_info info;
    int err = ob_client_probe(run.client, &info, NULL);
    return err < 0 ? err : ob_client_place_bars(run.client, 0xe0000000, 0xc000);
}

static int config(void)
{
    uint32_t value = 0;
    unsigned size = 1u << draw(3);
    if (draw(2))
        return ob_client_config_write(run.client, draw(64) * 4, size, draw(256));
    int err = ob_client_config_read(run.client, draw(64) * 4, size, &value);
    CHECK(err == 0 || value == (err == -EINVAL ? UINT32_MAX : UINT32_MAX >> (32 - 8 * size)));
    return err;
}

static int bar(void)
{
    uint64_t value = 0;
    unsigned size = 1u << draw(4);
    if (draw(2))
        return ob_client_bar_write(run.client, draw(6), draw(64) * 8, size, draw(256));
    int err = ob_client_bar_read(run.client, draw(6), draw(64) * 8, size, &value);
    CHECK(err == 0 || err == -EINVAL || value == UINT64_MAX >> (64 - 8 * size));
    return err;
}

static int many(void)
{
    uint8_t bytes[40];
    const struct ob_client_write writes[] = {{.bar = draw(3), .offset = 8, .size = 4},
                                             {.bar = 0, .offset = draw(255), .size = 8},
                                             {.bar = 4, .offset = 0, .size = 1}};
    switch (draw(3)) {
    case 0:
        return ob_client_bar_write_many(run.client, writes, draw(4));
    case 1:
        memset(bytes, 0, sizeof(bytes));
        return ob_client_write_bytes(run.client, draw(9), draw(255), bytes, draw(sizeof(bytes)));
    default:
        return ob_client_read_bytes(run.client, draw(9), draw(255), bytes, draw(sizeof(bytes)));
    }
}

static struct ob_client_region region(void)
{
    unsigned page = draw(8), how = draw(256);
    struct ob_client_region made = {.gpa = page * UINT64_C(0x1000),
                                    .len = (1 + how % 4) * UINT64_C(0x1000),
                                    .offset = page * UINT64_C(0x1000),
                                    .fd = run.ram_fd,
                                    .read_only = how & 0x10};
    if (how & 0x20) {
        made.fd = -1;
        made.memory = run.ram + made.offset;
        made.offset = 0;
    }
    return made;
}

static int memory(void)
{
    struct ob_client_region regions[3] = {region(), region(), region()};
    switch (draw(5)) {
    case 3:
        return ob_client_publish_memory(run.client, NULL, draw(255), NULL);
    case 4:
        regions[0].memory = NULL;
        regions[0].fd = -1;
        CHECK(ob_client_publish_memory(run.client, regions, 1, NULL) == -EBADF);
        return 0;
    case 0:
        return ob_client_publish_memory(run.client, regions, draw(4), NULL);
    case 1:
        return ob_client_map_memory(run.client, &regions[0], NULL);
    default:
        return ob_client_unmap_memory(run.client, regions[0].gpa, regions[0].len);
    }
}

static int interrupts(void)
{
    const int fds[4] = {run.event_fd, run.event_fd, -1, run.event_fd};
    enum ob_client_irq kind = (enum ob_client_irq)draw(5);
    switch (draw(7)) {
    case 0:
        return ob_client_set_intx(run.client, run.event_fd, run.event_fd);
    case 1:
        return ob_client_emulate_intx(run.client);
    case 2:
        ob_client_intx_eoi(run.client);
        return 0;
    case 3:
        return ob_client_set_vectors(run.client, kind, draw(3), draw(5), draw(2) ? fds : NULL);
    case 4:
        return ob_client_mask_vectors(run.client, kind, draw(3), draw(4), draw(2));
    default:
        return ob_client_trigger_vectors(run.client, kind, draw(3), draw(4));
    }
}

static int areas(void)
{
    struct ob_client_eventfd eventfds[4];
    if (draw(2)) {
        struct ob_client_area found[4];
        return ob_client_bar_areas(run.client, draw(6), found, 4);
    }
    int count = ob_client_bar_eventfds(run.client, draw(6), eventfds, 4);
    for (int i = 0; i < count; i++) {
        bool shared = false;
        for (int j = 0; j < i; j++)
            shared |= eventfds[j].fd == eventfds[i].fd;
        if (!shared)
            close(eventfds[i].fd);
    }
    return count;
}

static int migrate(void)
{
    static uint8_t bytes[9000];
    enum ob_client_run_state state;
    bool pre_copy;
    switch (draw(6)) {
    case 0:
        return ob_client_can_migrate(run.client, &pre_copy);
    case 1:
        return ob_client_get_run_state(run.client, &state);
    case 2:
        return (int)ob_client_save(run.client, bytes, draw(255) * 32);
    case 3:
        return ob_client_load(run.client, bytes, draw(255) * 32);
    default:
        return ob_client_set_run_state(run.client, (enum ob_client_run_state)draw(7));
    }
}

static int log_pages(void)
{
    uint8_t bits[8];
    const struct ob_client_range range = {.gpa = draw(8) * UINT64_C(0x1000),
                                          .len = (1 + draw(4)) * UINT64_C(0x1000)};
    switch (draw(3)) {
    case 0:
        return ob_client_log_start(run.client, 4096, &range, draw(2));
    case 1:
        return ob_client_log_stop(run.client);
    default:
        return ob_client_log_report(run.client, 4096, &range, bits);
    }
}

static int others(void)
{
    switch (draw(8)) {
    case 6:
        CHECK(ob_client_set_timeout(run.client, UINT32_MAX) == -EINVAL);
        return ob_client_probe(run.client, NULL, NULL);
    case 7:
        CHECK(ob_client_fd(run.client) >= 0);
        return ob_client_place_bars(run.client, draw(255) << 24, draw(255) << 8);
    case 4:
    case 5:
        if (run.beat_fd >= 0 && !run.was_lost)
            eventfd_write(run.beat_fd, 1);
        ob_client_dispatch(run.client);
        return 0;
    case 0:
        return ob_client_reset(run.client);
    case 1:
        return ob_client_set_timeout(run.client, TIMEOUT_MS / 2);
    case 2:
        liar_turn(&run.liar);
        return 0;
    default:
        ob_client_dispatch(run.client);
        return ob_client_refusal(run.client) > 0;
    }
}

static void step(void)
{
    static int (*const calls[])(void) = {probe,      config, bar,     many,      memory,
                                         interrupts, areas,  migrate, log_pages, others};
    uint64_t before_ns = run.now_ns;
    run.waits = 0;
    int result = calls[draw(sizeof(calls) / sizeof(calls[0]))]();
    CHECK(run.now_ns - before_ns <= MOST_TIME);
    CHECK(result > -4096 && result < 10000);
    if (run.was_lost)
        CHECK(ob_client_state(run.client) == OB_CLIENT_LOST && ob_client_fault(run.client)->code);
}

static unsigned count_descriptors(void)
{
    unsigned count = 0;
    for (int fd = 0; fd < DESCRIPTORS; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

static void connect_client(void)
{
    static const char *const names[] = {"mpqemu", "mpqemu-v8", "vfio-user"};
    uint8_t how = rd_u8(&run.input);
    const unsigned wire = how % 4 < 3 ? how % 4 : 2;
    const struct ob_client_options options = {
        .size = sizeof(options),
        .wire = names[wire],
        .timeout_ms = TIMEOUT_MS,
        .poll_us = how & 4 ? 20 : 0,
        .policy = how & 8 ? OB_CLIENT_ASK : (how & 16 ? OB_CLIENT_FAIL : OB_CLIENT_REPORT),
        .heartbeat_ms = how & 128 ? 100 : 0,
        .callbacks = {.state_changed = state_changed, .hung = hung, .intx_raised = intx_raised},
        .posted_writes = how & 32};
    const int len = 4096;
    int ends[2];
    run.beat_fd = -1;
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) == 0);
    if (how & 64) /* soon full */
        setsockopt(ends[0], SOL_SOCKET, SO_SNDBUF, &len, sizeof(len));
    liar_init(&run.liar, &run.lies, wire == 2 ? &vfio_user_engine : &mpqemu_engine, ends[1]);
    CHECK(ob_client_new(ends[0], &options, &run.client, NULL) == 0);
}

/* What no client can be made of says so, and keeps nothing. */
static void refuse_options(void)
{
    static const struct ob_client_options wrong[] = {
        {.size = sizeof(wrong[0]), .wire = "none"},
        {.wire = "mpqemu"}, /* without its size */
        {.size = sizeof(wrong[0]), .policy = (enum ob_client_policy)(OB_CLIENT_ASK + 1)},
        {.size = sizeof(wrong[0]), .timeout_ms = UINT32_MAX},
        {.size = sizeof(wrong[0])} /* without a socket */};
    struct ob_client *client = NULL;
    for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct ob_fault fault = {0};
        CHECK(ob_client_new(run.ram_fd, &wrong[i], &client, &fault) < 0);
        CHECK(!client && fault.code < 0 && fault.text[0]);
    }
    struct ob_fault fault = {0};
    CHECK(ob_client_connect("/proc/self/fd/none", NULL, &client, &fault) < 0);
    CHECK(!client && fault.code < 0 && fault.text[0]);
    ob_client_free(NULL);
}

static void live(const uint8_t *data, size_t size)
{
    liar_divide(data, size, &run.input, &run.lies);
    refuse_options();
    run.was_lost = false;
    run.on = true;
    connect_client();
    for (unsigned i = 0; i < MOST_CALLS && run.input.left > 0 && !run.input.bad; i++)
        step();
    ob_client_free(run.client);
    liar_done(&run.liar);
    run.on = false;
}

static void set_up(void)
{
    run.ram_fd = memfd_create("ram", MFD_CLOEXEC);
    run.event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    CHECK(run.ram_fd >= 0 && run.event_fd >= 0 && ftruncate(run.ram_fd, (off_t)RAM_LEN) == 0);
    run.ram = mmap(NULL, RAM_LEN, PROT_READ | PROT_WRITE, MAP_SHARED, run.ram_fd, 0);
    CHECK(run.ram != MAP_FAILED);
    liar_start();
    live(NULL, 0); /* opens what a client opens once */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!run.ram)
        set_up();
    unsigned before = count_descriptors();
    live(data, size);
    CHECK(count_descriptors() == before);
    return 0;
}
