// SPDX-License-Identifier: BSD-3-Clause
/*
 * The vhost-user engine, with a front end and a driver that do whatever the input says: well-formed
 * and malformed messages in any pieces, descriptors of every kind, rings in memory that both change,
 * translations right and wrong, chains that are held, time that passes.
 *
 * These must hold: the engine sends whole messages; each reply has the number of a request that was
 * sent; a refusal is final; and when all is over, nothing is open, mapped or allocated.
 */
#include <errno.h>
#include <string.h>

#include "base/cursor.h"
#include "check.h"
#include "device/device.h"
#include "fake/server_host.h"
#include "server/vhost_user/vhost_user.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define USER          UINT64_C(0x10000000)
#define QUEUES        2u
#define HELD          16u
#define PAYLOAD       400u
#define FIRST_OF_MORE 200u
#define ENTRIES       8u /* of rings that bring_up() makes */
#define PACKED        (UINT64_C(1) << 34)
#define IOMMU         (UINT64_C(1) << 33)

struct run {
    struct rd input;
    struct fake_host fake;
    struct ob_device *device;
    struct engine *engine;
    struct ob_virtio_chain *held[HELD];
    unsigned num_held;
    bool holds;
    bool refused;
    bool asked[256]; /* requests that were sent, by number */
    uint64_t features;
    struct ring {
        uint64_t at;    /* of the ring's page in guest memory */
        uint16_t avail; /* the next place, free-running */
        bool wrap;      /* of a packed ring */
    } rings[QUEUES];
};

static bool notified(void *state, unsigned queue)
{
    struct run *run = state;
    struct ob_virtio_chain *chain;
    while ((chain = ob_virtio_take(run->device, queue))) {
        uint8_t byte;
        ob_virtio_read(chain, 0, &byte, 1);
        if (run->holds && run->num_held < HELD) {
            run->held[run->num_held++] = chain;
            continue;
        }
        ob_virtio_write(chain, 0, "fuzz", 4);
        ob_virtio_complete(chain, 4);
    }
    return false;
}

static void give_back(struct run *run, bool complete)
{
    while (run->num_held > 0) {
        struct ob_virtio_chain *chain = run->held[--run->num_held];
        if (complete)
            ob_virtio_complete(chain, 1);
        else
            ob_virtio_return(chain);
    }
}

static void let_go(void *state, unsigned queue)
{
    struct run *run = state;
    if (run->holds)
        give_back(run, false);
}

static void config(void *state, uint8_t *ret_config)
{
    const struct run *run = state;
    memset(ret_config, run->input.left & 1 ? 0x5a : 0x5b, 8);
}

static int save(void *state, uint8_t *ret_buf, size_t size)
{
    memset(ret_buf, 0x33, 16);
    return 16;
}

static int load(void *state, uint32_t version, const uint8_t *buf, size_t len,
                struct ob_fault *fault)
{
    CHECK(version <= 1);
    return len == 16 ? 0 : -EINVAL;
}

static void make_device(struct run *run)
{
    static const struct ob_virtio_ops ops = {.size = sizeof(ops),
                                             .notified = notified,
                                             .let_go = let_go,
                                             .config = config,
                                             .save = save,
                                             .load = load};
    static const struct ob_virtio_queue queues[QUEUES] = {{.size = 16}, {.size = 16}};
    static const struct ob_virtio_desc desc = {.size = sizeof(desc),
                                               .name = "fuzz",
                                               .type = 4,
                                               .queues = queues,
                                               .num_queues = QUEUES,
                                               .config_len = 8,
                                               .migratable = true,
                                               .state_len = 16,
                                               .state_version = 1};
    fake_host_init(&run->fake);
    CHECK(device_virtio_new(&desc, &ops, run, &run->fake.host, &run->device, NULL) == 0);
    CHECK(engine_new(&vhost_user_engine, run->device, &run->engine, NULL) == 0);
}

