// SPDX-License-Identifier: BSD-3-Clause
/*
 * The vfio-user engine, with a client and a device that do whatever the input says: well-formed and
 * malformed messages in any pieces, descriptors of every kind, replies right and wrong, DMA, spans
 * that are held, interrupts, eventfds that fire.
 *
 * What must hold: what the engine sends are whole messages; each command that wants a reply gets
 * one, in order, with its id; no more commands are on their way than there are slots; each DMA ends
 * exactly once; a refusal is final; and when all is over, nothing is open, mapped or allocated.
 */
#include <errno.h>
#include <string.h>

#include <outboard/dma.h>
#include <outboard/irq.h>

#include "base/cursor.h"
#include "check.h"
#include "device/pci.h"
#include "fake/server_host.h"
#include "server/vfio_user/vfio_user.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REQUESTS    40u
#define REQUEST_LEN 64u
#define SPANS       4u
#define QUEUE       512u
#define STREAM      32768u
#define FRAME       (32u + 4096u)

struct expected {
    uint16_t id, command;
};

struct run {
    struct rd input;
    struct fake_host fake;
    struct ob_device *device;
    struct engine_ops ops;
    struct engine *engine;
    bool refused;
    bool paused;

    /* What was delivered and is not a whole message yet; replies that are due. */
    uint8_t stream[STREAM];
    size_t stream_len;
    struct expected due[QUEUE];
    unsigned due_count, due_taken;

    /* What was taken of the engine and is not a whole message yet. */
    uint8_t sent[STREAM];
    size_t sent_len;
    struct vfio_user_header asked[LIMIT_VFIO_USER_DMA_MESSAGES];
    uint32_t asked_count[LIMIT_VFIO_USER_DMA_MESSAGES];
    unsigned num_asked;

    struct ob_dma_request requests[REQUESTS];
    bool busy[REQUESTS];
    uint8_t buffers[REQUESTS][REQUEST_LEN];
    struct ob_dma_span spans[SPANS];
    unsigned num_spans;
};

static uint64_t read_register(void *state, unsigned bar, uint64_t offset, unsigned size)
{
    CHECK(bar < 2 && size <= 8 && offset + size <= 8192);
    return offset;
}

static void write_register(void *state, unsigned bar, uint64_t offset, unsigned size,
                           uint64_t value)
{
    CHECK(bar < 2 && size <= 8 && offset + size <= 8192);
}

static void ring(void *state, unsigned number)
{
    CHECK(number == 5);
}

static void pause_device(void *state, bool paused)
{
    struct run *run = state;
    CHECK(run->paused != paused);
    run->paused = paused;
}

static int save(void *state, uint8_t *ret_buf, size_t size)
{
    const struct run *run = state;
    CHECK(run->paused && size == 4);
    static const uint8_t saved[4] = {'f', 'u', 'z', 'z'};
    memcpy(ret_buf, saved, sizeof(saved));
    return sizeof(saved);
}

static int load(void *state, uint32_t version, const uint8_t *buf, size_t len,
                struct ob_fault *fault)
{
    const struct run *run = state;
    CHECK(run->paused && version <= 3);
    return len == 4 ? 0 : -EINVAL;
}

static void finished(struct ob_dma_request *request, int result)
{
    struct run *run = request->context;
    size_t index = (size_t)(request - run->requests);
    CHECK(run->busy[index] && result <= 0);
    run->busy[index] = false;
}

static void make_device(struct run *run)
{
    static const struct ob_doorbell doorbells[] = {{.bar = 0, .offset = 16, .number = 5}};
    static const struct ob_device_desc desc = {
        .name = "fuzz",
        .intx = true,
        .bars = {{.kind = OB_BAR_MEM32, .size = 4096},
                 {.kind = OB_BAR_MEM32,
                  .flags = OB_BAR_MEMORY,
                  .size = 8192,
                  .memory = {.offset = 4096, .len = 4096}}},
        .msi_vectors = 4,
        .msix_vectors = 20,
        .msix_offset = 0x800,
        .doorbells = doorbells,
        .num_doorbells = 1,
        .state_len = 4,
        .state_version = 3,
    };
    static const struct ob_device_ops ops = {.read = read_register,
                                             .write = write_register,
                                             .doorbell = ring,
                                             .pause = pause_device,
                                             .save = save,
                                             .load = load};
    fake_host_init(&run->fake);
    CHECK(device_new(&desc, &ops, run, &run->fake.host, &run->device, NULL) == 0);
    device_trace(run->device, true); /* what a peer says is formatted too */
    /* As it is but for its buffers, which would take most of the time. */
    run->ops = vfio_user_engine;
    run->ops.rx_len = run->ops.reply_limit = FRAME;
    run->ops.tx_len = (size_t)3 * FRAME;
    CHECK(engine_new(&run->ops, run->device, &run->engine, NULL) == 0);
}

