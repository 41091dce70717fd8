// SPDX-License-Identifier: BSD-3-Clause
/*
 * The vhost-user engine: a virtio device behind any VMM that speaks vhost-user.
 *
 * The front end describes its driver's set-up: features, guest memory, rings and their
 * eventfds. The engine hands that to the virtio part of the device (device/virtio.h); kicks and
 * interrupts then go by eventfds, past this socket.
 *
 * Each message has a row in `rows`, which is checked before a handler sees it. Messages are
 * carried out in order. A message that breaks its row ends the connection. One that is refused is
 * answered, if the front end asks for an answer (need_reply); else it ends the connection too, since
 * the front end takes it for done.
 *
 * When a ring runs is in ring.c, guest memory in memory.c, the guest's IOMMU in iotlb.c, the log of
 * migration in log.c, its state in transfer.c, the requests that survive this process in inflight.c, and
 * the session that does so in a vault in session.c. Status is kept for the front end
 * and has no effect: QEMU 7.2 sets it to 0 first when it stops a device, and asks for the rings'
 * indices afterwards.
 */
#include "server/vhost_user/vhost_user.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/virtio_config.h>
#include <string.h>

#include "device/pci.h"
#include "server/trace.h"

#define BIT(number) (UINT64_C(1) << (number))

/* Of the protocol, not of the device: no driver is shown these. */
#define WIRE_FEATURES (BIT(VHOST_USER_F_LOG_ALL) | BIT(VHOST_USER_F_PROTOCOL_FEATURES))

enum answer {
    ANSWER_ACK, /* a u64, only if it was asked for */
    ANSWER_OWN,
};

struct row {
    uint32_t min_len, max_len; /* of the payload */
    unsigned max_fds;
    enum answer answer;
    vhost_user_handler_fn handle;
};

static struct vhost_user_server *server_of(struct engine *engine)
{
    return (struct vhost_user_server *)engine;
}

static int put_u64(struct vhost_user_message *message, uint64_t value)
{
    wr_u64(&message->reply, value);
    return 0;
}

/* Features that the driver may accept; an IOMMU is the engine's matter. */
static uint64_t offered(const struct ob_device *device)
{
    return virtio_offered(device) | BIT(VIRTIO_F_ACCESS_PLATFORM);
}

static int get_features(struct vhost_user_message *message)
{
    return put_u64(message, offered(message->device) | WIRE_FEATURES);
}

/* The log may start and end while rings run; everything else is the driver's choice, before. */
static int set_features(struct vhost_user_message *message)
{
    struct vhost_user_server *server = message->server;
    const uint64_t features = vhost_user_u64(message);
    const uint64_t virtio = features & ~WIRE_FEATURES;
    const bool iommu = features & BIT(VIRTIO_F_ACCESS_PLATFORM);
    if (virtio & ~offered(message->device))
        return vhost_user_refuse(message, -EINVAL, "got features 0x%" PRIx64 ", offered 0x%" PRIx64,
                                 virtio, offered(message->device));
    if (!server->has_features || virtio != (server->features & ~WIRE_FEATURES)) {
        int err = virtio_negotiate(message->device, virtio & virtio_offered(message->device));
        if (err < 0)
            return vhost_user_refuse(message, err, "got features 0x%" PRIx64 ": %s", virtio,
                                     strerror(-err));
    }
    /* A front end that starts again does not invalidate earlier translations. */
    if (iommu != server->iotlb.on || (iommu && !vhost_user_any_ring_runs(server))) {
        vhost_user_iotlb_clear(server);
        vhost_user_memory_show(server, iommu);
    }
    server->features = features;
    server->has_features = true;
    vhost_user_log_update(server);
    return 0;
}

static int set_owner(struct vhost_user_message *message)
{
    return 0;
}

static int reset_device(struct vhost_user_message *message)
{
    struct vhost_user_server *server = message->server;
    int err = vhost_user_rings_reset(server);
    if (err != 0 || !virtio_reset(message->device))
        return ENGINE_LATER;
    server->has_features = false;
    server->status = 0;
    return 0;
}

static int get_protocol_features(struct vhost_user_message *message)
{
    return put_u64(message, vhost_user_protocol_offered(message->server));
}

