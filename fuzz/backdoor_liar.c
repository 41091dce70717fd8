// SPDX-License-Identifier: BSD-3-Clause
/*
 * libbackdoor with a server that lies, and with a PCI device that does.
 *
 * The first byte says which: a socket, behind which a device answers as the input says (liar.h), or
 * a folder as sysfs has it, whose files hold what the input says. What must hold: opening ends,
 * with a channel that is as large as its memory, or with an errno and a sentence; a call ends; and
 * no descriptor is left.
 */
#include "channel.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "check.h"
#include "liar.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int __wrap_connect(int fd, const struct sockaddr *address, socklen_t len);
ssize_t __real_recvmsg(int fd, struct msghdr *message, int flags);
ssize_t __wrap_recvmsg(int fd, struct msghdr *message, int flags);
int __wrap_nanosleep(const struct timespec *time, struct timespec *ret_left);
int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                          void *(*start)(void *), void *argument);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                          void *(*start)(void *), void *argument);
int __real_pthread_detach(pthread_t thread);
int __wrap_pthread_detach(pthread_t thread);

#define MOST_CALLS  8u
#define MOST_TURNS  4u
#define DESCRIPTORS 64
#define DEVICE      "0000:00:03.0"

static struct run {
    bool on;
    struct rd input;
    struct rd lies;
    struct liar liar;
    bool has_liar;
    int client_fd;
} run = {.client_fd = -1};

static void end_liar(void)
{
    if (run.has_liar)
        liar_done(&run.liar);
    run.has_liar = false;
}

/* Whoever listens there is a liar. */
int __wrap_connect(int fd, const struct sockaddr *address, socklen_t len)
{
    int ends[2];
    uint8_t how = rd_u8(&run.input);
    if (how >= 0xf0) {
        static const int errors[] = {ENOENT, EACCES, ECONNREFUSED, EAGAIN, ENOTSOCK, EINTR};
        errno = errors[how % 6];
        return -1;
    }
    end_liar();
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
    CHECK(dup3(ends[0], fd, O_CLOEXEC) == fd);
    close(ends[0]);
    CHECK(fcntl(ends[1], F_SETFL, O_NONBLOCK) == 0);
    liar_init(&run.liar, &run.lies, &vfio_user_engine, ends[1]);
    run.has_liar = true;
    run.client_fd = fd;
    return 0;
}

/* The client waits: the liar has its turn. */
ssize_t __wrap_recvmsg(int fd, struct msghdr *message, int flags)
{
    if (!run.on || fd != run.client_fd || !run.has_liar || flags & MSG_DONTWAIT)
        return __real_recvmsg(fd, message, flags);
    struct pollfd ready = {.fd = fd, .events = POLLIN};
    for (unsigned i = 0; i < MOST_TURNS && poll(&ready, 1, 0) == 0; i++)
        liar_turn(&run.liar);
    return __real_recvmsg(fd, message, flags | MSG_DONTWAIT);
}

int __wrap_nanosleep(const struct timespec *time, struct timespec *ret_left)
{
    return 0;
}

/* A thread that closes what is unwanted has closed it before the next step. */
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                          void *(*start)(void *), void *argument)
{
    if (!run.on)
        return __real_pthread_create(thread, attributes, start, argument);
    *thread = pthread_self();
    start(argument);
    return 0;
}

int __wrap_pthread_detach(pthread_t thread)
{
    return run.on ? 0 : __real_pthread_detach(thread);
}

static void use(struct ob_backdoor *backdoor)
{
    volatile uint8_t *data = backdoor->data;
    CHECK(backdoor->size > 0 && backdoor->size % 8 == 0 && backdoor->size <= backdoor->data_len);
    data[0] = data[backdoor->size - 1];
    for (unsigned i = 0; i < MOST_CALLS && run.input.left > 0 && !run.input.bad; i++) {
        struct ob_fault fault = {0};
        uint64_t size;
        int err = rd_u8(&run.input) & 1 ? backdoor->ops->call(backdoor, i, &fault)
                                        : channel_read_size(backdoor, &size, &fault);
        CHECK(err <= 0 && err == fault.code && (err == 0 || fault.text[0]));
        data[backdoor->size - 1]++;
    }
}

