// SPDX-License-Identifier: BSD-3-Clause
#include "sandbox/outsider.h"

#include "sandbox/child.h"
#include "sandbox/stages.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>

static void confine(const struct outsider_plan *plan)
{
    int err = outsider_confine(plan);
    if (err == -EOPNOTSUPP || err == -ENOSYS)
        _exit(CHILD_SKIPS);
    CHILD_ASSERT(err == 0);
}

static bool is_refused(long result, int error)
{
    return result < 0 && errno == error;
}

static bool refuses_calls(void)
{
    return is_refused(ptrace(PTRACE_TRACEME, 0, NULL, NULL), EPERM) &&
           is_refused(syscall(SYS_io_uring_setup, 1, NULL), EPERM) &&
           is_refused(syscall(SYS_bpf, 0, NULL, 0), EPERM) &&
           is_refused(syscall(SYS_keyctl, 0, 0, 0, 0, 0), EPERM) &&
           is_refused(syscall(SYS_userfaultfd, 0), EPERM) && is_refused(unshare(0), EPERM) &&
           is_refused(syscall(SYS_clone3, NULL, 0), ENOSYS) &&
           is_refused(syscall(SYS_clone, CLONE_NEWUSER, 0, 0, 0, 0), EPERM);
}

static bool runs_programs(void)
{
    pid_t pid = fork();
    int status;
    if (pid == 0) {
        execl("/bin/true", "true", (char *)NULL);
        _exit(1);
    }
    return waitpid(pid, &status, 0) == pid && status == 0;
}

static void a_dialer(void)
{
    const struct outsider_plan plan = {.dials_abstract = false};
    struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "/nowhere"};
    confine(&plan);
    CHILD_ASSERT(refuses_calls());
    CHILD_ASSERT(!runs_programs());
    CHILD_ASSERT(is_refused(open("/etc/passwd", O_RDONLY), EACCES));
    void *code = mmap(NULL, 1, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHILD_ASSERT(code == MAP_FAILED);
    CHILD_ASSERT(prctl(PR_GET_DUMPABLE) == 0);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    CHILD_ASSERT(is_refused(connect(fd, (struct sockaddr *)&address, sizeof(address)), ENOENT));
}

static bool has_ports(void)
{
    return syscall(SYS_landlock_create_ruleset, NULL, 0, 1) >= 4; /* Linux 6.7 */
}

