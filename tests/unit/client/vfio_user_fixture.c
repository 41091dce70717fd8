// SPDX-License-Identifier: BSD-3-Clause
#include "client/vfio_user_fixture.h"

#include "support.h"

#include <errno.h>
#include <string.h>

#define FIRST_FD 100

static void count_close(void *context, int fd)
{
    struct fixture *f = context;
    assert_true(fd >= FIRST_FD);
    f->closed++;
}

static int check_ram(uint64_t iova, size_t len)
{
    return iova >= RAM_AT && iova - RAM_AT <= RAM_LEN && len <= RAM_LEN - (iova - RAM_AT) ? 0
                                                                                          : -EFAULT;
}

static int read_ram(void *context, uint64_t iova, void *ret_buf, size_t len)
{
    struct fixture *f = context;
    if (iova >= ENDLESS_AT && iova < 2 * ENDLESS_AT) {
        memset(ret_buf, 0x5a, len);
        return 0;
    }
    int err = check_ram(iova, len);
    if (err == 0 && len > 0)
        memcpy(ret_buf, f->ram + (iova - RAM_AT), len);
    return err;
}

static int write_ram(void *context, uint64_t iova, const void *buf, size_t len)
{
    struct fixture *f = context;
    int err = check_ram(iova, len);
    if (err == 0 && len > 0)
        memcpy(f->ram + (iova - RAM_AT), buf, len);
    return err;
}

void set_up(struct fixture *f)
{
    *f = (struct fixture){
        .host = {.memory_read = read_ram, .memory_write = write_ram, .close = count_close}};
    f->host.context = f;
    for (unsigned i = 0; i < RAM_LEN; i++)
        f->ram[i] = (uint8_t)i;
    assert_int_equal(client_init(&f->client, &client_vfio_user, &f->host), 0);
    f->client.opened = true;
    f->client.capabilities.max_data_xfer_size = MAX_DATA;
}

void tear_down(struct fixture *f)
{
    client_done(&f->client);
}

void send_all(struct fixture *f)
{
    f->sent_len = f->sent_fds = 0;
    for (;;) {
        size_t len;
        const int *fds;
        unsigned num_fds;
        const uint8_t *bytes = client_pending(&f->client, &len, &fds, &num_fds);
        if (len == 0)
            return;
        assert_true(f->sent_len + len <= sizeof(f->sent));
        memcpy(f->sent + f->sent_len, bytes, len);
        f->sent_len += len;
        f->sent_fds += num_fds;
        assert_int_equal(client_sent(&f->client, len), 0);
    }
}

uint64_t ask(struct fixture *f, const struct client_request *request)
{
    uint64_t serial = UINT64_MAX;
    assert_int_equal(client_request(&f->client, request, &serial), 0);
    send_all(f);
    return serial;
}

int receive_fds(struct fixture *f, const void *bytes, size_t len, unsigned num_fds)
{
    int fds[LIMIT_FDS_PER_RECEIVE];
    size_t room;
    uint8_t *to = client_receive_space(&f->client, &room);
    assert_true(len <= room);
    memcpy(to, bytes, len);
    for (unsigned i = 0; i < num_fds; i++)
        fds[i] = FIRST_FD + (int)i;
    return client_received(&f->client, len, fds, num_fds);
}

int receive(struct fixture *f, const void *bytes, size_t len)
{
    return receive_fds(f, bytes, len, 0);
}

size_t frame(uint8_t *buf, uint64_t id, uint16_t command, uint32_t flags, const void *payload,
             size_t len)
{
    const struct vfio_user_header header = {
        .id = (uint16_t)id, .command = command, .size = (uint32_t)(HEADER + len), .flags = flags};
    vfio_user_header_put(buf, HEADER, &header);
    if (len > 0)
        memcpy(buf + HEADER, payload, len);
    return HEADER + len;
}

const struct client_request bar_read = {
    .operation = CLIENT_BAR_READ, .bar = 2, .offset = 0x1122, .size = 4};

size_t value_answer(uint8_t *buf, uint64_t id, uint32_t value)
{
    uint8_t payload[20] = {0x22, 0x11, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 4, 0, 0, 0};
    memcpy(payload + 16, &value, 4);
    return frame(buf, id, VFIO_USER_REGION_READ, VFIO_USER_TYPE_REPLY, payload, sizeof(payload));
}

size_t dma(uint8_t *buf, uint16_t id, uint16_t command, uint32_t flags, uint64_t iova,
           uint64_t count, const void *data, size_t data_len)
{
    uint8_t payload[128];
    const struct vfio_user_dma_access access = {.iova = iova, .count = count};
    vfio_user_dma_access_put(payload, VFIO_USER_ACCESS_LEN, &access);
    if (data_len > 0)
        memcpy(payload + VFIO_USER_ACCESS_LEN, data, data_len);
    return frame(buf, id, command, flags, payload, VFIO_USER_ACCESS_LEN + data_len);
}
