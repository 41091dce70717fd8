// SPDX-License-Identifier: BSD-3-Clause
#include "mpqemu_model.h"

#include <errno.h>
#include <string.h>

#include "check.h"

enum command {
    NONE, /* nothing that a proxy may send */
    INIT,
    SYNC_SYSMEM,
    CONFIG_WRITE,
    CONFIG_READ,
    BAR_WRITE,
    BAR_READ,
    SET_IRQFD,
    PING,
    RESET,
};

/* The bits of configuration space that a guest may change. */
static const uint8_t writable[256] = {
    [0x04] = 0x47, [0x05] = 0x05,                               /* command */
    [0x0c] = 0xff,                                              /* cache line size */
    [0x11] = 0xf0, [0x12] = 0xff, [0x13] = 0xff,                /* MODEL_REGISTERS */
    [0x14] = 0xe0, [0x15] = 0xff, [0x16] = 0xff, [0x17] = 0xff, /* MODEL_PORTS */
    [0x1a] = 0xff, [0x1b] = 0xff,                               /* MODEL_WIDE */
    [0x21] = 0xf0, [0x22] = 0xff, [0x23] = 0xff,                /* MODEL_MEMORY */
    [0x3c] = 0xff,                                              /* interrupt line */
};

static uint64_t le(const uint8_t *bytes, size_t len)
{
    uint64_t value = 0;
    while (len-- > 0)
        value = value << 8 | bytes[len];
    return value;
}

static void reset_config(struct model *model)
{
    static const uint8_t fresh[256] = {
        [0x00] = MODEL_VENDOR & 0xff,
        [0x01] = MODEL_VENDOR >> 8,
        [0x02] = MODEL_DEVICE & 0xff,
        [0x03] = MODEL_DEVICE >> 8,
        [0x09] = MODEL_CLASS & 0xff,
        [0x0a] = MODEL_CLASS >> 8 & 0xff,
        [0x0b] = MODEL_CLASS >> 16,
        [0x14] = 1,
        [0x18] = 8,
        [0x3d] = 1,
    };
    memcpy(model->config, fresh, sizeof(fresh));
}

void model_init(struct model *model)
{
    memset(model, 0, offsetof(struct model, events));
    reset_config(model);
}

bool model_is_full(const struct model *model)
{
    return model->num_events + 2 > MODEL_EVENTS || model->replies_len + 208 > MODEL_REPLIES;
}

void model_set_raised(struct model *model, bool raised)
{
    model->raised = raised;
    model->config[0x06] = (uint8_t)((model->config[0x06] & ~8) | (raised ? 8 : 0));
}

uint64_t model_base(const struct model *model, unsigned bar)
{
    uint64_t mask = bar == MODEL_PORTS ? 3 : 15;
    return le(model->config + 0x10 + (size_t)4 * bar, 4) & ~mask;
}

uint64_t model_register(unsigned bar, uint64_t offset)
{
    return (offset + 1) * 0x9e3779b97f4a7c15 ^ bar;
}

uint64_t model_digest(uint64_t digest, uint8_t byte)
{
    return (digest ^ byte) * 0x100000001b3;
}

static void note(struct model *model, struct model_event event)
{
    CHECK(model->num_events < MODEL_EVENTS);
    model->events[model->num_events++] = event;
}

static void reply(struct model *model, size_t len, uint64_t value)
{
    uint8_t *at = model->replies + model->replies_len;
    CHECK(model->replies_len + 16 + len <= MODEL_REPLIES);
    memset(at, 0, 16 + len);
    at[0] = model->v8 ? 2 : 1;
    at[8] = (uint8_t)len;
    for (unsigned i = 0; i < 8 && len > 0; i++)
        at[16 + i] = (uint8_t)(value >> (8 * i));
    model->replies_len += 16 + len;
}

static void reply_value(struct model *model, uint64_t value)
{
    reply(model, model->v8 ? 192 : 8, value);
}

static void config_access(struct model *model, const uint8_t *payload, bool write)
{
    uint64_t offset = le(payload, 4), value = le(payload + 4, 4), len = le(payload + 8, 4);
    if (len < 1 || len > 4 || offset + len > 256) {
        reply_value(model, UINT64_MAX);
        return;
    }
    for (uint64_t i = 0; write && i < len; i++) {
        uint8_t *byte = &model->config[offset + i], mask = writable[offset + i];
        *byte = (uint8_t)((*byte & ~mask) | (value >> (8 * i) & mask));
    }
    reply_value(model, write ? 0 : le(&model->config[offset], len));
}

