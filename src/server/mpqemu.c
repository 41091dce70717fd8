// SPDX-License-Identifier: BSD-3-Clause
/*
 * The mpqemu engine: a device behind QEMU's x-pci-proxy-dev.
 *
 * The proxy opens with SYNC_SYSMEM, whose number differs between the dialects, so the first header
 * decides which one is spoken. From then on each frame has a row in `rows`, which says which frames are
 * legal before a handler sees them. The proxy waits for an answer to everything but SYNC_SYSMEM and
 * SET_IRQFD; an impossible access (an address that no BAR decodes, a size that does not exist) is
 * answered with all ones, a breach of the wire's rules ends the connection.
 *
 * BAR accesses carry the address as the guest knows it, so decoding happens here, by the BARs that
 * configuration writes have set. The wire has 32-bit BARs, INTx and no other interrupt.
 */
#include <errno.h>
#include <inttypes.h>
#include <linux/pci_regs.h>
#include <string.h>

#include "base/cursor.h"
#include "base/fault_point.h"
#include "device/device_vault.h"
#include "device/irq.h"
#include "device/pci.h"
#include "server/mpqemu.h"
#include "server/trace.h"

/* One frame, checked against its row. */
struct request {
    struct mpqemu_server *server;
    struct ob_device *device;
    const uint8_t *payload;
    size_t len;
    struct fd_list *fds;
};

enum answer {
    ANSWER_NONE,   /* the proxy does not wait */
    ANSWER_VALUE,  /* RET with a value */
    ANSWER_HEADER, /* RET without a payload */
};

struct mpqemu_row {
    uint32_t len[2]; /* of the payload, by dialect */
    unsigned min_fds, max_fds;
    enum answer answer;
    /* Returns 0, ENGINE_LATER, or -EPROTO with the fault filled; *ret_value goes into the answer.
     */
    int (*handle)(struct request *request, uint64_t *ret_value);
};

static struct mpqemu_server *server_of(struct engine *engine)
{
    return (struct mpqemu_server *)engine;
}

static int take_nothing(struct request *request, uint64_t *ret_value)
{
    return 0;
}

static int replace_memory(struct request *request)
{
    struct mpqemu_sysmem sysmem = {0};
    struct memory_region_desc descs[LIMIT_MPQEMU_FDS];
    unsigned count = request->fds->count;
    int err = mpqemu_sysmem_get(request->payload, request->len, &sysmem);
    for (unsigned i = 0; i < count; i++)
        descs[i] = (struct memory_region_desc){.gpa = sysmem.gpas[i],
                                               .len = sysmem.sizes[i],
                                               .offset = sysmem.offsets[i],
                                               .fd = request->fds->fd[i],
                                               .writable = true};
    struct ob_fault *fault = &request->server->engine.fault;
    if (err == 0)
        err = memory_replace(device_memory(request->device), descs, count, fault);
    if (err >= 0 && device_vault(request->device)) {
        device_forget_memory(request->device, VAULT_MEMORY, NULL);
        for (unsigned i = 0; i < count; i++) {
            device_keep_memory(request->device, VAULT_MEMORY, &descs[i]);
            fault_point("memory-table");
            request->fds->fd[i] = -1;
        }
    }
    if (err == MEMORY_HELD)
        device_quiesce(request->device);
    return err < 0 ? ob_fault_set(fault, -EPROTO, "SYNC_SYSMEM: refused") : 0;
}

/* Frames behind it wait until the device has let go of memory that is gone, as far as it
 * can. */
static int sync_sysmem(struct request *request, uint64_t *ret_value)
{
    struct mpqemu_server *server = request->server;
    int err = server->replaced ? 0 : replace_memory(request);
    if (err < 0)
        return err;
    server->replaced = !device_is_quiet(request->device);
    return server->replaced ? ENGINE_LATER : 0;
}

static int config_access(struct request *request, struct mpqemu_config_access *ret_access)
{
    int err = mpqemu_config_get(request->payload, request->len, ret_access);
    return err < 0 ? ob_fault_set(&request->server->engine.fault, err, "configuration access: bad")
                   : 0;
}

static int config_write(struct request *request, uint64_t *ret_value)
{
    struct mpqemu_config_access access;
    int err = config_access(request, &access);
    if (err < 0)
        return err;
    if (device_config_write(request->device, access.offset, access.len, access.value) < 0)
        *ret_value = UINT64_MAX;
    return 0;
}

static int config_read(struct request *request, uint64_t *ret_value)
{
    struct mpqemu_config_access access;
    int err = config_access(request, &access);
    if (err < 0)
        return err;
    uint32_t value;
    bool there = device_config_read(request->device, access.offset, access.len, &value) == 0;
    *ret_value = there ? value : UINT64_MAX;
    return 0;
}

