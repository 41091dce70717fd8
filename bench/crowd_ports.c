// SPDX-License-Identifier: BSD-3-Clause
/* 500 ports of outboard-vmchannel. Virtual I/O Device (VIRTIO) 1.2, section 5.3. */
#include <linux/virtio_config.h>
#include <linux/virtio_console.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "crowd.h"

#define PORTS      500u
#define TO_GUEST   2u
#define FROM_GUEST 3u
#define RING       32u
#define BUFFER     4096u
#define EVERY_PORT UINT32_MAX
#define OPTION_LEN 160u

struct ports {
    struct virtio_ring to_guest, from_guest, unused[2];
    struct virtio_ring input[PORTS], output[PORTS];
    bool holds_first;  /* the guest reads nothing of the first port */
    unsigned num_open; /* ports whose host end the device has told of */
    unsigned next;     /* where receive() goes on */
};

static void path_of(const char *folder, unsigned port, char ret_path[OPTION_LEN])
{
    snprintf(ret_path, OPTION_LEN, "%s/port-%u", folder, port);
}

static void add_options(const char *folder, char **argv, unsigned *count)
{
    static char options[PORTS][2 * OPTION_LEN];
    for (unsigned i = 0; i < PORTS; i++) {
        char path[OPTION_LEN];
        path_of(folder, i, path);
        snprintf(options[i], sizeof(options[i]), "--port=port-%u,listen:%s", i, path);
        argv[(*count)++] = options[i];
    }
    argv[(*count)++] = "--max-ports=501";
}

static int open_echoes(const char *folder)
{
    const int set = epoll_create1(EPOLL_CLOEXEC);
    for (unsigned i = 1; i < PORTS; i++) {
        char path[OPTION_LEN];
        path_of(folder, i, path);
        crowd_watch(set, crowd_socket(path, false), false);
    }
    return set;
}

/* The driver spins until the device has taken its message; so does Linux's. */
static void say(struct crowd *crowd, uint32_t id, uint16_t event, uint16_t value)
{
    struct ports *ports = crowd->own;
    const struct virtio_console_control message = {.id = id, .event = event, .value = value};
    unsigned buffer;
    uint32_t len;
    memcpy(virtio_ring_buffer(&crowd->driver, &ports->from_guest, 0), &message, sizeof(message));
    virtio_ring_put(&crowd->driver, &ports->from_guest, 0, sizeof(message), false);
    virtio_ring_kick(&crowd->driver, &ports->from_guest);
    while (!virtio_ring_take(&crowd->driver, &ports->from_guest, &buffer, &len)) {}
}

static void give(struct crowd *crowd, struct virtio_ring *ring, unsigned buffer)
{
    virtio_ring_put(&crowd->driver, ring, buffer, ring->buffer_len, true);
}

static void hear(struct crowd *crowd)
{
    struct ports *ports = crowd->own;
    struct virtio_console_control message;
    unsigned buffer;
    uint32_t len;
    while (!virtio_ring_take(&crowd->driver, &ports->to_guest, &buffer, &len))
        virtio_driver_wait(&crowd->driver);
    memcpy(&message, virtio_ring_buffer(&crowd->driver, &ports->to_guest, buffer), sizeof(message));
    give(crowd, &ports->to_guest, buffer);
    virtio_ring_kick(&crowd->driver, &ports->to_guest);
    if (message.event == VIRTIO_CONSOLE_PORT_ADD)
        say(crowd, message.id, VIRTIO_CONSOLE_PORT_READY, 1);
    ports->num_open += message.event == VIRTIO_CONSOLE_PORT_OPEN && message.value == 1;
}

