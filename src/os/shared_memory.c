// SPDX-License-Identifier: BSD-3-Clause
#include "os/shared_memory.h"

#include <errno.h>
#include <fcntl.h>
#include <search.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/auto.h"

#define PAGE 4096u

/* A mapped peer's file. The signal handler, which gets no argument, finds them through `guarded`, a
 * tree of tsearch(3): with the handler's own state the only globals of the program. */
struct guarded {
    uint8_t *address;
    uint64_t len;
};

static void *guarded;
static volatile sig_atomic_t was_cut;

/* Ranges that overlap are equal, so that a byte finds the range around it. */
static int compare(const void *left, const void *right)
{
    const struct guarded *a = left, *b = right;
    if (a->address + a->len <= b->address)
        return -1;
    return b->address + b->len <= a->address;
}

int shared_memory_new(const char *name, uint64_t len, uint8_t **ret_address, int *ret_fd)
{
    AUTO_FD fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0 || ftruncate(fd, (off_t)len) < 0)
        return -errno;
    /* Whoever gets the descriptor may write, but never cut the memory from under us. */
    if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
        return -errno;
    void *address = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (address == MAP_FAILED)
        return -errno;
    *ret_address = address;
    *ret_fd = take_fd(&fd);
    return 0;
}

void shared_memory_free(uint8_t *address, uint64_t len, int fd)
{
    munmap(address, len);
    close(fd);
}

static int check_file(int fd, uint64_t end, struct stat *ret_status)
{
    if (fstat(fd, ret_status) < 0)
        return -errno;
    if (!S_ISREG(ret_status->st_mode))
        return -EINVAL;
    return end > (uint64_t)ret_status->st_size ? -EOVERFLOW : 0;
}

int shared_memory_map(int fd, uint64_t offset, uint64_t len, bool writable, uint8_t **ret_address,
                      uint64_t *ret_device, uint64_t *ret_inode)
{
    struct stat status;
    int err = check_file(fd, offset + len, &status);
    if (err < 0)
        return err;
    struct guarded *entry = malloc(sizeof(*entry));
    if (!entry)
        return -ENOMEM;
    int protection = PROT_READ | (writable ? PROT_WRITE : 0);
    void *address = mmap(NULL, len, protection, MAP_SHARED, fd, (off_t)offset);
    if (address == MAP_FAILED) {
        err = -errno;
        free(entry);
        return err;
    }
    *entry = (struct guarded){.address = address, .len = len};
    if (!tsearch(entry, &guarded, compare)) {
        munmap(address, len);
        free(entry);
        return -ENOMEM;
    }
    *ret_address = address;
    *ret_device = status.st_dev;
    *ret_inode = status.st_ino;
    return 0;
}

void shared_memory_unmap(uint8_t *address, uint64_t len)
{
    const struct guarded key = {.address = address, .len = len};
    struct guarded **node = tfind(&key, &guarded, compare);
    struct guarded *entry = node ? *node : NULL;
    tdelete(&key, &guarded, compare);
    free(entry);
    munmap(address, len);
}

static bool is_guarded(uint8_t *address)
{
    const struct guarded key = {.address = address, .len = 1};
    return tfind(&key, &guarded, compare);
}

static void on_sigbus(int number, siginfo_t *info, void *context)
{
    uint8_t *page = (uint8_t *)info->si_addr - (uintptr_t)info->si_addr % PAGE;
    int saved = errno;
    if (!is_guarded(page) || mmap(page, PAGE, PROT_READ | PROT_WRITE,
                                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
        signal(number, SIG_DFL); /* returning repeats the access, which then kills */
    was_cut = 1;
    errno = saved;
}

int shared_memory_guard(void)
{
    struct sigaction action = {.sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO};
    return sigaction(SIGBUS, &action, NULL) < 0 ? -errno : 0;
}

bool shared_memory_was_cut(void)
{
    return was_cut;
}
