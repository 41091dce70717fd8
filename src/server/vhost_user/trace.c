// SPDX-License-Identifier: BSD-3-Clause
/* The lines of a trace for vhost-user's messages. */
#include <inttypes.h>

#include "server/trace.h"
#include "server/vhost_user/vhost_user.h"

static void describe_ring(struct trace_line *line, const uint8_t *payload, size_t len)
{
    struct vhost_user_vring_state state;
    struct vhost_user_vring_addr addr;
    if (vhost_user_vring_state_get(payload, len, &state) == 0)
        trace_add(line, " ring %" PRIu32 " num 0x%" PRIx32, state.index, state.num);
    else if (vhost_user_vring_addr_get(payload, len, &addr) == 0)
        trace_add(line,
                  " ring %" PRIu32 " flags 0x%" PRIx32 " desc 0x%" PRIx64 " avail 0x%" PRIx64
                  " used 0x%" PRIx64 " log 0x%" PRIx64,
                  addr.index, addr.flags, addr.desc, addr.avail, addr.used, addr.log);
}

static void describe_regions(struct trace_line *line, const uint8_t *payload, size_t len)
{
    struct vhost_user_region regions[LIMIT_VHOST_USER_REGIONS];
    int count = vhost_user_table_get(payload, len, regions);
    if (count < 0)
        count = vhost_user_mem_reg_get(payload, len, regions) == 0;
    for (int i = 0; i < count; i++)
        trace_add(line,
                  " region 0x%" PRIx64 " len 0x%" PRIx64 " user 0x%" PRIx64 " offset 0x%" PRIx64,
                  regions[i].gpa, regions[i].size, regions[i].user_address, regions[i].mmap_offset);
}

static void describe_iotlb(struct trace_line *line, const uint8_t *payload, size_t len)
{
    struct vhost_user_iotlb iotlb;
    if (vhost_user_iotlb_get(payload, len, &iotlb) == 0)
        trace_add(line, " iova 0x%" PRIx64 " len 0x%" PRIx64 " user 0x%" PRIx64 " perm %u type %u",
                  iotlb.iova, iotlb.size, iotlb.user_address, iotlb.perm, iotlb.type);
}

static void describe(struct trace_line *line, uint32_t request, const uint8_t *payload, size_t len)
{
    struct vhost_user_config config;
    const uint8_t *data;
    switch (request) {
    case VHOST_USER_SET_MEM_TABLE:
    case VHOST_USER_ADD_MEM_REG:
    case VHOST_USER_REM_MEM_REG:
        describe_regions(line, payload, len);
        break;
    case VHOST_USER_SET_VRING_NUM:
    case VHOST_USER_SET_VRING_ADDR:
    case VHOST_USER_SET_VRING_BASE:
    case VHOST_USER_GET_VRING_BASE:
    case VHOST_USER_SET_VRING_ENABLE:
        describe_ring(line, payload, len);
        break;
    case VHOST_USER_IOTLB_MSG:
        describe_iotlb(line, payload, len);
        break;
    case VHOST_USER_GET_CONFIG:
    case VHOST_USER_SET_CONFIG:
        if (vhost_user_config_get(payload, len, &config, &data) == 0)
            trace_add(line, " offset %" PRIu32 " len %" PRIu32, config.offset, config.size);
        break;
    default:
        if (len == VHOST_USER_U64_LEN)
            trace_add_value(line, payload, len);
        break;
    }
}

void vhost_user_trace(const struct engine *engine, const struct trace_message *message)
{
    struct trace_line line = {0};
    struct vhost_user_header header = {0};
    const uint8_t *payload = message->bytes + VHOST_USER_HEADER_LEN;
    const size_t len = message->len - VHOST_USER_HEADER_LEN;
    vhost_user_header_get(message->bytes, VHOST_USER_HEADER_LEN, &header);
    trace_add(&line, "%s %s%s size %" PRIu32 " fds %u", message->got ? "got" : "sent",
              vhost_user_request_name(header.request),
              header.flags & VHOST_USER_REPLY ? " reply" : "", header.size, message->num_fds);
    describe(&line, header.request, payload, len);
    if (header.flags & VHOST_USER_NEED_REPLY)
        trace_add(&line, " need reply");
    trace_end(engine->device, &line);
}
