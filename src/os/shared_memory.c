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

/* A peer's file, or a part of one, as it is mapped. The signal handler, which gets no argument,
 * finds mappings by address; regions of a file that is mapped already find it by identity. With the
 * handler's own state these trees of tsearch(3) are globals, as signals and mappings are the
 * process's. */
struct mapping {
    uint8_t *address;
    uint64_t len;
    uint64_t offset; /* into the file */
    uint64_t page;   /* bytes that can be replaced alone, a power of two */
    uint64_t device;
    uint64_t inode;
    bool writable;
    unsigned references;
};

static void *by_address;
static void *by_file; /* whole files, of each the newest mapping */
static volatile sig_atomic_t was_cut;
static struct sigaction before; /* the earlier handler of SIGBUS */

/* Ranges that overlap are equal, so that a byte finds the range around it. */
static int compare_addresses(const void *left, const void *right)
{
    const struct mapping *a = left, *b = right;
    if (a->address + a->len <= b->address)
        return -1;
    return b->address + b->len <= a->address;
}

static int compare_files(const void *left, const void *right)
{
    const struct mapping *a = left, *b = right;
    if (a->device != b->device)
        return a->device < b->device ? -1 : 1;
    if (a->inode != b->inode)
        return a->inode < b->inode ? -1 : 1;
    return (int)a->writable - (int)b->writable;
}

int shared_memory_new(const char *name, uint64_t len, uint8_t **ret_address, int *ret_fd)
{
    AUTO_FD fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0 || ftruncate(fd, (off_t)len) < 0)
        return -errno;
    /* A process that gets the descriptor may write, but never cut the memory from under us. */
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

static const char *kind_of_node(mode_t mode)
{
    switch (mode & S_IFMT) {
    case S_IFREG:
        return "a file on another file system";
    case S_IFDIR:
        return "a directory";
    case S_IFIFO:
        return "a pipe";
    case S_IFSOCK:
        return "a socket";
    case S_IFCHR:
    case S_IFBLK:
        return "a device node";
    case S_IFLNK:
        return "a symbolic link";
    default:
        return "a descriptor without a file, such as an eventfd";
    }
}

/* The kind of fd, from facts that the kernel has without a question to the file's server. */
static const char *kind_of(int fd)
{
    struct statx status;
    int flags = fcntl(fd, F_GETFL);
    if (flags >= 0 && flags & O_PATH)
        return "a path that is not open (O_PATH)";
    if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE, &status) < 0)
        return "a descriptor of an unknown kind";
    return kind_of_node(status.stx_mode);
}

int shared_memory_check(int fd, uint64_t len, const char **ret_what)
{
    struct stat status;
    if (fcntl(fd, F_GET_SEALS) >= 0)
        return check_file(fd, len, &status);
    if (errno == EBADF && fcntl(fd, F_GETFD) < 0)
        return -EBADF;
    *ret_what = kind_of(fd);
    return -EMEDIUMTYPE;
}

/* The size of the file's pages: hugetlbfs gives it as that of its blocks. The used part of a file
 * on a disk in such blocks is whole too. */
static uint64_t page_of(const struct stat *status)
{
    uint64_t block = (uint64_t)status->st_blksize;
    return block > PAGE && !(block & (block - 1)) ? block : PAGE;
}

/* Makes a mapping of the whole file one of the part, in whole pages. */
static void cut_out(struct mapping *mapping, uint64_t offset, uint64_t len)
{
    uint64_t end = (offset + len + mapping->page - 1) & ~(mapping->page - 1);
    mapping->offset = offset & ~(mapping->page - 1);
    mapping->len = (end < mapping->len ? end : mapping->len) - mapping->offset;
}

/* Maps the range that `wanted` describes and remembers it under its address. NULL with errno set. */
static struct mapping *map_new(int fd, const struct mapping *wanted)
{
    struct mapping *mapping = malloc(sizeof(*mapping));
    errno = ENOMEM;
    if (!mapping)
        return NULL;
    *mapping = *wanted;
    mapping->references = 1;
    int protection = PROT_READ | (wanted->writable ? PROT_WRITE : 0);
    void *address = mmap(NULL, wanted->len, protection, MAP_SHARED, fd, (off_t)wanted->offset);
    mapping->address = address;
    if (address != MAP_FAILED && tsearch(mapping, &by_address, compare_addresses))
        return mapping;
    int err = address == MAP_FAILED ? errno : ENOMEM;
    if (address != MAP_FAILED)
        munmap(address, wanted->len);
    free(mapping);
    errno = err;
    return NULL;
}

static void release(struct mapping *mapping)
{
    if (--mapping->references > 0)
        return;
    struct mapping **known = tfind(mapping, &by_file, compare_files);
    if (known && *known == mapping)
        tdelete(mapping, &by_file, compare_files);
    tdelete(mapping, &by_address, compare_addresses);
    munmap(mapping->address, mapping->len);
    free(mapping);
}

