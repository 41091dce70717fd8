// SPDX-License-Identifier: BSD-3-Clause
#include "vfio_user.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "unwanted.h"

enum {
    COMMAND_VERSION = 1,
    COMMAND_GET_REGION_INFO = 5,
    COMMAND_REGION_READ = 9,
    COMMAND_REGION_WRITE = 10,
};

/* How long to wait before a busy server is asked again. */
#define BUSY_PAUSE_MS 50

#define TYPE_MASK  0xfu
#define TYPE_REPLY 0x1u
#define FLAG_ERROR 0x20u

/* "Header" */
struct header {
    uint16_t id;
    uint16_t command;
    uint32_t size; /* with this header */
    uint32_t flags;
    uint32_t error; /* errno of a reply with FLAG_ERROR, may be 0 */
};

/* "VFIO_USER_VERSION". The largest one that a server may send; ours is shorter. */
struct version {
    uint16_t major;
    uint16_t minor;
    char json[4092];
};

/* "VFIO_USER_REGION_READ" and "VFIO_USER_REGION_WRITE" */
struct access {
    uint64_t offset;
    uint32_t region;
    uint32_t count;
    uint8_t data[8];
};

#define ACCESS_HEADER_LEN offsetof(struct access, data)

static_assert(sizeof(struct header) == 16, "as on the wire");
static_assert(sizeof(struct vfio_user_region) == 32, "as on the wire");
static_assert(ACCESS_HEADER_LEN == 16, "as on the wire");

/* A request and the room for its reply. */
struct exchange {
    uint16_t command;
    const void *request;
    size_t request_len;
    void *reply;
    size_t reply_min; /* a shorter reply breaks the protocol, as does a longer one than reply_max */
    size_t reply_max;
    int fd; /* that came with the reply, or -1; 0 or 1 descriptors may */
};

void vfio_user_close(struct vfio_user *user)
{
    if (user->fd >= 0)
        unwanted_close_socket(user->fd);
    user->fd = -1;
}

static int gone(const struct vfio_user *user, struct ob_fault *fault)
{
    return ob_fault_set(fault, -ENOTCONN,
                        "the backdoor's process at %s has ended; start it again, then this program",
                        user->name);
}

static int broken(const struct vfio_user *user, const char *how, struct ob_fault *fault)
{
    return ob_fault_set(fault, -EPROTO, "the listener at %s is not a vfio-user server: %s",
                        user->name, how);
}

static int too_late(const struct vfio_user *user, const char *how, struct ob_fault *fault)
{
    return ob_fault_set(fault, -ETIMEDOUT,
                        "the backdoor's process at %s %s within %d s; it serves one program at a "
                        "time: end the other one",
                        user->name, how, VFIO_USER_SETUP_TIMEOUT_S);
}

/* The result for an errno of the socket. */
static int failed(const struct vfio_user *user, int error, struct ob_fault *fault)
{
    if (error == EPIPE || error == ECONNRESET)
        return gone(user, fault);
    if (error == EAGAIN)
        return too_late(user, "does not answer", fault);
    return ob_fault_set(fault, -error, "the backdoor's socket %s fails: %s", user->name,
                        strerror(error));
}

static int send_all(const struct vfio_user *user, const struct header *header, const void *payload,
                    size_t len, struct ob_fault *fault)
{
    struct iovec iov[2] = {{(void *)header, sizeof(*header)}, {(void *)payload, len}};
    struct msghdr message = {.msg_iov = iov, .msg_iovlen = 2};
    while (iov[0].iov_len + iov[1].iov_len > 0) {
        ssize_t sent = sendmsg(user->fd, &message, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0)
            return failed(user, errno, fault);
        for (int i = 0; i < 2; i++) {
            size_t taken = (size_t)sent < iov[i].iov_len ? (size_t)sent : iov[i].iov_len;
            iov[i].iov_base = (uint8_t *)iov[i].iov_base + taken;
            iov[i].iov_len -= taken;
            sent -= (ssize_t)taken;
        }
    }
    return 0;
}

static int receive_all(const struct vfio_user *user, void *buf, size_t len, int *fd,
                       struct ob_fault *fault)
{
    union unwanted_control control;
    while (len > 0) {
        struct iovec iov = {buf, len};
        struct msghdr message = {.msg_iov = &iov,
                                 .msg_iovlen = 1,
                                 .msg_control = control.bytes,
                                 .msg_controllen = sizeof(control.bytes)};
        ssize_t got = recvmsg(user->fd, &message, MSG_CMSG_CLOEXEC);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return got < 0 ? failed(user, errno, fault) : gone(user, fault);
        if (unwanted_sort(&message, fd) > 0 || message.msg_flags & MSG_CTRUNC)
            return broken(user, "it sends more than one descriptor", fault);
        buf = (uint8_t *)buf + got;
        len -= (size_t)got;
    }
    return 0;
}

