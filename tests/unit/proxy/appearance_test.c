// SPDX-License-Identifier: BSD-3-Clause
/* Changes of the one file that is meant are told, whatever else happens in its folder. */
#include "proxy/appearance.h"

#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "failing_alloc.h"

/* More changes than this would take too long to make. */
#define QUEUE_MAX 100000u

struct watched {
    char folder[32];
    struct channel_spec spec;
    struct loop *loop;
    struct appearance *appearance;
    unsigned told;
    bool frees; /* what is told frees it */
};

static void on_appeared(void *argument)
{
    struct watched *watched = argument;
    watched->told++;
    if (!watched->frees)
        return;
    appearance_free(watched->appearance);
    watched->appearance = NULL;
}

static void make_folder(struct watched *watched)
{
    *watched = (struct watched){.folder = "/tmp/ob-appear-XXXXXX"};
    assert_non_null(mkdtemp(watched->folder));
}

static int watch(struct watched *watched, const char *name)
{
    struct ob_fault fault = {0};
    char text[100];
    snprintf(text, sizeof(text), "unix:%s/%s", watched->folder, name);
    assert_int_equal(channel_spec_parse(text, &watched->spec, &fault), 0);
    assert_int_equal(loop_new(&watched->loop), 0);
    return appearance_watch(watched->loop, &watched->spec, NULL, on_appeared, watched,
                            &watched->appearance);
}

static void begin(struct watched *watched, const char *name)
{
    make_folder(watched);
    assert_int_equal(watch(watched, name), 0);
}

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *where)
{
    return remove(path);
}

