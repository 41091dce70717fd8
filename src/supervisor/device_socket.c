// SPDX-License-Identifier: BSD-3-Clause
#include "supervisor/device_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/auto.h"
#include "supervisor/device_process.h"

static int move_up(int fd)
{
    int high = fcntl(fd, F_DUPFD_CLOEXEC, SPARE_FD);
    int err = high < 0 ? -errno : high;
    close(fd);
    return err;
}

static int make_pair(int *ret_device_fd, int *ret_vmm_fd)
{
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
        return -errno;
    AUTO_FD theirs = move_up(ends[1]);
    AUTO_FD vmm = move_up(ends[0]);
    if (theirs < 0 || vmm < 0)
        return theirs < 0 ? theirs : vmm;
    *ret_vmm_fd = take_fd(&vmm);
    *ret_device_fd = take_fd(&theirs);
    return 0;
}

int device_socket_listen(const char *path, int *ret_fd)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    AUTO_FD fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    memcpy(address.sun_path, path, strlen(path));
    if (fd < 0 || bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 ||
        listen(fd, SOMAXCONN) < 0)
        return -errno;
    int high = move_up(take_fd(&fd));
    if (high >= 0)
        *ret_fd = high;
    return high < 0 ? high : 0;
}

int device_socket_make(const struct plan_device *plan, int *ret_device_fd, int *ret_vmm_fd)
{
    *ret_device_fd = *ret_vmm_fd = -1;
    switch (plan->socket) {
    case PLAN_PAIR:
        return make_pair(ret_device_fd, ret_vmm_fd);
    case PLAN_LISTENER:
        return device_socket_listen(plan->path, ret_device_fd);
    case PLAN_PATH:
        break;
    }
    return 0;
}
