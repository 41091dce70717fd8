// SPDX-License-Identifier: BSD-3-Clause
#include "supervisor/ledger.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/auto.h"
#include "supervisor/internal.h"

int ledger_new(const char *file, struct ledger **ret_ledger, int *ret_fd)
{
    AUTO_FD fd = memfd_create("outboard-ledger", MFD_CLOEXEC);
    if (fd < 0 || ftruncate(fd, sizeof(struct ledger)) < 0)
        return -errno;
    struct ledger *ledger = mmap(NULL, sizeof(*ledger), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (ledger == MAP_FAILED)
        return -errno;
    ledger->magic = LEDGER_MAGIC;
    ledger->version = LEDGER_VERSION;
    ledger->len = sizeof(*ledger);
    if (!realpath(file, ledger->file))
        ledger->file[0] = '\0';
    *ret_fd = take_fd(&fd);
    *ret_ledger = ledger;
    return 0;
}

static int next_pidfd(const struct device_process *device)
{
    const struct upgrade *upgrade = &device->next.upgrading.upgrade;
    struct child *child = upgrade->stage == UPGRADE_NONE ? NULL : upgrade->next.life.child;
    return child ? child_pidfd(child) : -1;
}

static void put_device(const struct device_process *device, struct ledger_device *ret_device)
{
    const struct restart *restart = &device->restart;
    bool restarts = device->restarts;
    *ret_device = (struct ledger_device){
        .pid = device->child ? child_pid(device->child) : 0,
        .fd = {[LEDGER_PROCESS] = device->child ? child_pidfd(device->child) : -1,
               [LEDGER_LOG] = device->log ? child_log_fd(device->log) : -1,
               [LEDGER_READY] = device->ready ? ready_socket_fd(device->ready) : -1,
               [LEDGER_STATISTICS] = device->statistics_fd,
               [LEDGER_VAULT] = restarts ? restart->vault_fd : -1,
               [LEDGER_SOCKET] = restarts ? restart->socket_fd : -1,
               [LEDGER_OWNER] = restarts ? restart->owner_fd : -1,
               [LEDGER_NEWEST] = restarts ? restart->newest_fd : -1,
               [LEDGER_ORDERS] = device->child ? device->orders.fd : -1,
               [LEDGER_NEXT] = next_pidfd(device)},
        .owner = restart->owner,
        .newest = restart->newest,
        .silent_ns = restart->silent_ns,
        .on_hang = device->on_hang,
        .has_client = device->has_client,
        .is_ready = device->state == DEVICE_PROCESS_READY,
        .restarts = restarts,
    };
    memcpy(ret_device->id, device->plan->id, strnlen(device->plan->id, sizeof(ret_device->id) - 1));
}

/* Devices that were added later are not in the file, and are not listed. */
void ledger_write(struct ledger *ledger, const struct supervisor *supervisor)
{
    struct ledger_state *state = &ledger->copy[(ledger->number + 1) & 1];
    state->vmm_pid = supervisor->vmm ? child_pid(supervisor->vmm) : 0;
    state->vmm_fd = supervisor->vmm ? child_pidfd(supervisor->vmm) : -1;
    state->count = 0;
    for (unsigned i = 0; i < supervisor->started; i++)
        if (supervisor->plugs[i].state != PLUG_FREE && !supervisor->plugs[i].section.id)
            put_device(&supervisor->devices[i], &state->devices[state->count++]);
    __atomic_store_n(&ledger->number, ledger->number + 1, __ATOMIC_SEQ_CST);
}

void ledger_free(struct ledger *ledger)
{
    if (ledger)
        munmap(ledger, sizeof(*ledger));
}
