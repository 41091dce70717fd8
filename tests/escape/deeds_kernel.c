// SPDX-License-Identifier: BSD-3-Clause
#include "escape.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/bpf.h>
#include <linux/io_uring.h>
#include <linux/keyctl.h>
#include <linux/landlock.h>
#include <linux/perf_event.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/fanotify.h>
#include <sys/mount.h>
#include <sys/prctl.h>

#include "call.h"

#include <sys/wait.h>

/* Of calls that are newer than the C library. */
#define SYS_MSEAL 462 /* Linux 6.10 */

#define X32_BIT 0x40000000

static long mount_here(const struct escape_world *world)
{
    long err = CALL(mount, "x", world->folder, "tmpfs", MS_RDONLY, NULL);
    if (err == 0)
        umount2(world->folder, MNT_DETACH);
    return err;
}

static long mount_the_new_way(const struct escape_world *world)
{
    return CALL(fsopen, "tmpfs", 0);
}

static long copy_a_mount(const struct escape_world *world)
{
    return CALL(open_tree, AT_FDCWD, "/", 1 /* OPEN_TREE_CLONE */);
}

static long change_root(const struct escape_world *world)
{
    return CALL(chroot, world->folder);
}

static long take_a_user_namespace(const struct escape_world *world)
{
    if (world->has_cell)
        return CALL(unshare, CLONE_NEWUSER);
    pid_t pid = fork(); /* a program with threads can't */
    int status = 0;
    if (pid == 0)
        _exit(unshare(CLONE_NEWUSER) < 0 ? errno : 0);
    waitpid(pid, &status, 0);
    return -WEXITSTATUS(status);
}

static long take_a_mount_namespace(const struct escape_world *world)
{
    return CALL(unshare, CLONE_NEWNS);
}

static long enter_a_namespace(const struct escape_world *world)
{
    return CALL(setns, world->sibling_fd, CLONE_NEWUTS);
}

static long name_the_host(const struct escape_world *world)
{
    return CALL(sethostname, world->host, strlen(world->host)); /* it keeps its name */
}

static long use_a_keyring(const struct escape_world *world)
{
    return CALL(keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_PROCESS_KEYRING, 1);
}

static long add_a_key(const struct escape_world *world)
{
    return CALL(add_key, "user", "escape", "x", 1, KEY_SPEC_PROCESS_KEYRING);
}

static long make_a_map_of_bpf(const struct escape_world *world)
{
    union bpf_attr attributes = {
        .map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 4, .max_entries = 1};
    return CALL(bpf, BPF_MAP_CREATE, &attributes, sizeof(attributes));
}

static long count_events(const struct escape_world *world)
{
    const struct perf_event_attr attributes = {.type = PERF_TYPE_SOFTWARE,
                                               .size = sizeof(attributes),
                                               .config = PERF_COUNT_SW_PAGE_FAULTS,
                                               .exclude_kernel = 1,
                                               .exclude_hv = 1};
    return CALL(perf_event_open, &attributes, 0, -1, -1, 0);
}

static long handle_page_faults(const struct escape_world *world)
{
    return CALL(userfaultfd, O_CLOEXEC | 1 /* UFFD_USER_MODE_ONLY */);
}

static long make_a_ring(const struct escape_world *world)
{
    struct io_uring_params parameters = {0};
    return CALL(io_uring_setup, 1, &parameters);
}

static long register_with_a_ring(const struct escape_world *world)
{
    struct io_uring_params parameters = {0};
    int fd = world->has_cell ? 0 : (int)syscall(SYS_io_uring_setup, 1, &parameters);
    return CALL(io_uring_register, fd, IORING_REGISTER_FILES, &world->readonly_fd, 1);
}

static long make_aio_contexts(const struct escape_world *world)
{
    aio_context_t context = 0;
    return CALL(io_setup, 1024, &context);
}

static long watch_the_file_system(const struct escape_world *world)
{
    return CALL(fanotify_init, FAN_CLASS_NOTIF, O_RDONLY);
}

static long read_the_kernels_log(const struct escape_world *world)
{
    return CALL(syslog, 3 /* read all */, (char[16]){0}, 16);
}

static long reach_ports(const struct escape_world *world)
{
    return CALL(ioperm, 0x80, 1, 1);
}

static long become_another(const struct escape_world *world)
{
    return CALL(setresuid, 65533, 65533, 65533);
}

