// SPDX-License-Identifier: BSD-3-Clause
#include "supervisor/restart.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/vault_head.h"
#include "os/socket.h"

#define POISONED_AFTER 3u
#define FIRST_WAIT_MS  50
#define MINUTE_NS      60000000000ull
#define COPY_BYTES     4096

static void drop(int *fd)
{
    auto_close(fd);
    *fd = -1;
}

/* To a number that no process has for another purpose. */
static int move_up(const struct restart *restart, int fd)
{
    int high = fcntl(fd, F_DUPFD_CLOEXEC, restart->spare_fd);
    int err = high < 0 ? -errno : high;
    close(fd);
    return err;
}

int restart_new_vault(const struct restart *restart, int *ret_fd)
{
    AUTO_FD fd = memfd_create("outboard-vault", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0 || ftruncate(fd, LIMIT_VAULT_BYTES) < 0 ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
        return -errno;
    int high = move_up(restart, take_fd(&fd));
    if (high < 0)
        return high;
    *ret_fd = high;
    return 0;
}

/* Pages that nobody has written to stay absent. */
int restart_copy_vault(const struct restart *restart, int fd)
{
    char bytes[COPY_BYTES];
    off_t at = 0;
    while ((at = lseek(restart->vault_fd, at, SEEK_DATA)) >= 0) {
        at -= at % COPY_BYTES;
        if (pread(restart->vault_fd, bytes, COPY_BYTES, at) != COPY_BYTES)
            return -EIO;
        if (pwrite(fd, bytes, COPY_BYTES, at) != COPY_BYTES)
            return errno ? -errno : -EIO;
        at += COPY_BYTES;
    }
    return errno == ENXIO ? 0 : -errno; /* nothing but a hole behind it */
}

void restart_use_vault(struct restart *restart, int fd)
{
    drop(&restart->vault_fd);
    restart->vault_fd = fd;
}

int restart_begin(struct restart *restart, int socket_fd, unsigned limit, int spare_fd)
{
    *restart = (struct restart){.vault_fd = -1,
                                .socket_fd = -1,
                                .owner_fd = -1,
                                .newest_fd = -1,
                                .keeper_fd = -1,
                                .limit = limit,
                                .spare_fd = spare_fd};
    int err = restart_new_vault(restart, &restart->vault_fd);
    if (err == 0 && socket_fd >= 0) {
        restart->socket_fd = fcntl(socket_fd, F_DUPFD_CLOEXEC, spare_fd);
        err = restart->socket_fd < 0 ? -errno : 0;
    }
    if (err < 0)
        restart_end(restart);
    return err < 0 ? err : 0;
}

void restart_adopt(struct restart *restart, const struct restart *from)
{
    struct vault_head head = {0};
    *restart = *from;
    restart->keeper_fd = -1;
    if (pread(restart->vault_fd, &head, sizeof(head), 0) == sizeof(head))
        restart->progress = head.progress - 1; /* its deeds so far count */
}

void restart_end(struct restart *restart)
{
    drop(&restart->vault_fd);
    drop(&restart->socket_fd);
    drop(&restart->owner_fd);
    drop(&restart->newest_fd);
    drop(&restart->keeper_fd);
}

int restart_prepare(struct restart *restart, int first_fd, int ret_fds[RESTART_FDS],
                    unsigned *ret_count, char **ret_variable)
{
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
        return -errno;
    drop(&restart->newest_fd);
    drop(&restart->keeper_fd);
    restart->newest_fd = move_up(restart, ends[0]);
    restart->keeper_fd = move_up(restart, ends[1]);
    if (restart->newest_fd < 0 || restart->keeper_fd < 0)
        return -EMFILE;
    bool has_owner = restart->owner_fd >= 0;
    *ret_count = 0;
    ret_fds[(*ret_count)++] = restart->vault_fd;
    ret_fds[(*ret_count)++] = restart->keeper_fd;
    if (has_owner)
        ret_fds[(*ret_count)++] = restart->owner_fd;
    return asprintf(ret_variable, VAULT_VARIABLE "=" VAULT_FORMAT, first_fd, first_fd + 1,
                    has_owner ? first_fd + 2 : -1, (unsigned long long)++restart->newest,
                    restart->blamed >= POISONED_AFTER, (unsigned long long)restart->silent_ns) < 0
               ? -ENOMEM
               : 0;
}

void restart_started(struct restart *restart)
{
    drop(&restart->keeper_fd);
}

int restart_give_turn(struct restart *restart, int turn_fd, int keeper_fd)
{
    const struct vault_turn turn = {.number = restart->newest + 1,
                                    .silent_ns = restart->silent_ns,
                                    .poisoned = restart->blamed >= POISONED_AFTER};
    if (restart->owner_fd < 0)
        return -ENOTCONN;
    ssize_t len = socket_send(turn_fd, &turn, sizeof(turn), restart->owner_fd);
    if (len < 0)
        return (int)len;
    restart->newest++;
    drop(&restart->newest_fd);
    restart->newest_fd = keeper_fd;
    return 0;
}

void restart_take_back(struct restart *restart)
{
    drop(&restart->newest_fd);
}

/* A channel hangs up when its keeper ends. */
static bool has_ended(int channel)
{
    struct pollfd poll_fd = {.fd = channel};
    return channel < 0 || (poll(&poll_fd, 1, 0) > 0 && poll_fd.revents & (POLLHUP | POLLERR));
}

/* Which life the vault belongs to. -EINVAL: one that there is not. */
static int find_owner(struct restart *restart, uint64_t owner)
{
    if (owner == restart->newest && restart->newest_fd >= 0) {
        drop(&restart->owner_fd);
        restart->owner_fd = take_fd(&restart->newest_fd);
        restart->owner = owner;
        return 0;
    }
    return owner == restart->owner && (owner > 0 || restart->owner_fd < 0) ? 0 : -EINVAL;
}

void restart_silent(struct restart *restart, uint64_t since_ns)
{
    if (since_ns == 0 || restart->silent_ns == 0)
        restart->silent_ns = since_ns;
}

void restart_ready(struct restart *restart)
{
    struct vault_head head = {0};
    restart_silent(restart, 0);
    if (pread(restart->vault_fd, &head, sizeof(head), 0) == sizeof(head))
        find_owner(restart, head.owner >> 1);
}

/* Counts lives in a row that have died of the same message. One that died before it looked at any
 * is no witness. */
static void blame(struct restart *restart, const struct vault_head *head)
{
    bool looked = head->owner >> 1 == restart->newest && head->looking == head->progress + 1;
    if (head->progress != restart->progress)
        restart->blamed = 0;
    restart->blamed += looked;
    restart->poisons += looked && restart->blamed == POISONED_AFTER;
}

static int wait_ms(const struct restart *restart)
{
    return restart->idle > 1 ? FIRST_WAIT_MS << (restart->idle - 2) : 0;
}

static bool too_often(struct restart *restart, uint64_t now_ns)
{
    if (restart->in_window == 0 || now_ns - restart->window_ns > MINUTE_NS) {
        restart->window_ns = now_ns;
        restart->in_window = 0;
    }
    return ++restart->in_window > restart->limit;
}

static void give_reason(const struct restart *restart, struct ob_fault *reason)
{
    ob_fault_set(reason, -ELOOP, "got more than %u restarts in a minute (restart-limit)",
                 restart->limit);
}

/* Counts lives in a row that have done nothing. Whether there are too many. */
static bool is_idle(struct restart *restart, const struct vault_head *head, bool refused)
{
    const bool progress = head->progress != restart->progress;
    restart->idle = progress ? 0 : restart->idle + 1;
    restart->refusals = progress ? 0 : restart->refusals + refused;
    restart->progress = head->progress;
    return restart->idle >= LIMIT_RESTART_LIVES;
}

bool restart_is_distrusted(const struct restart *restart)
{
    return restart->distrusted;
}

int restart_afresh(struct restart *restart, uint64_t now_ns, struct ob_fault *reason)
{
    int fd;
    if (too_often(restart, now_ns)) {
        give_reason(restart, reason);
        return -1;
    }
    int err = restart_new_vault(restart, &fd);
    if (err < 0) {
        ob_fault_set(reason, err, "can't make a vault: %s", strerror(-err));
        return -1;
    }
    restart_use_vault(restart, fd);
    drop(&restart->owner_fd);
    drop(&restart->newest_fd);
    drop(&restart->keeper_fd);
    restart->owner = restart->newest = restart->progress = restart->silent_ns = 0;
    restart->idle = restart->refusals = restart->blamed = 0;
    restart->distrusted = false;
    restart->restarts++;
    return FIRST_WAIT_MS;
}

int restart_judge(struct restart *restart, uint64_t now_ns, bool refused, struct ob_fault *reason)
{
    struct vault_head head = {0};
    restart_silent(restart, now_ns);
    if (pread(restart->vault_fd, &head, sizeof(head), 0) != sizeof(head) ||
        find_owner(restart, head.owner >> 1) < 0) {
        restart->distrusted = true;
        ob_fault_set(reason, -EINVAL, "its vault belongs to no process that there was");
        return -1;
    }
    if (has_ended(restart->owner_fd)) {
        ob_fault_set(reason, -ENOTCONN, "the process that keeps its descriptors has ended too");
        return -1;
    }
    blame(restart, &head);
    if (is_idle(restart, &head, refused)) {
        restart->distrusted = restart->refusals == restart->idle;
        ob_fault_set(reason, -ELOOP, "%u processes in a row have %s without having done anything",
                     restart->idle,
                     restart->distrusted     ? "refused to continue,"
                     : restart->refusals > 0 ? "died or refused to continue,"
                                             : "died");
        return -1;
    }
    if (too_often(restart, now_ns)) {
        give_reason(restart, reason);
        return -1;
    }
    restart->restarts++;
    return wait_ms(restart);
}
