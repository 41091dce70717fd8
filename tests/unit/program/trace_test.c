// SPDX-License-Identifier: BSD-3-Clause
#include "program/trace.h"

#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Makes a folder, and the path of a file in it. */
static void make_folder(char *ret_folder, size_t size, char *ret_path)
{
    snprintf(ret_folder, size, "/tmp/outboard-trace-XXXXXX");
    assert_non_null(mkdtemp(ret_folder));
    snprintf(ret_path, size, "%.50s/trace", ret_folder);
}

static void a_file_is_appended_to(void **state)
{
    char folder[64], path[64], text[256] = "";
    struct trace trace;
    make_folder(folder, sizeof(folder), path);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(trace_open(&trace, path, "test", NULL), 0);
        trace_write(&trace, i ? "got two" : "got one");
        trace_close(&trace);
    }
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    struct stat status;
    assert_int_equal(fstat(fileno(file), &status), 0);
    assert_int_equal(status.st_mode & 0777, 0600);
    unsigned seconds, micros;
    assert_int_equal(fscanf(file, "%u.%6u got one\n", &seconds, &micros), 2);
    assert_non_null(fgets(text, sizeof(text), file));
    assert_non_null(strstr(text, " got two\n"));
    assert_null(fgets(text, sizeof(text), file));
    fclose(file);
    unlink(path);
    rmdir(folder);
}

static void what_can_not_be_opened_is_told(void **state)
{
    struct trace trace;
    struct ob_fault fault = {0};
    assert_int_equal(trace_open(&trace, "/no/such/folder/trace", "test", &fault), -ENOENT);
    assert_string_equal(fault.text,
                        "--trace: can't open /no/such/folder/trace: No such file or directory");
}

/* A reader that has stopped reading costs lines, which are counted, and no time. */
static void a_full_pipe_is_not_waited_for(void **state)
{
    char folder[64], path[64];
    static char text[1 << 20];
    struct trace trace;
    make_folder(folder, sizeof(folder), path);
    assert_int_equal(mkfifo(path, 0600), 0);
    int reader = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    assert_true(reader >= 0);
    assert_int_equal(trace_open(&trace, path, "test", NULL), 0);
    for (unsigned i = 0; i < 20000; i++)
        trace_write(&trace, "got a message");
    assert_true(trace.dropped > 0);
    unsigned lines = 0;
    ssize_t len;
    while ((len = read(reader, text, sizeof(text))) > 0)
        for (ssize_t i = 0; i < len; i++)
            lines += text[i] == '\n';
    assert_int_equal(lines + trace.dropped, 20000);
    char told[64];
    snprintf(told, sizeof(told), " ... %u lines dropped\n", 20000 - lines);
    trace_write(&trace, "got the last");
    assert_int_equal(trace.dropped, 0);
    len = read(reader, text, sizeof(text) - 1);
    assert_true(len > 0);
    text[len] = '\0';
    assert_non_null(strstr(text, told));
    assert_non_null(strstr(text, " got the last\n"));
    trace_close(&trace);
    close(reader);
    unlink(path);
    rmdir(folder);
}

static void one_that_was_never_opened_is_closed(void **state)
{
    struct trace trace = {0};
    trace_close(&trace);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_file_is_appended_to),
        TEST(what_can_not_be_opened_is_told),
        TEST(a_full_pipe_is_not_waited_for),
        TEST(one_that_was_never_opened_is_closed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
