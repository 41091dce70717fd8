// SPDX-License-Identifier: BSD-3-Clause
/*
 * Plays the driver of outboard-blk, mostly a hostile one, on rings in guest memory, and the image
 * behind it: requests in any layout, operations that end in any order, hang or fail, time that passes, a
 * process before this one.
 *
 * What must hold: the image is asked for no more than it has, and writes are stable for a driver that
 * knows no flush; each chain is given back once, with a status behind data that is the image's or zeroes;
 * a reset, the end of a queue and memory that is taken back wait for a bounded time, even if the image
 * hangs; nothing reads or writes memory that is gone; nothing is open or allocated at the end.
 */
#include <errno.h>
#include <linux/virtio_blk.h>
#include <stdlib.h>
#include <string.h>

#include <outboard/vault.h>

#include "base/limits.h"
#include "blk.h"
#include "check.h"
#include "fake/disk.h"
#include "guest_model.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define STEPS     300u
#define TIMERS    4u
#define REQUESTS  6u /* that the device has: few, so that queues starve */
#define HEADER    16u
#define NS_PER_MS UINT64_C(1000000)
#define WAIT_MS   200u

struct ob_timer {
    ob_timer_fn due;
    void *argument;
    uint64_t at_ns; /* 0: not set */
};

static struct run {
    struct guest_model guest; /* first */
    struct fake_disk disk;
    struct block_ops image_ops;
    struct blk *blk;
    struct ob_timer timers[TIMERS];
    unsigned num_timers;
    uint64_t now_ms;
    unsigned held;    /* chains that the device has */
    unsigned taken;   /* in this turn of the loop */
    unsigned barrier; /* times that it says no */
    bool succeeds;
    struct ob_vault_state kept;
} run;

/* --- the world of the device --------------------------------------------------------------- */

uint64_t __wrap_block_clock_ms(void);
uint64_t __wrap_block_clock_ms(void)
{
    return run.now_ms;
}

uint64_t __wrap_ob_timer_now_ns(void);
uint64_t __wrap_ob_timer_now_ns(void)
{
    return run.now_ms * NS_PER_MS;
}

int __wrap_ob_timer_new(struct ob_device *of, ob_timer_fn due, void *argument,
                        struct ob_timer **ret_timer, struct ob_fault *fault);
int __wrap_ob_timer_new(struct ob_device *of, ob_timer_fn due, void *argument,
                        struct ob_timer **ret_timer, struct ob_fault *fault)
{
    CHECK(run.num_timers < TIMERS);
    *ret_timer = &run.timers[run.num_timers++];
    **ret_timer = (struct ob_timer){.due = due, .argument = argument};
    return 0;
}

void __wrap_ob_timer_set(struct ob_timer *timer, uint64_t at_ns);
void __wrap_ob_timer_set(struct ob_timer *timer, uint64_t at_ns)
{
    timer->at_ns = at_ns;
}

void __wrap_ob_timer_cancel(struct ob_timer *timer);
void __wrap_ob_timer_cancel(struct ob_timer *timer)
{
    timer->at_ns = 0;
}

void __wrap_ob_timer_free(struct ob_timer *timer);
void __wrap_ob_timer_free(struct ob_timer *timer)
{
}

enum ob_vault_role __wrap_ob_vault_role(void);
enum ob_vault_role __wrap_ob_vault_role(void)
{
    return run.succeeds ? OB_VAULT_SUCCESSOR : OB_VAULT_NONE;
}

int __wrap_ob_vault_keep(struct ob_device *device, const struct ob_vault_state *state);
int __wrap_ob_vault_keep(struct ob_device *device, const struct ob_vault_state *state)
{
    run.kept = *state;
    return 0;
}

int __wrap_ob_virtio_new(const struct ob_virtio_desc *desc, const struct ob_virtio_ops *ops,
                         void *state, struct ob_device **ret_device, struct ob_fault *fault);
int __wrap_ob_virtio_new(const struct ob_virtio_desc *desc, const struct ob_virtio_ops *ops,
                         void *state, struct ob_device **ret_device, struct ob_fault *fault)
{
    return device_virtio_new(desc, ops, state, &run.guest.fake.host, ret_device, fault);
}

/* The pool of 8 MB is not made for each input, and few of it are used. */
int __wrap_blk_requests_init(struct blk *blk);
int __wrap_blk_requests_init(struct blk *blk)
{
    static struct blk_request pool[BLK_REQUESTS];
    blk->all = pool;
    for (unsigned i = REQUESTS; i-- > 0;) {
        pool[i].blk = blk;
        pool[i].chain = NULL;
        pool[i].next = blk->free;
        blk->free = &pool[i];
    }
    return 0;
}