/* Takes the engine's replies, each of which answers a request of this front end. */
static void take(struct run *run)
{
    struct engine_output output;
    struct vhost_user_header header;
    while ((output = engine_pending(run->engine)).len > 0) {
        CHECK(output.len >= VHOST_USER_HEADER_LEN);
        vhost_user_header_get(output.bytes, VHOST_USER_HEADER_LEN, &header);
        CHECK(header.flags == (VHOST_USER_VERSION | VHOST_USER_REPLY) && header.request < 256 &&
              run->asked[header.request]);
        const size_t len = VHOST_USER_HEADER_LEN + header.size;
        CHECK(len <= output.len);
        if (engine_sent(run->engine, len) < 0)
            run->refused = true;
    }
}

static void deliver_fds(struct run *run, uint32_t request, uint32_t flags, const uint8_t *payload,
                        size_t len, const int *fds, unsigned num_fds)
{
    const struct vhost_user_header header = {
        .request = request, .flags = flags, .size = (uint32_t)len};
    size_t room;
    uint8_t *to = engine_receive_space(run->engine, &room);
    if (run->refused || room < VHOST_USER_HEADER_LEN + len) {
        for (unsigned i = 0; i < num_fds; i++)
            run->fake.host.close(run->fake.host.context, fds[i]);
        return;
    }
    vhost_user_header_put(to, VHOST_USER_HEADER_LEN, &header);
    memcpy(to + VHOST_USER_HEADER_LEN, payload, len);
    run->asked[request & 0xff] = true;
    if (engine_received(run->engine, VHOST_USER_HEADER_LEN + len, fds, num_fds) < 0)
        run->refused = true;
    take(run);
}

static void deliver(struct run *run, uint32_t request, uint32_t flags, const uint8_t *payload,
                    size_t len, enum fake_kind kind, uint64_t inode)
{
    int fd = kind == FAKE_CLOSED ? -1 : fake_open(&run->fake, kind, inode);
    deliver_fds(run, request, flags, payload, len, &fd, fd >= 0 ? 1 : 0);
}

static enum fake_kind next_kind(struct run *run)
{
    static const enum fake_kind kinds[] = {FAKE_CLOSED, FAKE_EVENT, FAKE_FILE, FAKE_OTHER};
    return kinds[rd_u8(&run->input) % 4];
}

static void send_raw(struct run *run)
{
    uint8_t payload[PAYLOAD];
    const uint32_t request = rd_u8(&run->input);
    const uint32_t flags = rd_u8(&run->input);
    const size_t len = rd_u8(&run->input);
    const enum fake_kind kind = next_kind(run);
    rd_bytes(&run->input, payload, len);
    deliver(run, request, flags, payload, len, kind, 3);
}

static void send_u64(struct run *run)
{
    static const uint32_t requests[] = {2, 12, 13, 14, 16, 39, 8, 10, 11, 18};
    uint8_t payload[8];
    const uint8_t which = rd_u8(&run->input);
    struct wr wr = wr_init(payload, sizeof(payload));
    const uint32_t request = requests[which % 10];
    wr_u32(&wr, rd_u8(&run->input) % 3);
    wr_u32(&wr, rd_u8(&run->input) % 17);
    if (request == VHOST_USER_SET_FEATURES || request == VHOST_USER_SET_PROTOCOL_FEATURES) {
        wr = wr_init(payload, sizeof(payload));
        wr_u64(&wr, request == VHOST_USER_SET_FEATURES
                        ? UINT64_C(0x140000000) | (uint64_t)(rd_u8(&run->input) % 16) << 33 |
                              (uint64_t)(rd_u8(&run->input) & 1) << 26
                        : 0x9b22b);
    }
    const bool has_fd = request >= 12 && request <= 14;
    deliver(run, request, rd_u8(&run->input) & 1 ? 9 : 1, payload, sizeof(payload),
            has_fd ? FAKE_EVENT : FAKE_CLOSED, 0);
}

static void send_memory(struct run *run)
{
    uint8_t payload[VHOST_USER_MEM_REG_LEN] = {0};
    const uint8_t what = rd_u8(&run->input);
    const uint64_t gpa = what % 4 * FAKE_FILE_LEN;
    const struct vhost_user_region region = {
        .gpa = gpa, .size = FAKE_FILE_LEN, .user_address = USER + gpa};
    vhost_user_region_put(payload + 8, VHOST_USER_REGION_LEN, &region);
    if (what & 0x80)
        deliver(run, VHOST_USER_REM_MEM_REG, 9, payload, sizeof(payload), FAKE_CLOSED, 0);
    else
        deliver(run, VHOST_USER_ADD_MEM_REG, 9, payload, sizeof(payload), FAKE_FILE, what % 4u);
}

