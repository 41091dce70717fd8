// SPDX-License-Identifier: BSD-3-Clause
/* The register bench over vfio-user. */
#include "wire.h"

#include <errno.h>
#include <linux/vfio.h>
#include <string.h>
#include <sys/socket.h>

#include "exchange.h"
#include "wire/vfio_user.h"

static void put_header(struct bench_exchange *exchange, enum vfio_user_command command, size_t len)
{
    const struct vfio_user_header header = {.command = command,
                                            .size = (uint32_t)(VFIO_USER_HEADER_LEN + len)};
    vfio_user_header_put(exchange->request, VFIO_USER_HEADER_LEN, &header);
    exchange->request_len = header.size;
}

static void make(enum bench_access access, const struct bench_register *where,
                 struct bench_exchange *ret_exchange)
{
    const struct vfio_user_access config = {.region = VFIO_PCI_CONFIG_REGION_INDEX,
                                            .count = where->size};
    const struct vfio_user_access bar = {
        .offset = where->offset, .region = where->bar, .count = where->size};
    const struct vfio_user_access *read = access == BENCH_CONFIG_READ ? &config : &bar;
    put_header(ret_exchange, VFIO_USER_REGION_READ, VFIO_USER_ACCESS_LEN);
    vfio_user_access_put(ret_exchange->request + VFIO_USER_HEADER_LEN, VFIO_USER_ACCESS_LEN, read);
    ret_exchange->reply_len = VFIO_USER_HEADER_LEN + VFIO_USER_ACCESS_LEN + read->count;
}

static void receive(int fd, uint8_t *ret_bytes, size_t len)
{
    if (recv(fd, ret_bytes, len, MSG_WAITALL) != (ssize_t)len)
        bench_die("the reply has no end");
}

/* A round trip whose reply may be of any length, as that of an error is. Returns its length. */
static size_t try(int fd, const struct bench_exchange *exchange)
{
    uint8_t reply[BENCH_REPLY_MAX];
    struct vfio_user_header header = {0};
    if (send(fd, exchange->request, exchange->request_len, 0) != (ssize_t)exchange->request_len)
        bench_die("a request was not taken: %s", strerror(errno));
    receive(fd, reply, VFIO_USER_HEADER_LEN);
    vfio_user_header_get(reply, VFIO_USER_HEADER_LEN, &header);
    if (header.size < VFIO_USER_HEADER_LEN || header.size > sizeof(reply))
        bench_die("a reply of %u bytes", header.size);
    if (header.flags & VFIO_USER_ERROR)
        bench_die("the device refused command %u: %s", header.command, strerror((int)header.error));
    receive(fd, reply + VFIO_USER_HEADER_LEN, header.size - VFIO_USER_HEADER_LEN);
    return header.size;
}

static void agree(int fd)
{
    const struct vfio_user_version version = {
        .capabilities = {.max_msg_fds = 1,
                         .max_data_xfer_size = LIMIT_VFIO_USER_DATA,
                         .pgsizes = 4096,
                         .max_dma_maps = LIMIT_MEMORY_REGIONS}};
    struct bench_exchange exchange;
    int len =
        vfio_user_version_offer_put(exchange.request + VFIO_USER_HEADER_LEN,
                                    sizeof(exchange.request) - VFIO_USER_HEADER_LEN, &version);
    if (len < 0)
        bench_die("no room for VERSION");
    put_header(&exchange, VFIO_USER_VERSION, (size_t)len);
    try(fd, &exchange);
}

static void set_up(const struct bench_process *process, const struct bench_register *where)
{
    agree(process->fd);
    for (enum bench_access access = 0; access < BENCH_ACCESS_COUNT; access++) {
        struct bench_exchange exchange;
        make(access, where, &exchange);
        if (try(process->fd, &exchange) != exchange.reply_len)
            bench_die("the device answers with less than it was asked for");
    }
}

const struct bench_wire bench_vfio_user = {.name = "vfio-user", .set_up = set_up, .make = make};