/* Has the whole file mapped, so that later regions of it find this mapping. NULL with errno set. */
static struct mapping *map_whole(int fd, const struct mapping *wanted)
{
    struct mapping **known = tfind(wanted, &by_file, compare_files);
    if (known && wanted->len <= (*known)->len) {
        (*known)->references++;
        return *known;
    }
    struct mapping *mapping = map_new(fd, wanted);
    if (mapping && known)
        tdelete(wanted, &by_file, compare_files); /* the file has grown */
    if (mapping && !tsearch(mapping, &by_file, compare_files)) {
        release(mapping);
        mapping = NULL;
        errno = ENOMEM;
    }
    return mapping;
}

int shared_memory_map(int fd, uint64_t offset, uint64_t len, bool writable, uint8_t **ret_address,
                      uint64_t *ret_device, uint64_t *ret_inode)
{
    struct stat status;
    int err = check_file(fd, offset + len, &status);
    if (err < 0)
        return err;
    struct mapping wanted = {.len = (uint64_t)status.st_size,
                             .page = page_of(&status),
                             .device = status.st_dev,
                             .inode = status.st_ino,
                             .writable = writable};
    struct mapping *mapping = map_whole(fd, &wanted);
    if (!mapping && len < wanted.len) { /* too large as a whole */
        cut_out(&wanted, offset, len);
        mapping = map_new(fd, &wanted);
    }
    if (!mapping)
        return -errno;
    *ret_address = mapping->address + (offset - mapping->offset);
    *ret_device = wanted.device;
    *ret_inode = wanted.inode;
    return 0;
}

int shared_memory_adopt(uint8_t *address, uint64_t len, int fd, int old_fd)
{
    const char *kind;
    int err = shared_memory_check(fd, len, &kind);
    int seals = err < 0 ? 0 : fcntl(fd, F_GET_SEALS);
    if (err < 0 || seals < 0)
        return err < 0 ? err : -errno;
    if (!(seals & F_SEAL_SHRINK))
        return -EOVERFLOW;
    // cppcheck-suppress leakReturnValNotUsed ; it takes the place of the memory there
    if (mmap(address, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED)
        return -errno;
    close(old_fd);
    return 0;
}

static struct mapping *find(uint8_t *address)
{
    const struct mapping key = {.address = address, .len = 1};
    struct mapping **node = tfind(&key, &by_address, compare_addresses);
    return node ? *node : NULL;
}

void shared_memory_unmap(uint8_t *address)
{
    release(find(address));
}

/* Puts empty memory in the place of the page around the byte, but not beyond the mapping: on tmpfs,
 * which may promise large pages and have small ones, that need not end with a page. */
static bool replace_page(const struct mapping *mapping, uint64_t at)
{
    uint64_t start = (mapping->offset + at) & ~(mapping->page - 1);
    start = start > mapping->offset ? start - mapping->offset : 0;
    uint64_t end = ((mapping->offset + at) | (mapping->page - 1)) + 1 - mapping->offset;
    if (end > mapping->len)
        end = mapping->len;
    // cppcheck-suppress leakReturnValNotUsed ; the mapping keeps it
    return mmap(mapping->address + start, end - start, PROT_READ | PROT_WRITE,
                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) != MAP_FAILED;
}

/* A fault of somebody else's. */
static void pass_on(int number, siginfo_t *info, void *context)
{
    if (before.sa_flags & SA_SIGINFO)
        before.sa_sigaction(number, info, context);
    else if (before.sa_handler != SIG_DFL && before.sa_handler != SIG_IGN)
        before.sa_handler(number);
    else
        signal(number, SIG_DFL); /* returning repeats the access, which then kills */
}

static void on_sigbus(int number, siginfo_t *info, void *context)
{
    uint8_t *byte = info->si_addr;
    int saved = errno;
    const struct mapping *mapping = find(byte);
    // cppcheck-suppress leakReturnValNotUsed ; a bool
    if (!mapping || !replace_page(mapping, (uint64_t)(byte - mapping->address)))
        pass_on(number, info, context);
    was_cut = 1;
    errno = saved;
}

int shared_memory_guard(void)
{
    const struct sigaction action = {.sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO};
    struct sigaction now;
    if (sigaction(SIGBUS, NULL, &now) < 0)
        return -errno;
    if (now.sa_flags & SA_SIGINFO && now.sa_sigaction == on_sigbus)
        return 0;
    before = now;
    return sigaction(SIGBUS, &action, NULL) < 0 ? -errno : 0;
}

bool shared_memory_was_cut(void)
{
    return was_cut;
}

void shared_memory_forget_cut(void)
{
    was_cut = 0;
}
