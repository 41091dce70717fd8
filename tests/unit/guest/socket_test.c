// SPDX-License-Identifier: BSD-3-Clause
/*
 * The socket channel, against a server that lies.
 *
 * The server answers as a good one does, but for one reply, which a lie changes before it is sent.
 * It runs in a thread and serves one client. tests/guest has the real server.
 */
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <outboard/backdoor.h>

#include "channel.h"

#define HEADER_LEN 16u
#define DATA_LEN   8192u
#define REPLY_FLAG 1u
#define ERROR_FLAG 0x20u

/* Which reply of a session is which. */
enum {
    REPLY_VERSION,
    REPLY_IDS,
    REPLY_ENABLE,
    REPLY_REGION,
    REPLY_SIZE,
    REPLY_CALL, /* the first one */
    REPLY_COUNT,
    NO_REPLY = -1,
};

struct reply {
    uint8_t bytes[8192];
    size_t len; /* to be sent; what lies behind is zero */
    int fds[2]; /* -1: none */
    bool hang_up;
};

struct lie {
    int reply; /* which one it changes */
    void (*tell)(struct reply *reply, size_t argument);
    size_t argument;
};

struct server {
    pthread_t thread;
    int listener;
    char path[64];
    struct lie lie;
    uint64_t called; /* the last command */
    unsigned calls;
    uint16_t enabled; /* what was written to the command register */
};

static void put32(uint8_t *at, uint32_t value)
{
    memcpy(at, &value, sizeof(value));
}

static void put64(uint8_t *at, uint64_t value)
{
    memcpy(at, &value, sizeof(value));
}

static bool receive(int fd, uint8_t *buf, size_t len)
{
    return recv(fd, buf, len, MSG_WAITALL) == (ssize_t)len;
}

static int data_channel(size_t len, int seals)
{
    int fd = memfd_create("data", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (ftruncate(fd, (off_t)len) < 0 || fcntl(fd, F_ADD_SEALS, seals) < 0)
        abort();
    return fd;
}

static void answer_read(const uint8_t *request, struct reply *reply)
{
    uint32_t region, count;
    memcpy(&region, request + HEADER_LEN + 8, sizeof(region));
    memcpy(&count, request + HEADER_LEN + 12, sizeof(count));
    reply->len = HEADER_LEN + 16 + count;
    if (region == VFIO_USER_CONFIG_REGION)
        put32(reply->bytes + HEADER_LEN + 16, 0x10f0u << 16 | 0x1af4);
    else
        put64(reply->bytes + HEADER_LEN + 16, DATA_LEN);
}

static void answer_write(struct server *server, const uint8_t *request, struct reply *reply)
{
    uint32_t region;
    memcpy(&region, request + HEADER_LEN + 8, sizeof(region));
    reply->len = HEADER_LEN + 16;
    if (region == VFIO_USER_CONFIG_REGION) {
        memcpy(&server->enabled, request + HEADER_LEN + 16, sizeof(server->enabled));
    } else {
        memcpy(&server->called, request + HEADER_LEN + 16, sizeof(server->called));
        server->calls++;
    }
}

static void answer_region(struct reply *reply)
{
    reply->len = HEADER_LEN + 32;
    put32(reply->bytes + HEADER_LEN, 32);
    put32(reply->bytes + HEADER_LEN + 4, 7); /* read, write, mmap */
    put64(reply->bytes + HEADER_LEN + 16, DATA_LEN);
    reply->fds[0] = data_channel(DATA_LEN, F_SEAL_SHRINK | F_SEAL_GROW);
}

static void answer(struct server *server, const uint8_t *request, struct reply *reply)
{
    uint16_t command;
    memcpy(&command, request + 2, sizeof(command));
    *reply = (struct reply){.fds = {-1, -1}};
    memcpy(reply->bytes, request, HEADER_LEN + 16); /* the header, and where an access went */
    switch (command) {
    case 1:
        memset(reply->bytes + HEADER_LEN, 0, 16);
        reply->len = HEADER_LEN + 4 + 3;
        memcpy(reply->bytes + HEADER_LEN + 4, "{}", 3);
        break;
    case 5:
        answer_region(reply);
        break;
    case 9:
        answer_read(request, reply);
        break;
    case 10:
        answer_write(server, request, reply);
        break;
    default:
        abort();
    }
    put32(reply->bytes + 4, (uint32_t)reply->len);
    put32(reply->bytes + 8, REPLY_FLAG);
}

static bool send_reply(int fd, struct reply *reply)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(reply->fds))];
    } control = {0};
    size_t count = (reply->fds[0] >= 0) + (reply->fds[1] >= 0);
    struct iovec iov = {reply->bytes, reply->len};
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
    if (count > 0) {
        message.msg_control = control.bytes;
        message.msg_controllen = CMSG_SPACE(count * sizeof(int));
        struct cmsghdr *cmsg = CMSG_FIRSTHDR(&message);
        cmsg->cmsg_level = SOL_SOCKET;
        cmsg->cmsg_type = SCM_RIGHTS;
        cmsg->cmsg_len = CMSG_LEN(count * sizeof(int));
        memcpy(CMSG_DATA(cmsg), reply->fds, count * sizeof(int));
    }
    bool sent = reply->len == 0 || sendmsg(fd, &message, MSG_NOSIGNAL) == (ssize_t)reply->len;
    for (size_t i = 0; i < count; i++)
        close(reply->fds[i]);
    return sent && !reply->hang_up;
}