static int set_protocol_features(struct vhost_user_message *message)
{
    const uint64_t features = vhost_user_u64(message);
    const uint64_t known = vhost_user_protocol_offered(message->server);
    if (features & ~known)
        return vhost_user_refuse(message, -EINVAL,
                                 "got protocol features 0x%" PRIx64 ", offered 0x%" PRIx64,
                                 features, known);
    message->server->protocol_features = features;
    return 0;
}

static int get_queue_num(struct vhost_user_message *message)
{
    return put_u64(message, message->server->num_rings);
}

static int set_backend_req_fd(struct vhost_user_message *message)
{
    struct vhost_user_server *server = message->server;
    int fd = vhost_user_take_fd(message);
    if (fd < 0)
        return vhost_user_refuse(message, -EINVAL, "got no descriptor, expected a socket");
    vhost_user_set_backend(server, fd);
    return 0;
}

/* A range that no device has is answered without data; section "GET_CONFIG". Bytes
 * behind the device's fields read as zeroes: front ends ask for all fields that they know. */
static int get_config(struct vhost_user_message *message)
{
    struct vhost_user_config config;
    const uint8_t *unused;
    if (vhost_user_config_get(message->payload, message->len, &config, &unused) < 0 ||
        config.offset > LIMIT_VHOST_USER_CONFIG ||
        config.size > LIMIT_VHOST_USER_CONFIG - config.offset)
        return 0;
    uint8_t *to = wr_room(&message->reply, VHOST_USER_CONFIG_LEN + config.size);
    vhost_user_config_put(to, VHOST_USER_CONFIG_LEN, &config);
    virtio_config_read(message->device, config.offset, to + VHOST_USER_CONFIG_LEN, config.size);
    return 0;
}

static int set_config(struct vhost_user_message *message)
{
    struct vhost_user_config config;
    const uint8_t *data;
    if (vhost_user_config_get(message->payload, message->len, &config, &data) < 0)
        return vhost_user_refuse(message, -EINVAL, "got %zu bytes, which are no configuration",
                                 message->len);
    const size_t len = virtio_config_len(message->device);
    if (config.offset > len || config.size > len - config.offset)
        return vhost_user_refuse(message, -EINVAL,
                                 "got offset %" PRIu32 " and %" PRIu32
                                 " bytes, expected a range within %zu",
                                 config.offset, config.size, len);
    virtio_config_write(message->device, config.offset, data, config.size);
    return 0;
}

static int set_status(struct vhost_user_message *message)
{
    message->server->status = (uint8_t)vhost_user_u64(message);
    return 0;
}

static int get_status(struct vhost_user_message *message)
{
    const bool failed = virtio_has_failed(message->device);
    return put_u64(message, message->server->status | (failed ? VIRTIO_CONFIG_S_NEEDS_RESET : 0));
}

#define TABLE_LIMIT  (VHOST_USER_TABLE_LEN + LIMIT_VHOST_USER_REGIONS * VHOST_USER_REGION_LEN)
#define CONFIG_LIMIT (VHOST_USER_CONFIG_LEN + LIMIT_VHOST_USER_CONFIG)

