// SPDX-License-Identifier: BSD-3-Clause
/* Both ends of the wire in one process: a client, and a device that a thread serves to it. */
#include <outboard/client.h>
#include <outboard/client_irq.h>
#include <outboard/client_memory.h>

#include "failing_alloc.h"
#include "support.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <outboard/dma.h>
#include <outboard/irq.h>

#include "device/device.h"
#include "os/event.h"
#include "program/connection.h"
#include "program/host.h"
#include "server/engine.h"

#define PATIENCE_MS 30000
#define RAM_AT      0x40000000u
#define RAM_LEN     0x4000u

/* Registers of the test's device, in BAR 0. */
enum {
    LEVEL = 0x00,  /* 1 raises the interrupt, 0 lowers it */
    SOURCE = 0x08, /* a guest address, 64 bits */
    COPY = 0x10,   /* a write copies so many bytes from SOURCE to behind them; reads: the errno */
};

struct device_state {
    struct ob_device *device;
    uint64_t source;
    int error;
    unsigned resets;
};

static uint64_t on_read(void *argument, unsigned bar, uint64_t offset, unsigned size)
{
    struct device_state *state = argument;
    return offset == COPY ? (uint64_t)-state->error : state->source;
}

static void copy(struct device_state *state, uint64_t len)
{
    uint8_t bytes[64];
    state->error = ob_dma_read(state->device, state->source, bytes, len % sizeof(bytes));
    if (state->error == 0)
        state->error = ob_dma_write(state->device, state->source + len, bytes, len % sizeof(bytes));
}

static void on_write(void *argument, unsigned bar, uint64_t offset, unsigned size, uint64_t value)
{
    struct device_state *state = argument;
    if (offset == LEVEL && value)
        ob_irq_raise(state->device);
    else if (offset == LEVEL)
        ob_irq_lower(state->device);
    else if (offset == SOURCE)
        state->source = value;
    else if (offset == COPY)
        copy(state, value);
}

static void on_reset(void *argument)
{
    struct device_state *state = argument;
    state->resets++;
}

struct fixture {
    struct device_state state;
    struct loop *loop;
    struct engine *engine;
    int server_fd;
    pthread_t thread;
    struct ob_client *client;
    unsigned interrupts;
};

static void *serve(void *argument)
{
    struct fixture *f = argument;
    const bool stop = false;
    struct ob_fault fault = {0};
    connection_serve(f->server_fd, f->loop, f->engine, 0, &stop, NULL, &fault);
    return NULL;
}

static void make_device(struct fixture *f)
{
    static const struct ob_device_desc desc = {
        .size = sizeof(desc),
        .name = "test",
        .vendor_id = 0x1af4,
        .device_id = 0x1234,
        .intx = true,
        .bars = {[0] = {.kind = OB_BAR_MEM64, .size = 256}, [2] = {.kind = OB_BAR_IO, .size = 16}},
    };
    static const struct ob_device_ops ops = {
        .size = sizeof(ops), .read = on_read, .write = on_write, .reset = on_reset};
    assert_int_equal(ob_device_new(&desc, &ops, &f->state, &f->state.device, NULL), 0);
    assert_int_equal(loop_new(&f->loop), 0);
    program_host_use_loop(f->state.device, f->loop);
    assert_int_equal(engine_new(&mpqemu_engine, f->state.device, &f->engine, NULL), 0);
}

static void on_interrupt(void *argument)
{
    struct fixture *f = argument;
    f->interrupts++;
}

static void set_up(struct fixture *f, const char *wire)
{
    int pair[2];
    struct ob_client_info info;
    const struct ob_client_options options = {.size = sizeof(options),
                                              .wire = wire,
                                              .timeout_ms = PATIENCE_MS,
                                              .callbacks = {.intx_raised = on_interrupt},
                                              .argument = f};
    *f = (struct fixture){0};
    make_device(f);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    f->server_fd = pair[1];
    assert_int_equal(pthread_create(&f->thread, NULL, serve, f), 0);
    assert_int_equal(ob_client_new(pair[0], &options, &f->client, NULL), 0);
    assert_int_equal(ob_client_probe(f->client, &info, NULL), 0);
    assert_int_equal(info.device_id, 0x1234);
    assert_int_equal(info.bars[0].kind, OB_BAR_MEM32); /* this wire has no wider ones */
    assert_int_equal(ob_client_place_bars(f->client, 0x80000000, 0xc000), 0);
}

static void tear_down(struct fixture *f)
{
    ob_client_free(f->client);
    assert_int_equal(pthread_join(f->thread, NULL), 0);
    engine_free(f->engine);
    ob_device_free(f->state.device);
    loop_free(f->loop);
    close(f->server_fd);
}

/* Runs the block that follows with `*wire` set to each. */
#define FOR_WIRES                                                                                  \
    for (const char *const *wire = (const char *const[]){"mpqemu", "mpqemu-v8", NULL}; *wire;      \
         wire++)

static void write_register(struct fixture *f, uint64_t offset, uint64_t value)
{
    assert_int_equal(ob_client_bar_write(f->client, 0, offset, 8, value), 0);
}

static uint64_t read_register(struct fixture *f, uint64_t offset)
{
    uint64_t value;
    assert_int_equal(ob_client_bar_read(f->client, 0, offset, 8, &value), 0);
    return value;
}

static void registers_are_reached(void **state)
{
    FOR_WIRES
    {
        struct fixture f;
        uint64_t value;
        set_up(&f, *wire);
        write_register(&f, SOURCE, 0x1122334455667788);
        assert_int_equal(read_register(&f, SOURCE), 0x1122334455667788);
        assert_int_equal(ob_client_bar_read(f.client, 2, 4, 2, &value), 0);
        assert_int_equal(value, 0x7788);
        tear_down(&f);
    }
}