/* Notes the commands that were delivered whole and want a reply. */
static void note_commands(struct run *run)
{
    struct vfio_user_header header;
    while (run->stream_len >= VFIO_USER_HEADER_LEN) {
        vfio_user_header_get(run->stream, VFIO_USER_HEADER_LEN, &header);
        if (header.size < VFIO_USER_HEADER_LEN || header.size > run->stream_len)
            return;
        bool wants_reply = (header.flags & VFIO_USER_TYPE_MASK) == VFIO_USER_TYPE_COMMAND &&
                           !(header.flags & VFIO_USER_NO_REPLY);
        if (wants_reply && run->due_count < QUEUE)
            run->due[run->due_count++] = (struct expected){header.id, header.command};
        run->stream_len -= header.size;
        memmove(run->stream, run->stream + header.size, run->stream_len);
    }
}

static int next_fd(struct run *run)
{
    static const enum fake_kind kinds[] = {FAKE_FILE, FAKE_EVENT, FAKE_EVENT, FAKE_OTHER};
    uint8_t byte = rd_u8(&run->input);
    return fake_open(&run->fake, kinds[byte % 4], byte / 4 % 2);
}

static void deliver(struct run *run, const uint8_t *bytes, size_t len, unsigned num_fds)
{
    size_t room;
    int fds[LIMIT_FDS_PER_RECEIVE];
    unsigned opened = 0;
    uint8_t *to = engine_receive_space(run->engine, &room);
    CHECK(to + room <= run->engine->rx + run->engine->ops->rx_len);
    if (len > room || run->refused || run->stream_len + len > STREAM || run->due_count == QUEUE)
        return;
    while (opened < num_fds && (fds[opened] = next_fd(run)) >= 0)
        opened++;
    memcpy(to, bytes, len);
    memcpy(run->stream + run->stream_len, bytes, len);
    run->stream_len += len;
    note_commands(run);
    int err = engine_received(run->engine, len, fds, opened);
    CHECK(err == 0 || err == -EPROTO);
    CHECK((err == 0) == (run->engine->fault.code == 0));
    run->refused = err < 0;
}

static void deliver_message(struct run *run, struct vfio_user_header header, const uint8_t *payload,
                            size_t len, unsigned num_fds)
{
    uint8_t message[VFIO_USER_HEADER_LEN + 512];
    header.size = (uint32_t)(VFIO_USER_HEADER_LEN + len);
    vfio_user_header_put(message, VFIO_USER_HEADER_LEN, &header);
    memcpy(message + VFIO_USER_HEADER_LEN, payload, len);
    deliver(run, message, header.size, num_fds);
}

/* Bytes of the input as a payload; zeroes where it ends. */
static size_t next_payload(struct run *run, uint8_t *payload, size_t max)
{
    size_t len = rd_u8(&run->input) % (max + 1);
    rd_bytes(&run->input, payload, len);
    return len;
}

static void send_raw(struct run *run)
{
    uint8_t bytes[256];
    size_t len = next_payload(run, bytes, sizeof(bytes) - 1);
    deliver(run, bytes, len, rd_u8(&run->input) % 4);
}

static void send_command(struct run *run)
{
    uint8_t payload[256];
    struct vfio_user_header header = {.id = rd_u8(&run->input), .command = rd_u8(&run->input) % 20};
    uint8_t how = rd_u8(&run->input);
    size_t len = next_payload(run, payload, sizeof(payload) - 1);
    header.flags = how & 1 ? VFIO_USER_NO_REPLY : 0;
    deliver_message(run, header, payload, len, how >> 4);
}

static void send_version(struct run *run)
{
    static const char *const offers[] = {
        "{\"capabilities\":{\"max_msg_fds\":16}}",
        "{\"capabilities\":{\"max_data_xfer_size\":24,\"max_dma_maps\":3}}",
        "{\"capabilities\":{\"max_msg_fds\":4,\"migration\":{\"pgsize\":4096}}}", /* as QEMU */
    };
    uint8_t payload[128] = {0};
    const char *text = offers[rd_u8(&run->input) % 3];
    size_t len = strlen(text) + 1;
    CHECK(len <= sizeof(payload) - VFIO_USER_VERSION_LEN);
    memcpy(payload + VFIO_USER_VERSION_LEN, text, len);
    deliver_message(run, (struct vfio_user_header){.command = VFIO_USER_VERSION}, payload,
                    VFIO_USER_VERSION_LEN + len, 0);
}

