// SPDX-License-Identifier: BSD-3-Clause
#include "block/nbd_memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/auto.h"

#define MAGIC 0x4e424f56u

static int lock(int fd)
{
    struct flock all = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    if (fcntl(fd, F_OFD_SETLK, &all) == 0)
        return 0;
    return errno == EACCES ? -EAGAIN : -errno;
}

/* A receive whose struct lies in an absent page loses its count if the process is killed in it. So the memory is
 * locked, but in a cell, where none can be: there it is in place at least, for the little that is drained. */
static int map(struct nbd_memory *memory, int fd, int locked)
{
    void *address = mmap(NULL, sizeof(struct nbd_shared), PROT_READ | PROT_WRITE,
                         MAP_SHARED | MAP_POPULATE | locked, fd, 0);
    if (address == MAP_FAILED)
        return -errno;
    memory->shared = address;
    memory->fd = fd;
    return 0;
}

int nbd_memory_new(struct nbd_memory *memory)
{
    char path[32];
    AUTO_FD fd = memfd_create("outboard-nbd", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0 || ftruncate(fd, sizeof(struct nbd_shared)) < 0 ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
        return -errno;
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    AUTO_FD lock_fd = open(path, O_RDWR | O_CLOEXEC);
    int err = lock_fd < 0 ? -errno : lock(lock_fd);
    if (err == 0)
        err = map(memory, fd, MAP_LOCKED);
    if (err < 0)
        return err;
    memory->shared->magic = MAGIC;
    take_fd(&fd);
    memory->lock_fd = take_fd(&lock_fd);
    return 0;
}

int nbd_memory_map(struct nbd_memory *memory, int fd)
{
    const int seals = F_SEAL_SHRINK | F_SEAL_GROW;
    struct stat status;
    int there = fcntl(fd, F_GET_SEALS);
    if (there < 0 || (there & seals) != seals || fstat(fd, &status) < 0 ||
        status.st_size != (off_t)sizeof(struct nbd_shared))
        return -EINVAL;
    int err = lock(fd);
    if (err == 0)
        err = map(memory, fd, 0);
    if (err < 0)
        return err;
    memory->lock_fd = -1;
    if (memory->shared->magic == MAGIC)
        return 0;
    nbd_memory_done(memory);
    return -EINVAL;
}

/* The descriptor of a mapped one is the caller's. */
void nbd_memory_done(struct nbd_memory *memory)
{
    if (!memory->shared)
        return;
    munmap(memory->shared, sizeof(*memory->shared));
    if (memory->lock_fd >= 0) {
        close(memory->lock_fd);
        close(memory->fd);
    }
    *memory = (struct nbd_memory){.fd = -1, .lock_fd = -1};
}

void nbd_memory_begin(struct nbd_shared *shared)
{
    shared->connected = 0;
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    counted_begin(&shared->counted);
    shared->frame = 0;
    memset(shared->slots, 0, sizeof(shared->slots));
}

void nbd_store(uint64_t *place, uint64_t value)
{
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    __atomic_store_n(place, value, __ATOMIC_RELAXED);
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
}
