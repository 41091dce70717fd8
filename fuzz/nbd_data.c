// SPDX-License-Identifier: BSD-3-Clause
/*
 * The data phase of NBD of a device that outlives its process. The input is what the server sends, but for its first
 * byte: that many requests are under way, and with its highest bit the memory is that of another process, which
 * begins with the input.
 *
 * What must hold: each request ends exactly once, and a connection that has ended has none at the server.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "block/nbd_data.h"
#include "check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REQUESTS 8u
#define LEN      64u

static unsigned ends[REQUESTS];

// cppcheck-suppress constParameter ; the type of a callback
static int completed(void *argument, int *error) // NOLINT(readability-non-const-parameter)
{
    ends[(size_t)argument]++;
    return 1;
}

static void ask(struct nbd_data *nbd, unsigned count, uint8_t *buffer)
{
    static const enum nbd_type types[] = {NBD_READ, NBD_WRITE, NBD_FLUSH, NBD_TRIM, NBD_ZERO};
    nbd_data_open(nbd);
    for (unsigned i = 0; i < count; i++) {
        const struct nbd_command command = {
            .type = types[i % 5], .len = LEN, .offset = i * LEN, .data = buffer};
        CHECK(nbd_data_send(nbd, &command, (void *)(size_t)i) ==
              0); // NOLINT(performance-no-int-to-ptr)
    }
}

static void work(struct nbd_data *nbd)
{
    while (nbd_data_at_server(nbd) > 0 && nbd_data_work(nbd))
        ;
}

static void serve(const uint8_t *bytes, size_t size, int fd, struct nbd_shared *shared)
{
    uint8_t buffer[LEN] = {0};
    const unsigned count = bytes[0] % (REQUESTS + 1);
    struct nbd_data *nbd = nbd_data_new(fd, shared, completed);
    CHECK(nbd);
    memset(ends, 0, sizeof(ends));
    ask(nbd, count, buffer);
    work(nbd);
    CHECK(!nbd_data_is_gone(nbd) || nbd_data_at_server(nbd) == 0);
    nbd_data_free(nbd);
    for (unsigned i = 0; i < count; i++)
        CHECK(ends[i] == 1);
}

/* Positions and the first slots are the input's. */
static void succeed(const uint8_t *bytes, size_t size, int fd, struct nbd_shared *shared)
{
    struct nbd_data *nbd = NULL;
    const size_t head = 64, slots = size - head;
    const size_t room = 4 * sizeof(struct nbd_slot);
    memcpy(&shared->frame, bytes, 8);
    memcpy(shared->header, bytes + 8, sizeof(shared->header));
    memcpy(&shared->counted.rx.total, bytes + 24, 8);
    memcpy(&shared->counted.tx.total, bytes + 32, 8);
    memcpy(&shared->counted.rx.base, bytes + 40, 8);
    shared->counted.rx.armed = bytes[48] & 1;
    shared->counted.rx.header.msg_len = bytes[49];
    shared->counted.rx.part.iov_len = bytes[50];
    memcpy(shared->slots, bytes + head, slots < room ? slots : room);
    if (nbd_data_take_over(fd, shared, &nbd) == 0) {
        work(nbd);
        CHECK(!nbd_data_is_gone(nbd) || nbd_data_at_server(nbd) == 0);
    }
    nbd_data_free(nbd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int fds[2];
    struct nbd_shared *shared = calloc(1, sizeof(*shared));
    if (size < 1 || size > 4096) {
        free(shared);
        return 0;
    }
    CHECK(shared && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
    CHECK(send(fds[1], data + 1, size - 1, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)size - 1 ||
          size == 1);
    shutdown(fds[1], SHUT_WR);
    if (data[0] & 0x80 && size > 64)
        succeed(data, size, fds[0], shared);
    else
        serve(data, size, fds[0], shared);
    close(fds[0]);
    close(fds[1]);
    free(shared);
    return 0;
}
