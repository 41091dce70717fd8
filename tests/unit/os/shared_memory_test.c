// SPDX-License-Identifier: BSD-3-Clause
#include "os/shared_memory.h"

#include "failing_alloc.h"
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE UINT64_C(4096)

/* A peer's file of so many pages. */
static int file_of(unsigned pages)
{
    int fd = memfd_create("peer", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, (off_t)(pages * PAGE)), 0);
    return fd;
}

static int map(int fd, uint64_t offset, uint64_t len, bool writable, uint8_t **ret_address)
{
    uint64_t device, inode;
    return shared_memory_map(fd, offset, len, writable, ret_address, &device, &inode);
}

static void our_own_can_not_be_cut(void **state)
{
    uint8_t *ours, *theirs;
    int fd;
    assert_int_equal(shared_memory_new("test", 2 * PAGE, &ours, &fd), 0);
    assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
    assert_int_equal(ours[2 * PAGE - 1], 0);
    assert_int_equal(map(fd, PAGE, PAGE, true, &theirs), 0);
    theirs[5] = 9;
    assert_int_equal(ours[PAGE + 5], 9);
    assert_int_equal(ftruncate(fd, PAGE), -1);
    assert_int_equal(errno, EPERM);
    shared_memory_unmap(theirs);
    shared_memory_free(ours, 2 * PAGE, fd);
}

static void a_range_beyond_the_file_is_refused(void **state)
{
    uint8_t *address = NULL;
    int fd = file_of(2);
    assert_int_equal(map(fd, 0, 3 * PAGE, true, &address), -EOVERFLOW);
    assert_int_equal(map(fd, 2 * PAGE, PAGE, true, &address), -EOVERFLOW);
    assert_int_equal(map(fd, 0, UINT64_MAX - PAGE + 1, true, &address), -EOVERFLOW);
    assert_null(address);
    assert_int_equal(map(fd, PAGE, PAGE, true, &address), 0);
    shared_memory_unmap(address);
    close(fd);
}

static void what_is_no_file_is_refused(void **state)
{
    uint8_t *address;
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(map(ends[0], 0, PAGE, true, &address), -EINVAL);
    close(ends[0]);
    close(ends[1]);
    int zero = open("/dev/zero", O_RDWR | O_CLOEXEC);
    assert_int_equal(map(zero, 0, PAGE, true, &address), -EINVAL);
    close(zero);
    assert_int_equal(map(-1, 0, PAGE, true, &address), -EBADF);
}

static void a_file_that_may_only_be_read_is_not_written(void **state)
{
    uint8_t *address;
    int fd = file_of(1);
    assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), 0);
    assert_true(map(fd, 0, PAGE, true, &address) < 0);
    close(fd);
}

static void a_file_is_known_again(void **state)
{
    uint8_t *address[3];
    uint64_t device[3], inode[3];
    int one = file_of(1), other = file_of(1);
    int again = dup(one);
    const int fds[] = {one, again, other};
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(
            shared_memory_map(fds[i], 0, PAGE, true, &address[i], &device[i], &inode[i]), 0);
    assert_true(device[0] == device[1] && inode[0] == inode[1]);
    assert_true(device[0] != device[2] || inode[0] != inode[2]);
    for (unsigned i = 0; i < 3; i++) {
        shared_memory_unmap(address[i]);
        close(fds[i]);
    }
}

static void parts_of_a_file_share_its_mapping(void **state)
{
    uint8_t *part[3];
    int fd = file_of(4);
    assert_int_equal(map(fd, PAGE, PAGE, true, &part[0]), 0);
    assert_int_equal(map(fd, (uint64_t)3 * PAGE, PAGE, true, &part[1]), 0);
    assert_ptr_equal(part[1], part[0] + (size_t)2 * PAGE);
    /* A file that has grown is mapped anew; what was mapped before stays. */
    assert_int_equal(ftruncate(fd, (off_t)8 * PAGE), 0);
    assert_int_equal(map(fd, (uint64_t)7 * PAGE, PAGE, true, &part[2]), 0);
    part[2][0] = 7;
    shared_memory_unmap(part[0]);
    part[1][0] = 1;
    shared_memory_unmap(part[1]);
    assert_int_equal(part[2][0], 7);
    assert_int_equal(map(fd, 0, PAGE, true, &part[0]), 0);
    assert_ptr_equal(part[2], part[0] + (size_t)7 * PAGE);
    shared_memory_unmap(part[0]);
    shared_memory_unmap(part[2]);
    close(fd);
}