static void who_dials_hosts(void)
{
    const struct outsider_plan plan = {.dials = true, .reads_files = true, .loads_libraries = true};
    const struct sockaddr_in address = {.sin_family = AF_INET,
                                        .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    confine(&plan);
    CHILD_ASSERT(refuses_calls());
    int file = open("/etc/passwd", O_RDONLY), tcp = socket(AF_INET, SOCK_STREAM, 0);
    CHILD_ASSERT(file >= 0 && tcp >= 0);
    int err = bind(tcp, (const struct sockaddr *)&address, sizeof(address));
    CHILD_ASSERT(has_ports() ? is_refused(err, EACCES) : err == 0);
    void *code = mmap(NULL, 1, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHILD_ASSERT(code != MAP_FAILED);
    CHILD_ASSERT(is_refused(socket(AF_PACKET, SOCK_DGRAM, 0), EPERM));
    CHILD_ASSERT(is_refused(socket(AF_INET, SOCK_RAW, IPPROTO_TCP), EPERM));
    CHILD_ASSERT(is_refused(syscall(SYS_setresuid, 0, 0, 0), EPERM));
    CHILD_ASSERT(is_refused(fchmod(file, 0644), EPERM));
}

static void what_dials_hosts_loads_libraries_and_listens_nowhere(void **state)
{
    child_succeeds(who_dials_hosts);
}

static void who_removes(void)
{
    const struct outsider_plan plan = {.removes_files = true, .looks_at_itself = true};
    char path[] = "/tmp/ob-outsider-XXXXXX";
    int fd = mkstemp(path);
    confine(&plan);
    CHILD_ASSERT(fd >= 0 && is_refused(open(path, O_RDONLY), EACCES));
    CHILD_ASSERT(unlink(path) == 0);
    CHILD_ASSERT(prctl(PR_GET_DUMPABLE) == 1);
}

static void what_removes_reads_nothing(void **state)
{
    child_succeeds(who_removes);
}

static void what_dials_opens_nothing(void **state)
{
    child_succeeds(a_dialer);
}

static char folder[] = "/tmp/ob-outsider-XXXXXX";

static void a_connector(void)
{
    const struct outsider_plan plan = {
        .dials = true, .listens = true, .reads_files = true, .makes_sockets = true};
    const struct sockaddr_in local = {.sin_family = AF_INET,
                                      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char path[sizeof(folder) + 10];
    snprintf(path, sizeof(path), "%s/file", folder);
    snprintf(address.sun_path, sizeof(address.sun_path), "%s/socket", folder);
    confine(&plan);
    CHILD_ASSERT(refuses_calls());
    CHILD_ASSERT(!runs_programs());
    int file = open("/etc/passwd", O_RDONLY);
    CHILD_ASSERT(file >= 0);
    CHILD_ASSERT(is_refused(open(path, O_WRONLY | O_CREAT, 0600), EACCES));
    CHILD_ASSERT(is_refused(open("/dev/null", O_WRONLY), EACCES));
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    CHILD_ASSERT(bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0);
    CHILD_ASSERT(unlink(address.sun_path) == 0);
    int tcp = socket(AF_INET, SOCK_STREAM, 0);
    CHILD_ASSERT(bind(tcp, (const struct sockaddr *)&local, sizeof(local)) == 0);
}

static void what_listens_makes_sockets_alone(void **state)
{
    assert_non_null(mkdtemp(folder));
    child_succeeds(a_connector);
    assert_int_equal(rmdir(folder), 0);
}

static void with_a_device(void)
{
    const struct outsider_plan plan = {.device = "/nowhere/link"};
    confine(&plan);
    int fd = open("/dev/null", O_RDWR);
    CHILD_ASSERT(fd >= 0);
    CHILD_ASSERT(is_refused(open("/etc/passwd", O_RDONLY), EACCES));
}

static void what_opens_a_device_opens_devices(void **state)
{
    child_succeeds(with_a_device);
}

static void an_agent(void)
{
    const struct outsider_plan plan = {.execs_helpers = true, .writes_files = true};
    confine(&plan);
    CHILD_ASSERT(refuses_calls());
    CHILD_ASSERT(runs_programs());
    int nowhere = open("/dev/null", O_WRONLY);
    CHILD_ASSERT(nowhere >= 0);
    CHILD_ASSERT(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1);
}

static void an_agent_writes_and_starts_programs(void **state)
{
    child_succeeds(an_agent);
}

static void a_starter(void)
{
    const struct outsider_plan plan = {.starts_programs = true};
    confine(&plan);
    CHILD_ASSERT(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 0);
    CHILD_ASSERT(prctl(PR_GET_SECCOMP) == 0 && prctl(PR_GET_DUMPABLE) == 0);
    CHILD_ASSERT(runs_programs());
}

static void programs_of_users_lack_nothing(void **state)
{
    child_succeeds(a_starter);
}

static void without_a_filter(void)
{
    const struct outsider_plan plan = {.makes_sockets = true, .reads_nothing = true};
    confine(&plan);
    CHILD_ASSERT(prctl(PR_GET_SECCOMP) == 0);
    CHILD_ASSERT(is_refused(open("/dev/null", O_WRONLY), EACCES));
}

static void what_reads_nothing_has_no_filter(void **state)
{
    child_succeeds(without_a_filter);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_dials_opens_nothing),
        TEST(what_listens_makes_sockets_alone),
        TEST(what_opens_a_device_opens_devices),
        TEST(an_agent_writes_and_starts_programs),
        TEST(programs_of_users_lack_nothing),
        TEST(what_reads_nothing_has_no_filter),
        TEST(what_removes_reads_nothing),
        TEST(what_dials_hosts_loads_libraries_and_listens_nowhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