static int check_reply(const struct vfio_user *user, const struct header *header,
                       const struct exchange *exchange, struct ob_fault *fault)
{
    if (header->id != user->message_id || header->command != exchange->command ||
        (header->flags & TYPE_MASK) != TYPE_REPLY)
        return broken(user, "its message is not the reply to ours", fault);
    bool refused = header->flags & FLAG_ERROR;
    size_t min = sizeof(*header) + (refused ? 0 : exchange->reply_min);
    size_t max = sizeof(*header) + (refused ? 0 : exchange->reply_max);
    if (header->size < min || header->size > max)
        return broken(user, "its reply has an impossible length", fault);
    return 0;
}

static int receive_reply(const struct vfio_user *user, struct exchange *exchange,
                         struct header *ret_header, struct ob_fault *fault)
{
    int err = receive_all(user, ret_header, sizeof(*ret_header), &exchange->fd, fault);
    if (err == 0)
        err = check_reply(user, ret_header, exchange, fault);
    if (err == 0)
        err = receive_all(user, exchange->reply, ret_header->size - sizeof(*ret_header),
                          &exchange->fd, fault);
    return err;
}

/* Sends a request and receives its reply. On failure no descriptor is left in the exchange. */
static int exchange(struct vfio_user *user, struct exchange *exchange, struct ob_fault *fault)
{
    if (user->fd < 0)
        return gone(user, fault);
    const struct header request = {
        .id = ++user->message_id,
        .command = exchange->command,
        .size = (uint32_t)(sizeof(request) + exchange->request_len),
    };
    struct header reply = {0};
    exchange->fd = -1;
    int err = send_all(user, &request, exchange->request, exchange->request_len, fault);
    if (err == 0)
        err = receive_reply(user, exchange, &reply, fault);
    if (reply.flags & FLAG_ERROR)
        user->refusal = reply.error;
    if (err < 0)
        vfio_user_close(user);
    else if (reply.flags & FLAG_ERROR)
        err = ob_fault_set(fault, -EREMOTEIO,
                           "the backdoor's process at %s refused request %u: %s; use its version "
                           "of libbackdoor instead of " OUTBOARD_VERSION,
                           user->name, exchange->command,
                           reply.error < 4096 ? strerror((int)reply.error) : "for no known reason");
    if (err < 0)
        unwanted_close(exchange->fd);
    return err;
}

/* An exchange whose reply should bring no descriptor. */
static int exchange_bytes(struct vfio_user *user, struct exchange *bytes, struct ob_fault *fault)
{
    int err = exchange(user, bytes, fault);
    if (err == 0 && bytes->fd >= 0) {
        unwanted_close(bytes->fd);
        vfio_user_close(user);
        err = broken(user, "it sends an unexpected descriptor", fault);
    }
    return err;
}

static int set_timeout(const struct vfio_user *user, time_t seconds, struct ob_fault *fault)
{
    const struct timeval timeout = {.tv_sec = seconds};
    if (setsockopt(user->fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)) < 0 ||
        setsockopt(user->fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout)) < 0)
        return failed(user, errno, fault);
    return 0;
}

int vfio_user_wait_forever(struct vfio_user *user, struct ob_fault *fault)
{
    return set_timeout(user, 0, fault);
}

/* "VFIO_USER_VERSION": its further capabilities are of no interest here. */
static int negotiate(struct vfio_user *user, struct ob_fault *fault)
{
    struct version ours = {.json = "{\"capabilities\":{\"max_msg_fds\":1}}"};
    struct version theirs = {0};
    struct exchange version = {
        .command = COMMAND_VERSION,
        .request = &ours,
        .request_len = offsetof(struct version, json) + strlen(ours.json) + 1,
        .reply = &theirs,
        .reply_min = offsetof(struct version, json),
        .reply_max = sizeof(theirs),
    };
    int err = exchange_bytes(user, &version, fault);
    if (err == 0 && (theirs.major != ours.major || theirs.minor > ours.minor)) {
        vfio_user_close(user);
        err = broken(user, "it speaks a version other than 0.0", fault);
    }
    return err;
}

static int explain_connect(const char *path, int error, struct ob_fault *fault)
{
    switch (error) {
    case ENOENT:
        return ob_fault_set(fault, -ENOENT,
                            "no backdoor: OUTBOARD_BACKDOOR names %s, which does not exist; start "
                            "outboard-backdoor --wire=vfio-user --socket-path=PATH with that path",
                            path);
    case EACCES:
        return ob_fault_set(fault, -EACCES,
                            "no permission for the backdoor's socket %s; run this as its owner, or "
                            "have its owner allow writing to it",
                            path);
    case ECONNREFUSED:
        return ob_fault_set(fault, -ECONNREFUSED,
                            "no process listens at the backdoor's socket %s; start "
                            "outboard-backdoor --wire=vfio-user --socket-path=PATH with that path",
                            path);
    default:
        return ob_fault_set(fault, -error, "can't connect to the backdoor's socket %s: %s", path,
                            strerror(error));
    }
}

