// SPDX-License-Identifier: BSD-3-Clause
/*
 * Two devices in one process, served from a poll(2) loop of its own: two lamps, which have a switch
 * in common. `two_devices PATH PATH` listens at both paths, until standard input ends.
 *
 * BAR 0, offset 0, 32 bits: the colour of this lamp, 0xRRGGBB.
 * BAR 0, offset 4, 32 bits: the switch: 0 is dark. Written through one lamp, read through both.
 */
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <outboard/server.h>

#define LAMPS 2

struct lamp {
    struct ob_device *device;
    struct ob_server *server;
    int listener;
    uint32_t colour;
    uint32_t *power;
};

static uint64_t lamp_read(void *state, unsigned bar, uint64_t offset, unsigned size)
{
    const struct lamp *lamp = state;
    if (offset == 0)
        return *lamp->power ? lamp->colour : 0;
    return offset == 4 ? *lamp->power : UINT64_MAX;
}

static void lamp_write(void *state, unsigned bar, uint64_t offset, unsigned size, uint64_t value)
{
    struct lamp *lamp = state;
    if (offset == 0)
        lamp->colour = (uint32_t)value & 0xffffff;
    else if (offset == 4)
        *lamp->power = (uint32_t)value;
}

static int listen_at(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(address.sun_path))
        return -1;
    strcpy(address.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, 8) < 0) {
        perror(path);
        return -1;
    }
    return fd;
}

static int lamp_start(struct lamp *lamp, const char *path, uint32_t *power)
{
    static const struct ob_device_desc desc = {
        .size = sizeof(desc),
        .name = "lamp",
        .vendor_id = 0x1af4,
        .device_id = 0x10f6,
        .class_code = 0xff0000,
        .bars = {{.kind = OB_BAR_MEM32, .size = 4096}},
    };
    static const struct ob_device_ops ops = {
        .size = sizeof(ops), .read = lamp_read, .write = lamp_write};
    struct ob_fault fault = {0};
    *lamp = (struct lamp){.colour = 0xffffff, .power = power, .listener = listen_at(path)};
    if (lamp->listener < 0)
        return -1;
    int err = ob_device_new(&desc, &ops, lamp, &lamp->device, &fault);
    if (err == 0)
        err = ob_server_new(lamp->device, NULL, &lamp->server, &fault);
    if (err < 0)
        fprintf(stderr, "%s: %s\n", path, fault.text);
    return err;
}

/* A VMM has connected. One that finds the lamp taken is sent away. */
static void lamp_accept(struct lamp *lamp)
{
    struct ob_fault fault = {0};
    // cppcheck-suppress nullPointer ; accept4(2) fills nothing then
    int fd = accept4(lamp->listener, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0)
        return;
    if (ob_server_connect(lamp->server, fd, &fault) < 0) {
        fprintf(stderr, "a VMM is not served: %s\n", fault.text);
        close(fd);
    }
}

static void lamp_serve(struct lamp *lamp)
{
    struct ob_fault fault = {0};
    if (ob_server_dispatch(lamp->server, &fault) < 0)
        fprintf(stderr, "a VMM has gone: %s\n", fault.code ? fault.text : "it hung up");
}

static void lamp_stop(struct lamp *lamp, const char *path)
{
    ob_server_free(lamp->server);
    ob_device_free(lamp->device);
    if (lamp->listener >= 0) {
        close(lamp->listener);
        unlink(path);
    }
}

static void run(struct lamp *lamps)
{
    struct pollfd ready[2 * LAMPS + 1] = {{.fd = STDIN_FILENO, .events = POLLIN}};
    for (unsigned i = 0; i < LAMPS; i++) {
        ready[1 + 2 * i] = (struct pollfd){.fd = lamps[i].listener, .events = POLLIN};
        ready[2 + 2 * i] = (struct pollfd){.fd = ob_server_fd(lamps[i].server), .events = POLLIN};
    }
    while (ready[0].revents == 0) {
        if (poll(ready, 2 * LAMPS + 1, -1) < 0)
            return;
        for (unsigned i = 0; i < LAMPS; i++) {
            if (ready[1 + 2 * i].revents)
                lamp_accept(&lamps[i]);
            if (ready[2 + 2 * i].revents)
                lamp_serve(&lamps[i]);
        }
    }
}

int main(int argc, char **argv)
{
    struct lamp lamps[LAMPS] = {{.listener = -1}, {.listener = -1}};
    uint32_t power = 1;
    int err = 0;
    if (argc != 1 + LAMPS) {
        fprintf(stderr, "usage: two_devices PATH PATH\n");
        return 2;
    }
    for (unsigned i = 0; i < LAMPS && err == 0; i++)
        err = lamp_start(&lamps[i], argv[1 + i], &power);
    if (err == 0) {
        puts("ready");
        fflush(stdout);
        run(lamps);
    }
    for (unsigned i = 0; i < LAMPS; i++)
        lamp_stop(&lamps[i], argv[1 + i]);
    return err < 0;
}
