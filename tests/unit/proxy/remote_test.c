// SPDX-License-Identifier: BSD-3-Clause
/* -R: listening at the other end, where that allows it, and what is said where it can't. */
#include "proxy/remote.h"

#include "lab.h"
#include "support.h"

#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

struct view {
    struct lab *lab;
    struct remote_view seen;
};

static void see(void *argument, const struct remote_view *view)
{
    *(struct remote_view *)argument = *view;
}

static bool is_decided(void *argument)
{
    struct view *view = argument;
    remote_each(&view->lab->ends[LAB_OURS].proxy, see, &view->seen);
    return view->seen.listens || (view->seen.why && strstr(view->seen.why, "not allowed"));
}

static void a_connection_there_reaches_a_service_here(void **state)
{
    struct lab lab;
    struct view view = {.lab = &lab};
    lab_start(&lab, "-R unix:@/there:cat -s cat=exec:cat", "--trust-peer");
    lab_until(&lab, is_decided, &view);
    assert_true(view.seen.listens);
    assert_string_equal(view.seen.service, "cat");
    int client = lab_connect(&lab, "there");
    lab_send(client, "echo", 4);
    lab_expect_text(&lab, client, "echo");
    close(client);
    lab_stop(&lab);
}

static void an_end_that_does_not_allow_it_says_so(void **state)
{
    struct lab lab;
    struct view view = {.lab = &lab};
    lab_start(&lab, "-R unix:@/there:cat -s cat=exec:cat", "-s other=exec:cat");
    lab_until(&lab, is_decided, &view);
    assert_false(view.seen.listens);
    lab_stop(&lab);
}

static bool listens_no_more(void *argument)
{
    return list_empty(&((struct lab *)argument)->ends[LAB_THE_OTHER].proxy.listeners);
}

static void it_ends_with_the_session(void **state)
{
    struct lab lab;
    struct view view = {.lab = &lab};
    struct stat status;
    char path[108];
    lab_start(&lab, "-R unix:@/there:cat -s cat=exec:cat", "--trust-peer");
    lab_until(&lab, is_decided, &view);
    assert_int_equal(stat(lab_path(&lab, "there", path), &status), 0);
    shutdown(lab.ends[LAB_OURS].channel, SHUT_RDWR);
    lab_until(&lab, listens_no_more, &lab);
    assert_int_equal(stat(path, &status), -1);
    lab_stop(&lab);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_connection_there_reaches_a_service_here),
        TEST(an_end_that_does_not_allow_it_says_so),
        TEST(it_ends_with_the_session),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
