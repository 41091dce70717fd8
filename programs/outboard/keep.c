// SPDX-License-Identifier: BSD-3-Clause
/*
 * outboard keep: a device program under a service manager with a store of descriptors (systemd's FDSTORE), which
 * starts the program again when its process has died.
 *
 * It makes the vault, starts the holder, and becomes the device program. The holder waits for the death of that process.
 * Then it asks the process's keeper for all descriptors that the vault names, stores them with the vault, and ends. The
 * service manager starts the unit again with its store, and the next holder gives it to the next device process, as
 * the keeper of the process before would.
 *
 * The vault was written by a process that may have been taken over. The holder reads a copy, and takes numbers from it
 * alone: those of descriptors that are that process's anyway.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/vault_head.h"
#include "command.h"
#include "device/vault.h"
#include "os/clock.h"
#include "os/counted.h"
#include "os/keeper.h"
#include "os/log.h"
#include "os/notify.h"
#include "os/socket.h"
#include "supervisor/program_path.h"

#define FIRST_FD   3
#define FIRST_OWN  16 /* descriptors that the device program does not get begin here */
#define MAX_STORED 512u
#define BARRIER_MS 5000u
#define VAULT_NAME "outboard-vault"
#define TABLE_NAME "outboard-table"
#define FILE_NAME  "outboard-%u"

/* Numbers in the table of the process that has died, and which stored file each is. */
struct row {
    int32_t number;
    uint32_t file;
};

struct table {
    uint64_t life;      /* number of the newest process */
    uint64_t silent_ns; /* since when no process serves; 0: one does */
    uint32_t count, files;
    struct row rows[MAX_STORED];
};

struct store {
    struct table table;
    int fd[MAX_STORED]; /* by file */
};

struct keep {
    struct store store; /* of the process before */
    bool succeeds;
    int vault_fd, socket_fd; /* the second is the service manager's, or -1 */
    int keeper_fd, owner_fd; /* the channel of our process's keeper: its end, the holder's */
    int before_fd, give_fd;  /* the channel by which the next process asks: its end, the holder's */
};

static int usage(void)
{
    log_line("got no program; give 'outboard keep PROGRAM [ARGUMENT...]', or --settle");
    return EXIT_USAGE;
}

static void print_help(void)
{
    puts("usage: outboard keep PROGRAM [ARGUMENT...]\n"
         "       outboard keep --settle\n"
         "\n"
         "Becomes a device program whose state and descriptors systemd keeps when its process\n"
         "dies: FileDescriptorStoreMax=, NotifyAccess=all, KillMode=process, Restart=always.\n"
         "--settle, as ExecStopPost=, waits until they are stored.");
}

static int move_up(int fd)
{
    int high = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, FIRST_OWN);
    if (fd >= 0)
        close(fd);
    return high;
}

/* The file that the holder keeps locked: $RUNTIME_DIRECTORY/keeper. -1: there is no such folder. */
static int open_lock(void)
{
    char path[PATH_MAX];
    const char *folder = getenv("RUNTIME_DIRECTORY");
    if (!folder || (size_t)snprintf(path, sizeof(path), "%s/keeper", folder) >= sizeof(path))
        return -1;
    return open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
}

static int settle(void)
{
    AUTO_FD fd = open_lock();
    while (fd >= 0 && flock(fd, LOCK_EX) < 0 && errno == EINTR)
        ;
    return EXIT_SUCCESS;
}

static void take_one(struct keep *keep, const char *name, size_t len, int fd, int *ret_table)
{
    unsigned file;
    if (len == strlen(VAULT_NAME) && strncmp(name, VAULT_NAME, len) == 0)
        keep->vault_fd = move_up(fd);
    else if (len == strlen(TABLE_NAME) && strncmp(name, TABLE_NAME, len) == 0)
        *ret_table = move_up(fd);
    else if (sscanf(name, FILE_NAME, &file) == 1 && file < MAX_STORED)
        keep->store.fd[file] = move_up(fd);
    else if (keep->socket_fd < 0)
        keep->socket_fd = move_up(fd);
    else
        close(fd);
}