struct ob_virtio_chain *__real_ob_virtio_take(struct ob_device *device, unsigned queue);
struct ob_virtio_chain *__wrap_ob_virtio_take(struct ob_device *device, unsigned queue);
struct ob_virtio_chain *__wrap_ob_virtio_take(struct ob_device *device, unsigned queue)
{
    struct ob_virtio_chain *chain = __real_ob_virtio_take(device, queue);
    run.held += chain != NULL;
    run.taken += chain != NULL;
    CHECK(run.taken <= GUEST_QUEUES * LIMIT_VIRTIO_TURN);
    return chain;
}

static uint8_t *last_byte(const struct ob_virtio_chain *chain)
{
    unsigned i = chain->num_writable - 1;
    while (chain->writable[i].len == 0)
        i--;
    return (uint8_t *)chain->writable[i].address + chain->writable[i].len - 1;
}

/* All is zero but for the status, which may lie anywhere in the data. */
static void check_cleared(const struct ob_virtio_chain *chain, const uint8_t *status)
{
    for (unsigned i = 0; i < chain->num_writable; i++) {
        const uint8_t *bytes = chain->writable[i].address;
        for (size_t at = 0; at < chain->writable[i].len; at++)
            CHECK(bytes[at] == 0 || &bytes[at] == status);
    }
}

void __real_ob_virtio_complete(struct ob_virtio_chain *chain, size_t written);
void __wrap_ob_virtio_complete(struct ob_virtio_chain *chain, size_t written);
void __wrap_ob_virtio_complete(struct ob_virtio_chain *chain, size_t written)
{
    CHECK(run.held-- > 0);
    if (chain->readable_len < HEADER || chain->writable_len == 0) {
        CHECK(written == 0 && virtio_has_failed(run.guest.device));
    } else {
        const uint8_t *status = last_byte(chain);
        CHECK(written == chain->writable_len && *status <= VIRTIO_BLK_S_UNSUPP);
        if (*status != VIRTIO_BLK_S_OK && written <= 4096)
            check_cleared(chain, status);
    }
    __real_ob_virtio_complete(chain, written);
}

void __real_ob_virtio_return(struct ob_virtio_chain *chain);
void __wrap_ob_virtio_return(struct ob_virtio_chain *chain);
void __wrap_ob_virtio_return(struct ob_virtio_chain *chain)
{
    CHECK(run.held-- > 0);
    __real_ob_virtio_return(chain);
}

/* --- the image ----------------------------------------------------------------------------- */

/* An operation whose chain was given back must not reach the guest's memory: it fails, as one of the
 * kernel would whose pages are gone. */
static void finish(unsigned index, int err)
{
    if (run.disk.pending_count == 0)
        return;
    index %= run.disk.pending_count;
    const struct block_io *io = run.disk.pending[index];
    const struct blk_request *request =
        (const struct blk_request *)((const char *)io - offsetof(struct blk_request, io));
    fake_disk_finish(&run.disk, index, request->chain ? err : -EIO);
}

static void finish_all(int err)
{
    while (run.disk.pending_count > 0)
        finish(0, err);
}

static void start(struct block *block, struct block_io *io)
{
    static void (*fake_start)(struct block * block, struct block_io * io);
    const uint64_t features = ob_virtio_features(run.guest.device);
    if (!fake_start) {
        struct fake_disk fake;
        fake_disk_init(&fake, 0);
        fake_start = fake.block.ops->start;
    }
    CHECK(!run.blk->succession.waits);
    if (io->op == BLOCK_WRITE && !(features & UINT64_C(1) << VIRTIO_BLK_F_FLUSH))
        CHECK(io->flags & BLOCK_FUA);
    fake_start(block, io);
}

static void reap(struct block *block)
{
    if (!run.disk.holds)
        finish_all(0);
    else if (block->stops)
        finish(0, -EAGAIN);
}

static void give_up(struct block *block)
{
    run.disk.holds = false;
}

static bool barrier(struct block *block)
{
    return run.barrier == 0 || --run.barrier == 0;
}

/* Operations of chains that were given back with an error may be in flight still. */
static void restart(struct block *block)
{
    CHECK(block->in_flight == run.disk.pending_count);
}

static void rest(struct block *block)
{
    CHECK(block->in_flight == 0);
}

