// SPDX-License-Identifier: BSD-3-Clause
#include "sandbox/cell.h"

#include "base/limits.h"
#include "sandbox/child.h"
#include "sandbox/sanitized.h"
#include "sandbox/stages.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#define SOME_USER 0x70001234u

static bool is_forbidden(int err)
{
    return err == -EPERM || err == -EACCES || err == -ENOSPC || err == -ENOSYS ||
           err == -EOPNOTSUPP;
}

static void expect_stage(int err)
{
    if (is_forbidden(err))
        _exit(CHILD_SKIPS);
    CHILD_ASSERT(err == 0);
}

static void take_a_user(void)
{
    CHILD_ASSERT(stage_user(SOME_USER) == 0);
    CHILD_ASSERT(getuid() == SOME_USER && getegid() == SOME_USER);
    CHILD_ASSERT(getgroups(0, NULL) == 0);
    CHILD_ASSERT(setuid(0) < 0 && errno == EPERM);
}

static void root_takes_an_own_user(void **state)
{
    if (geteuid() != 0) {
        print_message("skipped: only root can become another user\n");
        skip();
    }
    child_succeeds(take_a_user);
}

static void leave_the_network(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    uid_t user = geteuid();
    expect_stage(stage_namespaces(true));
    CHILD_ASSERT(geteuid() == user);
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    CHILD_ASSERT(fd >= 0);
    CHILD_ASSERT(connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0);
    CHILD_ASSERT(errno == ENETUNREACH);
}

static void a_namespace_has_no_network(void **state)
{
    child_succeeds(leave_the_network);
}

static void keep_the_network(void)
{
    struct stat before, after;
    CHILD_ASSERT(stat("/proc/self/ns/net", &before) == 0);
    expect_stage(stage_namespaces(false));
    CHILD_ASSERT(stat("/proc/self/ns/net", &after) == 0);
    CHILD_ASSERT(before.st_ino == after.st_ino);
}

static void the_network_can_be_kept(void **state)
{
    child_succeeds(keep_the_network);
}

static void *wait_for_ever(void *argument)
{
    pause();
    return NULL;
}

static void leave_with_a_thread(void)
{
    pthread_t thread;
    CHILD_ASSERT(pthread_create(&thread, NULL, wait_for_ever, NULL) == 0);
    int err = stage_namespaces(true);
    if (err == -EPERM || err == -ENOSPC)
        _exit(CHILD_SKIPS);
    CHILD_ASSERT(err == -EINVAL);
}

static void a_second_thread_is_reported(void **state)
{
    child_succeeds(leave_with_a_thread);
    assert_non_null(strstr(cell_part_remedy(CELL_NAMESPACES, -EINVAL), "thread"));
}

/* 0, or the errno of opening a file. */
static int open_error(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno;
    close(fd);
    return 0;
}

static void empty_the_root(void)
{
    char byte;
    int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    CHILD_ASSERT(fd >= 0);
    expect_stage(stage_namespaces(true));
    expect_stage(stage_root());
    CHILD_ASSERT(open_error("/etc/passwd") == ENOENT);
    CHILD_ASSERT(open_error("../../etc/passwd") == ENOENT);
    CHILD_ASSERT(mkdir("/folder", 0700) < 0 && errno == EROFS);
    CHILD_ASSERT(read(fd, &byte, 1) == 1); /* what is open goes on working */
}

static void the_root_is_empty(void **state)
{
    child_succeeds(empty_the_root);
}

static void give_up_capabilities(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];
    expect_stage(stage_namespaces(true));
    expect_stage(stage_capabilities());
    CHILD_ASSERT(syscall(SYS_capget, &header, data) == 0);
    CHILD_ASSERT(data[0].permitted == 0 && data[1].permitted == 0 && data[0].effective == 0);
    CHILD_ASSERT(prctl(PR_CAPBSET_READ, CAP_SYS_ADMIN) == 0);
    CHILD_ASSERT(mount("x", "/", "tmpfs", 0, NULL) < 0 && errno == EPERM);
    CHILD_ASSERT(sethostname("x", 1) < 0 && errno == EPERM);
}

static void no_capability_is_left(void **state)
{
    child_succeeds(give_up_capabilities);
}

/* As in a container that forbids namespaces. */
static void have_none_to_give_up(void)
{
    CHILD_ASSERT(geteuid() != 0 || stage_user(SOME_USER) == 0);
    CHILD_ASSERT(stage_capabilities() == 0);
}

static void a_process_without_capabilities_needs_no_namespace(void **state)
{
    child_succeeds(have_none_to_give_up);
}

static void be_limited(void)
{
    struct rlimit limits;
    CHILD_ASSERT(stage_limits(true, 0) == 0);
    CHILD_ASSERT(getrlimit(RLIMIT_CORE, &limits) == 0 && limits.rlim_max == 0);
    CHILD_ASSERT(getrlimit(RLIMIT_NPROC, &limits) == 0 && limits.rlim_max <= LIMIT_CELL_PROCESSES);
    CHILD_ASSERT(getrlimit(RLIMIT_NOFILE, &limits) == 0 && limits.rlim_max == limits.rlim_cur);
    CHILD_ASSERT(limits.rlim_max <= LIMIT_CELL_FILES);
    CHILD_ASSERT(getrlimit(RLIMIT_MEMLOCK, &limits) == 0 && limits.rlim_max == 0);
    CHILD_ASSERT(getrlimit(RLIMIT_DATA, &limits) == 0);
    CHILD_ASSERT(SANITIZED || limits.rlim_max <= LIMIT_CELL_MEMORY);
}

