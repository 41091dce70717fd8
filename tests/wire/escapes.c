// SPDX-License-Identifier: BSD-3-Clause
/* A backdoor library that has been taken over: each command is a deed that a cell is to refuse. The
 * answer is 0 when the deed was done, else a negative errno. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <linux/keyctl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <outboard/backdoor_host.h>

#define PAGE 4096

static long result(long value)
{
    return value < 0 ? -errno : 0;
}

static long reach_process(uint64_t deed, pid_t pid)
{
    char byte;
    struct iovec ours = {&byte, 1}, theirs = {(void *)&byte, 1};
    switch (deed) {
    case 10:
        return result(ptrace(PTRACE_SEIZE, pid, NULL, NULL));
    case 11:
        /* An address of this process means nothing there; who may look is told EFAULT. */
        return process_vm_readv(pid, &ours, 1, &theirs, 1, 0) < 0 && errno != EFAULT ? -errno : 0;
    case 12:
        return result(kill(pid, SIGCONT));
    case 13:
        return result(syscall(SYS_pidfd_open, pid, 0));
    default:
        return -ENOSYS;
    }
}

static long start_process(void)
{
    pid_t pid = fork();
    if (pid == 0)
        _exit(0);
    return result(pid < 0 ? pid : waitpid(pid, NULL, 0));
}

static long make_executable(void)
{
    void *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return page == MAP_FAILED ? -errno : result(mprotect(page, PAGE, PROT_READ | PROT_EXEC));
}

static long make_ring(void)
{
    struct io_uring_params parameters = {0};
    return result(syscall(SYS_io_uring_setup, 1, &parameters));
}

static long take_memory(size_t len)
{
    void *memory = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    // cppcheck-suppress memleak ; the process ends
    return memory == MAP_FAILED ? -errno : 0;
}

static long map_executable(void)
{
    void *page = mmap(NULL, PAGE, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    // cppcheck-suppress memleak ; the process ends
    return page == MAP_FAILED ? -errno : 0;
}

static long try(uint64_t deed, pid_t pid)
{
    struct stat status;
    switch (deed) {
    case 0:
        return result(open("/etc/passwd", O_RDONLY));
    case 1:
        return result(open("/tmp", O_TMPFILE | O_RDWR, 0600));
    case 2:
        return result(stat("/etc", &status));
    case 3:
        return result(socket(AF_INET, SOCK_STREAM, 0));
    case 4:
        return result(socket(AF_UNIX, SOCK_STREAM, 0));
    case 5:
        return result(socket(AF_NETLINK, SOCK_RAW, 0));
    case 6:
        return start_process();
    case 7:
        return result(syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 1));
    case 8:
        return make_ring();
    case 9:
        return result(mkdir("/tmp/of-an-escape", 0700)) == 0 ? result(rmdir("/tmp/of-an-escape"))
                                                             : -errno;
    case 14:
        return map_executable();
    case 15:
        return make_executable();
    case 16:
        return take_memory((size_t)2 << 30);
    case 17:
        return result(mount("x", "/tmp", "tmpfs", MS_RDONLY, NULL)) == 0
                   ? result(umount2("/tmp", MNT_DETACH))
                   : -errno;
    case 18:
        return result(unshare(CLONE_NEWUTS));
    case 19:
        return result(execl("/bin/true", "true", NULL));
    default:
        return reach_process(deed, pid);
    }
}

OB_API void backdoor(uint64_t command, void *data);

/* The command is the deed; above bit 32, the number of another process. */
void backdoor(uint64_t command, void *data)
{
    int64_t answer = try(command & UINT32_MAX, (pid_t)(command >> 32));
    memcpy(data, &answer, sizeof(answer));
}

#ifdef WITH_THREAD
static void *wait_for_ever(void *argument)
{
    for (;;) /* it is also woken when the process changes its user */
        pause();
}

__attribute__((constructor)) static void start_thread(void)
{
    pthread_t thread;
    pthread_create(&thread, NULL, wait_for_ever, NULL);
}
#endif