static void *serve(void *argument)
{
    struct server *server = argument;
    // cppcheck-suppress nullPointer ; accept4(2) fills nothing then
    int fd = accept4(server->listener, NULL, NULL, SOCK_CLOEXEC);
    uint8_t request[256] = {0};
    for (int number = 0; receive(fd, request, HEADER_LEN); number++) {
        uint32_t size;
        memcpy(&size, request + 4, sizeof(size));
        if (size < HEADER_LEN || size > sizeof(request) ||
            !receive(fd, request + HEADER_LEN, size - HEADER_LEN))
            break;
        struct reply reply;
        answer(server, request, &reply);
        if (server->lie.reply == number)
            server->lie.tell(&reply, server->lie.argument);
        if (!send_reply(fd, &reply))
            break;
    }
    close(fd);
    return NULL;
}

static void start(struct server *server, struct lie lie)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    *server = (struct server){.lie = lie};
    snprintf(server->path, sizeof(server->path), "/tmp/outboard-socket-test-%d", getpid());
    memcpy(address.sun_path, server->path, sizeof(server->path));
    unlink(server->path);
    server->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(server->listener, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(server->listener, 1), 0);
    assert_int_equal(pthread_create(&server->thread, NULL, serve, server), 0);
}

static void stop(struct server *server)
{
    pthread_join(server->thread, NULL);
    close(server->listener);
    unlink(server->path);
}

static struct ob_backdoor *open_good(struct server *server)
{
    struct ob_backdoor *backdoor = NULL;
    struct ob_fault fault = {0};
    int err = channel_open(socket_channel_open, server->path, &backdoor, &fault);
    assert_string_equal(fault.text, "");
    assert_int_equal(err, 0);
    return backdoor;
}

/* One session with a server that tells a lie, and what comes of it. */
static void refuses(struct lie lie, int code, const char *text)
{
    struct server server;
    struct ob_backdoor *backdoor = NULL;
    struct ob_fault fault = {0};
    start(&server, lie);
    int err = channel_open(socket_channel_open, server.path, &backdoor, &fault);
    if (lie.reply == REPLY_CALL) {
        assert_int_equal(err, 0);
        err = ob_backdoor_call(backdoor, 1, &fault);
    }
    ob_backdoor_close(backdoor);
    stop(&server);
    assert_int_equal(err, code);
    assert_int_equal(fault.code, code);
    if (!strstr(fault.text, text))
        fail_msg("'%s' is not in '%s'", text, fault.text);
}

