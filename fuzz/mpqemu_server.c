// SPDX-License-Identifier: BSD-3-Clause
/*
 * The mpqemu engine against a model of it (mpqemu_model.h), in a world made of memory.
 *
 * An input is a list of steps: messages that are well formed, or nearly, cut in two or not, with
 * descriptors of any kind; raw bytes; replies taken or not; interrupts raised, lowered, ended. What
 * must hold at every step: the replies are those of the model to the byte; callbacks saw what the
 * model says and nothing else; configuration space is the model's, also after a refusal; the engine
 * never asks for more than its buffer holds and never waits for both sides; in the end no
 * descriptor, no mapping and no memory is left.
 */
#include <outboard/dma.h>
#include <outboard/irq.h>

#include <string.h>

#include "base/cursor.h"
#include "check.h"
#include "device/internal.h"
#include "mpqemu_model.h"
#include "server/engine.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct run {
    struct rd input;
    bool v8; /* what generated messages speak */
    struct fake_host fake;
    struct ob_device *device;
    struct engine *engine;
    bool engine_refused;
    uint8_t chunk[1024]; /* what the next receive brings */
    size_t chunk_len;
    unsigned num_events;
    size_t replies_taken;
    struct ob_dma_span spans[MODEL_SPANS];
    int num_spans;
    /* Not cleared at start: there are many starts a second. */
    struct model model;
    struct model_event events[MODEL_EVENTS];
};

static void note(struct run *run, struct model_event event)
{
    CHECK(run->num_events < MODEL_EVENTS);
    run->events[run->num_events++] = event;
}

static uint64_t on_read(void *state, unsigned bar, uint64_t offset, unsigned size)
{
    note(state,
         (struct model_event){.kind = MODEL_READ, .bar = bar, .size = size, .offset = offset});
    return model_register(bar, offset);
}

static uint64_t digest(const uint8_t *bytes, size_t len, uint64_t start)
{
    for (size_t i = 0; i < len; i++)
        start = model_digest(start, bytes[i]);
    return start;
}

/* Spans are held until the next DMA, past whatever the VMM does to its memory meanwhile. */
static void drop_spans(struct run *run)
{
    for (int i = 0; i < run->num_spans; i++) {
        const volatile uint8_t *bytes = run->spans[i].address;
        (void)bytes[0];
        (void)bytes[run->spans[i].len - 1];
    }
    if (run->num_spans > 0)
        ob_dma_unmap(run->device, run->spans, (unsigned)run->num_spans);
    run->num_spans = 0;
}

static void do_dma(struct run *run, uint64_t iova, size_t len)
{
    static uint8_t buf[4096];
    struct model_event copied = {.kind = MODEL_DMA}, mapped = {.kind = MODEL_MAP};
    drop_spans(run);
    copied.result = ob_dma_read(run->device, iova, buf, len);
    if (copied.result == 0) {
        copied.value = digest(buf, len, 0);
        CHECK(ob_dma_write(run->device, iova, buf, len) == 0);
    } else {
        CHECK(ob_dma_write(run->device, iova, buf, len) == copied.result);
    }
    mapped.result = ob_dma_map(run->device, iova, len, OB_DMA_FROM_DEVICE, run->spans, MODEL_SPANS);
    run->num_spans = mapped.result;
    for (int i = 0; i < run->num_spans; i++) {
        mapped.value = digest(run->spans[i].address, run->spans[i].len, mapped.value);
        CHECK(ob_dma_is_current(run->device, &run->spans[i]));
    }
    note(run, copied);
    note(run, mapped);
}

static void on_write(void *state, unsigned bar, uint64_t offset, unsigned size, uint64_t value)
{
    note(state,
         (struct model_event){
             .kind = MODEL_WRITE, .bar = bar, .size = size, .offset = offset, .value = value});
    if (bar == MODEL_REGISTERS && size == MODEL_DMA_SIZE)
        do_dma(state, value, offset);
}

static void on_reset(void *state)
{
    note(state, (struct model_event){.kind = MODEL_RESET});
}