/* The guest gets all ones where no BAR answers. */
static int bar_write(struct request *request, uint64_t *ret_value)
{
    struct mpqemu_bar_access access;
    if (mpqemu_bar_get(request->payload, request->len, &access) < 0 ||
        device_space_write(request->device, access.memory, access.address, access.size,
                           access.value) < 0)
        *ret_value = UINT64_MAX;
    return 0;
}

static int bar_read(struct request *request, uint64_t *ret_value)
{
    struct mpqemu_bar_access access;
    if (mpqemu_bar_get(request->payload, request->len, &access) < 0 ||
        device_space_read(request->device, access.memory, access.address, access.size, ret_value) <
            0)
        *ret_value = UINT64_MAX;
    return 0;
}

static int set_irqfd(struct request *request, uint64_t *ret_value)
{
    int *fd = request->fds->fd; /* 0 trigger, 1 resample */
    int err = irq_set_intx(request->device, fd[0], fd[1]);
    if (err < 0)
        return ob_fault_set(&request->server->engine.fault, -EPROTO,
                            "SET_IRQFD: the descriptors are not two eventfds: %s", strerror(-err));
    fd[0] = fd[1] = -1;
    return 0;
}

static int device_reset_request(struct request *request, uint64_t *ret_value)
{
    return device_reset_when_quiet(request->device) ? 0 : ENGINE_LATER;
}

#define SYSMEM_LEN 192u

/* A proxy may not send commands without a row. */
static const struct mpqemu_row rows[MPQEMU_COMMAND_COUNT] = {
    /*                       {shipped, v8} payload  fds  answer  handler */
    [MPQEMU_INIT] = {{0, 0}, 0, 0, ANSWER_NONE, take_nothing},
    [MPQEMU_SYNC_SYSMEM] = {{SYSMEM_LEN, SYSMEM_LEN}, 0, 8, ANSWER_NONE, sync_sysmem},
    [MPQEMU_CONFIG_WRITE] = {{12, 12}, 0, 0, ANSWER_VALUE, config_write},
    [MPQEMU_CONFIG_READ] = {{12, 12}, 0, 0, ANSWER_VALUE, config_read},
    [MPQEMU_BAR_WRITE] = {{24, 192}, 0, 0, ANSWER_VALUE, bar_write},
    [MPQEMU_BAR_READ] = {{24, 192}, 0, 0, ANSWER_VALUE, bar_read},
    [MPQEMU_SET_IRQFD] = {{0, 0}, 2, 2, ANSWER_NONE, set_irqfd},
    [MPQEMU_PING] = {{0, 0}, 0, 0, ANSWER_VALUE, take_nothing},
    [MPQEMU_DEVICE_RESET] = {{0, 192}, 0, 0, ANSWER_HEADER, device_reset_request},
};

/* The first frame of a proxy is SYNC_SYSMEM; its number tells the dialect. */
static int learn_dialect(struct mpqemu_server *server, const struct mpqemu_header *header)
{
    if (server->dialect_known)
        return 0;
    if (header->number > MPQEMU_V8)
        return ob_fault_set(&server->engine.fault, -EPROTO,
                            "the first message: got cmd %" PRIu32
                            " (offset 0), expected SYNC_SYSMEM, cmd 0 or 1",
                            header->number);
    server->dialect = header->number == 0 ? MPQEMU_SHIPPED : MPQEMU_V8;
    server->dialect_known = true;
    return 0;
}

/* 0 cmd, 4 padding or bytestream, 8 size. A command 0 is SYNC_SYSMEM in the shipped dialect. In the
 * v8 one that is command 1, and so are the first bytes on other wires: its size, 192, tells. */
static enum recognition recognises(const uint8_t *bytes, size_t len)
{
    static const uint8_t zero[3];
    const size_t size_at = 8;
    if (len < sizeof(zero))
        return WIRE_MORE;
    if (memcmp(bytes + 1, zero, 2) != 0 || bytes[0] > MPQEMU_V8)
        return WIRE_NO;
    if (bytes[0] == 0)
        return WIRE_YES;
    if (len <= size_at)
        return WIRE_MORE;
    return bytes[size_at] == SYSMEM_LEN ? WIRE_YES : WIRE_NO;
}

static uint64_t first_len(const uint8_t *header_bytes)
{
    struct mpqemu_header header = {0};
    mpqemu_header_get(header_bytes, MPQEMU_HEADER_LEN, &header);
    return header.number <= MPQEMU_V8 ? MPQEMU_HEADER_LEN + header.size : 0;
}

static const char *name_of(const struct mpqemu_row *row)
{
    return mpqemu_command_name((enum mpqemu_command)(row - rows));
}

static const struct mpqemu_row *find_row(const struct mpqemu_server *server, uint32_t number)
{
    int command = mpqemu_command_from(server->dialect, number);
    return command >= 0 && rows[command].handle ? &rows[command] : NULL;
}

