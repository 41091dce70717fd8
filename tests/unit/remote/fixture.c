// SPDX-License-Identifier: BSD-3-Clause
#include "remote/fixture.h"

#include "support.h"

#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/auto.h"
#include "remote/client.h"

int fixture_read_ids(struct fixture *f, uint32_t *ret_value)
{
    return ob_client_config_read(f->client, 0, 4, ret_value);
}

void fixture_start_greeted(struct fixture *f, const struct ob_client_options *options)
{
    uint32_t value;
    f->client = fake_remote_start(&f->remote, options);
    f->client->options.timeout_ms = PATIENCE_MS;
    fake_remote_serve(&f->remote, GREETING + 1);
    assert_int_equal(fixture_read_ids(f, &value), 0);
    assert_int_equal(value, 0x11111111);
    fake_remote_join(&f->remote);
    if (options->timeout_ms > 0)
        f->client->options.timeout_ms = options->timeout_ms;
}

void fixture_stop(struct fixture *f)
{
    fake_remote_stop(&f->remote, f->client);
}

uint8_t *fixture_lend_memory(struct fixture *f)
{
    uint8_t *ram = mmap(NULL, RAM_LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(ram != MAP_FAILED);
    const struct ob_client_region region = {.gpa = RAM_AT, .len = RAM_LEN, .fd = -1, .memory = ram};
    fake_remote_serve(&f->remote, 1);
    assert_int_equal(ob_client_map_memory(f->client, &region, NULL), 0);
    fake_remote_join(&f->remote);
    return ram;
}

void fixture_ask_for_memory(struct fake_remote *remote)
{
    uint8_t payload[VFIO_USER_ACCESS_LEN];
    const struct vfio_user_dma_access access = {.iova = RAM_AT, .count = RAM_LEN};
    vfio_user_dma_access_put(payload, sizeof(payload), &access);
    fake_remote_say(remote, 1, VFIO_USER_DMA_READ, 0, payload, sizeof(payload));
}

size_t fixture_read_some(const struct fake_remote *remote, size_t len)
{
    static uint8_t bytes[VFIO_USER_FRAME_LEN];
    ssize_t got = recv(remote->fd, bytes, len, MSG_DONTWAIT);
    return got > 0 ? (size_t)got : 0;
}

void fixture_dispatch(struct fixture *f)
{
    struct pollfd waiting = {.fd = ob_client_fd(f->client), .events = POLLIN};
    assert_int_equal(poll(&waiting, 1, PATIENCE_MS), 1);
    ob_client_dispatch(f->client);
}

void fixture_check_state(struct fixture *f, enum ob_client_state right)
{
    assert_int_equal(ob_client_state(f->client), right);
}

void fixture_map_file(struct fixture *f, uint64_t len)
{
    AUTO_FD fd = memfd_create("ram", MFD_CLOEXEC);
    const struct ob_client_region region = {.gpa = RAM_AT, .len = len, .fd = fd};
    assert_int_equal(ftruncate(fd, (off_t)len), 0);
    assert_int_equal(FIXTURE_SERVED(f, 1, ob_client_map_memory(f->client, &region, NULL)), 0);
}

void fixture_start_log(struct fixture *f, uint64_t len)
{
    const struct ob_client_range range = {.gpa = RAM_AT, .len = len};
    fixture_map_file(f, len);
    assert_int_equal(FIXTURE_SERVED(f, 1, ob_client_log_start(f->client, 4096, &range, 1)), 0);
}

void fixture_start_probed(struct fixture *f, const char *version)
{
    struct ob_client_info info;
    f->client = fake_remote_start(&f->remote, &fixture_defaults);
    if (version)
        f->remote.version = version;
    fake_remote_serve(&f->remote, GREETING + 9);
    assert_int_equal(ob_client_probe(f->client, &info, NULL), 0);
    fake_remote_join(&f->remote);
}