/* Whether all is there that the table names. */
static bool read_table(struct keep *keep, int table_fd)
{
    struct store *store = &keep->store;
    if (table_fd < 0 || keep->vault_fd < 0 ||
        pread(table_fd, &store->table, sizeof(store->table), 0) != sizeof(store->table) ||
        store->table.count > MAX_STORED || store->table.files > MAX_STORED)
        return false;
    for (unsigned i = 0; i < store->table.count; i++)
        if (store->table.rows[i].file >= store->table.files ||
            store->fd[store->table.rows[i].file] < 0)
            return false;
    return true;
}

/* sd_listen_fds(3). */
static void take_descriptors(struct keep *keep)
{
    const char *pid = getenv("LISTEN_PID"), *count = getenv("LISTEN_FDS");
    const char *name = getenv("LISTEN_FDNAMES");
    int table_fd = -1;
    if (!pid || !count || atoi(pid) != getpid())
        return;
    for (int i = 0; i < atoi(count); i++) {
        size_t len = name ? strcspn(name, ":") : 0;
        take_one(keep, name ? name : "", len, FIRST_FD + i, &table_fd);
        name = name && name[len] ? name + len + 1 : NULL;
    }
    keep->succeeds = read_table(keep, table_fd);
    if (table_fd >= 0)
        close(table_fd);
}