static void open_ports(struct crowd *crowd, const char *folder, int *ret_fd)
{
    struct ports *ports = crowd->own = calloc(1, sizeof(*ports));
    struct virtio_driver *driver = &crowd->driver;
    char path[OPTION_LEN];
    if (!ports)
        bench_die("no memory");
    path_of(folder, 0, path);
    *ret_fd = crowd_socket(path, false);
    for (unsigned i = 0; i < 2; i++)
        virtio_driver_add(driver, &ports->unused[i], i, RING, 0);
    virtio_driver_add(driver, &ports->to_guest, TO_GUEST, RING, BUFFER);
    virtio_driver_add(driver, &ports->from_guest, FROM_GUEST, RING, BUFFER);
    for (unsigned i = 0; i < PORTS; i++) {
        virtio_driver_add(driver, &ports->input[i], 4 + 2 * i, RING, BUFFER);
        virtio_driver_add(driver, &ports->output[i], 5 + 2 * i, RING, BUFFER);
    }
    virtio_driver_go(driver);
    for (unsigned buffer = 0; buffer < RING; buffer++)
        give(crowd, &ports->to_guest, buffer);
    virtio_ring_kick(driver, &ports->to_guest);
    say(crowd, EVERY_PORT, VIRTIO_CONSOLE_DEVICE_READY, 1);
    while (ports->num_open < PORTS)
        hear(crowd);
    for (unsigned i = 0; i < PORTS; i++) {
        for (unsigned buffer = 0; buffer < RING; buffer++)
            give(crowd, &ports->input[i], buffer);
        virtio_ring_kick(driver, &ports->input[i]);
        say(crowd, 1 + i, VIRTIO_CONSOLE_PORT_OPEN, 1);
    }
}

static void collect(const struct crowd *crowd, struct virtio_ring *output)
{
    unsigned buffer;
    uint32_t len;
    while (virtio_ring_take(&crowd->driver, output, &buffer, &len))
        output->free[output->free_count++] = (uint16_t)buffer;
}

static void send_bytes(struct crowd *crowd, unsigned member, uint32_t len)
{
    struct ports *ports = crowd->own;
    struct virtio_ring *output = &ports->output[member];
    collect(crowd, output);
    while (output->free_count == 0) {
        virtio_ring_kick(&crowd->driver, output);
        virtio_driver_wait(&crowd->driver);
        collect(crowd, output);
    }
    virtio_ring_put(&crowd->driver, output, output->free[--output->free_count], len, false);
    virtio_ring_kick(&crowd->driver, output);
}

static bool receive_bytes(struct crowd *crowd, unsigned *ret_member, uint32_t *ret_len)
{
    struct ports *ports = crowd->own;
    for (unsigned i = 0; i < PORTS; i++) {
        const unsigned member = (ports->next + i) % PORTS;
        struct virtio_ring *input = &ports->input[member];
        unsigned buffer;
        if ((member == 0 && ports->holds_first) ||
            !virtio_ring_take(&crowd->driver, input, &buffer, ret_len))
            continue;
        give(crowd, input, buffer);
        virtio_ring_kick(&crowd->driver, input);
        ports->next = member;
        *ret_member = member;
        return true;
    }
    return false;
}

static void flush(struct crowd *crowd)
{
    /* Each ring was kicked when it got a buffer, as Linux does for each write. */
}

static bool has_room(const struct crowd *crowd)
{
    struct ports *ports = crowd->own;
    collect(crowd, &ports->output[0]);
    return ports->output[0].free_count > 0;
}

static void read_first(struct crowd *crowd, bool reads)
{
    struct ports *ports = crowd->own;
    ports->holds_first = !reads;
}

static void close_ports(struct crowd *crowd)
{
    free(crowd->own);
}

const struct crowd_kind crowd_ports = {
    .name = "ports",
    .program = "outboard-vmchannel",
    .members = PORTS,
    .features = UINT64_C(1) << VIRTIO_F_VERSION_1 | UINT64_C(1) << VIRTIO_CONSOLE_F_MULTIPORT,
    .memory_len = UINT64_C(256) << 20,
    .add_options = add_options,
    .open_echoes = open_echoes,
    .open = open_ports,
    .send = send_bytes,
    .receive = receive_bytes,
    .flush = flush,
    .has_room = has_room,
    .read_first = read_first,
    .close = close_ports,
};