static void start(struct run *run)
{
    static const struct ob_device_desc desc = {
        .name = "fuzzed",
        .vendor_id = MODEL_VENDOR,
        .device_id = MODEL_DEVICE,
        .class_code = MODEL_CLASS,
        .intx = true,
        .bars = {[MODEL_REGISTERS] = {.kind = OB_BAR_MEM32, .size = 4096},
                 [MODEL_PORTS] = {.kind = OB_BAR_IO, .size = 32},
                 [MODEL_WIDE] = {.kind = OB_BAR_MEM64, .size = 65536, .flags = OB_BAR_PREFETCHABLE},
                 [MODEL_MEMORY] = {.kind = OB_BAR_MEM32, .size = 4096, .flags = OB_BAR_MEMORY}},
    };
    static const struct ob_device_ops ops = {.read = on_read, .write = on_write, .reset = on_reset};
    fake_host_init(&run->fake);
    CHECK(device_new(&desc, &ops, run, &run->fake.host, &run->device, NULL) == 0);
    device_trace(run->device, true); /* what a peer says is formatted too */
    CHECK(engine_new(&mpqemu_engine, run->device, &run->engine, NULL) == 0);
    model_init(&run->model);
}

static void finish(struct run *run)
{
    drop_spans(run);
    engine_free(run->engine);
    CHECK(run->fake.mappings == 0);
    CHECK(fake_open_count(&run->fake) == 1); /* the memory of MODEL_MEMORY */
    device_free(run->device);
    CHECK(fake_is_empty(&run->fake));
}

/* Takes up to so many bytes of replies. */
static void take_replies(struct run *run, size_t limit)
{
    struct engine_output output = engine_pending(run->engine);
    size_t len = output.len;
    CHECK(output.num_fds == 0 && len <= LIMIT_REPLY_BYTES);
    if (len > limit)
        len = limit;
    CHECK(run->replies_taken + len <= run->model.replies_len);
    CHECK(memcmp(output.bytes, run->model.replies + run->replies_taken, len) == 0);
    run->replies_taken += len;
    if (len > 0 && engine_sent(run->engine, len) < 0)
        run->engine_refused = true;
}

static void take_all_replies(struct run *run)
{
    while (engine_pending(run->engine).len > 0)
        take_replies(run, LIMIT_REPLY_BYTES);
}

static struct model_fd next_fd(struct run *run)
{
    static const enum fake_kind kinds[] = {FAKE_FILE, FAKE_EVENT, FAKE_OTHER, FAKE_FILE};
    uint8_t byte = rd_u8(&run->input);
    enum fake_kind kind = kinds[byte % 4];
    return (struct model_fd){.kind = kind, .inode = kind == FAKE_FILE ? byte / 64 : 0};
}

/* Gives the chunk with descriptors on it to the engine and to the model. */
static void deliver(struct run *run, const struct model_fd *fds, unsigned num_fds)
{
    int numbers[LIMIT_FDS_PER_RECEIVE];
    size_t room, len = run->chunk_len;
    engine_receive_space(run->engine, &room);
    if (room < len)
        take_all_replies(run);
    uint8_t *to = engine_receive_space(run->engine, &room);
    CHECK(room >= len && to >= run->engine->rx);
    CHECK(to + room <= run->engine->rx + run->engine->ops->rx_len);
    memcpy(to, run->chunk, len);
    for (unsigned i = 0; i < num_fds; i++) {
        numbers[i] = fake_open(&run->fake, fds[i].kind, fds[i].inode);
        CHECK(numbers[i] >= 0);
    }
    if (engine_received(run->engine, len, numbers, num_fds) < 0)
        run->engine_refused = true;
    model_feed(&run->model, run->chunk, len, fds, num_fds);
    run->chunk_len = 0;
}

static void append(struct run *run, const uint8_t *bytes, size_t len)
{
    CHECK(len <= sizeof(run->chunk) - run->chunk_len);
    memcpy(run->chunk + run->chunk_len, bytes, len);
    run->chunk_len += len;
}

/* Sends a message: at once, in two pieces, of which the first carries its descriptors, or together
 * with what comes next. */