static void opens_calls_and_closes(void **state)
{
    struct server server;
    start(&server, (struct lie){NO_REPLY, NULL, 0});
    struct ob_backdoor *backdoor = open_good(&server);
    assert_string_equal(ob_backdoor_name(backdoor), server.path);
    assert_int_equal(ob_backdoor_size(backdoor), DATA_LEN);
    assert_int_equal(server.enabled, PCI_COMMAND_MEMORY);
    assert_int_equal(ob_backdoor_call(backdoor, UINT64_C(0x1122334455667788), NULL), 0);
    assert_int_equal(server.called, UINT64_C(0x1122334455667788));
    assert_int_equal(ob_backdoor_check(backdoor, NULL), 0);
    ob_backdoor_close(backdoor);
    stop(&server);
    assert_int_equal(server.calls, 1);
}

static void cut(struct reply *reply, size_t len)
{
    reply->len = len;
    reply->hang_up = true;
    if (len == 0 && reply->fds[0] >= 0)
        close(reply->fds[0]), reply->fds[0] = -1;
}

static void server_that_dies_at_any_byte_is_gone(void **state)
{
    static const size_t lens[REPLY_COUNT] = {23, 36, 32, 48, 40, 32};
    for (int reply = 0; reply < REPLY_COUNT; reply++)
        for (size_t len = 0; len < lens[reply]; len++)
            refuses((struct lie){reply, cut, len}, -ENOTCONN, "has ended; start it again");
}

static void set_id(struct reply *reply, size_t argument)
{
    reply->bytes[0] ^= 1;
}

static void set_command(struct reply *reply, size_t argument)
{
    reply->bytes[2] ^= 2;
}

static void set_type(struct reply *reply, size_t type)
{
    reply->bytes[8] = (uint8_t)type;
}

static void other_messages_are_refused(void **state)
{
    for (int reply = 0; reply < REPLY_COUNT; reply++) {
        refuses((struct lie){reply, set_id, 0}, -EPROTO, "not the reply to ours");
        refuses((struct lie){reply, set_command, 0}, -EPROTO, "not the reply to ours");
        refuses((struct lie){reply, set_type, 0}, -EPROTO, "not the reply to ours");
        refuses((struct lie){reply, set_type, 2}, -EPROTO, "not the reply to ours");
    }
}

static void set_size(struct reply *reply, size_t size)
{
    put32(reply->bytes + 4, (uint32_t)size);
}

static void impossible_lengths_are_refused(void **state)
{
    static const size_t lens[REPLY_COUNT] = {16 + 4096, 36, 32, 48, 40, 32};
    for (int reply = 0; reply < REPLY_COUNT; reply++) {
        size_t shorter = reply == REPLY_VERSION ? 19 : lens[reply] - 1;
        const size_t sizes[] = {0, 15, shorter, lens[reply] + 1, UINT32_MAX};
        for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
            refuses((struct lie){reply, set_size, sizes[i]}, -EPROTO, "impossible length");
    }
}

static void refuse(struct reply *reply, size_t error)
{
    put32(reply->bytes + 4, HEADER_LEN);
    put32(reply->bytes + 8, REPLY_FLAG | ERROR_FLAG);
    put32(reply->bytes + 12, (uint32_t)error);
    reply->len = HEADER_LEN;
}

static void refusals_are_told(void **state)
{
    for (int reply = 0; reply < REPLY_COUNT; reply++) {
        refuses((struct lie){reply, refuse, EPERM}, -EREMOTEIO, "Operation not permitted");
        refuses((struct lie){reply, refuse, 0}, -EREMOTEIO, "refused request");
        refuses((struct lie){reply, refuse, UINT32_MAX}, -EREMOTEIO, "for no known reason");
    }
}

static void refuse_with_payload(struct reply *reply, size_t argument)
{
    put32(reply->bytes + 8, REPLY_FLAG | ERROR_FLAG);
}