/* Eight pages, of which any two may be one region. */
static void send_map(struct run *run)
{
    uint8_t payload[VFIO_USER_DMA_MAP_LEN], where = rd_u8(&run->input);
    const uint64_t iova = where % 8 * UINT64_C(4096);
    const uint64_t size = (1 + where / 8 % 4) * UINT64_C(4096);
    struct vfio_user_header header = {.command = VFIO_USER_DMA_MAP};
    size_t len = VFIO_USER_DMA_MAP_LEN;
    if (where & 0x80) {
        struct vfio_user_dma_unmap unmap = {24, 0, iova, size};
        if (where == 0xff) /* all of them */
            unmap = (struct vfio_user_dma_unmap){.argsz = 24, .flags = 2};
        header.command = VFIO_USER_DMA_UNMAP;
        len = (size_t)vfio_user_dma_unmap_put(payload, sizeof(payload), &unmap);
        deliver_message(run, header, payload, len, 0);
        return;
    }
    const struct vfio_user_dma_map map = {32, where & 0x20 ? 1 : 3, 0, iova, size};
    vfio_user_dma_map_put(payload, sizeof(payload), &map);
    deliver_message(run, header, payload, len, where >> 6);
}

static void send_irqs(struct run *run)
{
    uint8_t payload[VFIO_USER_IRQ_SET_LEN + 32] = {0};
    uint8_t what = rd_u8(&run->input);
    const struct vfio_user_irq_set set = {.argsz = 20,
                                          .flags = (1u << what % 3) | (8u << what / 3 % 3),
                                          .index = what / 9 % 5,
                                          .start = rd_u8(&run->input) % 4,
                                          .count = rd_u8(&run->input) % 20};
    size_t len = VFIO_USER_IRQ_SET_LEN + (set.flags & 2 ? set.count : 0);
    vfio_user_irq_set_put(payload, VFIO_USER_IRQ_SET_LEN, &set);
    rd_bytes(&run->input, payload + VFIO_USER_IRQ_SET_LEN, len - VFIO_USER_IRQ_SET_LEN);
    deliver_message(run, (struct vfio_user_header){.command = VFIO_USER_DEVICE_SET_IRQS}, payload,
                    len, set.flags & 4 ? set.count : 0);
}

/* Asks for a state, reads what was saved, or hands in a state that may be right. */
static void migrate(struct run *run)
{
    uint8_t payload[64] = {0}, what = rd_u8(&run->input);
    struct wr wr = wr_init(payload, sizeof(payload));
    struct vfio_user_header header = {.command = VFIO_USER_DEVICE_FEATURE};
    if (what < 128) {
        wr_u32(&wr, 16);
        wr_u32(&wr, 1u << 17 | 2); /* set the state */
        wr_u32(&wr, what % 8);
        wr_u32(&wr, 0);
    } else if (what < 192) {
        header.command = VFIO_USER_MIG_DATA_READ;
        wr_u32(&wr, 4096);
        wr_u32(&wr, (uint32_t)(what - 128) * 64);
    } else {
        header.command = VFIO_USER_MIG_DATA_WRITE;
        wr_u32(&wr, 0);
        wr_u32(&wr, what % 32u);
        rd_bytes(&run->input, wr_room(&wr, what % 32u), what % 32u);
    }
    deliver_message(run, header, payload, (size_t)wr_done(&wr), 0);
}

/* Accesses of any length, alone or many in one message, to what may be there. */
static void access_regions(struct run *run)
{
    static const uint32_t regions[] = {0, 1, 7, 2, 7, 1, 0, 9};
    uint8_t payload[256] = {0}, how = rd_u8(&run->input);
    struct wr wr = wr_init(payload, sizeof(payload));
    struct vfio_user_header header = {.command = VFIO_USER_REGION_READ};
    const unsigned writes = how & 0x80 ? 1 + how % 8 : 1;
    if (how & 0x80) {
        header.command = VFIO_USER_REGION_WRITE_MULTI;
        wr_u64(&wr, writes + (how >> 6 & 1) * 7u);
    }
    for (unsigned i = 0; i < writes; i++) {
        uint8_t what = rd_u8(&run->input);
        uint32_t count = how & 0x80 ? what % 10 : what % 100;
        wr_u64(&wr, rd_u16(&run->input) % 8200u);
        wr_u32(&wr, regions[what >> 5]);
        wr_u32(&wr, count);
        if (how & 0x80) {
            wr_u64(&wr, what);
        } else if (how & 0x40) {
            header.command = VFIO_USER_REGION_WRITE;
            rd_bytes(&run->input, wr_room(&wr, count), count);
        }
    }
    int len = wr_done(&wr);
    if (len > 0)
        deliver_message(run, header, payload, (size_t)len, 0);
}