static void limits_are_set(void **state)
{
    child_succeeds(be_limited);
}

/* The limit would count the user's other processes, and no thread could be made. */
static void share_the_user(void)
{
    struct rlimit before, after;
    CHILD_ASSERT(getrlimit(RLIMIT_NPROC, &before) == 0);
    CHILD_ASSERT(stage_limits(false, 0) == 0);
    CHILD_ASSERT(getrlimit(RLIMIT_NPROC, &after) == 0 && after.rlim_max == before.rlim_max &&
                 after.rlim_cur == before.rlim_cur);
}

static void processes_of_a_shared_user_are_not_counted(void **state)
{
    child_succeeds(share_the_user);
}

static void hide(void)
{
    CHILD_ASSERT(stage_inspection() == 0 && stage_privileges() == 0);
    CHILD_ASSERT(prctl(PR_GET_DUMPABLE) == 0);
    CHILD_ASSERT(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1);
}

static void nobody_inspects_it_and_exec_gives_nothing(void **state)
{
    child_succeeds(hide);
}

static void be_landlocked(void)
{
    CHILD_ASSERT(stage_privileges() == 0);
    int version = stage_landlock();
    expect_stage(version < 0 ? version : 0);
    CHILD_ASSERT(version >= 1);
    CHILD_ASSERT(open_error("/etc/passwd") == EACCES);
    CHILD_ASSERT(mkdir("/tmp/of-a-cell", 0700) < 0 && errno == EACCES);
}

static void landlock_takes_all_paths(void **state)
{
    child_succeeds(be_landlocked);
}

static void an_older_landlock_names_its_gaps(void **state)
{
    assert_null(stage_landlock_gaps(6));
    assert_null(stage_landlock_gaps(9));
    assert_string_equal(stage_landlock_gaps(5), "abstract sockets and signals (Linux 6.12)");
    for (int version = 1; version < 5; version++) {
        const char *gaps = stage_landlock_gaps(version);
        assert_int_equal(strstr(gaps, "truncate") != NULL, version < 3);
        assert_int_equal(strstr(gaps, "TCP ports") != NULL, version < 4);
        assert_non_null(strstr(gaps, "ioctl"));
        assert_non_null(strstr(gaps, "signals"));
    }
}

static void leave_all(void)
{
    struct cell_report report;
    cell_leave(&(struct cell_plan){0}, &report);
    for (unsigned i = 0; i < CELL_PARTS; i++)
        CHILD_ASSERT(report.part[i] <= 0 || report.part[i] == CELL_LEFT_OUT);
    CHILD_ASSERT(report.part[CELL_CALLS] == CELL_LEFT_OUT);
    if (report.part[CELL_NAMESPACES] != 0)
        _exit(CHILD_SKIPS);
    CHILD_ASSERT(report.part[CELL_ROOT] == (SANITIZED ? CELL_LEFT_OUT : 0));
    CHILD_ASSERT(report.part[CELL_CAPABILITIES] == 0);
    CHILD_ASSERT(geteuid() != 0);
}

static void all_parts_are_reported(void **state)
{
    child_succeeds(leave_all);
}

static void leave_but_reach_out(void)
{
    struct cell_report report;
    cell_leave(&(struct cell_plan){.reaches_out = true}, &report);
    CHILD_ASSERT(report.part[CELL_ROOT] == CELL_LEFT_OUT);
    CHILD_ASSERT(report.part[CELL_LANDLOCK] == CELL_LEFT_OUT);
    CHILD_ASSERT(access("/proc", F_OK) == 0);
}

static void a_device_that_reaches_out_keeps_its_root(void **state)
{
    child_succeeds(leave_but_reach_out);
}

static void leave_with_a_parent_signal(void)
{
    struct cell_report report;
    const struct cell_plan plan = {0};
    int number = 0;
    CHILD_ASSERT(prctl(PR_SET_PDEATHSIG, SIGUSR1) == 0);
    cell_leave(&plan, &report);
    CHILD_ASSERT(prctl(PR_GET_PDEATHSIG, &number) == 0 && number == SIGUSR1);
}

static void the_signal_of_the_launchers_end_is_kept(void **state)
{
    child_succeeds(leave_with_a_parent_signal);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(root_takes_an_own_user),
        TEST(a_namespace_has_no_network),
        TEST(the_network_can_be_kept),
        TEST(a_second_thread_is_reported),
        TEST(the_root_is_empty),
        TEST(no_capability_is_left),
        TEST(a_process_without_capabilities_needs_no_namespace),
        TEST(limits_are_set),
        TEST(processes_of_a_shared_user_are_not_counted),
        TEST(nobody_inspects_it_and_exec_gives_nothing),
        TEST(landlock_takes_all_paths),
        TEST(an_older_landlock_names_its_gaps),
        TEST(all_parts_are_reported),
        TEST(a_device_that_reaches_out_keeps_its_root),
        TEST(the_signal_of_the_launchers_end_is_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
