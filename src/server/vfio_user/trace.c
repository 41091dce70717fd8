// SPDX-License-Identifier: BSD-3-Clause
/*
 * The lines of a trace for vfio-user's messages. A message that is too short for its content
 * is described as if zeroes followed; its size tells.
 */
#include <inttypes.h>
#include <string.h>

#include "server/trace.h"
#include "server/vfio_user/vfio_user.h"

struct payload {
    struct rd rd;
    bool is_reply;
};

static void describe_version(struct trace_line *line, struct payload *payload)
{
    unsigned major = rd_u16(&payload->rd), minor = rd_u16(&payload->rd);
    trace_add(line, " version %u.%u ", major, minor);
    size_t len = payload->rd.left;
    const uint8_t *text = rd_take(&payload->rd, len);
    if (text)
        trace_add_text(line, (const char *)text, len);
}

static void describe_map(struct trace_line *line, struct payload *payload)
{
    if (payload->is_reply)
        return;
    rd_skip(&payload->rd, 4);
    uint32_t flags = rd_u32(&payload->rd);
    uint64_t offset = rd_u64(&payload->rd), iova = rd_u64(&payload->rd);
    uint64_t size = rd_u64(&payload->rd);
    trace_add(line,
              " address 0x%" PRIx64 " len 0x%" PRIx64 " offset 0x%" PRIx64 " flags 0x%" PRIx32,
              iova, size, offset, flags);
}

static void describe_unmap(struct trace_line *line, struct payload *payload)
{
    rd_skip(&payload->rd, 4);
    uint32_t flags = rd_u32(&payload->rd);
    uint64_t iova = rd_u64(&payload->rd), size = rd_u64(&payload->rd);
    trace_add(line, " address 0x%" PRIx64 " len 0x%" PRIx64 " flags 0x%" PRIx32, iova, size, flags);
}

static void describe_info(struct trace_line *line, struct payload *payload)
{
    rd_skip(&payload->rd, 4);
    uint32_t flags = rd_u32(&payload->rd), first = rd_u32(&payload->rd);
    uint32_t second = rd_u32(&payload->rd);
    if (payload->is_reply)
        trace_add(line, " flags 0x%" PRIx32 " regions %" PRIu32 " irqs %" PRIu32, flags, first,
                  second);
}

static void describe_indexed(struct trace_line *line, struct payload *payload, const char *noun)
{
    rd_skip(&payload->rd, 4);
    uint32_t flags = rd_u32(&payload->rd), index = rd_u32(&payload->rd);
    uint32_t count = rd_u32(&payload->rd);
    trace_add(line, " %s %" PRIu32, noun, index);
    if (payload->is_reply)
        trace_add(line, " flags 0x%" PRIx32 " count %" PRIu32, flags, count);
}

static void describe_region_info(struct trace_line *line, struct payload *payload)
{
    rd_skip(&payload->rd, 4);
    uint32_t flags = rd_u32(&payload->rd), index = rd_u32(&payload->rd);
    rd_skip(&payload->rd, 4);
    uint64_t size = rd_u64(&payload->rd);
    trace_add(line, " region %" PRIu32, index);
    if (payload->is_reply)
        trace_add(line, " flags 0x%" PRIx32 " len 0x%" PRIx64, flags, size);
}

static void describe_irq_set(struct trace_line *line, struct payload *payload)
{
    if (payload->is_reply)
        return;
    rd_skip(&payload->rd, 4);
    uint32_t flags = rd_u32(&payload->rd), index = rd_u32(&payload->rd);
    uint32_t start = rd_u32(&payload->rd), count = rd_u32(&payload->rd);
    trace_add(line, " irq %" PRIu32 " flags 0x%" PRIx32 " start %" PRIu32 " count %" PRIu32, index,
              flags, start, count);
}

static void describe_data(struct trace_line *line, struct payload *payload, size_t len)
{
    const uint8_t *data = len <= payload->rd.left ? rd_take(&payload->rd, len) : NULL;
    if (data)
        trace_add_value(line, data, len);
}

static void describe_access(struct trace_line *line, struct payload *payload)
{
    uint64_t offset = rd_u64(&payload->rd);
    uint32_t region = rd_u32(&payload->rd), count = rd_u32(&payload->rd);
    trace_add(line, " region %" PRIu32 " offset 0x%" PRIx64 " len %" PRIu32, region, offset, count);
    describe_data(line, payload, count);
}