static void make_image(uint8_t kind)
{
    struct fake_disk *disk = &run.disk;
    fake_disk_init(disk, 0x5a);
    run.image_ops = *disk->block.ops;
    run.image_ops.start = start;
    run.image_ops.reap = reap;
    run.image_ops.rest = rest;
    run.image_ops.restart = restart;
    run.image_ops.barrier = kind & 1 ? barrier : NULL;
    run.image_ops.give_up = kind & 2 ? give_up : NULL;
    disk->block.ops = &run.image_ops;
    disk->block.readonly = (kind & 12) == 12;
    disk->block.can_discard = kind & 16;
    disk->holds = kind & 32;
    run.barrier = kind & 64 ? 3 : 200;
}

/* --- time ---------------------------------------------------------------------------------- */

/* A ring whose used part is its available part feeds itself: it has work in every turn. */
static void poll(void)
{
    unsigned turns = 0;
    do
        run.taken = 0;
    while (turns++ < 20 &&
           (device_poll(run.guest.device) || device_before_sleep(run.guest.device)));
    run.taken = 0;
}

static void pass(unsigned ms)
{
    run.now_ms += ms;
    for (unsigned i = 0; i < run.num_timers; i++) {
        struct ob_timer *timer = &run.timers[i];
        if (timer->at_ns == 0 || timer->at_ns > run.now_ms * NS_PER_MS)
            continue;
        timer->at_ns = 0;
        timer->due(timer->argument);
    }
    poll();
}

static void waits(struct guest_model *guest)
{
    const uint8_t how = guest_take(guest);
    if (how & 1)
        finish(how >> 1, how & 64 ? -EAGAIN : 0);
    pass(WAIT_MS);
}

/* --- the driver ---------------------------------------------------------------------------- */

static void add_piece(struct guest_chain *chain, uint32_t at, uint32_t len, uint16_t flags)
{
    if (chain->num_direct < GUEST_DESCS && len > 0)
        chain->descs[chain->num_direct++] =
            (struct virtio_desc){.iova = at, .len = len, .flags = flags};
}

/* In one piece or in two, the first of which has that length. */
static void add_pieces(struct guest_chain *chain, uint32_t at, uint32_t len, uint16_t flags,
                       uint32_t first)
{
    if (first > len)
        first = len;
    add_piece(chain, at, first, flags);
    add_piece(chain, at + first, len - first, flags);
}

static void put_header(uint32_t at, uint32_t type, uint64_t sector)
{
    const uint32_t start_of[2] = {type, 0};
    guest_put(&run.guest, at, start_of, sizeof(start_of));
    guest_put(&run.guest, at + 8, &sector, sizeof(sector));
}

static uint32_t put_ranges(uint32_t at)
{
    const unsigned count = guest_take(&run.guest) % 5;
    for (unsigned i = 0; i < count; i++) {
        const uint8_t what = guest_take(&run.guest);
        const uint64_t sector = guest_take(&run.guest);
        const uint32_t rest_of[2] = {what % 17, what >> 6 == 3 ? 1u << (what >> 4 & 3) : 0};
        guest_put(&run.guest, at + i * BLK_SEGMENT_LEN, &sector, sizeof(sector));
        guest_put(&run.guest, at + i * BLK_SEGMENT_LEN + 8, rest_of, sizeof(rest_of));
    }
    return count * BLK_SEGMENT_LEN;
}

/* A request that may be well-formed. Header, data and status lie where the input says. */
static void add_request(unsigned queue)
{
    static const uint32_t types[] = {
        VIRTIO_BLK_T_IN,      VIRTIO_BLK_T_OUT,          VIRTIO_BLK_T_FLUSH, VIRTIO_BLK_T_GET_ID,
        VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_T_WRITE_ZEROES, VIRTIO_BLK_T_IN,    10};
    struct guest_model *guest = &run.guest;
    struct guest_chain chain = {.linked = true};
    const uint8_t kind = guest_take(guest), where = guest_take(guest), how = guest_take(guest);
    const uint32_t type = types[kind % 8];
    const uint32_t header_at = GUEST_DATA_AT + 512u * (where % 16);
    const uint32_t data_at = GUEST_DATA_AT + 0x2000u + 512u * (where / 4);
    const bool reads = type == VIRTIO_BLK_T_IN || type == VIRTIO_BLK_T_GET_ID;
    uint32_t len = 512u * (how % 9u);
    if (how >> 6 == 3)
        len += how;
    put_header(header_at, type, guest_take(guest));
    if (type == VIRTIO_BLK_T_DISCARD || type == VIRTIO_BLK_T_WRITE_ZEROES)
        len = put_ranges(data_at);
    else if (type == VIRTIO_BLK_T_FLUSH)
        len = 0;
    add_pieces(&chain, header_at, HEADER, 0, how & 16 ? 5 : HEADER);
    add_pieces(&chain, data_at, len, reads ? VIRTIO_DESC_WRITE : 0, how & 32 ? 700 : len);
    add_piece(&chain, header_at + (how & 64 ? 15 : 100), 1, VIRTIO_DESC_WRITE);
    if (kind & 8 && chain.num_direct > 0) {
        chain.num_indirect = kind & 16 ? 1 : chain.num_direct;
        chain.num_direct -= chain.num_indirect;
        chain.table_at = GUEST_DATA_AT + 0x1000u + 256u * (where % 8u);
    }
    guest_show(guest, queue, &chain);
    if (kind & 32)
        guest_notify(guest, queue);
}

