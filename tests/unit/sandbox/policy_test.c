// SPDX-License-Identifier: BSD-3-Clause
#include "sandbox/policy.h"

#include "sandbox/child.h"
#include "sandbox/refusal.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/reboot.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#define ENOUGH                                                                                     \
    "sigaltstack # of the "                                                                        \
    "sanitizers\nwrite\nfcntl\nexit_group\nexit\nrt_sigreturn\nrt_sigprocmask\nmunmap\n"           \
    "mmap a2&4=0 # never executable\n"                                                             \
    "getppid errno=13\ngetpid\n"

static int error_pipe[2];

/* Obeys the policy from here on; what it says of a refused call goes into the pipe. */
static void obey(void)
{
    struct policy *policy;
    CHILD_ASSERT(policy_new(&policy, NULL) == 0);
    CHILD_ASSERT(policy_add(policy, ENOUGH, "test", NULL) == 0);
    CHILD_ASSERT(refusal_prepare(policy, "program") == 0);
    CHILD_ASSERT(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    CHILD_ASSERT(policy_load(policy) == 0);
}

static void do_what_is_allowed(void)
{
    obey();
    void *memory = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHILD_ASSERT(memory != MAP_FAILED);
    CHILD_ASSERT(munmap(memory, 4096) == 0);
    errno = 0;
    CHILD_ASSERT(syscall(SYS_getppid) == -1 && errno == EACCES);
    errno = 0;
    CHILD_ASSERT(syscall(511) == -1 && errno == ENOSYS); /* a call of a later kernel */
}

static void allowed_calls_work(void **state)
{
    child_succeeds(do_what_is_allowed);
}

/* The page of refusal_prepare() is one of the handler's pages. */
static void replace_the_handler(void)
{
    struct policy *policy;
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    char *code = (char *)((uintptr_t)refusal_prepare & ~(page - 1));
    CHILD_ASSERT(policy_new(&policy, NULL) == 0);
    if (syscall(462, NULL, 0, 0) < 0) /* mseal(2), of nothing */
        _exit(CHILD_SKIPS);
    CHILD_ASSERT(refusal_prepare(policy, "program") == 0);
    CHILD_ASSERT(mprotect(code, page, PROT_READ | PROT_WRITE) < 0 && errno == EPERM);
    CHILD_ASSERT(munmap(code, page) < 0 && errno == EPERM);
    void *other =
        mmap(code, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    CHILD_ASSERT(other == MAP_FAILED && errno == EPERM);
    void *moved = mremap(code, page, page, MREMAP_MAYMOVE | MREMAP_FIXED, code + (1L << 30));
    CHILD_ASSERT(moved == MAP_FAILED && errno == EPERM);
}

static void nothing_takes_the_place_of_the_handler(void **state)
{
    if (syscall(462, NULL, 0, 0) < 0) {
        print_message("skipped: this kernel seals no memory (Linux 6.10)\n");
        skip();
    }
    child_succeeds(replace_the_handler);
}

static void make_executable_memory(void)
{
    dup2(error_pipe[1], STDERR_FILENO);
    obey();
    // cppcheck-suppress leakReturnValNotUsed ; it does not return
    mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static void make_a_socket(void)
{
    dup2(error_pipe[1], STDERR_FILENO);
    obey();
    // cppcheck-suppress leakReturnValNotUsed ; it does not return
    socket(AF_INET, SOCK_STREAM, 0);
}

static void ignore_the_refusal(void)
{
    dup2(error_pipe[1], STDERR_FILENO);
    CHILD_ASSERT(error_pipe[1] > 0);
    obey();
    signal(SIGSYS, SIG_IGN); /* is refused itself */
}

static void block_the_refusal(void)
{
    sigset_t all;
    sigfillset(&all);
    obey();
    sigprocmask(SIG_SETMASK, &all, NULL);
    // cppcheck-suppress leakReturnValNotUsed ; it does not return
    socket(AF_INET, SOCK_STREAM, 0);
}

static void end_by_hand(void)
{
    obey();
    syscall(REFUSAL_END, 0, 0, LINUX_REBOOT_CMD_CAD_OFF, 0); /* without its magic, nothing */
}

static void obey_with(const char *text)
{
    struct policy *policy;
    CHILD_ASSERT(policy_new(&policy, NULL) == 0);
    policy_define(policy, "notify", 7);
    CHILD_ASSERT(policy_add(policy, ENOUGH, "test", NULL) == 0);
    CHILD_ASSERT(policy_add(policy, text, "test", NULL) == 0);
    CHILD_ASSERT(refusal_prepare(policy, "program") == 0);
    CHILD_ASSERT(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    CHILD_ASSERT(policy_load(policy) == 0);
    CHILD_ASSERT(syscall(SYS_getuid) >= 0);
    CHILD_ASSERT(policy_settle(policy) == 0);
}

static void use_what_has_ended(void)
{
    dup2(error_pipe[1], STDERR_FILENO);
    obey_with("getuid create\nbrk\n");
    syscall(SYS_getuid);
}

static void load_a_third_filter(void)
{
    dup2(error_pipe[1], STDERR_FILENO);
    obey_with("getuid\n");
    syscall(SYS_seccomp, 1, 0, NULL);
}

static void use_what_another_line_keeps(void)
{
    obey_with("getuid\nfcntl a1=7 create\ngetuid create\n");
    CHILD_ASSERT(syscall(SYS_getuid) >= 0);
}

static void send_where_it_may_not(void)
{
    dup2(error_pipe[1], STDERR_FILENO);
    obey_with("getuid\nsendmsg a0!=notify\n");
    syscall(SYS_sendmsg, UINT64_C(0x500000007), NULL, 0); /* the kernel takes the lower half */
}

static void send_where_it_may(void)
{
    obey_with("getuid\nsendmsg a0!=notify\ntgkill a0=self a2=0\n");
    for (long fd = 0; fd < 40; fd++)
        CHILD_ASSERT(fd == 7 || (syscall(SYS_sendmsg, fd, NULL, 0) == -1 && errno != EACCES));
    CHILD_ASSERT(syscall(SYS_sendmsg, -1, NULL, 0) == -1 && errno == EBADF);
    CHILD_ASSERT(syscall(SYS_tgkill, getpid(), getpid(), 0) == 0);
}

static void signal_another_process(void)
{
    dup2(error_pipe[1], STDERR_FILENO);
    obey_with("getuid\ntgkill a0=self a2=0\n");
    syscall(SYS_tgkill, 1, 1, 0);
}

static void call_by_another_interface(void)
{
    obey_with("getuid\n");
    syscall(0x40000000 | SYS_getuid); /* x32 */
}

static void call_what_is_new(void)
{
    obey_with("getuid\n");
    for (long number = 451; number < 512; number++)
        CHILD_ASSERT(syscall(number, 0, 0, 0, 0) == -1 && errno == ENOSYS);
}

/* SIGSYS is ignored before the policy is there. */
static void ignore_it_before(void)
{
    dup2(error_pipe[1], STDERR_FILENO);
    signal(SIGSYS, SIG_IGN);
    obey();
    // cppcheck-suppress leakReturnValNotUsed ; it does not return
    socket(AF_INET, SOCK_STREAM, 0);
}

/* The handler's stack is taken away. */
static void take_the_stack(void)
{
    stack_t stack;
    obey();
    CHILD_ASSERT(sigaltstack(NULL, &stack) == 0);
    CHILD_ASSERT(stack.ss_size > 0 && !(stack.ss_flags & SS_DISABLE));
    uintptr_t page = ((uintptr_t)stack.ss_sp + stack.ss_size / 2) & ~(uintptr_t)4095;
    CHILD_ASSERT(munmap((void *)page, 4096) == 0);
    // cppcheck-suppress leakReturnValNotUsed ; it does not return
    socket(AF_INET, SOCK_STREAM, 0);
    _exit(0);
}

/* The thread has used up its own. */
static void use_up_the_stack(void)
{
    dup2(error_pipe[1], STDERR_FILENO);
    obey();
    __asm__ volatile("xor %%rsp, %%rsp\n\tsyscall" : : "a"(SYS_socket), "D"(2), "S"(1), "d"(0));
    _exit(0);
}

static void expect_refusal(void (*run)(void), const char *call)
{
    char said[512] = "", wanted[64];
    assert_int_equal(pipe2(error_pipe, O_CLOEXEC), 0);
    int status = child_status(run);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGSYS);
    close(error_pipe[1]);
    assert_true(read(error_pipe[0], said, sizeof(said) - 1) >= 0);
    close(error_pipe[0]);
    snprintf(wanted, sizeof(wanted), "program: cell: refused the system call '%s'", call);
    if (*call && !strstr(said, wanted))
        fail_msg("'%s' does not name %s", said, call);
}

static void a_refused_call_is_named_and_ends_the_process(void **state)
{
    expect_refusal(make_a_socket, "socket");
    expect_refusal(make_executable_memory, "mmap");
    expect_refusal(ignore_the_refusal, "rt_sigaction");
}

static void nothing_survives_a_refusal(void **state)
{
    expect_refusal(block_the_refusal, "");
    expect_refusal(end_by_hand, "");
    expect_refusal(ignore_it_before, "socket");
    expect_refusal(use_up_the_stack, "socket");
    expect_refusal(call_by_another_interface, "");
    int status = child_status(take_the_stack);
    assert_true(WIFSIGNALED(status));
}

static void lines_for_the_device_being_made_end(void **state)
{
    expect_refusal(use_what_has_ended, "getuid");
    expect_refusal(load_a_third_filter, "seccomp");
    child_succeeds(use_what_another_line_keeps);
}

static void an_argument_can_be_any_but_one(void **state)
{
    child_succeeds(send_where_it_may);
    expect_refusal(send_where_it_may_not, "sendmsg");
    expect_refusal(signal_another_process, "tgkill");
}

static void calls_of_later_kernels_do_not_exist(void **state)
{
    child_succeeds(call_what_is_new);
}

static void mistakes_are_named(void **state)
{
    static const struct {
        const char *text, *says;
    } mistakes[] = {
        {"read\nraed\n", "test:2: got 'raed'"},
        {"read a9=1", "test:1: "},
        {"read a1", "test:1: "},
        {"read a1=x", "test:1: "},
        {"read a1&=3", "test:1: "},
        {"read errno=0", "test:1: "},
        {"read errno=5000", "test:1: "},
        {"read a1!=7 a2!=7", "test:1: "},
        {"read a1!=0x100000000", "test:1: "},
        {"read a0=notify", "test:1: "},
        {"read errno=3 create", "test:1: "},
        {"# fine\n\nreboot", "test:3: got 'reboot'"},
    };
    for (size_t i = 0; i < sizeof(mistakes) / sizeof(mistakes[0]); i++) {
        struct policy *policy;
        struct ob_fault fault = {0};
        assert_int_equal(policy_new(&policy, NULL), 0);
        assert_int_equal(policy_add(policy, mistakes[i].text, "test", &fault), -EINVAL);
        if (!strstr(fault.text, mistakes[i].says))
            fail_msg("'%s' does not say '%s'", fault.text, mistakes[i].says);
        policy_free(policy);
    }
}

static void the_default_policy_is_read(void **state)
{
    struct policy *policy;
    struct ob_fault fault = {0};
    assert_int_equal(policy_new(&policy, &fault), 0);
    policy_define(policy, "notify", 7);
    if (policy_add(policy, policy_default, "default", &fault) < 0)
        fail_msg("%s", fault.text);
    assert_string_equal(policy_call_name(policy, SYS_read), "read");
    assert_null(policy_call_name(policy, 100000));
    assert_null(policy_call_name(policy, -1));
    policy_free(policy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(allowed_calls_work),
        TEST(a_refused_call_is_named_and_ends_the_process),
        TEST(nothing_takes_the_place_of_the_handler),
        TEST(nothing_survives_a_refusal),
        TEST(lines_for_the_device_being_made_end),
        TEST(an_argument_can_be_any_but_one),
        TEST(calls_of_later_kernels_do_not_exist),
        TEST(mistakes_are_named),
        TEST(the_default_policy_is_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