static void send_addr_of(struct run *run, uint32_t index, uint64_t base)
{
    uint8_t payload[VHOST_USER_VRING_ADDR_LEN];
    const struct vhost_user_vring_addr addr = {
        .index = index, .desc = base, .avail = base + 1024, .used = base + 2048};
    vhost_user_vring_addr_put(payload, sizeof(payload), &addr);
    deliver(run, VHOST_USER_SET_VRING_ADDR, 9, payload, sizeof(payload), FAKE_CLOSED, 0);
}

static void send_addr(struct run *run)
{
    const uint64_t base = USER + rd_u8(&run->input) % 64 * UINT64_C(4096);
    send_addr_of(run, rd_u8(&run->input) % 2, base);
}

static void send_iotlb(struct run *run)
{
    uint8_t payload[VHOST_USER_IOTLB_LEN];
    const uint8_t what = rd_u8(&run->input), where = rd_u8(&run->input);
    const struct vhost_user_iotlb iotlb = {.iova = USER + where % 64 * UINT64_C(4096),
                                           .size = (1 + what / 16 % 4) * UINT64_C(4096),
                                           .user_address = USER + where * UINT64_C(4096),
                                           .perm = what % 4,
                                           .type = 1 + what / 4 % 4};
    vhost_user_iotlb_put(payload, sizeof(payload), &iotlb);
    deliver(run, VHOST_USER_IOTLB_MSG, 9, payload, sizeof(payload), FAKE_CLOSED, 0);
}

static void send_shared(struct run *run)
{
    uint8_t payload[VHOST_USER_INFLIGHT_LEN];
    const uint8_t what = rd_u8(&run->input);
    const struct vhost_user_inflight inflight = {
        .mmap_size = 4096, .num_queues = what % 4, .queue_size = what / 4 % 32};
    const struct vhost_user_log log = {.size = 1 + what * UINT64_C(16)};
    if (what & 0x80) {
        vhost_user_log_put(payload, VHOST_USER_LOG_LEN, &log);
        deliver(run, VHOST_USER_SET_LOG_BASE, 1, payload, VHOST_USER_LOG_LEN, FAKE_FILE, 9);
        return;
    }
    vhost_user_inflight_put(payload, sizeof(payload), &inflight);
    deliver(run, VHOST_USER_GET_INFLIGHT_FD, 1, payload, sizeof(payload), FAKE_CLOSED, 0);
    deliver(run, VHOST_USER_SET_INFLIGHT_FD, 9, payload, sizeof(payload), FAKE_FILE, 8);
}

/* A pipe with some bytes in it, or with some room. */
static void send_transfer(struct run *run)
{
    uint8_t payload[VHOST_USER_TRANSFER_LEN];
    const uint8_t what = rd_u8(&run->input);
    struct fake_pipe *pipe = &run->fake.pipe;
    const struct vhost_user_transfer transfer = {.direction = what & 1, .phase = what >> 7};
    vhost_user_transfer_put(payload, sizeof(payload), &transfer);
    if (what & 2)
        deliver(run, VHOST_USER_SET_DEVICE_STATE_FD, 1, payload, sizeof(payload),
                what & 4 ? FAKE_FILE : FAKE_PIPE, 0);
    else
        deliver(run, VHOST_USER_CHECK_DEVICE_STATE, 1, (const uint8_t *)"", 0, FAKE_CLOSED, 0);
    if (!(what & 8))
        pipe->len = 0;
    pipe->room = what & 16 ? 4096 : what % 8u;
    pipe->ended = what & 32;
    for (uint8_t more = what >> 6 & 1 ? rd_u8(&run->input) % 64 : 0; more > 0; more--)
        if (pipe->len < sizeof(pipe->bytes))
            pipe->bytes[pipe->len++] = rd_u8(&run->input);
    fake_pipe_ready(&run->fake);
}

