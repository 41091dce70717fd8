// SPDX-License-Identifier: BSD-3-Clause
#include "escape.h"

#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/resource.h>
#include <sys/shm.h>

#include "call.h"

#define PAGE ((size_t)4096)

/* More than a device program needs, and less than a machine for tests has addresses for. */
#define MUCH    ((size_t)2 << 30)
#define THREADS 200u
#define STACK   ((size_t)64 << 10)

/* Beneath the name of the program: the last variables, and more. */
#define STACK_TOP ((size_t)1 << 10)

static long map(size_t len, int protection, int flags, void **ret_address)
{
    void *address = mmap(NULL, len, protection, flags, -1, 0);
    if (address == MAP_FAILED)
        return -errno;
    if (ret_address)
        *ret_address = address;
    // cppcheck-suppress memleak ; the process ends
    return 0;
}

static long map_executable(const struct escape_world *world)
{
    return map(PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, NULL);
}

/* A page to be changed. */
static long map_page(void **ret_page)
{
    return map(PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, ret_page);
}

static long make_executable(const struct escape_world *world)
{
    void *page = NULL;
    long err = map_page(&page);
    return err < 0 ? err : CALL(mprotect, page, PAGE, PROT_READ | PROT_EXEC);
}

static long make_executable_by_a_key(const struct escape_world *world)
{
    void *page = NULL;
    long err = map_page(&page);
    return err < 0 ? err : CALL(pkey_mprotect, page, PAGE, PROT_READ | PROT_EXEC, -1);
}

static long share_executable(const struct escape_world *world)
{
    long id = syscall(SYS_shmget, IPC_PRIVATE, PAGE, IPC_CREAT | 0700);
    if (id < 0)
        return -errno;
    long err = CALL(shmat, id, NULL, SHM_EXEC);
    shmctl((int)id, IPC_RMID, NULL);
    return err;
}

static long map_guest_memory_executable(const struct escape_world *world)
{
    void *page = mmap(NULL, PAGE, PROT_READ | PROT_EXEC, MAP_SHARED, world->memory_fd, 0);
    // cppcheck-suppress memleak ; the process ends
    return page == MAP_FAILED ? -errno : 0;
}

/* All memory that is mapped to be read from then on is executable. */
static long imply_executable(const struct escape_world *world)
{
    return CALL(personality, READ_IMPLIES_EXEC);
}

static long take_private(const struct escape_world *world)
{
    return map(MUCH, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, NULL);
}

/* The kernel counts what grows downward as a stack, not as data. */
static long take_as_a_stack(const struct escape_world *world)
{
    return map(MUCH, PROT_READ | PROT_WRITE,
               MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_GROWSDOWN, NULL);
}

static long take_shared(const struct escape_world *world)
{
    return map(MUCH, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, NULL);
}

static long make_writable_later(const struct escape_world *world)
{
    void *memory = NULL;
    long err = map(MUCH, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, &memory);
    return err < 0 ? err : CALL(mprotect, memory, MUCH, PROT_READ | PROT_WRITE);
}

static long grow_a_mapping(const struct escape_world *world)
{
    void *page = NULL;
    long err =
        map(PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, &page);
    return err < 0 ? err : CALL(mremap, page, PAGE, MUCH, MREMAP_MAYMOVE);
}

/* brk(2) gives the old end of the heap if it refuses a new one. */
static long grow_the_heap(const struct escape_world *world)
{
    long end = syscall(SYS_brk, 0);
    return syscall(SYS_brk, end + (long)MUCH) == end ? -ENOMEM : 0;
}

static long share_by_number(const struct escape_world *world)
{
    long id = syscall(SYS_shmget, IPC_PRIVATE, MUCH, IPC_CREAT | SHM_NORESERVE | 0700);
    long err = escape_result(id);
    if (id >= 0)
        shmctl((int)id, IPC_RMID, NULL);
    return err;
}

static long lock_memory(const struct escape_world *world)
{
    void *page = NULL;
    long err = map_page(&page);
    return err < 0 ? err : CALL(mlock, page, PAGE);
}

static long raise_a_limit(const struct escape_world *world)
{
    struct rlimit limits;
    long err = CALL(prlimit64, 0, RLIMIT_DATA, NULL, &limits);
    limits.rlim_cur = limits.rlim_max;
    return err < 0 ? err : CALL(prlimit64, 0, RLIMIT_DATA, &limits, NULL);
}

static void *wait_for_ever(void *argument)
{
    pthread_mutex_lock(argument);
    return NULL;
}

static long start_threads(const struct escape_world *world)
{
    static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK);
    pthread_mutex_lock(&gate);
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_t thread;
        int err = pthread_create(&thread, &attributes, wait_for_ever, &gate);
        if (err > 0)
            return -err;
    }
    return 0;
}

/* What the launcher has in its environment, as the C library knows it, and where the kernel has put it. */
static long read_the_environment(const struct escape_world *world)
{
    static const char word[] = "LD_PRELOAD=";
    const char *end = (const char *)getauxval(AT_EXECFN);
    bool found = getenv("LD_PRELOAD") || memmem(end - STACK_TOP, STACK_TOP, word, strlen(word));
    return found ? 0 : -ENOENT;
}

const struct escape_deed escape_memory[] = {
    {"read the launcher's environment", "ENOENT", read_the_environment, 0},
    {"map executable memory", "mmap", map_executable, 0},
    {"make memory executable", "mprotect", make_executable, 0},
    {"make memory executable by a key", "pkey_mprotect", make_executable_by_a_key, 0},
    {"share executable memory", "shmget", share_executable, ESCAPE_DEPENDS},
    {"map guest memory executable", "mmap", map_guest_memory_executable, 0},
    {"have all memory executable", "personality", imply_executable, 0},
    {"take private memory without bound", "ENOMEM/ENOMEM", take_private, 0},
    {"take memory for stacks without bound", "mmap", take_as_a_stack, 0},
    {"take shared memory without bound", "mmap", take_shared, 0},
    {"make memory writable without bound", "ENOMEM/ENOMEM", make_writable_later, ESCAPE_DEPENDS},
    {"grow a mapping without bound", "ENOMEM/ENOMEM", grow_a_mapping, 0},
    {"grow the heap without bound", "ENOMEM/ENOMEM", grow_the_heap, ESCAPE_DEPENDS},
    {"take System V memory without bound", "shmget", share_by_number, ESCAPE_DEPENDS},
    {"lock memory", "mlock", lock_memory, ESCAPE_DEPENDS},
    {"raise a limit", "prlimit64", raise_a_limit, 0},
    {"start threads without bound", "clone|?|EAGAIN/EAGAIN", start_threads, 0},
    {0},
};
