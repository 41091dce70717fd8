// SPDX-License-Identifier: BSD-3-Clause
/* The lines of a trace for mpqemu's messages. */
#include <inttypes.h>

#include "base/cursor.h"
#include "device/pci.h"
#include "server/mpqemu.h"
#include "server/trace.h"

static void describe_sysmem(struct trace_line *line, const struct trace_message *message)
{
    struct mpqemu_sysmem sysmem = {0};
    mpqemu_sysmem_get(message->bytes + MPQEMU_HEADER_LEN, message->len - MPQEMU_HEADER_LEN,
                      &sysmem);
    for (unsigned i = 0; i < message->num_fds && i < LIMIT_MPQEMU_FDS; i++)
        trace_add(line, " [address 0x%" PRIx64 " len 0x%" PRIx64 " offset 0x%" PRIx64 "]",
                  sysmem.gpas[i], sysmem.sizes[i], sysmem.offsets[i]);
}

static void describe_config(struct trace_line *line, const struct trace_message *message,
                            bool writes)
{
    struct mpqemu_config_access access = {0};
    mpqemu_config_get(message->bytes + MPQEMU_HEADER_LEN, message->len - MPQEMU_HEADER_LEN,
                      &access);
    trace_add(line, " config offset 0x%" PRIx32 " len %" PRIu32, access.offset, access.len);
    if (writes)
        trace_add(line, " value 0x%" PRIx32, access.value);
}

/* The guest's address, and its meaning by the BARs' present places. */
static void describe_bar(struct trace_line *line, const struct engine *engine,
                         const struct trace_message *message, bool writes)
{
    struct mpqemu_bar_access access = {0};
    uint64_t offset = 0;
    mpqemu_bar_get(message->bytes + MPQEMU_HEADER_LEN, message->len - MPQEMU_HEADER_LEN, &access);
    int bar = device_decode(engine->device, access.memory, access.address, access.size, &offset);
    trace_add(line, " %s 0x%" PRIx64, access.memory ? "address" : "port", access.address);
    if (bar >= 0)
        trace_add(line, " region %d offset 0x%" PRIx64, bar, offset);
    else
        trace_add(line, " no region");
    trace_add(line, " len %" PRIu32, access.size);
    if (writes)
        trace_add(line, " value 0x%" PRIx64, access.value);
}

static void describe_return(struct trace_line *line, const struct trace_message *message)
{
    struct rd rd = rd_init(message->bytes + MPQEMU_HEADER_LEN, message->len - MPQEMU_HEADER_LEN);
    if (rd.left >= MPQEMU_RET_LEN)
        trace_add(line, " value 0x%" PRIx64, rd_u64(&rd));
}

void mpqemu_trace(const struct engine *engine, const struct trace_message *message)
{
    const struct mpqemu_server *server = (const struct mpqemu_server *)engine;
    struct trace_line line = {0};
    struct mpqemu_header header = {0};
    mpqemu_header_get(message->bytes, MPQEMU_HEADER_LEN, &header);
    int command = mpqemu_command_from(server->dialect, header.number);
    trace_add(&line, "%s %s size %" PRIu64 " fds %u", message->got ? "got" : "sent",
              command < 0 ? "?" : mpqemu_command_name((enum mpqemu_command)command), header.size,
              message->num_fds);
    if (command == MPQEMU_SYNC_SYSMEM)
        describe_sysmem(&line, message);
    else if (command == MPQEMU_CONFIG_READ || command == MPQEMU_CONFIG_WRITE)
        describe_config(&line, message, command == MPQEMU_CONFIG_WRITE);
    else if (command == MPQEMU_BAR_READ || command == MPQEMU_BAR_WRITE)
        describe_bar(&line, engine, message, command == MPQEMU_BAR_WRITE);
    else if (command == MPQEMU_RET)
        describe_return(&line, message);
    trace_end(engine->device, &line);
}