static void send_message(struct run *run, const uint8_t *bytes, size_t len,
                         const struct model_fd *fds, unsigned num_fds)
{
    size_t cut = rd_u8(&run->input);
    bool waits = cut >= 224 && num_fds == 0 && run->chunk_len < sizeof(run->chunk) / 2;
    if (cut == 0 || cut >= len)
        cut = len;
    append(run, bytes, cut);
    if (waits)
        return;
    deliver(run, fds, num_fds);
    append(run, bytes + cut, len - cut);
    if (cut < len)
        deliver(run, NULL, 0);
}

/* Compares engine and model once both have done all that was asked. */
static void compare(struct run *run)
{
    const struct model *model = &run->model;
    if (run->chunk_len > 0)
        deliver(run, NULL, 0);
    take_all_replies(run);
    CHECK(run->engine_refused == model->refused);
    CHECK((run->engine->fault.code < 0) == model->refused);
    CHECK(run->replies_taken == model->replies_len);
    CHECK(run->num_events == model->num_events);
    CHECK(memcmp(run->device->pci->function.config, model->config, sizeof(model->config)) == 0);
    CHECK(device_memory(run->device)->count == model->num_regions);
    CHECK(run->device->pci->irqs.intx_raised == model->raised);
    CHECK((run->device->pci->irqs.vectors[IRQ_INTX]->fd >= 0) == model->has_events);
    CHECK(memcmp(ob_device_bar_memory(run->device, MODEL_MEMORY), model->memory,
                 sizeof(model->memory)) == 0);
    for (unsigned i = 0; i < model->num_events; i++) {
        const struct model_event *is = &run->events[i], *must = &model->events[i];
        CHECK(is->kind == must->kind && is->bar == must->bar && is->size == must->size);
        CHECK(is->offset == must->offset && is->value == must->value);
        CHECK(is->result == must->result);
    }
}

/* Writes a header; its command is a number of the shipped dialect. */
static struct wr header(const struct run *run, uint8_t *frame, unsigned shipped, uint64_t size)
{
    struct wr wr = wr_init(frame, 16 + 192);
    bool is_reset = shipped == 7;
    wr_u32(&wr, run->v8 ? shipped + (is_reset ? 3 : 1) : shipped);
    wr_u32(&wr, 0);
    wr_u64(&wr, size);
    return wr;
}

static void step_raw(struct run *run)
{
    uint8_t bytes[256];
    struct model_fd fds[16];
    size_t len = rd_u8(&run->input);
    unsigned num_fds = rd_u8(&run->input) % 16;
    for (unsigned i = 0; i < num_fds; i++)
        fds[i] = next_fd(run);
    if (len > run->input.left)
        len = run->input.left;
    rd_bytes(&run->input, bytes, len);
    append(run, bytes, len);
    if (run->chunk_len > 0)
        deliver(run, fds, num_fds);
}

static void step_config(struct run *run)
{
    uint8_t frame[16 + 192], what = rd_u8(&run->input);
    struct wr wr = header(run, frame, what & 1 ? 2 : 3, 12);
    uint32_t offset = what & 2 ? rd_u32(&run->input) : rd_u8(&run->input) & 0x3f;
    wr_u32(&wr, offset);
    wr_u32(&wr, rd_u32(&run->input));
    wr_u32(&wr, what & 4 ? rd_u32(&run->input) : 1u << (what >> 6) % 3);
    send_message(run, frame, wr.len, NULL, 0);
}

static void step_bar(struct run *run)
{
    static const unsigned bars[] = {MODEL_REGISTERS, MODEL_PORTS, MODEL_WIDE, MODEL_MEMORY};
    uint8_t frame[16 + 192], what = rd_u8(&run->input);
    unsigned bar = bars[what >> 1 & 3];
    struct wr wr = header(run, frame, what & 1 ? 4 : 5, run->v8 ? 192 : 24);
    uint64_t base = what & 8 ? rd_u64(&run->input) : model_base(&run->model, bar);
    wr_u64(&wr, base + rd_u16(&run->input) % 4100);
    wr_u64(&wr, what & 16 ? rd_u64(&run->input) : rd_u32(&run->input) & 0xfffff);
    wr_u32(&wr, what & 32 ? rd_u8(&run->input) : 1u << (what >> 6));
    wr_u8(&wr, bar != MODEL_PORTS);
    wr_zero(&wr, run->v8 ? 192 - 21 : 3);
    send_message(run, frame, wr.len, NULL, 0);
}