static void describe_dma(struct trace_line *line, struct payload *payload)
{
    uint64_t iova = rd_u64(&payload->rd), count = rd_u64(&payload->rd);
    trace_add(line, " address 0x%" PRIx64 " len 0x%" PRIx64, iova, count);
}

static void describe_feature(struct trace_line *line, struct payload *payload)
{
    rd_skip(&payload->rd, 4);
    uint32_t flags = rd_u32(&payload->rd);
    trace_add(line, " feature %" PRIu32 " flags 0x%" PRIx32, flags & 0xffff, flags & 0xffff0000u);
    describe_data(line, payload, payload->rd.left);
}

static void describe_mig_data(struct trace_line *line, struct payload *payload)
{
    rd_skip(&payload->rd, 4);
    trace_add(line, " len %" PRIu32, rd_u32(&payload->rd));
}

/* A line for each write of REGION_WRITE_MULTI. */
static void trace_writes(const struct engine *engine, struct payload *payload)
{
    uint64_t count = rd_u64(&payload->rd);
    for (uint64_t i = 0; i < count && payload->rd.left >= VFIO_USER_WRITE_LEN; i++) {
        struct trace_line line = {0};
        struct vfio_user_access access = {0};
        vfio_user_access_get(rd_take(&payload->rd, VFIO_USER_ACCESS_LEN), VFIO_USER_ACCESS_LEN,
                             &access);
        const uint8_t *data = rd_take(&payload->rd, 8);
        trace_add(&line, "  write region %" PRIu32 " offset 0x%" PRIx64 " len %" PRIu32,
                  access.region, access.offset, access.count);
        trace_add_value(&line, data, access.count);
        trace_end(engine->device, &line);
    }
}

static void describe(struct trace_line *line, struct payload *payload, unsigned command)
{
    switch (command) {
    case VFIO_USER_VERSION:
        describe_version(line, payload);
        break;
    case VFIO_USER_DMA_MAP:
        describe_map(line, payload);
        break;
    case VFIO_USER_DMA_UNMAP:
        describe_unmap(line, payload);
        break;
    case VFIO_USER_DEVICE_GET_INFO:
        describe_info(line, payload);
        break;
    case VFIO_USER_DEVICE_GET_REGION_INFO:
        describe_region_info(line, payload);
        break;
    case VFIO_USER_DEVICE_GET_REGION_IO_FDS:
        describe_indexed(line, payload, "region");
        break;
    case VFIO_USER_DEVICE_GET_IRQ_INFO:
        describe_indexed(line, payload, "irq");
        break;
    case VFIO_USER_DEVICE_SET_IRQS:
        describe_irq_set(line, payload);
        break;
    case VFIO_USER_REGION_READ:
    case VFIO_USER_REGION_WRITE:
        describe_access(line, payload);
        break;
    case VFIO_USER_DMA_READ:
    case VFIO_USER_DMA_WRITE:
        describe_dma(line, payload);
        break;
    case VFIO_USER_DEVICE_FEATURE:
        describe_feature(line, payload);
        break;
    case VFIO_USER_MIG_DATA_READ:
    case VFIO_USER_MIG_DATA_WRITE:
        describe_mig_data(line, payload);
        break;
    default:
        break;
    }
}

void vfio_user_trace(const struct engine *engine, const struct trace_message *message)
{
    struct trace_line line = {0};
    struct vfio_user_header header = {0};
    vfio_user_header_get(message->bytes, VFIO_USER_HEADER_LEN, &header);
    struct payload payload = {
        .rd = rd_init(message->bytes + VFIO_USER_HEADER_LEN, message->len - VFIO_USER_HEADER_LEN),
        .is_reply = (header.flags & VFIO_USER_TYPE_MASK) == VFIO_USER_TYPE_REPLY};
    trace_add(&line, "%s %s%s id %u size %" PRIu32 " fds %u", message->got ? "got" : "sent",
              vfio_user_command_name(header.command), payload.is_reply ? " reply" : "", header.id,
              header.size, message->num_fds);
    if (payload.is_reply && header.flags & VFIO_USER_ERROR)
        trace_add(&line, " error %" PRIu32 " (%s)", header.error, strerror((int)header.error));
    else
        describe(&line, &payload, header.command);
    if (!payload.is_reply && header.flags & VFIO_USER_NO_REPLY)
        trace_add(&line, " no reply");
    trace_end(engine->device, &line);
    if (header.command == VFIO_USER_REGION_WRITE_MULTI && !payload.is_reply)
        trace_writes(engine, &payload);
}
