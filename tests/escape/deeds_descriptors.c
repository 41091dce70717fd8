// SPDX-License-Identifier: BSD-3-Clause
#include "escape.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>

#include "call.h"

/* More than a cell allows (LIMIT_CELL_FILES), and less than most launchers do. */
#define DESCRIPTORS 4200

static long cut(const struct escape_world *world)
{
    return CALL(ftruncate, world->memory_fd, 0);
}

static long seal(const struct escape_world *world)
{
    return CALL(fcntl, world->memory_fd, F_ADD_SEALS, F_SEAL_GROW);
}

static long punch_a_hole(const struct escape_world *world)
{
    return CALL(fallocate, world->memory_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096);
}

/* On a page that is mapped for it. */
static long advise(int flags, int fd, int advice)
{
    void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, flags, fd, 0);
    // cppcheck-suppress memleak ; the process ends
    return page == MAP_FAILED ? -errno : CALL(madvise, page, 4096, advice);
}

/* Of a mapping; the pages of the file go. */
static long punch_a_hole_by_advice(const struct escape_world *world)
{
    return advise(MAP_SHARED, world->memory_fd, MADV_REMOVE);
}

/* Whoever has the same page can be found out by the time that a write to it takes. */
static long merge_memory(const struct escape_world *world)
{
    return advise(MAP_PRIVATE | MAP_ANONYMOUS, -1, MADV_MERGEABLE);
}

static long make_it_longer(const struct escape_world *world)
{
    return CALL(fallocate, world->memory_fd, 0, 0, (off_t)64 << 20);
}

static long duplicate(const struct escape_world *world)
{
    return CALL(dup, world->memory_fd);
}

static long duplicate_to_a_number(const struct escape_world *world)
{
    return CALL(dup3, world->memory_fd, 100, O_CLOEXEC);
}

static long duplicate_by_control(const struct escape_world *world)
{
    return CALL(fcntl, world->memory_fd, F_DUPFD, 0);
}

static long duplicate_above_a_number(const struct escape_world *world)
{
    return CALL(fcntl, world->memory_fd, F_DUPFD_CLOEXEC, 100);
}

static long open_without_bound(const struct escape_world *world)
{
    for (unsigned i = 0; i < DESCRIPTORS; i++)
        if (syscall(SYS_eventfd2, 0, O_CLOEXEC) < 0)
            return -errno;
    return 0;
}

static long make_a_file_in_memory(const struct escape_world *world)
{
    return CALL(memfd_create, "escape", MFD_CLOEXEC);
}

static long lease(const struct escape_world *world)
{
    return CALL(fcntl, world->readonly_fd, F_SETLEASE, F_RDLCK);
}

static long make_a_pipe(const struct escape_world *world)
{
    int pipes[2];
    return CALL(pipe2, pipes, O_CLOEXEC);
}

const struct escape_deed escape_descriptors[] = {
    {"cut guest memory", "ftruncate", cut, 0},
    {"seal guest memory", "fcntl", seal, 0},
    {"punch a hole into guest memory", "fallocate", punch_a_hole, 0},
    {"punch a hole by madvise(2)", "madvise", punch_a_hole_by_advice, 0},
    {"merge memory with equal memory", "madvise", merge_memory, ESCAPE_DEPENDS},
    {"make guest memory longer", "fallocate", make_it_longer, 0},
    {"duplicate a descriptor", "dup", duplicate, 0},
    {"duplicate a descriptor to a number", "dup3", duplicate_to_a_number, 0},
    {"duplicate a descriptor by fcntl(2)", "fcntl", duplicate_by_control, 0},
    {"duplicate a descriptor above a number", "fcntl", duplicate_above_a_number, 0},
    {"make descriptors without bound", "EMFILE/EMFILE", open_without_bound, ESCAPE_DEPENDS},
    {"make a file in memory", "memfd_create", make_a_file_in_memory, 0},
    {"lease a file", "fcntl", lease, ESCAPE_DEPENDS},
    {"make a pipe", "pipe2", make_a_pipe, 0},
    {0},
};
