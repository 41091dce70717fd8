// SPDX-License-Identifier: BSD-3-Clause
/* Who gets a channel that listens: claimants.c, channel.c, tenant.c, framing.c. */
#include "proxy/claimants.h"

#include "lab.h"
#include "support.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "proxy/channel.h"

/* `other` connects to the channel at which ours listens. */
static void start_listening(struct lab *lab, const char *ours, const char *other)
{
    char listens[200], connects[200];
    snprintf(listens, sizeof(listens), "-c unix-listen:@/channel %s", ours);
    snprintf(connects, sizeof(connects), "-c unix:@/channel %s", other);
    lab_start(lab, listens, connects);
}

static void who_only_connects_unseats_nobody(void **state)
{
    struct lab lab;
    start_listening(&lab, "-s cat=exec:cat", "-L unix:@/front:cat");
    lab_until_up(&lab);
    uint64_t tag = ob_session_tag(lab.ends[0].proxy.session);
    int silent = lab_connect(&lab, "channel");
    int noisy = lab_connect(&lab, "channel");
    lab_send(noisy, "GET / HTTP/1.1\r\n\r\n", 18);
    int client = lab_connect(&lab, "front"); /* the session that stands carries on */
    lab_send(client, "echo", 4);
    lab_expect_text(&lab, client, "echo");
    assert_int_equal(ob_session_tag(lab.ends[0].proxy.session), tag);
    close(client);
    close(silent);
    close(noisy);
    lab_stop(&lab);
}

static bool describes_a_line(void *argument)
{
    const struct lab *lab = argument;
    return strstr(lab->ends[0].proxy.trouble.text, "append ,line") ||
           strstr(lab->ends[1].proxy.trouble.text, "append ,line");
}

static void ends_with_another_framing_are_told(void **state)
{
    struct lab lab;
    lab_start(&lab, "-c unix-listen:@/channel,line", "-c unix:@/channel");
    lab_until(&lab, describes_a_line, &lab);
    assert_int_equal(ob_session_tag(lab.ends[0].proxy.session), 0);
    lab_stop(&lab);
}

static void a_channel_without_a_session_says_what_it_does(void **state)
{
    struct lab lab;
    char text[600];
    lab_start(&lab, "-c unix-listen:@/one", "-c unix-listen:@/two");
    channel_describe(lab.ends[0].proxy.channel, text, sizeof(text));
    assert_non_null(strstr(text, "/one"));
    lab_stop(&lab);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(who_only_connects_unseats_nobody),
        TEST(ends_with_another_framing_are_told),
        TEST(a_channel_without_a_session_says_what_it_does),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