static void open_and_use(int (*open)(struct ob_backdoor *, const char *, struct ob_fault *),
                         const char *where)
{
    struct ob_backdoor *backdoor = NULL;
    struct ob_fault fault = {0};
    int err = channel_open(open, where, &backdoor, &fault);
    CHECK((err == 0) == (backdoor != NULL));
    if (err == 0) {
        use(backdoor);
        channel_close(backdoor);
    } else {
        CHECK(err < 0 && fault.code == err && fault.text[0]);
    }
}

/* A file of the device's folder, or none. */
static void make_file(const char *folder, const char *name, const void *bytes, size_t len,
                      off_t size)
{
    char path[128];
    snprintf(path, sizeof(path), "%s/" DEVICE "/%s", folder, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    CHECK(fd >= 0 && write(fd, bytes, len) == (ssize_t)len && ftruncate(fd, size) == 0);
    close(fd);
}

static void make_bar(const char *folder, const char *name, uint64_t first)
{
    static const off_t sizes[] = {4096, 8192, 4096, 1 << 20, 0, 4095, (1 << 20) + 4096, 65536};
    uint8_t how = rd_u8(&run.input);
    if (how < 0xf0)
        make_file(folder, name, &first, how % 8 == 4 ? 0 : sizeof(first), sizes[how % 8]);
}

static void make_id(const char *folder, const char *name, const char *right)
{
    char text[24] = {0};
    uint8_t how = rd_u8(&run.input);
    if (how >= 0xf8)
        return;
    size_t len = how < 0xc0 ? strlen(right) : how % sizeof(text);
    if (how < 0xc0)
        memcpy(text, right, len);
    else
        rd_bytes(&run.input, text, len);
    make_file(folder, name, text, len, (off_t)len);
}

static void make_device(const char *folder)
{
    static const uint64_t data_sizes[] = {4096, 8192, 0, UINT64_MAX, 4097, 8, 1 << 20};
    char path[128];
    uint8_t how = rd_u8(&run.input);
    snprintf(path, sizeof(path), "%s/" DEVICE, folder);
    CHECK(mkdir(path, 0700) == 0);
    make_id(folder, "vendor", "0x1af4\n");
    make_id(folder, "device", "0x10f0\n");
    if (!(how & 2)) {
        uint8_t config[8] = {0xf4, 0x1a, 0xf0, 0x10, how & 1 ? 0 : 2};
        make_file(folder, "config", config, sizeof(config), sizeof(config));
    }
    if (!(how & 4))
        make_file(folder, "enable", "0", 1, 1);
    make_bar(folder, "resource0", data_sizes[rd_u8(&run.input) % 7]);
    make_bar(folder, "resource1", 0);
    if (how >= 0xe0) {
        char target[sizeof(path) + 16];
        snprintf(target, sizeof(target), "%s/driver", path);
        CHECK(symlink(how & 8 ? "../../drivers/uio_pci_generic" : "uio", target) == 0);
    }
}

static void remove_device(const char *folder)
{
    static const char *const names[] = {"vendor",    "device",    "config", "enable",
                                        "resource0", "resource1", "driver"};
    char path[128];
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        snprintf(path, sizeof(path), "%s/" DEVICE "/%s", folder, names[i]);
        unlink(path);
    }
    snprintf(path, sizeof(path), "%s/" DEVICE, folder);
    CHECK(rmdir(path) == 0 && rmdir(folder) == 0);
}

static void find_device(void)
{
    char folder[] = "/tmp/outboard-fuzz-XXXXXX";
    CHECK(mkdtemp(folder));
    make_device(folder);
    open_and_use(pci_channel_open, folder);
    remove_device(folder);
}

static unsigned count_descriptors(void)
{
    unsigned count = 0;
    for (int fd = 0; fd < DESCRIPTORS; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char long_path[200];
    liar_start();
    unsigned before = count_descriptors();
    liar_divide(data, size, &run.input, &run.lies);
    run.on = true;
    uint8_t how = rd_u8(&run.input);
    memset(long_path, 'x', sizeof(long_path) - 1);
    if (how % 4 == 0)
        find_device();
    else
        open_and_use(socket_channel_open, how == 0xff ? long_path : "/path");
    end_liar();
    run.on = false;
    run.client_fd = -1;
    CHECK(count_descriptors() == before);
    return 0;
}
