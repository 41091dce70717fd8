// SPDX-License-Identifier: BSD-3-Clause
/* A backdoor library whose commands are deeds that mandatory access control refuses. The answer is
 * 0 if the deed is done, else a negative errno. Above bit 32 of the command: another process. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <outboard/backdoor_host.h>

#define PAGE 4096

static long result(long value)
{
    return value < 0 ? -errno : 0;
}

static long map_executable(void)
{
    void *page =
        mmap(NULL, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    // cppcheck-suppress memleak ; a page that stays
    return page == MAP_FAILED ? -errno : 0;
}

/* In a child, which tells by its status. */
static long start_program(void)
{
    int status = 0;
    pid_t pid = fork();
    if (pid == 0) {
        execl("/bin/true", "true", NULL);
        _exit(errno);
    }
    if (pid < 0 || waitpid(pid, &status, 0) < 0)
        return -errno;
    return -WEXITSTATUS(status);
}

static long mount_here(void)
{
    long err = result(mount("deed", "/tmp", "tmpfs", MS_RDONLY, NULL));
    if (err == 0)
        umount2("/tmp", MNT_DETACH);
    return err;
}

static long do_deed(uint32_t deed, pid_t pid)
{
    switch (deed) {
    case 0:
        return 0;
    case 1:
        return result(open("/etc/passwd", O_RDONLY));
    case 2:
        return result(open("/tmp/made", O_CREAT | O_WRONLY, 0600));
    case 3:
        return result(open("/var/lib/outboard/images/own.img", O_RDWR));
    case 4:
        return result(socket(AF_INET, SOCK_STREAM, 0));
    case 5:
        return result(socket(AF_NETLINK, SOCK_RAW, 0));
    case 6:
        return start_program();
    case 7:
        return mount_here();
    case 8:
        return result(ptrace(PTRACE_SEIZE, pid, NULL, NULL));
    case 9:
        return result(kill(pid, SIGCONT));
    case 10:
        return map_executable();
    default:
        return -ENOSYS;
    }
}

OB_API void backdoor(uint64_t command, void *data);

void backdoor(uint64_t command, void *data)
{
    int64_t answer = do_deed((uint32_t)command, (pid_t)(command >> 32));
    memcpy(data, &answer, sizeof(answer));
}