/* Starts and stops a log of the pages that are written, and asks for it. */
static void log_pages(struct run *run)
{
    uint8_t payload[128] = {0}, how = rd_u8(&run->input);
    struct wr wr = wr_init(payload, sizeof(payload));
    const uint64_t page = UINT64_C(4096) << how % 2, start = how / 4 % 8 * page;
    const unsigned ranges = how & 2 ? 1 + how / 16 % 3 : 0;
    wr_u32(&wr, 64);
    switch (how >> 6) {
    case 0:
        wr_u32(&wr, 1u << 17 | VFIO_USER_FEATURE_LOGGING_START);
        wr_u64(&wr, page);
        wr_u32(&wr, ranges);
        wr_u32(&wr, 0);
        for (unsigned i = 0; i < ranges; i++) {
            wr_u64(&wr, start + i * 4 * page);
            wr_u64(&wr, 4 * page);
        }
        break;
    case 1:
        wr_u32(&wr, 1u << 17 | VFIO_USER_FEATURE_LOGGING_STOP);
        if (how & 1)
            wr_zero(&wr, 16);
        break;
    default:
        wr_u32(&wr, 1u << 16 | VFIO_USER_FEATURE_LOGGING_REPORT);
        wr_u64(&wr, start);
        wr_u64(&wr, (1 + how / 8 % 4) * page);
        wr_u64(&wr, page);
        break;
    }
    deliver_message(run, (struct vfio_user_header){.command = VFIO_USER_DEVICE_FEATURE}, payload,
                    (size_t)wr_done(&wr), 0);
}

/* Replies to one of the engine's commands, in one of the layouts, or wrongly. */
static void answer(struct run *run)
{
    uint8_t payload[256] = {0}, how = rd_u8(&run->input);
    if (run->num_asked == 0)
        return;
    unsigned which = how % run->num_asked;
    struct vfio_user_header header = run->asked[which];
    uint32_t count = run->asked_count[which];
    run->num_asked--;
    run->asked[which] = run->asked[run->num_asked];
    run->asked_count[which] = run->asked_count[run->num_asked];
    size_t len = VFIO_USER_ACCESS_LEN;
    const struct vfio_user_dma_access access = {.count = count};
    vfio_user_dma_access_put(payload, VFIO_USER_ACCESS_LEN, &access);
    if (header.command == VFIO_USER_DMA_READ)
        len += count;
    else if (how & 0x40)
        len = 0; /* as QEMU does */
    header.flags = VFIO_USER_TYPE_REPLY;
    if (how & 0x80) {
        len = how & 0x20 ? 0 : len / 2;
        header.flags |= how & 0x20 ? VFIO_USER_ERROR : 0;
        header.error = how;
    }
    deliver_message(run, header, payload, len, 0);
}

static void submit(struct run *run)
{
    uint8_t what = rd_u8(&run->input);
    for (unsigned i = 0; i < REQUESTS; i++) {
        if (run->busy[i])
            continue;
        run->busy[i] = true;
        run->requests[i] = (struct ob_dma_request){
            .iova = (uint64_t)rd_u8(&run->input) * 256,
            .buf = run->buffers[i],
            .len = what % (REQUEST_LEN + 1),
            .direction = what & 0x80 ? OB_DMA_FROM_DEVICE : OB_DMA_TO_DEVICE,
            .done = finished,
            .context = run,
        };
        ob_dma_submit(run->device, &run->requests[i]);
        return;
    }
}

static void cancel(struct run *run)
{
    unsigned index = rd_u8(&run->input) % REQUESTS;
    ob_dma_cancel(run->device, &run->requests[index]);
    run->busy[index] = false;
}

static void give_spans_back(struct run *run)
{
    ob_dma_unmap(run->device, run->spans, run->num_spans);
    run->num_spans = 0;
}

