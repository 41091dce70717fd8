// SPDX-License-Identifier: BSD-3-Clause
/* Functions that all handlers of messages use. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "device/device_vault.h"
#include "device/state.h"
#include "server/vhost_user/vhost_user.h"

#define BIT(number) (UINT64_C(1) << (number))

#define PROTOCOL_FEATURES                                                                          \
    (BIT(VHOST_USER_F_MQ) | BIT(VHOST_USER_F_LOG_SHMFD) | BIT(VHOST_USER_F_REPLY_ACK) |            \
     BIT(VHOST_USER_F_BACKEND_REQ) | BIT(VHOST_USER_F_CONFIG) | BIT(VHOST_USER_F_INFLIGHT_SHMFD) | \
     BIT(VHOST_USER_F_RESET_DEVICE) | BIT(VHOST_USER_F_CONFIGURE_MEM_SLOTS) |                      \
     BIT(VHOST_USER_F_STATUS))

int vhost_user_refuse(struct vhost_user_message *message, int err, const char *format, ...)
{
    char text[OB_FAULT_TEXT_LEN];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    return ob_fault_set(&message->fault, err, "%s", text);
}

uint64_t vhost_user_u64(const struct vhost_user_message *message)
{
    struct rd rd = rd_init(message->payload, message->len);
    return rd_u64(&rd);
}

int vhost_user_take_fd(struct vhost_user_message *message)
{
    if (message->fds->count == 0)
        return -1;
    int fd = message->fds->fd[0];
    message->fds->fd[0] = -1;
    return fd;
}

size_t vhost_user_transfer_limit(const struct vhost_user_server *server)
{
    const struct ob_device *device = server->engine.device;
    return state_limit(device) > 0 ? state_head_len(device) + virtio_own_state_len(device) : 0;
}

/* A device in a vault needs no front end to keep its requests in flight. */
uint64_t vhost_user_protocol_offered(const struct vhost_user_server *server)
{
    uint64_t offered = PROTOCOL_FEATURES;
    if (server->engine.vault)
        offered &= ~BIT(VHOST_USER_F_INFLIGHT_SHMFD);
    if (vhost_user_transfer_limit(server) > 0)
        offered |= BIT(VHOST_USER_F_DEVICE_STATE);
    return offered;
}

bool vhost_user_has_protocol(const struct vhost_user_server *server,
                             enum vhost_user_protocol_feature feature)
{
    return server->protocol_features & UINT64_C(1) << feature;
}

void vhost_user_set_backend(struct vhost_user_server *server, int fd)
{
    struct ob_device *device = server->engine.device;
    const int before = server->backend_fd;
    if (before >= 0)
        device_let_go(device, before);
    if (before >= 0 || fd >= 0)
        device_keep(device, VAULT_BACKEND, 0, 0, fd);
    server->backend_fd = fd;
}

bool vhost_user_ask(struct vhost_user_server *server, enum vhost_user_backend_request request,
                    const uint8_t *payload, size_t len)
{
    const struct server_host *host = device_host(server->engine.device);
    uint8_t bytes[VHOST_USER_HEADER_LEN + VHOST_USER_IOTLB_LEN];
    const struct vhost_user_header header = {
        .request = request, .flags = VHOST_USER_VERSION, .size = (uint32_t)len};
    if (server->backend_fd < 0)
        return false;
    vhost_user_header_put(bytes, VHOST_USER_HEADER_LEN, &header);
    if (len > 0)
        memcpy(bytes + VHOST_USER_HEADER_LEN, payload, len);
    len += VHOST_USER_HEADER_LEN;
    int err = host->send(host->context, server->backend_fd, bytes, len);
    if (err == 0)
        return true;
    ob_device_warn(server->engine.device, "the back-end channel takes no messages: %s",
                   strerror(-err));
    vhost_user_set_backend(server, -1);
    return false;
}