/* A front end may not send messages without a row. */
static const struct row rows[VHOST_USER_REQUEST_COUNT] = {
    /* payload from and to, descriptors at most, answer, handler */
    [VHOST_USER_GET_FEATURES] = {0, 0, 0, ANSWER_OWN, get_features},
    [VHOST_USER_SET_FEATURES] = {8, 8, 0, ANSWER_ACK, set_features},
    [VHOST_USER_SET_OWNER] = {0, 0, 0, ANSWER_ACK, set_owner},
    [VHOST_USER_RESET_OWNER] = {0, 0, 0, ANSWER_ACK, reset_device},
    [VHOST_USER_SET_MEM_TABLE] = {8, TABLE_LIMIT, LIMIT_VHOST_USER_REGIONS, ANSWER_ACK,
                                  vhost_user_set_mem_table},
    [VHOST_USER_SET_LOG_BASE] = {16, 16, 1, ANSWER_OWN, vhost_user_set_log_base},
    [VHOST_USER_SET_LOG_FD] = {0, 8, 1, ANSWER_ACK, vhost_user_set_log_fd},
    [VHOST_USER_SET_VRING_NUM] = {8, 8, 0, ANSWER_ACK, vhost_user_set_vring_num},
    [VHOST_USER_SET_VRING_ADDR] = {40, 40, 0, ANSWER_ACK, vhost_user_set_vring_addr},
    [VHOST_USER_SET_VRING_BASE] = {8, 8, 0, ANSWER_ACK, vhost_user_set_vring_base},
    [VHOST_USER_GET_VRING_BASE] = {8, 8, 0, ANSWER_OWN, vhost_user_get_vring_base},
    [VHOST_USER_SET_VRING_KICK] = {8, 8, 1, ANSWER_ACK, vhost_user_set_vring_kick},
    [VHOST_USER_SET_VRING_CALL] = {8, 8, 1, ANSWER_ACK, vhost_user_set_vring_call},
    [VHOST_USER_SET_VRING_ERR] = {8, 8, 1, ANSWER_ACK, vhost_user_set_vring_err},
    [VHOST_USER_GET_PROTOCOL_FEATURES] = {0, 0, 0, ANSWER_OWN, get_protocol_features},
    [VHOST_USER_SET_PROTOCOL_FEATURES] = {8, 8, 0, ANSWER_ACK, set_protocol_features},
    [VHOST_USER_GET_QUEUE_NUM] = {0, 0, 0, ANSWER_OWN, get_queue_num},
    [VHOST_USER_SET_VRING_ENABLE] = {8, 8, 0, ANSWER_ACK, vhost_user_set_vring_enable},
    [VHOST_USER_SET_BACKEND_REQ_FD] = {0, 8, 1, ANSWER_ACK, set_backend_req_fd},
    [VHOST_USER_IOTLB_MSG] = {32, 32, 0, ANSWER_OWN, vhost_user_iotlb_msg},
    [VHOST_USER_GET_CONFIG] = {12, CONFIG_LIMIT, 0, ANSWER_OWN, get_config},
    [VHOST_USER_SET_CONFIG] = {12, CONFIG_LIMIT, 0, ANSWER_ACK, set_config},
    [VHOST_USER_GET_INFLIGHT_FD] = {20, 24, 0, ANSWER_OWN, vhost_user_get_inflight_fd},
    [VHOST_USER_SET_INFLIGHT_FD] = {20, 24, 1, ANSWER_ACK, vhost_user_set_inflight_fd},
    [VHOST_USER_RESET_DEVICE] = {0, 0, 0, ANSWER_ACK, reset_device},
    [VHOST_USER_GET_MAX_MEM_SLOTS] = {0, 0, 0, ANSWER_OWN, vhost_user_get_max_mem_slots},
    [VHOST_USER_ADD_MEM_REG] = {40, 40, 1, ANSWER_ACK, vhost_user_add_mem_reg},
    [VHOST_USER_REM_MEM_REG] = {40, 40, 1, ANSWER_ACK, vhost_user_rem_mem_reg},
    [VHOST_USER_SET_STATUS] = {8, 8, 0, ANSWER_ACK, set_status},
    [VHOST_USER_GET_STATUS] = {0, 0, 0, ANSWER_OWN, get_status},
    [VHOST_USER_SET_DEVICE_STATE_FD] = {8, 8, 1, ANSWER_OWN, vhost_user_set_device_state_fd},
    [VHOST_USER_CHECK_DEVICE_STATE] = {0, 0, 0, ANSWER_OWN, vhost_user_check_device_state},
};

static const struct row *find_row(uint32_t request)
{
    return request < VHOST_USER_REQUEST_COUNT && rows[request].handle ? &rows[request] : NULL;
}

static bool is_request(uint32_t flags)
{
    return (flags & ~(uint32_t)VHOST_USER_NEED_REPLY) == VHOST_USER_VERSION;
}

/* 0 request, 4 flags, 8 size. QEMU opens with GET_FEATURES, others with SET_OWNER. On mpqemu a first
 * message has 192 bytes; on vfio-user byte 2 is 1. */
static enum recognition recognises(const uint8_t *bytes, size_t len)
{
    static const uint8_t zero[3];
    struct vhost_user_header header;
    const size_t looked_at = len < sizeof(zero) ? len : sizeof(zero);
    if (len > 0 && (bytes[0] == 0 || !find_row(bytes[0])))
        return WIRE_NO;
    if (len > 1 && memcmp(bytes + 1, zero, looked_at - 1) != 0)
        return WIRE_NO;
    if (len < VHOST_USER_HEADER_LEN)
        return WIRE_MORE;
    vhost_user_header_get(bytes, VHOST_USER_HEADER_LEN, &header);
    const struct row *row = find_row(header.request);
    return row && is_request(header.flags) && header.size >= row->min_len &&
                   header.size <= row->max_len
               ? WIRE_YES
               : WIRE_NO;
}

