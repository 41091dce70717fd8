// SPDX-License-Identifier: BSD-3-Clause
#include "guest.h"

#include "support.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fake/virtio.h"
#include "os/closer.h"
#include "os/socket.h"
#include "port/hub.h"

#define TO_GUEST   2
#define FROM_GUEST 3
#define TURNS      50
#define NS_PER_MS  UINT64_C(1000000)

static const unsigned input_queue = 2 + 2 * GUEST_PORT, output_queue = 3 + 2 * GUEST_PORT;

static void put_control(uint32_t id, uint16_t event, uint16_t value)
{
    uint8_t bytes[8] = {(uint8_t)id,         (uint8_t)(id >> 8),
                        (uint8_t)(id >> 16), (uint8_t)(id >> 24),
                        (uint8_t)event,      0,
                        (uint8_t)value,      0};
    struct fake_chain *chain;
    fake_virtio_add_readable(FROM_GUEST, bytes, sizeof(bytes));
    while (fake_virtio_outstanding(FROM_GUEST) > 0) /* as the driver does */
        fake_virtio_poll();
    while ((chain = fake_virtio_completed(FROM_GUEST)))
        fake_virtio_free(chain);
}

static void fill_input(void)
{
    while (fake_virtio_outstanding(input_queue) < GUEST_RING)
        fake_virtio_add_writable(input_queue, GUEST_PAGE);
}

static void take_control(struct guest *guest, const struct fake_chain *chain)
{
    const uint8_t *bytes = chain->bytes;
    assert_true(chain->written >= 8);
    if (bytes[0] != GUEST_PORT)
        return;
    switch (bytes[4]) {
    case 1: /* PORT_ADD */
        guest->plugged = true;
        guest->lives++;
        guest->host_connected = false;
        guest->input.at = guest->input.len = 0;
        guest->input.buffers = 0;
        fill_input();
        put_control(GUEST_PORT, 3, 1);
        break;
    case 2: /* PORT_REMOVE */
        guest->plugged = false;
        guest->host_connected = false;
        break;
    case 6: /* PORT_OPEN */
        *(bytes[6] ? &guest->opens_told : &guest->closes_told) += 1;
        guest->breaks += guest->open && guest->host_connected && !bytes[6];
        guest->host_connected = bytes[6];
        break;
    case 7: /* PORT_NAME */
        snprintf(guest->name, sizeof(guest->name), "%.*s", (int)(chain->written - 8), bytes + 8);
        break;
    default:
        break;
    }
}

static void run_driver(struct guest *guest)
{
    struct fake_chain *chain;
    while ((chain = fake_virtio_completed(TO_GUEST))) {
        take_control(guest, chain);
        fake_virtio_free(chain);
        fake_virtio_add_writable(TO_GUEST, GUEST_PAGE);
    }
    while ((chain = fake_virtio_completed(output_queue)))
        fake_virtio_free(chain);
    /* Input for a port that is not open is discarded when it comes. */
    while (!guest->open && (chain = fake_virtio_completed(input_queue))) {
        fake_virtio_free(chain);
        fake_virtio_add_writable(input_queue, GUEST_PAGE);
    }
}

void guest_turn(struct guest *guest)
{
    for (unsigned i = 0; i < TURNS; i++) {
        port_hub_turn(guest->hub, 0);
        fake_virtio_poll();
        run_driver(guest);
    }
}

void guest_pass(struct guest *guest, uint64_t ms)
{
    for (uint64_t passed = 0; passed < ms; passed += 100) {
        fake_virtio_advance(100 * NS_PER_MS);
        guest_turn(guest);
    }
}

void guest_load(struct guest *guest, unsigned buffers)
{
    guest->plugged = guest->host_connected = guest->open = false;
    fake_virtio_negotiate(3);
    for (unsigned i = 0; i < buffers; i++)
        fake_virtio_add_writable(TO_GUEST, GUEST_PAGE);
    put_control(UINT32_MAX, 0, 1);
    guest_turn(guest);
}