static void end(struct watched *watched)
{
    appearance_free(watched->appearance);
    loop_free(watched->loop);
    nftw(watched->folder, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

static const char *path_of(const struct watched *watched, const char *name)
{
    static char path[100];
    snprintf(path, sizeof(path), "%s/%s", watched->folder, name);
    return path;
}

static void make(const struct watched *watched, const char *name)
{
    int fd = open(path_of(watched, name), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    close(fd);
}

/* How often it was told of what has happened since the last call. */
static unsigned told(struct watched *watched)
{
    watched->told = 0;
    while (loop_wait(watched->loop, 0) > 0)
        ;
    return watched->told;
}

static void a_file_that_is_made_moved_or_opened_up_is_told(void **state)
{
    struct watched watched;
    char from[100];
    begin(&watched, "sock");
    assert_int_equal(told(&watched), 0);
    make(&watched, "sock");
    assert_int_equal(told(&watched), 1);
    assert_int_equal(chmod(path_of(&watched, "sock"), 0666), 0);
    assert_int_equal(told(&watched), 1);
    assert_int_equal(unlink(path_of(&watched, "sock")), 0);
    told(&watched); /* the removal changes its count of links, too */
    make(&watched, "other");
    assert_int_equal(told(&watched), 0);
    strcpy(from, path_of(&watched, "other"));
    assert_int_equal(rename(from, path_of(&watched, "sock")), 0);
    assert_int_equal(told(&watched), 1);
    end(&watched);
}

static void names_that_are_nearly_it_are_not_told(void **state)
{
    static const char *const names[] = {"soc", "sock2", "sock.tmp", "Sock", "asock", ".sock"};
    struct watched watched;
    begin(&watched, "sock");
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        make(&watched, names[i]);
    assert_int_equal(told(&watched), 0);
    make(&watched, "sock");
    assert_int_equal(told(&watched), 1);
    end(&watched);
}

/* Many changes at once, and the one that is meant among them: it is read in pieces. */
static void one_among_many_changes_is_told(void **state)
{
    struct watched watched;
    char name[40];
    begin(&watched, "sock");
    for (unsigned i = 0; i < 1000; i++) {
        snprintf(name, sizeof(name), "a-neighbour-with-a-long-name-%u", i);
        make(&watched, name);
        if (i == 700)
            make(&watched, "sock");
    }
    assert_int_equal(told(&watched), 1);
    end(&watched);
}

static unsigned read_queue_len(void)
{
    unsigned len = 0;
    FILE *file = fopen("/proc/sys/fs/inotify/max_queued_events", "re");
    if (!file || fscanf(file, "%u", &len) != 1)
        len = 0;
    if (file)
        fclose(file);
    return len;
}

/* Whoever may write to the folder can fill the kernel's queue. What was lost may be what is meant.
 */
static void a_flood_of_other_changes_hides_nothing(void **state)
{
    struct watched watched;
    char names[2][100];
    unsigned len = read_queue_len();
    if (len == 0 || len > QUEUE_MAX) {
        print_message("skipped: a queue of %u changes is too long to be filled here\n", len);
        skip();
    }
    begin(&watched, "sock");
    for (int i = 0; i < 2; i++) {
        make(&watched, i ? "b" : "a");
        strcpy(names[i], path_of(&watched, i ? "b" : "a"));
    }
    for (unsigned i = 0; i < len + 10; i++) /* changes of one file in a row are one event */
        assert_int_equal(chmod(names[i % 2], 0600 + (i % 4) / 2), 0);
    make(&watched, "sock");
    assert_int_equal(told(&watched), 1);
    make(&watched, "c");
    assert_int_equal(told(&watched), 0); /* it is over, and the next changes are told as before */
    end(&watched);
}

static void it_may_be_freed_when_it_tells(void **state)
{
    struct watched watched;
    begin(&watched, "sock");
    watched.frees = true;
    make(&watched, "sock");
    assert_int_equal(chmod(path_of(&watched, "sock"), 0666), 0);
    assert_int_equal(told(&watched), 1);
    assert_null(watched.appearance);
    end(&watched);
}

static void a_serial_line_in_the_current_folder_is_watched(void **state)
{
    struct watched watched;
    char before[4096];
    make_folder(&watched);
    assert_non_null(getcwd(before, sizeof(before)));
    assert_int_equal(chdir(watched.folder), 0);
    watched.spec = (struct channel_spec){.kind = CHANNEL_SERIAL, .path = "line"};
    assert_int_equal(loop_new(&watched.loop), 0);
    assert_int_equal(appearance_watch(watched.loop, &watched.spec, NULL, on_appeared, &watched,
                                      &watched.appearance),
                     0);
    make(&watched, "line");
    assert_int_equal(told(&watched), 1);
    assert_int_equal(chdir(before), 0);
    end(&watched);
}

static void what_is_no_file_has_no_appearance(void **state)
{
    static const char *const texts[] = {"tcp:127.0.0.1:1", "unix-listen:/tmp/x", "stdio",
                                        "unix:@abstract",  "vsock:2:1",          "fd:3"};
    struct channel_spec spec;
    struct ob_fault fault;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        assert_int_equal(channel_spec_parse(texts[i], &spec, &fault), 0);
        if (appearance_open(&spec) != -ENOTSUP)
            fail_msg("%s: got something to watch, expected -ENOTSUP", texts[i]);
    }
    spec = (struct channel_spec){.kind = CHANNEL_SERIAL};
    memset(spec.path, 'x', sizeof(spec.path)); /* no end: a path that was cut is another one */
    spec.path[sizeof(spec.path) - 1] = '\0';
    int fd = appearance_open(&spec);
    assert_true(fd >= 0); /* 255 bytes, in the current folder */
    close(fd);
}

static void a_port_is_watched_by_the_folder_of_devices(void **state)
{
    const struct channel_spec spec = {.kind = CHANNEL_VIRTIO, .path = "org.outboard.proxy.0"};
    int fd = appearance_open(&spec);
    assert_true(fd >= 0);
    close(fd);
    const struct channel_spec root = {.kind = CHANNEL_SERIAL, .path = "/line"};
    fd = appearance_open(&root);
    assert_true(fd >= 0);
    close(fd);
}

static void a_folder_that_is_none_is_an_errno(void **state)
{
    struct watched watched;
    make_folder(&watched);
    assert_int_equal(watch(&watched, "missing/sock"), -ENOENT);
    loop_free(watched.loop);
    make(&watched, "file");
    assert_int_equal(watch(&watched, "file/sock"), -ENOTDIR);
    assert_null(watched.appearance);
    end(&watched);
}

static void allocations_that_fail_leave_nothing(void **state)
{
    struct watched watched;
    make_folder(&watched);
    assert_int_equal(watch(&watched, "sock"), 0);
    appearance_free(watched.appearance);
    for (unsigned nth = 1;; nth++) {
        watched.appearance = NULL;
        fail_allocation(nth);
        int err = appearance_watch(watched.loop, &watched.spec, NULL, on_appeared, &watched,
                                   &watched.appearance);
        if (!allocation_failed()) {
            assert_int_equal(err, 0);
            break;
        }
        assert_int_equal(err, -ENOMEM);
        assert_null(watched.appearance);
    }
    end(&watched);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_file_that_is_made_moved_or_opened_up_is_told),
        TEST(names_that_are_nearly_it_are_not_told),
        TEST(one_among_many_changes_is_told),
        TEST(a_flood_of_other_changes_hides_nothing),
        TEST(it_may_be_freed_when_it_tells),
        TEST(a_serial_line_in_the_current_folder_is_watched),
        TEST(what_is_no_file_has_no_appearance),
        TEST(a_port_is_watched_by_the_folder_of_devices),
        TEST(a_folder_that_is_none_is_an_errno),
        TEST(allocations_that_fail_leave_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