static uint64_t first_len(const uint8_t *header_bytes)
{
    struct vhost_user_header header = {0};
    vhost_user_header_get(header_bytes, VHOST_USER_HEADER_LEN, &header);
    return VHOST_USER_HEADER_LEN + (uint64_t)header.size;
}

static int frame_len(struct engine *engine, const uint8_t *header_bytes)
{
    struct vhost_user_header *header = &server_of(engine)->header;
    vhost_user_header_get(header_bytes, VHOST_USER_HEADER_LEN, header);
    const struct row *row = find_row(header->request);
    if (!row)
        return ob_fault_set(&engine->fault, -EPROTO,
                            "a message: got request %" PRIu32 " (offset 0), which was not offered",
                            header->request);
    if (!is_request(header->flags))
        return ob_fault_set(&engine->fault, -EPROTO,
                            "%s: got flags 0x%" PRIx32 " (offset 4), expected 0x1 or 0x9",
                            vhost_user_request_name(header->request), header->flags);
    if (header->size < row->min_len || header->size > row->max_len)
        return ob_fault_set(
            &engine->fault, -EPROTO,
            "%s: got a payload of %" PRIu32 " bytes (offset 8), expected %" PRIu32 " to %" PRIu32,
            vhost_user_request_name(header->request), header->size, row->min_len, row->max_len);
    return (int)(VHOST_USER_HEADER_LEN + header->size);
}

static void reply(struct vhost_user_message *message, uint32_t request)
{
    struct engine *engine = &message->server->engine;
    const struct vhost_user_header header = {.request = request,
                                             .flags = VHOST_USER_VERSION | VHOST_USER_REPLY,
                                             .size = (uint32_t)message->reply.len};
    vhost_user_header_put(engine_reply_room(engine), VHOST_USER_HEADER_LEN, &header);
    engine_reply(engine, VHOST_USER_HEADER_LEN + message->reply.len, &message->reply_fd,
                 message->reply_fd >= 0 ? 1 : 0);
}

/* Answers as the row says. 0, or -EPROTO: the front end would not learn that it was refused. */
static int answer(struct vhost_user_message *message, const struct row *row, int err)
{
    struct vhost_user_server *server = message->server;
    const struct vhost_user_header *header = &server->header;
    const char *name = vhost_user_request_name(header->request);
    const bool acks = row->answer == ANSWER_ACK && header->flags & VHOST_USER_NEED_REPLY &&
                      vhost_user_has_protocol(server, VHOST_USER_F_REPLY_ACK);
    const char *why = message->fault.code ? message->fault.text : strerror(err < 0 ? -err : 0);
    if (err < 0 && !acks)
        return ob_fault_set(&server->engine.fault, -EPROTO, "%s: %s", name, why);
    if (err < 0)
        ob_device_warn(message->device, "refused %s: %s", name, why);
    if (acks)
        wr_u64(&message->reply, err < 0 ? 1 : 0);
    if (acks || row->answer == ANSWER_OWN)
        reply(message, header->request);
    return 0;
}

static int handle(struct engine *engine, const uint8_t *frame, size_t len, struct fd_list *fds)
{
    struct vhost_user_server *server = server_of(engine);
    const struct row *row = find_row(server->header.request);
    struct vhost_user_message message = {.server = server,
                                         .device = engine->device,
                                         .payload = frame + VHOST_USER_HEADER_LEN,
                                         .len = len - VHOST_USER_HEADER_LEN,
                                         .fds = fds,
                                         .reply_fd = -1};
    if (fds->count > row->max_fds)
        return ob_fault_set(&engine->fault, -EPROTO, "%s: got %u descriptors, expected at most %u",
                            vhost_user_request_name(server->header.request), fds->count,
                            row->max_fds);
    message.reply = wr_init(engine_reply_room(engine) + VHOST_USER_HEADER_LEN,
                            engine->ops->reply_limit - VHOST_USER_HEADER_LEN);
    int err = row->handle(&message);
    if (err == ENGINE_LATER)
        return err;
    vhost_user_rings_try(server);
    return answer(&message, row, err);
}