/* The first byte of the features is that of the device's: all that it has, or those that are named. */
static void restart_driver(void)
{
    struct guest_model *guest = &run.guest;
    const uint8_t kind = guest_take(guest);
    const uint64_t offered = virtio_offered(guest->device) & ((UINT64_C(1) << 24) - 1);
    const uint64_t named = kind & 32 ? guest_take_bytes(guest, 2) : UINT64_MAX;
    guest_stop(guest);
    guest->direct = kind & 64;
    if (guest->direct && !virtio_reset(guest->device))
        guest_stop(guest);
    guest_start(guest, kind & (uint8_t)~16u, offered & named);
}

static void change_image(uint8_t how)
{
    struct block *block = &run.disk.block;
    switch (how % 4) {
    case 0:
        run.disk.holds = how & 4;
        break;
    case 1:
        block->away = how & 4;
        break;
    case 2:
        run.disk.new_size = how & 4 ? FAKE_DISK_LEN : 4096u * (1 + how / 8u % 16u);
        break;
    default:
        block->signs++;
        break;
    }
}

/* As the vault does it, with a state that may be another's. */
static void keep(uint32_t value, uint8_t len)
{
    struct ob_fault fault;
    CHECK(run.kept.save(run.blk, run.kept.bytes) == (int)sizeof(uint32_t));
    if (len & 8)
        run.kept.check(run.blk, &value, len & 16 ? sizeof(value) : len % 4, &fault);
}

static void step(void)
{
    const uint8_t what = guest_take(&run.guest);
    switch (what % 24) {
    case 0:
        restart_driver();
        break;
    case 1:
    case 2:
    case 3:
        add_request(what >> 7);
        break;
    case 4:
        finish(guest_take(&run.guest), 0);
        break;
    case 5:
        finish(0, guest_take(&run.guest) & 1 ? -EIO : -EAGAIN);
        break;
    case 6:
        pass(guest_take(&run.guest) * 20u);
        break;
    case 7:
        change_image(guest_take(&run.guest));
        break;
    case 20:
        keep(guest_take(&run.guest) % 3, guest_take(&run.guest));
        break;
    case 21:
    case 22:
    case 23:
        poll();
        break;
    default:
        guest_step(&run.guest, (uint8_t)(what % 24 - 8));
        break;
    }
    if (what & 64)
        poll();
}

static void make(void)
{
    const uint8_t kind = guest_take(&run.guest), more = guest_take(&run.guest);
    const struct blk_options options = {.block = &run.disk.block,
                                        .block_size = more & 1 ? 4096 : 512,
                                        .serial = more & 2 ? "" : "12345678901234567890",
                                        .num_queues = more & 4 ? 1 : GUEST_QUEUES,
                                        .queue_size = 32,
                                        .timeout_ms = more & 8 ? BLOCK_TIMEOUT_MIN_MS : 20000};
    make_image(kind);
    run.succeeds = kind & 128;
    run.now_ms = 1000;
    CHECK(blk_new(&options, &run.blk, &run.guest.device, NULL) == 0);
    run.guest.waits = waits;
    guest_connect(&run.guest, options.num_queues);
}

/* The image answers, and the VMM goes. */
static void end(void)
{
    struct guest_model *guest = &run.guest;
    unsigned turns = 0;
    guest->left = 0;
    run.disk.holds = run.disk.block.away = false;
    run.barrier = 0;
    while (!device_leave(guest->device)) {
        CHECK(++turns < GUEST_WAITS);
        pass(WAIT_MS);
    }
    finish_all(0);
    CHECK(run.held == 0 && run.blk->in_flight == 0);
    device_free(guest->device);
    run.blk->all = NULL;
    blk_free(run.blk);
    CHECK(run.disk.closed);
    guest_done(guest);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    run.num_timers = run.held = run.taken = 0;
    run.now_ms = 0;
    guest_init(&run.guest, data, size);
    make();
    for (unsigned i = 0; i < STEPS && run.guest.left > 0; i++)
        step();
    end();
    return 0;
}