static void refusal_has_no_payload(void **state)
{
    refuses((struct lie){REPLY_SIZE, refuse_with_payload, 0}, -EPROTO, "impossible length");
}

static void refused_call_leaves_the_connection_good(void **state)
{
    struct server server;
    start(&server, (struct lie){REPLY_CALL, refuse, EBUSY});
    struct ob_backdoor *backdoor = open_good(&server);
    assert_int_equal(ob_backdoor_call(backdoor, 1, NULL), -EREMOTEIO);
    assert_int_equal(ob_backdoor_call(backdoor, 2, NULL), 0);
    assert_int_equal(server.called, 2);
    ob_backdoor_close(backdoor);
    stop(&server);
}

/* Neither a lock that stays locked nor SIGPIPE, at the first call and at later ones. */
static void dead_server_is_told_at_every_call(void **state)
{
    struct server server;
    start(&server, (struct lie){REPLY_CALL, cut, 0});
    struct ob_backdoor *backdoor = open_good(&server);
    volatile uint8_t *data = ob_backdoor_data(backdoor);
    for (int i = 0; i < 3; i++) {
        struct ob_fault fault = {0};
        assert_int_equal(ob_backdoor_call(backdoor, 1, &fault), -ENOTCONN);
        assert_non_null(strstr(fault.text, "has ended"));
    }
    assert_int_equal(ob_backdoor_check(backdoor, NULL), -ENOTCONN);
    data[DATA_LEN - 1] = 1; /* is still there */
    stop(&server);
    ob_backdoor_close(backdoor);
}

static void attach(struct reply *reply, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (reply->fds[i] < 0)
            reply->fds[i] = data_channel(DATA_LEN, F_SEAL_SHRINK);
}

static void descriptors_that_nobody_asked_for_are_refused(void **state)
{
    for (int reply = 0; reply < REPLY_COUNT; reply++) {
        if (reply != REPLY_REGION)
            refuses((struct lie){reply, attach, 1}, -EPROTO, "an unexpected descriptor");
        refuses((struct lie){reply, attach, 2}, -EPROTO, "more than one descriptor");
    }
}

static void set_version(struct reply *reply, size_t version)
{
    put32(reply->bytes + HEADER_LEN, (uint32_t)version);
}

static void other_versions_are_refused(void **state)
{
    refuses((struct lie){REPLY_VERSION, set_version, 1}, -EPROTO, "a version other than 0.0");
    refuses((struct lie){REPLY_VERSION, set_version, 1 << 16}, -EPROTO, "a version other than 0.0");
}

static void set_ids(struct reply *reply, size_t ids)
{
    put32(reply->bytes + HEADER_LEN + 16, (uint32_t)ids);
}

static void other_devices_are_refused(void **state)
{
    refuses((struct lie){REPLY_IDS, set_ids, 0x58451234}, -ENODEV,
            "expected a backdoor (1af4:10f0), got 1234:5845");
    setenv("OUTBOARD_BACKDOOR_PCI_ID", "1234:5845", 1);
    refuses((struct lie){REPLY_IDS, set_ids, 0x10f01af4}, -ENODEV,
            "expected a backdoor (1234:5845), got 1af4:10f0");
    setenv("OUTBOARD_BACKDOOR_PCI_ID", "none", 1);
    refuses((struct lie){REPLY_IDS, set_ids, 0x10f01af4}, -EINVAL,
            "OUTBOARD_BACKDOOR_PCI_ID: got 'none'");
    unsetenv("OUTBOARD_BACKDOOR_PCI_ID");
}

static void set_echo(struct reply *reply, size_t offset)
{
    reply->bytes[HEADER_LEN + offset] ^= 1;
}

