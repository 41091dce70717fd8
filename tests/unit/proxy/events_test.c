// SPDX-License-Identifier: BSD-3-Clause
/* Readers of events: one that falls behind loses lines and is told how many; the others lose none. */
#include "proxy/events.h"

#include "lab.h"
#include "support.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/limits.h"

#define LINES     1024
#define HEARD_MAX ((size_t)LINES * LIMIT_EVENT_LINE)

struct stage {
    struct lab lab;
    struct events *events;
};

static void start(struct stage *stage)
{
    char path[108];
    struct ob_fault fault = {0};
    lab_start(&stage->lab, "", "");
    lab_until_up(&stage->lab);
    lab_path(&stage->lab, "events", path);
    assert_int_equal(events_new(&stage->lab.ends[0].proxy, path, &stage->events, &fault), 0);
}

static void stop(struct stage *stage)
{
    events_free(stage->events);
    lab_stop(&stage->lab);
}

/* Appends all bytes that are there. */
static void take(int fd, char *bytes, size_t *len)
{
    ssize_t got;
    while ((got = recv(fd, bytes + *len, HEARD_MAX - *len, MSG_DONTWAIT)) > 0)
        *len += (size_t)got;
}

/* Connects, and turns until the first line has come, which is dropped. */
static int connect_reader(struct stage *stage)
{
    char bytes[64];
    int fd = lab_connect(&stage->lab, "events");
    do {
        proxy_turn(&stage->lab.ends[0].proxy, false);
        events_tell(stage->events, "0\n", 2);
    } while (recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT) <= 0);
    return fd;
}

static void make_line(char line[LIMIT_EVENT_LINE], unsigned number)
{
    memset(line, ' ', LIMIT_EVENT_LINE);
    line[snprintf(line, 16, "%u", number)] = ' ';
    line[LIMIT_EVENT_LINE - 1] = '\n';
}

/* How many lines there are that count up from 1; *ret_rest: behind them. */
static unsigned count_lines(const char *bytes, size_t len, const char **ret_rest)
{
    unsigned number, count = 0;
    for (; len >= LIMIT_EVENT_LINE; len -= LIMIT_EVENT_LINE, bytes += LIMIT_EVENT_LINE) {
        if (sscanf(bytes, "%u", &number) != 1 || number != count + 1)
            break;
        count++;
    }
    *ret_rest = bytes;
    return count;
}

static void a_reader_that_falls_behind_is_told(void **state)
{
    static char heard[HEARD_MAX + 1];
    struct stage stage;
    char line[LIMIT_EVENT_LINE], rest_text[128];
    const char *rest;
    size_t len = 0, quick_len = 0;
    start(&stage);
    int quick = connect_reader(&stage);
    int slow = connect_reader(&stage);
    take(quick, heard, &quick_len);
    for (unsigned i = 1; i <= LINES; i++) {
        char got[LIMIT_EVENT_LINE];
        make_line(line, i);
        events_tell(stage.events, line, sizeof(line));
        assert_int_equal(recv(quick, got, sizeof(got), MSG_DONTWAIT), sizeof(got));
        assert_memory_equal(got, line, sizeof(got));
    }
    for (size_t before = len + 1; before != len;) { /* as long as more comes */
        before = len;
        take(slow, heard, &len);
        proxy_turn(&stage.lab.ends[0].proxy, false);
    }
    unsigned seen = count_lines(heard, len, &rest);
    assert_true(seen > 0 && seen < LINES);
    assert_ptr_equal(rest, heard + len);
    events_tell(stage.events, "{}\n", 3);
    take(slow, heard, &len);
    heard[len] = '\0';
    snprintf(rest_text, sizeof(rest_text), "{\"event\": \"lost\", \"count\": %u}\n{}\n",
             LINES - seen);
    assert_string_equal(rest, rest_text);
    close(slow);
    close(quick);
    stop(&stage);
}

static void readers_are_bounded(void **state)
{
    struct stage stage;
    int fds[LIMIT_EVENT_READERS];
    char byte;
    start(&stage);
    for (unsigned i = 0; i < LIMIT_EVENT_READERS; i++)
        fds[i] = connect_reader(&stage);
    int beyond = lab_connect(&stage.lab, "events");
    lab_expect_end(&stage.lab, beyond);
    close(beyond);
    for (unsigned i = 0; i < LIMIT_EVENT_READERS; i++) {
        events_tell(stage.events, "1\n", 2);
        assert_int_equal(recv(fds[i], &byte, 1, MSG_DONTWAIT), 1);
        close(fds[i]);
    }
    stop(&stage);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_reader_that_falls_behind_is_told),
        TEST(readers_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
