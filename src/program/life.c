// SPDX-License-Identifier: BSD-3-Clause
#include "program/life.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <outboard/vault.h>

#include "base/auto.h"
#include "base/fault_point.h"
#include "os/clock.h"
#include "os/keeper.h"
#include "os/log.h"
#include "os/socket.h"

_Static_assert(sizeof(struct counted) <= VAULT_TRANSFER_BYTES, "the vault has room for the counts");

/* The calls of a keeper. */
static const char keeper_policy[] = "recvmsg\nsendmsg\nexit_group\nrestart_syscall\nrt_sigreturn\n";

struct counted *life_counted(const struct vault *vault)
{
    return (struct counted *)vault->shared->transfers;
}

/* A file that can become neither shorter nor longer. */
static int map(struct life *life)
{
    const int seals = F_SEAL_SHRINK | F_SEAL_GROW;
    struct stat status;
    int there = fcntl(life->vault_fd, F_GET_SEALS);
    if (there < 0 || fstat(life->vault_fd, &status) < 0)
        return -errno;
    if ((there & seals) != seals || status.st_size < (off_t)sizeof(*life->shared))
        return -EINVAL;
    life->mapped = status.st_size >= LIMIT_VAULT_BYTES ? LIMIT_VAULT_BYTES : sizeof(*life->shared);
    void *address = mmap(NULL, life->mapped, PROT_READ | PROT_WRITE, MAP_SHARED, life->vault_fd, 0);
    if (address == MAP_FAILED)
        return -errno;
    life->shared = address;
    /* Calls lose their counts in an absent page. */
    return mlock(address, offsetof(struct vault_shared, entries)) < 0 ? -errno : 0;
}

/* Of the process, which has one vault at most. */
static enum ob_vault_role our_role = OB_VAULT_NONE;

enum ob_vault_role ob_vault_role(void)
{
    return our_role;
}

int life_open(struct life *life, struct ob_fault *fault)
{
    const char *value = getenv(VAULT_VARIABLE);
    unsigned long long number, silent_ns;
    int poisoned;
    *life = (struct life){.vault_fd = -1, .keeper_fd = -1, .before_fd = -1};
    if (!value) {
        fault_points_arm(1);
        return 0;
    }
    if (sscanf(value, VAULT_FORMAT, &life->vault_fd, &life->keeper_fd, &life->before_fd, &number,
               &poisoned, &silent_ns) != 6)
        return ob_fault_set(fault, -EINVAL, VAULT_VARIABLE ": got '%.60s', expected six numbers",
                            value);
    unsetenv(VAULT_VARIABLE);
    life->number = number;
    life->silent_ns = silent_ns;
    life->waits = number == 0;
    if (!life->waits)
        fault_points_arm(number);
    our_role = life->before_fd < 0 ? OB_VAULT_FIRST : OB_VAULT_SUCCESSOR;
    life->poisoned = poisoned;
    const int fds[] = {life->vault_fd, life->keeper_fd, life->before_fd};
    int err = 0;
    for (unsigned i = 0; i < 3 && err == 0; i++)
        if (fds[i] >= 0 && fcntl(fds[i], F_SETFD, FD_CLOEXEC) < 0)
            err = -errno;
    if (err == 0)
        err = map(life);
    if (err < 0)
        return ob_fault_set(fault, err, VAULT_VARIABLE ": can't use the vault: %s", strerror(-err));
    life->vault = calloc(1, sizeof(*life->vault));
    if (!life->vault)
        return ob_fault_set(fault, -ENOMEM, "no memory for the vault");
    if (life->mapped == LIMIT_VAULT_BYTES)
        life->vault->incoming = (uint8_t *)life->shared + LIMIT_VAULT_STATE;
    return 0;
}

