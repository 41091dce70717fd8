// SPDX-License-Identifier: BSD-3-Clause
/*
 * The bytes of an NBD server, as libnbd itself takes them, from its first greeting on.
 *
 * The input is what the server sends, but for its first byte: that many reads, writes and flushes
 * are under way when the transmission begins. What must hold: each operation ends exactly once;
 * and when the connection has ended nothing touches memory any more.
 *
 * The greeting is given by the target where the input says so: else few inputs would get past it.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "block/nbd_link.h"
#include "block_model.h"
#include "check.h"
#include "device/device.h"
#include "fake/nbd_dial.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define OPERATIONS 8u
#define LEN        4096u

struct operation {
    struct block_io io;
    struct iovec iov;
    bool is_busy;
};

static struct {
    const uint8_t *bytes;
    size_t size;
    int fd; /* the server's end */
} server;

/* Newstyle, structured replies, an export of 64 KiB that can all, blocks of 1 to 4096. */
static const uint8_t greeting[] =
    "NBDMAGICIHAVEOPT\0\3"
    "\0\3\xe8\x89\4\x55\x65\xa9\0\0\0\x8\0\0\0\1\0\0\0\0"
    "\0\3\xe8\x89\4\x55\x65\xa9\0\0\0\7\0\0\0\3\0\0\0\xc\0\0\0\0\0\0\0\1\0\0\0\x6d"
    "\0\3\xe8\x89\4\x55\x65\xa9\0\0\0\7\0\0\0\1\0\0\0\0";

static void send_bytes(const void *bytes, size_t len)
{
    CHECK(send(server.fd, bytes, len, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)len || len == 0);
}

/* All that the server has to say is there before libnbd looks. It then hangs up. */
struct nbd_handle *fake_nbd_dialled(void)
{
    int fds[2];
    struct nbd_handle *handle = nbd_create();
    CHECK(handle && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
    server.fd = fds[1];
    if (server.size > 0 && server.bytes[0] & 0x80)
        send_bytes(greeting, sizeof(greeting) - 1);
    else if (server.size > 1)
        send_bytes(server.bytes + 1, server.size - 1);
    nbd_aio_connect_socket(handle, fds[0]);
    while (nbd_aio_is_connecting(handle) == 1 && nbd_poll(handle, 0) > 0)
        ;
    if (nbd_aio_is_ready(handle) == 1)
        return handle;
    nbd_close(handle);
    return NULL;
}

static void done(struct block_io *io, int err)
{
    struct operation *operation = io->context;
    CHECK(operation->is_busy && err <= 0);
    operation->is_busy = false;
    free(operation->iov.iov_base);
    operation->iov.iov_base = NULL;
}

static void start(struct block *block, struct operation *operation, unsigned number)
{
    static const enum block_op ops[] = {BLOCK_READ, BLOCK_READ,  BLOCK_WRITE,   BLOCK_FLUSH,
                                        BLOCK_READ, BLOCK_WRITE, BLOCK_DISCARD, BLOCK_WRITE_ZEROES};
    uint64_t len = block->size < LEN ? block->size / 512 * 512 : LEN;
    if (len == 0 || block->size < 512)
        return;
    operation->iov = (struct iovec){malloc(len), len};
    CHECK(operation->iov.iov_base);
    memset(operation->iov.iov_base, 0x55, len);
    operation->io = (struct block_io){.op = ops[number % 8],
                                      .len = len,
                                      .iov = &operation->iov,
                                      .iov_count = 1,
                                      .done = done,
                                      .context = operation};
    operation->is_busy = true;
    block->ops->start(block, &operation->io);
}

static void serve(struct block *block)
{
    struct operation operations[OPERATIONS] = {0};
    unsigned count = 1 + (server.bytes[0] & 7);
    for (unsigned i = 0; i < count; i++)
        start(block, &operations[i], i);
    if (server.bytes[0] & 0x80)
        send_bytes(server.bytes + 1, server.size - 1);
    for (unsigned i = 0; i < 1000 && block->in_flight > 0; i++) {
        unsigned signs = block->signs + block->answers;
        block->ops->reap(block);
        if (signs == block->signs + block->answers)
            break;
    }
    block->ops->give_up(block);
    CHECK(block->in_flight == 0);
    for (unsigned i = 0; i < OPERATIONS; i++)
        CHECK(!operations[i].is_busy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct block_options options = {.path = "nbd://fake", .block_size = 512};
    struct block *block = NULL;
    struct ob_device *device = NULL;
    struct ob_fault fault = {0};
    if (size == 0)
        return 0;
    server.bytes = data;
    server.size = size;
    if (block_nbd_open(&options, &block, &fault) == 0) {
        device = model_device_new();
        CHECK(block->ops->watch(block, device) == 0);
        serve(block);
        block->ops->close(block);
        device_free(device);
    }
    close(server.fd);
    return 0;
}