static int fit_device(struct ob_device *device, struct ob_fault *fault)
{
    if (!device_is_virtio(device))
        return ob_fault_set(fault, -EPROTONOSUPPORT,
                            "%s: the peer's wire: got vhost-user, expected mpqemu (QEMU: "
                            "x-pci-proxy-dev) or vfio-user (QEMU: vfio-user-pci)",
                            device_name(device));
    if (virtio_num_queues(device) > LIMIT_VHOST_USER_RINGS)
        return ob_fault_set(fault, -ENOTSUP,
                            "%s: got %u queues, expected at most %u over vhost-user",
                            device_name(device), virtio_num_queues(device), LIMIT_VHOST_USER_RINGS);
    return 0;
}

static void signal_config(void *context)
{
    struct vhost_user_server *server = context;
    if (vhost_user_has_protocol(server, VHOST_USER_F_CONFIG))
        vhost_user_ask(server, VHOST_USER_BACKEND_CONFIG_CHANGE_MSG, NULL, 0);
}

static int start(struct engine *engine, struct ob_fault *fault)
{
    struct vhost_user_server *server = server_of(engine);
    server->backend_fd = -1;
    server->transfer = (struct vhost_user_transfer_state){.fd = -1, .result = -ENODATA};
    server->num_rings = virtio_num_queues(engine->device);
    server->wire = (struct virtio_wire){.signal_queue = vhost_user_signal_queue,
                                        .signal_config = signal_config,
                                        .miss = vhost_user_miss,
                                        .taken = vhost_user_inflight_taken,
                                        .completing = vhost_user_inflight_completing,
                                        .completed = vhost_user_inflight_completed,
                                        .context = server};
    /* The last front end may have gone while rings ran. All of its requests have ended. */
    virtio_reset(engine->device);
    vhost_user_memory_start(server);
    if (vhost_user_rings_start(server) < 0)
        return ob_fault_set(fault, -ENOMEM, "no memory for the rings of %s",
                            device_name(engine->device));
    virtio_set_wire(engine->device, &server->wire);
    return 0;
}

static void stop(struct engine *engine)
{
    struct vhost_user_server *server = server_of(engine);
    virtio_set_wire(engine->device, NULL);
    vhost_user_transfer_stop(server);
    vhost_user_rings_stop(server);
    vhost_user_log_stop(server);
    vhost_user_inflight_stop(server);
    vhost_user_memory_stop(server);
    vhost_user_set_backend(server, -1);
}

static void pump(struct engine *engine)
{
    struct vhost_user_server *server = server_of(engine);
    if (vhost_user_iotlb_look(server))
        vhost_user_rings_try(server);
}

/* Only a front end that has asked for an answer learns of it. */
static bool answer_error(struct engine *engine, const uint8_t *frame, size_t len)
{
    struct vhost_user_server *server = server_of(engine);
    const struct row *row = find_row(server->header.request);
    struct vhost_user_message message = {
        .server = server, .device = engine->device, .reply_fd = -1};
    if (row->answer != ANSWER_ACK || !(server->header.flags & VHOST_USER_NEED_REPLY) ||
        !vhost_user_has_protocol(server, VHOST_USER_F_REPLY_ACK))
        return false;
    message.reply = wr_init(engine_reply_room(engine) + VHOST_USER_HEADER_LEN, 8);
    wr_u64(&message.reply, 1);
    reply(&message, server->header.request);
    return true;
}

static const struct engine_session_ops session = {
    .put = vhost_user_session_put,
    .resume = vhost_user_session_resume,
    .answer_error = answer_error,
};

const struct engine_ops vhost_user_engine = {
    .wire = "vhost-user",
    .instance_len = sizeof(struct vhost_user_server),
    .header_len = VHOST_USER_HEADER_LEN,
    .rx_len = LIMIT_REQUEST_BYTES,
    .tx_len = LIMIT_REPLY_BYTES,
    .reply_limit = VHOST_USER_HEADER_LEN + CONFIG_LIMIT,
    .only_virtio = true,
    .recognises = recognises,
    .first_len = first_len,
    .frame_len = frame_len,
    .handle = handle,
    .fit_device = fit_device,
    .trace = vhost_user_trace,
    .start = start,
    .stop = stop,
    .pump = pump,
    .session = &session,
};