static void send_empty(struct run *run)
{
    static const uint32_t requests[] = {1, 3, 4, 15, 17, 21, 34, 36, 40};
    const uint32_t request = requests[rd_u8(&run->input) % 9];
    deliver(run, request, 9, (const uint8_t *)"", 0,
            request == VHOST_USER_SET_BACKEND_REQ_FD ? FAKE_OTHER : FAKE_CLOSED, 0);
}

/* The driver writes to the memory that the table has. */
static void put(struct run *run, uint64_t at, const void *bytes, size_t len)
{
    struct vhost_user_server *server = (struct vhost_user_server *)run->engine;
    struct ob_dma_region *region = memory_find(&server->memory.table, at);
    if (region && region->len - (at - region->gpa) >= len)
        memcpy(region->address + (at - region->gpa), bytes, len);
}

static void write_memory(struct run *run)
{
    const uint64_t page = rd_u8(&run->input) % 64;
    const uint64_t at = page * UINT64_C(4096) + rd_u8(&run->input) * 16u;
    uint8_t bytes[32];
    rd_bytes(&run->input, bytes, sizeof(bytes));
    put(run, at, bytes, sizeof(bytes));
}

/* The front end, or a process before, writes to memory that it shares with the engine. */
static void write_shared(struct run *run)
{
    struct vhost_user_server *server = (struct vhost_user_server *)run->engine;
    const uint8_t how = rd_u8(&run->input), len = rd_u8(&run->input) % 64;
    const struct vhost_user_shared *shared = how & 1 ? &server->inflight.buffer : &server->log;
    const uint64_t at = rd_u16(&run->input) % 2048;
    if (!shared->bytes)
        return;
    if (how & 2) /* as a front end hands it out */
        memset(shared->bytes, 0, shared->len);
    for (uint64_t i = 0; i < len && at + i < shared->len; i++)
        shared->bytes[at + i] = rd_u8(&run->input);
}

/* A chain of one descriptor or two, as it should be but for its address. */
static void offer(struct run *run)
{
    const uint8_t how = rd_u8(&run->input);
    struct ring *ring = &run->rings[how & 1];
    const bool packed = run->features & PACKED;
    const uint64_t data = ((run->features & IOMMU) ? USER : 0) + rd_u8(&run->input) * UINT64_C(256);
    const unsigned count = 1 + (how >> 1 & 1);
    const uint16_t head = ring->avail % ENTRIES;
    for (unsigned i = 0; i < count; i++) {
        uint8_t bytes[16];
        const uint16_t at = (uint16_t)((head + i) % ENTRIES), next = (at + 1) % ENTRIES;
        uint16_t flags = (uint16_t)((i + 1 < count ? 1 : 0) | (how & 4 ? 2 : 0));
        if (packed)
            flags |= ring->wrap ? 1u << 7 : 1u << 15;
        struct wr wr = wr_init(bytes, sizeof(bytes));
        wr_u64(&wr, data + i * 64);
        wr_u32(&wr, how >> 3);
        wr_u16(&wr, packed ? at : flags);
        wr_u16(&wr, packed ? flags : next);
        put(run, ring->at + at * 16u, bytes, sizeof(bytes));
        if (packed)
            ring->wrap ^= at + 1 == ENTRIES;
        ring->avail += packed;
    }
    if (packed)
        return;
    put(run, ring->at + 1024 + 4 + 2u * head, &head, 2);
    ring->avail++;
    put(run, ring->at + 1024 + 2, &ring->avail, 2);
}

static void send_state(struct run *run, uint32_t request, uint32_t index, uint32_t num)
{
    uint8_t payload[8];
    vhost_user_vring_state_put(payload, sizeof(payload),
                               &(struct vhost_user_vring_state){index, num});
    deliver(run, request, 9, payload, sizeof(payload), FAKE_CLOSED, 0);
}

static void send_value(struct run *run, uint32_t request, uint64_t value, enum fake_kind kind)
{
    uint8_t payload[8];
    struct wr wr = wr_init(payload, sizeof(payload));
    wr_u64(&wr, value);
    deliver(run, request, 9, payload, sizeof(payload), kind, 0);
}

