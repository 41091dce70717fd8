// SPDX-License-Identifier: BSD-3-Clause
/*
 * The vfio-user engine: a device behind any VMM that speaks vfio-user.
 *
 * The client opens with VERSION; nothing else is understood before. From then on each command has a
 * row in `rows`, which says which frames are legal before a handler sees them. Commands are carried out in the
 * order in which they come, and each is answered before the next is looked at, so replies are in
 * order too. A command that asks for something wrong is answered with an errno, and the connection
 * continues; a stream that can't be understood ends it: a length that no message has, a message that
 * is neither command nor expected reply, a first command other than VERSION.
 *
 * The engine sends commands too, DMA_READ and DMA_WRITE, but never waits for their replies: these
 * come in among the client's commands and end the device's request.
 *
 * vfio_user_info.c describes the device; register accesses are in vfio_user_access.c,
 * interrupts in vfio_user_irqs.c, guest memory in vfio_user_map.c and vfio_user_dma.c, and the
 * device's state, to be carried elsewhere, in vfio_user_migration.c.
 */
#include "server/vfio_user/vfio_user.h"

#include <errno.h>
#include <inttypes.h>

#include "device/irq.h"
#include "server/trace.h"

/* VERSION that this engine speaks. */
#define MAJOR 0
#define MINOR 0

struct row {
    uint32_t min_len, max_len; /* of the payload */
    unsigned max_fds;
    vfio_user_handler_fn handle;
};

static struct vfio_user_server *server_of(struct engine *engine)
{
    return (struct vfio_user_server *)engine;
}

