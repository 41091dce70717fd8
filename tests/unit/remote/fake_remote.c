// SPDX-License-Identifier: BSD-3-Clause
#include "remote/fake_remote.h"

#include "support.h"

#include <linux/vfio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "os/socket.h"

#define HEADER VFIO_USER_HEADER_LEN

/* Reads so many bytes, and counts and closes descriptors. */
static void read_all(int fd, uint8_t *buf, size_t len, unsigned *num_fds)
{
    while (len > 0) {
        union {
            struct cmsghdr align;
            char bytes[CMSG_SPACE(sizeof(int) * LIMIT_FDS_PER_RECEIVE)];
        } control;
        struct iovec iov = {.iov_base = buf, .iov_len = len};
        struct msghdr message = {.msg_iov = &iov,
                                 .msg_iovlen = 1,
                                 .msg_control = control.bytes,
                                 .msg_controllen = sizeof(control.bytes)};
        ssize_t got = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
        if (got <= 0) {
            memset(buf, 0, len);
            return;
        }
        const struct cmsghdr *cmsg = CMSG_FIRSTHDR(&message);
        size_t count = cmsg ? (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int) : 0;
        for (size_t i = 0; i < count; i++) {
            int one;
            memcpy(&one, CMSG_DATA(cmsg) + i * sizeof(int), sizeof(one));
            close(one);
        }
        *num_fds += (unsigned)count;
        buf += got;
        len -= (size_t)got;
    }
}

void fake_remote_take(struct fake_remote *remote, struct message *ret_message)
{
    uint8_t header[HEADER];
    *ret_message = (struct message){0};
    read_all(remote->fd, header, HEADER, &ret_message->num_fds);
    vfio_user_header_get(header, HEADER, &ret_message->header);
    size_t len = ret_message->header.size > HEADER ? ret_message->header.size - HEADER : 0;
    ret_message->len = len < MAX_MESSAGE ? len : MAX_MESSAGE;
    read_all(remote->fd, ret_message->payload, ret_message->len, &ret_message->num_fds);
}

static void write_all(struct fake_remote *remote, const uint8_t *bytes, size_t len)
{
    while (len > 0) {
        ssize_t sent =
            remote->num_reply_fds > 0
                ? socket_send_fds(remote->fd, bytes, len, remote->reply_fds, remote->num_reply_fds)
                : send(remote->fd, bytes, len, MSG_NOSIGNAL);
        if (sent <= 0)
            return;
        remote->num_reply_fds = 0;
        bytes += sent;
        len -= (size_t)sent;
    }
}

void fake_remote_say(struct fake_remote *remote, uint16_t id, uint16_t command, uint32_t flags,
                     const void *payload, size_t len)
{
    uint8_t bytes[HEADER + MAX_MESSAGE];
    const struct vfio_user_header header = {.id = id,
                                            .command = command,
                                            .size = (uint32_t)(HEADER + len),
                                            .flags = flags,
                                            .error = remote->refused[command]};
    vfio_user_header_put(bytes, HEADER, &header);
    if (len > 0)
        memcpy(bytes + HEADER, payload, len);
    write_all(remote, bytes, HEADER + len);
}

size_t fake_remote_answer(struct fake_remote *remote, struct message *message)
{
    uint8_t *payload = message->payload;
    uint32_t argsz;
    const struct vfio_user_device_info device = {16, VFIO_DEVICE_FLAGS_PCI, 9, 5};
    struct vfio_user_region_info region = {.argsz = 32, .flags = 3, .index = payload[8]};
    switch (message->header.command) {
    case VFIO_USER_VERSION:
        memcpy(payload, &(const uint16_t[2]){0, remote->minor}, 4);
        memcpy(payload + 4, remote->version, strlen(remote->version) + 1);
        return 4 + strlen(remote->version) + 1;
    case VFIO_USER_DEVICE_GET_INFO:
        return (size_t)vfio_user_device_info_put(payload, 16, &device);
    case VFIO_USER_DEVICE_GET_REGION_INFO:
        region.size = region.index == 0 ? remote->bar_len : region.index == 7 ? 256 : 0;
        return (size_t)vfio_user_region_info_put(payload, 32, &region);
    case VFIO_USER_DEVICE_GET_IRQ_INFO: /* one of each kind */
        payload[12] = 1;
        return message->len;
    case VFIO_USER_REGION_READ: {
        uint32_t count = payload[12];
        memset(payload + 16, payload[0] == 0 ? 0x11 : 0, count);
        if (payload[8] == 7 && payload[0] == 0x10)
            memcpy(payload + 16, &remote->bar_register, 4);
        return 16 + count;
    }
    case VFIO_USER_REGION_WRITE:
        return 16;
    case VFIO_USER_REGION_WRITE_MULTI:
        if (remote->written > 0)
            memcpy(payload, &remote->written, 8);
        return 8;
    case VFIO_USER_DMA_UNMAP:
        return message->len;
    case VFIO_USER_DEVICE_FEATURE: /* as long as it may be */
        memcpy(&argsz, payload, sizeof(argsz));
        return argsz;
    default:
        return 0;
    }
}

static bool is_refused(const struct fake_remote *remote, const struct message *message)
{
    const uint32_t resample = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_UNMASK;
    return remote->refused[message->header.command] ||
           (remote->refuses_resample && message->header.command == VFIO_USER_DEVICE_SET_IRQS &&
            message->payload[4] == resample);
}

static void *serve(void *argument)
{
    struct fake_remote *remote = argument;
    while (remote->count-- > 0) {
        struct message *message = &remote->last;
        fake_remote_take(remote, message);
        struct message said = *message;
        const uint16_t id = said.header.id, command = said.header.command;
        if (said.header.flags & VFIO_USER_NO_REPLY)
            continue;
        if (is_refused(remote, message))
            fake_remote_say(remote, id, command, VFIO_USER_TYPE_REPLY | VFIO_USER_ERROR, NULL, 0);
        else
            fake_remote_say(remote, id, command, VFIO_USER_TYPE_REPLY, said.payload,
                            remote->answer ? remote->answer(remote, &said)
                                           : fake_remote_answer(remote, &said));
    }
    return NULL;
}

void fake_remote_serve(struct fake_remote *remote, unsigned count)
{
    remote->count = count;
    assert_int_equal(pthread_create(&remote->thread, NULL, serve, remote), 0);
}

void fake_remote_join(struct fake_remote *remote)
{
    assert_int_equal(pthread_join(remote->thread, NULL), 0);
}

struct ob_client *fake_remote_start(struct fake_remote *remote,
                                    const struct ob_client_options *options)
{
    int pair[2];
    struct ob_client *client;
    struct ob_client_options own = *options;
    *remote = (struct fake_remote){
        .version = "{\"capabilities\":{\"max_msg_fds\":8,\"write_multiple\":true}}",
        .bar_len = BAR_LEN};
    own.size = sizeof(own);
    own.wire = "vfio-user";
    if (own.timeout_ms == 0)
        own.timeout_ms = PATIENCE_MS;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    remote->fd = pair[1];
    assert_int_equal(ob_client_new(pair[0], &own, &client, NULL), 0);
    return client;
}

void fake_remote_stop(struct fake_remote *remote, struct ob_client *client)
{
    ob_client_free(client);
    close(remote->fd);
}