static void start_ring(struct run *run, uint32_t index, uint64_t page)
{
    static const uint8_t zeroes[4096];
    struct ring *ring = &run->rings[index];
    *ring = (struct ring){.at = page * 4096, .wrap = true};
    put(run, ring->at, zeroes, sizeof(zeroes));
    send_state(run, VHOST_USER_SET_VRING_NUM, index, ENTRIES);
    send_state(run, VHOST_USER_SET_VRING_BASE, index, (run->features & PACKED) ? 0x80008000 : 0);
    send_addr_of(run, index, USER + ring->at);
    send_value(run, VHOST_USER_SET_VRING_CALL, index, FAKE_EVENT);
    send_value(run, VHOST_USER_SET_VRING_KICK, index, FAKE_EVENT);
    send_state(run, VHOST_USER_SET_VRING_ENABLE, index, 1);
}

/* All messages with which a front end starts a device, or those until the rings. */
static void bring_up(struct run *run)
{
    const uint8_t how = rd_u8(&run->input), what = rd_u8(&run->input);
    uint8_t region[VHOST_USER_MEM_REG_LEN] = {0};
    run->features = UINT64_C(0x140000000) | (how & 1 ? PACKED : 0) | (how & 2 ? IOMMU : 0) |
                    (uint64_t)(how >> 2 & 3) << 28 | (uint64_t)(how >> 4 & 1) << 26;
    send_value(run, VHOST_USER_SET_PROTOCOL_FEATURES, 0x9b22b, FAKE_CLOSED);
    send_value(run, VHOST_USER_SET_FEATURES, run->features, FAKE_CLOSED);
    vhost_user_region_put(region + 8, VHOST_USER_REGION_LEN,
                          &(struct vhost_user_region){.size = FAKE_FILE_LEN, .user_address = USER});
    deliver(run, VHOST_USER_ADD_MEM_REG, 9, region, sizeof(region), FAKE_FILE, 1);
    deliver(run, VHOST_USER_SET_BACKEND_REQ_FD, 9, region, 0, FAKE_OTHER, 0);
    for (uint32_t i = 0; i < (what & 3) % 3; i++)
        start_ring(run, i, 1 + (what >> 2) % 6u + 7 * i);
}

/* What a process before may have left of a ring's requests, in either layout of the specification
 * ("Inflight I/O tracking"), and lies. The ring starts with it. */
static void send_past(struct run *run)
{
    uint8_t payload[VHOST_USER_INFLIGHT_LEN];
    struct vhost_user_server *server = (struct vhost_user_server *)run->engine;
    const bool packed = run->features & PACKED;
    const uint8_t how = rd_u8(&run->input);
    const unsigned queue = how >> 3 & 1, entry_len = packed ? 32 : 16;
    vhost_user_inflight_put(payload, sizeof(payload),
                            &(struct vhost_user_inflight){
                                .mmap_size = 4096, .num_queues = QUEUES, .queue_size = ENTRIES});
    deliver(run, VHOST_USER_SET_INFLIGHT_FD, 9, payload, sizeof(payload), FAKE_FILE, 8);
    uint8_t *at = vhost_user_inflight_part(server, queue, packed);
    if (!at || server->inflight.queue_size != ENTRIES) /* refused: a ring runs */
        return;
    memset(at, 0, entry_len * (1 + ENTRIES));
    at[8] = how & 1; /* version */
    at[10] = ENTRIES;
    for (unsigned i = 12; i < (packed ? 20 : 16); i += 2)
        at[i] = rd_u8(&run->input) % (ENTRIES + 2);
    if (packed) { /* counters of wraps */
        at[20] = how >> 1 & 1;
        at[21] = how >> 2 & 1;
    }
    for (uint8_t i = 0; i < ENTRIES; i++) {
        uint8_t *entry = at + entry_len * (1u + i);
        const uint8_t what = rd_u8(&run->input);
        const uint8_t next = what & 0x80 ? what >> 1 & 15 : i + 1;
        entry[0] = what & 1;
        entry[packed ? 2 : 6] = next;
        entry[8] = what >> 3; /* counter */
        if (!packed)
            continue;
        entry[4] = what & 0x40 ? next : i; /* last */
        entry[6] = 1 + (what >> 6 & 1);    /* num */
        entry[16] = i;
        entry[18] = what & 0x20 ? 1 : 2; /* flags */
        entry[20] = 16;
        entry[25] = 0x40 + i; /* of the address */
    }
    start_ring(run, queue, 1 + queue * 7);
}

