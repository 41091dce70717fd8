// SPDX-License-Identifier: BSD-3-Clause
/*
 * Plays the driver of outboard-rng, mostly a hostile one, on a ring in guest memory. The kernel gives
 * random bytes as the input says: all, some or none.
 *
 * What must hold: a chain is given back once, in the same turn, with as many bytes as the kernel gave;
 * each call ends; nothing else is written, and nothing is open or allocated at the end.
 */
#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include "base/limits.h"
#include "check.h"
#include "guest_model.h"

/* The device is a file with a main(), which the target calls. */
int rng_main(int argc, char **argv);
#define main rng_main
#include "rng/main.c"
#undef main

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define STEPS 300u

static struct run {
    struct guest_model guest; /* first */
    const struct ob_program *program;
    void *config;
    unsigned held;  /* chains that the device has */
    unsigned taken; /* in this turn of the loop */
    size_t given;   /* bytes by the kernel, for the chain that was taken last */
} run;

int __wrap_ob_program_main(const struct ob_program *program, void *config, int argc, char **argv);
int __wrap_ob_program_main(const struct ob_program *program, void *config, int argc, char **argv)
{
    run.program = program;
    run.config = config;
    return 0;
}

int __wrap_ob_virtio_new(const struct ob_virtio_desc *desc, const struct ob_virtio_ops *ops,
                         void *state, struct ob_device **ret_device, struct ob_fault *fault);
int __wrap_ob_virtio_new(const struct ob_virtio_desc *desc, const struct ob_virtio_ops *ops,
                         void *state, struct ob_device **ret_device, struct ob_fault *fault)
{
    return device_virtio_new(desc, ops, state, &run.guest.fake.host, ret_device, fault);
}

ssize_t __wrap_getrandom(void *ret_bytes, size_t len, unsigned flags);
ssize_t __wrap_getrandom(void *ret_bytes, size_t len, unsigned flags)
{
    const uint8_t how = guest_take(&run.guest);
    CHECK(flags == GRND_NONBLOCK);
    run.given = 0;
    if (how >= 0xf0) {
        errno = EAGAIN;
        return -1;
    }
    run.given = how < 0x80 || len < how ? len : len - how;
    memset(ret_bytes, how | 1, run.given);
    return (ssize_t)run.given;
}

struct ob_virtio_chain *__real_ob_virtio_take(struct ob_device *device, unsigned queue);
struct ob_virtio_chain *__wrap_ob_virtio_take(struct ob_device *device, unsigned queue);
struct ob_virtio_chain *__wrap_ob_virtio_take(struct ob_device *device, unsigned queue)
{
    struct ob_virtio_chain *chain = __real_ob_virtio_take(device, queue);
    run.held += chain != NULL;
    run.taken += chain != NULL;
    CHECK(run.taken <= LIMIT_VIRTIO_TURN);
    return chain;
}

void __real_ob_virtio_complete(struct ob_virtio_chain *chain, size_t written);
void __wrap_ob_virtio_complete(struct ob_virtio_chain *chain, size_t written);
void __wrap_ob_virtio_complete(struct ob_virtio_chain *chain, size_t written)
{
    CHECK(run.held-- == 1);
    CHECK(written == run.given && written <= chain->writable_len && written <= MAX_LEN);
    __real_ob_virtio_complete(chain, written);
}

static void poll(void)
{
    unsigned turns = 0;
    do
        run.taken = 0;
    while (turns++ < 20 &&
           (device_poll(run.guest.device) || device_before_sleep(run.guest.device)));
    run.taken = 0;
    CHECK(run.held == 0);
}

static void waits(struct guest_model *guest)
{
    poll();
}

static void restart_driver(void)
{
    const uint8_t kind = guest_take(&run.guest);
    guest_stop(&run.guest);
    run.guest.direct = kind & 64;
    guest_start(&run.guest, kind, kind & 32 ? 1 : 0);
}

/* Buffers of any length, in the ring or in a table. */
static void add_buffers(void)
{
    struct guest_chain chain = {.linked = true};
    const uint8_t kind = guest_take(&run.guest);
    const unsigned count = 1 + kind % 8u;
    for (unsigned i = 0; i < count; i++)
        chain.descs[i] =
            (struct virtio_desc){.iova = GUEST_DATA_AT + 256u * guest_take(&run.guest),
                                 .len = (uint32_t)guest_take(&run.guest) << (kind & 8 ? 4 : 0),
                                 .flags = i == 0 && kind & 16 ? 0 : VIRTIO_DESC_WRITE};
    chain.num_indirect = kind & 32 ? 1 + guest_take(&run.guest) % count : 0;
    chain.num_direct = count - chain.num_indirect;
    chain.table_at = GUEST_DATA_AT + 0x800u;
    guest_show(&run.guest, 0, &chain);
    if (kind & 64)
        guest_notify(&run.guest, 0);
}

static void step(void)
{
    const uint8_t what = guest_take(&run.guest);
    switch (what % 16) {
    case 0:
        restart_driver();
        break;
    case 1:
    case 2:
    case 3:
        add_buffers();
        break;
    default:
        guest_step(&run.guest, (uint8_t)(what % 16 - 4));
        break;
    }
    if (what & 64)
        poll();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!run.program)
        CHECK(rng_main(0, NULL) == 0);
    run.held = run.taken = 0;
    guest_init(&run.guest, data, size);
    CHECK(run.program->create(run.config, &run.guest.device, NULL) == 0);
    run.guest.waits = waits;
    guest_connect(&run.guest, 1);
    for (unsigned i = 0; i < STEPS && run.guest.left > 0; i++)
        step();
    run.guest.left = 0;
    while (!device_leave(run.guest.device))
        poll();
    CHECK(run.held == 0);
    device_free(run.guest.device);
    guest_done(&run.guest);
    return 0;
}