int life_wait(struct life *life, struct ob_fault *fault)
{
    struct vault_turn turn;
    struct received_fds fds = {0};
    if (!life->waits)
        return 0;
    int err = socket_wait(life->before_fd, POLLIN, UINT64_MAX);
    ssize_t len = err < 0 ? err : socket_receive(life->before_fd, &turn, sizeof(turn), &fds);
    close(life->before_fd);
    life->before_fd = -1;
    life->waits = false;
    if (len != sizeof(turn) || fds.count != 1) {
        while (fds.count > 0)
            close(fds.fd[--fds.count]);
        return ob_fault_set(fault, -ECANCELED, "the launcher has no use for this process any more");
    }
    life->before_fd = fds.fd[0];
    life->number = turn.number;
    life->silent_ns = turn.silent_ns;
    life->poisoned = turn.poisoned;
    fault_points_arm(life->number);
    return 0;
}

struct keeper_cell {
    const struct life *life;
    bool confined;
};

/* In the keeper: it has no part in the vault, and few calls. */
static int confine_keeper(void *argument)
{
    const struct keeper_cell *cell = argument;
    struct ob_fault fault;
    struct policy *policy;
    munmap(cell->life->shared, cell->life->mapped);
    if (!cell->confined)
        return 0;
    if (policy_new(&policy, &fault) < 0 || policy_add(policy, keeper_policy, "keeper", &fault) < 0)
        return -ENOMEM;
    return policy_load(policy);
}

int life_start_keeper(struct life *life, struct confinement *cell, struct ob_fault *fault)
{
    if (!life->vault)
        return 0;
    struct keeper_cell keeper = {life, cell->policy};
    int err = keeper_start(life->keeper_fd, confine_keeper, &keeper);
    if (err < 0)
        return ob_fault_set(fault, err, "can't start the process that keeps the descriptors: %s",
                            strerror(-err));
    return confine_allow(cell, policy_vault, "vault.policy", fault);
}

/* Descriptors that are asked for together, and where their numbers go. */
struct batch {
    int channel;
    unsigned count;
    int numbers[KEEPER_BATCH];
    int32_t *to[KEEPER_BATCH];
};

static int ask(struct batch *batch)
{
    int fds[KEEPER_BATCH];
    if (batch->count == 0)
        return 0;
    int err = keeper_ask(batch->channel, batch->numbers, batch->count, fds);
    fault_point("hand-over");
    for (unsigned i = 0; err == 0 && i < batch->count; i++)
        *batch->to[i] = fds[i];
    batch->count = 0;
    return err;
}

static int want(struct batch *batch, int number, int32_t *to)
{
    *to = number;
    if (number < 0)
        return 0;
    batch->numbers[batch->count] = number;
    batch->to[batch->count++] = to;
    return batch->count < KEEPER_BATCH ? 0 : ask(batch);
}

static int fetch(struct life *life, struct batch *batch)
{
    struct vault *vault = life->vault;
    struct counted *counted = life_counted(vault);
    const unsigned old = vault_old_column(vault);
    int err = 0;
    for (unsigned i = 0; i < vault->used && err == 0; i++) {
        struct vault_entry *entry = &vault->shared->entries[i];
        if (vault_is_valid(vault, i))
            err = want(batch, entry->fd[old], &entry->fd[vault->column]);
    }
    for (uint64_t i = vault->now.fds_consumed; i < counted->rx.fd_total && err == 0; i++) {
        struct counted_fd *fd = &counted->fds[i % COUNTED_FDS];
        err = want(batch, fd->fd[old], &fd->fd[vault->column]);
    }
    return err < 0 ? err : ask(batch);
}

static void earlier(uint64_t *time_ns, uint64_t other_ns)
{
    if (other_ns > 0 && other_ns < *time_ns)
        *time_ns = other_ns;
}

/* Since when the VMM may wait: since no process serves, since the bytes that nobody has answered
 * came, or longer, if the process before has not caught up either. */
static void note_waiting(struct life *life)
{
    const struct vault *vault = life->vault;
    struct vault_shared *shared = life->shared;
    uint64_t since_ns = life->silent_ns > 0 ? life->silent_ns : clock_now_ns();
    earlier(&since_ns, shared->waiting_ns);
    if (life->past.received > vault->now.rx_consumed || life->past.sent < vault->now.tx_produced)
        earlier(&since_ns, shared->received_ns);
    shared->waiting_ns = since_ns;
}

