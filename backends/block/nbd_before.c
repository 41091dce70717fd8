// SPDX-License-Identifier: BSD-3-Clause
#include "block/nbd_before.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <outboard/vault.h>

static bool is_socket(int fd)
{
    struct stat status;
    return fd >= 0 && fstat(fd, &status) == 0 && S_ISSOCK(status.st_mode);
}

/* -EAGAIN: later. */
static int begin(struct nbd_before *before, struct ob_device *device, unsigned number)
{
    int err = 0;
    before->memory_fd = ob_vault_kept_fd(device, NBD_VAULT_MEMORY(number));
    before->socket_fd = ob_vault_kept_fd(device, NBD_VAULT_SOCKET(number));
    if (before->memory_fd >= 0)
        err = nbd_memory_map(&before->memory, before->memory_fd);
    if (err == -EAGAIN)
        return err;
    const struct nbd_shared *shared = before->memory.shared;
    if (err == 0 && shared && shared->connected)
        err = is_socket(before->socket_fd)
                  ? nbd_data_take_over(before->socket_fd, before->memory.shared, &before->data)
                  : -EINVAL;
    before->lost = err < 0;
    if (err < 0)
        ob_device_warn(device,
                       "image %u: what the process before has left of its NBD connection is "
                       "refused (%s); its requests are not waited for",
                       number + 1, strerror(-err));
    return 0;
}

/* Whether the server is there: a connection that has ended was made to a server that may have died. */
static bool is_there(const struct nbd_before *before)
{
    char byte;
    ssize_t len = recv(before->socket_fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return len < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
}

bool nbd_before_step(struct nbd_before *before, struct ob_device *device, unsigned number,
                     struct nbd_writes *ret_writes)
{
    if (!before->begun && begin(before, device, number) < 0)
        return false;
    before->begun = true;
    if (before->data) {
        while (nbd_data_at_server(before->data) > 0 && nbd_data_work(before->data))
            ;
        if (nbd_data_at_server(before->data) > 0)
            return false;
        before->lost |= nbd_data_is_gone(before->data) || !is_there(before);
    }
    if (before->memory.shared)
        *ret_writes = before->memory.shared->writes;
    return true;
}

void nbd_before_done(struct nbd_before *before)
{
    if (!before->begun)
        return;
    nbd_data_free(before->data);
    nbd_memory_done(&before->memory);
    if (before->socket_fd >= 0)
        close(before->socket_fd);
    if (before->memory_fd >= 0)
        close(before->memory_fd);
    *before = (struct nbd_before){.socket_fd = -1, .memory_fd = -1};
}