static uint64_t smaller(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* Accepts the part of the offer that this engine can do. -EINVAL when there is no such part.
 *
 * QEMU (10.1, 10.2) is not told that WRITE_MULTI is there, which it uses for nothing but floods of
 * posted writes. For then it takes a wrong flag for its own, has a thread send every message, which
 * costs each access a wake-up, and after the end of this process each costs it 5 s. */
static int agree(const struct engine_ops *ops, struct vfio_user_version *version)
{
    struct vfio_user_capabilities *capabilities = &version->capabilities;
    const uint64_t longest = vfio_user_longest_transfer(ops);
    capabilities->max_msg_fds = (uint32_t)smaller(capabilities->max_msg_fds, LIMIT_VFIO_USER_FDS);
    capabilities->max_data_xfer_size = smaller(capabilities->max_data_xfer_size, longest);
    capabilities->max_dma_maps =
        (uint32_t)smaller(capabilities->max_dma_maps, LIMIT_MEMORY_REGIONS);
    capabilities->pgsizes &= ~(uint64_t)(MEMORY_PAGE - 1);
    capabilities->write_multiple = capabilities->write_multiple && !version->migration;
    return capabilities->pgsizes && capabilities->max_data_xfer_size ? 0 : -EINVAL;
}

static int version(struct vfio_user_request *request)
{
    struct vfio_user_server *server = request->server;
    struct ob_fault *fault = &server->engine.fault;
    struct vfio_user_version version = {0};
    int err = server->negotiated ? -EINVAL : 0;
    if (err < 0)
        return err;
    err = vfio_user_version_get(request->payload, request->len, &version);
    if (err < 0)
        return ob_fault_set(fault, -EINVAL, "VERSION: the text is not the expected JSON");
    if (version.major != MAJOR)
        return ob_fault_set(fault, -EINVAL, "VERSION: got major version %u, expected %u",
                            version.major, MAJOR);
    err = agree(server->engine.ops, &version);
    if (err < 0)
        return ob_fault_set(fault, err,
                            "VERSION: got page sizes 0x%" PRIx64 " and transfers of %" PRIu64
                            " bytes, which are unusable",
                            version.capabilities.pgsizes, version.capabilities.max_data_xfer_size);
    version.minor = MINOR;
    server->capabilities = version.capabilities;
    server->may_be_qemu = version.migration;
    server->negotiated = true;
    vfio_user_migration_start(server);
    int len = vfio_user_version_reply_put(request->reply.at, request->reply.left, request->payload,
                                          request->len, &version);
    wr_room(&request->reply, (size_t)len);
    return 0;
}

static int reset(struct vfio_user_request *request)
{
    if (!device_reset_when_quiet(request->device))
        return ENGINE_LATER;
    vfio_user_migration_reset(request->server);
    return 0;
}

#define DATA_LEN      LIMIT_VFIO_USER_DATA
#define VERSION_LIMIT (VFIO_USER_VERSION_LEN + LIMIT_VFIO_USER_JSON)
/* libvfio-user's client sends as many bytes as it wants back. */
#define REGION_LIMIT (VFIO_USER_REGION_INFO_LEN + VFIO_USER_SPARSE_LEN)
#define MULTI_LIMIT  (8 + LIMIT_VFIO_USER_WRITES * VFIO_USER_WRITE_LEN)

/* A client may not send commands without a row. */
static const struct row rows[VFIO_USER_COMMAND_COUNT] = {
    /* payload from and to, descriptors at most, handler */
    [VFIO_USER_VERSION] = {4, VERSION_LIMIT, 0, version},
    [VFIO_USER_DMA_MAP] = {32, 32, 1, vfio_user_dma_map},
    [VFIO_USER_DMA_UNMAP] = {24, 24, 0, vfio_user_dma_unmap},
    [VFIO_USER_DEVICE_GET_REGION_IO_FDS] = {16, 16, 0, vfio_user_device_get_region_io_fds},
    [VFIO_USER_DEVICE_SET_IRQS] = {20, 20 + IRQ_MAX_VECTORS, LIMIT_VFIO_USER_FDS,
                                   vfio_user_device_set_irqs},
    [VFIO_USER_DEVICE_FEATURE] = {8, 8 + 4096, 0, vfio_user_device_feature},
    [VFIO_USER_MIG_DATA_READ] = {8, 8, 0, vfio_user_mig_data_read},
    [VFIO_USER_MIG_DATA_WRITE] = {8, 8 + DATA_LEN, 0, vfio_user_mig_data_write},
    [VFIO_USER_DEVICE_GET_INFO] = {16, 16, 0, vfio_user_device_get_info},
    [VFIO_USER_DEVICE_GET_REGION_INFO] = {32, REGION_LIMIT, 0, vfio_user_device_get_region_info},
    [VFIO_USER_DEVICE_GET_IRQ_INFO] = {16, 16, 0, vfio_user_device_get_irq_info},
    [VFIO_USER_REGION_READ] = {16, 16, 0, vfio_user_region_read},
    [VFIO_USER_REGION_WRITE] = {16, 16 + DATA_LEN, 0, vfio_user_region_write},
    [VFIO_USER_DEVICE_RESET] = {0, 0, 0, reset},
    [VFIO_USER_REGION_WRITE_MULTI] = {8, MULTI_LIMIT, 0, vfio_user_region_write_multi},
};

/* 0 message id, 2 command. That of VERSION is 1; on the other wires byte 2 is 0. */
static enum recognition recognises(const uint8_t *bytes, size_t len)
{
    if (len < 3)
        return WIRE_MORE;
    return bytes[2] == VFIO_USER_VERSION ? WIRE_YES : WIRE_NO;
}

static uint64_t first_len(const uint8_t *header_bytes)
{
    struct vfio_user_header header = {0};
    vfio_user_header_get(header_bytes, VFIO_USER_HEADER_LEN, &header);
    return header.command == VFIO_USER_VERSION ? header.size : 0;
}

static bool answer_busy(const uint8_t *header_bytes, uint8_t *ret_answer)
{
    struct vfio_user_header header = {0};
    vfio_user_header_get(header_bytes, VFIO_USER_HEADER_LEN, &header);
    if (header.command != VFIO_USER_VERSION ||
        (header.flags & VFIO_USER_TYPE_MASK) != VFIO_USER_TYPE_COMMAND)
        return false;
    header.flags = VFIO_USER_TYPE_REPLY | VFIO_USER_ERROR;
    header.size = VFIO_USER_HEADER_LEN;
    header.error = EBUSY;
    vfio_user_header_put(ret_answer, VFIO_USER_HEADER_LEN, &header);
    return true;
}

static int frame_len(struct engine *engine, const uint8_t *header_bytes)
{
    struct vfio_user_header *header = &server_of(engine)->header;
    vfio_user_header_get(header_bytes, VFIO_USER_HEADER_LEN, header);
    if (header->size < VFIO_USER_HEADER_LEN || header->size > engine->ops->rx_len)
        return ob_fault_set(&engine->fault, -EPROTO,
                            "a message: expected %u to %zu bytes, got a size of %" PRIu32
                            " (offset 4)",
                            VFIO_USER_HEADER_LEN, engine->ops->rx_len, header->size);
    return (int)header->size;
}

/* Checks a command against its row and carries it out. */
static int carry_out(struct vfio_user_request *request, uint16_t command)
{
    const struct row *row = command < VFIO_USER_COMMAND_COUNT ? &rows[command] : NULL;
    if (!row || !row->handle)
        return -ENOTSUP;
    if (request->len < row->min_len || request->len > row->max_len ||
        request->fds->count > row->max_fds)
        return -EINVAL;
    return row->handle(request);
}

static void reply(struct vfio_user_request *request, const struct vfio_user_header *command,
                  int err)
{
    struct engine *engine = &request->server->engine;
    size_t len = VFIO_USER_HEADER_LEN + (err < 0 ? 0 : request->reply.len);
    struct vfio_user_header header = {.id = command->id,
                                      .command = command->command,
                                      .size = (uint32_t)len,
                                      .flags = VFIO_USER_TYPE_REPLY};
    if (command->flags & VFIO_USER_NO_REPLY)
        return;
    if (err < 0) {
        header.flags |= VFIO_USER_ERROR;
        header.error = (uint32_t)-err;
    }
    vfio_user_header_put(engine_reply_room(engine), VFIO_USER_HEADER_LEN, &header);
    engine_reply(engine, len, request->reply_fds, err < 0 ? 0 : request->num_reply_fds);
}

static int handle(struct engine *engine, const uint8_t *frame, size_t len, struct fd_list *fds)
{
    struct vfio_user_server *server = server_of(engine);
    const struct vfio_user_header *header = &server->header;
    if ((header->flags & VFIO_USER_TYPE_MASK) == VFIO_USER_TYPE_REPLY)
        return vfio_user_dma_reply(server, header, frame + VFIO_USER_HEADER_LEN,
                                   len - VFIO_USER_HEADER_LEN);
    if ((header->flags & VFIO_USER_TYPE_MASK) != VFIO_USER_TYPE_COMMAND)
        return ob_fault_set(&engine->fault, -EPROTO,
                            "a message: got flags 0x%" PRIx32
                            " (offset 8), expected a command or a reply",
                            header->flags);
    if (!server->negotiated && header->command != VFIO_USER_VERSION)
        return ob_fault_set(
            &engine->fault, -EPROTO,
            "the first message: got command %u (offset 2), expected VERSION, command 1",
            header->command);
    struct vfio_user_request request = {.server = server,
                                        .device = engine->device,
                                        .payload = frame + VFIO_USER_HEADER_LEN,
                                        .len = len - VFIO_USER_HEADER_LEN,
                                        .fds = fds,
                                        .reply_fds = server->reply_fds};
    request.reply = wr_init(engine_reply_room(engine) + VFIO_USER_HEADER_LEN,
                            engine->ops->reply_limit - VFIO_USER_HEADER_LEN);
    int err = carry_out(&request, header->command);
    if (err == ENGINE_LATER)
        return err;
    reply(&request, header, err);
    if (!server->negotiated)
        return ob_fault_set(&engine->fault, -EPROTO, "VERSION: the client is refused with errno %d",
                            -err);
    return 0;
}

static int fit_device(struct ob_device *device, struct ob_fault *fault)
{
    irq_automask_intx(device, true);
    return 0;
}

static int start(struct engine *engine, struct ob_fault *fault)
{
    vfio_user_dma_start(server_of(engine));
    return 0;
}

static void stop(struct engine *engine)
{
    vfio_user_dma_stop(server_of(engine));
    vfio_user_unmap_stop(server_of(engine));
    vfio_user_migration_stop(server_of(engine));
}

static void pump(struct engine *engine)
{
    vfio_user_dma_pump(server_of(engine));
}

const struct engine_ops vfio_user_engine = {
    .wire = "vfio-user",
    .instance_len = sizeof(struct vfio_user_server),
    .header_len = VFIO_USER_HEADER_LEN,
    .rx_len = VFIO_USER_FRAME_LEN,
    .tx_len = 2 * (size_t)VFIO_USER_FRAME_LEN,
    .reply_limit = VFIO_USER_FRAME_LEN,
    .has_dma_messages = true,
    .answer_ms = LIMIT_ANSWER_MS,
    .recognises = recognises,
    .first_len = first_len,
    .answer_busy = answer_busy,
    .frame_len = frame_len,
    .handle = handle,
    .fit_device = fit_device,
    .start = start,
    .stop = stop,
    .pump = pump,
    .trace = vfio_user_trace,
    .prepare = vfio_user_version_prepare,
    .session = &vfio_user_session,
};
