// SPDX-License-Identifier: BSD-3-Clause
#include "supervisor/adoption.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/auto.h"
#include "os/clock.h"
#include "os/keeper.h"
#include "os/socket.h"
#include "supervisor/device_life.h"
#include "supervisor/guardian.h"

static int check_ledger(int fd, struct ledger *ledger, struct ob_fault *fault)
{
    if (pread(fd, ledger, sizeof(*ledger), 0) == sizeof(*ledger) && ledger->magic == LEDGER_MAGIC &&
        ledger->version == LEDGER_VERSION && ledger->len == sizeof(*ledger) &&
        ledger_state(ledger)->count <= LIMIT_DEVICES)
        return 0;
    return ob_fault_set(fault, -EINVAL,
                        "the machine was started by another version of outboard run");
}

static int read_ledger(int fd, struct adoption *adoption, struct ob_fault *fault)
{
    struct ledger *ledger = malloc(sizeof(*ledger));
    if (!ledger)
        return ob_fault_set(fault, -ENOMEM, "no memory for the machine's ledger");
    int err = check_ledger(fd, ledger, fault);
    if (err == 0) {
        adoption->state = *ledger_state(ledger);
        adoption->orphaned_ns = ledger->orphaned_ns;
        snprintf(adoption->file, sizeof(adoption->file), "%.*s", (int)sizeof(ledger->file) - 1,
                 ledger->file);
    }
    free(ledger);
    return err;
}

static int receive_ledger(struct adoption *adoption, struct ob_fault *fault)
{
    struct received_fds fds = {0};
    uint8_t byte;
    int err = socket_wait(adoption->channel, POLLIN, clock_now_ns() + LIMIT_KEEPER_MS * 1000000ull);
    ssize_t len = err < 0 ? err : socket_receive(adoption->channel, &byte, sizeof(byte), &fds);
    err = len < 0 ? (int)len : fds.count == 1 ? 0 : -EPROTO;
    if (err < 0)
        ob_fault_set(fault, err, "the machine's guardian: %s", strerror(-err));
    else
        err = read_ledger(fds.fd[0], adoption, fault);
    while (fds.count > 0)
        close(fds.fd[--fds.count]);
    return err;
}

int adoption_open(const char *folder, struct adoption *adoption, struct ob_fault *fault)
{
    char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
    *adoption = (struct adoption){.channel = -1};
    if ((size_t)snprintf(path, sizeof(path), "%s/" GUARDIAN_SOCKET, folder) >= sizeof(path))
        return -ENOENT;
    adoption->channel = socket_connect_messages(path);
    if (adoption->channel < 0)
        return -ENOENT;
    int err = receive_ledger(adoption, fault);
    if (err < 0)
        adoption_close(adoption);
    return err;
}

int adoption_fetch(const struct adoption *adoption, int number, int *ret_fd)
{
    int fd;
    *ret_fd = -1;
    if (number < 0)
        return 0;
    int err = keeper_ask(adoption->channel, &number, 1, &fd);
    if (err < 0)
        return err;
    *ret_fd = fcntl(fd, F_DUPFD_CLOEXEC, SPARE_FD);
    err = *ret_fd < 0 ? -errno : 0;
    close(fd);
    return err;
}

/* Its process has ended. Nobody saw when, but the supervisor had not. */
static bool has_ended(const struct ledger_device *device)
{
    struct pollfd process = {.fd = device->fd[LEDGER_PROCESS], .events = POLLIN};
    return process.fd < 0 || poll(&process, 1, 0) > 0;
}

int adoption_device(const struct adoption *adoption, const char *id,
                    struct ledger_device *ret_device)
{
    for (unsigned i = 0; i < adoption->state.count; i++) {
        const struct ledger_device *device = &adoption->state.devices[i];
        int err = 0;
        if (strncmp(device->id, id, sizeof(device->id)) != 0)
            continue;
        *ret_device = *device;
        for (unsigned fd = 0; fd < LEDGER_FDS && err == 0; fd++)
            err = adoption_fetch(adoption, device->fd[fd], &ret_device->fd[fd]);
        if (err == 0 && ret_device->silent_ns == 0 && has_ended(ret_device))
            ret_device->silent_ns = adoption->orphaned_ns;
        return err;
    }
    return -ENOENT;
}

void adoption_finish(struct adoption *adoption)
{
    const int done = GUARDIAN_DONE;
    send(adoption->channel, &done, sizeof(done), MSG_NOSIGNAL);
    adoption_close(adoption);
}

void adoption_close(struct adoption *adoption)
{
    auto_close(&adoption->channel);
    adoption->channel = -1;
}