static int frame_len(struct engine *engine, const uint8_t *header_bytes)
{
    struct mpqemu_server *server = server_of(engine);
    struct mpqemu_header header = {0};
    mpqemu_header_get(header_bytes, MPQEMU_HEADER_LEN, &header);
    int err = learn_dialect(server, &header);
    if (err < 0)
        return err;
    const struct mpqemu_row *row = find_row(server, header.number);
    if (!row)
        return ob_fault_set(&engine->fault, -EPROTO,
                            "a message: got cmd %" PRIu32 " (offset 0), which a proxy can't send",
                            header.number);
    if (header.size != row->len[server->dialect])
        return ob_fault_set(&engine->fault, -EPROTO,
                            "%s: expected a payload of %" PRIu32 " bytes, got %" PRIu64
                            " (offset 8)",
                            name_of(row), row->len[server->dialect], header.size);
    server->row = row;
    return (int)(MPQEMU_HEADER_LEN + header.size);
}

static void answer(struct mpqemu_server *server, enum answer kind, uint64_t value)
{
    if (kind == ANSWER_NONE)
        return;
    size_t len = 0;
    if (kind == ANSWER_VALUE)
        len = server->dialect == MPQEMU_V8 ? MPQEMU_UNION_LEN : MPQEMU_RET_LEN;
    const struct mpqemu_header header = {
        .number = (uint32_t)mpqemu_command_number(server->dialect, MPQEMU_RET), .size = len};
    uint8_t *reply = engine_reply_room(&server->engine);
    mpqemu_header_put(reply, MPQEMU_HEADER_LEN, &header);
    struct wr wr = wr_init(reply + MPQEMU_HEADER_LEN, len);
    if (len > 0) {
        wr_u64(&wr, value);
        wr_zero(&wr, len - MPQEMU_RET_LEN);
    }
    engine_reply(&server->engine, MPQEMU_HEADER_LEN + len, NULL, 0);
}

static int handle(struct engine *engine, const uint8_t *frame, size_t len, struct fd_list *fds)
{
    struct mpqemu_server *server = server_of(engine);
    const struct mpqemu_row *row = server->row;
    if (fds->count < row->min_fds || fds->count > row->max_fds)
        return ob_fault_set(&engine->fault, -EPROTO, "%s: got %u descriptors, expected %u to %u",
                            name_of(row), fds->count, row->min_fds, row->max_fds);
    struct request request = {.server = server,
                              .device = engine->device,
                              .payload = frame + MPQEMU_HEADER_LEN,
                              .len = len - MPQEMU_HEADER_LEN,
                              .fds = fds};
    uint64_t value = 0;
    int err = row->handle(&request, &value);
    if (err == 0)
        answer(server, row->answer, value);
    return err;
}

static int fit_device(struct ob_device *device, struct ob_fault *fault)
{
    irq_automask_intx(device, false);
    device_hide_capability(device, PCI_CAP_ID_MSI);
    device_hide_capability(device, PCI_CAP_ID_MSIX);
    return device_narrow_bars(device, fault);
}

static void put_session(struct engine *engine)
{
    const struct mpqemu_server *server = server_of(engine);
    const uint8_t bytes[] = {server->dialect_known, (uint8_t)server->dialect};
    vault_put(engine->vault, VAULT_PART_WIRE, bytes, sizeof(bytes), 0);
}

static int resume_session(struct engine *engine, struct ob_fault *fault)
{
    struct mpqemu_server *server = server_of(engine);
    const struct vault_copy *copy = vault_get(engine->vault, VAULT_PART_WIRE);
    if (!copy) /* it died before the first message was done */
        return 0;
    if (copy->len != 2 || copy->bytes[0] > 1 || copy->bytes[1] > MPQEMU_V8)
        return ob_fault_set(fault, -EINVAL, "the vault has no session of mpqemu");
    server->dialect_known = copy->bytes[0];
    server->dialect = copy->bytes[1] == MPQEMU_V8 ? MPQEMU_V8 : MPQEMU_SHIPPED;
    return 0;
}

/* A read is all ones, as where no device is. A message without an answer can't be left out. */
static bool answer_error(struct engine *engine, const uint8_t *frame, size_t len)
{
    struct mpqemu_server *server = server_of(engine);
    answer(server, server->row->answer, UINT64_MAX);
    return server->row->answer != ANSWER_NONE;
}

static const struct engine_session_ops session = {
    .put = put_session,
    .resume = resume_session,
    .answer_error = answer_error,
};

const struct engine_ops mpqemu_engine = {
    .wire = "mpqemu",
    .instance_len = sizeof(struct mpqemu_server),
    .header_len = MPQEMU_HEADER_LEN,
    .rx_len = LIMIT_REQUEST_BYTES,
    .tx_len = LIMIT_REPLY_BYTES,
    .reply_limit = MPQEMU_HEADER_LEN + MPQEMU_UNION_LEN,
    .recognises = recognises,
    .first_len = first_len,
    .frame_len = frame_len,
    .handle = handle,
    .fit_device = fit_device,
    .trace = mpqemu_trace,
    .session = &session,
};