static const struct model_region *region_at(const struct model *model, uint64_t gpa)
{
    for (unsigned i = 0; i < model->num_regions; i++)
        if (gpa >= model->regions[i].gpa && gpa - model->regions[i].gpa < model->regions[i].len)
            return &model->regions[i];
    return NULL;
}

/* The device reads len bytes of guest memory at gpa, writes them back, and then maps them. */
static void dma(struct model *model, uint64_t gpa, uint64_t len)
{
    struct model_event copied = {.kind = MODEL_DMA}, mapped = {.kind = MODEL_MAP};
    const struct model_region *last = NULL;
    if (!(model->config[0x04] & 4))
        copied.result = mapped.result = -EPERM;
    else if (len > 0 && gpa + (len - 1) < gpa)
        copied.result = mapped.result = -EFAULT;
    for (uint64_t i = 0; copied.result == 0 && i < len; i++) {
        const struct model_region *region = region_at(model, gpa + i);
        if (!region)
            copied.result = -EFAULT;
        if ((region != last || !region) && mapped.result >= 0) {
            if (!region)
                mapped.result = -EFAULT;
            else if (mapped.result == (int)MODEL_SPANS)
                mapped.result = -E2BIG;
            else
                mapped.result++;
        }
        if (region) {
            uint64_t offset = region->offset + (gpa + i - region->gpa);
            copied.value = model_digest(copied.value, fake_file_byte(region->inode, offset));
        }
        last = region;
    }
    if (copied.result < 0)
        copied.value = 0;
    mapped.value = mapped.result >= 0 ? copied.value : 0;
    note(model, copied);
    note(model, mapped);
}

/* Which BAR an access means; -1: none. */
static int decode(const struct model *model, uint64_t address, uint64_t size, bool memory,
                  uint64_t *ret_offset)
{
    static const struct {
        unsigned bar;
        bool memory;
        uint64_t len;
    } bars[] = {{MODEL_REGISTERS, true, 4096},
                {MODEL_PORTS, false, 32},
                {MODEL_WIDE, true, 65536},
                {MODEL_MEMORY, true, 4096}};
    if (!(model->config[0x04] & (memory ? 2 : 1)))
        return -1;
    for (unsigned i = 0; i < 4; i++) {
        uint64_t base = model_base(model, bars[i].bar);
        bool inside =
            address >= base && address - base < bars[i].len && address - base + size <= bars[i].len;
        if (bars[i].memory != memory || !inside)
            continue;
        *ret_offset = address - base;
        return (int)bars[i].bar;
    }
    return -1;
}

static uint64_t low_bytes(uint64_t value, uint64_t size)
{
    return size == 8 ? value : value & ((UINT64_C(1) << (8 * size)) - 1);
}

static void bar_access(struct model *model, const uint8_t *payload, bool write)
{
    uint64_t address = le(payload, 8), value = le(payload + 8, 8), size = le(payload + 16, 4);
    uint64_t offset = 0;
    int bar = -1;
    if (size == 1 || size == 2 || size == 4 || size == 8)
        bar = decode(model, address, size, payload[20], &offset);
    if (bar < 0) {
        reply_value(model, UINT64_MAX);
        return;
    }
    if (bar == MODEL_MEMORY) {
        for (uint64_t i = 0; write && i < size; i++)
            model->memory[offset + i] = (uint8_t)(value >> (8 * i));
        reply_value(model, write ? 0 : le(&model->memory[offset], size));
        return;
    }
    note(model, (struct model_event){.kind = write ? MODEL_WRITE : MODEL_READ,
                                     .bar = (unsigned)bar,
                                     .size = (unsigned)size,
                                     .offset = offset,
                                     .value = write ? low_bytes(value, size) : 0});
    if (write && bar == MODEL_REGISTERS && size == MODEL_DMA_SIZE)
        dma(model, value, offset);
    reply_value(model, write ? 0 : low_bytes(model_register((unsigned)bar, offset), size));
}

static bool overlap(const struct model_region *a, const struct model_region *b)
{
    return a->gpa <= b->gpa + (b->len - 1) && b->gpa <= a->gpa + (a->len - 1);
}

static bool is_good(const struct model_region *region, const struct model_fd *fd)
{
    return region->len > 0 && region->gpa % 4096 == 0 && region->len % 4096 == 0 &&
           region->offset % 4096 == 0 && region->gpa + (region->len - 1) >= region->gpa &&
           fd->kind == FAKE_FILE && region->offset <= FAKE_FILE_LEN &&
           region->len <= FAKE_FILE_LEN - region->offset;
}

