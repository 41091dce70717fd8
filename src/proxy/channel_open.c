// SPDX-License-Identifier: BSD-3-Clause
#include "proxy/channel_open.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "base/auto.h"

#define PORTS_FOLDER "/sys/class/virtio-ports"
#define OPEN_FLAGS   (O_RDWR | O_NONBLOCK | O_CLOEXEC | O_NOCTTY)

/* Whether the port, "vport1p2", has this name. */
static bool has_name(const char *port, const char *name)
{
    char path[300], found[256];
    snprintf(path, sizeof(path), PORTS_FOLDER "/%s/name", port);
    AUTO_FD fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t len = fd < 0 ? -1 : read(fd, found, sizeof(found) - 1);
    if (len <= 0)
        return false;
    found[len] = '\0';
    found[strcspn(found, "\n")] = '\0';
    return strcmp(found, name) == 0;
}

/* Without udev nothing links /dev/virtio-ports/NAME; sysfs knows the names nonetheless. */
static int open_by_sysfs(const char *name)
{
    char path[300];
    int fd = -ENOENT;
    DIR *folder = opendir(PORTS_FOLDER);
    if (!folder)
        return -ENOENT;
    for (struct dirent *entry = readdir(folder); entry; entry = readdir(folder)) {
        if (entry->d_name[0] == '.' || !has_name(entry->d_name, name))
            continue;
        snprintf(path, sizeof(path), "/dev/%s", entry->d_name);
        fd = open(path, OPEN_FLAGS);
        if (fd < 0)
            fd = -errno;
        break;
    }
    closedir(folder);
    return fd;
}

int channel_open_virtio(const char *name)
{
    char path[300];
    snprintf(path, sizeof(path), "/dev/virtio-ports/%s", name);
    int fd = open(path, OPEN_FLAGS);
    if (fd < 0 && errno == ENOENT)
        return open_by_sysfs(name);
    return fd < 0 ? -errno : fd;
}

static speed_t find_speed(uint32_t bits_per_second)
{
    static const struct {
        uint32_t bits_per_second;
        speed_t speed;
    } speeds[] = {
        {9600, B9600},       {19200, B19200},     {38400, B38400},     {57600, B57600},
        {115200, B115200},   {230400, B230400},   {460800, B460800},   {921600, B921600},
        {1000000, B1000000}, {1500000, B1500000}, {2000000, B2000000}, {4000000, B4000000},
    };
    for (size_t i = 0; i < sizeof(speeds) / sizeof(speeds[0]); i++) {
        if (speeds[i].bits_per_second == bits_per_second)
            return speeds[i].speed;
    }
    return B0;
}

bool channel_has_speed(uint32_t bits_per_second)
{
    return find_speed(bits_per_second) != B0;
}

int channel_open_path(const char *path)
{
    int fd = open(path, OPEN_FLAGS);
    return fd < 0 ? -errno : fd;
}

int channel_prepare_serial(int fd, uint32_t bits_per_second, struct terminal *ret_before)
{
    struct terminal before;
    struct termios settings;
    speed_t speed = find_speed(bits_per_second);
    if (speed == B0)
        return -EINVAL;
    int err = terminal_remember(fd, &before);
    if (err < 0)
        return err;
    settings = before.settings;
    cfmakeraw(&settings);
    settings.c_cflag |= CLOCAL | CREAD;
    settings.c_cflag &= ~(tcflag_t)(CRTSCTS | HUPCL);
    cfsetspeed(&settings, speed);
    if (tcsetattr(fd, TCSANOW, &settings) < 0)
        return -errno;
    *ret_before = before;
    return 0;
}

int channel_open_serial(const char *path, uint32_t bits_per_second, struct terminal *ret_before)
{
    if (!channel_has_speed(bits_per_second))
        return -EINVAL;
    AUTO_FD fd = channel_open_path(path);
    if (fd < 0)
        return fd;
    int err = channel_prepare_serial(fd, bits_per_second, ret_before);
    return err < 0 ? err : take_fd(&fd);
}