/* Publishes RAM_LEN bytes at RAM_AT. */
static uint8_t *publish(struct fixture *f)
{
    int fd = memfd_create("ram", MFD_CLOEXEC);
    assert_int_equal(ftruncate(fd, RAM_LEN), 0);
    uint8_t *ram = mmap(NULL, RAM_LEN, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    assert_true(ram != MAP_FAILED);
    const struct ob_client_region region = {.gpa = RAM_AT, .len = RAM_LEN, .fd = fd};
    assert_int_equal(ob_client_publish_memory(f->client, &region, 1, NULL), 0);
    close(fd);
    return ram;
}

static void memory_is_reached_until_it_is_taken_back(void **state)
{
    FOR_WIRES
    {
        struct fixture f;
        set_up(&f, *wire);
        uint8_t *ram = publish(&f);
        memcpy(ram + 0x1000, "out of board", sizeof("out of board"));
        write_register(&f, SOURCE, RAM_AT + 0x1000);
        write_register(&f, COPY, 12);
        assert_int_equal(read_register(&f, COPY), 0);
        assert_string_equal((char *)ram + 0x1000, "out of boardout of board");
        assert_int_equal(ob_client_publish_memory(f.client, NULL, 0, NULL), 0);
        write_register(&f, COPY, 12);
        assert_int_equal(read_register(&f, COPY), EFAULT);
        munmap(ram, RAM_LEN);
        tear_down(&f);
    }
}

/* Waits for what the loop of the client has, and for nothing else. */
static void dispatch(struct fixture *f)
{
    struct pollfd waiting = {.fd = ob_client_fd(f->client), .events = POLLIN};
    assert_int_equal(poll(&waiting, 1, PATIENCE_MS), 1);
    ob_client_dispatch(f->client);
}

static void a_level_interrupts_until_it_is_lowered(void **state)
{
    FOR_WIRES
    {
        struct fixture f;
        set_up(&f, *wire);
        assert_int_equal(ob_client_emulate_intx(f.client), 0);
        write_register(&f, LEVEL, 1);
        dispatch(&f);
        assert_int_equal(f.interrupts, 1);
        ob_client_intx_eoi(f.client);
        dispatch(&f); /* the level is still held */
        assert_int_equal(f.interrupts, 2);
        write_register(&f, LEVEL, 0);
        ob_client_intx_eoi(f.client);
        write_register(&f, LEVEL, 1);
        dispatch(&f);
        assert_int_equal(f.interrupts, 3);
        /* Routed anew while it is raised: told again at once. */
        assert_int_equal(ob_client_emulate_intx(f.client), 0);
        dispatch(&f);
        assert_int_equal(f.interrupts, 4);
        tear_down(&f);
    }
}

static void interrupts_may_go_to_eventfds_of_the_vmm(void **state)
{
    struct fixture f;
    uint64_t count = 0;
    int trigger = eventfd(0, EFD_CLOEXEC), resample = eventfd(0, EFD_CLOEXEC);
    set_up(&f, "mpqemu");
    assert_int_equal(ob_client_set_intx(f.client, trigger, resample), 0);
    write_register(&f, LEVEL, 1);
    assert_int_equal(poll(&(struct pollfd){.fd = trigger, .events = POLLIN}, 1, PATIENCE_MS), 1);
    assert_int_equal(eventfd_read(trigger, &count), 0);
    assert_int_equal(count, 1);
    assert_int_equal(eventfd_write(resample, 1), 0);
    assert_int_equal(poll(&(struct pollfd){.fd = trigger, .events = POLLIN}, 1, PATIENCE_MS), 1);
    tear_down(&f);
    close(trigger);
    close(resample);
}

static void a_reset_forgets_where_the_bars_were(void **state)
{
    FOR_WIRES
    {
        struct fixture f;
        uint64_t value;
        set_up(&f, *wire);
        assert_int_equal(ob_client_reset(f.client), 0);
        assert_int_equal(f.state.resets, 1);
        assert_int_equal(ob_client_bar_read(f.client, 0, SOURCE, 8, &value), 0);
        assert_true(value == UINT64_MAX); /* not decoded */
        assert_int_equal(ob_client_place_bars(f.client, 0x80000000, 0xc000), 0);
        assert_int_equal(read_register(&f, SOURCE), 0);
        tear_down(&f);
    }
}

static void a_client_that_can_not_be_made_leaves_nothing(void **state)
{
    static const char *const all[] = {"mpqemu", "vfio-user"};
    struct ob_client_options options = {.size = sizeof(options), .heartbeat_ms = 1000};
    unsigned wire = 0;
    for (unsigned nth = 1; wire < 2; nth++) {
        struct ob_client *client = NULL;
        struct ob_fault fault = {0};
        int pair[2];
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
        int before = open_descriptors();
        options.wire = all[wire];
        fail_allocation(nth);
        int err = ob_client_new(pair[0], &options, &client, &fault);
        bool made = !allocation_failed();
        assert_int_equal(err, made ? 0 : -ENOMEM);
        assert_int_equal(fault.code, err);
        if (!made) {
            assert_int_equal(open_descriptors(), before);
            close(pair[0]);
        }
        ob_client_free(client);
        close(pair[1]);
        wire += made;
        nth = made ? 0 : nth;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(registers_are_reached),
        TEST(memory_is_reached_until_it_is_taken_back),
        TEST(a_level_interrupts_until_it_is_lowered),
        TEST(interrupts_may_go_to_eventfds_of_the_vmm),
        TEST(a_reset_forgets_where_the_bars_were),
        TEST(a_client_that_can_not_be_made_leaves_nothing),
    };
    event_prepare(); /* what a process has once, before descriptors are counted */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