static void no_memory_is_an_error(void **state)
{
    int fd = file_of(1);
    for (unsigned nth = 1;; nth++) {
        uint8_t *address = NULL;
        fail_allocation(nth);
        int err = map(fd, 0, PAGE, true, &address);
        if (!allocation_failed()) {
            assert_int_equal(nth, 4); /* the entry and its two tree nodes */
            shared_memory_unmap(address);
            break;
        }
        assert_int_equal(err, -ENOMEM);
        assert_null(address);
    }
    close(fd);
}

/* How a child ends that runs the function. */
static int end_of_child(void (*run)(void))
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        run();
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

/* Touches memory that is cut, but was never mapped as a peer's. */
static void touch_strange_memory(void)
{
    int fd = file_of(1);
    const volatile uint8_t *address = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0);
    shared_memory_guard();
    shared_memory_guard(); /* which changes nothing */
    ftruncate(fd, 0);
    (void)*address;
}

static void touch_strange_memory_unhandled(void)
{
    signal(SIGBUS, SIG_DFL); /* cmocka has a handler */
    touch_strange_memory();
}

static void leave(int number)
{
    _exit(number == SIGBUS ? 42 : 43);
}

// cppcheck-suppress constParameter ; the type is that of every handler
static void leave_with_info(int number, siginfo_t *info, void *context)
{
    _exit(number == SIGBUS && info->si_addr && context ? 44 : 45);
}

static void touch_strange_memory_handled(void)
{
    signal(SIGBUS, leave);
    touch_strange_memory();
}

static void touch_strange_memory_handled_with_info(void)
{
    const struct sigaction action = {.sa_sigaction = leave_with_info, .sa_flags = SA_SIGINFO};
    sigaction(SIGBUS, &action, NULL);
    touch_strange_memory();
}

static void other_faults_still_kill(void **state)
{
    int status = end_of_child(touch_strange_memory_unhandled);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGBUS);
}

static void other_faults_go_to_the_handler_before(void **state)
{
    int status = end_of_child(touch_strange_memory_handled);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 42);
    status = end_of_child(touch_strange_memory_handled_with_info);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 44);
}

static void memory_that_is_cut_reads_zero(void **state)
{
    uint8_t *address[2], copy[2 * PAGE];
    int fd = file_of(4), other = file_of(1);
    assert_int_equal(shared_memory_guard(), 0);
    assert_int_equal(map(other, 0, PAGE, true, &address[1]), 0);
    assert_int_equal(map(fd, 0, 4 * PAGE, true, &address[0]), 0);
    memset(address[0], 0xaa, 4 * PAGE);
    memset(address[1], 0xbb, PAGE);
    assert_false(shared_memory_was_cut());
    assert_int_equal(ftruncate(fd, PAGE), 0);
    errno = 77;
    memcpy(copy, address[0] + PAGE - 8, 16);
    assert_int_equal(errno, 77);
    assert_memory_equal(copy, "\xaa\xaa\xaa\xaa\xaa\xaa\xaa\xaa\0\0\0\0\0\0\0\0", 16);
    assert_true(shared_memory_was_cut());
    memset(address[0] + 2 * PAGE, 1, 2 * PAGE); /* writes go nowhere, quietly */
    assert_int_equal(address[1][0], 0xbb);
    shared_memory_unmap(address[0]);
    shared_memory_unmap(address[1]);
    shared_memory_forget_cut();
    assert_false(shared_memory_was_cut());
    close(fd);
    close(other);
    signal(SIGBUS, SIG_DFL);
}