static void step_sysmem(struct run *run)
{
    static const uint8_t pages[] = {1, 1, 2, 3, 4, 0, 16, 17}; /* a file has 16 */
    uint8_t frame[16 + 192], what = rd_u8(&run->input);
    unsigned count = what % 10;
    uint64_t fields[3][8] = {{0}};
    struct model_fd fds[10];
    for (unsigned i = 0; i < count; i++) {
        fds[i] = next_fd(run);
        if (i < 8) {
            fields[0][i] = (uint64_t)(rd_u8(&run->input) % 32) << 12;
            fields[1][i] = (uint64_t)pages[rd_u8(&run->input) % 8] << 12;
            fields[2][i] = (uint64_t)(rd_u8(&run->input) % 17) << 12;
        }
    }
    if (what & 64)
        fields[(what >> 4) % 3][what & 7] += rd_u64(&run->input);
    struct wr wr = header(run, frame, 0, 192);
    for (unsigned i = 0; i < 24; i++)
        wr_u64(&wr, fields[i / 8][i % 8]);
    send_message(run, frame, wr.len, fds, count);
}

static void step_irqfd(struct run *run)
{
    uint8_t frame[16 + 192], what = rd_u8(&run->input);
    struct model_fd fds[4];
    unsigned count = what < 192 ? 2 : what % 4;
    for (unsigned i = 0; i < count; i++)
        fds[i] = what & 1 ? next_fd(run) : (struct model_fd){.kind = FAKE_EVENT};
    struct wr wr = header(run, frame, 6, 0);
    send_message(run, frame, wr.len, fds, count);
}

static void step_other(struct run *run)
{
    uint8_t frame[16 + 192], what = rd_u8(&run->input);
    unsigned number = what % 8 ? 7 : what / 8;
    size_t len = number == 7 && run->v8 ? 192 : 0;
    struct wr wr = header(run, frame, number, len);
    wr_zero(&wr, len);
    send_message(run, frame, wr.len, NULL, 0);
}

/* The device's side, when engine and model stand at the same place. */
static void step_device(struct run *run)
{
    uint8_t what = rd_u8(&run->input);
    compare(run);
    if (run->engine_refused)
        return;
    int trigger = run->device->pci->irqs.vectors[IRQ_INTX]->fd;
    unsigned before = trigger >= 0 ? fake_signals(&run->fake, trigger) : 0;
    bool was_raised = run->model.raised;
    if (what % 3 == 0)
        ob_irq_raise(run->device);
    else if (what % 3 == 1)
        ob_irq_lower(run->device);
    else if (run->device->pci->irqs.intx_unmask_fd >= 0)
        fake_fire(&run->fake, run->device->pci->irqs.intx_unmask_fd);
    if (what % 3 < 2)
        model_set_raised(&run->model, what % 3 == 0);
    if (trigger < 0)
        return;
    bool disabled = run->model.config[0x05] & 4;
    bool signals = what % 3 == 0 ? !was_raised : what % 3 == 2 && was_raised;
    CHECK(fake_signals(&run->fake, trigger) - before == (signals && !disabled));
}

static void step(struct run *run)
{
    switch (rd_u8(&run->input) % 8) {
    case 0:
        step_raw(run);
        break;
    case 1:
        step_config(run);
        break;
    case 2:
        step_bar(run);
        break;
    case 3:
        step_sysmem(run);
        break;
    case 4:
        step_irqfd(run);
        break;
    case 5:
        step_other(run);
        break;
    case 6:
        take_replies(run, rd_u16(&run->input));
        break;
    default:
        step_device(run);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct run run;
    memset(&run, 0, offsetof(struct run, model));
    run.input = rd_init(data, size);
    run.v8 = rd_u8(&run.input) & 1;
    start(&run);
    while (run.input.left > 0 && !run.input.bad && !run.engine_refused && !run.model.refused &&
           !model_is_full(&run.model))
        step(&run);
    compare(&run);
    finish(&run);
    return 0;
}