static void replies_about_other_accesses_are_refused(void **state)
{
    static const int replies[] = {REPLY_IDS, REPLY_ENABLE, REPLY_SIZE, REPLY_CALL};
    for (size_t i = 0; i < sizeof(replies) / sizeof(replies[0]); i++)
        for (size_t offset = 0; offset < 16; offset++)
            refuses((struct lie){replies[i], set_echo, offset}, -EPROTO, "about another access");
}

static void set_register(struct reply *reply, size_t size)
{
    put64(reply->bytes + HEADER_LEN + 16, size);
}

static void impossible_sizes_are_refused(void **state)
{
    static const size_t sizes[] = {0, 4, DATA_LEN + 8, (size_t)1 << 40};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
        refuses((struct lie){REPLY_SIZE, set_register, sizes[i]}, -EPROTO, "which is faulty");
}

static void set_region_size(struct reply *reply, size_t size)
{
    put64(reply->bytes + HEADER_LEN + 16, size);
}

static void set_region_offset(struct reply *reply, size_t offset)
{
    put64(reply->bytes + HEADER_LEN + 24, offset);
}

static void set_region_flags(struct reply *reply, size_t flags)
{
    put32(reply->bytes + HEADER_LEN + 4, (uint32_t)flags);
}

static void replace_memory(struct reply *reply, int fd)
{
    close(reply->fds[0]);
    reply->fds[0] = fd;
}

static void drop_memory(struct reply *reply, size_t argument)
{
    replace_memory(reply, -1);
}

static void shorten_memory(struct reply *reply, size_t len)
{
    replace_memory(reply, data_channel(len, F_SEAL_SHRINK));
}

static void unseal_memory(struct reply *reply, size_t seals)
{
    replace_memory(reply, data_channel(DATA_LEN, (int)seals));
}

static void send_device_file(struct reply *reply, size_t argument)
{
    replace_memory(reply, open("/dev/null", O_RDWR | O_CLOEXEC));
}

static void impossible_data_channels_are_refused(void **state)
{
    static const struct {
        void (*tell)(struct reply *reply, size_t argument);
        size_t argument;
        const char *text;
    } lies[] = {
        {set_region_size, 0, "size or place"},
        {set_region_size, 4095, "size or place"},
        {set_region_size, 4097, "size or place"},
        {set_region_size, LIMIT_DATA_LEN + 4096, "size or place"},
        {set_region_size, SIZE_MAX & ~(size_t)4095, "size or place"},
        {set_region_size, DATA_LEN + 4096, "shorter than its size"},
        {set_region_offset, 1, "size or place"},
        {set_region_offset, 4096, "shorter than its size"},
        {set_region_offset, SIZE_MAX & ~(size_t)4095, "shorter than its size"},
        {set_region_flags, 3, "has no shared memory"},
        {drop_memory, 0, "has no shared memory"},
        {shorten_memory, 0, "shorter than its size"},
        {shorten_memory, 4096, "shorter than its size"},
        {unseal_memory, 0, "not sealed"},
        {unseal_memory, F_SEAL_GROW, "not sealed"},
        {send_device_file, 0, "is not a memfd"},
    };
    for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++)
        refuses((struct lie){REPLY_REGION, lies[i].tell, lies[i].argument}, -EPROTO, lies[i].text);
    refuses((struct lie){REPLY_REGION, unseal_memory, F_SEAL_SHRINK | F_SEAL_WRITE}, -EPERM,
            "can't map the data channel");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(opens_calls_and_closes),
        TEST(server_that_dies_at_any_byte_is_gone),
        TEST(other_messages_are_refused),
        TEST(impossible_lengths_are_refused),
        TEST(refusals_are_told),
        TEST(refusal_has_no_payload),
        TEST(refused_call_leaves_the_connection_good),
        TEST(dead_server_is_told_at_every_call),
        TEST(descriptors_that_nobody_asked_for_are_refused),
        TEST(other_versions_are_refused),
        TEST(other_devices_are_refused),
        TEST(replies_about_other_accesses_are_refused),
        TEST(impossible_sizes_are_refused),
        TEST(impossible_data_channels_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