static const char *kind_of(int fd)
{
    const char *what = "memory";
    assert_true(fd >= 0);
    int err = shared_memory_check(fd, 0, &what);
    assert_int_equal(err, strcmp(what, "memory") ? -EMEDIUMTYPE : 0);
    close(fd);
    return what;
}

static void what_is_no_memory_is_named(void **state)
{
    const char *what;
    int ends[2], fd = file_of(2);
    assert_int_equal(pipe(ends), 0);
    assert_string_equal(kind_of(ends[0]), "a pipe");
    assert_string_equal(kind_of(ends[1]), "a pipe");
    assert_string_equal(kind_of(open("/", O_RDONLY)), "a directory");
    assert_string_equal(kind_of(open("/", O_PATH)), "a path that is not open (O_PATH)");
    assert_string_equal(kind_of(open("/dev/zero", O_RDWR)), "a device node");
    assert_string_equal(kind_of(socket(AF_UNIX, SOCK_STREAM, 0)), "a socket");
    assert_string_equal(kind_of(eventfd(0, 0)), "a descriptor without a file, such as an eventfd");
    assert_string_equal(kind_of(open("/proc/self/exe", O_RDONLY)), "a file on another file system");
    assert_string_equal(kind_of(dup(fd)), "memory");
    assert_int_equal(shared_memory_check(fd, 2 * PAGE, &what), 0);
    assert_int_equal(shared_memory_check(fd, 2 * PAGE + 1, &what), -EOVERFLOW);
    assert_int_equal(shared_memory_check(-1, 0, &what), -EBADF);
    close(fd);
}

/* Has the kernel set so many more huge pages aside, or fewer, if it can. */
static bool add_huge_pages(int count)
{
    int there;
    FILE *setting = fopen("/proc/sys/vm/nr_hugepages", "r+e");
    if (!setting)
        return false;
    bool known = fscanf(setting, "%d", &there) == 1;
    rewind(setting);
    if (known)
        fprintf(setting, "%d", there + count > 0 ? there + count : 0);
    return fclose(setting) == 0 && known;
}

static void huge_pages_that_are_cut_read_zero(void **state)
{
    const uint64_t huge = 2u << 20;
    uint8_t *address = NULL;
    bool added = add_huge_pages(3);
    int fd = memfd_create("peer", MFD_CLOEXEC | MFD_HUGETLB | MFD_HUGE_2MB);
    if (fd < 0 || ftruncate(fd, (off_t)(3 * huge)) < 0 ||
        map(fd, 0, 3 * huge, true, &address) < 0) {
        print_message("no huge pages: reserving them takes root and free memory\n");
    } else {
        assert_int_equal(shared_memory_guard(), 0);
        memset(address, 0xaa, 3 * huge);
        assert_int_equal(ftruncate(fd, (off_t)huge), 0);
        assert_int_equal(address[2 * huge + 4097], 0);
        assert_true(shared_memory_was_cut());
        address[2 * huge + 1] = 7; /* goes nowhere, quietly */
        assert_int_equal(address[huge - 1], 0xaa);
        assert_int_equal(address[huge], 0);
        shared_memory_unmap(address);
        shared_memory_forget_cut();
        signal(SIGBUS, SIG_DFL);
    }
    if (fd >= 0)
        close(fd);
    if (added)
        add_huge_pages(-3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(our_own_can_not_be_cut),
        TEST(a_range_beyond_the_file_is_refused),
        TEST(what_is_no_file_is_refused),
        TEST(a_file_that_may_only_be_read_is_not_written),
        TEST(a_file_is_known_again),
        TEST(parts_of_a_file_share_its_mapping),
        TEST(no_memory_is_an_error),
        TEST(other_faults_still_kill),
        TEST(other_faults_go_to_the_handler_before),
        TEST(memory_that_is_cut_reads_zero),
        TEST(what_is_no_memory_is_named),
        TEST(huge_pages_that_are_cut_read_zero),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