static void sync_sysmem(struct model *model, const uint8_t *payload)
{
    struct model_region regions[8] = {0};
    for (unsigned i = 0; i < model->num_fds; i++) {
        regions[i] = (struct model_region){.gpa = le(payload + (size_t)8 * i, 8),
                                           .len = le(payload + 64 + (size_t)8 * i, 8),
                                           .offset = le(payload + 128 + (size_t)8 * i, 8),
                                           .inode = model->fds[i].inode};
        if (!is_good(&regions[i], &model->fds[i]))
            model->refused = true;
        for (unsigned k = 0; k < i && !model->refused; k++)
            if (overlap(&regions[i], &regions[k]))
                model->refused = true;
    }
    if (model->refused)
        return;
    memcpy(model->regions, regions, sizeof(regions));
    model->num_regions = model->num_fds;
}

static enum command command_of(const struct model *model, uint64_t number)
{
    static const enum command shipped[] = {SYNC_SYSMEM, NONE,     CONFIG_WRITE, CONFIG_READ,
                                           BAR_WRITE,   BAR_READ, SET_IRQFD,    RESET};
    static const enum command v8[] = {INIT,        SYNC_SYSMEM, NONE,     CONFIG_WRITE,
                                      CONFIG_READ, BAR_WRITE,   BAR_READ, SET_IRQFD,
                                      NONE,        PING,        RESET};
    if (model->v8)
        return number < sizeof(v8) / sizeof(v8[0]) ? v8[number] : NONE;
    return number < sizeof(shipped) / sizeof(shipped[0]) ? shipped[number] : NONE;
}

static uint64_t payload_len(const struct model *model, enum command command)
{
    switch (command) {
    case SYNC_SYSMEM:
        return 192;
    case CONFIG_WRITE:
    case CONFIG_READ:
        return 12;
    case BAR_WRITE:
    case BAR_READ:
        return model->v8 ? 192 : 24;
    case RESET:
        return model->v8 ? 192 : 0;
    default:
        return 0;
    }
}

static bool right_fds(const struct model *model, enum command command)
{
    if (command == SYNC_SYSMEM)
        return model->num_fds <= 8;
    if (command != SET_IRQFD)
        return model->num_fds == 0;
    return model->num_fds == 2 && model->fds[0].kind == FAKE_EVENT &&
           model->fds[1].kind == FAKE_EVENT;
}

static void carry_out(struct model *model, enum command command)
{
    const uint8_t *payload = model->frame + 16;
    if (!right_fds(model, command))
        model->refused = true;
    else if (command == SYNC_SYSMEM)
        sync_sysmem(model, payload);
    else if (command == CONFIG_WRITE || command == CONFIG_READ)
        config_access(model, payload, command == CONFIG_WRITE);
    else if (command == BAR_WRITE || command == BAR_READ)
        bar_access(model, payload, command == BAR_WRITE);
    else if (command == SET_IRQFD)
        model->has_events = true;
    else if (command == PING)
        reply_value(model, 0);
    else if (command == RESET) {
        model_set_raised(model, false);
        reset_config(model);
        note(model, (struct model_event){.kind = MODEL_RESET});
        reply(model, 0, 0);
    }
}

/* Looks at the frame so far; carries it out once it is whole. */
static void look(struct model *model)
{
    if (model->frame_len < 16)
        return;
    uint64_t number = le(model->frame, 4), size = le(model->frame + 8, 8);
    if (!model->dialect_known && number > 1) {
        model->refused = true;
        return;
    }
    if (!model->dialect_known)
        model->v8 = number == 1;
    model->dialect_known = true;
    enum command command = command_of(model, number);
    if (command == NONE || size != payload_len(model, command)) {
        model->refused = true;
        return;
    }
    if (model->frame_len < 16 + size)
        return;
    carry_out(model, command);
    model->frame_len = 0;
    model->num_fds = 0;
}

void model_feed(struct model *model, const uint8_t *bytes, size_t len, const struct model_fd *fds,
                unsigned num_fds)
{
    for (size_t i = 0; i < len && !model->refused; i++) {
        model->frame[model->frame_len++] = bytes[i];
        if (i == len - 1) /* descriptors belong to the last frame that has begun */
            for (unsigned k = 0; k < num_fds && model->num_fds < 256; k++)
                model->fds[model->num_fds++] = fds[k];
        look(model);
    }
}
