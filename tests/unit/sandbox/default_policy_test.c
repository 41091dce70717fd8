// SPDX-License-Identifier: BSD-3-Clause
/* The default policy refuses calls by their arguments, and allows the ones that a device needs. */
#include "sandbox/policy.h"

#include "sandbox/child.h"
#include "sandbox/refusal.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>

#define PAGE 4096

static int error_pipe[2];
static int notify_fd; /* of a child: connected to a launcher */
static int memory_fd; /* of a child: memory that a peer has shared */
static pid_t parent;

static void load(struct policy **ret_policy)
{
    dup2(error_pipe[1], STDERR_FILENO);
    int ends[2];
    CHILD_ASSERT(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, ends) == 0);
    notify_fd = ends[0];
    memory_fd = memfd_create("peer", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    CHILD_ASSERT(memory_fd >= 0 && ftruncate(memory_fd, PAGE) == 0);
    CHILD_ASSERT(policy_new(ret_policy, NULL) == 0);
    policy_define(*ret_policy, "notify", (uint32_t)notify_fd);
    CHILD_ASSERT(policy_add(*ret_policy, policy_default, "default", NULL) == 0);
    CHILD_ASSERT(
        policy_add(*ret_policy, "sigaltstack # of sanitizers, at the end\n", "test", NULL) == 0);
    CHILD_ASSERT(refusal_prepare(*ret_policy, "program") == 0);
    CHILD_ASSERT(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    CHILD_ASSERT(policy_load(*ret_policy) == 0);
}

static void settle(void)
{
    struct policy *policy;
    load(&policy);
    CHILD_ASSERT(policy_settle(policy) == 0);
}

/* The kernel refuses a thread with handlers of signals of its own: nothing is made. */
static long begin_a_thread(void)
{
    return syscall(SYS_clone, CLONE_VM | CLONE_THREAD, 0, NULL, NULL, 0);
}

static void cut_memory(void)
{
    settle();
    CHILD_ASSERT(ftruncate(memory_fd, 0) == 0);
}

static void fill_memory(void)
{
    settle();
    CHILD_ASSERT(fallocate(memory_fd, 0, 0, PAGE) == 0);
}

static void seal_memory(void)
{
    settle();
    CHILD_ASSERT(fcntl(memory_fd, F_ADD_SEALS, F_SEAL_WRITE) == 0);
}

static void make_memory(void)
{
    settle();
    CHILD_ASSERT(memfd_create("more", 0) >= 0);
}

static void copy_by_dup(void)
{
    settle();
    CHILD_ASSERT(dup(memory_fd) >= 0);
}

static void copy_by_fcntl(void)
{
    settle();
    fcntl(memory_fd, F_DUPFD_CLOEXEC, 100);
}

static void copy_by_dup3(void)
{
    settle();
    dup3(memory_fd, 100, O_CLOEXEC);
}

static void own_signals_of_a_descriptor(void)
{
    settle();
    fcntl(notify_fd, F_SETOWN, 1);
}

static void lock_a_file(void)
{
    struct flock lock = {.l_type = F_RDLCK};
    settle();
    fcntl(memory_fd, F_OFD_SETLK, &lock);
}

static void connect_to_another(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "x"};
    settle();
    connect(notify_fd, (struct sockaddr *)&address, sizeof(address));
}

static void send_to_an_address(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "x"};
    settle();
    sendto(notify_fd, "", 0, MSG_DONTWAIT, (struct sockaddr *)&address, sizeof(address));
}

static void send_a_message_to_an_address(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "x"};
    struct msghdr message = {.msg_name = &address, .msg_namelen = sizeof(address)};
    settle();
    sendmsg(notify_fd, &message, MSG_DONTWAIT);
}

static void filter_a_socket(void)
{
    const int none = 0;
    settle();
    setsockopt(notify_fd, SOL_SOCKET, SO_ATTACH_FILTER, &none, sizeof(none));
}

static void make_a_thread(void)
{
    settle();
    begin_a_thread();
}

static void make_a_namespace_by_clone(void)
{
    struct policy *policy;
    load(&policy);
    syscall(SYS_clone, CLONE_VM | CLONE_NEWUSER, 0, NULL, NULL, 0);
}

static void limit_another(void)
{
    settle();
    syscall(SYS_prlimit64, parent, 7, NULL, NULL);
}

static void signal_another(void)
{
    settle();
    syscall(SYS_tgkill, parent, parent, 0);
}

static void make_aio(void)
{
    unsigned long context = 0;
    settle();
    syscall(SYS_io_setup, 65536, &context);
}

static void map_executable(void)
{
    settle();
    // cppcheck-suppress leakReturnValNotUsed ; it does not return
    mmap(NULL, PAGE, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static void make_executable(void)
{
    settle();
    mprotect((void *)((uintptr_t)&notify_fd & ~(uintptr_t)(PAGE - 1)), PAGE, PROT_EXEC);
}

static const struct {
    const char *call;
    void (*run)(void);
} refused[] = {
    {"ftruncate", cut_memory},
    {"fallocate", fill_memory},
    {"fcntl", seal_memory},
    {"memfd_create", make_memory},
    {"dup", copy_by_dup},
    {"fcntl", copy_by_fcntl},
    {"dup3", copy_by_dup3},
    {"fcntl", own_signals_of_a_descriptor},
    {"fcntl", lock_a_file},
    {"connect", connect_to_another},
    {"sendto", send_to_an_address},
    {"sendmsg", send_a_message_to_an_address},
    {"setsockopt", filter_a_socket},
    {"clone", make_a_thread},
    {"clone", make_a_namespace_by_clone},
    {"prlimit64", limit_another},
    {"tgkill", signal_another},
    {"io_setup", make_aio},
    {"mmap", map_executable},
    {"mprotect", make_executable},
};

static void what_no_line_allows_is_refused(void **state)
{
    parent = getpid();
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        char said[512] = "", wanted[64];
        assert_int_equal(pipe2(error_pipe, O_CLOEXEC), 0);
        int status = child_status(refused[i].run);
        close(error_pipe[1]);
        assert_true(read(error_pipe[0], said, sizeof(said) - 1) >= 0);
        close(error_pipe[0]);
        snprintf(wanted, sizeof(wanted), "cell: refused the system call '%s'", refused[i].call);
        if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGSYS || !strstr(said, wanted))
            fail_msg("deed %zu, %s: got status %#x and '%s'", i, refused[i].call, status, said);
    }
}

static void make_a_device(void)
{
    struct policy *policy;
    load(&policy);
    int fd = memfd_create("bar", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    CHILD_ASSERT(fd >= 0 && ftruncate(fd, PAGE) == 0);
    CHILD_ASSERT(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK) == 0);
    CHILD_ASSERT(begin_a_thread() < 0 && errno == EINVAL);
    CHILD_ASSERT(policy_settle(policy) == 0);
    void *memory = mmap(NULL, PAGE, PROT_WRITE, MAP_SHARED, fd, 0);
    CHILD_ASSERT(memory != MAP_FAILED && munmap(memory, PAGE) == 0);
    CHILD_ASSERT(send(notify_fd, "x", 1, MSG_DONTWAIT) == 1); /* as the launcher is told */
    CHILD_ASSERT(fcntl(memory_fd, F_GET_SEALS) == 0);
}

static void a_device_is_made_before_that(void **state)
{
    assert_int_equal(pipe2(error_pipe, O_CLOEXEC), 0);
    child_succeeds(make_a_device);
    close(error_pipe[0]);
    close(error_pipe[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_no_line_allows_is_refused),
        TEST(a_device_is_made_before_that),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