static void hold_spans(struct run *run)
{
    give_spans_back(run);
    int count = ob_dma_map(run->device, (uint64_t)rd_u8(&run->input) * 256, 4096, OB_DMA_TO_DEVICE,
                           run->spans, SPANS);
    run->num_spans = count < 0 ? 0 : (unsigned)count;
}

static void interrupt(struct run *run)
{
    uint8_t what = rd_u8(&run->input);
    if (what % 4 == 0)
        ob_irq_raise(run->device);
    else if (what % 4 == 1)
        ob_irq_lower(run->device);
    else
        ob_irq_signal(run->device, what / 4);
}

static void fire(struct run *run)
{
    unsigned fd = rd_u8(&run->input) % FAKE_DESCRIPTORS;
    if (run->fake.descriptors[fd].kind == FAKE_EVENT && run->fake.descriptors[fd].fired)
        fake_fire(&run->fake, (int)fd);
}

static void check_message(struct run *run, const struct vfio_user_header *header)
{
    if ((header->flags & VFIO_USER_TYPE_MASK) == VFIO_USER_TYPE_REPLY) {
        CHECK(run->due_taken < run->due_count);
        const struct expected *due = &run->due[run->due_taken++];
        CHECK(header->id == due->id && header->command == due->command);
        CHECK(!(header->flags & VFIO_USER_ERROR) ||
              (header->size == VFIO_USER_HEADER_LEN && header->error != 0));
        return;
    }
    CHECK(header->flags == VFIO_USER_TYPE_COMMAND && header->size <= STREAM);
    CHECK(header->command == VFIO_USER_DMA_READ || header->command == VFIO_USER_DMA_WRITE);
    CHECK(run->num_asked < LIMIT_VFIO_USER_DMA_MESSAGES);
    struct rd rd = rd_init(run->sent + VFIO_USER_HEADER_LEN + 8, 4);
    run->asked_count[run->num_asked] = rd_u32(&rd);
    run->asked[run->num_asked++] = *header;
}

/* Takes up to so many bytes; checks the messages that are whole. */
static void take(struct run *run, size_t limit)
{
    struct vfio_user_header header;
    struct engine_output output = engine_pending(run->engine);
    size_t len = output.len < limit ? output.len : limit;
    CHECK(run->sent_len + len <= STREAM);
    memcpy(run->sent + run->sent_len, output.bytes, len);
    run->sent_len += len;
    if (len > 0 && engine_sent(run->engine, len) < 0)
        run->refused = true;
    while (run->sent_len >= VFIO_USER_HEADER_LEN) {
        vfio_user_header_get(run->sent, VFIO_USER_HEADER_LEN, &header);
        CHECK(header.size >= VFIO_USER_HEADER_LEN);
        if (header.size > run->sent_len)
            return;
        check_message(run, &header);
        run->sent_len -= header.size;
        memmove(run->sent, run->sent + header.size, run->sent_len);
    }
}

static void take_all(struct run *run)
{
    while (engine_pending(run->engine).len > 0)
        take(run, STREAM / 4);
    CHECK(run->sent_len == 0);
}

static void step(struct run *run)
{
    static void (*const steps[])(struct run * run) = {
        send_raw, send_command, send_version,    send_map,  send_irqs, answer,   submit,
        cancel,   hold_spans,   give_spans_back, interrupt, fire,      take_all, migrate,
    };
    uint8_t byte = rd_u8(&run->input);
    if (byte % 16 < sizeof(steps) / sizeof(steps[0]))
        steps[byte % 16](run);
    else if (byte == 0xee)
        access_regions(run);
    else if (byte == 0xfe)
        log_pages(run);
    else if (byte % 16 == 14)
        take(run, byte / 16);
    else if (byte & 0x80)
        device_config_write(run->device, 4, 2, byte & 0x40 ? 0 : 4);
    else if (!run->refused && engine_poke(run->engine) < 0)
        run->refused = true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct run *run = calloc(1, sizeof(*run));
    CHECK(run);
    run->input = rd_init(data, size);
    make_device(run);
    while (run->input.left > 0 && !run->input.bad)
        step(run);
    take_all(run);
    give_spans_back(run);
    if (!run->refused && engine_poke(run->engine) == 0) {
        take_all(run);
        CHECK(run->due_taken == run->due_count || run->due_count == QUEUE);
    }
    engine_free(run->engine);
    for (unsigned i = 0; i < REQUESTS; i++)
        CHECK(!run->busy[i]);
    device_free(run->device);
    CHECK(fake_is_empty(&run->fake));
    free(run);
    return 0;
}
