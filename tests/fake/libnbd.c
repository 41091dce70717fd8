// SPDX-License-Identifier: BSD-3-Clause
#include "fake/libnbd.h"
#include "fake/nbd_dial.h"

#include <errno.h>
#include <libnbd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum kind {
    READ,
    WRITE,
    FLUSH,
    TRIM,
    ZERO,
};

struct command {
    enum kind kind;
    void *data;
    uint64_t len;
    uint64_t offset;
    nbd_completion_callback callback;
};

struct nbd_handle {
    int fds[2]; /* libnbd's end, and the server's */
    bool is_dead;
    struct command pending[FAKE_NBD_PENDING];
};

struct fake_nbd fake_nbd;

static struct nbd_handle *connected; /* there is one at a time */

static void must(bool holds)
{
    if (!holds)
        abort();
}

struct nbd_handle *fake_nbd_dialled(void)
{
    if (fake_nbd.is_absent)
        return NULL;
    must(!connected);
    connected = calloc(1, sizeof(*connected));
    must(connected);
    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, connected->fds) == 0);
    return connected;
}

void nbd_close(struct nbd_handle *handle)
{
    if (!handle)
        return;
    must(fake_nbd.pending == 0 && handle == connected);
    close(handle->fds[0]);
    if (!handle->is_dead)
        close(handle->fds[1]);
    free(handle);
    connected = NULL;
}

const char *nbd_get_error(void)
{
    return "fake";
}

int64_t nbd_get_size(struct nbd_handle *handle)
{
    return (int64_t)fake_nbd.size;
}

int64_t nbd_get_block_size(struct nbd_handle *handle, int type)
{
    return type == LIBNBD_SIZE_MINIMUM     ? fake_nbd.min_block
           : type == LIBNBD_SIZE_PREFERRED ? fake_nbd.preferred
                                           : fake_nbd.max_data;
}

int nbd_can_fua(struct nbd_handle *handle)
{
    return fake_nbd.has_fua;
}

int nbd_can_zero(struct nbd_handle *handle)
{
    return fake_nbd.has_zero;
}

int nbd_can_trim(struct nbd_handle *handle)
{
    return fake_nbd.can_trim;
}

int nbd_can_flush(struct nbd_handle *handle)
{
    return 1;
}

int nbd_can_multi_conn(struct nbd_handle *handle)
{
    return 1;
}

int nbd_get_structured_replies_negotiated(struct nbd_handle *handle)
{
    return 0;
}

int nbd_is_read_only(struct nbd_handle *handle)
{
    return 0;
}

int nbd_aio_get_fd(struct nbd_handle *handle)
{
    return handle->fds[0];
}

unsigned nbd_aio_get_direction(struct nbd_handle *handle)
{
    return LIBNBD_AIO_DIRECTION_READ;
}

int nbd_aio_is_dead(struct nbd_handle *handle)
{
    return handle->is_dead;
}

int nbd_aio_is_closed(struct nbd_handle *handle)
{
    return 0;
}

static void end(struct nbd_handle *handle, unsigned index, int err)
{
    struct command command = handle->pending[index];
    memmove(&handle->pending[index], &handle->pending[index + 1],
            (--fake_nbd.pending - index) * sizeof(command));
    must(command.callback.callback(command.callback.user_data, &err) == 1);
}

static void carry_out(const struct command *command)
{
    uint8_t *at = fake_nbd.data + command->offset;
    if (command->kind == READ)
        memcpy(command->data, at, command->len);
    else if (command->kind == WRITE)
        memcpy(at, command->data, command->len);
    else if (command->kind == ZERO)
        memset(at, 0, command->len);
}

static void answer(struct nbd_handle *handle)
{
    unsigned index = fake_nbd.pick % fake_nbd.pending;
    const struct command *command = &handle->pending[index];
    bool has_effect = command->kind == TRIM || command->kind == ZERO;
    int err = fake_nbd.err;
    if (has_effect && command->len > fake_nbd.longest_effect)
        err = EINVAL;
    if (err == 0)
        carry_out(command);
    end(handle, index, err);
}

static bool is_shut(const struct nbd_handle *handle)
{
    char byte;
    return handle->is_dead || recv(handle->fds[0], &byte, 1, MSG_DONTWAIT) == 0;
}

static void abort_all(struct nbd_handle *handle)
{
    if (!handle->is_dead)
        close(handle->fds[1]);
    handle->is_dead = true;
    while (fake_nbd.pending > 0)
        end(handle, 0, ENOTCONN);
}

void fake_nbd_die(void)
{
    if (connected)
        shutdown(connected->fds[1], SHUT_RDWR);
}

int nbd_poll(struct nbd_handle *handle, int timeout)
{
    if (is_shut(handle)) {
        abort_all(handle);
        return 1;
    }
    if (fake_nbd.answers == 0 || fake_nbd.pending == 0)
        return 0;
    fake_nbd.answers--;
    answer(handle);
    return 1;
}

static int64_t take(struct nbd_handle *handle, struct command command)
{
    uint64_t block = fake_nbd.min_block > 0 ? (uint64_t)fake_nbd.min_block : 1;
    if (handle->is_dead)
        return -1;
    must(handle == connected && fake_nbd.pending < FAKE_NBD_PENDING);
    must(command.kind == FLUSH || command.len > 0);
    must(command.offset % block == 0 && command.len % block == 0);
    must(command.offset <= fake_nbd.size && command.len <= fake_nbd.size - command.offset);
    if (command.kind == READ || command.kind == WRITE)
        must(fake_nbd.max_data <= 0 || command.len <= (uint64_t)fake_nbd.max_data);
    handle->pending[fake_nbd.pending++] = command;
    return 1;
}

int64_t nbd_aio_pread(struct nbd_handle *handle, void *data, size_t len, uint64_t offset,
                      nbd_completion_callback callback, uint32_t flags)
{
    return take(handle, (struct command){READ, data, len, offset, callback});
}

int64_t nbd_aio_pwrite(struct nbd_handle *handle, const void *data, size_t len, uint64_t offset,
                       nbd_completion_callback callback, uint32_t flags)
{
    must(!(flags & LIBNBD_CMD_FLAG_FUA) || fake_nbd.has_fua);
    return take(handle, (struct command){WRITE, (void *)data, len, offset, callback});
}

int64_t nbd_aio_flush(struct nbd_handle *handle, nbd_completion_callback callback, uint32_t flags)
{
    return take(handle, (struct command){.kind = FLUSH, .callback = callback});
}

int64_t nbd_aio_trim(struct nbd_handle *handle, uint64_t len, uint64_t offset,
                     nbd_completion_callback callback, uint32_t flags)
{
    return take(handle, (struct command){TRIM, NULL, len, offset, callback});
}

int64_t nbd_aio_zero(struct nbd_handle *handle, uint64_t len, uint64_t offset,
                     nbd_completion_callback callback, uint32_t flags)
{
    must(!(flags & LIBNBD_CMD_FLAG_FUA) || fake_nbd.has_fua);
    return take(handle, (struct command){ZERO, NULL, len, offset, callback});
}