static void look_back(struct life *life)
{
    const struct vault *vault = life->vault;
    const struct counted *counted = life_counted(vault);
    life->past = (struct engine_past){.received = counted->rx.total,
                                      .sent = counted->tx.total,
                                      .fds = life->fds,
                                      .poisoned = life->poisoned};
    for (uint64_t i = vault->now.fds_consumed; i < counted->rx.fd_total; i++)
        life->fds[life->past.num_fds++] =
            (struct engine_past_fd){.end = counted->fds[i % COUNTED_FDS].end,
                                    .fd = counted->fds[i % COUNTED_FDS].fd[vault->column]};
    for (unsigned i = 0; i < vault->used; i++)
        life->resumes |=
            vault_is_valid(vault, i) && vault_entry(vault, i)->role.kind == VAULT_CONNECTION;
    note_waiting(life);
}

static int succeed(struct life *life, struct ob_fault *fault)
{
    struct vault *vault = life->vault;
    struct batch batch = {.channel = life->before_fd};
    int err = vault_check(vault, life->shared, life->number, fault);
    if (err == 0)
        err = counted_settle(life_counted(vault), vault_old_column(vault), fault);
    if (err < 0)
        return err;
    const struct counted *counted = life_counted(vault);
    if (vault->now.fds_consumed > counted->rx.fd_total ||
        counted->rx.fd_total - vault->now.fds_consumed > COUNTED_FDS)
        return ob_fault_set(fault, -EINVAL, "the vault's descriptors of messages can't be");
    err = fetch(life, &batch);
    if (err < 0)
        return ob_fault_set(fault, err, "the keeper of the process before: %s", strerror(-err));
    const bool at_hand = life->shared->looking == life->shared->progress + 1;
    vault_own(vault);
    fault_point("owned");
    look_back(life);
    life->past.at_hand = at_hand;
    return 0;
}

/* No VMM was connected: nothing that is kept is of use, but the device's own descriptors. */
static void start_afresh(struct vault *vault)
{
    for (unsigned kind = 0; kind < VAULT_KINDS; kind++)
        if (kind != VAULT_FILE)
            vault_forget(vault, (enum vault_kind)kind, NULL);
    vault->shared->waiting_ns = 0;
    vault->now = (struct vault_record){0};
    vault_commit(vault);
}

int life_take_over(struct life *life, struct ob_device *device, struct ob_fault *fault)
{
    if (!life->vault)
        return 0;
    if (life->before_fd < 0) {
        vault_begin(life->vault, life->shared, life->number);
        return device_use_vault(device, life->vault, fault);
    }
    int err = succeed(life, fault);
    auto_close(&life->before_fd);
    life->before_fd = -1;
    if (err < 0 || life->resumes)
        return err;
    start_afresh(life->vault);
    return device_use_vault(device, life->vault, fault);
}

int life_connection(const struct life *life, unsigned *ret_wire, struct ob_fault *fault)
{
    const struct vault *vault = life->vault;
    for (unsigned i = 0; i < vault->used; i++) {
        const struct vault_role *role = &vault_entry(vault, i)->role;
        if (!vault_is_valid(vault, i) || role->kind != VAULT_CONNECTION || role->a > UINT8_MAX)
            continue;
        *ret_wire = (unsigned)role->a;
        return vault_fd(vault, i);
    }
    return ob_fault_set(fault, -EINVAL, "the vault has no connection");
}

void life_connect(const struct life *life, int fd, unsigned wire)
{
    if (!life->vault)
        return;
    vault_keep(life->vault, &(struct vault_role){.kind = VAULT_CONNECTION, .a = wire}, fd);
    vault_commit(life->vault);
}

void life_end(struct life *life)
{
    auto_close(&life->before_fd);
    free(life->vault);
}