/* Up to eight regions, with the descriptors that they need, or too few. */
static void send_table(struct run *run)
{
    uint8_t payload[VHOST_USER_TABLE_LEN + 8 * VHOST_USER_REGION_LEN] = {0};
    const uint8_t how = rd_u8(&run->input);
    const unsigned count = how % 9, missing = how >= 240;
    int fds[8];
    unsigned num_fds = 0;
    payload[0] = (uint8_t)count;
    for (unsigned i = 0; i < count; i++) {
        const uint64_t gpa = (how & 16 ? i : rd_u8(&run->input)) * FAKE_FILE_LEN;
        vhost_user_region_put(payload + VHOST_USER_TABLE_LEN + i * VHOST_USER_REGION_LEN,
                              VHOST_USER_REGION_LEN,
                              &(struct vhost_user_region){
                                  .gpa = gpa, .size = FAKE_FILE_LEN, .user_address = USER + gpa});
        if (i >= missing)
            fds[num_fds++] = fake_file(&run->fake, 1 + (how & 32 ? i : 0));
    }
    deliver_fds(run, VHOST_USER_SET_MEM_TABLE, 9, payload,
                VHOST_USER_TABLE_LEN + count * VHOST_USER_REGION_LEN, fds, num_fds);
}

static void send_config(struct run *run)
{
    uint8_t payload[VHOST_USER_CONFIG_LEN + 16] = {0};
    const uint8_t how = rd_u8(&run->input);
    const struct vhost_user_config range = {.offset = rd_u8(&run->input), .size = how >> 4};
    vhost_user_config_put(payload, sizeof(payload), &range);
    deliver(run, how & 1 ? VHOST_USER_SET_CONFIG : VHOST_USER_GET_CONFIG, 9, payload,
            VHOST_USER_CONFIG_LEN + range.size + (how >> 3 & 1), FAKE_CLOSED, 0);
    if (how & 2)
        ob_virtio_config_changed(run->device);
}

static void work(struct run *run)
{
    const uint8_t how = rd_u8(&run->input);
    run->holds = how & 1;
    if (how & 2)
        give_back(run, how & 4);
    if (how & 8)
        run->fake.now_ms += 3000;
    run->fake.refuses_send = how & 16;
    for (unsigned fd = 0; how & 32 && fd < FAKE_DESCRIPTORS; fd++)
        if (run->fake.descriptors[fd].kind == FAKE_EVENT && run->fake.descriptors[fd].fired)
            fake_fire(&run->fake, (int)fd);
    for (unsigned i = 0; i < 4; i++)
        if (!device_poll(run->device))
            device_before_sleep(run->device);
    if (!run->refused && engine_poke(run->engine) < 0)
        run->refused = true;
    take(run);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const steps[])(struct run * run) = {
        send_raw,   send_u64,     send_memory, send_addr, send_iotlb,    send_shared,
        send_empty, write_memory, work,        work,      send_transfer,
    };
    /* With more weight: what takes many messages to get at. */
    static void (*const more[])(struct run * run) = {
        offer,       offer, bring_up,      send_table, write_shared,
        send_config, work,  send_transfer, send_past,
    };
    static struct run the_run;
    struct run *run = &the_run;
    *run = (struct run){0};
    run->input = rd_init(data, size);
    make_device(run);
    device_trace(run->device, size % 16 == 0);
    while (run->input.left > 0 && !run->input.bad) {
        const uint8_t what = rd_u8(&run->input);
        if (what < FIRST_OF_MORE)
            steps[what % (sizeof(steps) / sizeof(steps[0]))](run);
        else
            more[what % (sizeof(more) / sizeof(more[0]))](run);
    }
    run->holds = false;
    give_back(run, true);
    for (unsigned i = 0; i < 8 && !engine_leave(run->engine); i++)
        device_poll(run->device);
    engine_free(run->engine);
    device_free(run->device);
    CHECK(fake_is_empty(&run->fake));
    return 0;
}