void guest_start(struct guest *guest, enum port_mode mode, const char *kind)
{
    struct ob_fault fault = {0};
    *guest = (struct guest){.folder = "/tmp/outboard-XXXXXX"};
    closer_start();
    assert_non_null(mkdtemp(guest->folder));
    snprintf(guest->path, sizeof(guest->path), "%s/port", guest->folder);
    snprintf(guest->description, sizeof(guest->description), "%s:%s", kind, guest->path);
    fake_virtio_start();
    assert_int_equal(port_hub_new(&guest->hub), 0);
    assert_int_equal(port_end_open(guest->hub, "test", guest->description, &guest->end, &fault), 0);
    guest->ports[GUEST_PORT] =
        (struct vmchannel_port){.name = "org.outboard.test", .mode = mode, .end = guest->end};
    const struct vmchannel_config config = {.ports = guest->ports,
                                            .num_ports = 2,
                                            .max_ports = 31,
                                            .ring_size = GUEST_RING,
                                            .hub = guest->hub,
                                            .memory_fd = -1};
    assert_int_equal(vmchannel_new(&config, &guest->vmchannel, &guest->device, &fault), 0);
    guest_load(guest, 32);
    assert_true(guest->plugged);
    assert_string_equal(guest->name, "org.outboard.test");
}

void guest_stop(struct guest *guest)
{
    ob_device_free(guest->device);
    vmchannel_free(guest->vmchannel);
    port_hub_free(guest->hub);
    fake_virtio_end();
    unlink(guest->path);
    rmdir(guest->folder);
    closer_stop(CLOSER_PATIENCE_MS);
}

void guest_open(struct guest *guest)
{
    assert_true(guest->plugged && !guest->open);
    guest->open = true;
    guest->open_life = guest->lives;
    put_control(GUEST_PORT, 6, 1);
    guest_turn(guest);
}

/* Closing a descriptor of a port that was removed says nothing. Unread input is discarded. */
void guest_close(struct guest *guest)
{
    bool alive = guest->plugged && guest->open_life == guest->lives;
    guest->open = false;
    guest->input.at = guest->input.len = 0;
    if (alive)
        put_control(GUEST_PORT, 6, 0);
    fill_input();
    guest_turn(guest);
}

void guest_open_and_close_with(struct guest *guest, const char *text)
{
    const uint8_t opens[8] = {GUEST_PORT, 0, 0, 0, 6, 0, 1, 0};
    const uint8_t closes[8] = {GUEST_PORT, 0, 0, 0, 6, 0, 0, 0};
    fake_virtio_add_readable(FROM_GUEST, opens, sizeof(opens));
    fake_virtio_notify(FROM_GUEST);
    fake_virtio_add_readable(output_queue, text, strlen(text));
    fake_virtio_add_readable(FROM_GUEST, closes, sizeof(closes));
    fake_virtio_notify(FROM_GUEST);
    guest_turn(guest);
}

/* A page that was read is given back when the next one is needed, as the driver does. */
static void fetch(struct guest *guest)
{
    struct fake_chain *chain = fake_virtio_completed(input_queue);
    if (!chain)
        return;
    memcpy(guest->input.bytes, chain->bytes, chain->written);
    guest->input.at = 0;
    guest->input.len = chain->written;
    fake_virtio_free(chain);
}

int guest_read(struct guest *guest, void *ret_bytes, size_t len)
{
    guest_turn(guest);
    if (!guest->plugged || guest->open_life != guest->lives)
        return GUEST_NO_PORT;
    if (guest->input.at == guest->input.len)
        fetch(guest);
    if (guest->input.at == guest->input.len)
        return guest->host_connected ? GUEST_WOULD_WAIT : 0;
    size_t left = guest->input.len - guest->input.at;
    len = len < left ? len : left;
    memcpy(ret_bytes, guest->input.bytes + guest->input.at, len);
    guest->input.at += len;
    if (guest->input.at == guest->input.len)
        fake_virtio_add_writable(input_queue, GUEST_PAGE);
    return (int)len;
}

int guest_write(struct guest *guest, const void *bytes, size_t len)
{
    if (!guest->plugged || guest->open_life != guest->lives)
        return GUEST_NO_PORT;
    if (!guest->host_connected || fake_virtio_outstanding(output_queue) == GUEST_RING)
        return GUEST_WOULD_WAIT;
    fake_virtio_add_readable(output_queue, bytes, len);
    return (int)len;
}

int host_connect(const struct guest *guest)
{
    int fd = socket_connect(guest->path, 1000);
    assert_true(fd >= 0);
    return fd;
}

size_t host_read(struct guest *guest, int fd, void *ret_bytes, size_t len, bool *ret_ended)
{
    size_t had = 0;
    *ret_ended = false;
    for (unsigned quiet = 0; quiet < 3 && had < len && !*ret_ended; quiet++) {
        guest_turn(guest);
        ssize_t got = recv(fd, (uint8_t *)ret_bytes + had, len - had, MSG_DONTWAIT);
        *ret_ended = got == 0 || (got < 0 && errno != EAGAIN);
        had += got > 0 ? (size_t)got : 0;
        quiet = got > 0 ? 0 : quiet;
    }
    return had;
}