static int connect_to(struct vfio_user *user, const char *path, struct ob_fault *fault)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t len = strlen(path);
    if (len >= sizeof(address.sun_path))
        return ob_fault_set(fault, -ENAMETOOLONG,
                            "OUTBOARD_BACKDOOR: got a path of %zu bytes, expected at most %zu", len,
                            sizeof(address.sun_path) - 1);
    memcpy(address.sun_path, path, len);
    user->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (user->fd < 0)
        return failed(user, errno, fault);
    int err = set_timeout(user, VFIO_USER_SETUP_TIMEOUT_S, fault);
    if (err < 0)
        return err;
    if (connect(user->fd, (const struct sockaddr *)&address, sizeof(address)) == 0)
        return 0;
    return errno == EAGAIN ? failed(user, errno, fault) : explain_connect(path, errno, fault);
}

static int connect_once(struct vfio_user *user, const char *path, struct ob_fault *fault)
{
    int err = connect_to(user, path, fault);
    if (err < 0) {
        vfio_user_close(user);
        return err;
    }
    return negotiate(user, fault);
}

/* Programs that use the backdoor in turns find each other there for a moment. */
int vfio_user_connect(struct vfio_user *user, const char *path, struct ob_fault *fault)
{
    const struct timespec pause = {.tv_nsec = BUSY_PAUSE_MS * 1000000L};
    for (int i = 0; i <= VFIO_USER_SETUP_TIMEOUT_S * 1000 / BUSY_PAUSE_MS; i++) {
        struct ob_fault refused = {0};
        int err = connect_once(user, path, &refused);
        if (err != -EREMOTEIO || user->refusal != EBUSY)
            return err < 0 ? ob_fault_set(fault, err, "%s", refused.text) : 0;
        vfio_user_close(user);
        nanosleep(&pause, NULL);
    }
    return too_late(user, "is not free", fault);
}

int vfio_user_get_region(struct vfio_user *user, uint32_t index,
                         struct vfio_user_region *ret_region, int *ret_fd, struct ob_fault *fault)
{
    const struct vfio_user_region request = {.argsz = sizeof(request), .index = index};
    struct vfio_user_region reply = {0};
    struct exchange region = {
        .command = COMMAND_GET_REGION_INFO,
        .request = &request,
        .request_len = sizeof(request),
        .reply = &reply,
        .reply_min = sizeof(reply),
        .reply_max = sizeof(reply),
    };
    int err = exchange(user, &region, fault);
    if (err < 0)
        return err;
    *ret_region = reply;
    *ret_fd = region.fd;
    return 0;
}

/* A reply repeats where and how much. */
static int check_access(struct vfio_user *user, const struct access *asked,
                        const struct access *answered, struct ob_fault *fault)
{
    if (answered->offset == asked->offset && answered->region == asked->region &&
        answered->count == asked->count)
        return 0;
    vfio_user_close(user);
    return broken(user, "its reply is about another access", fault);
}

int vfio_user_read(struct vfio_user *user, uint32_t region, uint64_t offset, void *ret_buf,
                   uint32_t len, struct ob_fault *fault)
{
    const struct access request = {.offset = offset, .region = region, .count = len};
    struct access reply = {0};
    struct exchange read = {
        .command = COMMAND_REGION_READ,
        .request = &request,
        .request_len = ACCESS_HEADER_LEN,
        .reply = &reply,
        .reply_min = ACCESS_HEADER_LEN + len,
        .reply_max = ACCESS_HEADER_LEN + len,
    };
    assert(len <= sizeof(reply.data));
    int err = exchange_bytes(user, &read, fault);
    if (err == 0)
        err = check_access(user, &request, &reply, fault);
    if (err == 0)
        memcpy(ret_buf, reply.data, len);
    return err;
}

int vfio_user_write(struct vfio_user *user, uint32_t region, uint64_t offset, const void *buf,
                    uint32_t len, struct ob_fault *fault)
{
    struct access request = {.offset = offset, .region = region, .count = len};
    struct access reply = {0};
    struct exchange write = {
        .command = COMMAND_REGION_WRITE,
        .request = &request,
        .request_len = ACCESS_HEADER_LEN + len,
        .reply = &reply,
        .reply_min = ACCESS_HEADER_LEN,
        .reply_max = ACCESS_HEADER_LEN,
    };
    assert(len <= sizeof(request.data));
    memcpy(request.data, buf, len);
    int err = exchange_bytes(user, &write, fault);
    return err < 0 ? err : check_access(user, &request, &reply, fault);
}