static long change_capabilities(const struct escape_world *world)
{
    const unsigned header[2] = {0x20080522 /* _LINUX_CAPABILITY_VERSION_3 */, 0};
    const unsigned none[6] = {0};
    return CALL(capset, header, none);
}

static long be_inspected(const struct escape_world *world)
{
    return CALL(prctl, PR_SET_DUMPABLE, 1, 0, 0, 0);
}

static long handle_a_signal(const struct escape_world *world)
{
    return CALL(rt_sigaction, SIGSYS, NULL, NULL, 8);
}

static long add_a_filter(const struct escape_world *world)
{
    const unsigned action = SECCOMP_RET_ALLOW;
    return CALL(seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action);
}

static long make_rules_of_landlock(const struct escape_world *world)
{
    return CALL(landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
}

static long control_a_descriptor(const struct escape_world *world)
{
    int on = 0;
    return CALL(ioctl, world->stream_fd, 0x5421 /* FIONBIO */, &on);
}

static long call_what_is_new(const struct escape_world *world)
{
    return escape_result(syscall(SYS_MSEAL, 0, 0, 0));
}

/* getpid(2) of the kernel for 32-bit programs, whose numbers no line of a policy means. */
static long call_with_32_bits(const struct escape_world *world)
{
    long value = 20;
    __asm__ volatile("int $0x80" : "+a"(value) : : "memory");
    return value < 0 ? value : 0;
}

static long call_with_x32(const struct escape_world *world)
{
    return escape_result(syscall(X32_BIT | SYS_getpid));
}

const struct escape_deed escape_kernel[] = {
    {"mount", "mount/ENOENT", mount_here, ESCAPE_ROOT},
    {"prepare a mount", "fsopen/EPERM", mount_the_new_way, ESCAPE_ROOT},
    {"copy a mount", "open_tree/EPERM", copy_a_mount, ESCAPE_ROOT},
    {"change the root", "chroot/ENOENT", change_root, ESCAPE_ROOT},
    {"make a user namespace", "unshare", take_a_user_namespace, ESCAPE_DEPENDS},
    {"make a mount namespace", "unshare/EPERM", take_a_mount_namespace, ESCAPE_ROOT},
    {"enter a namespace", "setns/EPERM", enter_a_namespace, ESCAPE_ROOT},
    {"name the host", "sethostname/EPERM", name_the_host, ESCAPE_ROOT},
    {"use a keyring", "keyctl", use_a_keyring, ESCAPE_DEPENDS},
    {"add a key", "add_key", add_a_key, ESCAPE_DEPENDS},
    {"make a map of BPF", "bpf/EPERM", make_a_map_of_bpf, ESCAPE_ROOT | ESCAPE_DEPENDS},
    {"count events", "perf_event_open", count_events, ESCAPE_DEPENDS},
    {"handle page faults", "userfaultfd", handle_page_faults, ESCAPE_DEPENDS},
    {"make a ring", "io_uring_setup", make_a_ring, ESCAPE_DEPENDS},
    {"register a file with a ring", "io_uring_register", register_with_a_ring, ESCAPE_DEPENDS},
    {"make contexts of aio", "io_setup", make_aio_contexts, ESCAPE_DEPENDS},
    {"watch a file system", "fanotify_init/EPERM", watch_the_file_system,
     ESCAPE_ROOT | ESCAPE_DEPENDS},
    {"read the kernel's log", "syslog/EPERM", read_the_kernels_log, ESCAPE_ROOT},
    {"reach ports of the machine", "ioperm", reach_ports, ESCAPE_ROOT | ESCAPE_DEPENDS},
    {"become another user", "setresuid/EINVAL", become_another, ESCAPE_ROOT},
    {"change capabilities", "capset", change_capabilities, 0},
    {"allow inspection again", "prctl", be_inspected, 0},
    {"look for the handler of a signal", "rt_sigaction", handle_a_signal, 0},
    {"ask for actions of a filter", "seccomp", add_a_filter, 0},
    {"ask for Landlock", "landlock_create_ruleset", make_rules_of_landlock, ESCAPE_DEPENDS},
    {"control a descriptor", "ioctl", control_a_descriptor, 0},
    {"make a call that is new", "ENOSYS", call_what_is_new, ESCAPE_DEPENDS},
    {"make a call with 32 bits", "?", call_with_32_bits, ESCAPE_DEPENDS},
    {"make a call of x32", "?", call_with_x32, ESCAPE_DEPENDS},
    {0},
};