static int new_vault(struct keep *keep)
{
    AUTO_FD fd = memfd_create("outboard-vault", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (keep->vault_fd >= 0)
        close(keep->vault_fd);
    keep->vault_fd = -1;
    memset(&keep->store.table, 0, sizeof(keep->store.table));
    if (fd < 0 || ftruncate(fd, LIMIT_VAULT_BYTES) < 0 ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
        return -errno;
    keep->vault_fd = move_up(take_fd(&fd));
    return keep->vault_fd < 0 ? -errno : 0;
}

static int make_pair(int *ret_one, int *ret_other)
{
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
        return -errno;
    *ret_one = move_up(ends[0]);
    *ret_other = move_up(ends[1]);
    return *ret_one < 0 || *ret_other < 0 ? -EMFILE : 0;
}

/* A message to the service manager, with descriptors. */
static int tell(int notify_fd, const char *text, const int *fds, unsigned count)
{
    struct pollfd room = {.fd = notify_fd, .events = POLLOUT};
    poll(&room, 1, BARRIER_MS);
    ssize_t sent = socket_send_fds(notify_fd, text, strlen(text), fds, count);
    return sent < 0 ? (int)sent : 0;
}

static void store_one(int notify_fd, const char *name, int fd)
{
    char text[96];
    snprintf(text, sizeof(text), "FDSTORE=1\nFDPOLL=0\nFDNAME=%s\n", name);
    tell(notify_fd, text, &fd, 1);
}

static void forget_one(int notify_fd, const char *name)
{
    char text[96];
    snprintf(text, sizeof(text), "FDSTOREREMOVE=1\nFDNAME=%s\n", name);
    tell(notify_fd, text, NULL, 0);
}

/* The store is ours now. It is filled again if this process dies too. */
static void forget_stored(const struct keep *keep, int notify_fd)
{
    char name[32];
    for (unsigned i = 0; i < MAX_STORED; i++)
        if (keep->store.fd[i] >= 0) {
            snprintf(name, sizeof(name), FILE_NAME, i);
            forget_one(notify_fd, name);
        }
    forget_one(notify_fd, TABLE_NAME);
    forget_one(notify_fd, VAULT_NAME);
}

/* The descriptors have other numbers by now than in the process that has died. */
static int stored_as(const void *argument, int number)
{
    const struct store *store = argument;
    for (unsigned row = 0; row < store->table.count; row++)
        if (store->table.rows[row].number == number)
            return store->fd[store->table.rows[row].file];
    return -1;
}

/* Adds a descriptor of ours under its number in the other table. One open file is stored once: the service
 * manager drops the second. */
static int add(struct store *store, int number, int fd)
{
    struct table *table = &store->table;
    uint32_t file = 0;
    const pid_t self = getpid();
    if (table->count == MAX_STORED)
        return -E2BIG;
    while (file < table->files &&
           syscall(SYS_kcmp, self, self, 0 /* KCMP_FILE */, fd, store->fd[file]) != 0)
        file++;
    if (file == table->files)
        store->fd[table->files++] = fd;
    else
        close(fd);
    table->rows[table->count++] = (struct row){.number = number, .file = file};
    return 0;
}

static int fetch(const struct keep *keep, struct store *store, int number)
{
    int fd;
    for (unsigned i = 0; i < store->table.count; i++)
        if (store->table.rows[i].number == number)
            return 0;
    if (number < 0)
        return 0;
    int err = keeper_ask(keep->owner_fd, &number, 1, &fd);
    if (err == -EBADF) /* nobody needs a closed one */
        return 0;
    return err < 0 ? err : add(store, number, fd);
}

/* All descriptors that a copy of the vault names. */
static int collect(const struct keep *keep, struct vault_shared *copy, struct store *store)
{
    struct counted *counted = (struct counted *)copy->transfers;
    const unsigned column = copy->owner & 1;
    struct ob_fault fault;
    int err = counted_settle(counted, column, &fault);
    for (unsigned i = 0; i < copy->used && i < LIMIT_VAULT_ENTRIES && err == 0; i++) {
        const struct vault_entry *entry = &copy->entries[i];
        if (entry->added > 0 && (entry->removed == 0 || entry->removed > copy->committed))
            err = fetch(keep, store, entry->fd[column]);
    }
    for (unsigned i = 0; i < COUNTED_FDS && err == 0 && i < counted->rx.fd_total; i++)
        err = fetch(keep, store, counted->fds[i].fd[column]);
    return err;
}

static int send_all(const struct keep *keep, int notify_fd, const struct store *store)
{
    char name[32];
    int ends[2];
    AUTO_FD table_fd = memfd_create(TABLE_NAME, MFD_CLOEXEC);
    if (table_fd < 0 ||
        write(table_fd, &store->table, sizeof(store->table)) != sizeof(store->table))
        return -EIO;
    for (unsigned i = 0; i < store->table.files; i++) {
        snprintf(name, sizeof(name), FILE_NAME, i);
        store_one(notify_fd, name, store->fd[i]);
    }
    store_one(notify_fd, TABLE_NAME, table_fd);
    store_one(notify_fd, VAULT_NAME, keep->vault_fd);
    if (pipe2(ends, O_CLOEXEC) < 0)
        return -errno;
    int err = tell(notify_fd, "BARRIER=1", &ends[1], 1);
    close(ends[1]);
    struct pollfd done = {.fd = ends[0]};
    if (err == 0 && poll(&done, 1, BARRIER_MS) <= 0)
        err = -ETIMEDOUT;
    close(ends[0]);
    return err;
}

/* The process has died. */
static int store_all(struct keep *keep, int notify_fd)
{
    struct store fresh = {.table = {.life = keep->store.table.life, .silent_ns = clock_now_ns()}};
    struct vault_shared *copy =
        mmap(NULL, sizeof(*copy), PROT_READ | PROT_WRITE, MAP_PRIVATE, keep->vault_fd, 0);
    if (copy == MAP_FAILED)
        return -errno;
    int err = 0;
    if (copy->owner >> 1 == fresh.table.life) {
        err = collect(keep, copy, &fresh);
        if (err == 0)
            err = send_all(keep, notify_fd, &fresh);
    } else if (keep->succeeds) { /* it has not taken over: the store counts further */
        err = send_all(keep, notify_fd, &keep->store);
    }
    munmap(copy, sizeof(*copy));
    return err;
}

static bool has_taken_over(const struct keep *keep)
{
    struct vault_head head = {0};
    return pread(keep->vault_fd, &head, sizeof(head), 0) == sizeof(head) &&
           head.owner >> 1 == keep->store.table.life;
}

/* The new process has all of it, and a peer is to see the end of a connection that it closes. */
static void let_go(struct keep *keep)
{
    for (unsigned i = 0; i < MAX_STORED; i++)
        if (keep->store.fd[i] >= 0)
            close(take_fd(&keep->store.fd[i]));
    keep->succeeds = false;
}

/* Never returns. */
static _Noreturn void hold(struct keep *keep, int device, int notify_fd, int lock_fd)
{
    sigset_t all;
    const int stop = -1;
    struct pollfd ended = {.fd = device, .events = POLLIN};
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, NULL);
    prctl(PR_SET_NAME, "holder");
    close(keep->keeper_fd);
    if (keep->socket_fd >= 0)
        close(keep->socket_fd);
    if (keep->before_fd >= 0)
        close(keep->before_fd);
    forget_stored(keep, notify_fd);
    if (keep->give_fd >= 0) {
        keeper_serve_as(keep->give_fd, stored_as, &keep->store);
        close(keep->give_fd);
        if (has_taken_over(keep))
            let_go(keep);
    }
    while (poll(&ended, 1, -1) < 0 && errno == EINTR)
        ;
    int err = store_all(keep, notify_fd);
    if (err < 0)
        log_line(
            "can't store the descriptors of the device process: %s; the next one begins afresh",
            strerror(-err));
    if (send(keep->owner_fd, &stop, sizeof(stop), MSG_NOSIGNAL) ==
        sizeof(stop)) { /* the keeper ends */
        struct pollfd gone = {.fd = keep->owner_fd};
        poll(&gone, 1, BARRIER_MS);
    }
    if (lock_fd >= 0)
        close(lock_fd);
    _exit(err < 0 ? EXIT_FAILURE : EXIT_SUCCESS);
}

/* The number of a descriptor that the program is started with. */
static int place(int fd, int number)
{
    if (fd < 0)
        return -1;
    return dup2(fd, number);
}

static int prepare_program(const struct keep *keep)
{
    char text[80], pid[16];
    const int vault = place(keep->vault_fd, FIRST_FD + 1);
    const int keeper = place(keep->keeper_fd, FIRST_FD + 2);
    const int before = place(keep->before_fd, FIRST_FD + 3);
    place(keep->socket_fd, FIRST_FD);
    snprintf(text, sizeof(text), VAULT_FORMAT, vault, keeper, before,
             (unsigned long long)keep->store.table.life, 0,
             (unsigned long long)keep->store.table.silent_ns);
    snprintf(pid, sizeof(pid), "%d", getpid());
    unsetenv("LISTEN_FDNAMES");
    if (keep->socket_fd < 0)
        unsetenv("LISTEN_FDS");
    else if (setenv("LISTEN_FDS", "1", 1) < 0 || setenv("LISTEN_PID", pid, 1) < 0)
        return -ENOMEM;
    return setenv(VAULT_VARIABLE, text, 1) < 0 ? -ENOMEM : 0;
}

static int start_holder(struct keep *keep)
{
    AUTO_FD notify_fd = -1;
    AUTO_FD lock_fd = open_lock();
    AUTO_FD device = (int)syscall(SYS_pidfd_open, getpid(), 0);
    int err = device < 0 ? -errno : notify_connect(&notify_fd);
    if (err == 0 && notify_fd < 0)
        err = -ENOTCONN;
    if (err < 0)
        return err;
    if (lock_fd >= 0 && flock(lock_fd, LOCK_EX) < 0)
        return -errno;
    pid_t pid = fork();
    if (pid == 0)
        hold(keep, device, notify_fd, lock_fd);
    return pid < 0 ? -errno : 0;
}

static int prepare(struct keep *keep)
{
    take_descriptors(keep);
    int err = keep->succeeds ? 0 : new_vault(keep);
    keep->store.table.life++;
    if (err == 0)
        err = make_pair(&keep->keeper_fd, &keep->owner_fd);
    if (err == 0 && keep->succeeds)
        err = make_pair(&keep->before_fd, &keep->give_fd);
    return err == 0 ? start_holder(keep) : err;
}

int cmd_keep(int argc, char **argv)
{
    static struct keep keep = {.vault_fd = -1, .socket_fd = -1, .before_fd = -1, .give_fd = -1};
    char path[PATH_MAX];
    if (log_start("outboard keep") < 0)
        return EXIT_FAILURE;
    if (argc == 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
        print_help();
        return EXIT_SUCCESS;
    }
    if (argc == 2 && strcmp(argv[1], "--settle") == 0)
        return settle();
    if (argc < 2 || argv[1][0] == '-')
        return usage();
    for (unsigned i = 0; i < MAX_STORED; i++)
        keep.store.fd[i] = -1;
    int err = program_path_find(argv[1], path, sizeof(path));
    if (err == 0)
        err = prepare(&keep);
    if (err == 0)
        err = prepare_program(&keep);
    if (err < 0) {
        log_line("can't keep %s: %s%s", argv[1], strerror(-err),
                 err == -ENOTCONN ? "; NOTIFY_SOCKET names no service manager" : "");
        return EXIT_FAILURE;
    }
    log_give_back_signals();
    execv(path, argv + 1);
    log_line("can't start %s: %s", path, strerror(errno));
    return EXIT_FAILURE;
}
